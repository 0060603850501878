"""What is to be staged: opaque files below one root, by name, size and checksum.

Nothing here knows what the files hold. Names are relative paths as POSIX spells them, and lead
nowhere but below the root, since the same names are made in the local folder of each node.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Literal

from exastorm.errors import InputError

AS_IT_IS = "as it is"
"""The form of files that are copied byte by byte."""

Mode = Literal["replicate", "partition", "sample"]
"""How many nodes keep a file: all, one, or those whose random subset it is in."""

_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class StagedFile:
    """One file of the shared store.

    Attributes:
        name: Path relative to the root.
        num_bytes: Size in the shared store.
        sha256: Checksum of the bytes in the shared store, hexadecimal; None where unknown.
        num_samples: Samples in it.
        mode: How many nodes keep it, where that is another than of the whole stage.
        group: Files of one group, such as those of a split, are dealt out by themselves, so that
            each node gets its part of each group.
    """

    name: str
    num_bytes: int
    sha256: str | None = None
    num_samples: int = 1
    mode: Mode | None = None
    group: str = ""

    def __post_init__(self) -> None:
        problem = _problem_of(self.name)
        if problem:
            raise InputError(f"a name of a file to stage {problem}, got {self.name!a}")
        if self.num_bytes < 0 or self.num_samples < 0:
            raise InputError(
                "sizes must not be negative, got "
                f"{self.num_bytes} bytes, {self.num_samples} samples",
                file=self.name,
            )
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise InputError(
                f"sha256 must be 64 hexadecimal digits in lower case, got {self.sha256!a}",
                file=self.name,
            )


@dataclass(frozen=True)
class Manifest:
    """All files of one stage.

    Attributes:
        root: Folder of the shared store.
        files: What is there.
        form: What becomes of the bytes on the way; a converter names its own.
    """

    root: str
    files: tuple[StagedFile, ...]
    form: str = AS_IT_IS

    def __post_init__(self) -> None:
        names = [file.name for file in self.files]
        seen = set(names)
        if len(seen) < len(names):
            double = next(name for name in names if names.count(name) > 1)
            raise InputError(f"a manifest must name each file once, got {double} twice")
        for name in names:
            above = {str(parent) for parent in PurePosixPath(name).parents} & seen
            if above:
                raise InputError(f"{above.pop()} can't be both a file and the folder of {name}")

    @cached_property
    def fingerprint(self) -> str:
        """Tells these files in this form from others, hexadecimal; the root does not count."""
        words = hashlib.sha256(json.dumps(self.form).encode())
        for file in sorted(self.files, key=lambda file: file.name):
            row = [file.name, file.num_bytes, file.sha256, file.num_samples]
            row += [file.mode, file.group]
            words.update(json.dumps(row).encode())
        return words.hexdigest()

    @cached_property
    def origins(self) -> dict[str, str]:
        """What each kept file was made from, by name; see `origin`."""
        return {file.name: origin(file, self.form) for file in self.files}


def origin(file: StagedFile, form: str) -> str:
    """What a kept file was made from: equal words, equal bytes. Empty without a checksum."""
    return "" if file.sha256 is None else f"{file.num_bytes} {file.sha256} {form}"


def differ_by_case(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names that some file systems take for one; None if there are none."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            return other, name
    return None


def _problem_of(name: str) -> str | None:
    """What a name must be and is not."""
    if not name or name != str(PurePosixPath(name)) or name == ".":
        return "must be a path in its shortest form"
    if name.startswith("/") or ".." in name.split("/"):
        return "must lead below the root"
    if not name.isprintable():
        return "must be of printable characters"
    return None
