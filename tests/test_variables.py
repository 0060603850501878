"""The vocabulary is the paper's: 16 channels in its order, three classes with its flags."""

from exastorm.variables import CHANNEL_NAMES, CLASSES, VARIABLES


def test_the_paper_order():
    # Channel list of the SC18 data set.
    assert " ".join(CHANNEL_NAMES) == (
        "TMQ U850 V850 UBOT VBOT QREFHT PS PSL T200 T500 PRECT TS TREFHT Z1000 Z200 ZBOT"
    )


def test_classes():
    assert [(c.flag, c.short_name) for c in CLASSES] == [(0, "BG"), (1, "TC"), (2, "AR")]


def test_plausible_ranges_hold_the_observed_means():
    # Mean and standard deviation over ClimateNet's training set: TMQ 19.2 / 15.8 kg m-2,
    # PSL 100814 / 1461 Pa, T200 213.2 / 7.9 K, Z200 11736 / 633 m, ZBOT 61.3 / 4.9 m.
    observed = {"TMQ": (19.2, 0), "PSL": (100814, 1461), "T200": (213.2, 7.9),
                "Z200": (11736, 633), "ZBOT": (61.3, 4.9)}  # fmt: skip
    for name, (mean, std) in observed.items():
        variable = VARIABLES[name]
        assert variable.low < mean - 2 * std
        assert mean + 2 * std < variable.high
