"""What a page shows."""

from dataclasses import dataclass

from exastorm.variables import VARIABLES


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """Settings of the page of a run."""

    title: str = ""
    """Title of the page; made from what it shows if left out."""

    backdrop: str = ""
    """Field that storms are drawn over, such as TMQ; if left out, the first of TMQ, IVT, PRECT and
    PSL that the archive has."""

    moment: str = ""
    """Time of the global map, such as "2000-09-01 06:00"; if left out, the one with the most
    cyclones, and among these with the most rivers."""

    west_deg: float = 20.0
    """Western edge of global maps, degrees east. 20 cuts Africa and leaves the oceans whole."""

    close_ups: bool = True
    """Show the deepest cyclone and the largest river in a window of their own."""

    def __post_init__(self) -> None:
        if self.backdrop and self.backdrop not in VARIABLES:
            raise ValueError(
                f"backdrop must be a field of the vocabulary such as TMQ, got {self.backdrop!r}"
            )
        if not -360.0 <= self.west_deg <= 360.0:
            raise ValueError(f"west_deg must lie in [-360, 360], got {self.west_deg}")
