"""Settings of the made-up climate are checked, and time is counted as calendars say."""

import numpy as np
import pytest

from exastorm.readers.synthetic.settings import SyntheticSettings, random_stream


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("height", 23),
        ("width", 35),
        ("num_snapshots", 0),
        ("step_hours", 0),
        ("seed", -1),
        ("cyclone_rate", -0.1),
        ("river_rate", 101.0),
        ("decoy_rate", float("nan")),
        ("weather_amplitude", 2.5),
        ("calendar", "julian"),
        ("start", "yesterday"),
    ],
)
def test_bad_settings_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        SyntheticSettings(**{name: value})


def test_a_date_must_exist_in_its_calendar():
    # noleap has no 29 February, 360_day has a 30 February.
    with pytest.raises(ValueError, match=r"start .* noleap"):
        SyntheticSettings(start="2000-02-29")
    assert SyntheticSettings(start="2000-02-30", calendar="360_day").first_hour() > 0


def test_hours_count_from_1900_in_the_calendar():
    # 100 years of 365 days and 12 hours, then steps of 6 hours.
    settings = SyntheticSettings(start="2000-01-01T12", num_snapshots=3, step_hours=6)
    assert list(settings.hours()) == [876012, 876018, 876024]
    # 100 years of 360 days.
    assert SyntheticSettings(calendar="360_day").first_hour() == 864000


def test_year_phase_is_half_a_turn_at_midyear():
    settings = SyntheticSettings()
    hour = settings.first_hour()
    assert settings.year_phase(hour) == pytest.approx(0.0, abs=1e-9)
    assert settings.year_phase(hour + 182.5 * 24) == pytest.approx(np.pi)


def test_random_streams_differ_by_key_and_agree_by_key():
    draws = [random_stream(1, *keys).random() for keys in ((1, 2), (1, 2), (2, 1), (1, 3))]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3
