"""Fields on columns, seen as fields on a grid: read, put on pressure levels, regridded on demand.

To the rest of the readers a file on columns then looks like any file on a grid; a step is read and
interpolated when it is asked for.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from exastorm.readers.columns import ColumnWeights


class ColumnField(Protocol):
    """A field on columns, (..., N) with leading dimensions such as time and level."""

    @property
    def lead_shape(self) -> tuple[int, ...]:
        """Shape without the columns."""

    def read(self, *indices: NDArray[np.intp]) -> NDArray[Any]:
        """Values (..., N) at these indices of the leading dimensions, read now."""


@dataclass(frozen=True, kw_only=True)
class PlainField:
    """A field as it is in the file.

    Attributes:
        variable: Lazily indexed, (time, column) or (column).
    """

    variable: xr.Variable

    @property
    def lead_shape(self) -> tuple[int, ...]:
        """Shape without the columns."""
        return tuple(self.variable.shape[:-1])

    def read(self, *indices: NDArray[np.intp]) -> NDArray[Any]:
        """Values (..., N) at these times."""
        return np.asarray(self.variable[indices] if indices else self.variable)


class GriddedArray(BackendArray):  # type: ignore[misc]
    """A column field on a grid, (..., H, W) float32, as xarray's lazy indexing wants it.

    Attributes:
        shape: Leading dimensions, latitude, longitude.
        dtype: Single precision.
    """

    def __init__(self, field: ColumnField, weights: ColumnWeights) -> None:
        self.shape = (*field.lead_shape, weights.lat.size, weights.lon.size)
        self.dtype = np.dtype(np.float32)
        self._field, self._weights = field, weights

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        """Values at integers, slices or index arrays of each dimension."""
        *lead, rows, columns = key
        indices = [np.arange(n)[k] for n, k in zip(self.shape, lead, strict=False)]
        values = self._weights.apply(self._field.read(*(np.atleast_1d(i) for i in indices)))
        kept = tuple(0 if np.ndim(i) == 0 else slice(None) for i in indices)
        return np.asarray(
            values[(*kept, rows)][..., columns] if kept else values[rows][..., columns]
        )


def gridded(
    field: ColumnField, weights: ColumnWeights, lead_dims: tuple[str, ...], attrs: dict[str, Any]
) -> xr.Variable:
    """A lazy variable (..., lat, lon) of a column field."""
    data = indexing.LazilyIndexedArray(GriddedArray(field, weights))
    return xr.Variable((*lead_dims, "lat", "lon"), data, attrs)
