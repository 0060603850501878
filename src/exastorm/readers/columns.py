"""From unstructured columns to a latitude-longitude grid, as a sparse matrix applied step by step.

Weights are by inverse squared distance over the four nearest columns (Shepard 1968), found with a
k-d tree on the unit sphere, so that poles and the date line are nothing special; or they are the
user's, from an ESMF or TempestRemap weight file, which can conserve where the tree can't.

Without a grid from the user the target is CAM's finite-volume grid of about the same spacing: 3/2
as many longitudes as latitudes and latitudes in multiples of 32, which pairs ne30 with 192 x 288
and ne120 with 768 x 1152 as CESM does. Columns that cover only a region give only that part of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from exastorm.errors import InputError
from exastorm.grid import FloatArray, regular_grid, wrap_longitude
from exastorm.readers.opening import open_lazily

NUM_NEAREST = 4
"""Columns that share in a grid point: those of the quadrilateral around it."""

REACH_SPACINGS = 2.0
"""A grid point farther from every column than this many spacings has no value."""

NUM_DENSITY_NEIGHBORS = 16
"""Neighbors from whose distance the spacing of columns is told."""

GLOBAL_SHARE = 0.8
"""Columns whose areas sum to this share of the globe are global; estimates are good to a tenth."""

ROWS_MULTIPLE = 32
"""Latitudes come in multiples of this, which networks can halve five times."""

HALF_COVERED = 0.5
"""Share of a grid cell that a weight file must cover, else the cell has no value."""


@dataclass(frozen=True, kw_only=True)
class ColumnWeights:
    """A linear map from columns to a grid.

    Attributes:
        lat: Latitudes of the grid (H,), ascending, degrees.
        lon: Longitudes (W,), ascending in [0, 360), degrees.
        matrix: Weights (H * W, N); rows sum to one.
        covered: Grid points that columns reach (H, W); values at others mean nothing.
        method: What it is, in words.
    """

    lat: FloatArray
    lon: FloatArray
    matrix: sparse.csr_array
    covered: NDArray[np.bool_]
    method: str

    @property
    def num_columns(self) -> int:
        """Number of columns N."""
        return int(self.matrix.shape[1])

    def apply(self, values: Any) -> NDArray[np.float32]:
        """Fields (..., N) on the grid (..., H, W)."""
        values = np.asarray(values)
        flat = values.reshape(-1, values.shape[-1])
        out = np.ascontiguousarray((self.matrix @ flat.T.astype(np.float64)).T, dtype=np.float32)
        return out.reshape(*values.shape[:-1], self.lat.size, self.lon.size)


def unit_vectors(lat: Any, lon: Any) -> FloatArray:
    """Points (N, 3) on the unit sphere from degrees (N,)."""
    phi, lam = np.deg2rad(np.asarray(lat, float)), np.deg2rad(np.asarray(lon, float))
    vectors = [np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)]
    return np.stack(vectors, axis=-1)


def column_spacing_deg(lat: Any, lon: Any) -> float:
    """Typical distance between columns, degrees, global or not: the side of a square for each.

    The k nearest of a column lie within a circle of k times the area of one; the median over
    columns leaves the borders of a region out. Where that area times their number comes near the
    globe's they cover the globe, and its area is shared evenly.
    """
    points = unit_vectors(lat, lon)
    num_neighbors = min(NUM_DENSITY_NEIGHBORS, len(points) - 1)
    sample = points[:: max(1, len(points) // 4096)]
    distances, _ = cKDTree(points).query(sample, k=[num_neighbors + 1])
    radius = float(np.median(2.0 * np.arcsin(0.5 * distances)))
    spacing = radius * np.sqrt(np.pi / num_neighbors)
    if spacing**2 * len(points) > GLOBAL_SHARE * 4 * np.pi:
        spacing = np.sqrt(4 * np.pi / len(points))
    return float(np.rad2deg(spacing))


def matching_grid(spacing_deg: float) -> tuple[int, int]:
    """Latitudes and longitudes of CAM's finite-volume grid nearest to a spacing."""
    num_lat = ROWS_MULTIPLE * max(1, round(180.0 / spacing_deg / ROWS_MULTIPLE))
    return num_lat, num_lat * 3 // 2


