"""The door: paths of any archive in, one lazily loaded dataset in the package schema out.

Paths are expanded, their format is recognized (or taken from the user), the format's module reads
them, and what it returns is checked, reduced to the fields wanted and, if asked, regridded.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from exastorm.errors import InputError
from exastorm.grid import regular_grid
from exastorm.readers.checks import check_first_step
from exastorm.readers.formats import FORMATS, load_format
from exastorm.readers.opening import file_system, is_zarr, kind_of, open_lazily
from exastorm.readers.options import ReadOptions
from exastorm.readers.regrid import regrid
from exastorm.readers.schema import check_dataset, label_names, require_fields
from exastorm.readers.sources import bad_line

Paths = str | Path | Sequence[str | Path]

SUFFIXES = (".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".grib", ".grib2", ".grb", ".grb2", ".zarr")
"""Endings of the files that are taken from a directory."""

MAX_LOOKS = 64
"""Files whose format is recognized; of a larger archive this many, evenly, first and last too.
The others are still checked one by one when they are opened."""


def open_archive(paths: Paths, **options: Any) -> xr.Dataset:
    """Open an archive as one lazily loaded dataset in the package schema.

    Args:
        paths: A path, a glob, a directory or a Zarr store, or several of these; anything that
            fsspec opens.
        **options: Fields of `exastorm.readers.options.ReadOptions`.

    Returns:
        Dimensions (time, lat, lon), latitude and longitude ascending, longitude in [0, 360), time
        with its calendar, names and units of `exastorm.variables`; each variable's attributes say
        its name and units in the archive and what to know of it.

    Raises:
        InputError: For a path or an option that does not exist, a file that can't be read, or an
            archive that is not one: in one line, with file, variable and time where known.
    """
    settings = read_options(**options)
    found = expand_paths(paths)
    name, files, bad = choose_format(found, settings)
    dataset = load_format(name).read(files, settings)
    if bad:
        listed = [*bad, *filter(None, [dataset.attrs.get("bad_files")])]
        dataset.attrs["bad_files"] = "\n".join(listed)
    return _finished(dataset, settings, files)


def read_options(**options: Any) -> ReadOptions:
    """Options from keywords, lists allowed for tuples.

    Raises:
        InputError: For an unknown option, or a value that it can't have.
    """
    known = [f.name for f in dataclass_fields(ReadOptions)]
    for name in options:
        if name not in known:
            raise InputError(f"{name!r} must be an option: {_suggest(name, known)}")
    several = [f.name for f in dataclass_fields(ReadOptions) if "tuple" in str(f.type)]
    values = {
        name: (value,) if isinstance(value, str) else tuple(value)
        for name, value in options.items()
        if name in several and isinstance(value, str | list)
    }
    settings = _make_options({**options, **values})
    if settings.format is not None and settings.format not in FORMATS:
        raise InputError(f"format {settings.format!r} {_suggest(settings.format, FORMATS)}")
    return settings


def _make_options(values: dict[str, Any]) -> ReadOptions:
    """Options from checked names.

    Raises:
        InputError: For a value that an option can't have.
    """
    try:
        return ReadOptions(**values)
    except (TypeError, ValueError) as error:
        raise InputError(f"an option is wrong: {error}") from error


def _suggest(name: str, known: Sequence[str]) -> str:
    """The known names, or the one that was probably meant."""
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"is unknown; did you mean {close[0]!r}?"
    return f"is unknown; must be one of {', '.join(known)}"


def expand_paths(paths: Paths) -> list[str]:
    """All files and stores that paths, globs and directories name, in the order of their names.

    Raises:
        InputError: For one that names nothing.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if not given:
        raise InputError("must have at least one path, got none")
    found = [file for path in given for file in _expand_one(str(path))]
    return list(dict.fromkeys(found))


