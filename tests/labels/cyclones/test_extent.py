"""The extent of a cyclone, and who wins where cyclone and river meet."""

from dataclasses import replace

import numpy as np
import pytest
from tests.labels.conftest import LAT, LON, add_storm, calm, offsets

from exastorm.labels.cyclones.centers import CycloneCenter
from exastorm.labels.cyclones.extent import (
    MASK_FIELDS,
    Extent,
    Sc18MaskRules,
    exact_cyclones,
    storm_extent,
)
from exastorm.labels.cyclones.sc18 import Sc18CycloneRules
from exastorm.labels.masks import compose, rule_attrs
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import label_regions

GRID = Surroundings.of(LAT, LON)
RULE = Sc18MaskRules()
EXACT = Sc18MaskRules(form="exact")
SHAPE = (LAT.size, LON.size)


def find_cyclones(fields, grid, rules):
    return rules.find(fields, grid)


def cyclone_mask(fields, grid, center, rules):
    (cells,) = storm_extent(fields, grid, center, rules).groups
    mask = np.zeros(grid.lat.size * grid.lon.size, bool)
    mask[cells] = True
    return mask.reshape(grid.lat.size, grid.lon.size)


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
    attrs = rule_attrs("tempest-cam", "sc18")
    names = dict(zip(attrs["flag_values"].tolist(), attrs["flag_meanings"].split(), strict=True))
    assert [names[v] for v in rule[0].tolist()] == [
        "tempest_cam_cyclone_over_sc18_river",
        "tempest_cam_cyclone",
        "sc18_river",
        "none",
    ]
    assert class_map.dtype == rule.dtype == attrs["flag_values"].dtype == np.int8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "old"}, "form must be corrected or exact, got 'old'"),
        ({"box_margin_deg": 0.0}, "box_margin_deg must be positive, got 0.0"),
        ({"percentile": 100.0}, "percentile must be between 0 and 100, got 100.0"),
    ],
)
def test_wrong_rules(change, message):
    with pytest.raises(ValueError, match=message):
        Sc18MaskRules(**change)


def center_at(lat, lon, radius_17_deg):
    row, column = int(np.argmin(np.abs(LAT - lat))), int(np.argmin(np.abs(LON - lon)))
    return CycloneCenter(row, column, lat, lon, 1e5, 500.0, radius_17_deg=radius_17_deg)


def test_exact_box_is_in_degrees_and_clipped():
    # Defect 2. Radius 1 + 6.6 = 7.6 degrees around 20 N 3 E: rows 12.4 to 27.6 N (nearest 12 and
    # 28), columns from longitude 0 (nearest to -4.6) to 10.6 (nearest 11), the last not included.
    fields = {name: np.random.default_rng(0).random(SHAPE) for name in MASK_FIELDS}
    box = storm_extent(fields, GRID, center_at(20.0, 3.0, 1.0), EXACT).box
    assert box == (102, 118, 0, 11)
    # The same at 60 N: no wider in degrees there.
    box = storm_extent(fields, GRID, center_at(60.0, 100.0, 1.0), EXACT).box
    assert box == (142, 158, 92, 108)


def drawn():
    """Two equal storms: in each field a blot of its own at the center, so that all four differ.

    The box of 16 x 16 = 256 cells of a storm with radius 1 holds 18 cells above its 93rd percentile
    (0.07 x 255 = 17.85 cells are higher than the interpolated percentile). Each blot has 18 cells
    of distinct high values: rows of 6 x 3 that overlap a row of the next field's blot.
    """
    fields = {name: np.zeros(SHAPE) for name in MASK_FIELDS}
    background = np.random.default_rng(1).random(SHAPE)
    for n, name in enumerate(MASK_FIELDS):
        fields[name] = background.copy()
        for column in (100, 200):
            rows = slice(108 + 2 * n, 111 + 2 * n)
            fields[name][rows, column - 3 : column + 3] = 10 + background[rows, :6]
    return fields, [center_at(20.0, 100.0, 1.0), center_at(20.0, 200.0, 1.0)]


def test_exact_leaves_the_union_to_the_last_storm():
    # Defect 1. A blot has 6 x 3 = 18 cells; each next one lies 2 rows further north and shares one
    # row, so the union of four is 6 x 9 = 54 cells. The last storm has 54, the one before only its
    # TMQ blot of 18; the other way round when the table is.
    fields, centers = drawn()
    for order in ((0, 1), (1, 0)):
        extents = [storm_extent(fields, GRID, centers[n], EXACT) for n in order]
        assert [cells.size for cells in extents[0].groups] == [18, 18, 18, 18]
        mask = exact_cyclones(extents, SHAPE)
        halves = [mask[:, :150].sum(), mask[:, 150:].sum()]
        assert [halves[n] for n in order] == [18, 54]
    corrected = [cyclone_mask(fields, GRID, center, RULE).sum() for center in centers]
    assert corrected[0] == corrected[1] > 50


def test_exact_winds_keep_their_sign():
    # V850 of a storm in the north is positive only east of the center.
    fields = add_storm(calm(), 18.0, 100.0)
    (center,) = find_cyclones(fields, GRID, Sc18CycloneRules())
    extent = storm_extent(fields, GRID, center, EXACT)
    v_columns = extent.groups[MASK_FIELDS.index("V850")] % LON.size
    assert (v_columns > 100).all()
    u_rows = extent.groups[MASK_FIELDS.index("U850")] // LON.size
    assert (u_rows < 108).all()  # westerly south of it


def test_exact_leaves_out_a_storm_in_uniform_water():
    fields, centers = drawn()
    fields["TMQ"] = np.full(SHAPE, 20.0)
    extents = [storm_extent(fields, GRID, center, EXACT) for center in centers]
    assert not exact_cyclones(extents, SHAPE).any()
    assert not exact_cyclones([], SHAPE).any()


def test_exact_keeps_groups_of_the_same_size():
    # The script drops groups smaller than the largest, so two of 9 cells both stay.
    fields, centers = drawn()
    fields["TMQ"] = np.random.default_rng(2).random(SHAPE) * 0.1
    for west in (96, 102):
        fields["TMQ"][106:109, west : west + 3] = 10.0
    extent = storm_extent(fields, GRID, centers[0], EXACT)
    assert isinstance(extent, Extent)
    assert extent.groups[0].size == 18
