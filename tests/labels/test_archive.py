"""Labeling an archive: the same result however the work is cut, and nothing finished is lost."""

import json
import shutil
from datetime import timedelta

import cftime
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from tests.labels.conftest import add_storm, calm, river

import exastorm
from exastorm.errors import InputError
from exastorm.labels.archive import BLOCK_BYTES, cut_blocks, label_archive
from exastorm.labels.cyclones.sc18 import Sc18CycloneRules
from exastorm.labels.cyclones.teca import TecaRules
from exastorm.labels.settings import LabelSettings
from exastorm.labels.snapshot import label_snapshot
from exastorm.labels.storage import check_out
from exastorm.readers.archives import write_archive
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


def test_blocks_of_changed_values_are_not_used(tmp_path):
    # One cell in the middle of an archive in memory; one file changed of an archive on disk.
    dataset = archive()
    out = tmp_path / "labels.nc"
    changed = dataset.copy(deep=True)
    changed["TMQ"].values[3, 10, 10] += 1.0
    assert signature_of(dataset, out) == signature_of(dataset.copy(deep=True), out)
    assert signature_of(dataset, out) != signature_of(changed, out)
    write_archive(dataset, tmp_path / "a.nc", "cam")
    before = signature_of(exastorm.open(tmp_path / "a.nc"), out)
    assert before == signature_of(exastorm.open(tmp_path / "a.nc"), out)
    write_archive(changed, tmp_path / "a.nc", "cam")
    assert before != signature_of(exastorm.open(tmp_path / "a.nc"), out)


def signature_of(dataset, out):
    """What a stopped labeling leaves of its archive."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exastorm.labels.archive.run_jobs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            label_archive(dataset, out)
    folder = out.with_name("labels.nc.part")
    text = (folder / "signature.json").read_text()
    shutil.rmtree(folder)
    return text


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_what_is_in_the_way_is_left_alone(tmp_path):
    mine = tmp_path / "labels.nc.part"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="in the way, and not from labeling"):
        label_archive(archive(), tmp_path / "labels.nc")
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_a_block_that_lost_its_end_is_made_again(tmp_path):
    dataset, out = archive(), tmp_path / "labels.nc"
    label_archive(dataset, tmp_path / "whole.nc", LabelSettings(block_size=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exastorm.labels.archive.finish_labels", interrupted)
        with pytest.raises(KeyboardInterrupt):
            label_archive(dataset, out, LabelSettings(block_size=2))
    block = sorted((tmp_path / "labels.nc.part").glob("block_*.npz"))[1]
    block.write_bytes(block.read_bytes()[: block.stat().st_size // 2])
    label_archive(dataset, out, LabelSettings(block_size=2))
    assert out.read_bytes() == (tmp_path / "whole.nc").read_bytes()


def test_tables_of_other_labels_do_not_stay(tmp_path):
    dataset, out = archive(), tmp_path / "labels.nc"
    label_archive(dataset, out)
    label_archive(dataset, out, LabelSettings(tracks="parquet"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.nc", "labels.tracks.parquet"]
    label_archive(dataset, out, LabelSettings(cyclones="none"))
    assert [p.name for p in tmp_path.iterdir()] == ["labels.nc"]


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setattr("exastorm.labels.storage.find_spec", lambda _: None)
    with pytest.raises(InputError, match="tracks as parquet need pyarrow"):
        label_archive(archive(), tmp_path / "labels.nc", LabelSettings(tracks="parquet"))


def test_tracks_that_cannot_be_written_leave_both_as_they_were(tmp_path, monkeypatch):
    dataset, out = archive(), tmp_path / "labels.nc"
    label_archive(dataset, out)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises((InputError, OSError), match="No space left"):
        label_archive(archive(num_times=3), out)
    after = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    assert {name: after[name] for name in before} == before


def test_a_short_archive_says_why_no_track_is_found(tmp_path):
    # Seven snapshots 6 h apart span 36 h; TempestExtremes asks for 54.
    dataset = archive()
    span = (dataset["time"].values[-1] - dataset["time"].values[0]).total_seconds() / 3600
    summary = label_archive(dataset, tmp_path / "labels.nc", LabelSettings(cyclones="tempest-cam"))
    told = f"none can be found: they must last 54 h, the archive spans {span:g} h"
    assert told in summary.notes["tropical_cyclones"]
    # Snapshots three days apart: tracks go over gaps of 24 h.
    far = dataset.assign_coords(
        time=[dataset["time"].values[0] + timedelta(days=3 * n) for n in range(NUM_TIMES)]
    )
    for name in ("teca", "tempest-cam"):
        summary = label_archive(far, tmp_path / "far.nc", LabelSettings(cyclones=name))
        assert (
            "snapshots are 72 h apart, and tracks go over 24 h"
            in (summary.notes["tropical_cyclones"])
        )


def test_a_region_across_greenwich_is_refused(tmp_path):
    dataset = archive()
    lon = dataset["lon"].values
    region = dataset.isel(lon=np.flatnonzero((lon <= 60) | (lon >= 300)))
    with pytest.raises(InputError, match="must have no gap, got one from 60 to 300"):
        label_archive(region, tmp_path / "labels.nc")


def test_members_of_an_ensemble_are_told_in_the_file(tmp_path):
    summary = label_archive(archive(), tmp_path / "labels.nc", LabelSettings(soft=True))
    maps = open_class_map(tmp_path / "labels.nc")
    told = maps["cyclone_share"].attrs
    assert tuple(np.atleast_1d(told["member_counts"]).tolist()) == summary.member_cyclones
    assert len(json.loads(told["member_thresholds"])) == len(summary.member_cyclones)
    assert min(summary.member_cyclones) <= summary.num_cyclones <= max(summary.member_cyclones)
    assert min(summary.member_rivers) <= summary.num_rivers <= max(summary.member_rivers)


def test_thresholds_that_make_no_label_are_told(tmp_path):
    settings = LabelSettings(teca=TecaRules(form="exact"))
    summary = label_archive(archive(), tmp_path / "labels.nc", settings)
    assert summary.notes["unused_thresholds"] == "those of teca, which make no label here"
