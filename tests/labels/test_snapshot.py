"""Labels do not depend on where the globe is cut or which hemisphere is up."""

import numpy as np
import pytest
from tests.labels.conftest import LAT, LON

from exastorm.errors import InputError
from exastorm.labels.cyclones.extent import Sc18MaskRules
from exastorm.labels.cyclones.sc18 import Sc18CycloneRules
from exastorm.labels.plan import make_plan as plan_on_grid
from exastorm.labels.rivers.sc18 import Sc18RiverRules
from exastorm.labels.settings import LabelSettings
from exastorm.labels.snapshot import label_snapshot


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


def make_plan(available, settings):
    return plan_on_grid(available, settings, 0.25)


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
    assert plan.notes["low_level_wind"] == "U10, V10 instead of UBOT, VBOT, times 1.18"
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
        ({"cyclones": "sc19"}, "cyclones must be sc18, .* or none, got 'sc19'"),
        ({"rivers": "sc19"}, "rivers must be sc18, .* or none, got 'sc19'"),
        ({"tracks": "xls"}, "tracks must be csv or parquet, got 'xls'"),
        ({"cyclones": "none", "rivers": "none"}, "cyclones must be a rule set where rivers is"),
        ({"num_workers": 2, "scheduler": "tcp://host:1"}, "num_workers must be 1 where a sch"),
        ({"num_workers": 0}, "num_workers must be at least 1, got 0"),
        ({"block_size": 0}, "block_size must be at least 1, got 0"),
    ],
)
def test_wrong_settings(change, message):
    with pytest.raises(ValueError, match=message):
        LabelSettings(**change)


def test_soft_labels_are_shares_of_the_ensemble(stormy):
    stormy["TMQ"][stormy["TMQ"] == 60.0] = 26.0
    labels = label_snapshot(stormy, LAT, LON, LabelSettings(soft=True))
    plain = label_snapshot(stormy, LAT, LON)
    assert set(plain.layers) == {"class_map", "rule"}
    assert np.array_equal(labels.class_map, plain.class_map)
    # Both storms meet all four sets of thresholds.
    assert np.array_equal(labels.layers["cyclone_share"] == 1.0, labels.class_map == 1)
    alone = [
        label_snapshot(
            stormy,
            LAT,
            LON,
            LabelSettings(cyclones="none", sc18_rivers=Sc18RiverRules(min_water_kg_m2=water)),
        ).class_map
        == 2
        for water in (18.0, 21.0, 24.0)
    ]
    share = labels.layers["river_share"]
    np.testing.assert_allclose(share, np.mean(alone, axis=0), atol=1e-6)
    # 26 kg/m2 damped at 40 N is 23.2: over 18 and 21, not over 24.
    assert share[130, 200] == pytest.approx(2 / 3)


def test_a_snapshot_is_checked_at_the_door(stormy):
    with pytest.raises(InputError, match="nothing to label: tropical_cyclones left out"):
        label_snapshot({"PSL": stormy["PSL"]}, LAT, LON)
    with pytest.raises(InputError, match="variable lat: must ascend"):
        label_snapshot(stormy, LAT[::-1], LON)
    with pytest.raises(InputError, match=r"variable TMQ: must have shape \(181, 360\), got"):
        label_snapshot(stormy | {"TMQ": stormy["TMQ"][:10]}, LAT, LON)
    with pytest.raises(InputError, match="must last 54 h, which one snapshot can't show; sc18 can"):
        label_snapshot(stormy, LAT, LON, LabelSettings(cyclones="tempest-cam"))
    assert (
        "atmospheric_rivers" in label_snapshot(stormy, LAT, LON, LabelSettings(rivers="none")).notes
    )
