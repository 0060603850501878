"""Puts an archive together: open, group, translate, join, align, derive, and one dataset is made.

The formats whose files name their variables (CAM, CMIP6, ERA5, GRIB, CF) differ only in a table
and in how a file is opened; the way from files to the schema is the same and is told here.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr

from exastorm.errors import InputError
from exastorm.progress import track
from exastorm.readers.checks import check_values
from exastorm.readers.derived import add_derived, ingredients
from exastorm.readers.fields import Field, Source, first_step
from exastorm.readers.groups import Group
from exastorm.readers.lexicon import Entry
from exastorm.readers.options import ReadOptions, stand_in_levels, stated_units
from exastorm.readers.profiles import with_pressure_levels
from exastorm.readers.schema import coordinate_attrs, field_names
from exastorm.readers.sources import (
    SHOW_PROGRESS_FROM,
    BadFiles,
    Opener,
    group_sources,
    open_one,
    open_sources,
)
from exastorm.readers.timing import align
from exastorm.readers.translate import candidates, translate

STILL_FIELDS = ("LANDFRAC", "PHIS")
"""Fields that have no time in most archives."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What one format differs in.

    Attributes:
        name: The format.
        entries: Its table.
        opener: How one path becomes datasets.
    """

    name: str
    entries: tuple[Entry, ...]
    opener: Opener = open_one


def assemble(paths: Sequence[str], options: ReadOptions, recipe: Recipe) -> xr.Dataset:
    """Read an archive of files that name their variables.

    Args:
        paths: Its files or stores.
        options: How to read it.
        recipe: What is particular to the format.

    Returns:
        A lazy dataset in the schema. Attributes beside the schema's: `left_out`, one line for
        each variable that was known and not taken, with the reason; `bad_files`.

    Raises:
        InputError: Where the archive can't be read as one.
    """
    bad = BadFiles(skip=options.skip_bad)
    where = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    sources = open_sources(paths, partial(_open, recipe=recipe, options=options), bad)
    if bad.skip:
        sources = _sound(sources, options, recipe, bad)
    pieces: dict[str, list[Field]] = defaultdict(list)
    left_out: dict[str, str] = {}
    for group in group_sources(sources, options, bad):
        found = translate(group, recipe.entries)
        left_out |= found.left_out
        for name, item in found.fields.items():
            pieces[name].append(item)
    if not any(item.times is not None for items in pieces.values() for item in items):
        names = sorted({str(n) for s in sources for n in s.dataset.data_vars})
        left_out |= {name: "has no time" for name in pieces if name not in STILL_FIELDS}
        raise InputError(_nothing_found(names, left_out, bad, recipe.name), file=where)
    joined = {name: _join(name, items, bad) for name, items in pieces.items()}
    _check_asked(options, joined, sources, where)
    aligned, remarks = align(_wanted(joined, options), where)
    dataset = _dataset(add_derived(aligned))
    dataset.attrs = {"source": where, "source_format": recipe.name}
    notes = {
        "history": "; ".join(remarks),
        "left_out": "\n".join(f"{n}: {why}" for n, why in left_out.items()),
        "bad_files": "\n".join(bad.problems),
    }
    dataset.attrs |= {name: text for name, text in notes.items() if text}
    dataset.encoding["field_files"] = {n: f.file for n, f in joined.items()}
    return dataset


def _open(path: str, *, recipe: Recipe, options: ReadOptions) -> list[xr.Dataset]:
    """The datasets of one path, profiles on hybrid levels put on pressure levels."""
    profiles = [entry for entry in recipe.entries if entry.is_profile]
    out = []
    for dataset in recipe.opener(path):
        named = [(entry, name) for entry in profiles for name in candidates(entry, dataset)]
        out.append(with_pressure_levels(dataset, path, named, options))
    return out


def _sound(
    sources: list[Source], options: ReadOptions, recipe: Recipe, bad: BadFiles
) -> list[Source]:
    """The sources of files of which every field is sound at its first step."""
    unsound: set[str] = set()
    shown = track(sources, "checking") if len(sources) >= SHOW_PROGRESS_FROM else sources
    for source in shown:
        if source.path in unsound:
            continue
        try:
            found = translate(Group(sources=[source], options=options), recipe.entries)
            for name, item in _wanted(found.fields, options).items():
                time = None if item.times is None else item.times[0]
                check_values(
                    name, first_step(item.array), item.array.attrs, file=item.file, time=time
                )
        except InputError as error:
            bad.handle(error)
            unsound.add(source.path)
    return [s for s in sources if s.path not in unsound]


def _check_asked(
    options: ReadOptions, joined: dict[str, Field], sources: list[Source], where: str
) -> None:
    """Refuse stand-in levels and stated units that have no effect.

    Raises:
        InputError: For a stand-in whose level no file has, or units of a variable that none has.
    """
    for name, level in stand_in_levels(options).items():
        if name not in joined:
            raise InputError(f"no file has {level:g} hPa to stand in for {name}", file=where)
    names = {str(n) for s in sources for n in s.dataset.data_vars}
    for name in stated_units(options):
        if name not in names:
            raise InputError(
                f"units are stated of {name!r}, which no file has; they have"
                f" {', '.join(sorted(names)[:20])}",
                file=where,
            )


def _nothing_found(
    names: list[str], left_out: dict[str, str], bad: BadFiles, format_name: str
) -> str:
    """What to say of an archive of which no field with a time was taken."""
    reasons = [f"it has {', '.join(names[:10])}"] if names else []
    reasons += [f"{name} {why}" for name, why in left_out.items()] + bad.problems
    said = f": {'; '.join(reasons[:5])}" if reasons else ""
    return f"holds no field with a time that is known in {format_name} files{said}"


def _join(name: str, items: list[Field], bad: BadFiles) -> Field:
    """One field from its pieces along time.

    Raises:
        InputError: If two pieces hold the same time.
    """
    timed = [i for i in items if i.times is not None]
    if not timed:
        return min(items, key=lambda i: i.rank)
    kept: list[Field] = []
    for item in sorted(timed, key=lambda i: (i.rank, i.array["time"].values[0])):
        other = _overlap(item, kept)
        if other is None:
            kept.append(item)
        elif other.rank == item.rank:
            text = f"holds times again that {other.file} holds"
            first = item.array["time"].values[0]
            bad.handle(InputError(text, file=item.file, variable=name, time=first))
    kept.sort(key=lambda i: i.array["time"].values[0])
    if len(kept) == 1:
        return kept[0]
    bounds = [i.bounds for i in kept if i.bounds is not None]
    return Field(
        array=_concat([i.array for i in kept]),
        bounds=np.concatenate(bounds) if len(bounds) == len(kept) else None,
        mask=_join_masks(kept),
        file=kept[0].file,
    )


def _overlap(item: Field, kept: list[Field]) -> Field | None:
    """The piece among those kept that spans some of the times of another."""
    first, last = (item.array["time"].values[i] for i in (0, -1))
    # Pieces come in the order of rank and time: among equals only the one before can overlap.
    alike = all(other.rank == item.rank for other in (*kept[:1], *kept[-1:]))
    for other in kept[-1:] if alike else kept:
        times = other.array["time"]
        if first <= times.values[-1] and times.values[0] <= last:
            return other
    return None


def _concat(arrays: list[xr.DataArray]) -> xr.DataArray:
    """Arrays joined along time, with the attributes of the first."""
    return xr.concat(
        arrays,
        dim="time",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )


def _join_masks(items: list[Field]) -> xr.DataArray | None:
    """Below-ground masks joined along time; pieces without gaps have none and count as zero."""
    known = [i.mask for i in items if i.mask is not None]
    if not known:
        return None
    masks = [
        xr.zeros_like(i.array, dtype=np.int8).assign_attrs(known[0].attrs).rename(known[0].name)
        if i.mask is None
        else i.mask
        for i in items
    ]
    return _concat(masks)


def _wanted(fields: dict[str, Field], options: ReadOptions) -> dict[str, Field]:
    """The fields that the user keeps and what they are made from; others would narrow time."""
    if options.fields is None:
        return fields
    names = set(options.fields)
    for missing in names - set(fields):
        names |= ingredients(missing)
    kept = {n: f for n, f in fields.items() if n in names}
    return kept or fields


def _dataset(fields: dict[str, Field]) -> xr.Dataset:
    """One dataset in the schema, fields in the vocabulary's order, masks after them."""
    arrays = {n: f.array for n, f in fields.items()}
    arrays |= {str(f.mask.name): f.mask for f in fields.values() if f.mask is not None}
    first = next(iter(arrays.values()))
    shared = {axis: first[axis].values for axis in ("lat", "lon")}
    dataset = xr.Dataset({n: a.assign_coords(shared) for n, a in arrays.items()})
    for axis in ("lat", "lon"):
        dataset[axis].attrs = dict(coordinate_attrs(axis))
    names = field_names(dataset)
    return dataset[[*names, *(n for n in dataset.data_vars if n not in names)]]
