"""From an archive and its labels to training shards, in one pass that also takes the statistics.

Each snapshot is read once, checked, counted and written; the index comes last, so that a run that
is interrupted leaves no folder that looks finished. Channel statistics are those of the training
split alone: what a network is scaled by must not know the samples it is tested on.
"""

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm import __version__
from exastorm.errors import InputError
from exastorm.grid import cell_areas_km2
from exastorm.progress import ProgressBar
from exastorm.readers.schema import DIMS
from exastorm.samples.checking import BadSampleError, check_field, check_labels, check_shares
from exastorm.samples.index import INDEX_NAME, SampleIndex, SampleLayout, write_index
from exastorm.samples.matching import match_labels, share_names
from exastorm.samples.normalize import ChannelMeter, ClassMeter
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.splits import DROPPED, SPLITS, split_times
from exastorm.samples.targets import SHARE_CLASSES, TargetMeter, stored_shares
from exastorm.samples.writing import PARTIAL, ShardWriter
from exastorm.variables import VARIABLES

IntArray = NDArray[np.int64]

READ_MB = 256.0
"""Most memory for snapshots read at once where the archive is not chunked in time, MB."""


class _SplitRecorder:
    """Writes and counts the samples of one split."""

    def __init__(
        self, writer: ShardWriter, areas: NDArray[np.float64], settings: PrepareSettings
    ) -> None:
        self.writer = writer
        self.channels = ChannelMeter(len(settings.channels))
        self.classes = [ClassMeter(areas) for _ in settings.label_names]
        self.targets = TargetMeter()
        self.times: list[str] = []


def prepare_samples(
    dataset: xr.Dataset, labels: xr.Dataset, out: str | Path, settings: PrepareSettings
) -> SampleIndex:
    """Write an archive and its labels as training shards with an index, in one streaming pass.

    A sample is made for each time of the labels. Samples are read in blocks of the archive's chunks
    in time, so memory holds one such block whatever the length of the archive.

    Args:
        dataset: Fields in the schema.
        labels: Class maps on the same grid, one variable a label set, for soft labels with shares
            beside it; every one of their times must be in `dataset`.
        out: Folder to make.
        settings: Channels, splits, form on disk.

    Returns:
        The index, as written.

    Raises:
        InputError: If fields or shares are missing, grids differ, a time of the labels is not in
            the archive, a value is missing (unless `skip_bad`), the times are too short for the
            splits, or the folder already holds samples (unless `overwrite`).
    """
    out = Path(out)
    positions = match_labels(dataset, labels, settings)
    times = labels["time"].values
    splits = split_times(times, settings.split_fractions, settings.block_days, settings.gap_hours)
    lat, lon = dataset["lat"].values, dataset["lon"].values
    shares = tuple(SHARE_CLASSES) if settings.soft_labels else ()
    sets = settings.label_names if len(settings.label_names) > 1 else ()
    layout = SampleLayout.of(settings.channels, settings.dtype, (len(lat), len(lon)), shares, sets)
    layout = dataclasses.replace(layout, compression=settings.compression)
    _make_room(out, settings.overwrite)
    areas = cell_areas_km2(lat, lon)
    recorders = [
        _SplitRecorder(ShardWriter(out, s, layout, settings.shard_mb), areas, settings)
        for s in SPLITS
    ]
    try:
        left_out = _stream(dataset, labels, positions, splits, recorders, settings)
        for recorder in recorders:
            recorder.writer.close()
        facts = _statistics(recorders, dataset, settings)
    except BaseException:
        for recorder in recorders:
            recorder.writer.discard()
        raise
    index = SampleIndex(
        channels=settings.channels,
        units=tuple(VARIABLES[c].units for c in settings.channels),
        layout=layout,
        lat=tuple(float(v) for v in lat),
        lon=tuple(float(v) for v in lon),
        calendar=times[0].calendar,
        times=tuple(t for r in recorders for t in r.times),
        shards=tuple(s for r in recorders for s in r.writer.shards),
        normalization=settings.normalization,
        num_dropped=int(np.count_nonzero(splits == DROPPED)),
        left_out=tuple(left_out),
        settings=dataclasses.asdict(settings),
        provenance=_provenance(dataset, labels, settings),
        version=layout.format_version,
        **facts,
    )
    write_index(index, out)
    return index


def _make_room(out: Path, overwrite: bool) -> None:
    """Make the folder, or clear what an earlier run left in it."""
    if (out / INDEX_NAME).exists():
        if not overwrite:
            raise InputError("already holds samples; give another folder, or overwrite", file=out)
        # First the index: without it nobody takes the shards for samples.
        (out / INDEX_NAME).unlink()
    elif out.exists() and not out.is_dir():
        raise InputError("must be a folder", file=out)
    out.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        name = f"{split}-{'[0-9]' * 5}.bin"
        for stale in (*out.glob(name), *out.glob(name + PARTIAL)):
            stale.unlink()


