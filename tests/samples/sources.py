"""The same samples in all three forms, on a small grid."""

import h5py
import numpy as np
import xarray as xr

from exastorm.readers.schema import CLASS_ATTRS, DIMS, mock_dataset
from exastorm.samples.deepcam_facts import FACTS_NAME, stems_of
from exastorm.samples.index import ADAPTER
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.shards import SampleStore
from exastorm.variables import CHANNEL_NAMES, CHANNELS

NUM_LAT, NUM_LON, NUM_TIMES = 6, 12, 96


def write_shards(folder, dtype="float32", num_sets=1):
    """Shards of made-up fields of all 16 channels, every three hours."""
    rng = np.random.default_rng(0)
    shape = (NUM_TIMES, NUM_LAT, NUM_LON)
    fields = {}
    for v in CHANNELS:
        middle, spread = (v.low + v.high) / 2, (v.high - v.low) / 8
        fields[v.name] = np.clip(middle + spread * rng.standard_normal(shape), v.low, v.high)
    archive = mock_dataset(fields, NUM_LAT, NUM_LON, NUM_TIMES, step_hours=3)
    names = ["class_map"] if num_sets == 1 else [f"labels_{k}" for k in range(num_sets)]
    maps = {
        name: (DIMS, rng.choice(3, size=shape, p=[0.8, 0.1, 0.1]).astype(np.int8), CLASS_ATTRS)
        for name in names
    }
    labels = xr.Dataset(maps, coords=dict(archive.coords))
    labels.attrs["rule_set"] = "made up"
    settings = PrepareSettings(
        channels=CHANNEL_NAMES,
        block_days=2.0,
        gap_hours=6.0,
        split_fractions=(0.6, 0.2, 0.2),
        dtype=dtype,
        label=tuple(names) if num_sets > 1 else names[0],
    )
    prepare_samples(archive, labels, folder, settings)
    return SampleStore(folder)


def write_deepcam(store, folder, *, facts=True, channels_last=True, chunks=None):
    """Samples of a store as DeepCAM files; with `facts` with the index of the store."""
    index = store.index
    buffer = np.empty(index.layout.stride, np.uint8)
    for i, (stem, split) in enumerate(zip(stems_of(index), index.splits, strict=True)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        raw = store.read_raw(i, buffer)
        data = np.moveaxis(raw.field, 0, 2) if channels_last else raw.field
        with h5py.File(folder / split / f"{stem}.h5", "w") as file:
            file.create_dataset("climate/data", data=data, chunks=chunks)
            for k, label in enumerate(raw.labels):
                file[f"climate/labels_{k}"] = label.astype(np.float32)
    if facts:
        (folder / FACTS_NAME).write_bytes(ADAPTER.dump_json(index))
