"""Samples as a Zarr group: `field` (N, C, H, W), `label` (N, S, H, W) and `shares`, one chunk each.

Numbers are as in shards, packed where those are. The group's attributes hold the index; they are
written when all samples are.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from pydantic import ValidationError
from zarr.codecs import BloscCodec

from exastorm.errors import InputError
from exastorm.progress import ProgressBar
from exastorm.samples.compression import LEVELS, Compression
from exastorm.samples.converting import Samples
from exastorm.samples.index import ADAPTER, FORMAT_NAME, SampleIndex
from exastorm.samples.shards import RawSample


def write_zarr(samples: Samples, out: Path, compression: Compression = "none") -> None:
    """Write samples as a Zarr group (version 3), into an empty folder."""
    index = samples.index
    layout = index.layout
    group = zarr.open_group(out, mode="w")
    parts = {
        "field": (layout.shape, layout.disk_dtype),
        "label": ((layout.num_label_sets, *layout.shape[1:]), np.dtype(np.int8)),
    }
    if layout.shares:
        parts["shares"] = ((len(layout.shares), *layout.shape[1:]), np.dtype(np.uint8))
    arrays: dict[str, Any] = {
        name: group.create_array(
            name,
            shape=(index.num_samples, *shape),
            chunks=(1, *shape),
            dtype=dtype,
            compressors=_compressors(compression, dtype),
        )
        for name, (shape, dtype) in parts.items()
    }
    buffer = np.empty(layout.stride, np.uint8)
    with ProgressBar("convert", index.num_samples) as bar:
        for i in range(index.num_samples):
            raw = samples.read_raw(i, buffer)
            for name, values in zip(("field", "label", "shares"), raw, strict=True):
                if name in arrays:
                    arrays[name][i] = values
            bar.advance()
    group.attrs.update({"format": FORMAT_NAME, "index": ADAPTER.dump_python(index, mode="json")})


def _compressors(compression: Compression, dtype: np.dtype[Any]) -> Any:
    """Zarr's codec for the same compression as that of shards."""
    if compression == "none":
        return None
    level = LEVELS[compression]
    return BloscCodec(
        typesize=dtype.itemsize, cname=compression, clevel=level, shuffle="bitshuffle"
    )


class ZarrSamples:
    """Samples read from a Zarr group, one chunk a sample.

    Attributes:
        path: The group.
        index: What they are.
    """

    def __init__(self, path: Path) -> None:
        """Open a group.

        Raises:
            InputError: If it is none of samples, or its arrays are not those of its index.
        """
        self.path = path
        try:
            group = zarr.open_group(path, mode="r")
            attributes = dict(group.attrs)
            if attributes.get("format") != FORMAT_NAME:
                raise InputError(f'must be a Zarr group with "format": "{FORMAT_NAME}"', file=path)
            self.index: SampleIndex = ADAPTER.validate_python(attributes.get("index"))
            self._arrays: list[Any] = [group[name] for name in ("field", "label")]
            if self.index.layout.shares:
                self._arrays.append(group["shares"])
        except (KeyError, OSError, json.JSONDecodeError, ValidationError) as error:
            raise InputError(f"must be a Zarr group of samples, got {error}", file=path) from None
        layout = self.index.layout
        wanted = (self.index.num_samples, *layout.shape)
        if self._arrays[0].shape != wanted or self._arrays[0].dtype != layout.disk_dtype:
            raise InputError(
                f"must be {wanted} {layout.dtype}, got {self._arrays[0].shape}"
                f" {self._arrays[0].dtype}",
                file=path,
                variable="field",
            )

    def read_raw(self, i: int, buffer: NDArray[np.uint8]) -> RawSample:
        """Read sample `i`; the buffer is not used, as Zarr makes new arrays."""
        parts = [np.asarray(array[i]) for array in self._arrays]
        if len(parts) == 2:
            parts.append(np.empty((0, *self.index.layout.shape[1:]), np.uint8))
        return RawSample(*parts)
