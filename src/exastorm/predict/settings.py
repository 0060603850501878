"""How a trained network is applied to an archive."""

from dataclasses import dataclass
from typing import Literal, get_args

Regridding = Literal["auto", "always", "never"]
ProbabilityForm = Literal["packed", "float32", "none"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class SegmentSettings:
    """Settings of segmentation."""

    regrid: Regridding = "auto"
    """A network knows storms at the size, in cells, that they had in training. auto: bring the
    fields to the training grid, and the class map back by the nearest point, where the spacings
    differ by more than regrid_factor; always: wherever the grids differ; never: work on the
    archive's own grid."""

    regrid_factor: float = 1.5
    """How many times coarser or finer than the training grid an archive may be, in latitude or in
    longitude, before auto regrids it."""

    probability: ProbabilityForm = "packed"
    """packed: probabilities as bytes in steps of 1/250; float32: as they are; none: left out."""

    batch_size: int = 2
    """Snapshots that pass through the network at once; more of them need more memory."""

    times_per_block: int = 8
    """Snapshots read and written at once."""

    device: Device = "auto"
    """auto: a CUDA device if there is one, else the CPU."""

    def __post_init__(self) -> None:
        choices = {"regrid": Regridding, "probability": ProbabilityForm, "device": Device}
        for name, known in choices.items():
            if getattr(self, name) not in get_args(known):
                raise ValueError(
                    f"{name} must be one of {', '.join(get_args(known))}, "
                    f"got {getattr(self, name)!r}"
                )
        if not self.regrid_factor >= 1.0:
            raise ValueError(f"regrid_factor must be at least 1, got {self.regrid_factor}")
        for name in ("batch_size", "times_per_block"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