def _stream(
    dataset: xr.Dataset,
    labels: xr.Dataset,
    positions: IntArray,
    splits: IntArray,
    recorders: list[_SplitRecorder],
    settings: PrepareSettings,
) -> list[str]:
    """Read, check, count and write every sample that has a split; returns what was left out."""
    left_out: list[str] = []
    kept = np.flatnonzero(splits != DROPPED)
    fields = dataset[list(settings.channels)]
    maps = labels[[*settings.label_names, *share_names(labels, settings)]]
    field = np.empty((len(fields.data_vars), fields.sizes["lat"], fields.sizes["lon"]), np.float32)
    with ProgressBar("prepare", len(kept)) as bar:
        for block in _blocks(fields, positions, kept):
            field_block, map_block = _load(fields, maps, positions[block], block)
            for k, number in enumerate(block):
                time = labels["time"].values[number]
                for channel, values in zip(field, field_block, strict=True):
                    channel[...] = values[k]
                snapshot = {name: values[k] for name, values in map_block.items()}
                try:
                    _record(recorders[splits[number]], field, snapshot, time, settings)
                except BadSampleError as bad:
                    where = {"variable": bad.variable, "time": time}
                    error = InputError(bad.problem, file=dataset.attrs.get("source"), **where)
                    if not settings.skip_bad:
                        raise error from None
                    left_out.append(str(error))
                bar.advance()
    return left_out


def _record(
    recorder: _SplitRecorder,
    field: NDArray[np.float32],
    maps: dict[str, NDArray[Any]],
    time: Any,
    settings: PrepareSettings,
) -> None:
    """Check one sample, then write and count it."""
    names = settings.label_names
    batch = check_field(field, settings.channels)
    shares = {name: values for name, values in maps.items() if name not in names}
    labels = check_labels([maps[name] for name in names], names)
    check_shares(shares, labels[0])
    stored = stored_shares(labels[0], shares) if shares else None
    recorder.writer.append(field, labels, stored)
    recorder.channels.merge(batch)
    for meter, label in zip(recorder.classes, labels, strict=True):
        meter.record_batch(label)
    if stored is not None:
        recorder.targets.record_batch(stored, labels[0])
    recorder.times.append(time.isoformat())


def _blocks(fields: xr.Dataset, positions: IntArray, kept: IntArray) -> Iterator[IntArray]:
    """Samples to read together: those in one chunk of the archive, or as memory allows."""
    chunks = fields.chunksizes.get("time") if any(v.chunks for v in fields.values()) else None
    if chunks:
        block_of = np.searchsorted(np.cumsum(chunks), positions[kept], side="right")
    else:
        snapshot_mb = 4e-6 * len(fields.data_vars) * fields.sizes["lat"] * fields.sizes["lon"]
        block_of = np.arange(len(kept)) // max(1, int(READ_MB / snapshot_mb))
    yield from np.split(kept, np.flatnonzero(np.diff(block_of)) + 1)


def _load(
    fields: xr.Dataset, maps: xr.Dataset, positions: IntArray, numbers: IntArray
) -> tuple[list[NDArray[Any]], dict[str, NDArray[Any]]]:
    """Read some snapshots: each channel (T, H, W), and by name each map (T, H, W)."""
    source = fields.attrs.get("source")
    # In one dataset, so that a made-up archive is computed once for its fields and its truth.
    block = fields.isel(time=positions)
    renamed = {f"{name} of a sample": name for name in map(str, maps.data_vars)}
    wanted = maps.isel(time=numbers)
    block = block.assign({ours: (DIMS, wanted[name].data) for ours, name in renamed.items()})
    try:
        block = block.compute()
    except (OSError, RuntimeError) as error:
        first = block["time"].values[0]
        raise InputError(f"cannot be read: {error}", file=source, time=first) from error
    shape = (len(positions), fields.sizes["lat"], fields.sizes["lon"])
    loaded = {name: block[ours].values for ours, name in renamed.items()}
    return [np.broadcast_to(block[c].values, shape) for c in fields.data_vars], loaded


def _statistics(
    recorders: list[_SplitRecorder], dataset: xr.Dataset, settings: PrepareSettings
) -> dict[str, Any]:
    """Statistics of the training split and of all splits, as the index names them."""
    train, names = recorders[0], settings.label_names
    if not train.times:
        raise InputError("no sample is left to train on", file=dataset.attrs.get("source"))
    for name, meter in zip(names, train.classes, strict=True):
        if not meter.num_pixels.any():
            raise InputError("label set must label something of the training split", variable=name)
    pooled = _pooled(train.classes)
    facts: dict[str, Any] = {
        "statistics": train.channels.summary(),
        "class_shares": pooled.summary(),
        "soft_class_shares": train.targets.summary() if settings.soft_labels else None,
        "label_set_shares": tuple(m.summary() for m in train.classes) if len(names) > 1 else (),
    }
    for other in recorders[1:]:
        train.channels.merge(other.channels)
        pooled.merge(_pooled(other.classes))
    facts["whole_statistics"] = train.channels.summary()
    facts["whole_class_shares"] = pooled.summary()
    return facts


def _pooled(meters: list[ClassMeter]) -> ClassMeter:
    """The counts of all label sets together; the meters stay as they are."""
    pooled = copy.copy(meters[0])
    for meter in meters[1:]:
        pooled.merge(meter)
    return pooled


def _provenance(
    dataset: xr.Dataset, labels: xr.Dataset, settings: PrepareSettings
) -> dict[str, str]:
    """Where fields and labels come from, as far as their attributes say."""
    told = {"exastorm_version": __version__}
    told |= {f"fields.{k}": str(v) for k, v in dataset.attrs.items()}
    told |= {f"labels.{k}": str(v) for k, v in labels.attrs.items()}
    for name in (*settings.label_names, *share_names(labels, settings)):
        told |= {f"labels.{name}.{k}": str(v) for k, v in labels[name].attrs.items()}
    return told
