"""Noise on the sphere: variance, spectrum, poles, seam, and its change in time."""

import numpy as np
import pytest

from exastorm.grid import regular_grid
from exastorm.readers.synthetic import noise as noise_module
from exastorm.readers.synthetic.noise import (
    EPOCH_HOURS,
    LAYERS,
    MAX_DEGREE,
    Layer,
    Noise,
    coefficients,
    gradient_per_meter,
    highest_degree,
    powers,
    resolved_variance,
    zonal_waves,
)


def field_of(degree, order, value, height=91, width=180):
    """Field of one harmonic."""
    lat, _ = regular_grid(height, width)
    drawn = np.zeros((1, 21, 21), complex)
    drawn[0, degree, order] = value
    waves = zonal_waves(lat, drawn)[0]
    return lat, np.fft.irfft(waves * width, n=width, axis=1)


def test_harmonics_are_the_textbook_ones():
    # Normalized to a mean square of 1 on the sphere: degree 1, order 0 is sqrt(3) sin(lat);
    # degree 2, order 0 is sqrt(5)/2 (3 sin^2 - 1); degree 1, order 1 is sqrt(3/2) cos(lat), which
    # a real field holds twice: as itself and as its conjugate.
    lat, field = field_of(1, 0, 1.0)
    sine, cosine = np.sin(np.deg2rad(lat)), np.cos(np.deg2rad(lat))
    np.testing.assert_allclose(field[:, 7], np.sqrt(3.0) * sine, atol=1e-12)
    _, field = field_of(2, 0, 1.0)
    np.testing.assert_allclose(field[:, 7], np.sqrt(5.0) / 2.0 * (3 * sine**2 - 1), atol=1e-12)
    _, field = field_of(1, 1, 1.0)
    np.testing.assert_allclose(field[:, 0], 2.0 * np.sqrt(1.5) * cosine, atol=1e-12)


def test_high_harmonics_keep_a_mean_square_of_one():
    lat, field = field_of(20, 13, np.sqrt(0.5))
    weight = np.cos(np.deg2rad(lat))[:, None]
    assert (weight * field**2).mean() / weight.mean() == pytest.approx(1.0, rel=2e-3)


def test_layers_have_unit_variance_on_average():
    lat, _ = regular_grid(64, 128)
    noise, weight = Noise(3, lat, 128), np.cos(np.deg2rad(lat))[:, None]
    times = EPOCH_HOURS * (np.arange(24) + 0.37)
    sums = {name: [] for name in ("stream", "planetary", "stir")}
    for hour in times:
        fields = noise.at(hour)
        for name, values in sums.items():
            values.append((weight * fields[name] ** 2).mean() / weight.mean())
    for name, values in sums.items():
        expected = resolved_variance(name, 64, 128)
        # Few waves carry the variance: it scatters by a third, its mean over 24 by a tenth.
        assert np.mean(values) == pytest.approx(expected, rel=0.25), name


def test_power_falls_with_the_slope_that_was_asked_for():
    layer = Layer(name="x", peak_degree=8.0, slope=5.0, drift=0.0, still_wave=0.0)
    power = powers(layer)
    assert power.sum() == pytest.approx(1.0)
    measured = np.log(power[128] / power[64]) / np.log(2.0)
    assert measured == pytest.approx(-5.0, abs=0.02)
    # Velocity has degree^2 more: k^-3, the energy spectrum of synoptic weather.
    energy = np.arange(MAX_DEGREE + 1) ** 2 * power
    assert np.log(energy[128] / energy[64]) / np.log(2.0) == pytest.approx(-3.0, abs=0.02)


def test_drawn_coefficients_follow_the_powers():
    drawn = np.mean([np.abs(coefficients(0, epoch, 60)) ** 2 for epoch in range(40)], axis=0)
    for index, layer in enumerate(LAYERS):
        # Orders above 0 count twice in a real field.
        per_degree = 2.0 * drawn[index, :, :].sum(axis=1) - drawn[index, :, 0]
        # coefficients() fills whole rows; the sum must go up to the degree itself only.
        exact = [drawn[index, n, 0] + 2.0 * drawn[index, n, 1 : n + 1].sum() for n in range(20, 61)]
        assert np.sum(exact) == pytest.approx(powers(layer)[20:61].sum(), rel=0.06)
        assert per_degree.shape == (61,)