def nearest_weights(lat: Any, lon: Any, grid: tuple[int, int] | None) -> ColumnWeights:
    """Weights by inverse squared distance.

    Args:
        lat: Latitudes of the columns (N,), degrees.
        lon: Longitudes (N,), degrees.
        grid: Latitudes and longitudes of `exastorm.grid.regular_grid`; None for the matching grid,
            cut to the part that the columns reach.

    Raises:
        InputError: If there are fewer than two columns, or most of them lie on one place.
    """
    spacing = column_spacing_deg(lat, lon) if np.size(lat) > 1 else 0.0
    if spacing == 0.0:
        raise InputError(f"columns must lie apart to be regridded; {np.size(lat)} don't")
    grid_lat, grid_lon = regular_grid(*(grid or matching_grid(spacing)))
    tree = cKDTree(unit_vectors(lat, lon))
    targets = unit_vectors(*np.meshgrid(grid_lat, grid_lon, indexing="ij")).reshape(-1, 3)
    reach = 2.0 * np.sin(0.5 * np.deg2rad(REACH_SPACINGS * spacing))
    nearest, _ = tree.query(targets, distance_upper_bound=reach)
    covered = np.isfinite(nearest)
    num_nearest = min(NUM_NEAREST, tree.n)
    distances, columns = tree.query(targets[covered], k=range(1, num_nearest + 1))
    # Points closer than a billionth of the radius coincide; the floor keeps their weight finite.
    weights = 1.0 / np.maximum(distances, 1e-9) ** 2
    weights /= weights.sum(axis=1, keepdims=True)
    # Points out of reach take the first column, so that no rule for gaps is set off by them.
    counts = np.where(covered, num_nearest, 1)
    starts = np.concatenate([[0], np.cumsum(counts)])
    values, places = np.ones(starts[-1]), np.zeros(starts[-1], dtype=np.int64)
    filled = np.repeat(covered, counts)
    values[filled], places[filled] = weights.ravel(), columns.ravel()
    matrix = sparse.csr_array((values, places, starts), shape=(len(targets), tree.n))
    method = (
        f"inverse squared distance of the {num_nearest} nearest columns, none beyond"
        f" {REACH_SPACINGS * spacing:.3g} degrees"
    )
    out = ColumnWeights(
        lat=grid_lat,
        lon=grid_lon,
        matrix=matrix,
        covered=covered.reshape(grid_lat.size, grid_lon.size),
        method=method,
    )
    return out if grid else cut_to_covered(out)


def cut_to_covered(weights: ColumnWeights) -> ColumnWeights:
    """The rows and columns of the grid in which any point is covered, at least two of each."""
    rows, columns = (_at_least_two(weights.covered.any(axis=a)) for a in (1, 0))
    numbers = np.arange(weights.covered.size).reshape(weights.covered.shape)
    return ColumnWeights(
        lat=weights.lat[rows],
        lon=weights.lon[columns],
        matrix=sparse.csr_array(weights.matrix[numbers[np.ix_(rows, columns)].ravel()]),
        covered=weights.covered[np.ix_(rows, columns)],
        method=weights.method,
    )


def _at_least_two(wanted: Any) -> NDArray[np.intp]:
    """Indices of the wanted, with a neighbor where it is only one."""
    indices = np.flatnonzero(wanted)
    if indices.size == 1:
        only = int(indices[0])
        indices = np.array([only - 1, only] if only else [0, 1])
    return indices


