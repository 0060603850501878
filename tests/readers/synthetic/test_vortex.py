"""The inside of a tropical cyclone against the published formulas, worked by hand."""

import numpy as np
import pytest

from exastorm.readers.synthetic.vortex import (
    RADII_KM,
    TRUTH_WIND,
    balanced_deficit,
    climatological_rain,
    holland_b,
    holland_wind,
    radius_of_maximum_wind_km,
    vortex,
    warm_core,
)


def test_holland_profile_peaks_at_the_core():
    wind = holland_wind(RADII_KM, 50.0, 40.0, 1.5)
    assert RADII_KM[np.argmax(wind)] == 40.0
    assert wind.max() == pytest.approx(50.0)
    assert wind[0] == pytest.approx(0.0, abs=1e-6)
    # At four core radii, B = 1.5: (1/4)^1.5 = 0.125; sqrt(0.125 exp(0.875)) = 0.5476.
    assert holland_wind(np.array([160.0]), 50.0, 40.0, 1.5)[0] == pytest.approx(27.38, abs=0.01)


def test_cyclostrophic_deficit_is_hollands():
    # Without rotation of the Earth Holland's wind belongs to p = pc + dp exp(-(rm/r)^B), with
    # dp = rho e Vm^2 / B = 1.2 x 2.71828 x 50^2 / 1.5 = 5436.6 Pa. Between radii a and b it rises
    # by dp (exp(-(rm/b)^B) - exp(-(rm/a)^B)): rm = 40, a = 80, b = 400:
    # exp(-0.0316) - exp(-0.3536) = 0.9689 - 0.7022 = 0.2667, so 1450 Pa.
    radii = np.arange(0.0, 2001.0, 1.0)
    deficit = balanced_deficit(radii, holland_wind(radii, 50.0, 40.0, 1.5), 0.0)
    assert deficit[80] - deficit[400] == pytest.approx(1450.0, rel=2e-3)
    # From the center: exp(-0.0316) = 0.9689 of dp.
    assert deficit[0] - deficit[400] == pytest.approx(0.9689 * 5436.6, rel=5e-3)


def test_rotation_of_the_earth_deepens_the_low():
    # rho f V over 100 km at 30 degrees with V = 20 everywhere: 1.2 x 7.292e-5 x 20 x 1e5 = 175 Pa.
    radii = np.arange(0.0, 101.0, 1.0)
    wind = np.full(radii.size, 20.0)
    extra = balanced_deficit(radii, wind, 30.0) - balanced_deficit(radii, wind, 0.0)
    assert extra[0] == pytest.approx(175.0, rel=1e-3)


def test_gradient_balance_holds_on_a_made_vortex():
    shape = vortex(45.0, -20.0, 1.0, 28.0)
    meters = RADII_KM * 1e3
    inner = slice(5, 150)
    slope = -np.gradient(shape.deficit, meters)[inner]
    coriolis = 2.0 * 7.292115e-5 * np.sin(np.deg2rad(20.0))
    balance = 1.2 * (shape.wind**2 / np.maximum(meters, 1.0) + coriolis * shape.wind)[inner]
    np.testing.assert_allclose(slope, balance, rtol=0.07)


def test_published_fits_at_one_point():
    # Willoughby: 46.4 exp(-0.0155 x 50 + 0.0169 x 20) = 46.4 exp(-0.437) = 29.97 km;
    # B = 1.0036 + 0.0173 x 30 - 0.0313 ln(40) + 0.0087 x 15 = 1.5376.
    assert radius_of_maximum_wind_km(50.0, -20.0) == pytest.approx(29.97, abs=0.01)
    assert holland_b(30.0, 40.0, 15.0) == pytest.approx(1.5376, abs=1e-3)
    assert holland_b(70.0, 20.0, 15.0) == 1.6


def test_coarse_grids_hold_wide_weak_storms():
    fine, coarse = vortex(50.0, 15.0, 1.0, 28.0), vortex(50.0, 15.0, 1.0, 110.0)
    assert coarse.core_km == pytest.approx(121.0)
    assert coarse.max_wind < fine.max_wind < 50.0
    assert coarse.max_wind > 30.0
    # A storm just strong enough keeps 14 to 15 m/s at about 100 km (Walsh et al. 2007).
    assert 13.0 < vortex(17.5, 15.0, 1.0, 100.0).max_wind < 15.5


def test_larger_storms_reach_farther():
    small, large = vortex(40.0, 15.0, 0.7, 28.0), vortex(40.0, 15.0, 1.4, 28.0)
    assert large.outer_km > 1.3 * small.outer_km
    at_edge = np.interp(large.outer_km, RADII_KM, large.wind)
    assert at_edge == pytest.approx(TRUTH_WIND, abs=0.5)
    assert vortex(11.0, 15.0, 1.0, 28.0).outer_km == 0.0


def test_warm_core_lifts_the_low_away():
    # A deficit of 5000 Pa lowers 1000 hPa by 5000 / (1.2 x 9.80665) = 424.9 m. Thickness grows by
    # 29.27 x ln 5 = 47.11 m per K, so 9.02 K fill it up; 5 % more make a weak high aloft.
    assert warm_core(np.array([5000.0]))[0] == pytest.approx(1.05 * 9.02, rel=1e-3)


def test_rain_is_r_clipers():
    # 65 kt: u = 1 + 30/33 = 1.9091; peak -1.60 + 4.80 u = 7.564 inches a day at
    # 64.5 - 13 u = 39.68 km: 7.564 x 0.0254 / 86400 = 2.2236e-6 m/s.
    knots = 0.514444
    peak = climatological_rain(np.array([39.682]), 65.0 * knots)[0]
    assert peak == pytest.approx(2.2236e-6, rel=1e-3)
    # One folding distance of 150 - 16 u = 119.5 km farther: 1/e of it.
    assert climatological_rain(np.array([159.14]), 65.0 * knots)[0] == pytest.approx(
        peak / np.e, rel=1e-3
    )
