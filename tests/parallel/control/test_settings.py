import pytest

from exastorm.config import from_dict, to_dict
from exastorm.parallel.control.settings import ControlSettings


@pytest.mark.parametrize(
    ("name", "value", "must"),
    [
        ("radix", -1, "at least 0"),
        ("batch_s", -0.1, "at least 0"),
        ("confirm_steps", 0, "at least 1"),
        ("num_slowest", 0, "at least 1"),
        ("straggler_steps", 0, "at least 1"),
        ("late_share", -0.1, "at least 0"),
        ("stall_s", 0.0, "above 0"),
        ("reply_s", 0.0, "above 0"),
        ("connect_s", float("nan"), "above 0"),
        ("hang_s", 59.0, "at least stall_s 60"),
    ],
)
def test_mistakes(name, value, must):
    with pytest.raises(ValueError, match=f"{name} must be {must}.*, got {value}"):
        ControlSettings(**{name: value})


def test_settings_travel_as_plain_values():
    settings = ControlSettings(radix=8, stall_s=5.0)
    assert from_dict(ControlSettings, to_dict(settings)) == settings
