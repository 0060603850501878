"""What is measured of a storm from the fields of the archive: extremes of pressure, wind, rain."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float64]

MM_PER_DAY = 86400.0 * 1000.0
"""Millimeters a day in one meter a second."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure of a storm from fields of the archive.

    Attributes:
        column: Name of the column, with the unit.
        fields: Fields it needs; it is left out where one lacks.
        kind: "min", "max" or "mean" (weighted by area) over the storm's cells.
        value: From those fields to the measured one.
    """

    column: str
    fields: tuple[str, ...]
    kind: str
    value: Callable[..., Any]


def _same(field: Any) -> Any:
    return field


def _rain(rate: Any) -> Any:
    return rate * MM_PER_DAY


MEASURES: tuple[Measure, ...] = (
    Measure(column="min_psl_pa", fields=("PSL",), kind="min", value=_same),
    Measure(column="max_wind850_ms", fields=("U850", "V850"), kind="max", value=np.hypot),
    Measure(column="max_windbot_ms", fields=("UBOT", "VBOT"), kind="max", value=np.hypot),
    Measure(column="max_wind10m_ms", fields=("U10", "V10"), kind="max", value=np.hypot),
    Measure(column="max_tmq_kgm2", fields=("TMQ",), kind="max", value=_same),
    Measure(column="max_ivt_kgms", fields=("IVTX", "IVTY"), kind="max", value=np.hypot),
    Measure(column="mean_rain_mmday", fields=("PRECT",), kind="mean", value=_rain),
    Measure(column="max_rain_mmday", fields=("PRECT",), kind="max", value=_rain),
)
"""All measures, in the order of the table's columns."""


def measures_of(available: Any) -> list[Measure]:
    """Measures whose fields are all among those available."""
    return [m for m in MEASURES if all(name in available for name in m.fields)]


def measured_fields(available: Any) -> list[str]:
    """Fields among those available that these measures read, each once."""
    return list(dict.fromkeys(name for m in measures_of(available) for name in m.fields))


def measure_regions(
    measures: Sequence[Measure],
    fields: Mapping[str, Any],
    labels: Any,
    num: int,
    cell_areas_km2: Any,
) -> dict[str, FloatArray]:
    """Each measure of each region; cells without a value are passed over.

    Args:
        measures: What to measure.
        fields: Fields (H, W).
        labels: Numbers of the regions (H, W), zero outside.
        num: Number of regions.
        cell_areas_km2: Cell areas (H, W).

    Returns:
        Column name to values (num,); NaN where a region has no valid cell.
    """
    rows, columns = np.nonzero(labels)
    region, area = labels[rows, columns], cell_areas_km2[rows, columns]
    numbers = np.arange(1, num + 1)
    out: dict[str, FloatArray] = {}
    for measure in measures:
        inside = measure.value(*(np.asarray(fields[n])[rows, columns] for n in measure.fields))
        known = np.isfinite(inside)
        values, at = inside[known].astype(np.float64), region[known]
        result = np.full(num + 1, np.nan)
        if measure.kind == "mean":
            weights = np.bincount(at, area[known], minlength=num + 1)
            weighted = np.bincount(at, area[known] * values, minlength=num + 1)
            np.divide(weighted, weights, out=result, where=weights > 0)
        elif values.size:
            reduce = ndimage.minimum if measure.kind == "min" else ndimage.maximum
            present = np.unique(at)
            result[present] = reduce(values, at, present)
        out[measure.column] = result[numbers]
    return out
