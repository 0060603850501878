"""Labels do not depend on where the globe is cut or which hemisphere is up."""

import numpy as np
import pytest
from tests.labels.conftest import LAT, LON

from exastorm.labels.cyclone_rules import Sc18CycloneRules
from exastorm.labels.masks import Sc18MaskRules
from exastorm.labels.rivers import Sc18RiverRules
from exastorm.labels.settings import LabelSettings
from exastorm.labels.snapshot import label_snapshot, make_plan


def test_both_classes_are_found(stormy):
    labels = label_snapshot(stormy, LAT, LON)
    assert len(labels.centers) == 2
    assert labels.num_rivers == 2
    assert set(np.unique(labels.class_map)) == {0, 1, 2}
    assert labels.class_map.dtype == np.int8


@pytest.mark.parametrize("shift", [1, 77, 180, 359])
def test_rolling_the_globe_rolls_the_labels_bit_for_bit(stormy, shift):
    labels = label_snapshot(stormy, LAT, LON)
    rolled = label_snapshot({n: np.roll(v, shift, axis=1) for n, v in stormy.items()}, LAT, LON)
    assert np.array_equal(np.roll(labels.class_map, shift, axis=1), rolled.class_map)
    assert np.array_equal(np.roll(labels.rule, shift, axis=1), rolled.rule)
    for one, other in zip(labels.centers, rolled.centers, strict=True):
        assert other.column == (one.column + shift) % 360
        # All but the place is the same number to the last bit.
        assert one._replace(column=0, lon=0) == other._replace(column=0, lon=0)


def test_mirroring_the_hemispheres_mirrors_the_labels(stormy):
    labels = label_snapshot(stormy, LAT, LON)
    signs = {"V850": -1, "VBOT": -1}
    mirrored = label_snapshot({n: signs.get(n, 1) * v[::-1] for n, v in stormy.items()}, LAT, LON)
    assert np.array_equal(labels.class_map[::-1], mirrored.class_map)
    assert np.array_equal(labels.rule[::-1], mirrored.rule)


def test_noisy_weather_is_as_invariant(stormy):
    noise = np.random.default_rng(0)
    for name, size in (("TMQ", 8.0), ("PSL", 100.0), ("U850", 2.0), ("V850", 2.0), ("T200", 0.2)):
        stormy[name] += noise.normal(scale=size, size=(181, 360)).astype(np.float32)
    labels = label_snapshot(stormy, LAT, LON)
    assert labels.class_map.any()
    rolled = label_snapshot({n: np.roll(v, 100, axis=1) for n, v in stormy.items()}, LAT, LON)
    assert np.array_equal(np.roll(labels.class_map, 100, axis=1), rolled.class_map)
    signs = {"V850": -1, "VBOT": -1}
    mirrored = label_snapshot({n: signs.get(n, 1) * v[::-1] for n, v in stormy.items()}, LAT, LON)
    assert np.array_equal(labels.class_map[::-1], mirrored.class_map)


def test_only_moisture_gives_only_rivers(stormy):
    labels = label_snapshot({"TMQ": stormy["TMQ"]}, LAT, LON)
    assert labels.num_rivers == 2
    assert labels.centers == []
    assert set(np.unique(labels.class_map)) == {0, 2}
    assert set(np.unique(labels.rule)) == {0, 2}


@pytest.mark.parametrize(("off", "flag"), [("cyclones", 1), ("rivers", 2)])
def test_a_class_can_be_switched_off(stormy, off, flag):
    labels = label_snapshot(stormy, LAT, LON, LabelSettings(**{off: "none"}))
    assert not (labels.class_map == flag).any()
    assert (labels.class_map == 3 - flag).any()


@pytest.mark.parametrize(
    "change",
    [
        {"sc18_cyclones": Sc18CycloneRules(min_wind_ms=50.0)},
        {"sc18_masks": Sc18MaskRules(percentile=80.0)},
        {"sc18_rivers": Sc18RiverRules(min_length_km=5000.0)},
    ],
)
def test_rule_sets_reach_the_labels(stormy, change):
    labels = label_snapshot(stormy, LAT, LON)
    changed = label_snapshot(stormy, LAT, LON, LabelSettings(**change))
    assert not np.array_equal(labels.class_map, changed.class_map)


def test_plan_says_what_is_left_out_and_why():
    settings = LabelSettings()
    everything = {"PSL", "U850", "V850", "T200", "T500", "UBOT", "VBOT", "TMQ", "PRECT", "Z1000"}
    plan = make_plan(everything | {"Z200", "TREFHT"}, settings)
    assert plan.notes == {}
    assert set(plan.fields) == everything | {"Z200"}

    plan = make_plan(everything - {"UBOT", "PRECT", "TMQ"} | {"U10", "V10"}, settings)
    assert plan.cyclones
    assert not plan.rivers
    assert plan.notes["atmospheric_rivers"] == "left out: the archive lacks TMQ"
    assert plan.notes["thickness_test"] == "not made, only the warm core: lacks Z200"
    assert "U10, V10 instead of UBOT, VBOT, not converted" in plan.notes["low_level_wind"]
    assert plan.notes["cyclone_mask"] == "made without TMQ, PRECT, which the archive lacks"
    assert "Z1000" not in plan.fields

    plan = make_plan({"TMQ", "PSL"}, settings)
    expected = "left out: the archive lacks U850, V850, T200, T500"
    assert plan.notes == {"tropical_cyclones": expected}
    assert plan.fields == ("TMQ",)
    plan = make_plan(everything, LabelSettings(cyclones="none"))
    assert plan.notes["tropical_cyclones"] == "left out by the settings"
    plan = make_plan(everything, LabelSettings(rivers="none"))
    assert plan.notes["atmospheric_rivers"] == "left out by the settings"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cyclones": "teca"}, "cyclones must be sc18 or none, got 'teca'"),
        ({"cyclones": "none", "rivers": "none"}, "cyclones must be sc18 where rivers is none"),
        ({"num_workers": 0}, "num_workers must be at least 1, got 0"),
        ({"block_size": 0}, "block_size must be at least 1, got 0"),
    ],
)
def test_wrong_settings(change, message):
    with pytest.raises(ValueError, match=message):
        LabelSettings(**change)
