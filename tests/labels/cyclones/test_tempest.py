"""The candidates of DetectNodes on stored inputs, and what every option changes."""

from dataclasses import fields as fields_of
from dataclasses import replace

import numpy as np
import pytest
from tests.labels.conftest import add_storm, calm
from tests.labels.cyclones.tempest_files import nodes, snapshots

from exastorm.grid import great_circle_km, regular_grid
from exastorm.labels.cyclones.centers import CycloneCenter, center_table
from exastorm.labels.cyclones.stitching import StitchRules
from exastorm.labels.cyclones.tempest import TempestCamRules, TempestEra5Rules
from exastorm.physics.surroundings import Surroundings

RULES = {
    "era5": TempestEra5Rules(),
    "cam": TempestCamRules(),
    "cam_merge_equal": TempestCamRules(merge_equal=True),
}
LAT, LON = regular_grid(181, 360)
GRID = Surroundings.of(LAT, LON)
HANDY = TempestCamRules(bundled_terrain=False)


@pytest.fixture(scope="module")
def global_snapshots():
    return snapshots("global")


@pytest.fixture(scope="module")
def era5_centers(global_snapshots):
    grid, times = global_snapshots
    return [RULES["era5"].find(fields, grid) for fields in times[:6]]


def storm(lat=15.0, lon=100.0, **changes):
    """One storm in an atmosphere at rest, with fields of both criteria, 3000 Pa, 5 K, 150 m."""
    fields = add_storm(calm(), lat, lon, **changes)
    fields["Z500"] = np.full_like(fields["PSL"], 5700.0)
    fields["Z300"] = fields["Z200"] - np.float32(2900.0)
    return fields


def find(rules=HANDY, fields=None):
    return rules.find(storm() if fields is None else fields, GRID)


def same_as_detect_nodes(name, criterion, found):
    """Whether candidates are those of DetectNodes, in its order; with its values."""
    _, rows = nodes(f"{name}_{criterion}")
    mine = [[(center.column, center.row) for center in centers] for centers in found]
    assert mine == [[(int(row[0]), int(row[1])) for row in then] for then in rows[: len(found)]]
    for centers, then in zip(found, rows, strict=False):
        for center, (*_, lon, lat, pressure, wind, height) in zip(centers, then, strict=True):
            assert (center.lon, center.lat) == pytest.approx((lon, lat), abs=1e-6)
            measured = center.central_pressure_pa, center.max_wind_ms, center.surface_height_m
            # Seven digits are written.
            assert measured == pytest.approx((pressure, wind, height), rel=1e-6, abs=1e-3)


def test_era5_candidates_are_those_of_detect_nodes(era5_centers):
    same_as_detect_nodes("global", "era5", era5_centers)
    # They do hold the hard cases: near 0/360, on a pole, and equal ones that both stay.
    centers = [center for centers in era5_centers for center in centers]
    assert any(center.lon in (0.0, 358.0) and abs(center.lat) < 30 for center in centers)
    assert any(abs(center.lat) == 90.0 for center in centers)


@pytest.mark.parametrize(
    ("name", "criterion", "num"),
    [
        ("global", "cam", 12),
        ("global", "cam_merge_equal", 3),
        ("regional", "cam", 3),
        ("regional", "era5", 3),
    ],
)
def test_candidates_are_those_of_detect_nodes(name, criterion, num):
    grid, times = snapshots(name)
    found = [RULES[criterion].find(fields, grid) for fields in times[:num]]
    assert any(found)
    same_as_detect_nodes(name, criterion, found)


def test_both_criteria_find_a_storm_over_the_seam_and_in_the_south():
    for rules in (HANDY, TempestEra5Rules(bundled_terrain=False)):
        for lat, lon in ((15.0, 0.0), (-20.0, 359.0)):
            (center,) = find(rules, storm(lat, lon))
            assert (center.lat, center.lon) == (lat, lon)
            assert (LAT[center.row], LON[center.column]) == (lat, lon)


def test_measures_of_a_known_storm():
    (center,) = find()
    assert center.central_pressure_pa == 98300.0
    # The last cell of the easiest way out lies 3 to 4 degrees away, where exp(-0.5 (3 / 2)^2) =
    # 0.325 to exp(-0.5 (4 / 2)^2) = 0.135 of 3000 Pa and 5 K are left.
    assert 3000.0 * 0.675 < center.pressure_rise_pa < 3000.0 * 0.865
    assert 5.0 * 0.675 < center.warm_core_k < 5.0 * 0.865
    # The strongest wind, 30 m/s at 1.2 degrees, as far as cells 1 and 1.4 degrees away see it;
    # at the lowest level, so times 0.85.
    assert 0.85 * 28.0 < center.max_wind_ms < 0.85 * 30.0
    assert np.isnan(center.surface_height_m)
    assert center.radius_17_deg > center.radius_33_deg == 0.0
    (center,) = find(TempestEra5Rules(bundled_terrain=False))
    assert 150.0 * 0.8 < center.thickness_m < 150.0
    assert np.isnan(center.warm_core_k)


