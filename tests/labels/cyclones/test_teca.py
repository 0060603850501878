"""Cyclones as TECA finds them: every criterion decides, in both forms, anywhere on the globe."""

from dataclasses import replace

import numpy as np
import pytest
from tests.labels.conftest import LAT, LON, add_storm, calm
from tests.labels.cyclones.teca_cases import EXACT, FORMS, GRID, RULES, one_storm

from exastorm.errors import InputError
from exastorm.grid import great_circle_km
from exastorm.labels.cyclones.teca import TecaRules
from exastorm.physics.surroundings import Surroundings


@pytest.mark.parametrize("rules", FORMS, ids=lambda r: r.form)
def test_measures_of_a_storm_worked_out(rules):
    (center,) = rules.find(one_storm(), GRID)
    assert (center.row, center.column) == (108, 100)
    assert (center.lat, center.lon) == pytest.approx((18.0, 100.0), abs=0.05)
    assert center.central_pressure_pa == pytest.approx(101300 - 3000, abs=5)
    # Gaussian of 2 degrees: 1 - exp(-3.125) = 0.956 of the depth is regained at 5 degrees, which is
    # as far as the corrected form looks. The exact one looks at 4 degrees east, which are
    # 4 cos 18 = 3.80 degrees away: 1 - exp(-1.810) = 0.836.
    share = 0.956 if rules.form == "corrected" else 0.836
    assert center.pressure_rise_pa == pytest.approx(share * 3000, rel=0.01)
    assert center.warm_core_k == pytest.approx(share * 5, rel=0.01)
    # At 4 degrees 1 - exp(-2) = 0.865; 3 degrees east are 2.853 away: 1 - exp(-1.018) = 0.639; two
    # steps on the diagonal are (2, 1.902), 2.76 degrees away: 1 - exp(-0.952) = 0.614.
    share = 0.865 if rules.form == "corrected" else 0.614
    assert center.thickness_m == pytest.approx(share * 150, rel=0.02)
    # The peak of 30 m/s at 1.2 degrees lies between grid points; 29.5 at 1.
    assert 29.4 < center.max_wind_ms <= 30.0
    # V = 17.5 at 3.106 x 1.2 degrees; the storm never reaches 33 m/s.
    assert center.radius_17_deg == pytest.approx(3.106 * 1.2, rel=0.03)
    assert center.radius_33_deg == 0.0
    # Solid rotation within: 2 V / r = 2 * 2 * 30 / 133434 m = 9.0e-4 at the center, less between
    # points a degree apart.
    assert 2e-4 < center.vorticity_per_s < 9e-4


@pytest.mark.parametrize("rules", FORMS, ids=lambda r: r.form)
@pytest.mark.parametrize(
    ("lat0", "lon0"), [(18.0, 0.0), (18.0, 359.0), (-18.0, 0.0), (-49.0, 180.0), (70.0, 30.0)]
)
def test_found_anywhere(rules, lat0, lon0):
    (center,) = rules.find(add_storm(calm(), lat0, lon0), GRID)
    assert great_circle_km(center.lat, center.lon, lat0, lon0) < 15.0


@pytest.mark.parametrize("rules", FORMS, ids=lambda r: r.form)
@pytest.mark.parametrize(
    "change",
    [
        {"min_vorticity_per_s": 5e-3},
        {"highest_lat_deg": 17.0},
        {"lowest_lat_deg": 19.0},
        {"pressure_radius_deg": 0.01},
    ],
)
def test_what_makes_no_candidate(rules, change):
    assert len(rules.find(one_storm(), GRID)) == 1
    assert replace(rules, **change).find(one_storm(), GRID) == []


def test_a_rise_under_the_threshold_is_no_candidate():
    assert replace(RULES, min_pressure_rise_pa=2950.0).find(one_storm(), GRID) == []


