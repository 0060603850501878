"""Rule sets and thresholds for a data set and its resolution, each threshold with its source.

A preset is what users otherwise tune by hand. Where no value is published for a resolution, its
source is `UNTUNED` and the labels come with a warning.
"""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from exastorm.config import suggestion
from exastorm.errors import InputError
from exastorm.labels.cyclones.teca_sets import PUBLISHED_SETS
from exastorm.labels.settings import CYCLONE_SECTIONS, RIVER_SECTIONS, LabelSettings
from exastorm.physics.surroundings import Surroundings

UNTUNED = "untuned"
"""Source of a threshold that nobody has published for such data."""

E3SM = "E3SM Diagnostics, pull request 824 (TempestExtremes at ne120 and ne30)"
ULLRICH = "Ullrich et al. 2021, Geosci. Model Dev. 14, 5023"
ERA5_SCRIPTS = "public scripts of TempestExtremes for ERA5 (with -30000; others have 400000 km2)"
SC18 = "Kurth et al. 2018, label maker azrael417/ClimDeepLearn"


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """One setting of a preset.

    Attributes:
        value: Its value.
        source: Where it was published for such data, or `UNTUNED`.
    """

    value: Any
    source: str


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Rule sets and thresholds for one kind of data.

    Attributes:
        about: The data it is for.
        spacing_deg: Finest and coarsest grid spacing it is for, degrees.
        cyclones: Rule set for cyclones.
        rivers: Rule set for rivers.
        thresholds: Dotted path in `exastorm.labels.settings.LabelSettings` to value and source.
    """

    about: str
    spacing_deg: tuple[float, float]
    cyclones: str
    rivers: str
    thresholds: dict[str, Threshold]

    @property
    def settings(self) -> dict[str, Any]:
        """Nested settings of the section `label`."""
        nested: dict[str, Any] = {"cyclones": self.cyclones, "rivers": self.rivers}
        for path, threshold in self.thresholds.items():
            *sections, name = path.split(".")
            place = nested
            for section in sections:
                place = place.setdefault(section, {})
            place[name] = threshold.value
        return nested

    def warnings(self, settings: LabelSettings, lat: Any, lon: Any) -> list[str]:
        """What the user of this preset must know, with these settings on this grid.

        Thresholds that the user has replaced, or of rule sets not used, are none of its business.
        """
        spacing = Surroundings.of(np.asarray(lat), np.asarray(lon)).spacing_deg
        fine, coarse = self.spacing_deg
        used = {
            CYCLONE_SECTIONS.get(settings.cyclones),
            RIVER_SECTIONS.get(settings.rivers),
            "sc18_masks",
        }
        told = [
            f"{path} = {threshold.value} is untuned for such data"
            for path, threshold in self.thresholds.items()
            if threshold.source == UNTUNED
            and path.split(".")[0] in used
            and attrgetter(path)(settings) == threshold.value
        ]
        if not fine <= spacing <= coarse:
            told.append(
                f"the preset is for grids of {fine:g} to {coarse:g} degrees, this one has"
                f" {spacing:.2f}: its thresholds are untuned there"
            )
        return told


def _given(source: str, **values: Any) -> dict[str, Threshold]:
    """Settings of one source; `__` in a name stands for a dot."""
    return {
        name.replace("__", "."): Threshold(value=value, source=source)
        for name, value in values.items()
    }


TEMPEST_CAM = _given(
    E3SM,
    tempest_cam__min_pressure_rise_pa=300.0,
    tempest_cam__pressure_radius_deg=4.0,
    tempest_cam__min_warm_core_k=0.6,
    tempest_cam__core_radius_deg=4.0,
)


def _labels(form: str, *, loose: bool) -> Preset:
    """A label set of the SC18 data."""
    about = f"SC18 data set, labels_{int(loose)}, in {form} form"
    vorticity, rise, warmth = PUBLISHED_SETS["super_relaxed" if loose else "default"]
    return Preset(
        about=about,
        spacing_deg=(0.2, 0.35),
        cyclones="teca",
        rivers="sc18",
        thresholds=_given(
            SC18,
            teca__form=form,
            teca__min_vorticity_per_s=vorticity,
            teca__min_pressure_rise_pa=rise,
            teca__min_warm_core_k=warmth,
            sc18_masks__form=form,
            sc18_rivers__form=form,
            sc18_rivers__min_water_kg_m2=21.0 if loose else 24.0,
        ),
    )


PRESETS: dict[str, Preset] = {
    "cam-0.25": Preset(
        about="CAM and E3SM output at 0.25 degree with the 16 channels",
        spacing_deg=(0.2, 0.35),
        cyclones="tempest-cam",
        rivers="sc18",
        thresholds=TEMPEST_CAM | _given(SC18, sc18_rivers__min_water_kg_m2=24.0),
    ),
    "cmip6-1deg": Preset(
        about="CMIP6 models of about 1 degree with T200, T500 and vapor transport",
        spacing_deg=(0.7, 1.5),
        cyclones="tempest-cam",
        rivers="tempest",
        thresholds=TEMPEST_CAM
        # A storm loses 0.143 % of its wind with each km of spacing (Walsh et al. 2007): the 10 m/s
        # published for 0.25 degree (30 km) become 10 (1 - 0.00143 x 81) on 111 km.
        | _given(UNTUNED, tempest_cam__tracks__min_wind_ms=8.8)
        | _given(
            UNTUNED, tempest_rivers__max_laplacian=-20000.0, tempest_rivers__min_area_km2=850000.0
        ),
    ),
    "era5-0.25": Preset(
        about="ERA5 at 0.25 degree with Z300, Z500 and vapor transport",
        spacing_deg=(0.2, 0.35),
        cyclones="tempest-era5",
        rivers="tempest",
        thresholds=_given(
            ULLRICH,
            tempest_era5__min_pressure_rise_pa=200.0,
            tempest_era5__pressure_radius_deg=5.5,
            tempest_era5__min_thickness_fall_m=6.0,
            tempest_era5__core_radius_deg=6.5,
            tempest_rivers__max_laplacian=-20000.0,
        )
        | _given(ERA5_SCRIPTS, tempest_rivers__min_area_km2=850000.0),
    ),
    "labels-0": _labels("corrected", loose=False),
    "labels-0-exact": _labels("exact", loose=False),
    "labels-1": _labels("corrected", loose=True),
    "labels-1-exact": _labels("exact", loose=True),
}
"""Presets by name."""


def find_preset(name: str) -> Preset:
    """A preset by its name.

    Raises:
        InputError: For an unknown name.
    """
    if name not in PRESETS:
        raise InputError(f"--preset {name!r} is unknown{suggestion(name, PRESETS)}")
    return PRESETS[name]
