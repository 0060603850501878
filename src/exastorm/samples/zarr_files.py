"""Samples as a Zarr group: `field` (N, C, H, W), `label` (N, S, H, W) and `shares`, one chunk each.

Numbers are as in shards, packed where those are. The group's attributes hold the index; they are
written when all samples are.
"""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from exastorm.progress import ProgressBar
from exastorm.samples.compression import LEVELS, Compression
from exastorm.samples.converting import Samples
from exastorm.samples.index import ADAPTER, FORMAT_NAME

FILL = {"field": np.nan, "label": -128, "shares": 0}
"""What Zarr gives where a chunk is missing: what no sample holds, so that it is found. Shares have
no such number, but lie beside fields that do."""


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
            fill_value=FILL[name],
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
