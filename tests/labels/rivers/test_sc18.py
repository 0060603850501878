"""Rivers are told by moisture and shape, wherever they are and however they lie."""

from dataclasses import replace

import numpy as np
import pytest
from tests.labels.conftest import LAT, LON, river

from exastorm.labels.rivers.sc18 import Sc18RiverRules, damping, find_objects
from exastorm.physics.surroundings import Surroundings

GRID = Surroundings.of(LAT, LON)
RULES = Sc18RiverRules()


def find_rivers(tmq, grid, rules):
    return rules.find({"TMQ": tmq}, grid)


def moist(mask, inside=80.0):
    return np.where(mask, inside, 5.0).astype(np.float32)


@pytest.mark.parametrize("tilt", range(0, 91, 10))
@pytest.mark.parametrize("lon0", [180.0, 0.0])
def test_a_river_keeps_its_verdict_however_it_is_tilted(tilt, lon0):
    # 3560 x 490 km: the published measure, north-south extent, rejects it at 0 and 10 degrees.
    found = find_rivers(moist(river(45.0, lon0, tilt)), GRID, RULES)
    assert found.length_km.size == 1
    # Cell centers lie up to half a diagonal (79 km) inside of either end; a cell is 94 km at 45 N.
    assert found.length_km[0] == pytest.approx(3560, abs=160)
    assert found.area_km2[0] == pytest.approx(3560 * 490, rel=0.06)
    assert np.array_equal(found.mask, river(45.0, lon0, tilt))


@pytest.mark.parametrize("tilt", [0, 45, 90])
@pytest.mark.parametrize(
    ("length_km", "width_km"), [(1200.0, 300.0), (3000.0, 1300.0), (900.0, 900.0)]
)
def test_what_is_short_or_wide_is_none_however_it_is_tilted(tilt, length_km, width_km):
    mask = river(45.0, 0.0, tilt, length_km=length_km, width_km=width_km)
    assert not find_rivers(moist(mask), GRID, RULES).mask.any()


@pytest.mark.parametrize(
    "change",
    [
        {"min_water_kg_m2": 90.0},
        {"tropics_sigma_deg": 60.0},  # 80 (1 - exp(-45^2 / 7200)) = 19.6 < 24
        {"min_length_km": 3800.0},
        {"max_width_km": 400.0},
    ],
)
def test_every_threshold_decides(change):
    tmq = moist(river(45.0, 100.0, 30.0))
    assert find_rivers(tmq, GRID, RULES).mask.any()
    assert not find_rivers(tmq, GRID, replace(RULES, **change)).mask.any()


def test_damping_worked_out():
    # 1 - exp(-1/2) = 0.3935 at one sigma; nothing at the equator.
    np.testing.assert_allclose(damping([0.0, 19.0, -19.0], 19.0), [0.0, 0.3935, 0.3935], atol=1e-4)


def test_threshold_is_on_damped_water():
    # At 19 degrees 24 / 0.3935 = 61.0 kg/m2 are needed; at the equator nothing suffices.
    band = np.zeros((181, 360), bool)
    band[109, 100:140] = True  # 19 N, 40 degrees of longitude, 4200 km
    assert not find_rivers(moist(band, 60.5), GRID, RULES).mask.any()
    assert find_rivers(moist(band, 61.5), GRID, RULES).mask.any()
    assert not find_rivers(moist(np.roll(band, -19, axis=0), 1000.0), GRID, RULES).mask.any()


def test_corners_do_not_connect():
    # Two halves of 1100 km each, touching at a corner: 4-connected they are too short.
    mask = np.zeros((181, 360), bool)
    mask[135, 100:114] = True
    mask[136, 114:128] = True
    assert not find_rivers(moist(mask), GRID, RULES).mask.any()
    mask[136, 113] = True
    assert find_rivers(moist(mask), GRID, RULES).mask.any()


def test_missing_moisture_is_dry():
    tmq = moist(river(45.0, 100.0, 0.0))
    tmq[:, 90:110] = np.nan
    # What is left on either side is 3560 / 2 - 10 cos 45 x 111 = 990 km long: too short.
    assert not find_rivers(tmq, GRID, RULES).mask.any()


def test_a_part_of_the_globe_does_not_join_its_edges():
    lat, lon = LAT[100:160], LON[100:160]
    part = Surroundings.of(lat, lon)
    mask = np.zeros((60, 60), bool)
    mask[30, :12] = mask[30, -12:] = True
    assert not find_rivers(moist(mask), part, RULES).mask.any()


THRESHOLDS = [name for name in Sc18RiverRules.__dataclass_fields__ if name != "form"]


@pytest.mark.parametrize("name", THRESHOLDS)
def test_wrong_rules(name):
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        Sc18RiverRules(**{name: 0})


def test_wrong_form():
    with pytest.raises(ValueError, match="form must be corrected or exact, got 'old'"):
        Sc18RiverRules(form="old")


def test_length_counts_whole_cells():
    # 29 cells along 60 N. Between the outer centers, 28 degrees of longitude apart, the haversine
    # gives 2 x 6371 km x asin(cos 60 sin 14) = 1545 km; a cell is sqrt(111.2 x 55.6) = 78.6 km.
    mask = np.zeros((181, 360), bool)
    mask[150, 50:79] = True
    found = find_rivers(moist(mask), GRID, RULES)
    assert found.length_km[0] == pytest.approx(1545 + 78.6, abs=1)