def test_contours_must_be_as_strong_as_asked():
    (center,) = find()
    for name, value in (
        ("min_pressure_rise_pa", center.pressure_rise_pa),
        ("min_warm_core_k", center.warm_core_k),
    ):
        assert find(replace(HANDY, **{name: value}))
        assert not find(replace(HANDY, **{name: float(np.nextafter(value, np.inf))}))


def test_a_cold_low_is_no_candidate():
    fields = storm()
    fields["T200"] = 440.0 - fields["T200"]
    fields["T500"] = 532.0 - fields["T500"]
    assert not find(fields=fields)


def test_radii_are_options():
    (usual,) = find()
    (narrow,) = find(replace(HANDY, pressure_radius_deg=2.5))
    assert narrow.pressure_rise_pa < usual.pressure_rise_pa
    (narrow,) = find(replace(HANDY, core_radius_deg=2.5))
    assert narrow.warm_core_k < usual.warm_core_k
    (calmer,) = find(replace(HANDY, wind_reach_deg=0.5))
    assert calmer.max_wind_ms < 1.0


def test_the_core_may_lie_beside_the_minimum():
    fields = storm()
    for name in ("T200", "T500"):
        fields[name] = np.roll(fields[name], 1, axis=1)
    (beside,) = find(fields=fields)
    (above,) = find()
    assert beside.warm_core_k == pytest.approx(above.warm_core_k, rel=0.01)
    (less,) = find(replace(HANDY, core_search_deg=0.5), fields)
    assert less.warm_core_k < above.warm_core_k - 0.5


def test_merging_is_an_option():
    # Two storms 5.79 degrees apart, one deeper, both with closed contours within 2 degrees.
    fields = add_storm(storm(15.0, 100.0), 15.0, 106.0, deep=2500.0)
    rules = replace(HANDY, pressure_radius_deg=2.1, core_radius_deg=2.1)
    assert [center.lon for center in find(rules, fields)] == [100.0]
    assert len(find(replace(rules, merge_deg=5.7), fields)) == 2
    assert len(find(replace(rules, merge_deg=0.0), fields)) == 2


def test_equal_minima_merge_only_if_asked():
    fields = storm()
    fields["PSL"][105, 101] = fields["PSL"][105, 100]
    assert [center.lon for center in find(fields=fields)] == [100.0, 101.0]
    rules = replace(HANDY, merge_equal=True)
    assert [center.lon for center in find(rules, fields)] == [100.0]


def test_winds_of_another_height_are_converted_if_wanted():
    (converted,) = find()
    (as_it_is,) = find(replace(HANDY, convert_wind=False))
    assert converted.max_wind_ms == pytest.approx(0.85 * as_it_is.max_wind_ms)
    fields = storm()
    fields["U10"], fields["V10"] = fields["UBOT"], fields["VBOT"]
    (at_10m,) = find(fields=fields)
    assert at_10m.max_wind_ms == as_it_is.max_wind_ms


def test_heights_come_from_the_archive_or_the_package():
    fields = storm(33.0, 90.0)  # Tibet
    (center,) = find(fields=fields)
    assert np.isnan(center.surface_height_m)
    (center,) = find(TempestCamRules(), fields)
    assert 4000.0 < center.surface_height_m < 5500.0
    fields["PHIS"] = np.full_like(fields["PSL"], 1961.33)
    (center,) = find(TempestCamRules(), fields)
    assert center.surface_height_m == pytest.approx(200.0)


def test_sub_grid_centers():
    fields = storm(15.3, 100.4)
    (on_grid,) = find(fields=fields)
    (between,) = find(replace(HANDY, sub_grid=True), fields)
    assert (on_grid.lat, on_grid.lon) == (15.0, 100.0)
    assert great_circle_km(between.lat, between.lon, 15.3, 100.4) < 5.0
    assert 98290.0 < between.central_pressure_pa < on_grid.central_pressure_pa - 50.0
    assert (between.row, between.column) == (on_grid.row, on_grid.column)
    assert between.pressure_rise_pa == on_grid.pressure_rise_pa


def test_missing_values_and_flat_fields_are_no_storms():
    fields = storm()
    for values in fields.values():
        values[:, 95:106] = np.nan
    assert find(fields=fields) == []
    flat = calm()
    assert find(fields=flat) == []
    for values in flat.values():
        values[:] = np.nan
    assert find(fields=flat) == []


def test_what_is_read():
    everything = {"PSL", "Z300", "Z500", "T200", "T500", "U10", "V10", "PHIS"}
    plan = TempestEra5Rules().plan(everything)
    assert plan.fields == ("PSL", "Z300", "Z500", "U10", "V10", "PHIS")
    assert not plan.lacking
    assert not plan.notes
    plan = TempestCamRules().plan({"PSL", "T200", "T500", "UBOT", "VBOT"})
    assert plan.fields == ("PSL", "T200", "T500", "UBOT", "VBOT")
    assert "0.85" in plan.notes["wind"]
    assert "PHIS" in plan.notes["height"]
    assert "no rule" in HANDY.plan({"PSL", "T200", "T500", "UBOT", "VBOT"}).notes["height"]


