"""Distance to the coast, land fraction and terrain height on any grid, from bundled tables.

Coastlines are GSHHG's (Wessel and Smith 1996), as the signed distances at 0.1 degree that the
package landmetrics ships. Terrain is the mean orography at T63 (1.9 degrees) in
`tables/terrain_t63.npz`, as distributed in jcm 3.0.0 (Apache-2.0) for ECHAM.
The table of distances has the South Pole itself as a coast: within 700 km of it distances are too
short, signs are right. Nothing is downloaded.
"""

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from exastorm.grid import edges, wrap_longitude

COAST_STEP_DEG = 0.1
"""Spacing of the bundled table of distances to the coast, degrees."""


@lru_cache(maxsize=1)
def coast_table() -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
    """The whole bundled table: lat (1801,), lon (3600,) from -180, signed distance in km.

    Positive over the sea, negative over land.
    """
    import landmetrics

    path = landmetrics.grid_path("distance_to_land", COAST_STEP_DEG, 0.0, download=False)
    # h5py, which locks itself: this may be called from a thread while others read netCDF files.
    with h5py.File(Path(path)) as file:
        packed = file["distance_to_land"]
        distance = packed[:].astype(np.float32) * np.float32(packed.attrs["scale_factor"][()])
        return file["lat"][:].astype(float), file["lon"][:].astype(float), distance


def _sample(table_lat: Any, table_lon: Any, table: Any, lat: Any, lon: Any) -> NDArray[np.float64]:
    """Bilinear values of a global table at every point of lat x lon, wrapping in longitude."""
    start = table_lon[0]
    wrapped = np.concatenate([table, table[:, :1]], axis=1)
    wrapped_lon = np.append(table_lon, start + 360.0)
    sampler = RegularGridInterpolator(
        (table_lat, wrapped_lon), wrapped, bounds_error=False, fill_value=None
    )
    columns = start + np.mod(np.asarray(lon, dtype=float) - start, 360.0)
    rows = np.clip(np.asarray(lat, dtype=float), -90.0, 90.0)
    points = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    return np.asarray(sampler(points))


def coast_distance_km(lat: Any, lon: Any) -> NDArray[np.float64]:
    """Signed distance to the nearest coast, km, shape (H, W): positive at sea, negative on land."""
    return _sample(*coast_table(), lat, lon)


def land_fraction(lat: Any, lon: Any) -> NDArray[np.float64]:
    """Share of each cell that is land, shape (H, W), from sub-points at most 0.2 degrees apart."""
    lat, lon = np.asarray(lat, dtype=float), np.asarray(lon, dtype=float)
    num_sub = int(np.clip(np.ceil(np.max(np.diff(lat)) / 0.2), 1, 12))
    lat_low, lat_high = edges(lat, -90.0, 90.0)[:-1], edges(lat, -90.0, 90.0)[1:]
    lon_low, lon_high = edges(lon)[:-1], edges(lon)[1:]
    steps = (np.arange(num_sub) + 0.5) / num_sub
    sub_lat = (lat_low[:, None] + (lat_high - lat_low)[:, None] * steps).ravel()
    sub_lon = (lon_low[:, None] + (lon_high - lon_low)[:, None] * steps).ravel()
    is_land = coast_distance_km(sub_lat, wrap_longitude(sub_lon)) <= 0
    blocks = is_land.reshape(lat.size, num_sub, lon.size, num_sub)
    return np.asarray(blocks.mean(axis=(1, 3)))


def terrain_height_m(lat: Any, lon: Any) -> NDArray[np.float64]:
    """Mean terrain height, m, shape (H, W): the T63 table, zero over the open sea."""
    with resources.as_file(resources.files("exastorm") / "tables" / "terrain_t63.npz") as path:
        table = np.load(path)
        height = _sample(table["lat"], table["lon"], table["height_m"].astype(float), lat, lon)
    return np.asarray(np.maximum(height, 0.0) * land_fraction(lat, lon))
