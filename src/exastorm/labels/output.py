"""From finished blocks to what the user gets: a CF file of maps, a table of tracks, a summary."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.grid import cell_areas_km2
from exastorm.labels.blocks import Block, BlockFolder, read_array, read_block
from exastorm.labels.composition import compose_snapshot
from exastorm.labels.cyclones.extent import num_groups
from exastorm.labels.masks import rule_attrs
from exastorm.labels.plan import Plan
from exastorm.labels.provenance import provenance
from exastorm.labels.selection import select_storms, track_table
from exastorm.labels.settings import LabelSettings
from exastorm.labels.storage import Layer, MapWriter, TrackFile
from exastorm.physics.surroundings import Surroundings
from exastorm.progress import track
from exastorm.readers.schema import CLASS_ATTRS, coordinate_attrs
from exastorm.variables import BACKGROUND, CLASSES, NUM_CLASSES

TIME_UNITS = "hours since 1900-01-01 00:00:00"

SHARE_ATTRS = {"units": "1", "valid_range": np.array([0.0, 1.0], dtype=np.float32)}


@dataclass(frozen=True, kw_only=True)
class LabelSummary:
    """What was labeled.

    Attributes:
        out: The class maps.
        tracks: The table of tracks; None where cyclones were left out.
        num_snapshots: Number of snapshots.
        num_cyclone_centers: Number of cyclones, counted in every snapshot.
        num_cyclones: Number of distinct cyclones, linked in time.
        num_rivers: Number of rivers, counted in every snapshot.
        member_cyclones: Number of distinct cyclones in each member of a threshold ensemble.
        member_rivers: Number of rivers in each member, counted in every snapshot.
        pixel_shares: Share of all cells by class name.
        area_shares: Share of all area by class name.
        notes: What was left out or replaced, and why, by topic.
    """

    out: str
    tracks: str | None
    num_snapshots: int
    num_cyclone_centers: int
    num_cyclones: int
    num_rivers: int
    member_cyclones: tuple[int, ...]
    member_rivers: tuple[int, ...]
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
            f" of {self.num_cyclones}{_spread(self.member_cyclones)} cyclones,"
            f" {self.num_rivers}{_spread(self.member_rivers)} rivers ({shares} of the area);"
            f" class maps in {self.out}{notes}"
        )


def _spread(counts: tuple[int, ...]) -> str:
    """Range of a count over an ensemble, in words."""
    return f" ({min(counts)} to {max(counts)} in the ensemble)" if counts else ""


def finish_labels(
    dataset: xr.Dataset,
    out: Path,
    settings: LabelSettings,
    plan: Plan,
    folder: BlockFolder,
    blocks: list[Block],
) -> LabelSummary:
    """Select the storms, write maps and tracks, and sum up."""
    times = dataset["time"].values
    lat, lon = dataset["lat"].values, dataset["lon"].values
    spacing_deg = Surroundings.of(lat, lon).spacing_deg
    selection = select_storms(times, folder, blocks, plan, spacing_deg)
    totals = ClassTotals(cell_areas_km2(lat, lon))
    frame = _frame(dataset, settings, plan)
    num_rivers = sum(int(read_array(folder.file(b), "num_rivers").sum()) for b in blocks)
    rivers = sum(read_array(folder.file(b), "member_rivers").sum(axis=0) for b in blocks)
    member_rivers = tuple(np.asarray(rivers).tolist())
    member_cyclones = tuple(_num_storms(member) for member in selection.members)
    layers = stored_layers(settings, plan, member_cyclones, member_rivers)
    tracks = TrackFile(
        out, settings.tracks, track_table(times, selection) if plan.cyclones else None
    )
    with MapWriter(out, frame, layers) as writer:
        for block in track(blocks, "write labels"):
            for maps in _composed(folder.file(block), plan, selection.of_block(block)):
                writer.add(maps)
                totals.record(maps["class_map"])
    tracks.publish()
    names = [c.name for c in CLASSES]
    return LabelSummary(
        out=str(out),
        tracks=None if tracks.path is None else str(tracks.path),
        num_snapshots=times.size,
        num_cyclone_centers=int(np.count_nonzero(selection.storms >= 0)),
        num_cyclones=_num_storms(selection.storms),
        num_rivers=num_rivers,
        member_cyclones=member_cyclones,
        member_rivers=member_rivers,
        pixel_shares=dict(zip(names, totals.pixel_shares(), strict=True)),
        area_shares=dict(zip(names, totals.area_shares(), strict=True)),
        notes=plan.notes,
    )


def _member_attrs(members: list[Any], counts: tuple[int, ...]) -> dict[str, Any]:
    """Thresholds of each member of an ensemble, and its number of storms."""
    if not counts:
        return {}
    return {
        "member_thresholds": json.dumps([asdict(member) for member in members], sort_keys=True),
        "member_counts": np.array(counts, dtype=np.int32),
    }


def _num_storms(storms: NDArray[np.int64]) -> int:
    return int(storms.max(initial=-1)) + 1


def _composed(
    path: Path, plan: Plan, chosen: tuple[NDArray[np.bool_], NDArray[np.bool_]]
) -> Iterator[dict[str, NDArray[Any]]]:
    """The maps of each snapshot of a block."""
    start = 0
    for finds in read_block(path, num_groups(plan.masks)):
        mine = slice(start, start := start + len(finds.centers))
        yield compose_snapshot(
            finds.extents,
            chosen[0][mine],
            finds.rivers,
            plan.masks,
            chosen[1][:, mine],
            finds.river_share,
        )


class ClassTotals:
    """Cells and area of each class over all snapshots."""

    def __init__(self, cell_areas_km2: NDArray[np.float64]) -> None:
        self._cell_areas_km2 = cell_areas_km2.ravel()
        self._globe_km2 = float(cell_areas_km2.sum())
        self._num_cells = np.zeros(NUM_CLASSES)
        self._area_km2 = np.zeros(NUM_CLASSES)

    def record(self, class_map: NDArray[np.int8]) -> None:
        """Add one snapshot (H, W)."""
        # Most cells are background, which is what remains.
        stormy = np.flatnonzero(class_map != BACKGROUND)
        classes = class_map.ravel()[stormy]
        counts = np.bincount(classes, minlength=NUM_CLASSES)
        sums = np.bincount(classes, self._cell_areas_km2[stormy], minlength=NUM_CLASSES)
        counts[BACKGROUND] = class_map.size - stormy.size
        sums[BACKGROUND] = self._globe_km2 - sums.sum()
        self._num_cells += counts
        self._area_km2 += sums

    def pixel_shares(self) -> list[float]:
        """Share of all cells (K,)."""
        return list((self._num_cells / self._num_cells.sum()).tolist())

    def area_shares(self) -> list[float]:
        """Share of all area (K,)."""
        return list((self._area_km2 / self._area_km2.sum()).tolist())


def stored_layers(
    settings: LabelSettings,
    plan: Plan,
    member_cyclones: tuple[int, ...],
    member_rivers: tuple[int, ...],
) -> dict[str, Layer]:
    """The maps that are stored, by name.

    Args:
        settings: The rules, as they were asked for.
        plan: The rules, as this archive allows them.
        member_cyclones: Number of cyclones in each member of an ensemble.
        member_rivers: Number of rivers in each member.
    """
    attrs: dict[str, dict[str, Any]] = {
        "class_map": {"long_name": "weather event of each cell", **CLASS_ATTRS},
        "rule": {
            "long_name": "rule that made each cell of class_map",
            **rule_attrs(settings.cyclones, settings.rivers),
        },
    }
    if plan.cyclone_members:
        attrs["cyclone_share"] = {
            "long_name": f"share of {len(plan.cyclone_members)} sets of thresholds whose tropical"
            " cyclones cover the cell",
            **_member_attrs(plan.cyclone_members, member_cyclones),
            **SHARE_ATTRS,
        }
    num_members: int = getattr(plan.rivers, "num_members", 0)
    if plan.river_members or num_members > 0:
        attrs["river_share"] = {
            "long_name": "share of an ensemble of thresholds whose atmospheric rivers cover the"
            " cell",
            **_member_attrs(plan.river_members, member_rivers),
            **SHARE_ATTRS,
        }
    return {
        name: Layer(np.dtype(np.float32 if name.endswith("_share") else np.int8), found)
        for name, found in attrs.items()
    }


def _frame(dataset: xr.Dataset, settings: LabelSettings, plan: Plan) -> xr.Dataset:
    """Coordinates of the maps, and what their file says about itself."""
    frame = xr.Dataset(
        coords={
            "time": ("time", dataset["time"].values, {"standard_name": "time", "axis": "T"}),
            "lat": ("lat", dataset["lat"].values, coordinate_attrs("lat")),
            "lon": ("lon", dataset["lon"].values, coordinate_attrs("lon")),
        },
        attrs=provenance(dataset, settings, plan),
    )
    frame["time"].encoding = {
        "units": TIME_UNITS,
        "calendar": dataset["time"].dt.calendar,
        "dtype": "float64",
    }
    return frame