@pytest.mark.parametrize(
    ("lost", "told"), [("Z300", "tempest-cam"), ("PSL", "PSL"), ("U10", "wind"), ("Z500", "Z500")]
)
def test_what_is_lacking_is_told(lost, told):
    plan = TempestEra5Rules().plan({"PSL", "Z300", "Z500", "U10", "V10"} - {lost})
    assert not plan.fields
    assert told in plan.lacking


def table_of(found, step_hours=6.0):
    """The table of candidates of snapshots in a row."""
    flat = [(step, center) for step, centers in enumerate(found) for center in centers]
    hours = np.arange(len(found)) * step_hours
    return center_table([center for _, center in flat], [step for step, _ in flat], hours)


def moving(num, **changes):
    """Candidates of a storm that drifts west by a degree in 6 hours."""
    rules = replace(HANDY, **changes)
    return table_of([find(rules, storm(15.0, 130.0 - n)) for n in range(num)])


def test_tracks_of_a_storm_that_lasts():
    assert HANDY.select(moving(10)).tolist() == [0] * 10
    assert HANDY.select(moving(9)).tolist() == [-1] * 9
    short = replace(HANDY, tracks=StitchRules(min_hours=48.0, min_points=9))
    assert short.select(moving(9)).tolist() == [0] * 9


def test_selecting_applies_all_thresholds_again():
    table = moving(10)
    strong = replace(HANDY, min_pressure_rise_pa=2900.0)
    assert strong.select(table).tolist() == [-1] * 10
    warm = replace(HANDY, min_warm_core_k=4.9)
    assert warm.select(table).tolist() == [-1] * 10


@pytest.mark.parametrize("criterion", ["era5", "cam"])
def test_members_agree_whether_found_together_or_alone(criterion):
    grid, times = snapshots("regional")
    usual = replace(RULES[criterion], tracks=StitchRules(min_hours=6.0, min_points=2))
    members = usual.members()
    together = table_of([members[0].find(fields, grid) for fields in times])
    key = [*zip(together["step"], together["row"], together["column"], strict=True)]
    assert len(members) == {"era5": 6, "cam": 18}[criterion]
    assert usual in members
    sizes = set()
    for member in (members[0], usual, members[-1]):
        alone = table_of([member.find(fields, grid) for fields in times])
        alone_key = zip(alone["step"], alone["row"], alone["column"], strict=True)
        numbers = dict(zip(alone_key, member.select(alone).tolist(), strict=True))
        assert member.select(together).tolist() == [numbers.get(where, -1) for where in key]
        sizes.add(len(alone))
    assert len(sizes) > 1


def test_explain_tells_every_criterion_the_nearest_minimum_first():
    fields = add_storm(storm(15.0, 100.0), 15.0, 106.0, deep=2500.0)
    fields["PHIS"] = np.full_like(fields["PSL"], 1000.0)
    first, second = HANDY.explain(fields, GRID, 15.0, 107.0, 8.0)
    assert [check.passed for check in second.checks] == [True] * 6
    assert (second.lat, second.lon) == (15.0, 100.0)
    lower = first.checks[0]
    assert not first.passed
    assert not lower.passed
    # 6 degrees of longitude at 15 degrees are 5.79 degrees.
    assert lower.value == pytest.approx(5.79, abs=0.01)
    assert [check.threshold for check in first.checks] == [6.0, 300.0, 0.6, 10.0, 50.0, 150.0]
    (center,) = HANDY.find(fields, GRID)  # the other merges into it
    assert second.checks[1].value == center.pressure_rise_pa
    assert second.checks[2].value == center.warm_core_k
    assert second.checks[3].value == center.max_wind_ms
    assert second.checks[5].value == pytest.approx(1000.0 / 9.80665)
    assert HANDY.explain(fields, GRID, -60.0, 300.0, 0.5)[:1] != [second]


@pytest.mark.parametrize("rules", [TempestEra5Rules, TempestCamRules])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_pressure_rise_pa", 0.0),
        ("pressure_radius_deg", -1.0),
        ("core_radius_deg", 0.0),
        ("wind_reach_deg", 0.0),
        ("core_search_deg", -1.0),
        ("merge_deg", -6.0),
        ("pressure_radius_deg", float("inf")),
        ("merge_deg", 181.0),
    ],
)
def test_impossible_thresholds_are_refused(rules, name, value):
    with pytest.raises(ValueError, match=name):
        rules(**{name: value})


def test_impossible_cores_are_refused():
    with pytest.raises(ValueError, match="min_warm_core_k"):
        TempestCamRules(min_warm_core_k=0.0)
    with pytest.raises(ValueError, match="min_thickness_fall_m"):
        TempestEra5Rules(min_thickness_fall_m=-6.0)


def test_every_column_is_one_of_the_center():
    (center,) = find()
    assert isinstance(center, CycloneCenter)
    assert {field.name for field in fields_of(TempestCamRules)} >= {"min_warm_core_k", "tracks"}
