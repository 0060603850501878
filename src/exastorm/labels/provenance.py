"""What a file of labels says about itself: rules and thresholds, on what, by which version."""

import json
from dataclasses import asdict
from typing import Any

import xarray as xr

import exastorm
from exastorm.labels.plan import Plan
from exastorm.labels.settings import CYCLONE_SECTIONS, LabelSettings
from exastorm.physics.surroundings import Surroundings


def provenance(dataset: xr.Dataset, settings: LabelSettings, plan: Plan) -> dict[str, Any]:
    """Global attributes of a file of labels.

    Args:
        dataset: The archive that is labeled.
        settings: The rules, as they were asked for.
        plan: The rules, as this archive allows them.
    """
    has_cyclones, has_rivers = plan.cyclones is not None, plan.rivers is not None
    attrs: dict[str, Any] = {
        "Conventions": "CF-1.11",
        "title": "heuristic labels of tropical cyclones and atmospheric rivers",
        "source": str(dataset.attrs.get("source", "")),
        "exastorm_version": exastorm.__version__,
        "rule_set_cyclones": settings.cyclones if has_cyclones else "none",
        "rule_set_rivers": settings.rivers if has_rivers else "none",
        "cyclone_extent": f"sc18 {settings.sc18_masks.form}" if has_cyclones else "none",
        "thresholds": json.dumps(
            settings.thresholds(cyclones=has_cyclones, rivers=has_rivers), sort_keys=True
        ),
    }
    for name in ("preset", "preset_warnings"):
        if name in dataset.attrs:
            attrs[name] = dataset.attrs[name]
    if has_rivers and settings.rivers == "sc18":
        attrs["rule_set_rivers"] += f" {settings.sc18_rivers.form}"
    if settings.cyclones == "sc18" and has_cyclones:
        attrs["cyclone_thresholds_on_this_grid"] = _on_this_grid(dataset, settings, plan)
    return attrs | {f"note_{topic}": note for topic, note in plan.notes.items()}


def _on_this_grid(dataset: xr.Dataset, settings: LabelSettings, plan: Plan) -> str:
    """What became of the thresholds on a coarse grid."""
    spacing = Surroundings.of(dataset["lat"].values, dataset["lon"].values).spacing_deg
    rules: Any = plan.cyclones
    asked = asdict(getattr(settings, CYCLONE_SECTIONS[settings.cyclones]))
    changed = {name: value for name, value in asdict(rules).items() if value != asked[name]}
    if not changed:
        return "as set"
    return (
        f"untuned: lowered for a grid spacing of {spacing:.2f} degrees by interpolation between"
        f" published values: {json.dumps(changed)}"
    )
