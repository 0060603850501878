"""Rivers by one threshold of moisture are long and narrow, wherever they lie."""

import numpy as np
import pytest
from tests.labels.conftest import LAT, LON, river

from exastorm.grid import cell_areas_km2
from exastorm.labels.rivers.absolute import AbsoluteRiverRules
from exastorm.physics.surroundings import Surroundings

GRID = Surroundings.of(LAT, LON)


def transport(mask, strength=400.0):
    """Vapor transport of a strength in a mask, half of 400 elsewhere, toward the north-east."""
    x = np.where(mask, strength, 200.0) / np.sqrt(2.0)
    return {"IVTX": x.astype(np.float32), "IVTY": x.astype(np.float32)}


def water(mask, amount=30.0):
    return {"TMQ": np.where(mask, amount, 10.0).astype(np.float32)}


def find(mask, **change):
    return AbsoluteRiverRules(**change).find(transport(mask), GRID)


@pytest.mark.parametrize("tilt", [0, 30, 60, 90])
@pytest.mark.parametrize(("lat0", "lon0"), [(45.0, 180.0), (-50.0, 0.0), (75.0, 20.0)])
def test_a_river_keeps_its_verdict_when_turned(lat0, lon0, tilt):
    mask = river(lat0, lon0, tilt)
    rivers = find(mask)
    np.testing.assert_array_equal(rivers.mask, mask)
    assert rivers.length_km == pytest.approx([3560.0], rel=0.05)
    assert rivers.area_km2 == pytest.approx([cell_areas_km2(LAT, LON)[mask].sum()])


def test_the_short_and_the_broad_are_no_rivers():
    assert not find(river(45.0, 180.0, 30.0, length_km=1700.0, width_km=300.0)).mask.any()
    assert not find(river(45.0, 180.0, 30.0, length_km=3000.0, width_km=1200.0)).mask.any()
    # 1700 km are enough where 1500 are asked for, 1200 where 1500 are allowed.
    short = river(45.0, 180.0, 30.0, length_km=1700.0, width_km=300.0)
    assert find(short, min_length_km=1500.0).mask.any()
    broad = river(45.0, 180.0, 30.0, length_km=3000.0, width_km=1200.0)
    assert find(broad, max_width_km=1500.0).mask.any()


def test_two_rivers_are_told_apart():
    rivers = find(river(45.0, 180.0, 30.0) | river(-45.0, 60.0, 0.0, length_km=2600.0))
    assert sorted(rivers.length_km) == pytest.approx([2600.0, 3560.0], rel=0.05)


def test_the_tropics_are_left_out():
    assert not find(river(5.0, 180.0, 0.0)).mask.any()
    assert find(river(5.0, 180.0, 0.0), min_lat_deg=0.0).mask.any()
    assert not find(river(45.0, 180.0, 0.0), min_lat_deg=60.0).mask.any()


def test_transport_at_the_threshold_counts():
    mask = river(45.0, 180.0, 0.0)
    # 250 / sqrt(2) = 176.78 either way, in single precision a little less than 250.
    rules = AbsoluteRiverRules(min_transport_kg_m_s=249.99)
    assert rules.find(transport(mask, 250.0), GRID).mask.any()
    assert not AbsoluteRiverRules().find(transport(mask, 249.9), GRID).mask.any()
    assert not find(mask, min_transport_kg_m_s=500.0).mask.any()


def test_precipitable_water_is_another_measure():
    mask = river(45.0, 180.0, 0.0)
    rules = AbsoluteRiverRules(moisture="IWV")
    assert rules.plan({"TMQ"}).fields == ("TMQ",)
    np.testing.assert_array_equal(rules.find(water(mask), GRID).mask, mask)
    np.testing.assert_array_equal(rules.find(water(mask, 20.0), GRID).mask, mask)
    assert not rules.find(water(mask, 19.9), GRID).mask.any()
    wetter = AbsoluteRiverRules(moisture="IWV", min_water_kg_m2=35.0)
    assert not wetter.find(water(mask), GRID).mask.any()


