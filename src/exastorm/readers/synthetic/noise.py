"""Correlated noise on the sphere that drifts and renews itself, computable at any time directly.

Each layer of noise is a sum of spherical harmonics with random coefficients, so that it has no seam
and is smooth at the poles. Its power falls with degree as the layer asks. Zonal wavenumber m drifts
at its own speed, as Rossby waves do. Every `EPOCH_HOURS` a new realization is drawn; between the
two nearest ones the layers turn like cosine and sine, which keeps the variance and lets any time
be computed without its past. Coefficients do not depend on the grid: a finer grid shows the same
weather with more detail.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from exastorm.constants import EARTH_RADIUS_KM
from exastorm.readers.synthetic.settings import random_stream

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

NOISE_STREAM = 1
"""Purpose number of the noise in `random_stream`."""

EPOCH_HOURS = 96.0
"""Time between new realizations: synoptic systems live three to five days (Holton 2004)."""

MAX_DEGREE = 170
"""Highest degree drawn: half a wavelength of 118 km, about what a 0.25-degree model resolves."""

SECONDS_PER_DAY = 86400.0


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One kind of noise.

    Attributes:
        name: Key of the layer.
        peak_degree: Degree below which the power per degree no longer grows.
        slope: Power per degree falls as degree**-slope above the peak. A stream function of slope 5
            gives the k^-3 kinetic energy of synoptic weather (Nastrom and Gage 1985, J. Atmos. Sci.
            42, 950), a tracer of slope 2 the flatter one of water vapor (Kahn and Teixeira 2009,
            J. Climate 22, 5558).
        drift: Eastward drift of short waves, degrees a day.
        still_wave: Zonal wavenumber that stands still; longer ones drift west, as Rossby waves do.
    """

    name: str
    peak_degree: float
    slope: float
    drift: float
    still_wave: float


LAYERS: tuple[Layer, ...] = (
    Layer(name="stream", peak_degree=8.0, slope=5.0, drift=11.0, still_wave=3.0),
    Layer(name="planetary", peak_degree=5.0, slope=5.0, drift=7.0, still_wave=3.0),
    Layer(name="eddies", peak_degree=24.0, slope=4.0, drift=-5.0, still_wave=0.0),
    Layer(name="stir", peak_degree=16.0, slope=4.0, drift=6.0, still_wave=2.0),
    Layer(name="vapor", peak_degree=24.0, slope=2.0, drift=5.0, still_wave=0.0),
    Layer(name="showers", peak_degree=50.0, slope=1.5, drift=-3.0, still_wave=0.0),
)
"""All layers. Drifts: 10 to 12 degrees a day of midlatitude waves, 5 to 6 westward of easterly
waves (Holton 2004)."""


def powers(layer: Layer, max_degree: int = MAX_DEGREE) -> FloatArray:
    """Share of the variance in each degree (max_degree + 1,), summing to 1 over all drawn."""
    degree = np.arange(MAX_DEGREE + 1, dtype=np.float64)
    power = degree / (1.0 + (degree / layer.peak_degree) ** (layer.slope + 1.0))
    return np.asarray(power[: max_degree + 1] / power.sum())


def resolved_variance(name: str, num_lat: int, num_lon: int) -> float:
    """Variance of a layer of unit variance that a grid can hold."""
    layer = next(layer for layer in LAYERS if layer.name == name)
    return float(powers(layer, highest_degree(num_lat, num_lon)).sum())


