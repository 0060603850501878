"""The commands on real fields, with nothing but the command line: what they must find and say."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import exastorm
from exastorm.cli.main import main
from exastorm.grid import great_circle_km
from exastorm.networks.build import NetworkSettings
from exastorm.networks.record import ModelRecord, save_model
from exastorm.readers.class_maps import open_class_map
from exastorm.regions import label_regions
from exastorm.variables import CLASSES, VARIABLES

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("EXASTORM_REAL_DATA", ROOT.parent / "shared" / "data"))
GFS = REAL / "gfs" / "gfs2p5_2011101100_deepcam_channels.nc"
GFS_GRIB = REAL / "gfs" / "gfs.grb"
ERA5 = REAL / "era5" / "era5_1deg_20260325_sfc.nc"

TMQ_ONLY = REAL / "other" / "flxf2006040100.grb"
TC_FLAG, AR_FLAG = 1, 2

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        not REAL.exists(), reason=f"no real fields in {REAL}; set EXASTORM_REAL_DATA"
    ),
]


def refusal(capsys, *argv):
    """The one line on standard error of a command that must refuse."""
    assert main([str(a) for a in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def figures(capsys, *argv):
    """The figures of a command that must succeed, read from its JSON."""
    code = main([*(str(a) for a in argv), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Class maps of the GFS forecast of 11 October 2011, as `exastorm label` writes them."""
    out = tmp_path_factory.mktemp("real") / "labels.nc"
    assert main(["label", str(GFS), "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize(
    ("path", "options", "taken_for", "num_times", "shape", "fields"),
    [
        (GFS, [], "cf", 1, (73, 144), {"TMQ", "U850", "T200", "Z1000", "IVT"}),
        (GFS_GRIB, [], "grib", 1, (73, 144), {"TMQ", "U850", "T200", "PRECT", "PHIS"}),
        (ERA5, [], "era5", 24, (181, 360), {"PSL", "U10", "V10", "PRECT", "TREFHT"}),
        (REAL / "era5/era5-levels-members.grib", [], "grib", 4, (61, 120), {"T500", "Z500"}),
        (REAL / "ifs/mslp.nc", [], "era5", 4, (451, 900), {"PSL"}),
        (
            REAL / "gcm/exoplasim_t42_14days.nc",
            ["--read.units", "PSL=cPa"],
            "cf",
            56,
            (64, 128),
            {"TMQ", "PSL", "PRECT", "U850", "T500", "IVT"},
        ),
        (
            REAL / "cam/ne120_TCsubset.nc",
            ["--read.mesh", str(REAL / "cam/ne120_TCsubset.ug")],
            "unstructured",
            1,
            (46, 35),
            {"PS", "T200", "T500", "Z200"},
        ),
        (TMQ_ONLY, [], "grib", 1, (94, 192), {"TMQ", "PS", "PRECT"}),
    ],
    ids=["gfs", "gfs-grib", "era5", "members", "ifs", "gcm", "cam-se", "flux"],
)
def test_inspect_says_what_a_file_is(capsys, path, options, taken_for, num_times, shape, fields):
    found = figures(capsys, "inspect", path, *options)
    assert found["format"] == taken_for
    assert found["times"]["num_times"] == num_times
    assert (found["grid"]["num_lat"], found["grid"]["num_lon"]) == shape
    assert fields <= {f["name"] for f in found["fields"]}
    # Real weather lies in the plausible ranges but for spectral ripples of orography (PHIS).
    assert all(f["outside_share"] < 1e-3 for f in found["fields"])


@pytest.mark.parametrize("path", [GFS, GFS_GRIB], ids=["netcdf", "grib"])
def test_inspect_tells_which_jobs_the_forecast_allows(capsys, path):
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "yes  label tropical cyclones" in out
    assert "missing of the 16 channels: ZBOT" in out


def test_a_pressure_a_hundred_times_too_large_is_refused(capsys):
    # ExoPlaSim wrote 1e7 and called it Pa; the line names the variable and the way out.
    line = refusal(capsys, "inspect", REAL / "gcm/exoplasim_t42_14days.nc")
    assert "PSL" in line
    assert "units" in line


def test_label_finds_both_hurricanes(labels):
    found = open_class_map(labels)["class_map"]
    # Where this forecast has Jova (990 hPa) and Irwin. Best tracks: 16.8 N 106.2 W and 15.1 N
    # 116.5 W, 150 and 290 km away, which is a three-day forecast on 2.5 degrees.
    for lat, lon in ((17.5, 255.0), (17.5, 242.5)):
        assert found.sel(lat=lat, lon=lon).values == [TC_FLAG]
    lat, lon = np.meshgrid(found["lat"], found["lon"], indexing="ij")
    near = np.minimum(
        great_circle_km(lat, lon, 17.5, 255.0), great_circle_km(lat, lon, 17.5, 242.5)
    )
    # A cyclone's mask is at most the box around its center, 6.6 degrees and the radius of gales
    # (under 2 degrees here) to each side: 8.6 degrees of 111 km times sqrt(2) = 1350 km.
    cyclones = found.values[0] == TC_FLAG
    assert near[cyclones].max() < 1350


def test_label_finds_the_river_that_reaches_europe(labels):
    found = open_class_map(labels)["class_map"]
    rivers, _ = label_regions(found.values[0] == AR_FLAG, wrap=True, connectivity=4)
    lat, lon = list(found["lat"].values), list(found["lon"].values)
    # The southwesterlies ahead of a low of 988 hPa carry vapor from the subtropics past the Azores,
    # then westerlies to Ireland (55 N 10 W: 33 kg m-2, 790 kg m-1 s-1, the strongest there), over
    # England (52.5 N 0 E: 34 and 686) to Germany (50 N 10 E: 32 and 642): one object, across 0 E.
    places = ((40.0, 330.0), (55.0, 350.0), (52.5, 0.0), (50.0, 10.0))
    numbers = {int(rivers[lat.index(a), lon.index(b)]) for a, b in places}
    assert len(numbers) == 1
    assert numbers != {0}


def test_vapor_flows_in_the_rivers(labels):
    archive = exastorm.open(GFS, fields=("IVT",))
    river = open_class_map(labels)["class_map"].values == AR_FLAG
    ivt, lat = archive["IVT"].values, np.abs(archive["lat"].values)
    elsewhere = ~river & ((lat > 23) & (lat < 60))[None, :, None]
    # The rules see moisture alone; transport is the independent witness. A river carries more than
    # 250 kg m-1 s-1 (Rutz et al. 2014, doi 10.1175/MWR-D-13-00168.1); so do most of these cells.
    assert np.mean(ivt[river] > 250) > 0.7
    assert ivt[river].mean() > 2 * ivt[elsewhere].mean()


def test_grib_and_netcdf_of_one_forecast_give_the_same_labels(labels, tmp_path, capsys):
    # Two encodings of one field; the netCDF was made from the GRIB file.
    figures(capsys, "label", GFS_GRIB, "--out", tmp_path / "grib.nc")
    a, b = open_class_map(labels)["class_map"], open_class_map(tmp_path / "grib.nc")["class_map"]
    assert (a.values == b.values).all()


def test_water_alone_gives_rivers_and_a_word_on_cyclones(tmp_path, capsys):
    found = figures(capsys, "label", TMQ_ONLY, "--out", tmp_path / "labels.nc")
    assert found["num_rivers"] >= 1
    assert found["num_cyclones"] == 0
    assert "PSL" in found["notes"]["tropical_cyclones"]


def test_surface_fields_alone_are_refused(tmp_path, capsys):
    line = refusal(capsys, "label", ERA5, "--out", tmp_path / "labels.nc")
    assert "TMQ" in line
    assert "T200" in line


def test_the_rain_of_the_storms(labels, tmp_path, capsys):
    found = figures(capsys, "census", labels, "--archive", GFS, "--out", tmp_path / "census")
    # The globe's mean rain is about 2.7 mm/day (GPCP, Adler et al. 2018); a day may differ.
    assert 2 < found["mean_rain_mmday"] < 4
    storms = found["classes"]
    assert storms["TC"]["num_objects"] == 2
    for kind in ("TC", "AR"):
        assert 0 < storms[kind]["rain_share_percent"] < 100
        # Storms are where it rains: their share of the rain exceeds their share of the area.
        assert storms[kind]["rain_share_percent"] > storms[kind]["area_share_percent"]
    for band in found["rain_by_latitude"]:
        assert 0 <= band["tc_rain_share_percent"] + band["ar_rain_share_percent"] <= 100


def test_report_draws_the_forecast(labels, tmp_path, capsys):
    page = tmp_path / "page"
    figures(capsys, "report", labels, "--archive", GFS, "--out", page)
    assert "2011-10-11 00:00" in (page / "index.html").read_text()
    assert (page / "figures" / "close_up_cyclone.png").exists()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small network with random weights for the five channels, on the grid of the forecast."""
    mean = {"TMQ": 19.2, "U850": 1.55, "V850": 0.25, "PSL": 100814.0, "PRECT": 2.95e-8}
    std = {"TMQ": 15.8, "U850": 8.3, "V850": 6.23, "PSL": 1461.0, "PRECT": 1.56e-7}
    record = ModelRecord(
        channels=tuple(mean),
        units=tuple(VARIABLES[name].units for name in mean),
        normalization="zscore",
        shift=tuple(mean.values()),
        scale=tuple(std.values()),
        mean=tuple(mean.values()),
        std=tuple(std.values()),
        classes=tuple(c.name for c in CLASSES),
        lat=tuple(np.linspace(-90, 90, 73)),
        lon=tuple(np.arange(144) * 2.5),
        network=NetworkSettings(preset="compact"),
        decision_bias=(0.0, 0.0, 0.0),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = record.build()
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    save_model(path, network, record)
    return path


def test_segment_keeps_the_grid_and_the_class_is_the_likeliest(model, tmp_path, capsys):
    out = tmp_path / "masks.nc"
    exact = ["--segment.probability", "float32"]
    found = figures(capsys, "segment", GFS, "--model", model, "--out", out, *exact)
    assert found["unknown_percent"] == 0
    assert sum(found["area_share_percent"].values()) == pytest.approx(100)
    masks = open_class_map(out)
    assert masks["class_map"].shape == (1, 73, 144)
    storms = masks["probability"].values[0]
    every = np.stack([1 - storms.sum(axis=0), *storms])
    assert every.min() > -1e-5
    assert np.unique(masks["class_map"].values).size > 1  # else the next lines say little
    # The flag is the class of the highest probability; float32 leaves room only for ties.
    chosen = np.take_along_axis(every, masks["class_map"].values.astype(int), axis=0)[0]
    assert np.allclose(chosen, every.max(axis=0), atol=1e-5)


def test_segment_names_the_channels_that_an_archive_lacks(model, tmp_path, capsys):
    line = refusal(capsys, "segment", ERA5, "--model", model, "--out", tmp_path / "masks.nc")
    assert "TMQ, U850, V850" in line
