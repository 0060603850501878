"""The candidates around one snapshot, for as long as the storms near a place last.

To tell why a candidate is or is not part of a storm, the archive need not be labeled as a whole:
candidates are found some time before and after, and farther on as long as a track near the place
still reaches the edge of what was looked at.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from exastorm.constants import KM_PER_DEGREE
from exastorm.grid import great_circle_km
from exastorm.labels.archive import cut_blocks, snapshot_fields
from exastorm.labels.cyclones.centers import CycloneCenter, center_table
from exastorm.labels.explanation import Track
from exastorm.labels.rule_sets import CycloneRules, ExplainsTracks
from exastorm.physics.surroundings import Surroundings
from exastorm.progress import ProgressBar

LONGEST_LIFE_HOURS = 40 * 24.0
"""How far before and after is looked: the longest-lived cyclone, Freddy of 2023, was a tropical
cyclone for 36 days (World Meteorological Organization, 2 July 2024)."""

ROUNDING_HOURS = 1e-3
"""Hours since another time are compared to within some seconds."""


class Lifetimes(NamedTuple):
    """Candidates of the snapshots around one.

    Attributes:
        table: The candidates, as `CycloneRules.select` takes them; steps count from `first`.
        storms: What `select` makes of them (N,).
        times: Times of the archive (T,), cftime.
        first: Number of the first snapshot that was looked at.
        last: Number of the last one.
        gap_hours: How far beyond its ends candidates decide where a track ends.
    """

    table: pd.DataFrame
    storms: NDArray[np.int64]
    times: NDArray[Any]
    first: int
    last: int
    gap_hours: float

    def rows_at(self, step: int) -> NDArray[np.intp]:
        """Rows of the candidates of a snapshot of the archive."""
        return np.flatnonzero(self.table["step"].to_numpy() == step - self.first)

    def track(self, rows: tuple[int, ...]) -> Track:
        """The track that links candidates."""
        begin, end = (self.first + int(self.table["step"].iloc[rows[n]]) for n in (0, -1))
        hours = _hours(self.times, begin)
        # What lies beyond the archive is not looked at, and does not count either.
        is_whole = (self.first == 0 or hours[self.first] <= -self.gap_hours + ROUNDING_HOURS) and (
            self.last == hours.size - 1
            or hours[self.last] - hours[end] >= self.gap_hours - ROUNDING_HOURS
        )
        return Track(len(rows), self.times[begin], self.times[end], bool(is_whole))


def follow_storms(
    dataset: xr.Dataset,
    names: tuple[str, ...],
    rules: CycloneRules,
    step: int,
    near: tuple[float, float, float],
) -> Lifetimes:
    """Find the candidates of a snapshot, and of those around it as far as its storms last.

    Args:
        dataset: The archive.
        names: Fields to read.
        rules: What to look for.
        step: Number of the snapshot.
        near: Latitude, longitude and distance, degrees: whose storms are followed to their ends.

    Raises:
        InputError: If a field of a snapshot is wholly missing.
    """
    times = dataset["time"].values
    hours = _hours(times, step)
    gap = rules.longest_gap_hours() if isinstance(rules, ExplainsTracks) else 0.0
    finder = _Finder(dataset[list(names)], rules)
    before = after = gap
    with ProgressBar("follow candidates", None) as bar:
        while True:
            inside = np.flatnonzero(
                (hours >= -before - ROUNDING_HOURS) & (hours <= after + ROUNDING_HOURS)
            )
            first, last = int(inside[0]), int(inside[-1])
            finder.find(range(first, last + 1), bar)
            table = finder.table(hours[first : last + 1], first)
            found = Lifetimes(table, np.empty(0, dtype=np.int64), times, first, last, gap)
            begin, end = _ends(found, rules, step, near)
            back = first > 0 and hours[first] > begin - gap and before < LONGEST_LIFE_HOURS
            on = last < hours.size - 1 and hours[last] < end + gap and after < LONGEST_LIFE_HOURS
            if not (back or on):
                return found._replace(storms=rules.select(table))
            before, after = before * (1 + back), after * (1 + on)


def _hours(times: NDArray[Any], step: int) -> NDArray[np.float64]:
    """Hours of all times (T,) since one of them."""
    return np.array([(time - times[step]).total_seconds() / 3600.0 for time in times])


class _Finder:
    """Finds the candidates of more and more snapshots, each once."""

    def __init__(self, dataset: xr.Dataset, rules: CycloneRules) -> None:
        self._dataset, self._rules = dataset, rules
        self._grid = Surroundings.of(dataset["lat"].values, dataset["lon"].values)
        self._centers: dict[int, list[CycloneCenter]] = {}

    def find(self, steps: range, bar: ProgressBar) -> None:
        """Find the candidates of those snapshots that were not looked at before."""
        todo = np.array([step for step in steps if step not in self._centers], dtype=np.int64)
        for run in np.split(todo, np.flatnonzero(np.diff(todo) != 1) + 1):
            if run.size == 0:
                continue
            part = self._dataset.isel(time=slice(int(run[0]), int(run[-1]) + 1))
            for block in cut_blocks(part, None):
                loaded = part.isel(time=slice(*block)).load()
                for step in range(block.stop - block.start):
                    fields = snapshot_fields(loaded, step, tuple(map(str, part.data_vars)))
                    centers = self._rules.find(fields, self._grid)
                    self._centers[int(run[0]) + block.start + step] = centers
                    bar.advance()

    def table(self, hours: NDArray[np.float64], first: int) -> pd.DataFrame:
        """Candidates of consecutive snapshots at these hours."""
        centers = [self._centers[first + step] for step in range(hours.size)]
        steps = np.repeat(np.arange(hours.size), [len(found) for found in centers])
        flat = [center for found in centers for center in found]
        return center_table(flat, steps, hours - hours[0], self._grid.spacing_deg)


def _ends(
    found: Lifetimes, rules: CycloneRules, step: int, near: tuple[float, float, float]
) -> tuple[float, float]:
    """When the tracks near a place begin and end, hours since the snapshot."""
    ends = [0.0]
    if isinstance(rules, ExplainsTracks):
        rows = found.rows_at(step)
        lat, lon = (found.table[name].to_numpy()[rows] for name in ("lat", "lon"))
        is_near = great_circle_km(lat, lon, near[0], near[1]) <= near[2] * KM_PER_DEGREE
        hours = found.table["hour"] - _hours(found.times[found.first :], 0)[step - found.first]
        for row in rows[is_near].tolist():
            track = rules.explain_track(found.table, row).rows
            ends += [float(hours.iloc[track[0]]), float(hours.iloc[track[-1]])]
    return min(ends), max(ends)
