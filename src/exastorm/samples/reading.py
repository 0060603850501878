"""Reads the index of prepared samples, and refuses one whose parts do not agree."""

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

from pydantic import ValidationError

from exastorm.errors import InputError
from exastorm.samples.index import (
    ADAPTER,
    COMPRESSED_FORMAT_VERSION,
    FORMAT_NAME,
    FORMAT_VERSION,
    INDEX_NAME,
    SETS_FORMAT_VERSION,
    SOFT_FORMAT_VERSION,
    SampleIndex,
    Shard,
    parse_time,
)
from exastorm.samples.splits import SPLITS
from exastorm.samples.targets import SHARE_CLASSES
from exastorm.variables import NUM_CLASSES

VERSIONS = (FORMAT_VERSION, SOFT_FORMAT_VERSION, SETS_FORMAT_VERSION, COMPRESSED_FORMAT_VERSION)
"""Versions that can be read."""


def read_index(folder: Path) -> SampleIndex:
    """Read `index.json` of a folder of samples.

    Raises:
        InputError: If there is none, or it is of another version, or says something impossible.
    """
    path = folder / INDEX_NAME
    if not path.is_file():
        raise InputError(
            "must be a folder that `exastorm prepare` finished, got none with an index.json",
            file=folder,
        )
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"must be JSON, got {error}", file=path) from None
    return index_of(content, path)


def index_of(content: object, path: Path | str) -> SampleIndex:
    """The index that JSON says.

    Args:
        content: The JSON, as Python has it.
        path: Where it stands.

    Raises:
        InputError: If it is of another version, or says something impossible.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT_NAME:
        raise InputError(f'must say "format": "{FORMAT_NAME}"', file=path)
    if content.get("version") not in VERSIONS:
        known = ", ".join(map(str, VERSIONS))
        raise InputError(f"must be of version {known}, got {content.get('version')}", file=path)
    try:
        index = ADAPTER.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise InputError(f"{where}: {first['msg']}", file=path) from None
    return _checked(index, path)


def _checked(index: SampleIndex, path: Path | str) -> SampleIndex:
    """The index, if its parts agree."""
    num_channels, num_lat, num_lon = index.layout.shape
    shares, soft_shares = index.layout.shares, index.soft_class_shares or ()
    if shares not in ((), tuple(SHARE_CLASSES)):
        raise InputError(
            f"layout.shares must be none or {', '.join(SHARE_CLASSES)}, got {', '.join(shares)}",
            file=path,
        )
    sets = index.layout.label_sets
    if sets and (len(sets) == 1 or shares):
        raise InputError(
            "layout.label_sets must be none, or several without layout.shares, got"
            f" {', '.join(sets)}",
            file=path,
        )
    facts = (
        ("channels", len(index.channels), num_channels),
        ("units", len(index.units), num_channels),
        *(
            (f"statistics.{name}", len(values), num_channels)
            for name, values in dataclasses.asdict(index.statistics).items()
            if isinstance(values, tuple)
        ),
        ("whole_statistics.min", len(index.whole_statistics.min), num_channels),
        ("whole_statistics.max", len(index.whole_statistics.max), num_channels),
        ("label_set_shares", len(index.label_set_shares), len(sets)),
        ("class_shares.by_pixel", len(index.class_shares.by_pixel), NUM_CLASSES),
        ("soft_class_shares", len(soft_shares), NUM_CLASSES if shares else 0),
        ("lat", len(index.lat), num_lat),
        ("lon", len(index.lon), num_lon),
        ("times", len(index.times), sum(s.num_samples for s in index.shards)),
    )
    for name, got, wanted in facts:
        if got != wanted:
            raise InputError(f"{name} must have {wanted} entries, got {got}", file=path)
    try:
        for time in index.times:
            parse_time(time, index.calendar)
    except ValueError as error:
        raise InputError(f"times must be ISO 8601 in the calendar: {error}", file=path) from None
    _check_shards(index, path)
    return index


def _check_shards(index: SampleIndex, path: Path | str) -> None:
    """Refuse shards that lie elsewhere, have no split, or an impossible size."""
    for shard in index.shards:
        if shard.split not in SPLITS or Path(shard.name).name != shard.name:
            raise InputError(
                f"a shard must be a file of the folder with a split of {', '.join(SPLITS)}, got"
                f" {shard.name} of {shard.split}",
                file=path,
            )
        if index.layout.compression != "none":
            _check_ends(shard, path)
        elif shard.num_bytes != shard.num_samples * index.layout.stride:
            raise InputError(
                f"{shard.name} must be {shard.num_samples} x {index.layout.stride} bytes,"
                f" got {shard.num_bytes}",
                file=path,
            )


def _check_ends(shard: Shard, path: Path | str) -> None:
    """Refuse ends of compressed samples that are no cut of the file."""
    cuts = (0, *shard.ends)
    if (
        len(shard.ends) != shard.num_samples
        or cuts[-1] != shard.num_bytes
        or any(low >= high for low, high in pairwise(cuts))
    ):
        raise InputError(
            f"{shard.name} must have {shard.num_samples} ends of samples, ascending to its"
            f" {shard.num_bytes} bytes, got {len(shard.ends)}",
            file=path,
        )
