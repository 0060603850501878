"""Labels of real fields, where they are: what docs/real_fields.md says of every rule set."""

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import exastorm
from exastorm.grid import cell_areas_km2, great_circle_km
from exastorm.labels.archive import label_archive
from exastorm.labels.settings import CYCLONE_SECTIONS, LabelSettings
from exastorm.labels.snapshot import label_snapshot
from exastorm.physics.surroundings import Surroundings
from exastorm.readers.class_maps import open_class_map
from exastorm.regions import label_regions, region_boxes, region_centers, region_span_km

REAL = Path(os.environ.get("EXASTORM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
GFS = "gfs/gfs2p5_2011101100_deepcam_channels.nc"
GCM = "gcm/exoplasim_t42_14days.nc"

# Best tracks (IBTrACS) of 11 October 2011, 00 UTC, degrees north and east.
JOVA, IRWIN, BANYAN = (16.8, 253.8), (15.1, 243.5), (8.3, 128.4)

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        not REAL.exists(), reason=f"no real fields in {REAL}; set EXASTORM_REAL_DATA"
    ),
]


def snapshot(path, step=0):
    """Fields, latitudes and longitudes of one time of a file with the package's names."""
    coder = xr.coders.CFDatetimeCoder(use_cftime=True)
    with xr.open_dataset(REAL / path, decode_times=coder) as stored:
        one = stored.isel(time=step).sortby("lat").load()
    fields = {str(name): array.values for name, array in one.data_vars.items()}
    return fields, one["lat"].values, one["lon"].values


@pytest.fixture(scope="module")
def forecast():
    """Fields of the GFS forecast of 11 October 2011 and their grid."""
    fields, lat, lon = snapshot(GFS)
    return fields, Surroundings.of(lat, lon)


@pytest.fixture(scope="module")
def rivers(forecast):
    """Rivers of the forecast by rule set, no cyclone taken out of them."""
    fields, grid = forecast
    settings = {
        name: LabelSettings(cyclones="none", rivers=name).river_rules
        for name in ("sc18", "tempest", "bard", "absolute")
    }
    return {name: rules.find(fields, grid) for name, rules in settings.items()}


@pytest.fixture(scope="module")
def climate():
    """The two weeks of ExoPlaSim, whose pressure is a hundred times what its unit says."""
    return exastorm.open(REAL / GCM, units=("PSL=cPa",)).load()


def distances_km(centers, place):
    """Distance of each center from a place."""
    return [float(great_circle_km(c.lat, c.lon, *place)) for c in centers]


def cell(grid, lat, lon):
    """Row and column of the cell nearest to a place."""
    return int(np.abs(grid.lat - lat).argmin()), int(np.abs(grid.lon - lon % 360).argmin())


def share_strong(mask, ivt, grid, rows=slice(None)):
    """Share of the area of strong flow poleward of 23 degrees that a mask covers."""
    strong = (ivt > 500) & (np.abs(grid.lat) > 23)[:, None]
    area = np.broadcast_to(cell_areas_km2(grid.lat, grid.lon), ivt.shape)
    strong, mask, area = strong[..., rows, :], mask[..., rows, :], area[..., rows, :]
    return area[mask & strong].sum() / area[strong].sum()


def iou(one, other, grid):
    """Intersection over union of two masks, by area."""
    area = np.broadcast_to(cell_areas_km2(grid.lat, grid.lon), one.shape)
    return area[one & other].sum() / area[one | other].sum()


def test_jova_and_irwin_are_found_in_the_forecast():
    labels = label_snapshot(*snapshot(GFS))
    # A three-day forecast on 2.5 degrees may err by 300 km. Banyan, a weak third one, is too weak
    # in the forecast.
    assert len(labels.centers) == 2
    for place in (JOVA, IRWIN):
        assert min(distances_km(labels.centers, place)) < 300
    assert (labels.class_map == 1).any()


def test_the_pressure_contours_of_tempest_hold_both_hurricanes_and_nothing_else(forecast):
    found = LabelSettings().tempest_cam.find(*forecast)
    irwin, jova = found  # row by row from the south, from west to east
    assert min(distances_km([jova], JOVA)) == pytest.approx(149, abs=1)
    assert min(distances_km([irwin], IRWIN)) == pytest.approx(287, abs=1)
    assert jova.pressure_rise_pa > 700
    assert jova.warm_core_k > 4
    # Irwin only just: 300 Pa and 0.6 K are asked for.
    assert 300 <= irwin.pressure_rise_pa < 350
    assert 0.6 <= irwin.warm_core_k < 0.8


