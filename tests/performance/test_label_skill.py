"""Scores of rule sets on small made-up climates, and of rule sets that know the answer."""

import json
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from exastorm.errors import InputError
from exastorm.labels.cyclones.centers import CycloneCenter
from exastorm.labels.cyclones.extent import Sc18MaskRules
from exastorm.labels.rule_sets import FieldPlan, Rivers
from exastorm.labels.settings import CYCLONE_SECTIONS, RIVER_SECTIONS, LabelSettings
from exastorm.performance.label_finds import RuleSets, available_fields, find_all
from exastorm.performance.label_skill import (
    LabelSkillSettings,
    score_labels,
    score_rule_sets,
    truth_tables,
)
from exastorm.readers.synthetic.climate import SyntheticSettings, snapshot, synthetic_dataset
from exastorm.storms.track_matching import MatchSettings

CLIMATE = SyntheticSettings(
    height=48,
    width=72,
    start="2000-09-01",
    num_snapshots=20,
    step_hours=6,
    cyclone_rate=4.0,
    optional_fields=False,
)


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """Finds the true cyclones of `CLIMATE`, or another place: it looks the answer up."""

    shift_deg: float = 0.0

    def plan(self, available):
        return FieldPlan(("PSL",))

    def find(self, fields, grid):
        # The snapshot is known by its field.
        for hour in CLIMATE.hours():
            if np.array_equal(snapshot_of(hour)["PSL"], fields["PSL"]):
                break
        cyclones = true_cyclones()
        here = cyclones[cyclones["hour"] == hour - CLIMATE.first_hour()]
        return [
            CycloneCenter(
                row=int(np.abs(grid.lat - row.lat).argmin()),
                column=int(np.abs(grid.lon - row.lon).argmin()),
                lat=row.lat + self.shift_deg,
                lon=row.lon,
                central_pressure_pa=hash(row.track) % 100003,
                pressure_rise_pa=0.0,
                max_wind_ms=row.max_wind_ms,
                radius_17_deg=1.0,
            )
            for row in here.itertuples()
        ]

    def select(self, centers):
        # Each storm has a "pressure" of its own.
        return np.unique(centers["central_pressure_pa"], return_inverse=True)[1].astype(np.int64)


class TrueRivers:
    """Finds the true rivers of `CLIMATE`, and all that is south of a latitude."""

    def plan(self, available):
        return FieldPlan(("TMQ",))

    def find(self, fields, grid):
        for hour in CLIMATE.hours():
            if np.array_equal(snapshot_of(hour)["TMQ"], fields["TMQ"]):
                break
        return Rivers(snapshot_of(hour)["truth"] == 2, np.zeros(0), np.zeros(0))


@cache
def snapshot_of(hour):
    return snapshot(CLIMATE, hour)


@cache
def true_cyclones():
    return truth_tables(CLIMATE)[0]


def scores(**cyclones):
    rules = RuleSets(
        cyclones=cyclones,
        rivers={"true": TrueRivers()} if not cyclones else {},
        masks=Sc18MaskRules(),
    )
    return score_rule_sets(CLIMATE, rules)


def test_a_rule_set_that_knows_the_answer_detects_everything():
    result = scores(oracle=Oracle())
    tracks = result["cyclones"]["oracle"]["tracks"]
    assert tracks["num_true"] >= 5
    assert tracks["probability_of_detection"]["value"] == 1.0
    assert tracks["no_cyclone_ratio"]["value"] == 0.0
    # What is false are cyclones that are no true tracks.
    assert set(tracks["false_alarms"]) <= {"weak_or_short_cyclone"}
    assert tracks["num_found"] == result["truth"]["num_cyclones"]
    assert tracks["position_error_km"]["mean"] == pytest.approx(0.0, abs=1e-2)
    assert tracks["peak_wind_error_ms"]["mean"] == 0.0
    mask = result["cyclones"]["oracle"]["mask"]
    true_cells = sum(int((snapshot_of(h)["truth"] == 1).sum()) for h in CLIMATE.hours())
    assert mask["num_true_cells"] == true_cells
    assert 0 < mask["num_both_cells"] <= min(mask["num_true_cells"], mask["num_found_cells"])
    json.dumps(result)


def test_a_rule_set_that_is_off_by_five_degrees_detects_nothing():
    tracks = scores(oracle=Oracle(shift_deg=5.0))["cyclones"]["oracle"]["tracks"]
    assert tracks["probability_of_detection"]["value"] == 0.0
    assert tracks["false_alarm_ratio"]["value"] == 1.0


