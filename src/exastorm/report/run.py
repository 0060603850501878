"""The page of any run: an archive, its class maps, and what is known beside them."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import xarray as xr
import yaml

import exastorm
from exastorm.errors import InputError
from exastorm.report.figures import time_text
from exastorm.report.logs import read_curves
from exastorm.report.page import Block, Details, Heading, write_page
from exastorm.report.scenes import shared_times
from exastorm.report.sections import (
    census_section,
    confusion_picture,
    frequency_section,
    join_words,
    map_section,
    skill_table,
    training_section,
)
from exastorm.report.settings import ReportSettings
from exastorm.storms.census import take_census
from exastorm.storms.compare import compare_class_maps
from exastorm.storms.results import STORMS, Census
from exastorm.storms.settings import CensusSettings

PAGE_NAME = "index.html"


def report_run(
    out: str | Path,
    archive: xr.Dataset,
    class_maps: Mapping[str, xr.Dataset],
    *,
    run: str | Path | None = None,
    settings: ReportSettings | None = None,
    census_settings: CensusSettings | None = None,
) -> Path:
    """Write the page of class maps of an archive.

    Args:
        out: Folder for the page (index.html) and its pictures.
        archive: Fields in the schema, with the times of the class maps.
        class_maps: Title to class maps (`exastorm.readers.class_maps.open_class_map`), the most
            interesting first; each pair of them is compared.
        run: Folder of the training run they come from, for its curves and settings.
        settings: What to show.
        census_settings: What counts as an object.

    Returns:
        Path of the page.

    Raises:
        InputError: If nothing is to be shown, or grids or times do not fit.
    """
    if not class_maps:
        raise InputError("a report must have at least one set of class maps, got none")
    settings = settings or ReportSettings()
    times = shared_times(class_maps, archive)
    archive = archive.sel(time=times)
    class_maps = {name: maps.sel(time=times) for name, maps in class_maps.items()}
    censuses = {
        name: take_census(maps, archive, census_settings) for name, maps in class_maps.items()
    }
    first = next(iter(censuses))
    blocks: list[Block] = map_section(archive, class_maps, censuses[first], settings)
    blocks += _comparison_section(class_maps)
    blocks += census_section(censuses)
    blocks += frequency_section(censuses[first], first, settings)
    if run is not None:
        blocks += training_section(*read_curves(run))
    blocks += provenance_section(archive, class_maps, run)
    return write_page(
        Path(out) / PAGE_NAME,
        settings.title or f"Storms in {_source_name(archive)}",
        _lead(archive, censuses),
        blocks,
        footer_text(),
    )


def footer_text() -> str:
    """What made the page, and whose coastlines it draws."""
    return f"Made by exastorm {exastorm.__version__}. Coastlines: GSHHG (Wessel and Smith 1996)."


def _source_name(archive: xr.Dataset) -> str:
    """The last part of the path an archive came from."""
    source = str(archive.attrs.get("source", "")).splitlines() or [""]
    return Path(source[0]).name or "an archive"


def count_words(census: Census) -> str:
    """How many storms of each class, as "3 tropical cyclones and 11 atmospheric rivers"."""
    classes = census.to_dict()["classes"]
    words = []
    for storm in STORMS:
        num = classes[storm.short_name]["num_storms"]
        words.append(f"{num} {storm.name.replace('_', ' ')}{'' if num == 1 else 's'}")
    return join_words(words)


def _lead(archive: xr.Dataset, censuses: Mapping[str, Census]) -> str:
    """One paragraph: what was looked at, and how many storms there are."""
    times = archive["time"].values
    num_lat, num_lon = archive.sizes["lat"], archive.sizes["lon"]
    span = time_text(times[0])
    if times.size > 1:
        span = f"{span} to {time_text(times[-1])}"
    counts = [f"{name}: {count_words(census)}" for name, census in censuses.items()]
    return (
        f"{times.size} snapshot{'s' if times.size > 1 else ''} on {num_lat} x {num_lon} points, "
        f"{span}. Storms found, linked in time: {'; '.join(counts)}."
    )


def _comparison_section(class_maps: Mapping[str, xr.Dataset]) -> list[Block]:
    """Scores of every pair of class maps, the earlier one against the later one."""
    pairs = list(combinations(class_maps, 2))
    if not pairs:
        return []
    scores = {
        f"{a} against {b}": compare_class_maps(class_maps[a], class_maps[b]) for a, b in pairs
    }
    first = next(iter(scores.values()))
    caption = "Intersection over union of the pooled pixels of all snapshots; 1 is agreement."
    return [
        Heading("How they agree"),
        skill_table(scores, caption),
        confusion_picture(first["matrix"], pairs[0][0], pairs[0][1]),
    ]


def provenance_section(
    archive: xr.Dataset, class_maps: Mapping[str, xr.Dataset], run: str | Path | None
) -> list[Block]:
    """Where everything came from: attributes of the files, settings of the run."""
    blocks: list[Block] = [Heading("Where it comes from")]
    blocks.append(Details("Archive", attributes_text(archive.attrs)))
    blocks += [
        Details(f"Class maps: {name}", attributes_text(maps.attrs))
        for name, maps in class_maps.items()
    ]
    settings = None if run is None else Path(run) / "settings.yaml"
    if settings is not None and settings.is_file():
        blocks.append(Details("Settings of the training", settings.read_text(encoding="utf-8")))
    return blocks


def attributes_text(attrs: Mapping[Any, Any]) -> str:
    """Attributes as lines of text; those that are empty are left out."""
    plain = {str(k): v if isinstance(v, int | float) else str(v) for k, v in attrs.items()}
    kept = {k: v for k, v in plain.items() if v != ""}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=110) if kept else "none"
