"""Model levels to pressures, against atmospheres whose profile is known."""

import numpy as np
import pytest
import xarray as xr

from exastorm.errors import InputError
from exastorm.readers.vertical import find_levels, interpolate

CAM_L26_A = (
    np.array([2, 5, 10, 30, 60, 100, 150, 160, 130, 100, 75, 55, 40, 28, 18, 10, 4, 0.0]) / 1e3
)
CAM_L26_B = np.r_[
    0, 0, 0, 0, 0, 0, 0, 0.07, 0.17, 0.28, 0.385, 0.475, 0.56, 0.652, 0.752, 0.85, 0.94, 0.9925
]


def hybrid_file(*, p0=1000.0, units="hPa", **changes):
    contents = {
        "hyam": ("lev", CAM_L26_A),
        "hybm": ("lev", CAM_L26_B),
        "P0": ((), p0, {"units": units}),
        "T": (("lev", "ncol"), np.zeros((CAM_L26_A.size, 3)), {"units": "K"}),
    }
    return xr.Dataset({**contents, **changes})


@pytest.mark.parametrize(("p0", "units"), [(1000.0, "hPa"), (1e5, "Pa")])
def test_hybrid_pressures(p0, units):
    levels = find_levels(hybrid_file(p0=p0, units=units), "T", "file")
    assert levels.axis == "lev"
    assert levels.needs_surface_pressure
    # p = a P0 + b PS: 0 + 0.9925 * 950 hPa at the lowest level, 2 hPa + 0 at the top.
    np.testing.assert_allclose(levels.pressures_hpa(950.0)[[0, -1]], [2.0, 942.875])
    assert levels.pressures_hpa(np.zeros((4, 5))).shape == (4, 5, CAM_L26_A.size)


def test_levels_may_be_stored_from_the_ground_up():
    turned = hybrid_file().isel(lev=slice(None, None, -1))
    levels = find_levels(turned, "T", "file")
    np.testing.assert_allclose(levels.hybrid_b, CAM_L26_B)
    assert levels.order[0] == CAM_L26_A.size - 1


def test_pressure_levels_and_none():
    plev = ("plev", [85000.0, 50000.0], {"units": "Pa", "standard_name": "air_pressure"})
    dataset = xr.Dataset({"T": (("plev", "ncol"), np.zeros((2, 3)))}, coords={"plev": plev})
    levels = find_levels(dataset, "T", "file")
    np.testing.assert_allclose(levels.pressures_hpa(0.0), [500, 850])
    assert not levels.needs_surface_pressure
    assert find_levels(xr.Dataset({"PS": ("ncol", np.zeros(3))}), "PS", "file") is None
    unitless = dataset.assign_coords(plev=("plev", [1, 2], {"standard_name": "air_pressure"}))
    assert find_levels(unitless, "T", "file") is None


def test_a_reference_pressure_is_needed_in_a_unit_of_pressure():
    with pytest.raises(InputError, match="variable P0: hybrid levels need"):
        find_levels(hybrid_file().drop_vars("P0"), "T", "file")
    with pytest.raises(InputError, match="variable P0: hybrid levels need one"):
        find_levels(hybrid_file(P0=("x", [1.0, 2.0])), "T", "file")
    with pytest.raises(InputError, match="variable P0: must be in a unit of pressure, got 'K'"):
        find_levels(hybrid_file(units="K"), "T", "file")


def pressure_levels(*hpa):
    coord = ("plev", list(hpa), {"units": "hPa", "standard_name": "air_pressure"})
    dataset = xr.Dataset({"T": (("plev", "x"), np.zeros((len(hpa), 2)))}, coords={"plev": coord})
    return find_levels(dataset, "T", "file")


@pytest.mark.parametrize(
    ("levels", "wanted", "reached"),
    [
        ((250, 300, 500), 300, True),
        ((250, 350, 500), 300, False),  # 350/250 = 1.4 is too wide a gap to bridge
        ((260, 350, 500), 300, True),  # 1.346
        ((300, 500, 992.6), 1000, True),  # carried down by 0.75 percent
        ((300, 500, 850), 1000, False),
        ((300, 500, 850), 200, False),
        ((850,), 850, False),  # one level is no profile
    ],
)
def test_what_fixed_pressures_reach(levels, wanted, reached):
    assert pressure_levels(*levels).reaches(wanted) is reached


def test_what_hybrid_levels_reach():
    levels = find_levels(hybrid_file(), "T", "file")
    assert levels.reaches(850)
    assert levels.reaches(1000)
    assert not levels.reaches(1)


@pytest.mark.parametrize("level_hpa", [200, 500, 850, 1000])
@pytest.mark.parametrize("surface_hpa", [520.0, 850.0, 1013.0, 1049.0])
def test_only_the_levels_around_need_reading(level_hpa, surface_hpa):
    levels = find_levels(hybrid_file(), "T", "file")
    pressures = levels.pressures_hpa(np.full(3, surface_hpa)).T
    values = 200 + 0.1 * pressures
    around = levels.around(level_hpa)
    whole = interpolate("T", values, pressures, level_hpa)
    part = interpolate("T", values[around], pressures[around], level_hpa)
    np.testing.assert_allclose(part, whole)
    assert around.stop - around.start < 14


def test_linear_in_log_pressure():
    pressures = np.array([100.0, 300.0, 900.0])[:, None]
    # 519.6 hPa is the geometric mean of 300 and 900.
    middle = np.sqrt(300 * 900)
    np.testing.assert_allclose(interpolate("T", [[1.0], [2.0], [6.0]], pressures, middle), [4.0])
    np.testing.assert_allclose(interpolate("T", [[1.0], [2.0], [6.0]], pressures, 300.0), [2.0])
    np.testing.assert_allclose(interpolate("T", [[1.0], [2.0], [6.0]], pressures, 900.0), [6.0])
    assert np.isnan(interpolate("T", [[1.0], [2.0], [6.0]], pressures, 99.0))


def test_below_the_ground():
    # Lowest level at 900 hPa; 1000 hPa lies below. Winds stay; a lapse rate of 6.5 K/km gives
    # T (1000/900)^(287.05 * 0.0065 / 9.80665) = T * 1.1111^0.190263 = T * 1.020249.
    pressures = np.array([[700.0], [900.0]])
    assert interpolate("U", [[9.0], [7.0]], pressures, 1000.0) == pytest.approx([7.0])
    assert interpolate("T", [[270.0], [280.0]], pressures, 1000.0) == pytest.approx(
        [280 * 1.020249], rel=1e-5
    )
    # Standard atmosphere: 900 hPa lies at 988.5 m, 1000 hPa at 110.9 m.
    assert interpolate("Z", [[3012.0], [988.5]], pressures, 1000.0) == pytest.approx(
        [110.9], abs=0.5
    )
