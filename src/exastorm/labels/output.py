"""From finished blocks to what the user gets: a CF file, a table of cyclones, a summary."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import dask
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

import exastorm
from exastorm.errors import InputError, writing
from exastorm.grid import cell_areas_km2
from exastorm.labels.blocks import LAYERS, Block, BlockFolder, read_layer
from exastorm.labels.cyclones import CycloneCenter
from exastorm.labels.masks import RULE_ATTRS
from exastorm.labels.settings import LabelSettings
from exastorm.labels.snapshot import Plan
from exastorm.linking import PointLinker
from exastorm.physics.surroundings import Surroundings
from exastorm.readers.schema import CLASS_ATTRS, DIMS, coordinate_attrs
from exastorm.variables import CLASSES, NUM_CLASSES

SUFFIXES = (".nc", ".zarr")

CHUNK_BYTES = 4 * 2**20
"""A chunk of the output holds about this much before compression."""

TIME_UNITS = "hours since 1900-01-01 00:00:00"


@dataclass(frozen=True, kw_only=True)
class LabelSummary:
    """What was labeled.

    Attributes:
        out: The class maps.
        centers: The table of cyclones; None where cyclones were left out.
        num_snapshots: Number of snapshots.
        num_cyclone_centers: Number of cyclones, counted in every snapshot.
        num_cyclones: Number of distinct cyclones, linked in time (`exastorm.linking`).
        num_rivers: Number of rivers, counted in every snapshot.
        pixel_shares: Share of all cells by class name.
        area_shares: Share of all area by class name.
        notes: What was left out or replaced, and why, by topic.
    """

    out: str
    centers: str | None
    num_snapshots: int
    num_cyclone_centers: int
    num_cyclones: int
    num_rivers: int
    pixel_shares: dict[str, float]
    area_shares: dict[str, float]
    notes: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Figures for JSON."""
        return asdict(self)

    def to_line(self) -> str:
        """One line for the reader of a terminal."""
        shares = ", ".join(
            f"{name} {share:.2%}"
            for name, share in self.area_shares.items()
            if name != CLASSES[0].name
        )
        notes = "".join(f"; {topic}: {note}" for topic, note in self.notes.items())
        return (
            f"labeled {self.num_snapshots} snapshots: {self.num_cyclone_centers} cyclone centers"
            f" of {self.num_cyclones} cyclones, {self.num_rivers} rivers ({shares} of the area);"
            f" class maps in {self.out}{notes}"
        )


def check_out(out: Path) -> None:
    """Refuse a place that labels can't be written to.

    Raises:
        InputError: For another suffix, or a folder that is no Zarr store.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"labels must go to a .nc file or a .zarr store, got {out.name!r}")
    if out.is_dir() and not any((out / name).exists() for name in ("zarr.json", ".zgroup")):
        raise InputError("is a folder but no Zarr store; it is left as it is", file=out)


def finish_labels(
    dataset: xr.Dataset,
    out: Path,
    settings: LabelSettings,
    plan: Plan,
    folder: BlockFolder,
    blocks: list[Block],
) -> LabelSummary:
    """Join the blocks, write table and class maps, and sum up."""
    times = dataset["time"].values
    table = center_table(times, folder, blocks)
    centers = out.with_name(f"{out.stem}.centers.csv") if plan.cyclones else None
    if centers is not None:
        partial = centers.with_name(centers.name + ".writing")
        table.to_csv(partial, index=False, float_format="%.6g")
        partial.replace(centers)
    _write_maps(_maps(dataset, settings, plan, folder, blocks), out)
    areas = cell_areas_km2(dataset["lat"].values, dataset["lon"].values)
    pixels, area = _class_sums(folder, blocks, areas)
    rivers = sum(int(read_layer(folder.file(b), "num_rivers").sum()) for b in blocks)
    names = [c.name for c in CLASSES]
    return LabelSummary(
        out=str(out),
        centers=None if centers is None else str(centers),
        num_snapshots=times.size,
        num_cyclone_centers=len(table),
        num_cyclones=int(table["cyclone"].nunique()),
        num_rivers=rivers,
        pixel_shares=dict(zip(names, (pixels / pixels.sum()).tolist(), strict=True)),
        area_shares=dict(zip(names, (area / area.sum()).tolist(), strict=True)),
        notes=plan.notes,
    )


def center_table(times: Any, folder: BlockFolder, blocks: list[Block]) -> pd.DataFrame:
    """Cyclones of all blocks, one row each and time, with the number of the storm they belong to.

    Args:
        times: Times of the archive (T,), cftime.
        folder: The blocks.
        blocks: All of them, in order.

    Returns:
        Columns time (ISO), cyclone, those of `CycloneCenter` but row and column.
    """
    rows = np.concatenate([read_layer(folder.file(b), "centers") for b in blocks])
    counts = np.concatenate([read_layer(folder.file(b), "num_centers") for b in blocks])
    table = pd.DataFrame(rows, columns=list(CycloneCenter._fields))
    step = np.repeat(np.arange(counts.size), counts)
    linker = PointLinker()
    ids = [np.empty(0, dtype=np.int64)]
    for n in np.unique(step):
        here = table[step == n]
        hour = (times[n] - times[0]).total_seconds() / 3600.0
        ids.append(linker.link(hour, here["lat"], here["lon"]))
    table.insert(0, "time", [times[n].isoformat() for n in step])
    table.insert(1, "cyclone", np.concatenate(ids))
    return table.drop(columns=["row", "column"])


def _class_sums(
    folder: BlockFolder, blocks: list[Block], cell_areas_km2: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cells and area (km2) of each class over all snapshots, (K,) each."""
    pixels, area = np.zeros(NUM_CLASSES), np.zeros(NUM_CLASSES)
    for block in blocks:
        for class_map in read_layer(folder.file(block), "class_map"):
            flat = class_map.ravel()
            pixels += np.bincount(flat, minlength=NUM_CLASSES)
            area += np.bincount(flat, cell_areas_km2.ravel(), minlength=NUM_CLASSES)
    return pixels, area


