"""Objects on the globe: where they are, how large, what they hold; figures worked by hand."""

import numpy as np
import pytest

from exastorm.constants import EARTH_RADIUS_KM
from exastorm.readers.schema import mock_dataset
from exastorm.storms.linker import StormLinker
from exastorm.storms.objects import Grid, find_objects
from exastorm.storms.settings import CensusSettings

# 19 x 36 points: a grid of 10 x 10 degrees, rows 0 (90S) to 18 (90N), columns 0 to 350 E.
NUM_LAT, NUM_LON = 19, 36
DATASET = mock_dataset({"TMQ": 0.0}, NUM_LAT, NUM_LON, 3)
GRID = Grid.of(DATASET["lat"].values, DATASET["lon"].values)
TIMES = DATASET["time"].values


def _empty(num_times=1):
    return np.zeros((num_times, NUM_LAT, NUM_LON), dtype=np.int8)


def _find(class_map, fields=None, **options):
    return find_objects(class_map, TIMES[: len(class_map)], GRID, fields, CensusSettings(**options))


def test_an_object_across_greenwich_is_one_and_centered_there():
    class_map = _empty()
    class_map[0, 9, [35, 0, 1]] = 1  # equator, 350 E, 0 and 10 E
    table = _find(class_map)
    assert len(table) == 1
    row = table.iloc[0]
    assert (row["class"], row["object"], row["num_cells"]) == ("TC", 1, 3)
    assert row["center_lat_deg"] == pytest.approx(0.0, abs=1e-9)
    assert (row["center_lon_deg"] + 180) % 360 == pytest.approx(180.0)
    # Cells reach half a step beyond their points: from 345 E to 15 E.
    assert (row["west_lon_deg"], row["east_lon_deg"]) == (345.0, 15.0)
    assert (row["south_lat_deg"], row["north_lat_deg"]) == (-5.0, 5.0)
    # Area of a 30 x 10 degree box on the equator: R^2 (pi / 6) 2 sin 5 deg.
    area = EARTH_RADIUS_KM**2 * np.pi / 6 * 2 * np.sin(np.deg2rad(5.0))
    assert row["area_km2"] == pytest.approx(area, rel=1e-12)


def test_a_regional_grid_does_not_wrap():
    grid = Grid.of(GRID.lat, np.arange(100.0, 150.0, 10.0))
    class_map = np.zeros((1, NUM_LAT, 5), np.int8)
    class_map[0, 9, [0, 4]] = 2
    table = find_objects(class_map, TIMES[:1], grid)
    assert table["center_lon_deg"].tolist() == pytest.approx([100.0, 140.0])


def test_a_ring_round_the_pole_is_centered_on_the_pole():
    class_map = _empty()
    class_map[0, 17] = 2  # all of 80 N
    row = _find(class_map).iloc[0]
    assert row["center_lat_deg"] == pytest.approx(90.0)
    assert row["num_cells"] == NUM_LON


def test_center_weighs_cells_by_area():
    # Two cells on one meridian, 60 N and 70 N: areas go as sin 65 - sin 55 : sin 75 - sin 65
    # = 0.08716 : 0.05962. The mean of unit vectors is 60 deg + atan(w2 sin10 / (w1 + w2 cos10)).
    class_map = _empty()
    class_map[0, 15:17, 5] = 2
    s = np.sin(np.deg2rad([55.0, 65.0, 75.0]))
    w1, w2 = s[1] - s[0], s[2] - s[1]
    ten = np.deg2rad(10.0)
    expected = 60 + np.rad2deg(np.arctan2(w2 * np.sin(ten), w1 + w2 * np.cos(ten)))
    row = _find(class_map).iloc[0]
    assert row["center_lat_deg"] == pytest.approx(expected)
    assert row["center_lon_deg"] == pytest.approx(50.0)


def test_corner_neighbors_are_one_object_only_when_eight_connected():
    class_map = _empty()
    class_map[0, 9, 9] = class_map[0, 10, 10] = 1
    assert len(_find(class_map)) == 1
    assert len(_find(class_map, connectivity=4)) == 2


def test_small_objects_are_left_out_and_the_rest_renumbered():
    class_map = _empty()
    class_map[0, 9, 3] = 2
    class_map[0, 9, 10:14] = 2
    one_cell = GRID.area_km2[9, 3]
    table = _find(class_map, min_area_km2=2 * one_cell)
    assert table["object"].tolist() == [1]
    assert table["num_cells"].tolist() == [4]
    assert _find(class_map, min_area_km2=5 * one_cell).empty