def weights_from_file(path: str) -> ColumnWeights:
    """The user's weights: netCDF with `S`, `row`, `col`, `xc_b`, `yc_b` and `dst_grid_dims`.

    Args:
        path: A weight file as ESMF_RegridWeightGen and TempestRemap write it; its target must be a
            latitude-longitude grid. Rows are scaled to sum to one; a cell that is covered by less
            than half has no value.

    Raises:
        InputError: If something is missing or the target is no such grid.
    """
    with open_lazily(path, decode_times=False) as file:
        needed = ("S", "row", "col", "xc_b", "yc_b", "dst_grid_dims")
        missing = [name for name in needed if name not in file.variables]
        if missing or "n_a" not in file.sizes:
            raise InputError(
                f"an ESMF weight file must hold {', '.join(needed)} and n_a, lacks"
                f" {', '.join(missing) or 'n_a'}",
                file=path,
            )
        loaded = {name: file[name].values for name in needed}
        radians = str(file["xc_b"].attrs.get("units", "degrees")).startswith("rad")
        num_columns = int(file.sizes["n_a"])
    unit = 180.0 / np.pi if radians else 1.0
    lat, lon = _target_axes(
        loaded["yc_b"] * unit, loaded["xc_b"] * unit, loaded["dst_grid_dims"], path
    )
    num_cells = lat.size * lon.size
    where = (loaded["row"].astype(np.int64) - 1, loaded["col"].astype(np.int64) - 1)
    for indices, size, name in [(where[0], num_cells, "row"), (where[1], num_columns, "col")]:
        if indices.size and (indices.min() < 0 or indices.max() >= size):
            raise InputError(f"must lie in 1 to {size}", file=path, variable=name)
    matrix = sparse.csr_array((loaded["S"], where), shape=(num_cells, num_columns))
    lat_order, lon_order = np.argsort(lat), np.argsort(lon)
    numbers = np.arange(num_cells).reshape(lat.size, lon.size)[np.ix_(lat_order, lon_order)]
    matrix = sparse.csr_array(matrix[numbers.ravel()])
    return _scaled(matrix, lat[lat_order], lon[lon_order], path)


def _scaled(matrix: sparse.csr_array, lat: FloatArray, lon: FloatArray, path: str) -> ColumnWeights:
    """Weights whose rows sum to one; cells that are hardly covered copy their neighbor's row."""
    sums = np.asarray(matrix.sum(axis=1))
    covered = np.asarray(sums >= HALF_COVERED)
    if not covered.any():
        raise InputError("covers no cell of its target grid", file=path, variable="S")
    scale = np.divide(1.0, sums, out=np.zeros_like(sums, dtype=float), where=covered)
    matrix = sparse.csr_array(sparse.diags_array(scale) @ matrix)
    if not covered.all():
        cells = unit_vectors(*np.meshgrid(lat, lon, indexing="ij")).reshape(-1, 3)
        _, nearest = cKDTree(cells[covered]).query(cells)
        matrix = sparse.csr_array(matrix[np.flatnonzero(covered)[nearest]])
    return ColumnWeights(
        lat=lat,
        lon=lon,
        matrix=matrix,
        covered=covered.reshape(lat.size, lon.size),
        method=f"weights of {path}",
    )


def _target_axes(
    centers_lat: FloatArray, centers_lon: FloatArray, dims: Any, path: str
) -> tuple[FloatArray, FloatArray]:
    """Axes of the target grid from its cell centers (n_b,), refused where they are no such grid."""
    if np.size(dims) != 2 or int(np.prod(dims)) != centers_lat.size:
        raise InputError(
            f"must map to a latitude-longitude grid, got dst_grid_dims {np.ravel(dims).tolist()}"
            f" for {centers_lat.size} cells",
            file=path,
        )
    # ESMF counts dimensions as Fortran does, longitude first.
    num_lon, num_lat = (int(n) for n in dims)
    lat = centers_lat.reshape(num_lat, num_lon)
    lon = np.asarray(wrap_longitude(centers_lon.reshape(num_lat, num_lon)), dtype=float)
    is_grid = np.allclose(lat, lat[:, :1], rtol=0, atol=1e-4) and np.allclose(
        np.cos(np.deg2rad(lon - lon[:1])), 1.0, rtol=0, atol=1e-10
    )
    if not is_grid:
        raise InputError("must map to a latitude-longitude grid, got a curved one", file=path)
    return lat[:, 0], lon[0]
