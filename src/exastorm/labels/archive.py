"""Label an archive larger than memory: class maps and a table of tracks, in blocks of time.

What each block of snapshots holds is found one block after the other, by several processes or by
the workers of a Dask cluster, and kept in a folder beside the output until all are there. Then
storms are selected from all blocks together, and one CF file appears under its name when it is
whole. So the result depends neither on the blocks, nor on the workers, nor on how the archive's
files are cut.
"""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import exastorm
from exastorm.errors import InputError
from exastorm.labels.blocks import Block, BlockFolder, write_block
from exastorm.labels.climatology import Seasons, open_climatology, seasonal_percentiles
from exastorm.labels.output import LabelSummary, finish_labels
from exastorm.labels.plan import Plan, checked_plan
from exastorm.labels.rule_sets import Fields
from exastorm.labels.settings import LabelSettings
from exastorm.labels.snapshot import find_in_snapshot
from exastorm.labels.storage import check_out, check_tracks
from exastorm.labels.workers import run_jobs
from exastorm.physics.surroundings import Surroundings
from exastorm.progress import ProgressBar

BLOCK_BYTES = 128 * 2**20
"""Fields of one block take about this much memory."""


def label_archive(
    dataset: xr.Dataset, out: str | Path, settings: LabelSettings | None = None
) -> LabelSummary:
    """Label every snapshot of an archive.

    Writes `out` with `class_map` and `rule` (int8, time x lat x lon) and where they come from,
    and, where cyclones are labeled, beside it `<stem>.tracks.csv`, one row a cyclone and time.
    After a failure the finished snapshots are kept in `<out>.part`; a second start goes on there.

    Args:
        dataset: An archive in the package schema; fields it lacks limit what is labeled.
        out: A .nc file or .zarr store; what was there is replaced.
        settings: Rules, thresholds, and how the work is cut.

    Raises:
        InputError: For another suffix, an archive that allows neither class to be labeled, or a
            snapshot that can't be read or is wholly missing.
    """
    settings = settings or LabelSettings()
    # Whole, since the workers of a cluster may stand in another folder.
    out = Path(out).absolute()
    check_out(out)
    check_tracks(settings.tracks)
    plan = checked_plan(dataset, settings)
    needed = dataset[list(plan.fields)]
    blocks = cut_blocks(needed, settings.block_size)
    files = [*dataset.encoding.get("files", ())]
    if plan.climatology is not None and plan.climatology.file is not None:
        files.append(plan.climatology.file)
    signature = _signature(needed, settings, plan, blocks) | {"files": _stamps(files)}
    folder = BlockFolder(out, signature)
    try:
        plan = _with_climatology(dataset, plan, folder)
    except InputError:
        folder.remove_if_idle(blocks)
        raise
    todo = [block for block in blocks if not folder.is_done(block)]
    # A lazy archive goes to every process once and whole: of a thousand files each slice of it
    # would carry all. One in memory goes in slices.
    is_lazy = any(array.chunks for array in needed.data_vars.values())
    shared = (needed if is_lazy else None, plan)
    jobs = ((None if is_lazy else needed.isel(time=slice(*b)), b, folder.file(b)) for b in todo)
    # No process for less than a block.
    num_workers = min(settings.num_workers, len(todo))
    try:
        with ProgressBar("label", sum(b.stop - b.start for b in todo)) as bar:
            for block in run_jobs(
                label_block, shared, jobs, num_workers=num_workers, scheduler=settings.scheduler
            ):
                bar.advance(block.stop - block.start)
    except InputError as error:
        done = folder.num_done(blocks)
        if folder.remove_if_idle(blocks):
            raise
        raise InputError(
            f"{error} ({done} of {blocks[-1].stop} snapshots are labeled and kept in {folder.path};"
            " the same command goes on from there)"
        ) from error
    summary = finish_labels(dataset, out, settings, plan, folder, blocks)
    folder.remove()
    return summary


def _with_climatology(dataset: xr.Dataset, plan: Plan, folder: BlockFolder) -> Plan:
    """The plan with its local percentiles in a file, made from the archive where none is given."""
    asked = plan.climatology
    if asked is None:
        return plan
    request = asked
    if asked.file is None:
        file = folder.path / "climatology.nc"
        if not file.exists():
            made = seasonal_percentiles(dataset, asked.moisture, asked.percentiles, folder.path)
            made.save(file)
        request = replace(asked, file=str(file))
    climatology = open_climatology(
        str(request.file), dataset["lat"].values, dataset["lon"].values, request
    )
    climatology.check_enough(asked, {time.month for time in dataset["time"].values})
    return plan._replace(climatology=request, notes=plan.notes | climatology.notes())


