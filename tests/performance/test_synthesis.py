import pytest

from exastorm.performance.synthesis import SynthesizeBenchSettings, bench_synthesize


def test_rates_agree_with_each_other():
    settings = SynthesizeBenchSettings(height=24, width=36, num_snapshots=9)
    figures = bench_synthesize(settings)
    assert figures["snapshots_per_s_per_core"] == pytest.approx(9 / figures["cpu_s"])
    # 16 channels and 7 optional fields that change in time as float32, the truth as int8.
    assert figures["num_fields"] == 24
    megabytes = figures["mb_per_s_per_core"] * figures["cpu_s"]
    assert megabytes == pytest.approx(9 * 24 * 36 * (23 * 4 + 1) / 1e6)
    assert 0 < figures["share_of_copy"] < 1


@pytest.mark.parametrize("wrong", [{"num_snapshots": 0}, {"height": 2}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least"):
        SynthesizeBenchSettings(**wrong)