def test_gradient_of_a_layer_is_as_strong_as_promised():
    lat, _ = regular_grid(96, 192)
    noise = Noise(1, lat, 192)
    layer = LAYERS[0]
    steps = []
    for hour in EPOCH_HOURS * np.arange(30):
        field = noise.at(hour)["stream"]
        band = np.abs(lat) < 60
        north = np.gradient(field, np.deg2rad(lat[1] - lat[0]) * 6371e3, axis=0)
        steps.append((north[band] ** 2).mean())
    assert np.sqrt(np.mean(steps)) == pytest.approx(gradient_per_meter(layer), rel=0.1)


def test_poles_are_one_point():
    lat, _ = regular_grid(48, 96)
    for field in Noise(0, lat, 96).at(1000.0).values():
        assert np.ptp(field[0]) < 1e-10
        assert np.ptp(field[-1]) < 1e-10


def test_the_seam_is_like_any_other_meridian():
    lat, _ = regular_grid(48, 96)
    noise = Noise(0, lat, 96)
    jumps = np.stack(
        [
            np.abs(np.diff(noise.at(h)["vapor"], axis=1, append=noise.at(h)["vapor"][:, :1]))
            for h in EPOCH_HOURS * np.arange(40)
        ]
    ).mean(axis=(0, 1))
    assert abs(jumps[-1] - jumps[:-1].mean()) < 4.0 * jumps[:-1].std()


def test_grids_share_the_weather():
    coarse_lat, _ = regular_grid(49, 96)
    fine_lat, _ = regular_grid(97, 192)
    coarse = Noise(5, coarse_lat, 96).at(500.0)["stream"]
    fine = Noise(5, fine_lat, 192).at(500.0)["stream"]
    # Every other point of the fine grid is one of the coarse grid's.
    assert np.corrcoef(fine[::2, ::2].ravel(), coarse.ravel())[0, 1] > 0.99
    assert highest_degree(97, 192) == 48


def test_noise_changes_smoothly_and_forgets():
    lat, _ = regular_grid(48, 96)
    noise = Noise(0, lat, 96)

    def likeness(gap):
        pairs = [
            np.corrcoef(noise.at(h)["stream"].ravel(), noise.at(h + gap)["stream"].ravel())[0, 1]
            for h in (0.0, 333.0, 1000.0, 2222.0)
        ]
        return np.mean(pairs)

    assert likeness(3.0) > 0.97
    # Across the turn of an epoch too.
    edge = [noise.at(EPOCH_HOURS + d)["stream"].ravel() for d in (-0.01, 0.01)]
    assert np.corrcoef(*edge)[0, 1] > 0.9999
    assert abs(likeness(3 * EPOCH_HOURS)) < 0.3


def test_waves_drift_east_and_easterly_waves_west():
    lat, _ = regular_grid(64, 128)
    noise = Noise(2, lat, 128)

    def drift(name, hours=12.0):
        shifts = []
        for start in EPOCH_HOURS * np.arange(12):
            before, after = noise.at(start)[name], noise.at(start + hours)[name]
            scores = [(np.roll(before, k, axis=1) * after).sum() for k in range(-12, 13)]
            shifts.append(np.argmax(scores) - 12)
        return np.mean(shifts)

    # 11 and -5 degrees a day: in half a day 2.0 and -0.9 columns of 2.8 degrees.
    assert 0.8 < drift("stream") < 2.5
    assert -1.6 < drift("eddies") < -0.3


def test_only_waves_depend_on_the_seed(monkeypatch):
    lat, _ = regular_grid(32, 64)
    first, same, other = (Noise(seed, lat, 64).at(77.0)["stir"] for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.3
    monkeypatch.setattr(noise_module, "NOISE_STREAM", 99)
    assert not np.array_equal(first, Noise(0, lat, 64).at(77.0)["stir"])