def test_banyan_is_no_warm_core_in_the_forecast(forecast):
    fields, grid = forecast
    rules = LabelSettings().sc18_cyclones.on_grid(grid.spacing_deg)
    (verdict,) = rules.explain(fields, grid, *BANYAN, 5.0)
    failed = [check.criterion for check in verdict.checks if not check.passed]
    assert len(failed) == 2
    assert "mean of T200 and T500" in failed[0]
    assert "Z200 - Z1000" in failed[1]


def test_the_thresholds_of_teca_are_not_for_this_grid(forecast):
    rules = LabelSettings().teca
    # Lows of the Southern Ocean, without a core above.
    default = rules.find(*forecast)
    assert [c.lat < -50 for c in default] == [True, True]
    assert all(c.warm_core_k == 0 for c in default)
    # The loosest published set has Irwin and Banyan, and not Jova: its vorticity maximum lies 2.5
    # degrees, a row, from its pressure minimum, and 2 are allowed.
    loose = rules.members()[0].find(*forecast)
    assert min(distances_km(loose, IRWIN)) < 250
    assert min(distances_km(loose, BANYAN)) < 200
    assert min(distances_km(loose, JOVA)) > 1000


@pytest.mark.parametrize(("name", "hours"), [("teca", 48), ("tempest-cam", 54)])
def test_one_time_is_no_track_and_the_summary_says_so(tmp_path, name, hours):
    archive = exastorm.open(REAL / GFS)
    settings = LabelSettings(cyclones=name, rivers="none")
    summary = label_archive(archive, tmp_path / "labels.nc", settings)
    assert summary.num_cyclone_centers == 0
    assert f"must last {hours} h, the archive spans 0 h" in summary.notes["tropical_cyclones"]


def test_the_rivers_of_the_forecast():
    fields, lat, lon = snapshot(GFS)
    labels = label_snapshot(fields, lat, lon)
    areas = cell_areas_km2(lat, lon)
    regions, num = label_regions(labels.class_map == 2, connectivity=4)
    center_lat, center_lon = region_centers(regions, num, lat, lon, areas)
    # By eye: a river in the South Pacific (50 S to 27 S, 135 to 100 W), one off South America, one
    # from the Azores over Ireland to Poland, across 0 degrees; each with a moisture flow along it.
    for where in ((-41, 238), (-34, 317), (48, 343)):
        distance = great_circle_km(center_lat, center_lon, *where)
        assert distance.min() < 500
    across = np.intersect1d(regions[:, 0], regions[:, -1])
    assert np.any(across > 0)
    boxes = region_boxes(regions, num)
    spans = [region_span_km(regions, n + 1, boxes[n], lat, lon) for n in range(num)]
    assert max(spans) > 5000


@pytest.mark.parametrize(
    ("name", "num", "flowing", "strong"),
    [
        ("sc18", 4, 0.84, 0.50),
        ("tempest", 14, 1.0, 0.96),
        ("bard", 7, 1.0, 0.87),
        ("absolute", 12, 1.0, 0.64),
    ],
)
def test_how_much_flows_in_the_rivers_of_each_rule_set(
    forecast, rivers, name, num, flowing, strong
):
    fields, grid = forecast
    found = rivers[name]
    area = np.broadcast_to(cell_areas_km2(grid.lat, grid.lon), found.mask.shape)
    assert found.area_km2.size == num
    share = area[found.mask & (fields["IVT"] > 250)].sum() / area[found.mask].sum()
    assert share == pytest.approx(flowing, abs=0.01)
    assert share_strong(found.mask, fields["IVT"], grid) == pytest.approx(strong, abs=0.01)


@pytest.mark.parametrize(
    ("place", "marked"),
    [
        ((55.0, 350.0), {"sc18", "tempest", "bard", "absolute"}),  # Ireland
        ((-42.5, 240.0), {"sc18", "tempest", "bard"}),  # South Pacific
        ((37.5, 230.0), {"tempest", "bard"}),  # California
        ((-45.0, 40.0), {"tempest", "bard", "absolute"}),  # southern Indian Ocean
        ((17.5, 255.0), {"tempest"}),  # Jova, which is none
        ((22.5, 165.0), {"absolute"}),  # trade winds of the western Pacific, which are none
    ],
)
def test_who_marks_what(forecast, rivers, place, marked):
    where = cell(forecast[1], *place)
    assert {name for name, found in rivers.items() if found.mask[where]} == marked


def test_the_rule_sets_for_rivers_hardly_agree(forecast, rivers):
    grid = forecast[1]
    masks = {name: found.mask for name, found in rivers.items()}
    assert iou(masks["tempest"], masks["bard"], grid) == pytest.approx(0.5, abs=0.02)
    assert iou(masks["sc18"], masks["absolute"], grid) == pytest.approx(0.1, abs=0.02)


