"""Interpolation and overlap weights along one axis, for latitudes and for longitudes that wrap.

A regular grid makes every regridding separable, so two small matrices say it all. Longitudes go
round the globe; a gap wider than one and a half spacings (a region, also one that crosses the prime
meridian) is left empty instead of being bridged.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from exastorm.grid import FloatArray, edges

GAP_SPACINGS = 1.5
"""Points farther apart than this many typical spacings have no data between them."""

SNAP_DEG = 1e-4
"""Points closer than this are the same point, degrees: the rounding of single precision at 360."""


@dataclass(frozen=True, kw_only=True)
class Brackets:
    """The two source points around each of N' target points, and their weights.

    Attributes:
        first: Index of the one before (N',).
        second: Index of the one after (N',).
        first_weight: Its weight (N',); both are zero where the source does not reach.
        second_weight: Likewise for `second`.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    first_weight: FloatArray
    second_weight: FloatArray

    def matrix(self, num_source: int) -> sparse.csr_array:
        """The weights as a matrix (N', N)."""
        at = np.arange(self.first.size)
        values = np.concatenate([self.first_weight, self.second_weight])
        where = (np.concatenate([at, at]), np.concatenate([self.first, self.second]))
        out = sparse.csr_array((values, where), shape=(at.size, num_source))
        out.eliminate_zeros()
        return out

    def nearest(self) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Index of the nearer point (N',), and where there is one; a tie goes to the first."""
        # Without the allowance rounding would decide ties, differently from column to column.
        first = self.first_weight >= self.second_weight - 1e-6
        return np.where(first, self.first, self.second), self.reached()

    def reached(self) -> NDArray[np.bool_]:
        """Where a target point has source points around it (N',)."""
        return np.asarray(self.first_weight + self.second_weight > 0)


def bracket_longitudes(source: Any, target: Any) -> Brackets:
    """Linear interpolation round the globe.

    Args:
        source: Ascending longitudes (N,) in [0, 360), degrees.
        target: Likewise (N',).
    """
    source, target = np.asarray(source, float), np.asarray(target, float)
    gaps, bridged = _gaps(source)
    first = np.mod(np.searchsorted(source, target + SNAP_DEG, side="right") - 1, source.size)
    beyond = np.mod(target - source[first], 360.0)
    beyond = np.where((beyond > 360.0 - 2 * SNAP_DEG) | (beyond < SNAP_DEG), 0.0, beyond)
    share = beyond / gaps[first]
    return Brackets(
        first=first,
        second=np.mod(first + 1, source.size),
        first_weight=np.where(bridged[first], 1.0 - share, beyond == 0.0),
        second_weight=np.where(bridged[first], share, 0.0),
    )


def bracket_latitudes(source: Any, target: Any) -> Brackets:
    """Linear interpolation over latitudes padded with the poles that are reached.

    Index 0 is then the padded south pole if `reached_poles(source)[0]`, and so on; `pad_poles`
    says which row each padded index means.

    Args:
        source: Ascending latitudes (N,), degrees.
        target: Likewise (N',).
    """
    target = np.asarray(target, float)
    padded, _ = pad_poles(source)
    first = np.searchsorted(padded, target + SNAP_DEG, side="right") - 1
    first = np.clip(first, 0, padded.size - 2)
    beyond = target - padded[first]
    gap = padded[first + 1] - padded[first]
    inside = (beyond > -SNAP_DEG) & (beyond < gap + SNAP_DEG)
    share = np.clip(beyond / gap, 0.0, 1.0)
    return Brackets(
        first=first,
        second=first + 1,
        first_weight=np.where(inside, 1.0 - share, 0.0),
        second_weight=np.where(inside, share, 0.0),
    )


def pad_poles(source: Any) -> tuple[FloatArray, NDArray[np.intp]]:
    """Latitudes with the reached poles added, and the source row that stands for each of them."""
    source = np.asarray(source, float)
    south, north = reached_poles(source)
    padded = np.concatenate([[-90.0] * south, source, [90.0] * north])
    rows = np.clip(np.arange(padded.size) - int(south), 0, source.size - 1)
    return padded, rows


def reached_poles(lat: Any) -> tuple[bool, bool]:
    """Whether the first and last latitude are short of the poles, but near enough to reach them."""
    spacing = float(np.median(np.diff(lat)))
    to_poles = lat[0] + 90.0, 90.0 - lat[-1]
    south, north = (bool(SNAP_DEG < gap <= GAP_SPACINGS * spacing) for gap in to_poles)
    return south, north


def overlap_latitudes(source: Any, target: Any) -> sparse.csr_array:
    """Share (N', N) of each target band's area that each source band covers."""
    low, high = (np.sin(np.deg2rad(e)) for e in _bands(source))
    new_low, new_high = (np.sin(np.deg2rad(e)) for e in _bands(target))
    overlap = _overlap((low, high), (new_low, new_high))
    return sparse.csr_array(overlap / (new_high - new_low)[:, None])


def overlap_longitudes(source: Any, target: Any) -> sparse.csr_array:
    """Share (N', N) of each target sector's width that each source sector covers, wrapping."""
    low, high = _sectors(source)
    new = _sectors(target)
    overlap = np.zeros((new[0].size, low.size))
    for turn in (-360.0, 0.0, 360.0):
        overlap += _overlap((low + turn, high + turn), new)
    return sparse.csr_array(overlap / (new[1] - new[0])[:, None])


def _overlap(source: tuple[Any, Any], target: tuple[Any, Any]) -> FloatArray:
    """Length (N', N) that intervals (low, high) have in common."""
    high = np.minimum(target[1][:, None], source[1][None, :])
    low = np.maximum(target[0][:, None], source[0][None, :])
    return np.asarray(np.maximum(high - low, 0.0))


def _bands(lat: Any) -> tuple[FloatArray, FloatArray]:
    """Southern and northern edges of latitude bands, up to the poles that are reached."""
    lat = np.asarray(lat, dtype=float)
    bounds = edges(lat, -90.0, 90.0)
    south, north = reached_poles(lat)
    bounds[0] = -90.0 if south else bounds[0]
    bounds[-1] = 90.0 if north else bounds[-1]
    return bounds[:-1], bounds[1:]


def _sectors(lon: Any) -> tuple[FloatArray, FloatArray]:
    """Western and eastern edges of cells; half a typical spacing where a gap follows."""
    lon = np.asarray(lon, dtype=float)
    gaps, bridged = _gaps(lon)
    half = 0.5 * np.where(bridged, gaps, np.median(gaps[:-1]))
    return lon - np.roll(half, 1), lon + half


def _gaps(lon: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Way to the next longitude eastward (N,), wrapping, and whether data lie between."""
    gaps = np.diff(np.append(lon, lon[0] + 360.0))
    return gaps, gaps <= GAP_SPACINGS * np.median(gaps[:-1])