def _maps(
    dataset: xr.Dataset,
    settings: LabelSettings,
    plan: Plan,
    folder: BlockFolder,
    blocks: list[Block],
) -> xr.Dataset:
    """The class maps as they will be stored, lazily from the blocks."""
    shape = (dataset.sizes["lat"], dataset.sizes["lon"])
    # Chunks that do not depend on the blocks, so that the file does not either.
    chunks = (max(1, CHUNK_BYTES // (shape[0] * shape[1])), *shape)
    attrs = {
        "class_map": {"long_name": "weather event of each cell", **CLASS_ATTRS},
        "rule": {"long_name": "rule that made each cell of class_map", **RULE_ATTRS},
    }
    maps = xr.Dataset(
        {n: (DIMS, folder.layer(n, blocks, shape).rechunk(chunks), attrs[n]) for n in LAYERS},
        coords={
            "time": ("time", dataset["time"].values, {"standard_name": "time", "axis": "T"}),
            "lat": ("lat", dataset["lat"].values, coordinate_attrs("lat")),
            "lon": ("lon", dataset["lon"].values, coordinate_attrs("lon")),
        },
        attrs=provenance(dataset, settings, plan),
    )
    maps["time"].encoding = {
        "units": TIME_UNITS,
        "calendar": dataset["time"].dt.calendar,
        "dtype": "float64",
    }
    return maps


def provenance(dataset: xr.Dataset, settings: LabelSettings, plan: Plan) -> dict[str, Any]:
    """Global attributes: which rules and thresholds, on what, by which version."""
    attrs: dict[str, Any] = {
        "Conventions": "CF-1.11",
        "title": "heuristic labels of tropical cyclones and atmospheric rivers",
        "source": str(dataset.attrs.get("source", "")),
        "exastorm_version": exastorm.__version__,
        "rule_set_cyclones": f"{settings.cyclones} corrected" if plan.cyclones else "none",
        "rule_set_rivers": f"{settings.rivers} corrected" if plan.rivers else "none",
        "thresholds": json.dumps(
            settings.thresholds(cyclones=plan.cyclones, rivers=plan.rivers), sort_keys=True
        ),
    }
    if plan.cyclones:
        spacing = Surroundings.of(dataset["lat"].values, dataset["lon"].values).spacing_deg
        rules = settings.sc18_cyclones
        lowered = asdict(rules.on_grid(spacing))
        changed = {k: v for k, v in lowered.items() if v != getattr(rules, k)}
        attrs["cyclone_thresholds_on_this_grid"] = (
            f"untuned: lowered for a grid spacing of {spacing:.2f} degrees by interpolation between"
            f" published values: {json.dumps(changed)}"
            if changed
            else "as set"
        )
    return attrs | {f"note_{topic}": note for topic, note in plan.notes.items()}


def _write_maps(maps: xr.Dataset, out: Path) -> None:
    """Write under another name and rename, so that what stands under `out` is always whole."""
    partial = out.with_name(f".{out.stem}.writing{out.suffix}")
    _remove(partial)
    modes: tuple[Literal["w", "a"], ...] = ("w", "a")
    # One map and one chunk after the other, so that they lie in the file in the same order always.
    with dask.config.set(scheduler="synchronous"):
        for name, mode in zip(LAYERS, modes, strict=True):
            chunks = maps[name].data.chunksize
            if out.suffix == ".zarr":
                encoding: dict[str, Any] = {name: {"chunks": chunks}}
                maps[[name]].to_zarr(partial, mode=mode, encoding=encoding, consolidated=False)
            else:
                encoding = {name: {"zlib": True, "complevel": 1, "chunksizes": chunks}}
                with writing(out):
                    maps[[name]].to_netcdf(partial, mode=mode, engine="netcdf4", encoding=encoding)
    _remove(out)
    partial.replace(out)


def _remove(path: Path) -> None:
    """Delete a file or a store, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
