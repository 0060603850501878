"""Which rules make the labels, with which thresholds, and how the work is cut."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from exastorm.labels.cyclone_rules import Sc18CycloneRules
from exastorm.labels.masks import Sc18MaskRules
from exastorm.labels.rivers import Sc18RiverRules


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """Settings of `exastorm label`."""

    cyclones: Literal["sc18", "none"] = "sc18"
    """Rule set for tropical cyclones: sc18 (corrected form), or none."""
    rivers: Literal["sc18", "none"] = "sc18"
    """Rule set for atmospheric rivers: sc18 (corrected form), or none."""
    sc18_cyclones: Sc18CycloneRules = field(default_factory=Sc18CycloneRules)
    """Thresholds of the cyclone centers."""
    sc18_masks: Sc18MaskRules = field(default_factory=Sc18MaskRules)
    """Extent of a cyclone round its center."""
    sc18_rivers: Sc18RiverRules = field(default_factory=Sc18RiverRules)
    """Thresholds of the rivers."""
    num_workers: int = 1
    """Processes that label; the result does not depend on it. More than one need a script's work
    to stand under `if __name__ == "__main__":`."""
    block_size: int | None = None
    """Snapshots read and labeled at once; the result does not depend on it. Unset: as many whole
    chunks of the archive as fit in 128 MiB, at least one chunk."""

    def __post_init__(self) -> None:
        for name in ("cyclones", "rivers"):
            if getattr(self, name) not in ("sc18", "none"):
                raise ValueError(f"{name} must be sc18 or none, got {getattr(self, name)!r}")
        if self.cyclones == self.rivers == "none":
            raise ValueError("cyclones must be sc18 where rivers is none, got none for both")
        if self.num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {self.num_workers}")
        if self.block_size is not None and self.block_size < 1:
            raise ValueError(f"block_size must be at least 1, got {self.block_size}")

    def thresholds(self, *, cyclones: bool, rivers: bool) -> dict[str, Any]:
        """Thresholds of the rule sets that label cyclones and rivers, as nested dictionaries."""
        used: dict[str, Any] = {}
        if cyclones:
            used["sc18_cyclones"] = asdict(self.sc18_cyclones)
            used["sc18_masks"] = asdict(self.sc18_masks)
        if rivers:
            used["sc18_rivers"] = asdict(self.sc18_rivers)
        return used
