"""Rivers by the Laplacian of vapor transport are those of TempestExtremes' DetectBlobs."""

from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from scipy import ndimage
from tests.labels.conftest import river

from exastorm.grid import cell_areas_km2, regular_grid
from exastorm.labels.rivers.tempest import TempestRiverRules
from exastorm.labels.rivers.tempest_grid import label_blobs, sphere_areas
from exastorm.physics.surroundings import Surroundings

DATA = Path(__file__).parents[2] / "data" / "tempest_rivers"

# The thresholds that DetectBlobs was given; the files say so in the attribute `arguments`.
SETS = (
    TempestRiverRules(),
    TempestRiverRules(max_laplacian=-30000.0, min_lat_deg=20.0, min_area_km2=400000.0),
    TempestRiverRules(
        num_points=6,
        distance_deg=7.0,
        max_laplacian=-25000.3,
        min_lat_deg=10.0,
        min_area_km2=300000.0,
        corners_touch=True,
    ),
)

LAT, LON = regular_grid(91, 180)
GRID = Surroundings.of(LAT, LON)


def stored(name):
    """Grid, snapshots and the masks of each set of thresholds in a file."""
    with netCDF4.Dataset(DATA / f"{name}.nc") as file:
        file.set_auto_mask(False)
        grid = Surroundings.of(file["lat"][:], file["lon"][:])
        snapshots = [
            {field: file[field][step] for field in ("IVTX", "IVTY")}
            for step in range(file["time"].size)
        ]
        return grid, snapshots, [file[f"tag{n}"][:] > 0 for n in range(3)]


def flow(mask, strength=800.0):
    """Eastward vapor transport in a mask, none elsewhere."""
    x = (strength * mask).astype(np.float32)
    return {"IVTX": x, "IVTY": np.zeros_like(x)}


def soft_streak():
    """A river tilted by 30 degrees whose transport falls off over some 6 degrees."""
    mask = river(50.0, 100.0, 30.0, lat=LAT, lon=LON, length_km=4000.0, width_km=1000.0)
    return flow(ndimage.gaussian_filter(mask.astype(float), 2.0, mode=("nearest", "wrap")))


def streak(lat0=45.0, lon0=100.0, length_km=4000.0, width_km=500.0):
    return flow(river(lat0, lon0, 0.0, lat=LAT, lon=LON, length_km=length_km, width_km=width_km))


