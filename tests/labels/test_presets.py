"""Presets: every threshold exists, has a source, and what nobody has published is warned of."""

import dataclasses

import numpy as np
import pytest

from exastorm.config import from_dict, to_dict
from exastorm.errors import InputError
from exastorm.grid import regular_grid
from exastorm.labels.presets import PRESETS, UNTUNED, find_preset
from exastorm.labels.settings import LabelSettings


def value_at(settings, path):
    for name in path.split("."):
        settings = settings[name]
    return settings


@pytest.mark.parametrize("name", PRESETS)
def test_every_threshold_reaches_the_settings(name):
    preset = PRESETS[name]
    built = to_dict(from_dict(LabelSettings, preset.settings))
    assert (built["cyclones"], built["rivers"]) == (preset.cyclones, preset.rivers)
    for path, threshold in preset.thresholds.items():
        assert value_at(built, path) == threshold.value
        assert threshold.source
    # Only thresholds of the rule sets that the preset chooses.
    used = LabelSettings(cyclones=preset.cyclones, rivers=preset.rivers)
    sections = set(used.thresholds(cyclones=True, rivers=True))
    assert {path.split(".")[0] for path in preset.thresholds} <= sections


@pytest.mark.parametrize("name", PRESETS)
def test_untuned_thresholds_are_warned_of(name):
    preset = PRESETS[name]
    num_lat = {"cmip6-1deg": 181}.get(name, 769)
    lat, lon = regular_grid(num_lat, 2 * (num_lat - 1))
    untuned = [path for path, t in preset.thresholds.items() if t.source == UNTUNED]
    told = preset.warnings(from_dict(LabelSettings, preset.settings), lat, lon)
    assert len(told) == len(untuned)
    assert all(path in line for path, line in zip(untuned, told, strict=True))
    assert bool(untuned) is (name == "cmip6-1deg")


def test_another_resolution_is_warned_of():
    lat, lon = regular_grid(73, 144)
    settings = from_dict(LabelSettings, find_preset("era5-0.25").settings)
    (told,) = find_preset("era5-0.25").warnings(settings, lat, lon)
    assert told.startswith("the preset is for grids of 0.2 to 0.35 degrees, this one has 2.50")


def test_sc18_label_sets():
    # Kurth et al. 2018: labels_0 with TECA's defaults and 24 kg/m2, labels_1 with the super relaxed
    # set (0.1e-4 s-1, 100 Pa, 0.1 K) and 21 kg/m2.
    one = from_dict(LabelSettings, find_preset("labels-1-exact").settings)
    assert one.teca.min_vorticity_per_s == 1e-5
    assert (one.teca.min_pressure_rise_pa, one.teca.min_warm_core_k) == (100.0, 0.1)
    assert one.sc18_rivers.min_water_kg_m2 == 21.0
    assert one.sc18_masks.form == one.sc18_rivers.form == one.teca.form == "exact"
    zero = from_dict(LabelSettings, find_preset("labels-0").settings)
    assert zero == dataclasses.replace(LabelSettings(), cyclones="teca")


def test_unknown_preset():
    with pytest.raises(InputError, match=r"--preset 'era5' is unknown; did you mean 'era5-0\.25'"):
        find_preset("era5")


def test_what_is_not_used_is_not_warned_of():
    preset = find_preset("cmip6-1deg")
    lat, lon = regular_grid(181, 360)
    asked = from_dict(LabelSettings, preset.settings)
    assert len(preset.warnings(asked, lat, lon)) == 3
    others = dataclasses.replace(asked, cyclones="sc18", rivers="sc18")
    assert preset.warnings(others, lat, lon) == []
    own = dataclasses.replace(asked.tempest_rivers, max_laplacian=-30000.0)
    told = preset.warnings(dataclasses.replace(asked, tempest_rivers=own), lat, lon)
    assert not any("max_laplacian" in line for line in told)


def test_a_grid_of_any_part_of_the_globe_has_a_spacing():
    lat, lon = np.arange(10.0, 20.0, 0.25), np.arange(0.0, 9.0, 0.25)
    assert find_preset("cam-0.25").warnings(LabelSettings(), lat, lon) == []
