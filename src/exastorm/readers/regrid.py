"""From one latitude-longitude grid to another: states bilinearly, rates by area, labels by nearest.

All three are separable on such grids: a field (H, W) becomes `rows @ field @ columns.T`.

Poles: a source whose outermost row is within one and a half spacings of a pole (Gaussian grids,
cell-centered grids) reaches it. A scalar tends there to the mean of that row, a wind component
keeps the value of its meridian, and areas go up to the pole. Anything else outside the source is
NaN, or -1 in a label map.

Areas are exact: two cells overlap by a difference of longitudes times one of sines of latitude
(first-order conservative remapping of Jones 1999, Monthly Weather Review 127, 2204, which is exact
on such grids), so that the integral of a rate over the sphere is kept to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from scipy import sparse

from exastorm.grid import FloatArray, check_grid
from exastorm.readers.regrid_weights import (
    Brackets,
    bracket_latitudes,
    bracket_longitudes,
    overlap_latitudes,
    overlap_longitudes,
    pad_poles,
    reached_poles,
)
from exastorm.readers.schema import NO_LABEL, coordinate_attrs
from exastorm.variables import VARIABLES

VALID_SHARE = 0.5
"""Share of a target cell's weight that must lie on valid values, else the cell is NaN."""

KIND_NAMES = {
    "scalar": "bilinear",
    "vector": "bilinear",
    "rate": "first-order conservative",
    "label": "nearest point",
}
"""How fields of each kind are regridded, in words (attribute `regridding`)."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """A separable linear map of fields (H, W) to (H', W').

    Attributes:
        rows: Weights over latitudes (H', H).
        columns: Weights over longitudes (W', W).
        polar: Weights (H', H) on the zonal means, for scalars toward a pole; None for others.
    """

    rows: sparse.csr_array
    columns: sparse.csr_array
    polar: sparse.csr_array | None = None

    def apply(self, field: Any) -> FloatArray:
        """The weighted sums of one field, in double precision."""
        field = np.asarray(field, dtype=np.float64)
        out = np.asarray((self.columns @ (self.rows @ field).T).T)
        if self.polar is not None:
            reach = self.columns.sum(axis=1)
            out += (self.polar @ field.mean(axis=1))[:, None] * reach[None, :]
        return out


def regrid(dataset: xr.Dataset, lat: Any, lon: Any) -> xr.Dataset:
    """Bring every field of a dataset to another grid, lazily.

    States go bilinearly, rates (`Variable.is_rate`) conservatively, label maps and masks (integers
    and booleans) by the nearest point, which keeps class shares unbiased where a majority vote
    would wear small storms away.

    Args:
        dataset: In the schema.
        lat: Target latitudes (H',), degrees, ascending.
        lon: Target longitudes (W',), degrees, ascending in [0, 360).

    Returns:
        The dataset on the target grid, unchanged where it is on it already; NaN (labels: -1) where
        the source does not reach. Each field says in its attribute `regridding` how it came there.

    Raises:
        InputError: If the target is no such grid.
    """
    lat, lon = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
    check_grid(lat, lon)
    source = dataset["lat"].values, dataset["lon"].values
    if is_same_grid(source, (lat, lon)):
        return dataset
    appliers = _appliers(source, (lat, lon))
    out = {}
    for name, array in dataset.data_vars.items():
        if array.dims[-2:] != ("lat", "lon"):
            out[name] = array
            continue
        kind = regridding_kind(str(name), array.dtype)
        out[name] = _regrid_array(array, appliers[kind], (lat.size, lon.size))
        out[name].attrs = {**array.attrs, "regridding": KIND_NAMES[kind]}
    kept = {n: c for n, c in dataset.coords.items() if not {"lat", "lon"} & set(c.dims)}
    result = xr.Dataset(out, coords=kept, attrs=dict(dataset.attrs)).assign_coords(
        lat=("lat", lat, coordinate_attrs("lat")), lon=("lon", lon, coordinate_attrs("lon"))
    )
    note = f"regridded from {source[0].size} x {source[1].size} to {lat.size} x {lon.size}"
    result.attrs["history"] = "\n".join(filter(None, [dataset.attrs.get("history"), note]))
    return result


def regridding_kind(name: str, dtype: Any) -> str:
    """A key of `KIND_NAMES` for a field: by its dtype, then by the vocabulary."""
    if np.dtype(dtype).kind in "iub":
        return "label"
    variable = VARIABLES.get(name)
    if variable is None:
        return "scalar"
    if variable.is_rate:
        return "rate"
    return "vector" if variable.standard_name.startswith(("eastward", "northward")) else "scalar"


def is_same_grid(first: tuple[Any, Any], second: tuple[Any, Any]) -> bool:
    """True where two (lat, lon) pairs agree to 1e-4 degrees, the rounding of single precision."""
    return all(
        np.shape(a) == np.shape(b) and bool(np.allclose(a, b, rtol=0, atol=1e-4))
        for a, b in zip(first, second, strict=True)
    )


def _appliers(source: tuple[Any, Any], target: tuple[Any, Any]) -> dict[str, Callable[[Any], Any]]:
    """For each kind the function from blocks (..., H, W) to blocks (..., H', W')."""
    by_lat = bracket_latitudes(source[0], target[0])
    by_lon = bracket_longitudes(source[1], target[1])
    columns = by_lon.matrix(source[1].size)
    inner, polar = _split_poles(by_lat, source[0])
    scalar = Operator(rows=inner, columns=columns, polar=polar)
    vector = Operator(rows=sparse.csr_array(inner + polar), columns=columns)
    overlap = Operator(
        rows=overlap_latitudes(source[0], target[0]),
        columns=overlap_longitudes(source[1], target[1]),
    )
    row, row_reached = by_lat.nearest()
    column, column_reached = by_lon.nearest()
    pick = partial(
        _pick_blocks,
        rows=pad_poles(source[0])[1][row],
        columns=column,
        reached=row_reached[:, None] & column_reached[None, :],
    )
    return {
        "scalar": partial(_apply_blocks, operator=scalar),
        "vector": partial(_apply_blocks, operator=vector),
        "rate": partial(_apply_blocks, operator=overlap),
        "label": pick,
    }


def _split_poles(by_lat: Brackets, lat: Any) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Weights (H', H) on the rows themselves, and those on the padded poles, as their rows'."""
    south, north = reached_poles(lat)
    num_lat = np.size(lat)
    padded = by_lat.matrix(num_lat + south + north).toarray()
    inner = padded[:, int(south) : int(south) + num_lat]
    polar = np.zeros_like(inner)
    polar[:, 0] = padded[:, 0] if south else 0.0
    polar[:, -1] += padded[:, -1] if north else 0.0
    return sparse.csr_array(inner), sparse.csr_array(polar)


def _regrid_array(
    array: xr.DataArray, apply: Callable[[Any], Any], shape: tuple[int, int]
) -> xr.DataArray:
    """Apply one function to the last two dimensions, block by block in time."""
    if array.chunks is not None:
        array = array.chunk({"lat": -1, "lon": -1})
    dtype = array.dtype if array.dtype.kind in "iub" else np.dtype(np.float32)
    out: xr.DataArray = xr.apply_ufunc(
        apply,
        array.drop_vars(["lat", "lon"], errors="ignore"),
        input_core_dims=[["lat", "lon"]],
        output_core_dims=[["new_lat", "new_lon"]],
        dask="parallelized",
        output_dtypes=[dtype],
        dask_gufunc_kwargs={"output_sizes": {"new_lat": shape[0], "new_lon": shape[1]}},
    )
    return out.rename(new_lat="lat", new_lon="lon")


def _apply_blocks(block: Any, operator: Operator) -> Any:
    """Weighted means over valid values, (..., H, W) to float32 (..., H', W')."""
    full = operator.apply(np.ones(block.shape[-2:]))
    out = np.empty((*block.shape[:-2], *full.shape), dtype=np.float32)
    for index in np.ndindex(block.shape[:-2]):
        out[index] = _weighted_mean(block[index], full, operator)
    return out


def _weighted_mean(field: Any, full: FloatArray, operator: Operator) -> FloatArray:
    """One field (H, W): sums over weights, leaving invalid values out of both."""
    valid = np.isfinite(field)
    weight = full if valid.all() else operator.apply(valid)
    total = operator.apply(np.where(valid, field, 0.0))
    # The small allowance keeps cells that are exactly half valid, whatever the rounding.
    enough = weight >= VALID_SHARE - 1e-9
    out = np.full(total.shape, np.nan)
    np.divide(total, weight, out=out, where=enough)
    return out


def _pick_blocks(block: Any, rows: Any, columns: Any, reached: Any) -> Any:
    """Nearest points, (..., H, W) to (..., H', W'); -1 (masks: False) where there are none."""
    fill = np.array(NO_LABEL if block.dtype.kind == "i" else 0, dtype=block.dtype)
    return np.where(reached, block[..., rows[:, None], columns[None, :]], fill)
