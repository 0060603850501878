"""Tropical cyclones are born, move and grow as best tracks say."""

import numpy as np
import pytest

from exastorm.readers.synthetic.best_tracks import BASINS, PLACE_QUANTILES, WIND_QUANTILES
from exastorm.readers.synthetic.cyclone_lives import (
    GENESIS_WIND,
    coast_distance_along,
    cyclones_at,
    cyclones_born,
    potential_intensity,
)
from exastorm.readers.synthetic.settings import SyntheticSettings
from exastorm.readers.synthetic.tracks import BIN_HOURS

YEARS = 6
FIRST_BIN = SyntheticSettings().first_hour() // BIN_HOURS


@pytest.fixture(scope="module")
def storms():
    settings = SyntheticSettings(seed=4)
    bins = range(FIRST_BIN, FIRST_BIN + YEARS * 73)
    return [storm for number in bins for storm in cyclones_born(settings, number)]


def test_best_track_tables_are_tables():
    for basin in BASINS:
        assert sum(basin.month_shares) == pytest.approx(100.0, abs=1.0), basin.name
        assert len(basin.month_shares) == 12
        assert len(basin.lats) == len(basin.lons) == len(PLACE_QUANTILES)
        assert len(basin.peak_winds) == len(WIND_QUANTILES)
        for quantiles in (basin.lats, basin.lons, basin.peak_winds, basin.days_to_peak):
            assert list(quantiles) == sorted(quantiles)


def test_number_and_season_of_storms(storms):
    # The basins' rates add up to 85 a year; some births are on land. Poisson: 510 +- 23.
    assert 0.7 * 85 * YEARS < len(storms) < 1.05 * 85 * YEARS
    settings = SyntheticSettings()
    month = [int(settings.year_phase(s.track.born_hour) / (2 * np.pi) * 12) for s in storms]
    north = [m for m, s in zip(month, storms, strict=True) if s.track.lat[0] > 0]
    south = [m for m, s in zip(month, storms, strict=True) if s.track.lat[0] < 0]
    # Two thirds of the storms are northern, and most of them fall into July to October.
    assert 0.55 < len(north) / len(storms) < 0.8
    assert np.mean(np.isin(north, (6, 7, 8, 9))) > 0.6
    assert np.mean(np.isin(south, (11, 0, 1, 2, 3))) > 0.75


def test_peak_winds_are_near_the_best_tracks(storms):
    peaks = np.array([s.track.strength.max() for s in storms])
    # Best tracks: median 33 m/s, a quarter above 48; land and cold water take some off.
    assert 25.0 < np.median(peaks) < 37.0
    assert 36.0 < np.quantile(peaks, 0.75) < 50.0
    assert peaks.max() > 60.0


def test_storms_grow_then_decay(storms):
    for storm in storms[:100]:
        winds = storm.track.strength
        assert winds[0] == GENESIS_WIND
        assert winds[-1] < winds.max()
        # No jumps: over land a 60 m/s storm loses a quarter of 52 m/s in three hours.
        assert np.abs(np.diff(winds)).max() < 15.0


def test_tracks_go_west_then_recurve(storms):
    east = {"low": [], "high": []}
    for storm in storms:
        lat, lon = storm.track.lat, storm.track.lon
        # Always poleward in the mean.
        assert abs(lat[-1]) > abs(lat[0]) - 3.0
        steps = np.diff(lon)
        belt = np.abs(lat[:-1])
        east["low"].extend(steps[belt < 18])
        east["high"].extend(steps[belt > 33])
    assert np.mean(east["low"]) < 0 < np.mean(east["high"])


def test_storms_decay_over_land(storms):
    over_land = []
    for storm in storms:
        inland = coast_distance_along(storm.track.lat, storm.track.lon) < -50.0
        winds = storm.track.strength
        over_land += list(np.diff(winds)[inland[1:] & inland[:-1] & (winds[:-1] > 15.0)])
    assert len(over_land) > 100
    assert max(over_land) < 0.0


def test_some_storms_cross_the_meridian_where_longitudes_wrap():
    settings = SyntheticSettings(seed=0, cyclone_rate=5.0)
    crossing = 0
    for number in range(FIRST_BIN, FIRST_BIN + 219):
        for storm in cyclones_born(settings, number):
            turns = np.floor(storm.track.lon / 360.0)
            crossing += bool(np.ptp(turns) > 0)
    assert crossing >= 2


def test_potential_intensity_at_hand_worked_points():
    # 30 C: 28.2 + 55.8 = 84 m/s; 26 C: 28.2 + 55.8 exp(-0.7252) = 28.2 + 27.02 = 55.2;
    # 18 C: only half the genesis wind is left.
    assert potential_intensity(303.15) == pytest.approx(84.0)
    assert potential_intensity(299.15) == pytest.approx(55.2, abs=0.05)
    assert potential_intensity(291.15) == pytest.approx(0.5 * GENESIS_WIND)


def test_land_and_sea_along_a_track():
    # Mid-Pacific, central Australia, central Africa, either side of the table's seam.
    distance = coast_distance_along(np.array([35.0, -25.0, 15.0]), np.array([210.0, 133.0, 380.0]))
    assert distance[0] > 500.0
    assert distance[1] < -300.0
    assert distance[2] < -300.0


def test_close_storms_do_not_both_live():
    settings = SyntheticSettings(seed=1, cyclone_rate=20.0)
    from exastorm.grid import great_circle_km

    for hour in FIRST_BIN * BIN_HOURS + np.arange(0, 4000, 250):
        present = cyclones_at(settings, float(hour))
        for n, (_, place) in enumerate(present):
            for _, other in present[:n]:
                assert great_circle_km(place.lat, place.lon, other.lat, other.lon) > 300.0


def test_rate_adds_storms():
    few, many, none = (
        sum(len(cyclones_born(SyntheticSettings(cyclone_rate=rate), n)) for n in range(7300, 7340))
        for rate in (1.0, 4.0, 0.0)
    )
    assert none == 0
    assert 2.5 < many / few < 6.0
