"""Interpolates columns on model levels to the pressure levels of the vocabulary.

Model levels are hybrid, p = hyam P0 + hybm PS (CAM and E3SM), or pressures of the file's choice.
Between levels a field is linear in the logarithm of pressure. Below the lowest level it is
extrapolated by the rule of readers/levels.py: a lapse rate of 6.5 K/km for temperature and height,
the lowest wind. Hybrid levels follow the ground, so a pressure that lies below them lies below the
ground (1000 hPa over most land) or just above it; fixed pressures are only carried 2 percent down.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.grid import FloatArray
from exastorm.readers.coordinates import find_level_axis, is_hybrid, levels_hpa
from exastorm.readers.levels import extrapolate
from exastorm.readers.units import conversion

SURFACE_RANGE_HPA = (400.0, 1100.0)
"""Between these lies every surface pressure (plausible range of PS)."""

MAX_LEVEL_RATIO = 1.35
"""Nothing is interpolated across a wider gap: ratio of the pressures of neighboring levels. CAM's
coarsest levels between 100 and 1000 hPa (L26) have 1.18; standard levels 500 and 700 hPa 1.4."""

MAX_EXTENSION = 1.02
"""How far a field on fixed pressures is carried below its lowest level: CAM's lowest one lies at
992.6 hPa, and what is wanted at 1000."""


@dataclass(frozen=True, kw_only=True)
class ModelLevels:
    """The vertical axis of a variable.

    Attributes:
        axis: Its dimension.
        hybrid_a_hpa: Part of the pressure that is fixed (L,), hPa, top first.
        hybrid_b: Factor of the surface pressure (L,); all zero for fixed pressures.
        order: Index of each level in the file (L,).
    """

    axis: str
    hybrid_a_hpa: FloatArray
    hybrid_b: FloatArray
    order: NDArray[np.intp]

    @property
    def needs_surface_pressure(self) -> bool:
        """True for hybrid levels."""
        return bool(np.any(self.hybrid_b > 0))

    def pressures_hpa(self, surface_hpa: Any) -> FloatArray:
        """Pressure of each level (..., L) over surface pressures (...), hPa."""
        surface = np.asarray(surface_hpa, dtype=np.float64)
        return np.asarray(self.hybrid_a_hpa + self.hybrid_b * surface[..., None])

    def reaches(self, level_hpa: float) -> bool:
        """True where the field can be had at a pressure without inventing it."""
        low, high = (self.pressures_hpa(p) for p in SURFACE_RANGE_HPA)
        if level_hpa < low[0] or (self.hybrid_a_hpa.size < 2):
            return False
        if not self.needs_surface_pressure:
            below = int(np.searchsorted(low, level_hpa * (1 - 1e-6)))
            if below == low.size:
                return bool(level_hpa <= low[-1] * MAX_EXTENSION)
            is_there = abs(low[below] - level_hpa) <= 1e-3 * level_hpa
            return bool(is_there or low[below] <= MAX_LEVEL_RATIO * low[below - 1])
        return bool(np.all(high[1:] <= MAX_LEVEL_RATIO * high[:-1], where=high[1:] > level_hpa))

    def around(self, level_hpa: float) -> slice:
        """Levels (top first) that can lie next to a pressure, whatever the surface pressure."""
        low, high = (self.pressures_hpa(p) for p in SURFACE_RANGE_HPA)
        start = int(np.searchsorted(high, level_hpa, side="right")) - 1
        stop = int(np.searchsorted(low, level_hpa, side="left")) + 1
        size = low.size
        return slice(min(max(start, 0), size - 2), max(min(stop, size), 2))


def hybrid_axis(dataset: xr.Dataset, array: xr.DataArray) -> str | None:
    """The dimension of a variable that counts hybrid levels, or None.

    It is told by its attributes, or by the coefficients `hyam` and `hybm` along it.
    """
    for dim in map(str, array.dims):
        attrs = dataset.variables[dim].attrs if dim in dataset.variables else {}
        if is_hybrid(attrs):
            return dim
        has_coefficients = {"hyam", "hybm"} <= set(dataset.variables)
        if has_coefficients and dim in dataset.variables["hyam"].dims and _is_vertical(dim, attrs):
            return dim
    return None


def _is_vertical(dim: str, attrs: Any) -> bool:
    """True for a dimension along which hybrid coefficients tell levels, not times."""
    return dim not in ("time", "valid_time") and attrs.get("standard_name") != "air_pressure"


def find_levels(dataset: xr.Dataset, name: str, file: str) -> ModelLevels | None:
    """The vertical axis of a variable; None where it has none that is known.

    Raises:
        InputError: If a hybrid axis has no reference pressure.
    """
    array = dataset[name]
    for dim in map(str, array.dims):
        if {"hyam", "hybm"} <= set(dataset.variables) and dataset["hyam"].dims == (dim,):
            a = dataset["hyam"].values * _reference_pressure_hpa(dataset, file)
            return _sorted_levels(dim, a, dataset["hybm"].values)
    axis = find_level_axis(array)
    if axis is None or axis not in dataset.coords:
        return None
    try:
        pressures = levels_hpa(dataset.coords[axis])
    except ValueError:
        return None
    return _sorted_levels(axis, pressures, np.zeros(pressures.size))


def _sorted_levels(axis: str, a_hpa: Any, b: Any) -> ModelLevels:
    a_hpa, b = np.asarray(a_hpa, dtype=np.float64), np.asarray(b, dtype=np.float64)
    order = np.argsort(a_hpa + 1000.0 * b)
    return ModelLevels(axis=axis, hybrid_a_hpa=a_hpa[order], hybrid_b=b[order], order=order)


def _reference_pressure_hpa(dataset: xr.Dataset, file: str) -> float:
    """P0 of the hybrid levels, hPa."""
    if "P0" not in dataset.variables or dataset["P0"].size != 1:
        raise InputError("hybrid levels need one reference pressure P0", file=file, variable="P0")
    units = str(dataset["P0"].attrs.get("units", ""))
    try:
        scale = conversion(units, "hPa").scale
    except ValueError:
        raise InputError(
            f"must be in a unit of pressure, got {units!r}", file=file, variable="P0"
        ) from None
    return float(dataset["P0"].values.item()) * scale


def interpolate(letter: str, values: Any, pressures_hpa: Any, level_hpa: float) -> FloatArray:
    """A field at one pressure, linear in its logarithm.

    Args:
        letter: "T" (K), "Z" (m), "U" or "V" (m s-1), which says how it goes on below the ground.
        values: The field on levels, top first (L, N).
        pressures_hpa: Pressures of the levels, ascending (L, N), hPa.
        level_hpa: The pressure wanted, hPa.

    Returns:
        Values (N,); not a number above the top level.
    """
    values = np.asarray(values, dtype=np.float64)
    pressures = np.broadcast_to(pressures_hpa, values.shape)
    num_above = (pressures <= level_hpa).sum(axis=0)
    upper = np.clip(num_above - 1, 0, len(values) - 2)[None]
    pairs = [np.take_along_axis(x, upper + k, 0)[0] for x in (values, pressures) for k in (0, 1)]
    value_up, value_low, p_up, p_low = pairs
    share = np.log(level_hpa / p_up) / np.log(p_low / p_up)
    inside = value_up + share * (value_low - value_up)
    below = extrapolate(letter, values[-1], pressures[-1], level_hpa)
    out = np.where(num_above == len(values), below, inside)
    # A level that is one of the file's own is taken as it is, also where it is the lowest.
    out = np.where(pressures[-1] == level_hpa, values[-1], out)
    return np.asarray(np.where(num_above == 0, np.nan, out))
