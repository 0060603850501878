"""The made-up climate as a whole: schema, reproducibility, options, class shares."""

import dataclasses
import hashlib

import numpy as np
import pytest

from exastorm.readers.schema import check_dataset
from exastorm.readers.synthetic import climate as climate_module
from exastorm.readers.synthetic.climate import make_block, snapshot, synthetic_dataset
from exastorm.readers.synthetic.quantize import QUANTA
from exastorm.readers.synthetic.settings import SyntheticSettings
from exastorm.variables import CHANNEL_NAMES, OPTIONAL, VARIABLES

SMALL = SyntheticSettings(height=48, width=72, num_snapshots=12, start="2000-08-20")


def test_dataset_is_in_the_schema_and_lazy():
    dataset = check_dataset(synthetic_dataset(SMALL))
    assert set(CHANNEL_NAMES) | {v.name for v in OPTIONAL} | {"truth"} == set(dataset.data_vars)
    assert dataset.TMQ.chunks[0] == (8, 4)
    assert dataset.PHIS.dims == ("lat", "lon")
    assert dataset.time.values[0].isoformat() == "2000-08-20T00:00:00"
    assert dataset.time.dt.calendar == "noleap"
    assert dataset.truth.attrs["flag_meanings"].split()[1] == "tropical_cyclone"


def test_values_are_plausible_finite_quanta():
    dataset = synthetic_dataset(SMALL).compute()
    for name in (*CHANNEL_NAMES, *(v.name for v in OPTIONAL)):
        values, variable = dataset[name].values, VARIABLES[name]
        assert values.dtype == np.float32
        assert values.min() >= variable.low, name
        assert values.max() <= variable.high, name
        steps = values.astype(np.float64) / QUANTA[name]
        assert np.array_equal(steps, np.rint(steps)), name
    assert dataset.PRECT.values.min() >= 0.0
    assert dataset.TMQ.values.min() > 0.0
    assert set(np.unique(dataset.truth.values)) <= {0, 1, 2}


def test_one_task_makes_all_fields_of_a_block(monkeypatch):
    made = []

    def counted(settings, hours):
        made.append(hours)
        return make_block(settings, hours)

    monkeypatch.setattr(climate_module, "make_block", counted)
    settings = dataclasses.replace(SMALL, height=24, width=36)
    synthetic_dataset(settings).compute(scheduler="synchronous")
    assert sorted(len(hours) for hours in made) == [4, 8]


def test_a_slice_is_the_same_slice_of_the_whole():
    whole = synthetic_dataset(SMALL)
    part = whole.isel(time=slice(7, 10)).compute()
    alone = synthetic_dataset(
        dataclasses.replace(SMALL, start="2000-08-20T21", num_snapshots=3)
    ).compute()
    for name in (*CHANNEL_NAMES, "truth"):
        assert np.array_equal(part[name].values, alone[name].values), name
    # Every other snapshot of three-hourly output is six-hourly output.
    coarse = synthetic_dataset(dataclasses.replace(SMALL, step_hours=6, num_snapshots=3)).compute()
    assert np.array_equal(coarse.TMQ.values, whole.TMQ.values[:6:2])


def digest(settings):
    total = hashlib.sha256()
    for hour in settings.hours():
        fields = snapshot(settings, float(hour))
        for name in sorted(fields):
            total.update(name.encode() + fields[name].tobytes())
    return total.hexdigest()


def test_another_processor_writes_the_same_bytes():
    # Two snapshots with cyclones, rivers and decoys; computed once, held for every machine. It may
    # change only where the climate is changed on purpose.
    settings = SyntheticSettings(
        height=24,
        width=36,
        num_snapshots=2,
        start="2000-09-01",
        cyclone_rate=5.0,
        river_rate=1.0,
        decoy_rate=1.0,
    )
    assert digest(settings) == "7bba81eff1ecbe18813fa9cb705aece6c72a4bf1229b8efbe9f66be149ce2a9b"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"seed": 1}, ()),
        ({"cyclone_rate": 40.0}, ()),
        ({"river_rate": 4.0}, ()),
        ({"decoy_rate": 6.0}, ()),
        ({"weather_amplitude": 0.5}, ("truth_cyclones",)),
        ({"calendar": "360_day"}, ()),
        ({"start": "2000-03-01"}, ()),
    ],
)
def test_every_option_changes_the_weather(change, same):
    base = dataclasses.replace(SMALL, num_snapshots=1)
    changed = dataclasses.replace(base, **change)
    before, after = (snapshot(s, float(s.hours()[0])) for s in (base, changed))
    assert not np.array_equal(before["TMQ"], after["TMQ"])
    if "truth_cyclones" in same:
        assert np.array_equal(before["truth"] == 1, after["truth"] == 1)


def test_other_options_change_the_dataset():
    base = synthetic_dataset(SMALL)
    plain = synthetic_dataset(dataclasses.replace(SMALL, optional_fields=False))
    assert set(plain.data_vars) == {*CHANNEL_NAMES, "truth"}
    assert np.array_equal(plain.TMQ[0].values, base.TMQ[0].values)
    taller = synthetic_dataset(dataclasses.replace(SMALL, height=60, width=90, num_snapshots=3))
    assert taller.TMQ.shape == (3, 60, 90)
    slower = synthetic_dataset(dataclasses.replace(SMALL, step_hours=6))
    assert (slower.time.values[1] - slower.time.values[0]).total_seconds() == 21600


def test_more_storms_mean_more_truth():
    def share(flag, **rates):
        settings = dataclasses.replace(SMALL, step_hours=48, num_snapshots=6, **rates)
        return np.mean([(snapshot(settings, h)["truth"] == flag).mean() for h in settings.hours()])

    assert share(1, cyclone_rate=0.0) == 0.0
    assert share(1, cyclone_rate=20.0) > 3 * share(1, cyclone_rate=2.0)
    assert share(2, river_rate=0.0) == 0.0
    assert share(2, river_rate=3.0) > 1.5 * share(2, river_rate=1.0)


@pytest.mark.slow
def test_class_shares_are_the_papers_at_a_quarter_degree():
    # Kurth et al. (2018): 98.2 % background, less than 0.1 % cyclones, 1.7 % rivers.
    settings = SyntheticSettings(
        height=768, width=1152, start="2001-01-05", step_hours=876, num_snapshots=10
    )
    shares = np.mean(
        [
            np.bincount(snapshot(settings, h)["truth"].ravel(), minlength=3) / (768 * 1152)
            for h in settings.hours()
        ],
        axis=0,
    )
    assert shares[0] == pytest.approx(0.982, abs=0.006)
    assert 0.0 < shares[1] < 0.001
    assert shares[2] == pytest.approx(0.017, abs=0.006)