def test_what_is_lacking_is_said():
    rules = AbsoluteRiverRules()
    assert rules.plan({"IVTX", "IVTY", "TMQ"}).fields == ("IVTX", "IVTY")
    assert rules.plan({"IVT"}).fields == ("IVT",)
    # A proxy has another unit than the threshold, so it is refused.
    plan = rules.plan({"TMQ", "U850", "V850", "QREFHT"})
    assert plan.fields == ()
    assert "lacks IVTX and IVTY" in plan.lacking
    assert "moisture 'IWV'" in plan.lacking
    assert "IWV" not in rules.plan({"U850"}).lacking
    assert AbsoluteRiverRules(moisture="IWV").plan({"IVTX", "IVTY"}).lacking.endswith("TMQ")


def test_rolling_and_mirroring():
    mask = river(45.0, 180.0, 30.0) | river(30.0, 100.0, 70.0)
    rivers, rolled = find(mask), find(np.roll(mask, 173, axis=1))
    np.testing.assert_array_equal(rolled.mask, np.roll(rivers.mask, 173, axis=1))
    assert sorted(rolled.length_km) == sorted(rivers.length_km)
    mirrored = find(mask[::-1])
    np.testing.assert_array_equal(mirrored.mask, rivers.mask[::-1])


def test_missing_values_are_no_river():
    fields = transport(river(45.0, 180.0, 0.0))
    fields["IVTY"][:] = np.nan
    rivers = AbsoluteRiverRules().find(fields, GRID)
    assert not rivers.mask.any()
    assert rivers.area_km2.size == rivers.length_km.size == 0


def test_members_are_published_thresholds_the_loosest_first():
    members = AbsoluteRiverRules(max_width_km=900.0).members()
    assert [m.min_transport_kg_m_s for m in members] == [250.0, 500.0]
    assert all(m.max_width_km == 900.0 for m in members)
    assert [m.min_water_kg_m2 for m in AbsoluteRiverRules(moisture="IWV").members()] == [20.0]


def test_explain_gives_each_criterion_its_value():
    fields = transport(river(45.0, 180.0, 0.0, width_km=1200.0))
    (verdict,) = AbsoluteRiverRules().explain(fields, GRID, 45.0, 180.0, 5.0)
    moisture, away, length, width = verdict.checks
    assert (verdict.candidate, verdict.lat, verdict.lon) == ("moist object", 45.0, 180.0)
    assert moisture.value == pytest.approx(400.0, rel=1e-6)
    assert moisture.passed
    assert away.value == 45.0
    assert length.value == pytest.approx(3560.0, rel=0.05)
    assert width.value == pytest.approx(1200.0, rel=0.05)
    assert not width.passed
    assert not verdict.passed


def test_explain_where_nothing_is_moist_gives_the_moistest_cell():
    fields = water(np.zeros((181, 360), dtype=bool))
    fields["TMQ"][100, 200] = 15.0
    (verdict,) = AbsoluteRiverRules(moisture="IWV").explain(fields, GRID, 11.0, 201.0, 3.0)
    assert (verdict.candidate, verdict.lat, verdict.lon) == ("moistest cell", 10.0, 200.0)
    assert verdict.checks[0].value == 15.0
    assert not any(check.passed for check in verdict.checks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moisture": "TMQV850"}, "moisture must be 'IVT' or 'IWV', got 'TMQV850'"),
        ({"min_transport_kg_m_s": 0.0}, "min_transport_kg_m_s must be positive"),
        ({"min_water_kg_m2": -1.0}, "min_water_kg_m2 must be positive"),
        ({"min_length_km": 0.0}, "min_length_km must be positive"),
        ({"max_width_km": 0.0}, "max_width_km must be positive"),
        ({"min_lat_deg": -5.0}, "min_lat_deg must be in"),
    ],
)
def test_wrong_thresholds_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        AbsoluteRiverRules(**change)
