"""Checkpoints on disk: written so that one is always whole, read only after it is found to be so.

A checkpoint is a folder `step_00000250` with the state in torch's format and a manifest: step, size
and SHA-256 of each file, and the SHA-256 of the manifest itself. It is written under a name that
ends in `.partial`, brought to the disk with its folder, and renamed; then the file `latest` is made
to name it. torch.load reads a state with a flipped bit without a word, so the sums are compared
before it sees one byte.
"""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import IO, Any, cast

import torch

import exastorm
from exastorm.errors import InputError
from exastorm.networks.record import replace_file

FORMAT_VERSION = 1
"""Raised when checkpoints of before can no longer be read."""

STATE_NAME = "state.pt"
MANIFEST_NAME = "manifest.json"
LATEST_NAME = "latest"

PARTIAL = ".partial"
"""End of the name of what is not whole: being written, or being deleted."""

REPLACED = ".replaced"
"""End of the name of a checkpoint while another of the same step takes its place."""

STEP_NAME = re.compile(r"step_(\d{8,})")

CHUNK_BYTES = 1 << 20
"""Bytes read at a time for a checksum."""


def step_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return folder / f"step_{step:08d}"


def list_steps(folder: Path) -> list[int]:
    """Steps that have a checkpoint, whole or not, the last first."""
    if not folder.is_dir():
        return []
    found = (STEP_NAME.fullmatch(path.name) for path in folder.iterdir() if path.is_dir())
    return sorted((int(match[1]) for match in found if match), reverse=True)


def write_checkpoint(folder: Path, state: dict[str, Any], step: int) -> None:
    """Write a checkpoint and make `latest` name it.

    Args:
        folder: The folder of checkpoints.
        state: On the CPU, of tensors and plain values.
        step: Steps done.

    Raises:
        OSError: If it can't be written; then all is as before.
    """
    path = step_path(folder, step)
    partial = path.with_name(path.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        files = {STATE_NAME: _write_state(partial / STATE_NAME, state)}
        _write_manifest(partial / MANIFEST_NAME, step, files)
        sync_folder(partial)
    except OSError:
        # Half a checkpoint may be what fills the disk.
        shutil.rmtree(partial, ignore_errors=True)
        raise
    replaced = path.with_name(path.name + REPLACED)
    if path.exists():
        path.rename(replaced)
    partial.rename(path)
    sync_folder(folder)
    delete_checkpoint(replaced)
    replace_file(folder / LATEST_NAME, f"{path.name}\n".encode())


def delete_checkpoint(path: Path) -> None:
    """Delete a checkpoint, if there; at no moment does half of it have its name."""
    if path.exists():
        partial = path.with_name(path.name + PARTIAL)
        path.rename(partial)
        # What is left of it, as on a network drive where someone reads it, is no checkpoint.
        shutil.rmtree(partial, ignore_errors=True)


def tidy(folder: Path) -> None:
    """Remove what an interrupted write left behind; nobody may be writing."""
    for path in folder.glob(f"*{PARTIAL}"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in folder.glob(f"*{REPLACED}"):
        successor = path.with_name(path.name.removesuffix(REPLACED))
        if successor.exists():
            delete_checkpoint(path)
        else:
            path.rename(successor)


def latest_step(folder: Path) -> int | None:
    """The step that `latest` names; None if it is missing, garbled, or names nothing there."""
    try:
        content = (folder / LATEST_NAME).read_bytes()
    except OSError:
        return None
    match = STEP_NAME.fullmatch(content.decode(errors="replace").strip())
    if match is None or not step_path(folder, int(match[1])).is_dir():
        return None
    return int(match[1])


def what_is_wrong(folder: Path, step: int) -> str:
    """What is torn or altered in a checkpoint; empty if it is whole.

    Raises:
        InputError: If it is of a format that this version can't read.
    """
    path = step_path(folder, step)
    manifest = _read_manifest(path / MANIFEST_NAME)
    if manifest is None:
        return f"{MANIFEST_NAME} is missing, torn or altered"
    if manifest["format"] != FORMAT_VERSION:
        raise InputError(
            f"must have checkpoint format {FORMAT_VERSION}, got {manifest['format']} "
            f"(written by exastorm {manifest['exastorm']})",
            file=path,
        )
    if manifest["step"] != step:
        return f"{MANIFEST_NAME} is of step {manifest['step']}"
    for name, entry in manifest["files"].items():
        problem = _compare(path / name, entry)
        if problem:
            return f"{name} {problem}"
    return ""


def read_state(folder: Path, step: int) -> dict[str, Any]:
    """Read the state of a checkpoint that was found whole, its tensors on the CPU."""
    path = step_path(folder, step) / STATE_NAME
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _HashedFile:
    """A file for torch.save that sums what it is given, so that the sum is of what was meant.

    An error is kept until the end: torch's writer, in C++, can't be left by one.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self.error: OSError | None = None
        self._file = file

    def write(self, content: bytes) -> int:
        """Write some bytes, unless that failed before."""
        if self.error is None:
            try:
                self._file.write(content)
            except OSError as error:
                self.error = error
            self.digest.update(content)
            self.size += len(content)
        return len(content)

    def flush(self) -> None:
        """Nothing to do before the end."""


def _write_state(path: Path, state: dict[str, Any]) -> dict[str, Any]:
    """Write a state to the disk; returns its entry in the manifest."""
    with path.open("wb") as file:
        hashed = _HashedFile(file)
        torch.save(state, cast(IO[bytes], hashed))
        if hashed.error is not None:
            raise hashed.error
        file.flush()
        os.fsync(file.fileno())
    return {"size": hashed.size, "sha256": hashed.digest.hexdigest()}


def _write_manifest(path: Path, step: int, files: dict[str, dict[str, Any]]) -> None:
    """Write a manifest to the disk."""
    body = {
        "format": FORMAT_VERSION,
        "step": step,
        "exastorm": exastorm.__version__,
        "files": files,
    }
    with path.open("wb") as file:
        file.write(_manifest_text(body))
        file.flush()
        os.fsync(file.fileno())


def _manifest_text(body: dict[str, Any]) -> bytes:
    """A manifest in its one form, with its own checksum."""
    checksum = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**body, "sha256": checksum}, indent=1) + "\n").encode()


def _read_manifest(path: Path) -> dict[str, Any] | None:
    """What a manifest says; None if it is not, byte for byte, as one is written."""
    try:
        content = path.read_bytes()
        body = dict(json.loads(content))
        body.pop("sha256")
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return body if _manifest_text(body) == content else None


def _compare(path: Path, entry: dict[str, Any]) -> str:
    """How a file differs from its entry in the manifest; empty if it does not."""
    try:
        size = path.stat().st_size
        if size != entry["size"]:
            return f"must have {entry['size']} bytes, got {size}"
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if digest.hexdigest() == entry["sha256"] else "is altered: its SHA-256 differs"
