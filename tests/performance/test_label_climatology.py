"""Climatologies of made-up climates reach the rule sets that ask for one."""

from dataclasses import replace

import numpy as np
import pytest

from exastorm.grid import regular_grid
from exastorm.labels.cyclones.extent import Sc18MaskRules
from exastorm.labels.rivers.guan_waliser import GuanWaliserRules
from exastorm.labels.rivers.sc18 import Sc18RiverRules
from exastorm.performance.label_climatology import local_percentiles, thinned, with_climatologies
from exastorm.performance.label_finds import RuleSets
from exastorm.performance.label_skill import score_rule_sets
from exastorm.physics.surroundings import Surroundings
from exastorm.readers.synthetic.climate import SyntheticSettings, synthetic_dataset

CLIMATE = SyntheticSettings(height=48, width=72, start="2000-01-10", num_snapshots=60, step_hours=6)
GRID = Surroundings.of(*regular_grid(48, 72))


def test_a_climatology_has_one_snapshot_a_day():
    # 60 snapshots of 6 hours: days 0 to 14.
    daily = thinned(CLIMATE)
    assert daily.num_snapshots == 15
    assert daily.hours().tolist() == CLIMATE.hours()[::4].tolist()
    assert thinned(replace(CLIMATE, step_hours=36)) == replace(CLIMATE, step_hours=36)


@pytest.fixture(scope="module")
def filed(tmp_path_factory):
    rules = {"local": GuanWaliserRules(), "fixed": Sc18RiverRules()}
    return with_climatologies(CLIMATE, rules, tmp_path_factory.mktemp("climatology"))


def test_local_percentiles_are_those_of_the_climate(filed):
    found = local_percentiles(filed["local"], GRID, 1)
    assert list(found) == ["IVT_P85"]
    fields = synthetic_dataset(thinned(CLIMATE))[["IVTX", "IVTY"]].compute()
    transport = np.hypot(fields["IVTX"].values, fields["IVTY"].values)
    expected = np.percentile(transport, 85.0, axis=0)
    # Below the rule's floor of 100 kg m-1 s-1 no percentile counts; above, histograms have bins of
    # 3 to 6 % of a value.
    counts = expected > 110.0
    assert counts.mean() > 0.2
    np.testing.assert_allclose(found["IVT_P85"][counts], expected[counts], rtol=0.1)


def test_a_rule_set_without_local_percentiles_stays_as_it_is(filed):
    assert filed["fixed"] == Sc18RiverRules()
    assert local_percentiles(filed["fixed"], GRID, 1) == {}


def test_a_climatology_that_is_there_is_taken(filed, tmp_path):
    again = with_climatologies(CLIMATE, {"local": filed["local"]}, tmp_path)
    assert again["local"] == filed["local"]
    assert list(tmp_path.iterdir()) == []


def test_a_rule_set_with_local_percentiles_is_scored():
    rules = RuleSets(cyclones={}, rivers={"gw": GuanWaliserRules()}, masks=Sc18MaskRules())
    mask = score_rule_sets(CLIMATE, rules)["rivers"]["gw"]["mask"]
    assert 0.02 < mask["iou"]["value"] < 0.9
