"""What every rule set for cyclones tells about a center, and which low-level wind it looks at."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NAN = float("nan")


class CycloneCenter(NamedTuple):
    """One candidate of a tropical cyclone in one snapshot; NaN for what is not measured.

    Attributes:
        row: Row of the grid point nearest to the center.
        column: Its column.
        lat: Latitude of the center, degrees.
        lon: Longitude of the center in [0, 360), degrees.
        central_pressure_pa: Sea-level pressure there.
        pressure_rise_pa: Its rise around the center, in the weakest direction.
        vorticity_per_s: Highest cyclonic 850 hPa vorticity.
        warm_core_k: Fall of the upper temperature around the core, in the weakest direction.
        thickness_m: Fall of the thickness around the core, in the weakest direction.
        max_wind_ms: Highest low-level wind near the center.
        surface_height_m: Height of the surface at the center.
        radius_17_deg: Radius of the 17.5 m s-1 wind, degrees (`wind_radii`).
        radius_33_deg: Radius of the 33 m s-1 wind.
        radius_43_deg: Radius of the 43 m s-1 wind.
        radius_50_deg: Radius of the 50 m s-1 wind.
        radius_58_deg: Radius of the 58 m s-1 wind.
        radius_70_deg: Radius of the 70 m s-1 wind.
    """

    row: int
    column: int
    lat: float
    lon: float
    central_pressure_pa: float
    pressure_rise_pa: float
    vorticity_per_s: float = NAN
    warm_core_k: float = NAN
    thickness_m: float = NAN
    max_wind_ms: float = NAN
    surface_height_m: float = NAN
    radius_17_deg: float = NAN
    radius_33_deg: float = NAN
    radius_43_deg: float = NAN
    radius_50_deg: float = NAN
    radius_58_deg: float = NAN
    radius_70_deg: float = NAN


def center_table(centers: Any, steps: Any, hours: Any, spacing_deg: float = NAN) -> pd.DataFrame:
    """Candidates of an archive as `CycloneRules.select` takes them.

    Args:
        centers: Values (N, number of fields of `CycloneCenter`) in the order of time.
        steps: Number of the snapshot of each (N,).
        hours: Hours of all snapshots since the first (T,).
        spacing_deg: Grid spacing, for rules that depend on it.
    """
    values: NDArray[np.float64] = np.asarray(centers, dtype=np.float64)
    table = pd.DataFrame(
        values.reshape(-1, len(CycloneCenter._fields)), columns=list(CycloneCenter._fields)
    )
    steps = np.asarray(steps, dtype=np.int64)
    hours = np.asarray(hours, dtype=np.float64)
    table.insert(0, "step", steps)
    table.insert(1, "hour", hours[steps])
    # Not the array itself: pandas compares attributes, which arrays do not allow.
    table.attrs["hours"] = tuple(hours.tolist())
    table.attrs["spacing_deg"] = spacing_deg
    return table
