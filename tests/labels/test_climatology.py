"""Local percentiles by season: as numpy has them, whatever the archive's length, cut and years."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import xarray as xr

from exastorm.errors import InputError
from exastorm.labels import climatology
from exastorm.labels.climatology import (
    ClimatologyRequest,
    Seasons,
    climatology_of,
    open_climatology,
    seasonal_percentiles,
)
from exastorm.labels.month_histograms import Bins, MonthHistograms
from exastorm.readers.schema import mock_dataset

HEIGHT, WIDTH = 7, 12
PERCENTILES = (50.0, 85.0, 95.0)


def archive(num_times=730, step_hours=24, start="2000-01-01", seed=0):
    """Transport with a season, different from place to place, exponentially spread."""
    rng = np.random.default_rng(seed)
    time = xr.date_range(
        start, periods=num_times, freq=f"{step_hours}h", calendar="noleap", use_cftime=True
    )
    season = 1.5 + np.sin(2 * np.pi * (time.month - 1) / 12)
    place = np.exp(rng.uniform(np.log(40), np.log(300), (HEIGHT, WIDTH)))
    size = season[:, None, None] * place * rng.exponential(1.0, (num_times, HEIGHT, WIDTH))
    angle = rng.uniform(0, 2 * np.pi, size.shape)
    return mock_dataset(
        {"IVTX": size * np.cos(angle), "IVTY": size * np.sin(angle)},
        HEIGHT,
        WIDTH,
        num_times,
        start=start,
        step_hours=step_hours,
    )


def expected(dataset, month, percentile):
    """The percentile over five months of all years, by numpy."""
    near = (np.arange(month - 3, month + 2) % 12) + 1
    chosen = np.isin(dataset["time"].dt.month.values, near)
    ivt = np.hypot(dataset["IVTX"].values, dataset["IVTY"].values)[chosen]
    return np.nanpercentile(ivt, percentile, axis=0)


@pytest.fixture(scope="module")
def two_years():
    return archive()


def test_percentiles_are_numpys_to_the_width_of_a_bin(two_years):
    made = seasonal_percentiles(two_years, "IVT", PERCENTILES)
    assert made.dataset["threshold"].dims == ("percentile", "month", "lat", "lon")
    assert made.dataset["threshold"].dtype == np.float32
    errors = []
    for month in range(1, 13):
        for percentile in PERCENTILES:
            ratio = made.at(month, percentile) / expected(two_years, month, percentile)
            errors.append(ratio - 1)
    # A bin is at most a sixteenth of its lower edge wide.
    assert np.abs(errors).max() < 1 / 16
    assert np.sqrt(np.mean(np.square(errors))) < 0.012


def test_the_season_is_five_months_across_the_turn_of_the_year(two_years):
    # January is the mean season, April the strongest, October the weakest.
    made = seasonal_percentiles(two_years, "IVT", (85.0,))
    strength = [made.at(month, 85.0).mean() for month in range(1, 13)]
    assert int(np.argmax(strength)) + 1 in (3, 4, 5)
    assert int(np.argmin(strength)) + 1 in (9, 10, 11)
    # December alone tells of October to February.
    december = two_years.isel(time=two_years["time"].dt.month.values == 12)
    alone = seasonal_percentiles(december, "IVT", (85.0,))
    there = [bool(np.isfinite(alone.at(month, 85.0)).all()) for month in range(1, 13)]
    assert there == [True, True] + 7 * [False] + 3 * [True]
    assert np.isnan(alone.at(6, 85.0)).all()
    assert "none of months 1, 2, 3" in alone.notes()["river_climatology"]
    np.testing.assert_array_equal(alone.dataset["num_snapshots"].values, 11 * [0] + [62])


@pytest.mark.parametrize("chunk", [1, 13, 400])
def test_chunks_and_blocks_do_not_matter(two_years, chunk, monkeypatch):
    whole = seasonal_percentiles(two_years, "IVT", PERCENTILES).dataset["threshold"].values
    # Blocks of 50 snapshots: of several chunks, or of parts of one.
    monkeypatch.setattr(climatology, "BLOCK_BYTES", 50 * 4 * HEIGHT * WIDTH)
    cut = seasonal_percentiles(two_years.chunk(time=chunk), "IVT", PERCENTILES)
    np.testing.assert_array_equal(cut.dataset["threshold"].values, whole)


def test_blocks_are_bounded_and_hold_every_snapshot_once(two_years, monkeypatch):
    monkeypatch.setattr(climatology, "BLOCK_BYTES", 50 * 4 * HEIGHT * WIDTH)
    for chunk, size in ((13, 39), (400, 50)):
        blocks = list(climatology._blocks(two_years["IVTX"].chunk(time=chunk)))
        assert max(block.stop - block.start for block in blocks) == size
        steps = np.concatenate([np.arange(730)[block] for block in blocks])
        np.testing.assert_array_equal(steps, np.arange(730))


def test_missing_values_are_left_out(two_years):
    gaps = two_years.copy(deep=True)
    gaps["IVTX"][::3, 2, 3] = np.nan
    gaps["IVTX"][:, 4, 5] = np.nan
    made = seasonal_percentiles(gaps, "IVT", (85.0,)).at(7, 85.0)
    assert np.isnan(made[4, 5])
    assert np.isnan(made).sum() == 1
    with np.errstate(all="ignore"):
        inside = made[2, 3] / expected(gaps.isel(lat=[2], lon=[3]), 7, 85.0)[0, 0]
    assert inside == pytest.approx(1.0, abs=1 / 16)


def test_few_snapshots_are_told_between_their_own_values():
    # Ten values 100, 200 ... 1000: the 85th percentile has rank 0.85 x 9 = 7.65, 865.
    rising = np.arange(100.0, 1001.0, 100.0)[:, None, None]
    dataset = mock_dataset({"IVT": rising}, HEIGHT, WIDTH, 10)
    made = seasonal_percentiles(dataset, "IVT", (85.0,)).at(1, 85.0)
    np.testing.assert_allclose(made, 865.0, rtol=0.04)
    one = seasonal_percentiles(dataset.isel(time=[3]), "IVT", (85.0,)).at(1, 85.0)
    np.testing.assert_allclose(one, 400.0, rtol=0.04)


@pytest.mark.parametrize(("moisture", "value"), [("TMQV850", 300.0), ("QV850", 0.1)])
def test_proxies_are_made_from_their_fields(moisture, value):
    # 30 kg/m2 or 0.01 kg/kg with a wind of hypot(6, 8) = 10 m/s.
    fields = {"TMQ": 30.0, "QREFHT": 0.01, "U850": 6.0, "V850": 8.0}
    dataset = mock_dataset(fields, HEIGHT, WIDTH, 4)
    made = seasonal_percentiles(dataset, moisture, (85.0,))
    np.testing.assert_allclose(made.at(1, 85.0), value, rtol=1 / 16)
    with pytest.raises(InputError, match=r"lacks IVTX, IVTY; TMQV850 or QV850 can stand in"):
        seasonal_percentiles(dataset, "IVT", (85.0,))


def test_a_wrong_unit_is_told():
    dataset = mock_dataset({"IVT": 5000.0}, HEIGHT, WIDTH, 4)
    with pytest.raises(InputError, match="variable IVT: must have percentiles below 4096 kg m-1"):
        seasonal_percentiles(dataset, "IVT", (85.0,))


def test_bins_hold_their_values():
    bins = Bins(11)
    values = np.geomspace(1e-3, 5000.0, 1000).astype(np.float32)
    index = bins.index(values)
    assert np.all(bins.edges[index] <= values)
    assert np.all(values < bins.edges[index + 1])
    # From 8 to 2048 a sixteenth of a factor of two each, one more on either side.
    assert (bins.edges[1], bins.edges[2], bins.edges[-2]) == (8.0, 8.5, 2048.0)
    assert bins.index(np.float32([-1.0, 0.0])).tolist() == [0, 0]


@pytest.mark.parametrize(("most", "bits"), [(65_535, 16), (65_536, 32)])
def test_counts_have_room_for_every_snapshot(most, bits):
    # Hourly data of one month over a century are 74 400 snapshots.
    with MonthHistograms(3, 11, most) as histograms:
        assert histograms._dtype == np.dtype(f"uint{bits}")
        histograms.add(1, np.full((4, 3), 100.0))
        made = histograms.percentiles([85.0], 2)[0, 0]
    np.testing.assert_allclose(made, 100.0, rtol=1 / 16)


def test_saved_and_opened_again(two_years, tmp_path):
    request = ClimatologyRequest(moisture="IVT", percentiles=(85.0, 95.0))
    made = climatology_of(two_years, request, scratch=tmp_path)
    made.save(tmp_path / "far.nc")
    # The scratch file is gone.
    assert [path.name for path in tmp_path.iterdir()] == ["far.nc"]
    again = climatology_of(two_years, replace(request, file=str(tmp_path / "far.nc")))
    for month in (1, 12):
        fields = again.fields(request, month)
        assert list(fields) == ["IVT_P85", "IVT_P95"]
        np.testing.assert_array_equal(fields["IVT_P95"], made.at(month, 95.0))
    attrs = again.dataset.attrs
    assert (attrs["moisture"], attrs["window_months"]) == ("IVT", 5)
    assert (attrs["first_time"], attrs["calendar"]) == ("2000-01-01T00:00:00", "noleap")
    with xr.open_dataset(tmp_path / "far.nc") as stored:
        assert stored["threshold"].attrs["units"] == "kg m-1 s-1"
    assert again.notes() == made.notes()
    assert "730 snapshots from 2000-01-01" in again.notes()["river_climatology"]


def test_a_file_is_open_only_while_a_month_is_read(two_years, tmp_path):
    path, copy = tmp_path / "far.nc", tmp_path / "copy.nc"
    request = ClimatologyRequest(moisture="IVT", percentiles=(85.0, 95.0), file=str(path))
    made = seasonal_percentiles(two_years, "IVT", request.percentiles)
    made.save(path)
    seasons = Seasons(two_years["lat"].values, two_years["lon"].values, request)
    opened = climatology_of(two_years, request)
    july = seasons.fields(7)
    np.testing.assert_array_equal(july["IVT_P95"], made.at(7, 95.0))
    opened.save(copy)
    # Nothing holds the file: gone, it is missed by the next month, not by the same.
    path.unlink()
    assert seasons.fields(7) is july
    with pytest.raises(InputError, match="can't be read as a climatology"):
        seasons.fields(8)
    again = climatology_of(two_years, replace(request, file=str(copy)))
    np.testing.assert_array_equal(again.at(8, 85.0), made.at(8, 85.0))
    assert Seasons([0.0], [0.0], None).fields(7) == {}


def spoilt(made, what):
    """A climatology as someone might make it by hand."""
    changes = {
        "percentile": lambda d: d.drop_vars("percentile"),
        "lat": lambda d: d.drop_vars("lat"),
        "counts": lambda d: d.drop_vars("num_snapshots"),
        "first_time": lambda d: d.drop_attrs(deep=False).assign_attrs(moisture="IVT"),
        "turned": lambda d: d.transpose("month", "percentile", "lat", "lon"),
        "text": lambda d: d.assign_coords(lat=[str(n) for n in range(HEIGHT)]),
        "half a year": lambda d: d.isel(month=slice(6)),
        "missing": lambda d: d.assign_coords(lat=np.full(HEIGHT, np.nan)),
        "single": lambda d: d.isel(percentile=0),
    }
    return changes[what](made)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("percentile", "hand.nc: must be a climatology of exastorm, lacks percentile"),
        ("lat", "hand.nc: must be a climatology of exastorm, lacks lat"),
        ("counts", "hand.nc: must be a climatology of exastorm, lacks num_snapshots"),
        ("first_time", "must be a climatology of exastorm, lacks the attribute first_time"),
        ("turned", "variable threshold: must hold numbers along percentile, month, lat, lon, got"),
        ("text", "variable lat: must hold numbers along lat, got "),
        ("half a year", r"must hold months 1 to 12, got \[1, 2, 3, 4, 5, 6\]"),
        ("missing", "variable lat: must be on the grid of the archive, 7 points"),
        ("single", "variable threshold: must hold numbers along percentile"),
    ],
)
def test_files_made_by_hand_are_checked(two_years, tmp_path, what, message):
    spoilt(seasonal_percentiles(two_years, "IVT", (85.0,)).dataset, what).to_netcdf(
        tmp_path / "hand.nc"
    )
    request = ClimatologyRequest(moisture="IVT", percentiles=(85.0,))
    with pytest.raises(InputError, match=message) as caught:
        open_climatology(
            tmp_path / "hand.nc", two_years["lat"].values, two_years["lon"].values, request
        )
    assert "\n" not in str(caught.value)


def test_damaged_values_are_told_in_one_line(two_years, tmp_path):
    path = tmp_path / "far.nc"
    made = seasonal_percentiles(two_years, "IVT", (85.0,))
    made.save(path)
    lat, lon = two_years["lat"].values, two_years["lon"].values
    request = ClimatologyRequest(moisture="IVT", percentiles=(85.0,))
    climatology = open_climatology(path, lat, lon, request)
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        chunk = file["threshold"].id.get_chunk_info_by_coord((0, 6, 0, 0))
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    path.write_bytes(bytes(content))
    climatology.at(6, 85.0)
    with pytest.raises(InputError, match="can't be read as a climatology"):
        climatology.at(7, 85.0)


def test_a_climatology_that_does_not_fit_is_refused(two_years, tmp_path):
    path = tmp_path / "far.nc"
    seasonal_percentiles(two_years, "IVT", (85.0,)).save(path)
    lat, lon = two_years["lat"].values, two_years["lon"].values
    request = ClimatologyRequest(moisture="IVT", percentiles=(85.0,))

    def refused(message, path=path, lat=lat, lon=lon, **change):
        with pytest.raises(InputError, match=message):
            open_climatology(path, lat, lon, replace(request, **change))

    refused("must hold percentile 90, has 85", percentiles=(85.0, 90.0))
    refused("must be a climatology of QV850, got IVT", moisture="QV850")
    refused("variable lat: must be on the grid of the archive, 6 points", lat=lat[:-1])
    refused("variable lon: must be on the grid of the archive", lon=lon + 0.1)
    refused("can't be read as a climatology", path=tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("no netCDF")
    refused("can't be read as a climatology", path=tmp_path / "text.nc")
    two_years.to_netcdf(tmp_path / "other.nc")
    refused("must be a climatology of exastorm", path=tmp_path / "other.nc")


def test_an_archive_of_missing_values_has_no_percentiles():
    made = seasonal_percentiles(mock_dataset({"IVT": np.nan}, HEIGHT, WIDTH, 3), "IVT", (85.0,))
    assert np.isnan(made.dataset["threshold"].values).all()
