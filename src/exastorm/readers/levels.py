"""Fills what lies below the ground on pressure levels, and keeps where it did.

CMIP6 models leave a level blank where it runs below the surface; storm rules and networks need a
number there. The rule, applied in each column from the nearest level above that has a value:

- temperature follows a lapse rate of 6.5 K/km, T = T_a (p / p_a)^(R Gamma / g), the atmosphere of
  constant lapse rate that Trenberth, Berry and Buja (1993, NCAR/TN-396+STR, eq. 16 and its
  series) extrapolate with below the ground;
- height follows the hypsometric equation of that atmosphere,
  Z = Z_a - (T_a / Gamma) ((p / p_a)^(R Gamma / g) - 1), T_a being the US Standard Atmosphere's
  temperature at Z_a, so that heights need no second variable;
- wind is that of the level above, as ECMWF and CAM post-processing extrapolate it.

Where no level above is at hand (a file with one level), the mean of the values on the same
latitude stands in, or of the nearest latitude that has any. No other field is ever filled.
"""

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from exastorm.constants import DRY_AIR_GAS_CONSTANT, STANDARD_GRAVITY

LAPSE_RATE = 0.0065
"""Gamma, K m-1 (Trenberth et al. 1993; US Standard Atmosphere 1976)."""

STANDARD_SURFACE_TEMPERATURE = 288.15
"""Sea-level temperature of the US Standard Atmosphere 1976, K."""

HIGHEST_GROUND_HPA = 400.0
"""No ground reaches this pressure (Everest: about 335 hPa at its top, but cells are means;
the lowest surface pressure in ERA5 is near 480 hPa)."""

LEVEL_TOLERANCE_HPA = 0.5
"""Two levels closer than this are one."""

FILL_NOTE = "below-ground gaps filled from the level above; see below_ground_{name}"


def find_level(levels_hpa: NDArray[np.float64], wanted_hpa: float) -> int | None:
    """Index of a level, or None where it is missing.

    Args:
        levels_hpa: Levels of the file (L,), hPa.
        wanted_hpa: Level wanted, hPa.
    """
    distance = np.abs(np.asarray(levels_hpa) - wanted_hpa)
    index = int(np.argmin(distance))
    return index if distance[index] <= LEVEL_TOLERANCE_HPA else None


def levels_above(levels_hpa: NDArray[np.float64], wanted_hpa: float) -> list[int]:
    """Indices of the levels above one, nearest first, as far as ground reaches."""
    levels = np.asarray(levels_hpa)
    above = np.flatnonzero(
        (levels < wanted_hpa - LEVEL_TOLERANCE_HPA) & (levels >= HIGHEST_GROUND_HPA)
    )
    return [int(i) for i in above[np.argsort(-levels[above])]]


def extrapolate(letter: str, value: Any, from_hpa: float, to_hpa: float) -> Any:
    """A value carried down from one pressure level to a lower one (higher pressure).

    Args:
        letter: "T" (K), "Z" (m), "U" or "V" (m s-1).
        value: Values on the upper level, any shape.
        from_hpa: The upper level, hPa.
        to_hpa: The lower level, hPa.
    """
    if letter not in "TZ":
        return value
    ratio = (to_hpa / from_hpa) ** (DRY_AIR_GAS_CONSTANT * LAPSE_RATE / STANDARD_GRAVITY)
    if letter == "T":
        return value * ratio
    temperature = STANDARD_SURFACE_TEMPERATURE - LAPSE_RATE * value
    return value - temperature / LAPSE_RATE * (ratio - 1.0)


def fill_below_ground(
    letter: str, level_hpa: float, field: da.Array, above: Sequence[tuple[float, da.Array]]
) -> tuple[da.Array, da.Array]:
    """Fill the gaps of a field on a pressure level by the rule of this module.

    Args:
        letter: "T", "Z", "U" or "V".
        level_hpa: The field's level, hPa.
        field: The field (T, H, W), not a number where below ground.
        above: Levels above (hPa) and the same variable there, nearest first.

    Returns:
        The filled field and the mask (int8, 1 where filled), both lazy.
    """
    mask = da.isnan(field).astype(np.int8)
    filled = field
    for from_hpa, values in above:
        carried = extrapolate(letter, values, from_hpa, level_hpa).astype(field.dtype)
        filled = da.where(da.isnan(filled), carried, filled)
    return da.map_blocks(fill_from_latitude, filled, dtype=field.dtype), mask


def fill_from_latitude(block: NDArray[Any]) -> NDArray[Any]:
    """Replace gaps by the mean of their latitude, or of the nearest latitude with values.

    Args:
        block: Fields (T, H, W). A step without any value stays as it is.
    """
    gaps = np.isnan(block)
    if not gaps.any():
        return block
    counts = (~gaps).sum(axis=-1)
    sums = np.where(gaps, 0.0, block).sum(axis=-1, dtype=np.float64)
    out = block.copy()
    for step in np.flatnonzero(gaps.any(axis=(1, 2)) & (counts.sum(axis=1) > 0)):
        rows = np.flatnonzero(counts[step])
        nearest = rows[np.argmin(np.abs(np.arange(block.shape[1])[:, None] - rows), axis=1)]
        means = sums[step, nearest] / counts[step, nearest]
        out[step] = np.where(gaps[step], means[:, None], block[step])
    return out
