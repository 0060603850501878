"""The sections of a page, one function each: skill, maps, how often, census, training."""

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from exastorm.errors import InputError
from exastorm.report.charts import confusion_figure, counts_figure, rain_figure, training_figure
from exastorm.report.figures import backdrop_name, compare_figure, frequency_figure, time_text
from exastorm.report.logs import Curve
from exastorm.report.page import Block, Heading, Paragraph, Picture, Table
from exastorm.report.scenes import Scene, choose_moment, close_up_scenes, shared_times
from exastorm.report.settings import ReportSettings
from exastorm.report.style import to_png
from exastorm.storms.results import STORMS, Census
from exastorm.variables import CLASSES

WINDS = (("U850", "V850"), ("UBOT", "VBOT"), ("U10", "V10"))
"""Winds that close-ups draw, the best first."""


def format_score(value: float | None) -> str:
    """A score to three digits; a dash where it is undefined."""
    return "–" if value is None else f"{value:.3f}"


def skill_table(scores: Mapping[str, Mapping[str, Any]], caption: str) -> Table:
    """Intersection over union by class, one row a comparison.

    Args:
        scores: What is compared with what, to the summary of its confusion matrix.
        caption: What to see.
    """
    rows = [
        [
            name,
            format_score(s["mean_iou"]),
            *(format_score(s["iou"][c.short_name]) for c in CLASSES),
        ]
        for name, s in scores.items()
    ]
    head = ["intersection over union", "mean", *(c.name.replace("_", " ") for c in CLASSES)]
    return Table(head, rows, caption)


def confusion_picture(matrix: Any, predicted: str, reference: str) -> Picture:
    """The confusion matrix of one comparison."""
    return Picture(
        "confusion",
        to_png(confusion_figure(matrix, predicted, reference)),
        "Where the classes go: each row is a class of the reference and says which share of its "
        "cells each class got. Percent in the diagonal are hits; the first column is what was "
        "missed, the first row what was marked beyond the reference.",
    )


def map_section(
    archive: xr.Dataset,
    class_maps: Mapping[str, xr.Dataset],
    census: Census,
    settings: ReportSettings,
) -> list[Block]:
    """The busiest moment on the globe, then storms close up, each once for each class map.

    Args:
        archive: Fields to draw storms over.
        class_maps: Title to class maps; panels come in this order.
        census: Of the class maps that choose moment and storms.
        settings: What to show.
    """
    times = shared_times(class_maps, archive)
    field = settings.backdrop or backdrop_name(archive)
    if field is None or field not in archive:
        raise InputError(
            f"maps need a field to draw storms over, got no {field or 'TMQ, IVT, PRECT or PSL'}",
            file=archive.attrs.get("source"),
        )
    moment = choose_moment(census, times, settings.moment)
    is_chosen = not settings.moment and len(times) > 1
    chosen = ", the time with the most storms" if is_chosen else ""
    blocks: list[Block] = [
        Heading("On the map"),
        Picture(
            "map",
            to_png(
                compare_figure(
                    archive[field].sel(time=moment).compute(),
                    _at(class_maps, moment),
                    west=settings.west_deg,
                )
            ),
            f"{time_text(moment)}{chosen}. {_what_to_see(len(class_maps))}",
        ),
    ]
    if settings.close_ups:
        scenes = close_up_scenes(census, times)
        blocks += [_close_up(archive, class_maps, field, scene) for scene in scenes]
    return blocks


def _what_to_see(num_maps: int) -> str:
    """The caption's advice for the global map."""
    advice = "Orange outlines are tropical cyclones, blue ones atmospheric rivers."
    if num_maps > 1:
        advice += " Compare the panels: a storm that one of them lacks is a miss or a false alarm."
    return advice


def _at(class_maps: Mapping[str, xr.Dataset], time: Any) -> dict[str, Any]:
    """The class maps (H, W) of one time."""
    return {name: maps["class_map"].sel(time=time).values for name, maps in class_maps.items()}


def _close_up(
    archive: xr.Dataset, class_maps: Mapping[str, xr.Dataset], field: str, scene: Scene
) -> Picture:
    """One storm in its window, with wind where the archive has any."""
    snapshot = archive.sel(time=scene.time)
    wind = next((pair for pair in WINDS if all(name in archive for name in pair)), None)
    arrows = None
    if wind is not None:
        loaded = snapshot[list(wind)].compute()
        arrows = (loaded[wind[0]].values, loaded[wind[1]].values)
    figure = compare_figure(
        snapshot[field].compute(), _at(class_maps, scene.time), scene.extent, arrows
    )
    words = f"{time_text(scene.time)}: {scene.words}"
    if wind is not None:
        level = {"U850": "at 850 hPa", "UBOT": "at the lowest level", "U10": "at 10 m"}[wind[0]]
        words += f". Arrows are the wind {level}"
    return Picture(f"close_up_{scene.name}", to_png(figure), f"{words}.")


def frequency_section(census: Census, name: str, settings: ReportSettings) -> list[Block]:
    """How often each class covers each place; nothing where there is a single snapshot."""
    if len(census.snapshots) < 2:
        return []
    caption = (
        f"Share of the {len(census.snapshots)} snapshots in which each place lies inside a storm. "
        "Cyclones should keep to the warm oceans off the equator, rivers to the mid-latitudes."
    )
    figure = frequency_figure(census.frequency(), name, settings.west_deg)
    return [Picture("frequency", to_png(figure), caption)]


def census_section(censuses: Mapping[str, Census]) -> list[Block]:
    """Counts, areas and rain, as a table and charts.

    Args:
        censuses: Title to census.
    """
    blocks: list[Block] = [Heading("Census"), _census_table(censuses)]
    if any(len(census.snapshots) > 1 for census in censuses.values()):
        blocks.append(
            Picture(
                "counts",
                to_png(counts_figure(censuses)),
                "Storms in each snapshot. Lines that run together count alike, even where "
                "outlines differ.",
            )
        )
    if any(c.has_rain for c in censuses.values()):
        blocks.append(
            Picture(
                "rain",
                to_png(rain_figure(censuses)),
                "Rain by latitude, and the part of it that falls inside storms. Rivers should "
                "matter in the mid-latitudes of both hemispheres, cyclones in the outer tropics.",
            )
        )
    return blocks


def _census_table(censuses: Mapping[str, Census]) -> Table:
    """The figures of all censuses beside each other."""
    rows: dict[str, list[str]] = {}
    for number, census in enumerate(censuses.values()):
        for label, values in census.rows():
            # A figure that an earlier census lacked leaves dashes there.
            missing = ["–"] * (number * len(STORMS) - len(rows.get(label, [])))
            rows[label] = [*rows.get(label, []), *missing, *values]
    titles = [f"{name}: {storm.short_name}" for name in censuses for storm in STORMS]
    return Table(
        ["", *titles],
        [[label.strip(), *values] for label, values in rows.items()],
        "TC are tropical cyclones, AR atmospheric rivers. Objects are connected cells of one class "
        "in one snapshot; storms are objects linked from snapshot to snapshot.",
    )


def training_section(
    losses: Mapping[str, Curve], scores: Mapping[str, Curve], text: str = ""
) -> list[Block]:
    """How training went."""
    blocks: list[Block] = [Heading("Training")]
    if text:
        blocks.append(Paragraph(text))
    blocks.append(
        Picture(
            "training",
            to_png(training_figure(losses, scores)),
            "Loss on the training samples, and intersection over union on held-out validation "
            "samples. A loss that still falls while scores stand still is the beginning of "
            "learning by heart.",
        )
    )
    return blocks


def join_words(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
