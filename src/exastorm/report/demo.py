"""The page of the demo: what a network learned from heuristics on a made-up climate, and how well.

The figures are those of the demo's summary.json; nothing is computed twice but the counts of the
class maps that the demo itself did not count.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from exastorm.report.logs import read_curves
from exastorm.report.page import Block, Details, Heading, Tiles, write_page
from exastorm.report.run import PAGE_NAME, count_words, footer_text, provenance_section
from exastorm.report.scenes import shared_times
from exastorm.report.sections import (
    census_section,
    confusion_picture,
    format_score,
    frequency_section,
    map_section,
    skill_table,
    training_section,
)
from exastorm.report.settings import ReportSettings
from exastorm.storms.census import take_census
from exastorm.storms.results import Census

TITLES = {"network": "Network", "heuristic": "Heuristic labels", "truth": "Known truth"}
"""Titles of the demo's class maps, in the order of the panels."""

COMPARISONS = {
    "network_vs_labels": "network against heuristic labels",
    "baseline_vs_labels": "logistic regression against heuristic labels",
    "network_vs_truth": "network against the known truth",
    "heuristic_vs_truth": "heuristic labels against the known truth",
}
"""Keys of the demo's figures that hold scores, and what they compare."""

DEFAULT_TITLE = "Storms found by a network in a made-up climate"


def write_demo_page(
    out: str | Path,
    figures: Mapping[str, Any],
    held_out: xr.Dataset,
    class_maps: Mapping[str, xr.Dataset],
    census: Census,
    settings: ReportSettings | None = None,
) -> Path:
    """Write the page of the demo.

    Args:
        out: Folder of the demo; its training run is in the folder `run` there.
        figures: What the demo found out, with the keys of `COMPARISONS`.
        held_out: The archive at the times that training never saw.
        class_maps: "network", "heuristic" and "truth" at these times.
        census: Of the network's class maps.
        settings: What to show.

    Returns:
        Path of the page.
    """
    out, settings = Path(out), settings or ReportSettings()
    times = shared_times(class_maps, held_out)
    held_out = held_out.sel(time=times)
    titled = {title: class_maps[name].sel(time=times) for name, title in TITLES.items()}
    censuses = {TITLES["network"]: census}
    for name in ("heuristic", "truth"):
        title = TITLES[name]
        censuses[title] = take_census(titled[title], held_out, census.settings)
    scores = {title: figures[key] for key, title in COMPARISONS.items()}
    network = figures["network_vs_labels"]
    blocks: list[Block] = [_tiles(figures, census)]
    blocks += map_section(held_out, titled, census, settings)
    blocks += [
        Heading("How well"),
        skill_table(
            scores,
            "Intersection over union on time blocks that training never saw, all pixels pooled. "
            "Only in a made-up climate is the truth known: the last two rows say how far "
            "heuristics and network are from it. The logistic regression sees single pixels, the "
            "network shapes.",
        ),
        confusion_picture(network["matrix"], "network", "heuristic labels"),
    ]
    blocks += census_section(censuses)
    blocks += frequency_section(census, "network", settings)
    blocks += training_section(*read_curves(out / "run"))
    blocks += provenance_section(held_out, titled, out / "run")
    blocks.append(Details("All figures", json.dumps(figures, indent=2, default=str)))
    return write_page(
        out / PAGE_NAME,
        settings.title or DEFAULT_TITLE,
        _lead(figures, held_out, census),
        blocks,
        footer_text(),
    )


def _tiles(figures: Mapping[str, Any], census: Census) -> Tiles:
    """The figures to remember."""
    network, baseline = figures["network_vs_labels"], figures["baseline_vs_labels"]
    classes = census.to_dict()["classes"]
    return Tiles(
        [
            (format_score(network["mean_iou"]), "mean IoU of the network on unseen times"),
            (format_score(baseline["mean_iou"]), "the same for a per-pixel regression"),
            (format_score(network["iou"]["TC"]), "IoU of tropical cyclones"),
            (format_score(network["iou"]["AR"]), "IoU of atmospheric rivers"),
            (str(classes["TC"]["num_storms"]), "tropical cyclones found"),
            (str(classes["AR"]["num_storms"]), "atmospheric rivers found"),
        ]
    )


def _lead(figures: Mapping[str, Any], held_out: xr.Dataset, census: Census) -> str:
    """What was done and what came out, in one paragraph."""
    network, truth = figures["network_vs_labels"], figures["network_vs_truth"]
    text = (
        "Heuristics marked tropical cyclones and atmospheric rivers in a made-up climate; a "
        f"network learned from these marks and then segmented {held_out.sizes['time']} snapshots "
        f"it had never seen, on {held_out.sizes['lat']} x {held_out.sizes['lon']} points. It "
        "agrees with the heuristics to a mean intersection over union of "
        f"{format_score(network['mean_iou'])}, and with the storms that were really put there to "
        f"{format_score(truth['mean_iou'])}. It found {count_words(census)}."
    )
    rain = census.to_dict()
    if census.has_rain:
        shares = {k: v["rain_share_percent"] for k, v in rain["classes"].items()}
        if all(value is not None for value in shares.values()):
            text += f" {shares['TC']:.1f} % of all rain fell inside cyclones"
            text += f" and {shares['AR']:.1f} % inside rivers."
    return text
