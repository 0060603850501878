"""Puts class maps and tables of tracks on disk, whole or not at all, in the same bytes always."""

import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import dask.array as da
import netCDF4
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError, writing
from exastorm.readers.schema import DIMS

SUFFIXES = (".nc", ".zarr")
TRACK_FORMS = ("csv", "parquet")

CHUNK_BYTES = 4 * 2**20
"""A chunk of the output holds about this much before compression."""


def check_out(out: Path) -> None:
    """Refuse a place that labels can't be written to.

    Raises:
        InputError: For another suffix, or a folder that is no Zarr store.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"labels must go to a .nc file or a .zarr store, got {out.name!r}")
    if out.is_dir() and not any((out / name).exists() for name in ("zarr.json", ".zgroup")):
        raise InputError("is a folder but no Zarr store; it is left as it is", file=out)


def check_tracks(form: str) -> None:
    """Refuse a format of tracks that can't be written here.

    Raises:
        InputError: For parquet without pyarrow.
    """
    if form == "parquet" and find_spec("pyarrow") is None:
        raise InputError("tracks as parquet need pyarrow: pip install 'exastorm[parquet]'")


class TrackFile:
    """The table of tracks beside the maps, `<stem>.tracks.csv` or `.parquet`.

    It is written before the maps and gets its name after them, so that a full disk leaves both as
    they were.

    Attributes:
        path: Where it goes; None where there is none.
    """

    def __init__(self, out: Path, form: str, table: pd.DataFrame | None) -> None:
        """Write it under another name.

        Args:
            out: The maps.
            form: csv or parquet.
            table: The tracks; None where cyclones were left out.
        """
        self._beside = {kind: out.with_name(f"{out.stem}.tracks.{kind}") for kind in TRACK_FORMS}
        self.path = None if table is None else self._beside[form]
        if table is None or self.path is None:
            return
        self._partial = self.path.with_name(f".{self.path.stem}.writing{self.path.suffix}")
        with writing(self.path):
            if form == "csv":
                table.to_csv(self._partial, index=False, float_format="%.6g")
            else:
                table.to_parquet(self._partial, index=False)

    def publish(self) -> None:
        """Give it its name, and remove the tables of maps that are no longer there."""
        if self.path is not None:
            self._partial.replace(self.path)
        for path in self._beside.values():
            if path != self.path:
                path.unlink(missing_ok=True)


class Layer(NamedTuple):
    """One map that is stored.

    Attributes:
        dtype: Type of its values.
        attrs: Its CF attributes.
    """

    dtype: np.dtype[Any]
    attrs: dict[str, Any]


class MapWriter:
    """Writes maps snapshot by snapshot, under another name until they are whole.

    Chunks do not depend on how the snapshots come, and lie in the file in the order of time, so the
    same maps always make the same bytes. No more than a chunk of each map is in memory.

    Attributes:
        out: The .nc file or .zarr store that is there after the `with` block.
    """

    def __init__(self, out: Path, frame: xr.Dataset, layers: Mapping[str, Layer]) -> None:
        """Prepare; nothing is written yet.

        Args:
            out: Where the maps go; what was there is replaced.
            frame: Coordinates (time, lat, lon) and global attributes.
            layers: The maps by name.
        """
        self.out = out
        self._partial = out.with_name(f".{out.stem}.writing{out.suffix}")
        self._frame = frame
        self._layers = dict(layers)
        self._num_times = frame.sizes["time"]
        shape = (frame.sizes["lat"], frame.sizes["lon"])
        self._buffers = {
            name: np.empty((self._chunk_length(layer, shape), *shape), layer.dtype)
            for name, layer in self._layers.items()
        }
        self._num_added = 0
        self._file: Any = None
        self._targets: dict[str, Any] = {}

    def _chunk_length(self, layer: Layer, shape: tuple[int, int]) -> int:
        """Snapshots in a chunk."""
        wanted = CHUNK_BYTES // (shape[0] * shape[1] * layer.dtype.itemsize)
        return min(max(1, wanted), self._num_times)

    def __enter__(self) -> Self:
        _remove(self._partial)
        if self.out.suffix == ".zarr":
            self._make_store()
        else:
            with writing(self.out):
                self._make_file()
        return self

    def add(self, maps: Mapping[str, NDArray[Any]]) -> None:
        """Write the maps of the next snapshot, (H, W) each."""
        step = self._num_added
        self._num_added += 1
        for name, buffer in self._buffers.items():
            place = step % len(buffer)
            buffer[place] = maps[name]
            if place + 1 == len(buffer) or self._num_added == self._num_times:
                with writing(self.out):
                    self._targets[name][step - place : step + 1] = buffer[: place + 1]

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        with writing(self.out):
            self._close()
        if kind is None:
            assert self._num_added == self._num_times
            # A store is put aside first, so that one of the two is always there.
            aside = self.out.with_name(f".{self.out.stem}.old{self.out.suffix}")
            _remove(aside)
            if self.out.is_dir():
                self.out.replace(aside)
            self._partial.replace(self.out)
            _remove(aside)

    def _make_store(self) -> None:
        """A Zarr store of the maps' names and attributes, without their values."""
        import zarr

        sizes = tuple(self._frame.sizes[d] for d in DIMS)
        zeros: Any = da.zeros
        variables = {
            name: (DIMS, zeros(sizes, dtype=layer.dtype, chunks=self._buffers[name].shape))
            for name, layer in self._layers.items()
        }
        empty = self._frame.assign(variables)
        for name, layer in self._layers.items():
            empty[name].attrs = layer.attrs
        encoding = {name: {"chunks": buffer.shape} for name, buffer in self._buffers.items()}
        empty.to_zarr(self._partial, encoding=encoding, consolidated=False, compute=False)
        group: Any = zarr.open_group(self._partial, mode="r+")
        self._targets = {name: group[name] for name in self._layers}

    def _make_file(self) -> None:
        """A netCDF file of the same."""
        self._frame.to_netcdf(self._partial, engine="netcdf4")
        self._file = netCDF4.Dataset(self._partial, "a")
        for name, layer in self._layers.items():
            variable = self._file.createVariable(
                name,
                layer.dtype,
                DIMS,
                compression="zlib",
                complevel=1,
                # Reordering bytes by significance helps where a value has several.
                shuffle=layer.dtype.itemsize > 1,
                chunksizes=self._buffers[name].shape,
                fill_value=np.nan if layer.dtype.kind == "f" else None,
            )
            variable.setncatts(layer.attrs)
            variable.set_auto_maskandscale(False)
            self._targets[name] = variable

    def _close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _remove(path: Path) -> None:
    """Delete a file or a store, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