def test_exact_takes_400_pa_for_2():
    # The mass of the storm is weakened: 0.836 x 10 Pa of rise are over 2 Pa but far under 400.
    fields = one_storm(deep=10.0)
    assert RULES.find(fields, GRID) == []
    (center,) = EXACT.find(fields, GRID)
    assert center.pressure_rise_pa == pytest.approx(8.36, abs=0.15)
    # 0.836 x 2 = 1.67 Pa is under 2, unless the threshold itself is.
    assert EXACT.find(one_storm(deep=2.0), GRID) == []
    assert len(replace(EXACT, min_pressure_rise_pa=1.0).find(one_storm(deep=2.0), GRID)) == 1


@pytest.mark.parametrize("rules", FORMS, ids=lambda r: r.form)
def test_anticyclonic_rotation_is_none(rules):
    fields = one_storm()
    for name in ("U850", "V850"):
        fields[name] *= -1
    # Round the anticyclone weak cyclonic shear remains, without a low.
    assert rules.find(fields, GRID) == []


@pytest.mark.parametrize("rules", FORMS, ids=lambda r: r.form)
def test_cold_core_has_no_warm_core(rules):
    fields = one_storm()
    for name in ("T200", "T500"):
        fields[name] = 2 * fields[name].mean() - fields[name]
    (center,) = rules.find(fields, GRID)
    assert center.warm_core_k == 0.0


@pytest.mark.parametrize("rules", FORMS, ids=lambda r: r.form)
@pytest.mark.parametrize(("max_distance", "found"), [(2.0, 0), (4.0, 1)])
def test_pressure_minimum_far_from_the_vorticity_is_another_system(rules, max_distance, found):
    # Wind from a storm at 18 N, mass from one 3 degrees further north.
    fields, other = one_storm(), add_storm(calm(), 21.0, 100.0)
    for name in ("U850", "V850", "UBOT", "VBOT"):
        other[name] = fields[name]
    assert len(replace(rules, max_core_distance_deg=max_distance).find(other, GRID)) == found


@pytest.mark.parametrize("rules", FORMS, ids=lambda r: r.form)
@pytest.mark.parametrize(("field", "measure"), [("T500", "warm_core_k"), ("Z200", "thickness_m")])
def test_core_far_from_the_pressure_minimum_is_none(rules, field, measure):
    fields = one_storm()
    far = add_storm(calm(), 21.0, 100.0)
    for name in ("T200", "T500") if field == "T500" else ("Z200",):
        fields[name] = far[name]
    (center,) = rules.find(fields, GRID)
    assert getattr(center, measure) == 0.0
    (center,) = replace(rules, max_core_distance_deg=4.0).find(fields, GRID)
    assert getattr(center, measure) > 2.0


@pytest.mark.parametrize("form", ["corrected", "exact"])
@pytest.mark.parametrize(("window", "num"), [(7.74446, 1), (3.5, 2)])
def test_two_vorticity_maxima_in_one_window_are_one(form, window, num):
    # 3 degrees apart. Half windows: 3.87 degrees or int((7.74 - 1) / 2) = 3 cells; 1.75 or 1.
    fields = add_storm(one_storm(wind=30.0), 18.0, 103.0, wind=40.0)
    rules = TecaRules(form=form, vorticity_window_deg=window)
    assert len(rules._search(fields, GRID).maxima(1.6e-4)) == num


def test_two_vorticity_maxima_at_one_low_count_once_in_corrected():
    fields = add_storm(one_storm(wind=30.0), 18.0, 103.0, wind=40.0, deep=0.0)
    changes = {"vorticity_window_deg": 3.5, "max_core_distance_deg": 3.5}
    (center,) = replace(RULES, **changes).find(fields, GRID)
    twice = replace(EXACT, **changes).find(fields, GRID)
    assert len(twice) == 2
    assert center.vorticity_per_s == pytest.approx(max(c.vorticity_per_s for c in twice), rel=0.05)


