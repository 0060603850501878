"""Labeling an archive: the same result however the work is cut, and nothing finished is lost."""

import json

import cftime
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from tests.labels.conftest import add_storm, calm, river

from exastorm.errors import InputError
from exastorm.labels.archive import BLOCK_BYTES, cut_blocks, label_archive
from exastorm.labels.cyclones.sc18 import Sc18CycloneRules
from exastorm.labels.settings import LabelSettings
from exastorm.labels.snapshot import label_snapshot
from exastorm.labels.storage import check_out
from exastorm.readers.class_maps import open_class_map
from exastorm.readers.schema import mock_dataset

NUM_LAT, NUM_LON, NUM_TIMES = 91, 180, 7


def archive(calendar="noleap", num_times=NUM_TIMES):
    """A cyclone that moves west over 0/360 and a river that comes and goes."""
    lat, lon = np.linspace(-90, 90, NUM_LAT), np.arange(NUM_LON) * 2.0
    snapshots = []
    for step in range(num_times):
        fields = add_storm(
            calm(lat, lon), 18.0, (4.0 - step) % 360, lat=lat, lon=lon, peak_deg=2.0, wind=35.0
        )
        if step % 2:
            fields["TMQ"][river(42.0, 200.0, 20.0, lat=lat, lon=lon)] = 60.0
        snapshots.append(fields)
    stacked = {name: np.stack([s[name] for s in snapshots]) for name in snapshots[0]}
    dataset = mock_dataset(stacked, NUM_LAT, NUM_LON, num_times, calendar=calendar)
    return dataset.assign_attrs(source="drawn by hand")


