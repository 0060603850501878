"""The result of a census: its figures as a dictionary, as text, and as files others can read."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import writing
from exastorm.readers.schema import CLASS_ATTRS, coordinate_attrs
from exastorm.storms.objects import Grid
from exastorm.storms.settings import CensusSettings
from exastorm.variables import CLASSES, StormClass

STORMS: tuple[StormClass, ...] = CLASSES[1:]
"""The classes that are counted: all but the background."""


def _percent(part: float, whole: float) -> float | None:
    """100 part / whole; None where the whole is empty."""
    return float(100.0 * part / whole) if whole > 0 else None


def _mean(total: float, weight: float) -> float | None:
    """Total / weight; None without weight."""
    return float(total / weight) if weight > 0 else None


@dataclass(frozen=True, kw_only=True)
class Census:
    """What a pass over class maps counted.

    Attributes:
        num_covered: Snapshots in which a cell was in a class (class, H, W).
        rain_mmday: Sum over these snapshots of the rain on the cell, mm/day.
        num_rain: Snapshots among these in which the rain was known.
        objects: One row an object and time, units in the column names.
        snapshots: One row a time: number, area (km2) and share of rain (%) of each class.
        grid: The grid.
        has_rain: Whether the archive gave rain.
        settings: What counted as an object.
        source: Where the class maps came from.
    """

    num_covered: NDArray[np.int64]
    rain_mmday: NDArray[np.float64]
    num_rain: NDArray[np.int64]
    objects: pd.DataFrame
    snapshots: pd.DataFrame
    grid: Grid
    has_rain: bool
    settings: CensusSettings
    source: str = ""

    def frequency(self) -> xr.DataArray:
        """Share of the time, 0..1, that each storm class covers each cell (storm_class, lat, lon).

        Cells that were never classified are NaN.
        """
        num_known = self.num_covered.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(num_known > 0, self.num_covered[1:] / num_known, np.nan)
        flags = np.array([s.flag for s in STORMS], dtype=np.int8)
        return xr.DataArray(
            share,
            dims=("storm_class", "lat", "lon"),
            coords={
                "storm_class": ("storm_class", flags, CLASS_ATTRS),
                "lat": ("lat", self.grid.lat, coordinate_attrs("lat")),
                "lon": ("lon", self.grid.lon, coordinate_attrs("lon")),
            },
            name="frequency",
            attrs={"units": "1", "long_name": "share of the time that the class covers the cell"},
        )

    def rain_by_latitude(self) -> pd.DataFrame:
        """Rain in latitude bands: the mean of all, and the percent of it inside each class.

        Bands are centered cells: a row of the grid belongs to the band that holds its latitude.
        """
        height = self.settings.band_deg
        num_bands = round(180.0 / height)
        band = np.clip(((self.grid.lat + 90.0) / height).astype(int), 0, num_bands - 1)
        volume = (self.rain_mmday * self.grid.area_km2).sum(axis=2)
        weight = (self.num_rain * self.grid.area_km2).sum(axis=(0, 2))
        rows = []
        for index in np.unique(band):
            inside = band == index
            total = float(volume[:, inside].sum())
            row: dict[str, Any] = {
                "south_lat_deg": float(index * height - 90.0),
                "north_lat_deg": float((index + 1) * height - 90.0),
                "rain_mmday": _mean(total, float(weight[inside].sum())),
            }
            for storm in STORMS:
                row[f"{storm.short_name.lower()}_rain_share_percent"] = _percent(
                    float(volume[storm.flag, inside].sum()), total
                )
            rows.append(row)
        return pd.DataFrame(rows)

    def _class_figures(self, storm: StormClass) -> dict[str, Any]:
        """Counts, areas and rain of one class."""
        rows = self.objects[self.objects["class"] == storm.short_name]
        counts = self.snapshots[f"num_{storm.short_name.lower()}"]
        area = self.grid.area_km2
        covered = float((self.num_covered[storm.flag] * area).sum())
        figures: dict[str, Any] = {
            "num_storms": int(rows["storm"].nunique()) if len(rows) else 0,
            "num_objects": len(rows),
            "num_objects_north": int((rows["center_lat_deg"] >= 0).sum()),
            "num_objects_south": int((rows["center_lat_deg"] < 0).sum()),
            "objects_per_snapshot": float(counts.mean()),
            "max_objects_in_a_snapshot": int(counts.max()),
            "num_snapshots_with_any": int((counts > 0).sum()),
            "mean_object_area_km2": _mean(float(rows["area_km2"].sum()), len(rows)),
            "area_share_percent": _percent(covered, float((self.num_covered * area).sum())),
        }
        if self.has_rain:
            rain = (self.rain_mmday * area).sum(axis=(1, 2))
            weight = float((self.num_rain[storm.flag] * area).sum())
            figures["mean_rain_mmday"] = _mean(float(rain[storm.flag]), weight)
            figures["rain_share_percent"] = _percent(float(rain[storm.flag]), float(rain.sum()))
        return figures

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON; None where a figure is undefined."""
        times = self.snapshots["time"]
        figures: dict[str, Any] = {
            "source": self.source,
            "num_snapshots": len(times),
            "first_time": str(times.iloc[0]),
            "last_time": str(times.iloc[-1]),
            "num_lat": self.grid.lat.size,
            "num_lon": self.grid.lon.size,
            "settings": asdict(self.settings),
            "classes": {s.short_name: self._class_figures(s) for s in STORMS},
        }
        if self.has_rain:
            area = self.grid.area_km2
            figures["mean_rain_mmday"] = _mean(
                float((self.rain_mmday * area).sum()), float((self.num_rain * area).sum())
            )
            figures["rain_by_latitude"] = [
                {k: _finite(v) for k, v in row.items()}
                for row in self.rain_by_latitude().to_dict("records")
            ]
        return figures

    def to_line(self) -> str:
        """One line: how many objects of each class in how many snapshots."""
        counts = [
            f"{int((self.objects['class'] == s.short_name).sum())} {s.short_name} objects"
            for s in STORMS
        ]
        num = len(self.snapshots)
        return f"counted {' and '.join(counts)} in {num} snapshot{'' if num == 1 else 's'}"

    def to_text(self) -> str:
        """The figures as a table for a terminal."""
        rows = list(self.rows())
        width = max(len(label) for label, _ in rows)
        lines = [" " * width + "".join(f"{s.short_name:>14}" for s in STORMS)]
        lines += [
            label.ljust(width) + "".join(f"{v:>14}" for v in values) for label, values in rows
        ]
        return "\n".join(lines)

    def rows(self) -> Iterator[tuple[str, list[str]]]:
        """Rows of the table of figures: the label, then the figure of each storm class as text."""
        classes = self.to_dict()["classes"]
        for key, label in FIGURE_LABELS:
            values = [classes[s.short_name].get(key) for s in STORMS]
            if any(v is not None for v in values):
                yield label, [format_figure(v) for v in values]

    def write(self, folder: str | Path) -> list[Path]:
        """Write census.json, objects.csv, snapshots.csv and frequency.nc into a folder.

        The folder is made if need be; where pyarrow is installed, objects.parquet comes too.

        Returns:
            Paths of the files.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # Beside their places first, so that a full disk leaves an earlier census whole.
        with TemporaryDirectory(prefix=".census.", dir=folder) as partial:
            files = self._write_files(Path(partial))
            return [file.replace(folder / file.name) for file in files]

    def _write_files(self, folder: Path) -> list[Path]:
        """Write all files into a folder that is there."""
        names = ["census.json", "objects.csv", "snapshots.csv", "frequency.nc"]
        (folder / "census.json").write_text(
            json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        self.objects.to_csv(folder / "objects.csv", index=False, float_format="%.6g")
        self.snapshots.to_csv(folder / "snapshots.csv", index=False, float_format="%.6g")
        with writing(folder / "frequency.nc"):
            self.frequency().astype(np.float32).to_netcdf(folder / "frequency.nc")
        if find_spec("pyarrow") is not None:
            # Parquet has no type for the times of other calendars.
            table = self.objects.assign(time=self.objects["time"].astype(str))
            table.to_parquet(folder / "objects.parquet", index=False)
            names.append("objects.parquet")
        return [folder / name for name in names]


FIGURE_LABELS: tuple[tuple[str, str], ...] = (
    ("num_storms", "storms, linked in time"),
    ("num_objects", "objects in all snapshots"),
    ("num_objects_north", "  centered north of the equator"),
    ("num_objects_south", "  centered south of the equator"),
    ("objects_per_snapshot", "objects a snapshot, mean"),
    ("max_objects_in_a_snapshot", "objects a snapshot, most"),
    ("num_snapshots_with_any", "snapshots with any"),
    ("mean_object_area_km2", "mean area of an object (km²)"),
    ("area_share_percent", "share of the area (%)"),
    ("mean_rain_mmday", "mean rain inside (mm/day)"),
    ("rain_share_percent", "share of all rain (%)"),
)
"""Figures of a class in the order that tables print them, in words."""


def _finite(value: Any) -> Any:
    """None in place of a NaN, which JSON has not."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def format_figure(value: Any) -> str:
    """A figure for a table: whole numbers whole, others to three digits, a dash for none."""
    if value is None:
        return "-"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
