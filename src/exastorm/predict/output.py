"""Write class maps and probabilities block by block, to netCDF or Zarr, all or nothing.

The file grows under another name and takes its own only when it is whole. Values are stored as
they are packed; xarray, ncview and other CF readers unpack them.
"""

import shutil
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import dask.array
import netCDF4
import numpy as np
import xarray as xr
import zarr

from exastorm.errors import InputError, writing
from exastorm.predict.settings import ProbabilityForm
from exastorm.readers.schema import CLASS_ATTRS, DIMS, NO_LABEL, coordinate_attrs
from exastorm.variables import BACKGROUND, CLASSES

PACKED_STEPS = 250
"""Steps from probability 0 to 1 in one byte: 0.4 % each."""

PACKED_GAP = 255
"""Byte of a cell without a probability."""

STORMS = tuple(c for c in CLASSES if c.flag != BACKGROUND)

SUFFIXES = (".nc", ".zarr")


def pack_probability(values: Any, form: ProbabilityForm) -> Any:
    """Probabilities, NaN where there is none, as they are stored."""
    if form == "float32":
        return np.asarray(values, dtype=np.float32)
    steps = np.rint(np.asarray(values, dtype=np.float32) * PACKED_STEPS)
    return np.where(np.isnan(steps), PACKED_GAP, steps).astype(np.uint8)


def check_out(out: Path) -> None:
    """Refuse a place that class maps cannot be written to.

    Raises:
        InputError: For another suffix, or a folder that is no Zarr store, so not ours to replace.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"class maps must go to a .nc file or a .zarr store, got {out.name!r}")
    if out.is_dir() and not any((out / name).exists() for name in ("zarr.json", ".zgroup")):
        raise InputError("exists and is no Zarr store; it is left alone", file=out)


class ClassMapFile:
    """A file of class maps that is written in blocks of time, as a context manager."""

    def __init__(
        self, out: Path, coords: Any, attrs: dict[str, Any], probability: ProbabilityForm
    ) -> None:
        """Prepare the file; nothing is written yet.

        Args:
            out: Path that ends in .nc or .zarr.
            coords: Coordinates time, lat and lon of the archive.
            attrs: Global attributes.
            probability: In what form probabilities are stored.
        """
        self.out = out
        self.partial = out.with_name(f".{out.stem}.partial{out.suffix}")
        self.probability = probability
        self._template = _template(coords, attrs, probability)
        self._file: Any = None

    def __enter__(self) -> "ClassMapFile":
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self._remove_partial()
        try:
            self._create()
        except BaseException:
            self._remove_partial()
            raise
        return self

    def _create(self) -> None:
        """Make the file with its coordinates, open for blocks."""
        num_lat, num_lon = self._template.sizes["lat"], self._template.sizes["lon"]
        if self.out.suffix == ".zarr":
            with warnings.catch_warnings():
                # Readers without it work too; xarray warns its users where it is missing.
                warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
                self._template.to_zarr(self.partial, compute=False, consolidated=True)
            self._file = zarr.open_group(self.partial, mode="r+")
        else:
            encoding = {
                str(name): {
                    "zlib": True,
                    "complevel": 1,
                    "chunksizes": (1,) * (array.ndim - 2) + (num_lat, num_lon),
                }
                for name, array in self._template.data_vars.items()
            }
            self._template.to_netcdf(
                self.partial,
                compute=False,
                engine="netcdf4",
                encoding=encoding,
                unlimited_dims=["time"],
            )
            self._file = netCDF4.Dataset(self.partial, "r+")
            self._file.set_auto_maskandscale(False)

    def write(self, steps: slice, class_map: Any, probability: Any) -> None:
        """Write one block.

        Args:
            steps: Which times.
            class_map: int8 (T, H, W), -1 where nothing is known.
            probability: Of the storm classes (T, K - 1, H, W), NaN where nothing is known.
        """
        with writing(self.out):
            self._file["class_map"][steps] = np.asarray(class_map, dtype=np.int8)
            if self.probability != "none":
                self._file["probability"][steps] = pack_probability(probability, self.probability)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if isinstance(self._file, netCDF4.Dataset):
                with writing(self.out):
                    self._file.close()
        except InputError:
            self._remove_partial()
            raise
        if kind is not None:
            self._remove_partial()
            return
        if self.out.is_dir():
            shutil.rmtree(self.out)
        self.partial.replace(self.out)

    def _remove_partial(self) -> None:
        if self.partial.is_dir():
            shutil.rmtree(self.partial)
        self.partial.unlink(missing_ok=True)


def _template(coords: Any, attrs: dict[str, Any], form: ProbabilityForm) -> xr.Dataset:
    """The dataset as it will be stored, its values not there yet."""
    num_times, num_lat, num_lon = (coords[name].size for name in DIMS)

    def blank(dtype: Any, *middle: int) -> Any:
        shape = (num_times, *middle, num_lat, num_lon)
        return dask.array.zeros(shape, dtype=dtype, chunks=(1, *middle, num_lat, num_lon))

    class_attrs = {
        **CLASS_ATTRS,
        "long_name": "storm class with the largest probability",
        "comment": f"{NO_LABEL} where a field the network needs has no value",
    }
    variables: dict[str, Any] = {"class_map": (DIMS, blank(np.int8), class_attrs)}
    if form != "none":
        dims = ("time", "storm_class", "lat", "lon")
        dtype = np.uint8 if form == "packed" else np.float32
        variables["probability"] = (dims, blank(dtype, len(STORMS)), _probability_attrs(form))
    flags = np.array([s.flag for s in STORMS], dtype=np.int8)
    flag_attrs = {"flag_values": flags, "flag_meanings": " ".join(s.name for s in STORMS)}
    time = xr.Variable("time", coords["time"].values, {"standard_name": "time", "axis": "T"})
    out = xr.Dataset(
        variables,
        coords={
            "time": time,
            "lat": ("lat", coords["lat"].values, coordinate_attrs("lat")),
            "lon": ("lon", coords["lon"].values, coordinate_attrs("lon")),
        },
        attrs=attrs,
    )
    if form != "none":
        out = out.assign_coords(storm_class=("storm_class", flags, flag_attrs))
    first = str(coords["time"].values[0])[:10]
    out["time"].encoding.update(units=f"hours since {first} 00:00:00", dtype="float64")
    for name in ("lat", "lon", "time"):
        out[name].encoding["_FillValue"] = None
    return out


def _probability_attrs(form: ProbabilityForm) -> dict[str, Any]:
    """Attributes of the probabilities, with the CF packing where they are packed."""
    attrs: dict[str, Any] = {
        "units": "1",
        "long_name": "probability of each storm class",
        "comment": (
            "softmax of the network's logits, the class decision's bias included; not calibrated "
            "against frequencies"
        ),
    }
    if form == "packed":
        attrs["scale_factor"] = np.float32(1.0 / PACKED_STEPS)
        attrs["_FillValue"] = np.uint8(PACKED_GAP)
    return attrs
