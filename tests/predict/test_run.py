"""Segmentation of an archive: right cells, right channels, gaps kept, any grid, all or nothing."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from exastorm.errors import InputError
from exastorm.networks.build import NetworkSettings
from exastorm.networks.record import ModelRecord, save_model
from exastorm.predict import run as run_module
from exastorm.predict.run import segment_archive
from exastorm.predict.settings import SegmentSettings
from exastorm.readers.class_maps import open_class_map
from exastorm.readers.schema import mock_dataset

NUM_LAT, NUM_LON = 16, 32


class Threshold(nn.Module):
    """Says river where normalized TMQ is above 1, cyclone where normalized PSL is below -1."""

    def __init__(self):
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(4.0))
        self.shapes = []

    def forward(self, fields):
        self.shapes.append(tuple(fields.shape))
        tmq, psl = fields[:, 0], fields[:, 1]
        return self.sharpness * torch.stack([torch.zeros_like(tmq), -psl - 1, tmq - 1], dim=1)


def make_record(num_lat=NUM_LAT, num_lon=NUM_LON, **changes):
    values = {
        "channels": ("TMQ", "PSL"),
        "units": ("kg m-2", "Pa"),
        "normalization": "zscore",
        "shift": (20.0, 101000.0),
        "scale": (10.0, 1000.0),
        "mean": (20.0, 101000.0),
        "std": (10.0, 1000.0),
        "classes": ("background", "tropical_cyclone", "atmospheric_river"),
        "lat": tuple(np.linspace(-90, 90, num_lat).tolist()),
        "lon": tuple((np.arange(num_lon) * 360 / num_lon).tolist()),
        "network": NetworkSettings(),
        "decision_bias": (0.0, 0.0, 0.0),
        "version": "0.1.0",
    }
    return ModelRecord(**(values | changes))


def storm_fields(num_times=3):
    """A deep low that moves and a moist patch, on calm ground."""
    tmq = np.full((num_times, NUM_LAT, NUM_LON), 20.0)
    psl = np.full((num_times, NUM_LAT, NUM_LON), 101000.0)
    tmq[:, 4:6, 8:14] = 60.0
    for step in range(num_times):
        psl[step, 9, step] = 96000.0
    return {"PSL": psl, "TMQ": tmq, "TS": 290.0}


@pytest.fixture
def network(monkeypatch, tmp_path):
    """A network whose answer is known, wherever `tmp_path / "model.safetensors"` is loaded."""
    threshold = Threshold().eval()
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(run_module, "load_model", lambda path: (threshold, make_record()))
    return threshold


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_classes_probability_and_coordinates(network, tmp_path, suffix):
    archive = mock_dataset(storm_fields(), NUM_LAT, NUM_LON, 3, calendar="360_day")
    archive.attrs["source"] = "made up"
    out = tmp_path / "new folder" / f"masks{suffix}"
    summary = segment_archive(archive, tmp_path, out, SegmentSettings(times_per_block=2))
    with xr.open_dataset(out, decode_times=xr.coders.CFDatetimeCoder(use_cftime=True)) as masks:
        expected = np.where(archive["TMQ"] > 30, 2, np.where(archive["PSL"] < 100000, 1, 0))
        assert masks["class_map"].dtype == np.int8
        np.testing.assert_array_equal(masks["class_map"], expected)
        assert masks["class_map"].attrs["flag_meanings"].split()[2] == "atmospheric_river"
        assert list(masks["class_map"].attrs["flag_values"]) == [0, 1, 2]
        np.testing.assert_array_equal(masks["time"].values, archive["time"].values)
        assert masks["time"].dt.calendar == "360_day"
        np.testing.assert_array_equal(masks["lat"], archive["lat"])
        # In the moist patch logits are 0, -4, 12: river 1 / (1 + e^-12 + e^-16), packed to 1.
        probability = masks["probability"].sel(storm_class=2)
        assert float(probability[0, 4, 8]) == pytest.approx(1.0, abs=0.002)
        # Elsewhere 0, -4, -4: e^-4 / (1 + 2 e^-4) = 0.01767.
        assert float(probability[0, 0, 0]) == pytest.approx(0.01767, abs=0.002)
        assert masks.attrs["source"] == "made up"
        # sha256 of b"weights".
        assert masks.attrs["model_sha256"].startswith("9a129038")
    assert summary.num_snapshots == 3
    assert not list(out.parent.glob(".*partial*")), "nothing is left behind"


def test_area_shares(network, tmp_path):
    archive = mock_dataset(storm_fields(), NUM_LAT, NUM_LON, 3)
    summary = segment_archive(archive, tmp_path, tmp_path / "masks.nc")
    # Rows 4 and 5 of 16 between the poles, 12 degrees apart: cells from 48 S - 6 to 36 S + 6 ...
    # edges at -90 + 12 * 3.5 = -48 and -90 + 12 * 5.5 = -24; 6 of 32 columns.
    share = 100 * 6 / 32 * (np.sin(np.deg2rad(48)) - np.sin(np.deg2rad(24))) / 2
    assert summary.area_share_percent["AR"] == pytest.approx(share)
    assert sum(summary.area_share_percent.values()) == pytest.approx(100.0)
    assert summary.unknown_percent == 0.0
    assert f"AR {share:.2f} %" in summary.to_line()
    assert summary.to_dict()["num_snapshots"] == 3


def test_a_gap_gets_no_class(network, tmp_path):
    fields = storm_fields()
    fields["TMQ"][1, 4, 8] = np.nan
    archive = mock_dataset(fields, NUM_LAT, NUM_LON, 3)
    summary = segment_archive(archive, tmp_path, tmp_path / "masks.nc")
    with xr.open_dataset(tmp_path / "masks.nc") as masks:
        assert int(masks["class_map"][1, 4, 8]) == -1
        assert np.isnan(masks["probability"][1, :, 4, 8]).all()
        assert int(masks["class_map"][1, 4, 9]) == 2
        assert int((masks["class_map"] == -1).sum()) == 1
    assert summary.unknown_percent > 0


def test_forms_of_probability(network, tmp_path):
    archive = mock_dataset(storm_fields(), NUM_LAT, NUM_LON, 3)
    for form in ("float32", "none"):
        segment_archive(
            archive, tmp_path, tmp_path / f"{form}.zarr", SegmentSettings(probability=form)
        )
    with xr.open_dataset(tmp_path / "float32.zarr") as masks:
        exact = np.exp(-4) / (1 + 2 * np.exp(-4))
        assert float(masks["probability"][0, 0, 0, 0]) == pytest.approx(exact, rel=1e-5)
    with xr.open_dataset(tmp_path / "none.zarr") as masks:
        assert set(masks.data_vars) == {"class_map"}


def test_batches_and_blocks_have_the_sizes_asked_for(network, tmp_path):
    archive = mock_dataset(storm_fields(5), NUM_LAT, NUM_LON, 5)
    settings = SegmentSettings(batch_size=2, times_per_block=3)
    segment_archive(archive, tmp_path, tmp_path / "masks.nc", settings)
    assert [shape[0] for shape in network.shapes] == [2, 1, 2]


@pytest.mark.parametrize(
    ("regrid", "factor", "expected"),
    [("auto", 1.5, (16, 32)), ("never", 1.5, (31, 64)), ("auto", 2.5, (31, 64))],
)
def test_a_finer_archive_is_brought_to_the_training_grid(
    network, tmp_path, regrid, factor, expected
):
    # 31 x 64 points: 6 by 5.6 degrees, twice as fine as the network's 12 by 11.25.
    archive = mock_dataset({"TMQ": 20.0, "PSL": 101000.0}, 31, 64, 1)
    archive["TMQ"][0, 8:12, 16:28] = 60.0
    settings = SegmentSettings(regrid=regrid, regrid_factor=factor)
    summary = segment_archive(archive, tmp_path, tmp_path / "masks.nc", settings)
    assert network.shapes[0][2:] == expected
    assert summary.worked_on.startswith(f"{expected[0]} x {expected[1]}")
    with xr.open_dataset(tmp_path / "masks.nc") as masks:
        assert masks["class_map"].shape == (1, 31, 64)
        assert int(masks["class_map"][0, 10, 20]) == 2
        assert int(masks["class_map"][0, 20, 40]) == 0


def test_always_regrids_between_grids_of_like_spacing(network, tmp_path):
    archive = mock_dataset({"TMQ": 20.0, "PSL": 101000.0}, 17, 36, 1)
    for regrid, rows in (("auto", 17), ("always", 16)):
        network.shapes.clear()
        segment_archive(archive, tmp_path, tmp_path / "m.nc", SegmentSettings(regrid=regrid))
        assert network.shapes[0][2] == rows


def test_a_region_says_that_its_edges_are_not_to_be_trusted(network, tmp_path):
    archive = mock_dataset(storm_fields(1), NUM_LAT, NUM_LON, 1).isel(lon=slice(4, 20))
    segment_archive(archive, tmp_path, tmp_path / "masks.nc")
    with xr.open_dataset(tmp_path / "masks.nc") as masks:
        assert "distrust" in masks.attrs["comment"]
        assert int(masks["class_map"][0, 4, 4]) == 2


def test_a_region_smaller_than_the_training_grid_is_refused(network, tmp_path):
    archive = mock_dataset({"TMQ": 20.0, "PSL": 101000.0}, 181, 360, 1)
    small = archive.isel(lat=slice(90, 95), lon=slice(1, 5))
    with pytest.raises(InputError, match="at least 2 x 2 points of the network's training grid"):
        segment_archive(small, tmp_path, tmp_path / "masks.nc")


def test_missing_channels_are_named(network, tmp_path):
    archive = mock_dataset({"TMQ": 20.0, "TS": 290.0}, NUM_LAT, NUM_LON, 1)
    with pytest.raises(InputError, match=r"the network .* needs PSL; got only TMQ, TS"):
        segment_archive(archive, tmp_path, tmp_path / "masks.nc")


def test_another_unit_is_refused(network, tmp_path):
    archive = mock_dataset(storm_fields(1), NUM_LAT, NUM_LON, 1)
    archive["PSL"].attrs["units"] = "hPa"
    with pytest.raises(InputError, match="variable PSL: the network was trained in Pa, got 'hPa'"):
        segment_archive(archive, tmp_path, tmp_path / "masks.nc")


def test_places_that_cannot_be_written(network, tmp_path):
    archive = mock_dataset(storm_fields(1), NUM_LAT, NUM_LON, 1)
    with pytest.raises(InputError, match=r"\.nc file or a \.zarr store, got 'masks.h5'"):
        segment_archive(archive, tmp_path, tmp_path / "masks.h5")
    (tmp_path / "mine.zarr").mkdir()
    with pytest.raises(InputError, match="no Zarr store; it is left alone"):
        segment_archive(archive, tmp_path, tmp_path / "mine.zarr")


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_failure_leaves_the_old_file(network, tmp_path, suffix, monkeypatch):
    archive = mock_dataset(storm_fields(), NUM_LAT, NUM_LON, 3)
    out = tmp_path / f"masks{suffix}"
    segment_archive(archive, tmp_path, out)

    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(network, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        segment_archive(archive.isel(time=[0]), tmp_path, out)
    with xr.open_dataset(out) as masks:
        assert masks.sizes["time"] == 3
    assert not list(tmp_path.glob(".*partial*"))


def test_a_saved_network_gives_the_same_maps_whatever_the_batch(tmp_path):
    torch.manual_seed(0)
    record = make_record()
    save_model(tmp_path / "model.safetensors", record.build(), record)
    archive = mock_dataset(storm_fields(), NUM_LAT, NUM_LON, 3).chunk(time=1)
    maps = []
    for batch_size in (1, 3):
        out = tmp_path / f"{batch_size}.nc"
        segment_archive(archive, tmp_path, out, SegmentSettings(batch_size=batch_size))
        with xr.open_dataset(out) as masks:
            maps.append(masks.load())
    np.testing.assert_allclose(maps[0]["probability"], maps[1]["probability"], atol=0.0041)
    assert float(maps[0]["probability"].std()) > 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"regrid": "perhaps"}, "regrid must be one of auto, always, never, got 'perhaps'"),
        ({"regrid_factor": 0.5}, "regrid_factor must be at least 1, got 0.5"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"times_per_block": 0}, "times_per_block must be at least 1, got 0"),
        ({"probability": "half"}, "probability must be one of packed"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda"),
    ],
)
def test_wrong_settings_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        SegmentSettings(**option)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_a_device_that_is_not_there_is_refused(network, tmp_path):
    archive = mock_dataset(storm_fields(1), NUM_LAT, NUM_LON, 1)
    with pytest.raises(InputError, match="device must be cpu or auto"):
        segment_archive(archive, tmp_path, tmp_path / "m.nc", SegmentSettings(device="cuda"))


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_the_output_is_a_class_map_as_any_other(network, tmp_path, suffix):
    archive = mock_dataset(storm_fields(), NUM_LAT, NUM_LON, 3)
    archive["TMQ"][0, 0, 0] = np.nan
    out = tmp_path / f"masks{suffix}"
    segment_archive(archive, tmp_path, out)
    maps = open_class_map(str(out))
    assert sorted(np.unique(maps["class_map"])) == [-1, 0, 1, 2]
    np.testing.assert_array_equal(maps["time"].values, archive["time"].values)


def test_a_file_that_cannot_be_made_leaves_nothing(network, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("exastorm.predict.output.netCDF4", SimpleNamespace(Dataset=fail))
    archive = mock_dataset(storm_fields(), NUM_LAT, NUM_LON, 3)
    with pytest.raises(OSError, match="no space"):
        segment_archive(archive, tmp_path, tmp_path / "masks.nc")
    assert not list(tmp_path.glob("*masks*"))