def test_a_wide_river_is_none_for_the_absolute_rule(forecast):
    fields, grid = forecast
    for place in ((37.5, 230.0), (-42.5, 240.0)):
        verdict = LabelSettings().absolute.explain(fields, grid, *place, 2.0)[0]
        assert [c.criterion for c in verdict.checks if not c.passed] == ["width, km"]


def test_a_hurricane_wins_over_the_ridge_of_its_vapor(forecast):
    fields, grid = forecast
    labels = label_snapshot(fields, grid.lat, grid.lon, LabelSettings(rivers="tempest"))
    assert labels.class_map[cell(grid, 17.5, 255.0)] == 1
    assert labels.class_map[cell(grid, 15.0, 250.0)] == 2  # between Jova and Irwin


@pytest.mark.parametrize("step", [0, 25, 50])
def test_a_climate_model_without_cyclones_has_rivers_along_which_vapor_flows(step):
    fields, lat, lon = snapshot(GCM, step)
    labels = label_snapshot(fields, lat, lon, LabelSettings(cyclones="none"))
    assert 1 <= labels.num_rivers <= 13
    river = labels.class_map == 2
    poleward = (np.abs(lat) > 25)[:, None] & (np.abs(lat) < 60)[:, None]
    # In rivers half as much again or more vapor moves than elsewhere at those latitudes.
    inside = fields["IVT"][river & poleward].mean()
    assert inside > 1.5 * fields["IVT"][~river & poleward].mean()
    assert inside > 200


@pytest.mark.parametrize("name", ["sc18", "teca", "tempest-cam"])
def test_no_cyclone_is_even_a_candidate_on_t42(climate, name):
    grid = Surroundings.of(climate["lat"].values, climate["lon"].values)
    rules = getattr(LabelSettings(), CYCLONE_SECTIONS[name])
    if name == "sc18":
        rules = rules.on_grid(grid.spacing_deg)
    for step in range(0, climate.sizes["time"], 4):
        fields = {n: array.values[step] for n, array in climate.data_vars.items()}
        assert rules.find(fields, grid) == []


@pytest.mark.parametrize(
    ("name", "num", "south", "north"),
    [
        ("sc18", 245, 0.20, 0.01),
        ("tempest", 440, 0.98, 0.99),
        ("guan_waliser", 206, 0.19, 0.49),
        ("absolute", 191, 0.08, 0.30),
    ],
)
def test_rivers_of_two_weeks_of_a_climate_model(climate, tmp_path, name, num, south, north):
    settings = LabelSettings(cyclones="none", rivers=name)
    summary = label_archive(climate, tmp_path / "labels.nc", settings)
    assert summary.num_rivers == num
    marked = open_class_map(tmp_path / "labels.nc")["class_map"].values == 2
    grid = Surroundings.of(climate["lat"].values, climate["lon"].values)
    halves = slice(0, 32), slice(32, 64)
    shares = [share_strong(marked, climate["IVT"].values, grid, half) for half in halves]
    assert shares == pytest.approx([south, north], abs=0.01)


def test_both_criteria_of_tempest_have_the_storm_of_cam():
    folder = REAL / "cam"
    cam = exastorm.open(folder / "ne120_TCsubset.nc", mesh=str(folder / "ne120_TCsubset.ug"))
    grid = Surroundings.of(cam["lat"].values, cam["lon"].values)
    fields = {str(name): array.values[0] for name, array in cam.data_vars.items()}
    calm = np.zeros_like(fields["PS"])
    # Over sea PS is sea-level pressure; closed contours need no wind.
    fields |= {"PSL": fields["PS"], "U10": calm, "V10": calm}
    settings = LabelSettings()
    (by_warmth,) = settings.tempest_cam.find(fields, grid)
    (by_thickness,) = settings.tempest_era5.find(fields, grid)
    # The lowest of the columns lies at 17.6 S 114.5 E.
    assert max(distances_km([by_warmth, by_thickness], (-17.6, 114.5))) < 30
    assert by_warmth.pressure_rise_pa == pytest.approx(4240, abs=5)
    assert by_warmth.warm_core_k == pytest.approx(5.4, abs=0.1)
    assert by_thickness.thickness_m == pytest.approx(141, abs=1)


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("sc18", "U850, V850, T200, T500"),
        ("teca", "U850, V850, T200, T500"),
        ("tempest-cam", "T200 and T500"),
        ("tempest-era5", "Z300 and Z500"),
    ],
)
def test_pressure_and_wind_alone_make_no_cyclone(name, lacking, tmp_path):
    era5 = exastorm.open(REAL / "era5/era5_1deg_20260325_sfc.nc")
    with pytest.raises(exastorm.errors.InputError, match=f"lacks {lacking}"):
        label_archive(era5, tmp_path / "labels.nc", LabelSettings(cyclones=name))