def highest_degree(num_lat: int, num_lon: int) -> int:
    """Highest degree that a grid can hold with four points or more to a wave."""
    return min(MAX_DEGREE, num_lat // 2, (num_lon - 1) // 2)


def gradient_per_meter(layer: Layer) -> float:
    """Root mean square of one component of the gradient of a layer of unit variance, m-1."""
    degree = np.arange(MAX_DEGREE + 1, dtype=np.float64)
    variance = float(np.sum(degree * (degree + 1.0) * powers(layer))) / 2.0
    return float(np.sqrt(variance)) / (EARTH_RADIUS_KM * 1e3)


def coefficients(seed: int, epoch: int, max_degree: int) -> ComplexArray:
    """Random harmonics of all layers of one epoch, shape (layers, degree, order).

    Args:
        seed: Seed of the climate.
        epoch: Number of the epoch.
        max_degree: Highest degree kept; all are drawn, so that grids share them.
    """
    drawn, size = np.zeros((len(LAYERS), max_degree + 1, max_degree + 1), complex), MAX_DEGREE + 1
    for index, layer in enumerate(LAYERS):
        stream = random_stream(seed, NOISE_STREAM, epoch, index)
        parts = stream.standard_normal((2, size, size))[:, : max_degree + 1, : max_degree + 1]
        # Order 0 is real; the others have a cosine and a sine part, of half the power each.
        values = (parts[0] + 1j * parts[1]) * np.sqrt(0.5)
        values[:, 0] = parts[0][:, 0]
        degree = np.arange(max_degree + 1)
        scale = np.sqrt(powers(layer, max_degree) / (2.0 * degree + 1.0))
        drawn[index] = values * scale[:, None]
    return drawn


def zonal_waves(lat: FloatArray, drawn: ComplexArray) -> ComplexArray:
    """Sum the degrees: from harmonics (layers, degree, order) to waves (layers, H, order).

    The associated Legendre functions come from the stable three-term recursion in degree, for all
    orders and latitudes at once (Holmes and Featherstone 2002, J. Geodesy 76, 279, eq. 11),
    normalized so that harmonics of unit coefficient have a mean square of 1 on the sphere.

    Args:
        lat: Latitudes (H,), degrees.
        drawn: Coefficients.
    """
    num_layers, size, _ = drawn.shape
    sine, cosine = np.sin(np.deg2rad(lat))[:, None], np.cos(np.deg2rad(lat))[:, None]
    order = np.arange(size, dtype=np.float64)
    waves = np.zeros((num_layers, lat.size, size), complex)
    before = np.zeros((lat.size, size))
    current = np.zeros((lat.size, size))
    diagonal = np.ones(lat.size)
    for degree in range(size):
        following = np.zeros((lat.size, size))
        if degree > 0:
            m = order[:degree]
            up = np.sqrt((4.0 * degree**2 - 1.0) / (degree**2 - m**2))
            down = np.sqrt(
                (2.0 * degree + 1.0) * ((degree - 1.0) ** 2 - m**2)
                / ((degree**2 - m**2) * max(2.0 * degree - 3.0, 1.0))
            )  # fmt: skip
            following[:, :degree] = up * sine * current[:, :degree] - down * before[:, :degree]
            diagonal = diagonal * np.sqrt((2.0 * degree + 1.0) / (2.0 * degree)) * cosine[:, 0]
            # Denormal numbers near the poles would only cost time.
            diagonal = np.where(np.abs(diagonal) < 1e-150, 0.0, diagonal)
        following[:, degree] = diagonal
        before, current = current, following
        kept = slice(0, degree + 1)
        waves[:, :, kept] += drawn[:, degree, None, kept] * current[None, :, kept]
    return waves


class Noise:
    """All layers of noise of one climate on one grid.

    Attributes:
        seed: Seed of the climate.
        lat: Latitudes (H,), degrees.
        num_lon: Number of longitudes.
        max_degree: Highest degree that the grid can hold.
    """

    def __init__(self, seed: int, lat: FloatArray, num_lon: int) -> None:
        self.seed = seed
        self.lat = lat
        self.num_lon = num_lon
        self.max_degree = highest_degree(lat.size, num_lon)
        self._waves = lru_cache(maxsize=3)(self._draw)

    def _draw(self, epoch: int) -> ComplexArray:
        """Waves (layers, H, order) of one epoch; threads that race draw the same twice."""
        return zonal_waves(self.lat, coefficients(self.seed, epoch, self.max_degree))

    def at(self, hour: float) -> dict[str, FloatArray]:
        """Every layer at an absolute hour: name to unit-variance noise (H, W).

        `stream_aloft` is `stream` moved west by a sixth of the wave of degree 8: troughs and ridges
        lean westward with height, so that warm moist air lies ahead of the surface low.
        """
        number = int(np.floor(hour / EPOCH_HOURS))
        share = hour / EPOCH_HOURS - number
        mixed = np.cos(0.5 * np.pi * share) * self._moved(number, hour)
        mixed = mixed + np.sin(0.5 * np.pi * share) * self._moved(number + 1, hour)
        order = np.arange(self.max_degree + 1)
        shift = np.deg2rad(360.0 / 8.0 / 6.0)
        aloft = mixed[:1] * np.exp(1j * order * shift)
        both = np.concatenate([mixed, aloft])
        # irfft divides by n; it counts every order but 0 twice, as the real field does.
        fields = np.fft.irfft(both * self.num_lon, n=self.num_lon, axis=2)
        names = [layer.name for layer in LAYERS] + ["stream_aloft"]
        return dict(zip(names, fields, strict=True))

    def _moved(self, epoch: int, hour: float) -> ComplexArray:
        """Waves of one epoch, drifted to an hour."""
        days = (hour - epoch * EPOCH_HOURS) * 3600.0 / SECONDS_PER_DAY
        order = np.arange(self.max_degree + 1, dtype=np.float64)
        turned = np.empty((len(LAYERS), 1, order.size), complex)
        for index, layer in enumerate(LAYERS):
            slowed = 1.0 - (layer.still_wave / np.maximum(order, 1.0)) ** 2
            speed = layer.drift * np.maximum(slowed, -0.5)
            turned[index, 0] = np.exp(-1j * order * np.deg2rad(speed * days))
        return self._waves(epoch) * turned
