"""Seconds that labels take per snapshot, beside reading the bytes alone.

Everything is measured in one run, in one process and one thread, with the files in the page cache
(they were just written, or are read once before): the bytes of the files, the fields through the
package's readers, `find` of every rule set, and complete labels from files to file. The programs of
TempestExtremes can be run on the same files between them (`exastorm.performance.tempest_speed`).
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import dask
import xarray as xr

import exastorm
from exastorm.errors import InputError
from exastorm.labels.archive import label_archive, snapshot_fields
from exastorm.labels.climatology import Seasons, climatology_of
from exastorm.labels.plan import Plan, make_plan
from exastorm.labels.settings import CYCLONE_SECTIONS, RIVER_SECTIONS, LabelSettings
from exastorm.performance.label_files import files_of, write_files
from exastorm.performance.tempest_speed import tempest_figures
from exastorm.physics.surroundings import Surroundings
from exastorm.progress import track
from exastorm.readers.schema import field_names
from exastorm.readers.synthetic.climate import BLOCK_LENGTH
from exastorm.readers.synthetic.climate import field_names as made_up_names
from exastorm.readers.synthetic.settings import SyntheticSettings

READ_BYTES = 1 << 20
"""Bytes of one read of the measure of reading the bytes alone: what the caches hold."""


@dataclass(frozen=True, kw_only=True)
class LabelSpeedSettings:
    """Size of the snapshots and length of the measurement."""

    height: int = 768
    """Latitudes; the paper's are 768."""
    width: int = 1152
    """Longitudes; the paper's are 1152."""
    num_snapshots: int = 8
    """Six-hourly snapshots, of a stormy season; eight lie in a file."""
    num_rounds: int = 3
    """Times that each is labeled; the fastest counts."""
    cyclones: tuple[str, ...] = ()
    """Rule sets for cyclones to measure; none named: all of them."""
    rivers: tuple[str, ...] = ()
    """Rule sets for rivers to measure; none named: all of them."""

    def __post_init__(self) -> None:
        for name in ("num_snapshots", "num_rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, known in (("cyclones", CYCLONE_SECTIONS), ("rivers", RIVER_SECTIONS)):
            for given in getattr(self, name):
                if given not in known:
                    raise ValueError(f"{name} must be of {', '.join(known)}, got {given!r}")
        self.climate()

    def climate(self) -> SyntheticSettings:
        """The climate that is labeled: late August, with twice the usual number of cyclones."""
        return SyntheticSettings(
            height=self.height,
            width=self.width,
            num_snapshots=self.num_snapshots,
            step_hours=6,
            start="2000-08-20",
            cyclone_rate=2.0,
        )

    def plans(self, available: Iterable[str], spacing_deg: float) -> dict[str, Plan]:
        """What each rule set is and reads where these fields are available, by kind and name."""
        cyclones = {
            f"cyclones {name}": LabelSettings(cyclones=name, rivers="none")  # type: ignore[arg-type]
            for name in self.cyclones or CYCLONE_SECTIONS
        }
        rivers = {
            f"rivers {name}": LabelSettings(cyclones="none", rivers=name)  # type: ignore[arg-type]
            for name in self.rivers or RIVER_SECTIONS
        }
        return {
            name: make_plan(available, settings, spacing_deg)
            for name, settings in {**cyclones, **rivers}.items()
        }


class Seconds(NamedTuple):
    """Time that some work took.

    Attributes:
        cpu: CPU time of this process.
        wall: Time on the clock.
    """

    cpu: float
    wall: float


class Bench(NamedTuple):
    """What is measured on.

    Attributes:
        paths: Files of the archive.
        dataset: The archive as its reader gives it.
        grid: Its grid.
        num_rounds: Times that everything is done; the fastest counts.
        folder: Where files go meanwhile.
    """

    paths: list[Path]
    dataset: xr.Dataset
    grid: Surroundings
    num_rounds: int
    folder: Path


def bench_labels(
    settings: LabelSpeedSettings,
    folder: Path,
    archive: str | None = None,
    tempest: Path | None = None,
) -> dict[str, Any]:
    """Measure all of it.

    Args:
        settings: Size and length.
        folder: Where files go meanwhile: a temporary folder in it, removed in the end.
        archive: A few snapshots to label in place of a made-up climate.
        tempest: Folder with the programs of TempestExtremes; None to leave them out.

    Returns:
        Seconds per snapshot (`cpu_s`, `wall_s`) of `read_bytes`, `read_fields`, `find` of each rule
        set and `complete sc18`, which includes opening, reading and writing; their ratio of CPU
        times to reading the bytes alone; `setup_cpu_s`, what the first call takes more. Of the
        programs of TempestExtremes see `exastorm.performance.tempest_speed`. `left_out`: rule sets
        that the archive does not allow, and why.

    Raises:
        InputError: If the archive can't be read, or a program is not there or fails.
    """
    if archive is not None and tempest is not None:
        raise InputError("tempest must be left out with an archive: it runs on files made here")
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as place,
        # In one thread, as one core of many.
        dask.config.set(scheduler="synchronous"),
    ):
        own = Path(place)
        if archive is None:
            paths = write_files(settings.climate(), needed_fields(settings), own)
        else:
            paths = files_of(archive)
        dataset = exastorm.open(archive or [str(path) for path in paths])
        grid = Surroundings.of(dataset["lat"].values, dataset["lon"].values)
        bench = Bench(paths, dataset, grid, settings.num_rounds, own)
        return _figures(bench, settings, tempest)


