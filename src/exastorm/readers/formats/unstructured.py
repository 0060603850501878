"""CAM-SE, E3SM and other output on unstructured columns (`ncol`), brought to a grid on the way in.

Fields on model levels are first interpolated to the pressure levels of the vocabulary in their own
columns (readers/vertical.py), then every field is regridded (readers/columns.py): to the grid the
user asks for, by the user's weight file, or to CAM's finite-volume grid of about the same spacing.
From there on the files are read as CAM's on a grid are. Columns that cover only a region leave the
rest of the grid without values.
"""

from pathlib import Path

import numpy as np
import xarray as xr

from exastorm.errors import InputError
from exastorm.grid import FloatArray
from exastorm.readers.assembly import Recipe, assemble
from exastorm.readers.columns import ColumnWeights, nearest_weights, weights_from_file
from exastorm.readers.coordinates import find_axis
from exastorm.readers.formats.unstructured_fields import ColumnFile, gridded_fields
from exastorm.readers.formats.unstructured_mesh import column_dim, find_columns, mesh_dim
from exastorm.readers.lexicon import CAM, CF
from exastorm.readers.opening import open_lazily, peek
from exastorm.readers.options import ReadOptions
from exastorm.readers.schema import coordinate_attrs

NAME = "unstructured"


def recognize(path: str) -> bool:
    """True where a file has fields on columns and no latitude and longitude axes."""
    header = peek(path)
    if header is None or header.has_axis("lat", "latitude"):
        return False
    return column_dim(header) is not None


def read(paths: list[str], options: ReadOptions) -> xr.Dataset:
    """Read files on columns as one lazy dataset in the schema.

    Args:
        paths: Files with the same columns.
        options: Beside the options of every archive: `mesh` (file with the coordinates), `weights`
            (ESMF weight file) and `grid`, which is made directly unless there are weights.

    Raises:
        InputError: As `assemble`; or where the columns' coordinates or weights don't fit.
    """
    columns = Columns(options)
    dataset = assemble(paths, options, Recipe(name=NAME, entries=(*CAM, *CF), opener=columns.open))
    assert columns.weights is not None
    weights = columns.weights
    covered = xr.DataArray(weights.covered, dims=("lat", "lon"))
    for name, array in dataset.data_vars.items():
        masked = array
        if array.dtype.kind == "f" and not weights.covered.all():
            masked = array.where(covered)
        dataset[name] = masked.assign_attrs({**array.attrs, "regridding": weights.method})
    note = (
        f"regridded from {weights.num_columns} columns to {weights.lat.size} x {weights.lon.size}"
    )
    dataset.attrs["history"] = "; ".join(filter(None, [dataset.attrs.get("history"), note]))
    return dataset


def write(dataset: xr.Dataset, out: Path) -> list[Path]:
    """Refuse: the package works on grids, and has no mesh to write on.

    Raises:
        InputError: Always.
    """
    raise InputError("unstructured files can be read, not written; write cam instead", file=out)


class Columns:
    """Opens files on one set of columns as lazy fields on a grid.

    Attributes:
        weights: From columns to the grid; None before the first file.
    """

    def __init__(self, options: ReadOptions) -> None:
        self.weights: ColumnWeights | None = None
        self._options = options
        self._places: tuple[FloatArray, FloatArray] | None = None
        self._first = ""

    def open(self, path: str) -> list[xr.Dataset]:
        """One file, its fields gridded.

        Raises:
            InputError: If it has no columns, or others than the first file.
        """
        header = peek(path)
        raw = open_lazily(path)
        dim = column_dim(header) if header else None
        if dim is None:
            raise InputError("has no fields on unstructured columns", file=path)
        weights = self._weights_of(raw, dim, path)
        time = find_axis(raw, "time")
        file = ColumnFile(
            path=path,
            dataset=raw,
            dim=dim,
            lead=(time,) if time is not None and time in raw.dims else (),
        )
        fields = gridded_fields(file, weights, self._options)
        out = xr.Dataset(fields).assign_coords(
            lat=("lat", weights.lat, coordinate_attrs("lat")),
            lon=("lon", weights.lon, coordinate_attrs("lon")),
        )
        return [_with_time(out, raw, time)]

    def _weights_of(self, raw: xr.Dataset, dim: str, path: str) -> ColumnWeights:
        """The weights, made for the first file and checked against the others."""
        places = self._find_places(raw, dim, path)
        if self.weights is None:
            options = self._options
            if options.weights is not None:
                self.weights = weights_from_file(options.weights)
            elif places is not None:
                self.weights = self._nearest(places, path)
            self._places, self._first = places, path
        assert self.weights is not None
        if raw.sizes[dim] != self.weights.num_columns:
            raise InputError(
                f"must have {self.weights.num_columns} columns as"
                f" {self._options.weights or self._first} has, got {raw.sizes[dim]}",
                file=path,
            )
        if places is not None and self._places is not None:
            same = all(
                np.allclose(a, b, atol=1e-3) for a, b in zip(places, self._places, strict=True)
            )
            if not same:
                raise InputError(
                    f"all files must have the same columns; these lie elsewhere than in"
                    f" {self._first}",
                    file=path,
                )
        return self.weights

    def _nearest(self, places: tuple[FloatArray, FloatArray], path: str) -> ColumnWeights:
        """Weights by distance, with the file named where there can be none."""
        try:
            return nearest_weights(*places, self._options.grid)
        except InputError as error:
            raise InputError(error.problem, file=path) from None

    def _find_places(
        self, raw: xr.Dataset, dim: str, path: str
    ) -> tuple[FloatArray, FloatArray] | None:
        """Coordinates of the columns; None where a weight file makes them needless.

        Raises:
            InputError: If they are needed and not there.
        """
        places = find_columns(raw, dim, path)
        if places is not None or self._options.weights is not None:
            return places
        mesh_path = self._options.mesh
        if mesh_path is None:
            raise InputError(
                f"has no coordinates for its {raw.sizes[dim]} columns; name the file that has them"
                " with the option mesh, or a weight file with weights",
                file=path,
            )
        with open_lazily(mesh_path, decode_times=False) as mesh:
            along = mesh_dim(mesh, dim, raw.sizes[dim])
            places = find_columns(mesh, along, mesh_path) if along else None
        if places is None:
            raise InputError(
                f"must hold latitudes and longitudes of {raw.sizes[dim]} columns, those of {path}",
                file=mesh_path,
            )
        return places


def _with_time(out: xr.Dataset, raw: xr.Dataset, time: str | None) -> xr.Dataset:
    """The dataset with the file's time axis and its bounds."""
    if time is None:
        return out
    out = out.assign_coords({time: raw.variables[time]})
    bounds = [n for n in raw.data_vars if raw[n].dims[:1] == (time,) and raw[n].shape[1:] == (2,)]
    return out.assign({n: raw.variables[n] for n in bounds})
