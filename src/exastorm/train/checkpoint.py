"""Checkpoints: all that a run needs to go on as if it had never stopped, in one file.

The file is the SHA-256 of what follows, then torch's own format. It is replaced in one step, so a
run that is killed while it writes still has the one before; a torn or altered file is found when
it is read, before any of it is used.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from exastorm.errors import InputError
from exastorm.networks.record import replace_file

CHECKPOINT_NAME = "checkpoint.pt"
"""Name of the checkpoint in a run folder."""

CHECKSUM_BYTES = 32
"""Length of a SHA-256."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values to a file, in one step."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    replace_file(path, hashlib.sha256(content).digest() + content)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a state back, its tensors on the CPU.

    Raises:
        InputError: If there is none, or it is torn or altered.
    """
    if not path.is_file():
        raise InputError("no checkpoint to resume from", file=path)
    content = path.read_bytes()
    checksum, content = content[:CHECKSUM_BYTES], content[CHECKSUM_BYTES:]
    if hashlib.sha256(content).digest() != checksum:
        raise InputError("checkpoint must match its checksum; it is torn or altered", file=path)
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return dict(state)
