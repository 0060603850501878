"""The local percentiles of a made-up climate, for rule sets for rivers that compare with them.

A climatology is made once, from snapshots so far apart that most are a different weather, and kept
in a file while the climate is labeled: every process reads the month that it is at.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from exastorm.labels.climatology import ClimatologyRequest, climatology_of, open_climatology
from exastorm.labels.rule_sets import Fields, RiverRules
from exastorm.physics.surroundings import Surroundings
from exastorm.readers.synthetic.climate import synthetic_dataset
from exastorm.readers.synthetic.settings import SyntheticSettings

CLIMATOLOGY_STEP_HOURS = 24
"""Time between the snapshots that make a climatology, h. The weather of the made-up climate has no
daily cycle, and a day later little of it is new: more snapshots would hardly change a percentile
of five months."""


@runtime_checkable
class ComparesLocally(Protocol):
    """A rule set that compares with local percentiles."""

    def climatology_request(self) -> ClimatologyRequest:
        """Which percentiles it needs beside the fields."""


def with_climatologies(
    climate: SyntheticSettings, rivers: dict[str, RiverRules], folder: Path
) -> dict[str, RiverRules]:
    """Rule sets with the file of their climatology, which is made where one lacks it.

    Args:
        climate: What climate.
        rivers: Rule sets by name.
        folder: Where the files go.
    """
    filed = {}
    for name, rules in rivers.items():
        if isinstance(rules, ComparesLocally) and rules.climatology_request().file is None:
            path = folder / f"{name}.nc"
            dataset = synthetic_dataset(thinned(climate))
            climatology_of(dataset, rules.climatology_request(), folder).save(path)
            rule_set: Any = rules
            filed[name] = replace(rule_set, climatology=str(path))
        else:
            filed[name] = rules
    return filed


def thinned(climate: SyntheticSettings) -> SyntheticSettings:
    """The same climate at every day, or at its own step if that is longer."""
    every = max(1, CLIMATOLOGY_STEP_HOURS // climate.step_hours)
    return replace(
        climate,
        num_snapshots=-(-climate.num_snapshots // every),
        step_hours=climate.step_hours * every,
    )


def local_percentiles(rules: RiverRules, grid: Surroundings, month: int) -> Fields:
    """What a rule set needs beside the fields of a snapshot, (H, W) each; empty of most.

    Args:
        rules: A rule set of `with_climatologies`.
        grid: The grid.
        month: Calendar month of the snapshot, 1 to 12.
    """
    if not isinstance(rules, ComparesLocally):
        return {}
    request = rules.climatology_request()
    assert request.file is not None, "with_climatologies filed it"
    climatology = open_climatology(request.file, grid.lat, grid.lon, request)
    try:
        return dict(climatology.fields(request, month))
    finally:
        climatology.dataset.close()