def test_true_rivers_have_an_iou_of_one():
    mask = scores()["rivers"]["true"]["mask"]
    assert mask["iou"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert mask["num_true_cells"] == sum(
        int((snapshot_of(h)["truth"] == 2).sum()) for h in CLIMATE.hours()
    )


def test_every_shipped_rule_set_is_scored():
    # Cells of 400 km hold no core of a cyclone; every figure is there all the same.
    result = score_labels(replace(CLIMATE, num_snapshots=12, optional_fields=True))
    assert list(result["cyclones"]) == list(CYCLONE_SECTIONS)
    assert list(result["rivers"]) == list(RIVER_SECTIONS)
    for name, entry in result["rivers"].items():
        assert 0 < entry["mask"]["iou"]["value"] < 1, name
        assert entry["find_cpu_s_per_snapshot"] > 0
    for entry in result["cyclones"].values():
        assert entry["tracks"]["num_true"] >= 1
        assert entry["mask"]["num_true_cells"] > 0
    assert result["climate"]["cyclone_rate"] == 4.0
    assert result["match"]["max_distance_km"] == 300.0
    json.dumps(result)


def test_thresholds_of_the_labels_are_used():
    dry = replace(LabelSettings().sc18_rivers, min_water_kg_m2=200.0)
    result = score_labels(
        CLIMATE, LabelSettings(sc18_rivers=dry), LabelSkillSettings(cyclones=(), rivers=("sc18",))
    )
    assert result["rivers"]["sc18"]["mask"]["num_found_cells"] == 0


def test_what_a_match_is_can_be_set():
    settings = LabelSkillSettings(
        cyclones=("sc18",), rivers=(), match=MatchSettings(min_lifetime_hours=1e4)
    )
    result = score_labels(CLIMATE, settings=settings)
    assert result["cyclones"]["sc18"]["tracks"]["num_true"] == 0


def test_the_result_does_not_depend_on_the_number_of_processes():
    rules = {"cyclones": ("sc18", "tempest-cam"), "rivers": ("sc18",)}
    one, two = (
        score_labels(CLIMATE, settings=LabelSkillSettings(num_workers=n, **rules)) for n in (1, 2)
    )
    for kind in ("cyclones", "rivers"):
        for name in one[kind]:
            del one[kind][name]["find_cpu_s_per_snapshot"]
            del two[kind][name]["find_cpu_s_per_snapshot"]
    assert one == two


def test_rule_sets_see_the_fields_of_the_dataset():
    full = replace(CLIMATE, num_snapshots=1, optional_fields=True)
    dataset = synthetic_dataset(full).compute()
    seen = {}

    class Looks(TrueRivers):
        def plan(self, available):
            return FieldPlan(tuple(sorted(available)))

        def find(self, fields, grid):
            seen.update(fields)
            return Rivers(np.zeros((48, 72), dtype=bool), np.zeros(0), np.zeros(0))

    find_all(full, RuleSets(cyclones={}, rivers={"looks": Looks()}, masks=Sc18MaskRules()))
    assert set(seen) == available_fields(full) == set(dataset.data_vars) - {"truth"}
    for name, values in seen.items():
        np.testing.assert_array_equal(values, dataset[name].values.squeeze())


def test_truth_tables_split_cyclones_from_what_may_be_taken_for_one():
    cyclones, others = truth_tables(CLIMATE)
    assert set(cyclones["kind"]) == {"tropical_cyclone"}
    assert cyclones["hour"].min() == 0.0
    assert cyclones["hour"].max() <= 19 * 6.0
    # A low that is in the class map at any time has a river.
    rivers = others[others["kind"] == "river_low"]
    assert rivers.groupby("track")["in_truth"].any().all()
    assert not others[others["kind"] != "river_low"]["in_truth"].any()
    assert "extratropical_low" in set(others["kind"])


def test_a_rule_set_that_lacks_fields_is_refused():
    class Greedy(TrueRivers):
        def plan(self, available):
            return FieldPlan((), "the archive lacks IVT")

    rules = RuleSets(cyclones={}, rivers={"greedy": Greedy()}, masks=Sc18MaskRules())
    with pytest.raises(InputError, match="rule set greedy can't label this climate: the archive"):
        score_rule_sets(CLIMATE, rules)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cyclones": ("sc81",)}, "cyclones must be rule sets, got 'sc81'; did you mean 'sc18'"),
        ({"rivers": ("nile",)}, "rivers must be rule sets, got 'nile'"),
        ({"cyclones": (), "rivers": ()}, "cyclones must name a rule set"),
        ({"num_workers": 0}, "num_workers must be at least 1"),
    ],
)
def test_settings_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        LabelSkillSettings(**wrong)
