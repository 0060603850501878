"""The extent of a cyclone, and who wins where cyclone and river meet."""

from dataclasses import replace

import numpy as np
import pytest
from tests.labels.conftest import LAT, LON, add_storm, calm, offsets

from exastorm.labels.cyclone_rules import Sc18CycloneRules
from exastorm.labels.cyclones import find_cyclones
from exastorm.labels.masks import RULE_ATTRS, RULES, Sc18MaskRules, compose, cyclone_mask
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import label_regions

GRID = Surroundings.of(LAT, LON)
RULE = Sc18MaskRules()


def mask_of(fields, rules=RULE):
    (center,) = find_cyclones(fields, GRID, Sc18CycloneRules())
    return cyclone_mask(fields, GRID, center, rules)


def test_mask_is_one_region_around_the_center():
    mask = mask_of(add_storm(calm(), 18.0, 1.0))
    assert label_regions(mask)[1] == 1
    distance = offsets(18.0, 1.0, LAT, LON)[2]
    # The half-width is 3.73 + 6.6 = 10.3 degrees: a box of 21 x 21 or 23 cells, 7 % of which are
    # 31 to 34 per field. A disc of 31 cells has a radius of 3.2 degrees; the winds' two lobes each
    # reach further along their axis.
    assert mask[distance < 2.5].all()
    assert not mask[distance > 8.0].any()
    assert 31 <= mask.sum() <= 4 * 34


@pytest.mark.parametrize(
    ("change", "larger"), [({"percentile": 85.0}, True), ({"percentile": 98.0}, False)]
)
def test_percentile_decides_the_size(change, larger):
    fields = add_storm(calm(), 18.0, 100.0)
    changed = mask_of(fields, replace(RULE, **change)).sum()
    assert bool(changed > mask_of(fields).sum()) is larger


def test_a_wider_box_takes_more():
    fields = add_storm(calm(), 18.0, 100.0)
    assert mask_of(fields, Sc18MaskRules(box_margin_deg=12.0)).sum() > mask_of(fields).sum()


def test_every_storm_of_a_snapshot_keeps_the_union_of_all_fields():
    # Two equal storms: in the published script only the last keeps the union, 526 against 215
    # cells. Here both masks are the same but for their place.
    one = add_storm(calm(), 18.0, 90.0)
    fields = {name: np.tile(values[:, :180], 2) for name, values in one.items()}
    centers = find_cyclones(fields, GRID, Sc18CycloneRules())
    first, second = (cyclone_mask(fields, GRID, c, RULE) for c in centers)
    shift = centers[1].column - centers[0].column
    assert abs(shift) == 180
    assert np.array_equal(np.roll(first, shift, axis=1), second)
    water_only = cyclone_mask({"TMQ": fields["TMQ"]}, GRID, centers[0], RULE)
    assert first.sum() > 1.3 * water_only.sum()


def test_both_sides_of_the_wind_count():
    # |V850| is high east and west of the center; signed only east of it.
    fields = add_storm(calm(), 18.0, 100.0)
    only_v = {n: v for n, v in fields.items() if n not in ("U850", "PRECT", "TMQ")}
    (center,) = find_cyclones(fields, GRID, Sc18CycloneRules())
    mask = cyclone_mask(only_v, GRID, center, RULE)
    mirrored = cyclone_mask(only_v | {"V850": -only_v["V850"]}, GRID, center, RULE)
    assert mask.any()
    assert np.array_equal(mask, mirrored)


def test_missing_values_are_not_part_of_a_storm():
    fields = add_storm(calm(), 18.0, 100.0)
    whole = mask_of(fields)
    for name in ("TMQ", "PRECT", "U850", "V850"):
        fields[name][108, 100] = np.nan
    (center,) = find_cyclones(add_storm(calm(), 18.0, 100.0), GRID, Sc18CycloneRules())
    mask = cyclone_mask(fields, GRID, center, RULE)
    assert whole[108, 100]
    assert not mask[108, 100]
    assert mask.any()


def test_cyclone_wins_over_river_and_the_rule_tells():
    cyclones = np.array([[1, 1, 0, 0]], bool)
    rivers = np.array([[1, 0, 1, 0]], bool)
    class_map, rule = compose(cyclones, rivers)
    assert class_map.tolist() == [[1, 1, 2, 0]]
    names = {v: k for k, v in RULES.items()}
    assert [names[v] for v in rule[0].tolist()] == [
        "sc18_cyclone_over_river",
        "sc18_cyclone_box_percentile",
        "sc18_river_damped_water",
        "none",
    ]
    assert class_map.dtype == rule.dtype == np.int8


def test_flags_of_the_rules_follow_cf():
    meanings = RULE_ATTRS["flag_meanings"].split()
    assert dict(zip(meanings, RULE_ATTRS["flag_values"].tolist(), strict=True)) == RULES
    assert RULE_ATTRS["flag_values"].dtype == np.int8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box_margin_deg": 0.0}, "box_margin_deg must be positive, got 0.0"),
        ({"percentile": 100.0}, "percentile must be between 0 and 100, got 100.0"),
    ],
)
def test_wrong_rules(change, message):
    with pytest.raises(ValueError, match=message):
        Sc18MaskRules(**change)