def _expand_one(path: str) -> list[str]:
    """The files and stores of one path, glob or directory."""
    fs, inner = file_system(path)
    if not fs.exists(inner) and any(c in inner for c in "*?["):
        matches = sorted(str(m) for m in fs.glob(inner))
        if not matches:
            raise InputError("matches no file", file=path)
        return [_with_protocol(path, m) for m in matches]
    if not fs.exists(inner):
        raise InputError("does not exist", file=path)
    if not fs.isdir(inner) or is_zarr(path):
        return [path]
    entries = sorted(str(e) for e in fs.ls(inner, detail=False))
    wanted = [e for e in entries if e.lower().rstrip("/").endswith(SUFFIXES)]
    if not wanted:
        raise InputError(f"is a directory without data files ({' '.join(SUFFIXES)})", file=path)
    return [_with_protocol(path, e) for e in wanted]


def _with_protocol(path: str, found: str) -> str:
    """What a file system listed, with the protocol that the user gave."""
    if "://" in found:
        return found
    protocol, separator, _ = path.partition("://")
    return f"{protocol}://{found.lstrip('/')}" if separator else found


def choose_format(paths: list[str], options: ReadOptions) -> tuple[str, list[str], list[str]]:
    """Format of an archive, its files, and a line for each bad one that was left out.

    Args:
        paths: Files and stores.
        options: `format` and `skip_bad` are used.

    Raises:
        InputError: If a file is of no format, or files are of different ones.
    """
    if options.format is not None:
        return options.format, paths, []
    looked: dict[str, str] = {}
    bad: dict[str, str] = {}
    for path in _sample(paths):
        try:
            looked[path] = recognize(path)
        except InputError as error:
            if not options.skip_bad:
                raise
            bad[path] = bad_line(error)
    if not looked:
        raise InputError(f"no file can be read: {'; '.join(list(bad.values())[:3])}")
    names = list(dict.fromkeys(looked.values()))
    if len(names) > 1:
        raise InputError(_mixture(looked, names))
    return names[0], [p for p in paths if p not in bad], list(bad.values())


def _sample(paths: list[str]) -> Iterable[str]:
    """All paths, or as many of a large archive as are looked at."""
    places = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), MAX_LOOKS)).astype(int))
    return [paths[i] for i in places]


def _mixture(looked: dict[str, str], names: list[str]) -> str:
    """What to say of files of different formats."""
    examples = [next(p for p, n in looked.items() if n == name) for name in names]
    listed = ", ".join(f"{e} is {n}" for n, e in zip(names, examples, strict=True))
    return f"all files of an archive must be of one format: {listed}"


def recognize(path: str) -> str:
    """The format of one file or store.

    Raises:
        InputError: If it can't be read, or is of none.
    """
    for name in FORMATS:
        if load_format(name).recognize(path):
            return name
    if kind_of(path) != "grib":
        with open_lazily(path, decode_times=False):  # says it where it can't be opened
            pass
    raise InputError(
        f"is of no known format ({', '.join(FORMATS)}): no latitude-longitude grid is found",
        file=path,
    )


def _finished(dataset: xr.Dataset, options: ReadOptions, files: list[str]) -> xr.Dataset:
    """Check what a format returned, keep the fields wanted, regrid if asked."""
    default = files[0]
    check_dataset(dataset, default)
    if options.fields is not None:
        require_fields(dataset, options.fields, "the option `fields`")
        masks = [f"below_ground_{n}" for n in options.fields]
        kept = [*options.fields, *label_names(dataset), *(m for m in masks if m in dataset)]
        dataset = dataset[kept]
    check_first_step(dataset, dataset.encoding.get("field_files", {}), default)
    if options.grid is not None:
        dataset = regrid(dataset, *regular_grid(*options.grid))
    dataset.encoding["files"] = list(files)
    return dataset


def write_archive(dataset: xr.Dataset, out: str | Path, format: str) -> list[Path]:  # noqa: A002
    """Write a dataset in the schema as an archive of a format, in blocks of time.

    Args:
        dataset: In the schema.
        out: A directory, or a file or store by its suffix where the format allows.
        format: A name of FORMATS; "era5-zarr" and "cf-zarr" make a store in a directory.

    Returns:
        The files and stores written.

    Raises:
        InputError: For a format that is unknown or not written, or fields that it can't hold.
    """
    name = format.removesuffix("-zarr")
    if name not in FORMATS:
        raise InputError(f"format {format!r} {_suggest(format, FORMATS)}")
    path = Path(out)
    if format != name and path.suffix != ".zarr":
        path = path / f"{name}.zarr"
    return load_format(name).write(check_dataset(dataset), path)
