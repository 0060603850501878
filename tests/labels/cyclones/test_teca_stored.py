"""Form exact beside TECA's own output for a file of drawn storms (tests/data/teca)."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest

from exastorm.grid import longitude_difference
from exastorm.labels.cyclones.centers import center_table
from exastorm.labels.cyclones.teca import TECA_VARIANTS, TecaRules
from exastorm.linking.trajectories import TrackLimits, link_candidates
from exastorm.physics.surroundings import Surroundings

FOLDER = Path(__file__).parents[2] / "data" / "teca"
VARIANTS = ("default", "super_relaxed")


def stored(name):
    """A table of TECA's in the order in which its tracker takes it."""
    table = pd.read_csv(FOLDER / f"{name}.csv", comment="#", skipinitialspace=True)
    # Column names end with the number of their type, as in "lon(12)".
    table.columns = [column.split("(")[0] for column in table.columns]
    return table.sort_values("storm_id", kind="stable").reset_index(drop=True)


@lru_cache(maxsize=2)
def found(form):
    """Candidates by the loosest thresholds."""
    rules = TecaRules(form=form).members()[0]
    centers, steps = [], []
    with netCDF4.Dataset(FOLDER / "storms.nc") as file:
        file.set_auto_mask(False)
        grid = Surroundings.of(file["lat"][:], file["lon"][:])
        hours = file["time"][:] * 24.0
        for step in range(hours.size):
            fields = {n: file[n][step] for n in file.variables if n not in ("time", "lat", "lon")}
            here = rules.find(fields, grid)
            centers += here
            steps += [step] * len(here)
    return center_table(centers, steps, hours)


def found_by(variant):
    """Candidates of a variant: those of the loosest that meet its vorticity."""
    table = found("exact")
    high = table["vorticity_per_s"] >= np.float32(TECA_VARIANTS[variant].min_vorticity_per_s)
    out = table[high].reset_index(drop=True)
    out.attrs["hours"] = table.attrs["hours"]
    return out


@pytest.mark.parametrize("variant", VARIANTS)
def test_candidates_are_tecas(variant):
    ours, theirs = found_by(variant), stored(f"{variant}_candidates")
    # In one order, so that row stands against row: the number and the order are the same, too.
    np.testing.assert_array_equal(ours["step"], theirs["step"])
    np.testing.assert_allclose(ours["vorticity_per_s"], theirs["850mb_vorticity"], rtol=1e-6)
    np.testing.assert_allclose(ours["max_wind_ms"], theirs["surface_wind"], rtol=1e-6)
    east = longitude_difference(ours["lon"], theirs["lon"])
    assert np.hypot(east, ours["lat"] - theirs["lat"]).max() < 0.1
    # TECA works in single precision, where 101300 Pa have steps of 0.008 Pa.
    np.testing.assert_allclose(ours["central_pressure_pa"], theirs["sea_level_pressure"], atol=1.0)
    rules = replace(TECA_VARIANTS[variant], form="exact")
    warm = ours["warm_core_k"] >= min(rules.min_warm_core_k, 2.0)
    np.testing.assert_array_equal(warm, theirs["have_core_temp"] == 1)
    np.testing.assert_array_equal(ours["thickness_m"] > 2.0, theirs["have_thickness"] == 1)
    # Some of each kind, or nothing would be shown.
    assert 0 < warm.sum() < len(ours)
    assert 0 < theirs["have_thickness"].sum() < len(ours)


def test_vorticity_threshold_tells_the_variants_apart():
    assert len(found_by("default")) < len(found_by("super_relaxed"))


def tracks_of(numbers, storms):
    tracks = pd.Series(np.asarray(storms)).groupby(np.asarray(numbers)).apply(tuple)
    return [track for number, track in tracks.items() if number >= 0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_tracks_are_tecas(variant):
    ours, theirs = found_by(variant), stored(f"{variant}_tracks")
    storms = stored(f"{variant}_candidates")["storm_id"]
    rules = replace(TECA_VARIANTS[variant], form="exact")
    expected = tracks_of(theirs["track_id"], theirs["storm_id"])
    assert len(expected) >= 3
    assert tracks_of(rules.select(ours), storms) == expected


@pytest.mark.parametrize("variant", VARIANTS)
def test_tecas_candidates_are_linked_as_teca_links_them(variant):
    candidates, theirs = stored(f"{variant}_candidates"), stored(f"{variant}_tracks")
    candidates.attrs["hours"] = np.arange(12) * 6.0
    strong = (candidates[["have_core_temp", "have_thickness"]] == 1).all(axis=1)
    strong &= candidates["surface_wind"] >= 17.0
    limits = TrackLimits(max_km_per_day=1600.0, min_days=2.0, max_step_hours=24.0, form="exact")
    numbers = link_candidates(candidates, strong, limits)
    expected = tracks_of(theirs["track_id"], theirs["storm_id"])
    assert tracks_of(numbers, candidates["storm_id"]) == expected


def test_corrected_keeps_what_is_a_storm_by_the_documented_thresholds():
    # The storm at 25 N is 30 Pa deep and less: over TECA's 2 Pa, under the documented 100.
    weak = (found("exact")["lat"] - 25.0).abs() < 1.5
    assert weak.sum() >= 11
    assert not ((found("corrected")["lat"] - 25.0).abs() < 1.5).any()


def test_corrected_follows_over_the_seam_what_teca_loses():
    # The storm at 14 N goes from 351 E to 7.5 E.
    for form, followed in (("corrected", True), ("exact", False)):
        table = found(form)
        numbers = TecaRules(form=form).select(table)[(table["lat"] - 14.0).abs() < 1.0]
        assert numbers.size == 12
        assert bool(len(set(numbers)) == 1 and numbers[0] >= 0) is followed