@pytest.mark.parametrize("name", ["poles", "odd", "region"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_masks_are_those_of_detect_blobs(name, number):
    grid, snapshots, masks = stored(name)
    assert masks[number].any()
    for fields, mask in zip(snapshots, masks[number], strict=True):
        np.testing.assert_array_equal(SETS[number].find(fields, grid).mask, mask)


def test_stored_rivers_cross_the_seam_and_come_near_the_poles():
    grid, _, (mask, *_) = stored("poles")
    assert (mask[:, :, 0] & mask[:, :, -1]).any()
    assert mask[:, np.abs(grid.lat) >= 86].any()


def test_edges_of_a_region_and_of_a_belt_can_be_corrected():
    grid, snapshots, masks = stored("region")
    for rules, masks_of_rules in zip(SETS[:2], masks, strict=False):
        corrected = replace(rules, edges="corrected")
        differ = [
            corrected.find(fields, grid).mask ^ mask
            for fields, mask in zip(snapshots, masks_of_rules, strict=True)
        ]
        assert np.any(differ)
    # A belt up to 31 degrees: the last row reaches to the pole, 1 - sin(30) = 0.5 of a hemisphere.
    belt = Surroundings.of(np.arange(-15, 16) * 2.0 + 1.0, np.arange(90) * 4.0)
    assert sphere_areas(belt, "tempest")[-1].sum() == pytest.approx(2 * np.pi * 0.5)
    want = cell_areas_km2(belt.lat, belt.lon) / 6371.0088**2
    np.testing.assert_allclose(sphere_areas(belt, "corrected"), want)
    np.testing.assert_allclose(sphere_areas(belt, "tempest")[1:-1], want[1:-1])


def test_edge_columns_of_a_region_join_only_from_inside():
    grid = Surroundings.of(40.0 + np.arange(4), 10.0 + np.arange(5))
    mask = np.array(
        [
            [0, 0, 1, 0, 0],
            [1, 1, 1, 0, 1],  # met from the row below: column 0 belongs to the middle
            [0, 0, 0, 0, 1],  # column 4 is met first: it stays alone ...
            [0, 0, 0, 1, 1],  # ... though cells touch it
        ],
        dtype=bool,
    )
    labels, num = label_blobs(mask, grid, False, "tempest")
    assert num == 3
    assert labels[1, 0] == labels[1, 1] == labels[0, 2]
    assert labels[1, 4] == labels[3, 4] != labels[3, 3]
    labels, num = label_blobs(mask, grid, False, "corrected")
    assert num == 2
    assert labels[3, 3] == labels[1, 4]
    assert label_blobs(mask, grid, True, "tempest")[1] == 2
    assert label_blobs(np.zeros((4, 5), dtype=bool), grid, False, "tempest")[1] == 0
    # Two columns are all edge: nothing joins but along each.
    two = Surroundings.of(40.0 + np.arange(2), np.array([10.0, 11.0]))
    assert label_blobs(np.ones((2, 2), dtype=bool), two, False, "tempest")[1] == 2


def test_a_streak_of_transport_is_a_river():
    rivers = TempestRiverRules().find(streak(), GRID)
    # 4000 x 500 km = 2.0e6 km2, of cells of 2 degrees.
    assert rivers.area_km2 == pytest.approx([2.0e6], rel=0.1)
    assert np.isnan(rivers.length_km).all()
    assert rivers.mask[67, 50]
    assert rivers.share is None


@pytest.mark.parametrize(
    "change",
    [
        {"num_points": 4},
        {"distance_deg": 3.0},
        {"max_laplacian": -40000.0},
        {"min_lat_deg": 50.0},
        {"min_area_km2": 9.0e6},
    ],
)
def test_every_threshold_has_an_effect(change):
    mask = TempestRiverRules().find(soft_streak(), GRID).mask
    assert mask.any()
    changed = TempestRiverRules(**change).find(soft_streak(), GRID).mask
    assert not np.array_equal(changed, mask)


def test_objects_that_share_a_corner_may_be_one():
    # Two blocks of 12 x 12 degrees corner to corner, each of some 1.2e6 km2 at 45 degrees north.
    blocks = np.zeros((91, 180), dtype=bool)
    blocks[65:71, 50:56] = blocks[71:77, 56:62] = True
    rules = TempestRiverRules(num_points=8, distance_deg=20.0, min_area_km2=1.5e6)
    assert rules.find(flow(blocks), GRID).area_km2.size == 0
    assert replace(rules, corners_touch=True).find(flow(blocks), GRID).area_km2.size == 1


def test_rivers_join_over_the_seam():
    there, here = (TempestRiverRules().find(streak(lon0=lon0), GRID) for lon0 in (100.0, 0.0))
    np.testing.assert_array_equal(here.mask, np.roll(there.mask, -50, axis=1))
    assert here.area_km2 == pytest.approx(there.area_km2)


def test_the_magnitude_alone_will_do():
    fields = streak()
    assert TempestRiverRules().plan({"IVT", "TMQ"}).fields == ("IVT",)
    alone = TempestRiverRules().find({"IVT": fields["IVTX"]}, GRID)
    np.testing.assert_array_equal(alone.mask, TempestRiverRules().find(fields, GRID).mask)


def test_a_proxy_is_refused():
    plan = TempestRiverRules().plan({"TMQ", "U850", "V850", "QREFHT"})
    assert plan.fields == ()
    assert "IVTX and IVTY" in plan.lacking
    assert "kg m-1 s-1" in plan.lacking
    assert TempestRiverRules().plan({"IVTX", "IVTY", "IVT"}).fields == ("IVTX", "IVTY")


def test_missing_values_make_no_river():
    fields = streak()
    fields["IVTX"][60:75, 30:130] = np.nan
    assert not TempestRiverRules().find(fields, GRID).mask.any()
    hole = flow(np.ones((91, 180), dtype=bool))
    hole["IVTY"][60:63, 40:60] = np.nan
    # Were missing values no transport, the edge of the hole would be a ridge.
    assert not TempestRiverRules(min_area_km2=0.0).find(hole, GRID).mask.any()


def test_a_snapshot_without_rivers_has_none():
    rivers = TempestRiverRules().find(flow(np.zeros((91, 180), dtype=bool)), GRID)
    assert rivers.area_km2.size == rivers.length_km.size == 0
    assert not rivers.mask.any()


def test_members_are_published_sets_the_loosest_first():
    members = TempestRiverRules(edges="corrected").members()
    found = [member.find(streak(), GRID).mask.sum() for member in members]
    assert found[0] == max(found)
    assert {m.max_laplacian for m in members} == {-20000.0, -30000.0}
    assert all(member.edges == "corrected" for member in members)


def test_explain_gives_each_criterion_its_value():
    rules = TempestRiverRules(min_area_km2=3e6)
    (verdict,) = rules.explain(streak(), GRID, 45.0, 100.0, 10.0)
    away, strength, area = verdict.checks
    assert verdict.candidate == "ridge"
    assert (verdict.lat, verdict.lon) == (46.0, 100.0) or (verdict.lat, verdict.lon) == (
        44.0,
        100.0,
    )
    assert away.passed
    assert strength.passed
    assert strength.value < -20000.0
    assert not area.passed
    assert area.value == pytest.approx(2.0e6, rel=0.1)
    assert not verdict.passed
    assert rules.explain(streak(), GRID, -45.0, 100.0, 10.0)[0].candidate == "lowest value"


def test_explain_where_there_is_no_ridge_gives_the_lowest_value():
    weak = flow(river(5.0, 100.0, 0.0, lat=LAT, lon=LON), 30.0)
    (verdict,) = TempestRiverRules().explain(weak, GRID, 5.0, 100.0, 4.0)
    away, strength, area = verdict.checks
    assert not away.passed
    # 30 kg m-1 s-1 over some of the eight weights of 16.4 a square radian: at most 3900 below zero.
    assert -3950.0 < strength.value < 0.0
    assert not strength.passed
    assert np.isnan(area.value)
    assert not area.passed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_points": 2}, "num_points must be at least 3, got 2"),
        ({"distance_deg": 0.0}, "distance_deg must be in"),
        ({"max_laplacian": 5.0}, "max_laplacian must be negative"),
        ({"min_lat_deg": 90.0}, "min_lat_deg must be in"),
        ({"min_area_km2": -1.0}, "min_area_km2 must not be negative"),
        ({"min_area_km2": float("nan")}, "min_area_km2 must not be negative, got nan"),
        ({"edges": "soft"}, "edges must be 'tempest' or 'corrected', got 'soft'"),
    ],
)
def test_wrong_thresholds_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TempestRiverRules(**change)