@pytest.mark.parametrize("rules", FORMS, ids=lambda r: r.form)
def test_missing_values_are_no_storm(rules):
    fields = one_storm()
    for name in fields:
        fields[name][120:, 140:] = np.nan
    assert len(rules.find(fields, GRID)) == 1
    (whole,) = rules.find(one_storm(), GRID)
    for name in ("PSL", "T500", "Z200"):
        holed = one_storm()
        holed[name][108, 101] = np.nan
        centers = rules.find(holed, GRID)
        measure = {"T500": "warm_core_k", "Z200": "thickness_m"}.get(name)
        if rules.form == "corrected":
            # Beside the center it hides nothing: along the other rays the field is known.
            (center,) = centers
            assert (center.row, center.column) == (whole.row, whole.column)
            if measure:
                assert getattr(center, measure) == pytest.approx(getattr(whole, measure), rel=0.05)
        else:
            # No spline goes through it.
            assert [getattr(c, measure) for c in centers] == [0.0] if measure else centers == []
    for name in fields:
        fields[name][:] = np.nan
    assert rules.find(fields, GRID) == []


@pytest.mark.parametrize("rules", FORMS, ids=lambda r: r.form)
def test_wind_of_another_height_is_converted(rules):
    fields = one_storm()
    fields["U10"], fields["V10"] = fields.pop("UBOT"), fields.pop("VBOT")
    plain, converted = (
        replace(rules, convert_wind=convert).find(fields, GRID)[0].max_wind_ms
        for convert in (False, True)
    )
    assert converted == pytest.approx(plain / 0.85, rel=1e-5)


def test_rolled_globe_gives_rolled_candidates():
    fields = add_storm(add_storm(calm(), 18.0, 358.6, wind=40.0), -31.3, 120.4)
    rolled = {name: np.roll(values, 57, axis=1) for name, values in fields.items()}
    for center, other in zip(RULES.find(fields, GRID), RULES.find(rolled, GRID), strict=True):
        assert (other.row, other.column) == (center.row, (center.column + 57) % 360)
        assert (other.lat, other.lon) == pytest.approx((center.lat, (center.lon + 57) % 360))
        assert other[4:] == pytest.approx(center[4:], nan_ok=True, rel=1e-12)


def test_mirrored_globe_gives_mirrored_candidates():
    fields = add_storm(add_storm(calm(), 18.4, 358.6, wind=40.0), -31.3, 120.4)
    mirrored = {name: values[::-1].copy() for name, values in fields.items()}
    for name in ("V850", "VBOT"):
        mirrored[name] *= -1
    for center, other in zip(RULES.find(fields, GRID), RULES.find(mirrored, GRID), strict=True):
        assert (other.row, other.column) == (180 - center.row, center.column)
        assert (other.lat, other.lon) == pytest.approx((-center.lat, center.lon))
        assert other[4:] == pytest.approx(center[4:], nan_ok=True, rel=1e-12)


@pytest.mark.parametrize("rules", FORMS, ids=lambda r: r.form)
@pytest.mark.parametrize("lat0", [88.0, -89.0, 90.0])
def test_poles_do_no_harm(rules, lat0):
    rules = replace(rules, lowest_lat_deg=-90.0, highest_lat_deg=90.0)
    found = rules.find(add_storm(calm(), lat0, 100.0), GRID)
    assert len(found) <= 2
    assert all(-90 <= c.lat <= 90 and 0 <= c.lon < 360 for c in found)


@pytest.mark.parametrize("rules", FORMS, ids=lambda r: r.form)
def test_regional_grid(rules):
    rows, columns = slice(95, 125), slice(85, 120)
    grid = Surroundings.of(LAT[rows], LON[columns])
    fields = {name: values[rows, columns].copy() for name, values in one_storm().items()}
    (center,) = rules.find(fields, grid)
    assert (center.row, center.column) == (13, 15)
    # A storm on the edge of the grid is not one that rises to all sides of it.
    cut = {name: values[:, 15:].copy() for name, values in fields.items()}
    assert len(rules.find(cut, Surroundings.of(LAT[rows], LON[columns][15:]))) <= 1


@pytest.mark.parametrize("change", [{}, {"lowest_lat_deg": 16.0, "highest_lat_deg": 20.0}])
def test_exact_refuses_a_window_without_neighbors(change):
    lat, lon = LAT[::3], LON[::3]
    grid = GRID if change else Surroundings.of(lat, lon)
    fields = one_storm() if change else {n: v[::3, ::3] for n, v in one_storm().items()}
    with pytest.raises(InputError, match="vorticity_window_deg"):
        replace(EXACT, **change).find(fields, grid)
    RULES.find(fields, grid)