def cut_blocks(dataset: xr.Dataset, block_size: int | None) -> list[Block]:
    """Cut the time axis.

    Without a size, a block is as many whole chunks of the archive as fit in `BLOCK_BYTES`, at
    least one, so that no chunk is read twice.
    """
    num_times = dataset.sizes["time"]
    if block_size is None:
        # Not the dataset's own: fields from different files may have different chunks.
        chunk = max(
            [1, *(n for a in dataset.data_vars.values() for n in a.chunksizes.get("time", ()))]
        )
        chunk_bytes = max(1, dataset.nbytes // num_times * chunk)
        block_size = chunk * max(1, BLOCK_BYTES // chunk_bytes)
    starts = range(0, num_times, block_size)
    return [Block(start, min(start + block_size, num_times)) for start in starts]


def _signature(
    dataset: xr.Dataset, settings: LabelSettings, plan: Plan, blocks: list[Block]
) -> dict[str, Any]:
    """What must be the same for finished blocks to be used again."""
    times = " ".join(str(time) for time in dataset["time"].values)
    # All of what is in memory; of a lazy archive the ends, and its files are looked at.
    is_lazy = any(array.chunks for array in dataset.data_vars.values())
    seen = [dataset.isel(time=step).load() for step in (0, -1)] if is_lazy else [dataset]
    checksums = {
        name: [zlib.crc32(np.ascontiguousarray(part[name].values).data) for part in seen]
        for name in plan.fields
    }
    return {
        "version": exastorm.__version__,
        "source": str(dataset.attrs.get("source", "")),
        "rules": [settings.cyclones, settings.rivers, settings.soft],
        "thresholds": settings.thresholds(
            cyclones=plan.cyclones is not None, rivers=plan.rivers is not None
        ),
        "notes": plan.notes,
        "grid": [dataset["lat"].values.tolist(), dataset["lon"].values.tolist()],
        "times": zlib.crc32(times.encode()),
        "values": checksums,
        "blocks": blocks,
    }


def _stamps(files: list[str]) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each file; stores are folders and have none."""
    stats = [(file, Path(file).stat()) for file in files if Path(file).is_file()]
    return [(file, stat.st_size, stat.st_mtime_ns) for file, stat in stats]


def label_block(
    archive: xr.Dataset | None, plan: Plan, snapshots: xr.Dataset | None, block: Block, path: Path
) -> Block:
    """Read one block, find what it holds and put that on disk.

    Args:
        archive: The fields that the plan names, of all snapshots; None where `snapshots` are given.
        plan: What to look for.
        snapshots: The same of the block's snapshots alone; None where the archive is given.
        block: Which snapshots of the archive these are.
        path: Where the block goes.

    Raises:
        InputError: If a field of a snapshot is wholly missing.
    """
    if snapshots is None:
        assert archive is not None
        snapshots = archive.isel(time=slice(*block))
    grid = Surroundings.of(snapshots["lat"].values, snapshots["lon"].values)
    seasons = Seasons(grid.lat, grid.lon, plan.climatology)
    # At once: a read of each field costs more than copying its chunks together.
    loaded = snapshots.load()
    _close_files()
    finds = []
    for step, time in enumerate(loaded["time"].values):
        fields = snapshot_fields(loaded, step, plan.fields) | seasons.fields(time.month)
        finds.append(find_in_snapshot(fields, grid, plan))
    write_block(path, finds)
    return block


def _close_files() -> None:
    """Close all files that were read from but the last; they are opened again when needed.

    Up to 128 stay open otherwise, each with the chunks that were read from it: gigabytes.
    """
    with xr.set_options(file_cache_maxsize=1):
        pass


def snapshot_fields(dataset: xr.Dataset, step: int, names: tuple[str, ...]) -> Fields:
    """Fields of one snapshot of a dataset that is in memory, (H, W) each.

    Raises:
        InputError: If a field is wholly missing.
    """
    fields = {}
    for name in names:
        values = dataset[name].values
        fields[name] = values if values.ndim == 2 else values[step]
        # Row by row: the first one nearly always tells.
        if not any(np.isfinite(row).any() for row in fields[name]):
            raise InputError(
                "has no value at this time",
                file=dataset.attrs.get("source"),
                variable=name,
                time=dataset["time"].values[step],
            )
    return fields
