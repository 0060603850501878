"""A census of a made-up archive small enough to count by hand."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from exastorm.errors import InputError
from exastorm.readers.schema import CLASS_ATTRS, DIMS, mock_dataset
from exastorm.storms.census import take_census
from exastorm.storms.compare import compare_class_maps
from exastorm.storms.settings import CensusSettings

NUM_LAT, NUM_LON, NUM_TIMES = 19, 36, 4


def _archive(rain=1e-8, **options):
    return mock_dataset({"PRECT": rain, "PSL": 100000.0}, NUM_LAT, NUM_LON, NUM_TIMES, **options)


def _class_maps(archive, values):
    return xr.Dataset({"class_map": (DIMS, values, CLASS_ATTRS)}, coords=archive.coords)


@pytest.fixture
def storms():
    """One cyclone over two cells on the equator at all four times, one river at the last two."""
    values = np.zeros((NUM_TIMES, NUM_LAT, NUM_LON), np.int8)
    values[:, 9, 4:6] = 1
    values[2:, 3, 10:20] = 2  # 60 S
    return values


def test_counts(storms):
    archive = _archive()
    figures = take_census(_class_maps(archive, storms)).to_dict()
    assert figures["num_snapshots"] == 4
    cyclones, rivers = figures["classes"]["TC"], figures["classes"]["AR"]
    assert (cyclones["num_objects"], cyclones["num_storms"]) == (4, 1)
    assert (rivers["num_objects"], rivers["num_storms"]) == (2, 1)
    assert (rivers["num_objects_north"], rivers["num_objects_south"]) == (0, 2)
    assert rivers["objects_per_snapshot"] == 0.5
    assert rivers["max_objects_in_a_snapshot"] == 1
    assert rivers["num_snapshots_with_any"] == 2
    # Share of the sphere of two cells of 10 x 10 degrees on the equator at every time:
    # 2 (1/36) sin 5 deg = 0.484 %.
    share = 100 * 2 / 36 * np.sin(np.deg2rad(5.0))
    assert cyclones["area_share_percent"] == pytest.approx(share)
    assert "mean_rain_mmday" not in figures, "no archive, no rain"


def test_rain_inside_storms_is_weighed_by_area(storms):
    # 1e-8 m/s everywhere and ten times that inside the cyclone: with the cyclone on a share a of
    # the globe, it has 10 a / (1 + 9 a) of the rain.
    rain = np.where(storms == 1, 1e-7, 1e-8)
    archive = _archive(rain)
    figures = take_census(_class_maps(archive, storms), archive).to_dict()
    a = 2 / 36 * np.sin(np.deg2rad(5.0))
    cyclones = figures["classes"]["TC"]
    assert cyclones["rain_share_percent"] == pytest.approx(100 * 10 * a / (1 + 9 * a), rel=1e-6)
    assert cyclones["mean_rain_mmday"] == pytest.approx(8.64, rel=1e-6)
    assert figures["mean_rain_mmday"] == pytest.approx(0.864 * (1 + 9 * a), rel=1e-6)


def test_rain_by_latitude(storms):
    rain = np.where(storms == 1, 1e-7, 1e-8)
    archive = _archive(rain)
    bands = take_census(_class_maps(archive, storms), archive).rain_by_latitude()
    assert len(bands) == 18
    # The equator's row belongs to the band from 0 to 10 N: 2 of its 36 cells have tenfold rain.
    row = bands[bands["south_lat_deg"] == 0.0].iloc[0]
    assert row["tc_rain_share_percent"] == pytest.approx(100 * 20 / (20 + 34), rel=1e-6)
    assert row["rain_mmday"] == pytest.approx(0.864 * 54 / 36, rel=1e-6)
    wide = CensusSettings(band_deg=90.0)
    assert len(take_census(_class_maps(archive, storms), archive, wide).rain_by_latitude()) == 2


def test_unknown_rain_and_unknown_class_do_not_count(storms):
    rain = np.where(storms == 1, 1e-7, 1e-8)
    rain[:, :9] = np.nan
    storms[:, 10:] = -1
    archive = _archive(rain)
    census = take_census(_class_maps(archive, storms), archive)
    figures = census.to_dict()
    # Only the equator's row is left: 20 of 54 parts.
    assert figures["classes"]["TC"]["rain_share_percent"] == pytest.approx(100 * 20 / 54, rel=1e-6)
    assert figures["classes"]["AR"]["mean_rain_mmday"] is None
    frequency = census.frequency().sel(storm_class=1)
    assert np.isnan(frequency.values[10:]).all()
    assert frequency.values[9, 4] == 1.0


def test_frequency_is_a_share_of_time(storms):
    frequency = take_census(_class_maps(_archive(), storms)).frequency()
    assert frequency.sel(storm_class=1).values[9, 4] == 1.0
    assert frequency.sel(storm_class=2).values[3, 10] == 0.5
    assert frequency.sel(storm_class=2).values[9, 4] == 0.0


def test_blocks_of_any_size_count_the_same(storms):
    archive = _archive(np.where(storms == 2, 1e-7, 1e-8)).chunk(time=1)
    maps = _class_maps(archive, storms)
    one = take_census(maps, archive, CensusSettings(times_per_block=1))
    all_at_once = take_census(maps, archive, CensusSettings(times_per_block=99))
    assert one.objects.equals(all_at_once.objects)
    a, b = one.to_dict(), all_at_once.to_dict()
    assert a["classes"] == b["classes"]


def test_linking_obeys_its_settings(storms):
    # Six hours apart; a gap of at most 5 hours makes every sighting a new storm.
    archive = _archive(step_hours=6)
    from exastorm.linking.points import LinkSettings

    strict = CensusSettings(link=LinkSettings(max_gap_hours=5.0))
    figures = take_census(_class_maps(archive, storms), None, strict).to_dict()
    assert figures["classes"]["TC"]["num_storms"] == 4
    assert figures["classes"]["AR"]["num_storms"] == 2


def test_files(storms, tmp_path):
    archive = _archive()
    census = take_census(_class_maps(archive, storms), archive)
    paths = census.write(tmp_path / "census")
    assert all(path.is_file() for path in paths)
    assert json.loads((tmp_path / "census" / "census.json").read_text()) == census.to_dict()
    table = pd.read_csv(tmp_path / "census" / "objects.csv")
    assert len(table) == 6
    assert table["min_psl_pa"].tolist() == [100000.0] * 6
    assert len(pd.read_csv(tmp_path / "census" / "snapshots.csv")) == 4
    with xr.open_dataset(tmp_path / "census" / "frequency.nc") as frequency:
        assert float(frequency["frequency"].max()) == 1.0


def test_text_and_line(storms):
    archive = _archive()
    census = take_census(_class_maps(archive, storms), archive)
    assert census.to_line() == "counted 4 TC objects and 2 AR objects in 4 snapshots"
    text = census.to_text()
    assert text.splitlines()[0].split() == ["TC", "AR"]
    assert "share of all rain (%)" in text


def test_without_any_storm_figures_are_zero_or_none():
    archive = _archive()
    nothing = np.zeros((NUM_TIMES, NUM_LAT, NUM_LON), np.int8)
    figures = take_census(_class_maps(archive, nothing), archive).to_dict()
    assert figures["classes"]["TC"]["num_storms"] == 0
    assert figures["classes"]["TC"]["mean_object_area_km2"] is None
    assert figures["classes"]["TC"]["rain_share_percent"] == 0.0


def test_another_grid_calendar_or_time_is_refused(storms):
    archive = _archive()
    maps = _class_maps(archive, storms)
    coarse = mock_dataset({"PRECT": 0.0}, 10, NUM_LON, NUM_TIMES)
    with pytest.raises(InputError, match="must be on the grid of the class maps, 19 x 36"):
        take_census(maps, coarse)
    with pytest.raises(InputError, match="calendar must be that of the class maps, noleap"):
        take_census(maps, _archive(calendar="360_day"))
    with pytest.raises(InputError, match=r"time 2000-01-01 09:00:00: .* lacks 1 of 4"):
        take_census(maps, archive.isel(time=slice(0, 3)))


def test_comparing_uses_the_times_that_both_have(storms):
    archive = _archive()
    maps = _class_maps(archive, storms)
    figures = compare_class_maps(maps.isel(time=slice(1, 4)), maps.isel(time=slice(0, 3)))
    assert figures["num_snapshots"] == 2
    assert figures["mean_iou"] == 1.0


def test_prediction_and_reference_are_not_mixed_up(storms):
    archive = _archive()
    nothing = _class_maps(archive, np.zeros_like(storms))
    figures = compare_class_maps(nothing, _class_maps(archive, storms))
    assert figures["recall"]["TC"] == 0.0
    assert figures["num_true_pixels"]["TC"] == 8


def test_comparing_other_grids_or_times_is_refused(storms):
    archive = _archive()
    maps = _class_maps(archive, storms)
    with pytest.raises(InputError, match="must be on one grid"):
        compare_class_maps(maps.isel(lon=slice(0, 9)), maps)
    later = _class_maps(_archive(start="2001-01-01"), storms)
    with pytest.raises(InputError, match="must share times"):
        compare_class_maps(later, maps)