def test_classes_and_times_are_kept_apart():
    class_map = _empty(2)
    class_map[0, 5, 5] = 1
    class_map[0, 5, 6] = 2  # touches the cyclone, yet is no part of it
    class_map[1, 5, 5] = 2
    table = _find(class_map)
    assert table["class"].tolist() == ["TC", "AR", "AR"]
    assert table["time"].tolist() == [TIMES[0], TIMES[0], TIMES[1]]


def test_extremes_come_from_inside_the_object_and_pass_over_gaps():
    class_map = _empty()
    class_map[0, 9, 4:6] = 1
    shape = class_map.shape
    pressure = np.full(shape, 101000.0, np.float32)
    pressure[0, 9, 4], pressure[0, 9, 5], pressure[0, 0, 0] = 98000.0, 99000.0, 90000.0
    u, v = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    u[0, 9, 5], v[0, 9, 5] = 30.0, -40.0
    rain = np.zeros(shape, np.float32)
    rain[0, 9, 4], rain[0, 9, 5] = 1e-6, np.nan
    fields = {"PSL": pressure, "U850": u, "V850": v, "PRECT": rain, "UBOT": u}
    row = _find(class_map, fields).iloc[0]
    assert row["min_psl_pa"] == 98000.0
    assert row["max_wind850_ms"] == pytest.approx(50.0)  # 3-4-5 triangle
    # 1e-6 m/s is 86.4 mm/day; the other cell has no value.
    assert row["mean_rain_mmday"] == pytest.approx(86.4, rel=1e-6)
    assert row["max_rain_mmday"] == pytest.approx(86.4, rel=1e-6)
    assert "max_windbot_ms" not in row, "VBOT is missing"


def test_an_object_without_any_value_has_none():
    class_map = _empty()
    class_map[0, 9, 4] = 1
    row = _find(class_map, {"PSL": np.full(class_map.shape, np.nan)}).iloc[0]
    assert np.isnan(row["min_psl_pa"])


def test_mean_rain_weighs_cells_by_area():
    class_map = _empty()
    class_map[0, 15:17, 5] = 2
    rain = np.zeros(class_map.shape)
    rain[0, 15, 5] = 1e-7
    s = np.sin(np.deg2rad([55.0, 65.0, 75.0]))
    expected = 8.64 * (s[1] - s[0]) / (s[2] - s[0])
    assert _find(class_map, {"PRECT": rain})["mean_rain_mmday"].iloc[0] == pytest.approx(expected)


def test_no_storms_give_an_empty_table_with_columns():
    table = _find(_empty(), {"PSL": np.zeros((1, NUM_LAT, NUM_LON))})
    assert len(table) == 0
    assert {"time", "area_km2", "min_psl_pa"} <= set(table.columns)


def test_a_moving_cyclone_and_a_drifting_river_keep_their_numbers():
    settings = CensusSettings()
    class_map = _empty(3)
    for step in range(3):
        class_map[step, 11, 10] = 1
        class_map[step, 5, 3 + step : 9 + step] = 2  # overlaps itself three hours before
    class_map[2, 3, 30] = 1  # a second cyclone, far away
    linker = StormLinker(GRID.area_km2, settings.link)
    # Fed in two blocks, as a census does.
    first = find_objects(class_map[:2], TIMES[:2], GRID, settings=settings, linker=linker)
    second = find_objects(class_map[2:], TIMES[2:], GRID, settings=settings, linker=linker)
    assert first["storm"].tolist() == [1, 1, 1, 1]
    assert sorted(second.loc[second["class"] == "TC", "storm"]) == [1, 2]
    assert second.loc[second["class"] == "AR", "storm"].tolist() == [1]


def test_after_a_long_gap_nothing_is_the_same_storm():
    settings = CensusSettings()
    class_map = _empty(2)
    class_map[:, 5, 3:9] = 2
    class_map[:, 11, 10] = 1
    linker = StormLinker(GRID.area_km2, settings.link)
    late = mock_dataset({"TMQ": 0.0}, 2, 2, 2, step_hours=72)["time"].values
    table = find_objects(class_map, late, GRID, settings=settings, linker=linker)
    assert table["storm"].tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"connectivity": 6}, "connectivity must be 4 or 8, got 6"),
        ({"min_area_km2": -1.0}, "min_area_km2 must not be negative"),
        ({"band_deg": 7.0}, "band_deg must divide 180, got 7"),
        ({"times_per_block": 0}, "times_per_block must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        CensusSettings(**option)