def contents(path):
    """All bytes of a file or of every file of a store."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


def test_every_snapshot_is_labeled_as_if_alone(tmp_path):
    dataset = archive()
    summary = label_archive(dataset, tmp_path / "labels.nc")
    maps = open_class_map(tmp_path / "labels.nc")
    for step in range(NUM_TIMES):
        fields = {name: array.values[step] for name, array in dataset.data_vars.items()}
        alone = label_snapshot(fields, dataset["lat"].values, dataset["lon"].values)
        assert np.array_equal(maps["class_map"].values[step], alone.class_map)
        assert np.array_equal(maps["rule"].values[step], alone.rule)
    assert summary.num_snapshots == NUM_TIMES
    assert summary.num_cyclone_centers == NUM_TIMES
    assert summary.num_cyclones == 1
    assert summary.num_rivers == 3  # steps 1, 3, 5
    counts = np.bincount(maps["class_map"].values.ravel(), minlength=3)
    shares = list(summary.pixel_shares.values())
    np.testing.assert_allclose(shares, counts / counts.sum())
    assert list(summary.pixel_shares) == ["background", "tropical_cyclone", "atmospheric_river"]
    # A cell at 42 N is smaller than the mean one of the grid, whose mean cos(lat) is 2 / pi.
    area = summary.area_shares["atmospheric_river"]
    cosine = np.cos(np.deg2rad(42)) / (2 / np.pi)
    assert area == pytest.approx(shares[2] * cosine, rel=0.05)
    assert json.loads(json.dumps(summary.to_dict()))["num_rivers"] == 3
    assert "7 cyclone centers of 1 cyclones, 3 rivers" in summary.to_line()


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_same_bytes_for_any_block_size_and_any_number_of_processes(tmp_path, suffix):
    dataset = archive()
    variants = {
        "whole": LabelSettings(),
        "single": LabelSettings(block_size=1),
        "three": LabelSettings(block_size=3),
        "two_processes": LabelSettings(block_size=2, num_workers=2),
    }
    if suffix == ".zarr":
        variants.pop("two_processes")
    results = []
    for name, settings in variants.items():
        out = tmp_path / name / f"labels{suffix}"
        out.parent.mkdir()
        label_archive(dataset.chunk(time=2), out, settings)
        results.append((contents(out), (out.parent / "labels.tracks.csv").read_bytes()))
        assert sorted(p.name for p in out.parent.iterdir()) == sorted(
            ["labels.tracks.csv", out.name]
        )
    assert all(result == results[0] for result in results[1:])


def test_provenance_is_in_the_file(tmp_path):
    label_archive(archive(), tmp_path / "labels.zarr")
    stored = xr.open_zarr(tmp_path / "labels.zarr", consolidated=False)
    assert stored.attrs["source"] == "drawn by hand"
    assert stored.attrs["rule_set_rivers"] == "sc18 corrected"
    thresholds = json.loads(stored.attrs["thresholds"])
    assert thresholds["sc18_rivers"]["min_water_kg_m2"] == 24.0
    assert thresholds["sc18_cyclones"]["min_pressure_rise_pa"] == 400.0
    assert stored.attrs["exastorm_version"]
    # The grid of 2 degrees is coarser than the published one, so thresholds are lowered.
    assert stored.attrs["cyclone_thresholds_on_this_grid"].startswith("untuned: lowered")
    assert stored["class_map"].attrs["flag_meanings"].split()[1] == "tropical_cyclone"
    assert stored["rule"].attrs["flag_meanings"].split()[2] == "sc18_river"
    assert stored["lat"].attrs["standard_name"] == "latitude"
    assert stored["class_map"].dtype == np.int8


def test_unlowered_thresholds_are_said_to_be_as_set(tmp_path):
    rules = Sc18CycloneRules(vorticity_exponent=0, warm_core_exponent=0, wind_slope_per_km=0)
    label_archive(archive(), tmp_path / "labels.nc", LabelSettings(sc18_cyclones=rules))
    maps = open_class_map(tmp_path / "labels.nc")
    assert maps.attrs["cyclone_thresholds_on_this_grid"] == "as set"


def test_table_of_centers(tmp_path):
    label_archive(archive(), tmp_path / "labels.nc")
    table = pd.read_csv(tmp_path / "labels.tracks.csv")
    assert table["time"].tolist()[:2] == ["2000-01-01T00:00:00", "2000-01-01T03:00:00"]
    assert (table["track"] == 0).all()
    assert table["lat"].tolist() == [18.0] * NUM_TIMES
    # The storm is drawn at 4, 3, 2, ... degrees; centers are grid points, two degrees apart.
    assert np.all(np.abs((table["lon"] - (4.0 - np.arange(7)) + 180) % 360 - 180) <= 1.0)
    assert "row" not in table.columns
    assert table["max_wind_ms"].between(30, 35).all()


@pytest.mark.parametrize("calendar", ["360_day", "standard"])
def test_times_keep_their_calendar(tmp_path, calendar):
    dataset = archive(calendar, 2)
    label_archive(dataset, tmp_path / "labels.nc")
    maps = open_class_map(tmp_path / "labels.nc")
    assert maps["time"].dt.calendar == dataset["time"].dt.calendar
    assert maps["time"].values[1] == dataset["time"].values[1]
    assert isinstance(maps["time"].values[0], cftime.datetime)


def test_moisture_alone_gives_rivers_and_says_why_no_cyclones(tmp_path):
    summary = label_archive(archive()[["TMQ"]], tmp_path / "labels.nc")
    assert summary.num_rivers == 3
    assert summary.num_cyclone_centers == 0
    assert summary.tracks is None
    assert not (tmp_path / "labels.tracks.csv").exists()
    reason = "left out: the archive lacks PSL, U850, V850, T200, T500"
    assert summary.notes == {"tropical_cyclones": reason}
    assert reason in summary.to_line()
    attrs = open_class_map(tmp_path / "labels.nc").attrs
    assert attrs["note_tropical_cyclones"] == reason
    assert attrs["rule_set_cyclones"] == "none"
    assert "sc18_cyclones" not in json.loads(attrs["thresholds"])


def test_no_storm_at_all(tmp_path):
    dataset = archive(num_times=2)
    dataset["TMQ"][:] = 1.0
    dataset["PSL"][:] = 101300.0
    summary = label_archive(dataset, tmp_path / "labels.nc")
    assert summary.num_cyclone_centers == summary.num_cyclones == summary.num_rivers == 0
    assert summary.pixel_shares["background"] == 1.0


def failing(dataset, bad_step, reads):
    """The archive, read step by step, with one step that can't be read."""

    def read(block, block_info=None):
        step = block_info[0]["array-location"][0][0]
        reads.append(step)
        if step == bad_step:
            raise InputError("is truncated", file="bad.nc", time=step)
        return block

    lazy = da.from_array(dataset["TMQ"].values, chunks=(1, -1, -1)).map_blocks(read, dtype="f4")
    return dataset[["TMQ"]].assign(TMQ=(("time", "lat", "lon"), lazy, dataset["TMQ"].attrs))


