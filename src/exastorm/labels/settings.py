"""Which rules make the labels, with which thresholds, and how the work is cut."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from exastorm.labels.cyclones.extent import Sc18MaskRules
from exastorm.labels.cyclones.sc18 import Sc18CycloneRules
from exastorm.labels.cyclones.teca import TecaRules
from exastorm.labels.cyclones.tempest import TempestCamRules, TempestEra5Rules
from exastorm.labels.rivers.absolute import AbsoluteRiverRules
from exastorm.labels.rivers.bard import BardRules
from exastorm.labels.rivers.guan_waliser import GuanWaliserRules
from exastorm.labels.rivers.sc18 import Sc18RiverRules
from exastorm.labels.rivers.tempest import TempestRiverRules
from exastorm.labels.rule_sets import CycloneRules, RiverRules

CycloneName = Literal["sc18", "teca", "tempest-cam", "tempest-era5", "none"]
RiverName = Literal["sc18", "tempest", "guan_waliser", "bard", "absolute", "none"]

CYCLONE_SECTIONS: dict[str, str] = {
    "sc18": "sc18_cyclones",
    "teca": "teca",
    "tempest-cam": "tempest_cam",
    "tempest-era5": "tempest_era5",
}
"""Rule set for tropical cyclones to the field of `LabelSettings` with its thresholds."""
RIVER_SECTIONS: dict[str, str] = {
    "sc18": "sc18_rivers",
    "tempest": "tempest_rivers",
    "guan_waliser": "guan_waliser",
    "bard": "bard",
    "absolute": "absolute",
}
"""Rule set for atmospheric rivers to the field of `LabelSettings` with its thresholds."""


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """Settings of `exastorm label`."""

    cyclones: CycloneName = "sc18"
    """Rule set for tropical cyclones: sc18 (single snapshots, no tracks needed), teca (GFDL's, the
    source of the SC18 labels), tempest-cam (TempestExtremes as on CESM and E3SM), tempest-era5
    (TempestExtremes as on ERA5, needs Z300 and Z500), or none."""
    rivers: RiverName = "sc18"
    """Rule set for atmospheric rivers: sc18 (precipitable water), tempest (Laplacian of vapor
    transport), guan_waliser (local percentiles of vapor transport), bard (a threshold ensemble),
    absolute (250 kg m-1 s-1 or 20 kg m-2), or none."""
    soft: bool = False
    """Also store, for each class, the share of a threshold ensemble that flags each cell, and count
    storms in every member."""
    sc18_cyclones: Sc18CycloneRules = field(default_factory=Sc18CycloneRules)
    """Thresholds of the rule set sc18 for cyclones."""
    teca: TecaRules = field(default_factory=TecaRules)
    """Thresholds of the rule set teca."""
    tempest_cam: TempestCamRules = field(default_factory=TempestCamRules)
    """Thresholds of the rule set tempest-cam."""
    tempest_era5: TempestEra5Rules = field(default_factory=TempestEra5Rules)
    """Thresholds of the rule set tempest-era5."""
    sc18_masks: Sc18MaskRules = field(default_factory=Sc18MaskRules)
    """Extent of a cyclone round its center, for every rule set."""
    sc18_rivers: Sc18RiverRules = field(default_factory=Sc18RiverRules)
    """Thresholds of the rule set sc18 for rivers."""
    tempest_rivers: TempestRiverRules = field(default_factory=TempestRiverRules)
    """Thresholds of the rule set tempest."""
    guan_waliser: GuanWaliserRules = field(default_factory=GuanWaliserRules)
    """Thresholds of the rule set guan_waliser."""
    bard: BardRules = field(default_factory=BardRules)
    """Thresholds of the rule set bard."""
    absolute: AbsoluteRiverRules = field(default_factory=AbsoluteRiverRules)
    """Thresholds of the rule set absolute."""
    tracks: Literal["csv", "parquet"] = "csv"
    """Format of the table of tracks (parquet needs the extra `exastorm[parquet]`)."""
    num_workers: int = 1
    """Processes that label; the result does not depend on it. More than one need a script's work
    to stand under `if __name__ == "__main__":`."""
    scheduler: str | None = None
    """Address of a Dask scheduler, such as tcp://10.0.0.1:8786, whose workers label instead; they
    must see the archive and the output under the same paths (needs `exastorm[dask]`)."""
    block_size: int | None = None
    """Snapshots read and labeled at once; the result does not depend on it. Unset: as many whole
    chunks of the archive as fit in 128 MiB, at least one chunk."""

    def __post_init__(self) -> None:
        for name, known in (
            ("cyclones", get_args(CycloneName)),
            ("rivers", get_args(RiverName)),
            ("tracks", ("csv", "parquet")),
        ):
            if getattr(self, name) not in known:
                words = f"{', '.join(known[:-1])} or {known[-1]}"
                raise ValueError(f"{name} must be {words}, got {getattr(self, name)!r}")
        if self.cyclones == self.rivers == "none":
            raise ValueError("cyclones must be a rule set where rivers is none, got none for both")
        if self.num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {self.num_workers}")
        if self.scheduler is not None and self.num_workers > 1:
            raise ValueError(
                f"num_workers must be 1 where a scheduler has workers, got {self.num_workers}"
            )
        if self.block_size is not None and self.block_size < 1:
            raise ValueError(f"block_size must be at least 1, got {self.block_size}")

    @property
    def cyclone_rules(self) -> CycloneRules | None:
        """The rule set for cyclones with its thresholds; None where there is none."""
        section = CYCLONE_SECTIONS.get(self.cyclones)
        return None if section is None else getattr(self, section)

    @property
    def river_rules(self) -> RiverRules | None:
        """The rule set for rivers with its thresholds; None where there is none."""
        section = RIVER_SECTIONS.get(self.rivers)
        return None if section is None else getattr(self, section)

    def thresholds(self, *, cyclones: bool, rivers: bool) -> dict[str, Any]:
        """Thresholds of the rule sets that label cyclones and rivers, as nested dictionaries."""
        used: dict[str, Any] = {}
        if cyclones:
            section = CYCLONE_SECTIONS[self.cyclones]
            used[section] = asdict(getattr(self, section))
            used["sc18_masks"] = asdict(self.sc18_masks)
        if rivers:
            section = RIVER_SECTIONS[self.rivers]
            used[section] = asdict(getattr(self, section))
        return used
