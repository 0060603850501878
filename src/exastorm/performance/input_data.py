"""Made-up samples for the benchmark of input: the same ones as shards and as DeepCAM's files."""

import dataclasses
import shutil
from datetime import timedelta
from pathlib import Path

import cftime
import numpy as np

from exastorm.errors import InputError
from exastorm.grid import cell_areas_km2, regular_grid
from exastorm.progress import ProgressBar
from exastorm.samples.convert import ConvertSettings, convert_samples
from exastorm.samples.index import SampleIndex, SampleLayout, write_index
from exastorm.samples.normalize import ChannelMeter, ClassMeter
from exastorm.samples.writing import ShardWriter
from exastorm.variables import CHANNEL_NAMES, VARIABLES

FORMS = {
    "shards float32": ConvertSettings(),
    "shards float16": ConvertSettings(dtype="float16"),
    "DeepCAM HDF5": ConvertSettings(to="deepcam"),
}
"""What the samples are written as; the first is what the others are made from."""


def make_input_data(folder: Path, num_samples: int, size: tuple[int, int]) -> dict[str, Path]:
    """Write samples of all 16 channels with labels in each form.

    Noise turned by another longitude each: all differ, and all have the same statistics.

    Args:
        folder: Where to.
        num_samples: How many.
        size: Latitudes and longitudes.

    Returns:
        Folder of each form.

    Raises:
        InputError: If there is too little space.
    """
    layout = SampleLayout.of(CHANNEL_NAMES, "float32", size)
    # In float32, in float16, and in DeepCAM's files with labels of four bytes.
    num_bytes = num_samples * (5 * layout.field_bytes // 2 + 6 * layout.label_bytes)
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise InputError(
            f"needs {num_bytes / 1e9:.3g} GB for {num_samples} samples, {free / 1e9:.3g} GB are"
            " free",
            file=folder,
        )
    paths = {name: folder / name.replace(" ", "-") for name in FORMS}
    first, *others = FORMS
    _write_shards(paths[first], num_samples, layout)
    for name in others:
        convert_samples(paths[first], paths[name], FORMS[name])
    return paths


def _write_shards(out: Path, num_samples: int, layout: SampleLayout) -> None:
    """Write the samples as shards of single precision, all to train on."""
    out.mkdir()
    generator = np.random.default_rng(0)
    ranges = [(VARIABLES[name].low, VARIABLES[name].high) for name in CHANNEL_NAMES]
    low, high = (np.array(ends, np.float32)[:, None, None] for ends in zip(*ranges, strict=True))
    field = low + (high - low) * generator.random(layout.shape, dtype=np.float32)
    label = generator.choice(3, layout.shape[1:], p=[0.98, 0.005, 0.015]).astype(np.int8)
    writer = ShardWriter(out, "train", layout, shard_mb=ConvertSettings().shard_mb)
    with ProgressBar("make samples", num_samples) as bar:
        for i in range(num_samples):
            writer.append(np.roll(field, i, axis=2), np.roll(label, i, axis=1)[None])
            bar.advance()
    writer.close()
    write_index(_index(layout, field, label, writer, num_samples), out)


def _index(
    layout: SampleLayout,
    field: np.ndarray,
    label: np.ndarray,
    writer: ShardWriter,
    num_samples: int,
) -> SampleIndex:
    """The index of the samples, by the statistics of one of them."""
    lat, lon = regular_grid(*layout.shape[1:])
    channels, classes = ChannelMeter(len(field)), ClassMeter(cell_areas_km2(lat, lon))
    channels.record_batch(field)
    classes.record_batch(label)
    statistics = dataclasses.replace(
        channels.summary(), num_values=num_samples * channels.num_values
    )
    start = cftime.DatetimeNoLeap(2001, 1, 1)
    times = [start + timedelta(hours=3 * i) for i in range(num_samples)]
    return SampleIndex(
        channels=CHANNEL_NAMES,
        units=tuple(VARIABLES[name].units for name in CHANNEL_NAMES),
        layout=layout,
        lat=tuple(lat.tolist()),
        lon=tuple(lon.tolist()),
        calendar="noleap",
        times=tuple(time.isoformat() for time in times),
        shards=tuple(writer.shards),
        statistics=statistics,
        whole_statistics=statistics,
        class_shares=classes.summary(),
        whole_class_shares=classes.summary(),
        normalization="minmax",
        num_dropped=0,
        left_out=(),
        settings={},
    )
