"""Where results may go, checked before the work begins, so that none of it is in vain."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from exastorm.errors import InputError


def out_folder(out: str) -> Path:
    """A folder to make or to write into.

    Raises:
        InputError: If it is no folder, or lies where nothing can be written.
    """
    path = _place(out)
    if path.exists() and not path.is_dir():
        raise InputError("--out must be a folder, got a file", file=path)
    return path


def out_file(out: str, inputs: Sequence[str]) -> Path:
    """A file or store to write or to replace.

    Args:
        out: Where.
        inputs: Paths and globs that are read; the result must not replace or join them.

    Raises:
        InputError: If it is part of the input, or lies where nothing can be written.
    """
    path = _place(out)
    place = path.resolve()
    # Not Path.glob: paths may be absolute, as the shell gives them.
    for source in (found for given in inputs for found in (glob.glob(given) or [given])):  # noqa: PTH207
        read = Path(source).resolve()
        if place == read or place in read.parents or read in place.parents:
            raise InputError(f"--out must not lie in what is read, got {out!r}", file=source)
    return path


def _place(out: str) -> Path:
    """A path whose nearest folder can be written to."""
    if not out:
        raise InputError("--out must be a path, got nothing")
    path = Path(out)
    nearest = path
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if nearest != path and not nearest.is_dir():
        raise InputError(f"--out must lie in a folder, but {nearest} is a file", file=path)
    writes_here = nearest if nearest.is_dir() else nearest.parent
    if not os.access(writes_here, os.W_OK | os.X_OK):
        raise InputError(f"--out must be where you may write; not so {writes_here}", file=path)
    return path