def test_bad_input_in_the_middle_loses_nothing_and_is_taken_up_again(tmp_path):
    out, whole = tmp_path / "labels.nc", tmp_path / "whole.nc"
    settings = LabelSettings(block_size=2)
    with pytest.raises(InputError) as caught:
        label_archive(failing(archive(), 4, []), out, settings)
    message = str(caught.value)
    assert message.startswith("bad.nc, time 4: is truncated (4 of 7 snapshots are labeled and kept")
    assert not out.exists()
    assert sorted(p.name for p in (tmp_path / "labels.nc.part").glob("*.npz")) == [
        "block_00000000_00000002.npz",
        "block_00000002_00000004.npz",
    ]
    reads: list[int] = []
    label_archive(failing(archive(), None, reads), out, settings)
    # Step 0 is looked at to see that it is the same archive.
    assert sorted(set(reads)) == [0, 4, 5, 6]
    label_archive(archive()[["TMQ"]], whole, settings)
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "labels.nc.part").exists()


@pytest.mark.parametrize("change", ["values", "settings", "blocks"])
def test_blocks_of_another_job_are_not_used(tmp_path, change):
    out = tmp_path / "labels.nc"
    settings = LabelSettings(block_size=2)
    with pytest.raises(InputError):
        label_archive(failing(archive(), 4, []), out, settings)
    dataset = archive()
    if change == "values":
        dataset["TMQ"] = dataset["TMQ"].copy(data=dataset["TMQ"].values + 1.0)
    if change == "settings":
        settings = LabelSettings(block_size=2, cyclones="none")
    if change == "blocks":
        settings = LabelSettings(block_size=3)
    reads: list[int] = []
    label_archive(failing(dataset, None, reads), out, settings)
    assert set(reads) == set(range(NUM_TIMES))


def test_processes_tell_of_bad_input_in_one_line(tmp_path):
    dataset = archive()[["TMQ"]]
    dataset["TMQ"][5] = np.nan
    settings = LabelSettings(block_size=2, num_workers=2)
    with pytest.raises(InputError, match="variable TMQ, time 2000-01-01 15:00:00: has no value"):
        label_archive(dataset, tmp_path / "labels.nc", settings)


def test_old_output_is_replaced_only_by_a_whole_one(tmp_path):
    out = tmp_path / "labels.zarr"
    label_archive(archive(num_times=3), out)
    before = contents(out)
    with pytest.raises(InputError):
        label_archive(failing(archive(), 4, []), out)
    assert contents(out) == before
    label_archive(archive(), out)
    assert open_class_map(out).sizes["time"] == NUM_TIMES


def test_blocks_hold_whole_chunks_of_bounded_size():
    lazy = da.zeros((100, 768, 1152), dtype=np.float32, chunks=(8, 768, 1152))
    dataset = xr.Dataset(dict.fromkeys(("TMQ", "PSL"), (("time", "lat", "lon"), lazy)))
    # A chunk of 8 x 768 x 1152 x 4 bytes x 2 fields is 57 MB; two fit in 134 MB.
    assert cut_blocks(dataset, None)[:2] == [(0, 16), (16, 32)]
    assert cut_blocks(dataset, None)[-1] == (96, 100)
    assert cut_blocks(dataset, 30) == [(0, 30), (30, 60), (60, 90), (90, 100)]
    # Chunks larger than a block are taken one by one.
    assert dataset.nbytes > BLOCK_BYTES
    assert cut_blocks(dataset.chunk(time=-1), None) == [(0, 100)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[["PSL"]], "nothing to label: tropical_cyclones left out"),
        (lambda d: d.isel(time=slice(0, 0)), "must have at least one snapshot, got none"),
        (
            lambda d: d.assign(TMQ=d["TMQ"].isel(time=0, drop=True)),
            "variable TMQ: must have dimensions",
        ),
        (lambda d: d.isel(time=[1, 0]), "times must ascend"),
    ],
)
def test_wrong_archives(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        label_archive(change(archive(num_times=2)), tmp_path / "labels.nc")


def test_wrong_places_for_the_output(tmp_path):
    with pytest.raises(InputError, match=r"must go to a \.nc file or a \.zarr store, got 'a\.csv'"):
        check_out(tmp_path / "a.csv")
    (tmp_path / "precious.zarr").mkdir()
    with pytest.raises(InputError, match="is a folder but no Zarr store"):
        label_archive(archive(num_times=1), tmp_path / "precious.zarr")