def needed_fields(settings: LabelSpeedSettings) -> tuple[str, ...]:
    """Fields of the made-up climate that some rule set reads."""
    available = [*made_up_names(settings.climate()), "PHIS"]
    plans = [*settings.plans(available, 0.25).values(), make_plan(available, LabelSettings(), 0.25)]
    return tuple(sorted({name for plan in plans for name in plan.fields}))


def _figures(bench: Bench, settings: LabelSpeedSettings, tempest: Path | None) -> dict[str, Any]:
    """All figures."""
    num_snapshots = bench.dataset.sizes["time"]
    plans = settings.plans(field_names(bench.dataset), bench.grid.spacing_deg)
    able = {name: plan for name, plan in plans.items() if plan.cyclones or plan.rivers}
    raw = _best(lambda: _read_all(bench.paths), bench.num_rounds + 1)
    rows = {"read_fields": _row(_reading(bench), raw, num_snapshots)}
    for name, plan in track(list(able.items()), "bench labels"):
        seconds, setup = _finding(bench, plan)
        rows[name] = {**_row(seconds, raw, num_snapshots), "setup_cpu_s": setup}
    complete = _best(lambda: _label(bench), bench.num_rounds)
    rows["complete sc18"] = _row(complete, raw, num_snapshots)
    figures: dict[str, Any] = {
        "grid": [bench.grid.lat.size, bench.grid.lon.size],
        "num_snapshots": num_snapshots,
        "mb_per_snapshot": 1e-6 * sum(p.stat().st_size for p in bench.paths) / num_snapshots,
        "num_rounds": bench.num_rounds,
        "read_bytes": _row(raw, raw, num_snapshots),
        **rows,
        "left_out": {n: _reason(plan) for n, plan in plans.items() if n not in able},
    }
    if tempest is not None:
        per_field = rows["read_fields"]["cpu_s"] / len(field_names(bench.dataset))
        ours = {
            name: (rows[name]["cpu_s"], rows[name]["cpu_s"] + per_field * len(_own_fields(plan)))
            for name, plan in able.items()
        }
        steps = min(num_snapshots, BLOCK_LENGTH)  # of the first file
        figures["tempest"] = tempest_figures(tempest, bench.paths[0], steps, bench.folder, ours)
    return figures


def _row(seconds: Seconds, raw: Seconds, num_snapshots: int) -> dict[str, float]:
    """Figures of some work on all snapshots."""
    return {
        "cpu_s": seconds.cpu / num_snapshots,
        "wall_s": seconds.wall / num_snapshots,
        "times_reading_bytes": seconds.cpu / raw.cpu,
    }


def _reason(plan: Plan) -> str:
    """Why a rule set does not work."""
    return "; ".join(note for note in plan.notes.values() if not note.endswith("the settings"))


def _own_fields(plan: Plan) -> tuple[str, ...]:
    """Fields that `find` of a plan's rule set reads, without those of a cyclone's extent."""
    rules = plan.cyclones or plan.rivers
    assert rules is not None
    return rules.plan(set(plan.fields)).fields


def _best(work: Callable[[], object], num_rounds: int) -> Seconds:
    """Least CPU and least wall time of some rounds."""
    rounds = []
    for _ in range(num_rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        rounds.append((time.process_time() - cpu, time.perf_counter() - wall))
    return Seconds(min(cpu for cpu, _ in rounds), min(wall for _, wall in rounds))


def _read_all(paths: list[Path]) -> None:
    """Read the bytes of files into the same memory again and again."""
    buffer = bytearray(READ_BYTES)
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            while os.readv(descriptor, [buffer]):
                pass
        finally:
            os.close(descriptor)


def _reading(bench: Bench) -> Seconds:
    """Reading every field of every snapshot, a snapshot at a time."""

    def read() -> None:
        for step in range(bench.dataset.sizes["time"]):
            bench.dataset.isel(time=step).load()

    return _best(read, bench.num_rounds)


def _finding(bench: Bench, plan: Plan) -> tuple[Seconds, float]:
    """`find` of one rule set on all snapshots, and what the first call takes more (CPU s).

    Local percentiles are made before, from the snapshots there are; that is not measured.
    """
    rules = plan.cyclones or plan.rivers
    assert rules is not None
    seasons = _seasons(bench, plan)
    names = _own_fields(plan)
    cpu, wall, setup = 0.0, 0.0, 0.0
    for step, when in enumerate(bench.dataset["time"].values):
        loaded = bench.dataset[list(names)].isel(time=slice(step, step + 1)).load()
        fields = snapshot_fields(loaded, 0, names) | seasons.fields(when.month)
        first = _best(partial(rules.find, fields, bench.grid), 1)
        best = _best(partial(rules.find, fields, bench.grid), bench.num_rounds)
        setup = first.cpu - best.cpu if step == 0 else setup
        cpu, wall = cpu + best.cpu, wall + best.wall
    return Seconds(cpu, wall), max(0.0, setup)


def _seasons(bench: Bench, plan: Plan) -> Seasons:
    """The local percentiles that a rule set compares with."""
    request = plan.climatology
    if request is not None and request.file is None:
        path = bench.folder / "climatology.nc"
        climatology_of(bench.dataset, request, bench.folder).save(path)
        request = replace(request, file=str(path))
    return Seasons(bench.grid.lat, bench.grid.lon, request)


def _label(bench: Bench) -> None:
    """Complete labels, from files to file."""
    dataset = exastorm.open([str(path) for path in bench.paths])
    label_archive(dataset, bench.folder / "labels.nc")
