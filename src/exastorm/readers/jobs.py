"""Which jobs of the package an archive allows, by the fields it has."""

from collections.abc import Iterable
from dataclasses import dataclass

from exastorm.variables import CHANNEL_NAMES

DEMO_CHANNELS = ("TMQ", "U850", "V850", "PSL", "PRECT")
"""Channels of the small network, which most archives have."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job and whether it works.

    Attributes:
        name: What it does.
        works: Whether the fields allow it.
        missing: Fields without which it does not work.
        remark: What it does without, where it works on less.
    """

    name: str
    works: bool
    missing: tuple[str, ...]
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a job needs.

    Attributes:
        name: What the job does.
        fields: Sets of fields of which one must be there, the best first.
        better_with: Fields that it uses where they are there.
    """

    name: str
    fields: tuple[tuple[str, ...], ...]
    better_with: tuple[str, ...] = ()


WIND_AND_EXTENT = (
    ("U10", "V10", "TMQ"),
    ("UBOT", "VBOT", "TMQ"),
    ("U10", "V10", "PRECT"),
    ("UBOT", "VBOT", "PRECT"),
    ("U850", "V850"),
)
"""Low-level wind, and a field that shows the extent of a cyclone."""

NEEDS: tuple[Need, ...] = (
    Need(name="label atmospheric rivers (sc18)", fields=(("TMQ",),)),
    Need(name="label atmospheric rivers (tempest, bard)", fields=(("IVTX", "IVTY"), ("IVT",))),
    Need(name="label atmospheric rivers (guan_waliser)", fields=(("IVTX", "IVTY"), ("IVT",))),
    Need(
        name="label tropical cyclones (sc18, teca)",
        fields=(("PSL", "U850", "V850", "T200", "T500"),),
        better_with=("TMQ", "PRECT", "UBOT", "VBOT", "Z1000", "Z200"),
    ),
    Need(
        name="label tropical cyclones (tempest-cam)",
        fields=tuple(("PSL", "T200", "T500", *more) for more in WIND_AND_EXTENT),
        better_with=("U850", "V850", "TMQ", "PRECT", "PHIS"),
    ),
    Need(
        name="label tropical cyclones (tempest-era5)",
        fields=tuple(("PSL", "Z300", "Z500", *more) for more in WIND_AND_EXTENT),
        better_with=("U850", "V850", "TMQ", "PRECT", "PHIS"),
    ),
    Need(
        name="vapor transport",
        fields=(("IVTX", "IVTY"), ("IVT",), ("U850", "V850", "QREFHT"), ("TMQ", "U850", "V850")),
    ),
    Need(name="segment with the 5-channel network", fields=(DEMO_CHANNELS,)),
    Need(name="segment with the 16-channel network", fields=(CHANNEL_NAMES,)),
    Need(name="rain in the census", fields=(("PRECT",),)),
    Need(
        name="storm winds in the census",
        fields=(("UBOT", "VBOT"), ("U10", "V10"), ("U850", "V850")),
    ),
    Need(name="storm pressures in the census", fields=(("PSL",),)),
)
"""Needs of the jobs, in the order in which data flow."""


def possible_jobs(fields: Iterable[str]) -> tuple[Job, ...]:
    """Every job, and whether these fields allow it."""
    there = set(fields)
    return tuple(_judge(need, there) for need in NEEDS)


def _judge(need: Need, there: set[str]) -> Job:
    """Whether fields allow a job."""
    lacks = [tuple(n for n in choice if n not in there) for choice in need.fields]
    if all(lacks):
        return Job(name=need.name, works=False, missing=min(lacks, key=len))
    remarks = []
    if lacks[0]:
        remarks.append(f"with {', '.join(need.fields[lacks.index(())])}")
    without = [n for n in need.better_with if n not in there]
    if without:
        remarks.append(f"without {', '.join(without)}")
    return Job(name=need.name, works=True, missing=(), remark="; ".join(remarks))
