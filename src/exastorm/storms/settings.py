"""What counts as an object, and how the archive is read, in a census."""

from dataclasses import dataclass, field
from typing import Literal

from exastorm.linking.points import LinkSettings


@dataclass(frozen=True, kw_only=True)
class CensusSettings:
    """Settings of the census of storms."""

    connectivity: Literal[4, 8] = 8
    """8: cells that touch at a corner belong to one object; 4: only cells that share an edge."""

    min_area_km2: float = 0.0
    """Objects smaller than this are left out of the counts and tables, square kilometers; their
    cells still count in areas, rain and frequency, which describe the class map as it is."""

    band_deg: float = 10.0
    """Height of the latitude bands that rain is summed in, degrees; must divide 180."""

    link: LinkSettings = field(default_factory=LinkSettings)
    """When objects of different times are one storm."""

    times_per_block: int = 8
    """Snapshots in memory at once. A 768 x 1152 field is 3.5 MB a snapshot."""

    def __post_init__(self) -> None:
        if self.connectivity not in (4, 8):
            raise ValueError(f"connectivity must be 4 or 8, got {self.connectivity}")
        if self.min_area_km2 < 0:
            raise ValueError(f"min_area_km2 must not be negative, got {self.min_area_km2}")
        if self.band_deg <= 0 or abs(180.0 / self.band_deg - round(180.0 / self.band_deg)) > 1e-9:
            raise ValueError(f"band_deg must divide 180, got {self.band_deg}")
        if self.times_per_block < 1:
            raise ValueError(f"times_per_block must be at least 1, got {self.times_per_block}")
