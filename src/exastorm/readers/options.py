"""Says how an archive is to be read: the settings behind `exastorm.open` and its commands."""

import re
from dataclasses import dataclass

from exastorm.variables import VARIABLES

STAND_IN_PATTERN = re.compile(r"([A-Z]+\d+)=(\d+(?:\.\d+)?)")
"""A named stand-in level: field on a pressure level, "=", the level in hPa to take for it."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read an archive."""

    format: str | None = None
    """Format to read the paths as (a name of `exastorm.readers.formats.FORMATS`); by default it
    is recognized from the files."""
    fields: tuple[str, ...] | None = None
    """Fields to keep, by name; by default all that are found. One that is missing is refused."""
    skip_bad: bool = False
    """Leave bad files out and list them in the attribute `bad_files`, instead of refusing all."""
    stand_ins: tuple[str, ...] = ()
    """Levels that stand in for missing ones, as `T200=250` (take 250 hPa for T200)."""
    units: tuple[str, ...] = ()
    """Units of variables whose file states none or wrong ones, as `tp=m` or `PSL=cPa`: the name in
    the archive, "=", a UDUNITS string."""
    grid: tuple[int, int] | None = None
    """Regrid to this many latitudes and longitudes, poles included; by default the grid is kept."""
    weights: str | None = None
    """ESMF weight file that maps unstructured columns to a latitude-longitude grid."""
    mesh: str | None = None
    """File with the coordinates of unstructured columns (UGRID, SCRIP or plain lat and lon), where
    they are not in the data files."""
    run: str | None = None
    """Model run to read from an archive that holds several (the R of `data-YYYY-MM-DD-TT-R.h5`)."""
    member: int | None = None
    """Ensemble member to read; by default the first, with a note in the attributes."""

    def __post_init__(self) -> None:
        for name in self.fields or ():
            if name not in VARIABLES:
                raise ValueError(f"fields must be names of exastorm.variables, got {name!r}")
        stand_in_levels(self)
        stated_units(self)
        if self.grid is not None and (self.grid[0] < 2 or self.grid[1] < 2):
            raise ValueError(f"grid must be at least 2 x 2 points, got {self.grid}")
        if self.member is not None and self.member < 0:
            raise ValueError(f"member must be 0 or more, got {self.member}")


def stand_in_levels(options: ReadOptions) -> dict[str, float]:
    """The stand-in level of each field that has one, hPa.

    Raises:
        ValueError: If an entry is not "FIELD=LEVEL" with a field on a pressure level.
    """
    levels: dict[str, float] = {}
    for entry in options.stand_ins:
        match = STAND_IN_PATTERN.fullmatch(entry.strip())
        variable = VARIABLES.get(match[1]) if match else None
        if match is None or variable is None or variable.level_hpa is None:
            raise ValueError(
                f"stand_ins must look like T200=250, a field on a pressure level and the level"
                f" in hPa to take for it, got {entry!r}"
            )
        levels[match[1]] = float(match[2])
    return levels


def stated_units(options: ReadOptions) -> dict[str, str]:
    """The units that the user states, by the variable's name in the archive.

    Raises:
        ValueError: If an entry is not "NAME=UNITS".
    """
    pairs = [entry.partition("=") for entry in options.units]
    for entry, (name, _, units) in zip(options.units, pairs, strict=True):
        if not name.strip() or not units.strip():
            raise ValueError(f"units must look like tp=m, got {entry!r}")
    return {name.strip(): units.strip() for name, _, units in pairs}
