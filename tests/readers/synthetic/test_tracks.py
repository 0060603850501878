"""Positions between steps, motion, and who is alive."""

from types import SimpleNamespace

import numpy as np
import pytest

from exastorm.readers.synthetic.low_lives import KINDS, LONGEST_HOURS, systems_born
from exastorm.readers.synthetic.settings import SyntheticSettings
from exastorm.readers.synthetic.tracks import BIN_HOURS, Track, alive, glide


def track(born=100.0, lon=(358.0, 361.0, 364.0)):
    return Track(
        born_hour=born,
        step_hours=3.0,
        lat=np.array([10.0, 11.0, 12.0]),
        lon=np.array(lon),
        strength=np.array([10.0, 20.0, 30.0]),
    )


def test_place_between_steps_wraps():
    place = track().at(104.0)
    # A third of the way from the second... 4 hours = 1 1/3 steps: 11.333, 362.0, 23.333.
    assert place.lat == pytest.approx(11.3333, abs=1e-4)
    assert place.lon == pytest.approx(2.0)
    assert place.strength == pytest.approx(23.3333, abs=1e-4)
    assert place.age_hours == 4.0
    # One degree in three hours: 111195 / 10800 = 10.296 m/s; three degrees times cos(11.33).
    assert place.north == pytest.approx(10.296, abs=1e-3)
    assert place.east == pytest.approx(3 * 10.296 * 0.98051, abs=1e-2)


def test_ends_of_a_life():
    life = track()
    assert life.dies_hour == 106.0
    assert life.at(106.0).lat == pytest.approx(12.0)
    assert life.at(100.0).lat == pytest.approx(10.0)


def test_alive_looks_back_far_enough():
    systems = {0: (SimpleNamespace(track=track(100.0)),), 1: (SimpleNamespace(track=track(125.0)),)}

    def born(number):
        return systems.get(number, ())

    assert len(alive(born, 106.0, 6.0)) == 1
    assert len(alive(born, 106.1, 6.0)) == 0
    # Born in bin 1, alive in bin 1; the one of bin 0 is dead.
    assert [s.track.born_hour for s in alive(born, 126.0, 6.0)] == [125.0]
    assert BIN_HOURS == 120


def test_gliding_at_known_speed():
    # 10 m/s for 3 hours is 108 km: 0.9713 degrees north, 1.9425 degrees east at 60 degrees.
    lat, lon = glide(60.0, 359.0, np.array([10.0]), np.array([10.0]), 3.0)
    assert lat[1] - lat[0] == pytest.approx(0.97126, abs=1e-4)
    assert lon[1] - lon[0] == pytest.approx(1.94253, abs=1e-4)
    stuck, _ = glide(84.9, 0.0, np.zeros(3), np.full(3, 50.0), 3.0)
    assert stuck.max() == 85.0


def test_other_systems_live_in_their_places_and_seasons():
    settings = SyntheticSettings(seed=2)
    first = settings.first_hour() // BIN_HOURS
    counts = {kind.name: 0 for kind in KINDS}
    for number in range(first, first + 73):
        for system in systems_born(settings, number):
            counts[system.kind] += 1
            kind = next(k for k in KINDS if k.name == system.kind)
            assert kind.lats[0] <= system.track.lat[0] <= kind.lats[1]
            assert kind.lons[0] <= system.track.lon[0] <= kind.lons[1]
            assert system.track.dies_hour - system.track.born_hour <= LONGEST_HOURS
            assert system.track.strength[0] == pytest.approx(0.0, abs=1e-9)
            assert system.track.strength.max() > 0.9
    assert all(counts.values())
    # Southern lows: 6 to 7.5 alive, 5.5 days each: 400 to 500 a year.
    assert 350 < counts["low_southern"] < 560


def test_rates_scale_lows_and_decoys_apart():
    def count(river, decoy):
        settings = SyntheticSettings(river_rate=river, decoy_rate=decoy)
        names = [s.kind.split("_")[0] for n in range(7300, 7320) for s in systems_born(settings, n)]
        return names.count("low"), len(names) - names.count("low")

    lows, decoys = count(1.0, 1.0)
    assert count(0.0, 1.0) == (0, decoys)
    assert count(1.0, 0.0) == (lows, 0)
    assert 2.0 < count(3.0, 1.0)[0] / lows < 4.0