EXACT = Sc18RiverRules(form="exact")


def test_exact_length_is_the_north_south_extent():
    # Defect 3. A river of 3560 x 490 km along 45 N, tilted by t from east, spans about 3560 sin(t)
    # + 490 cos(t) km from north to south: at 0 degrees 490 (its great circle bends that to some
    # 700), area over it 2500 km or more; at 40 degrees 2660, so 3560 x 490 / 2660 = 655 km.
    verdicts = {}
    for tilt in (0, 10, 40, 90):
        tmq = moist(river(45.0, 180.0, tilt))
        assert find_rivers(tmq, GRID, RULES).mask.any()
        verdicts[tilt] = bool(find_rivers(tmq, GRID, EXACT).mask.any())
    assert verdicts == {0: False, 10: False, 40: True, 90: True}
    # Rows 50 N and 30 N apart by 20 degrees: 20 x 111.195 km.
    mask = np.zeros((181, 360), bool)
    mask[120:141, 100] = mask[120, 95:105] = True
    objects = find_objects(moist(mask, 200.0), GRID, EXACT)
    assert objects.length_km[0] == pytest.approx(20 * 111.195, rel=1e-4)


def test_exact_rivers_do_not_cross_the_seam():
    # Defect 2. 2 x 10 columns at 45 N round longitude 0, 60 rows would be one river; cut in two,
    # the halves are measured alone.
    mask = river(45.0, 0.0, 30.0)
    whole, halves = (find_objects(moist(mask), GRID, rules) for rules in (RULES, EXACT))
    assert whole.area_km2.size == 1
    assert halves.area_km2.size == 2
    rolled = np.roll(mask, 180, axis=1)
    assert find_objects(moist(rolled), GRID, EXACT).area_km2.size == 1


def test_exact_areas_use_a_radius_of_6170_km():
    # Defect 4. (6170 / 6371.0088)^2 = 0.93790 of the true area; the script's cos(lat) dlat is
    # sin(lat + dlat/2) - sin(lat - dlat/2) to within dlat^2 / 24 = 1.3e-5 at one degree.
    tmq = moist(river(45.0, 180.0, 90.0))
    true, script = (find_objects(tmq, GRID, rules).area_km2 for rules in (RULES, EXACT))
    np.testing.assert_allclose(script / true, 0.93790, rtol=5e-5)


def test_exact_objects_of_one_column_are_no_rivers():
    mask = np.zeros((181, 360), bool)
    mask[120:150, 100] = True
    assert find_rivers(moist(mask, 200.0), GRID, RULES).mask.any()
    assert not find_rivers(moist(mask, 200.0), GRID, EXACT).mask.any()


def test_members_are_the_published_thresholds():
    assert [m.min_water_kg_m2 for m in RULES.members()] == [18.0, 21.0, 24.0]
    assert RULES.members()[-1] == RULES


def test_explain_lists_the_objects_near_a_place():
    mask = river(45.0, 180.0, 30.0) | river(45.0, 230.0, 0.0, length_km=900.0)
    tmq = moist(mask)
    (verdict,) = RULES.explain({"TMQ": tmq}, GRID, 45.0, 180.0, 3.0)
    assert verdict.passed
    # Damped water 80 (1 - exp(-45^2 / 722)) = 75.2 at the place itself.
    assert verdict.checks[0].value == pytest.approx(75.2, abs=0.1)
    first, second = RULES.explain({"TMQ": tmq}, GRID, 45.0, 225.0, 40.0)
    assert not first.passed
    assert second.passed
    assert first.checks[1].value < 1500


@pytest.mark.parametrize("form", ["corrected", "exact"])
def test_explain_where_nothing_is_moist_gives_the_moistest_cell(form):
    tmq = moist(river(45.0, 180.0, 30.0))
    tmq[47, 182], tmq[45, 178] = 20.0, 22.0
    tmq[44, 180] = np.nan
    rules = replace(RULES, form=form)
    (verdict,) = rules.explain({"TMQ": tmq}, GRID, -45.0, 180.0, 3.0)
    water, extent, width = verdict.checks
    # Damped by 1 - exp(-lat^2 / 722): 22 kg/m2 at 45 S become 20.67, 20 at 43 S 18.46.
    assert (verdict.candidate, verdict.lat, verdict.lon) == ("moistest cell", -45.0, 178.0)
    assert water.value == pytest.approx(20.67, abs=0.01)
    assert water.threshold == 24.0
    assert np.isnan([extent.value, width.value]).all()
    assert not any(check.passed for check in verdict.checks)
    # A place off the grid of a region has no cell near.
    part = Surroundings.of(LAT[100:160], LON[100:160])
    assert rules.explain({"TMQ": tmq[100:160, 100:160]}, part, -45.0, 180.0, 3.0) == []


def test_what_an_archive_must_have():
    assert RULES.plan({"TMQ", "PSL"}).fields == ("TMQ",)
    assert RULES.plan({"PSL"}).lacking == "the archive lacks TMQ"
