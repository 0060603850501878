"""Batches on a GPU before they are asked for: the next is copied while the device works on this.

Copies go from pinned memory, on a stream of their own, into two sets of tensors on the device that
take turns. Three waits keep order: the copy into a set waits until the device has done what it was
given while that set was in use; the device waits for the copy before it works on it; and the host
waits for a copy before what it came from is filled again, a whole step later, when it is long done.
On a CPU the same goes without streams, for tests.
"""

from collections.abc import Iterator

import torch

from exastorm.samples.batch import Batch
from exastorm.samples.fillers import first_of

NUM_SETS = 2
"""Sets of tensors on the device: one in use, one that is copied into."""


class DeviceCopies:
    """Copies to a device, in order, beside its work."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def copy(self, batch: Batch, target: Batch) -> torch.cuda.Event | None:
        """Queue a copy behind all that the device was given so far; returns a mark behind it."""
        if self._stream is None:
            for theirs, ours in zip(target, batch, strict=True):
                theirs.copy_(ours)
            return None
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for theirs, ours in zip(target, batch, strict=True):
                theirs.copy_(ours, non_blocking=True)
            mark = torch.cuda.Event()
            mark.record(self._stream)
        return mark

    def let_device_wait(self, mark: torch.cuda.Event | None) -> None:
        """Let the device begin what it is given from now on once a copy is done."""
        if mark is not None:
            mark.wait(torch.cuda.current_stream(self._device))


def copied_ahead(
    batches: Iterator[Batch], device: torch.device, num_samples: int
) -> Iterator[Batch]:
    """Batches on a device, each copied there while the one before is worked on.

    Args:
        batches: In pinned memory, for a GPU; each need be valid until the next is asked for.
        device: Where they go.
        num_samples: Samples of the largest batch.

    Returns:
        Batches that are valid until the next is asked for.
    """
    copies = DeviceCopies(device)
    sets: list[Batch] = []
    coming: tuple[Batch, torch.cuda.Event | None] | None = None
    for number, batch in enumerate(batches):
        if number < NUM_SETS:
            sets.append(_room_for(batch, device, num_samples))
        target = first_of(sets[number % NUM_SETS], len(batch.field))
        given, coming = coming, (target, copies.copy(batch, target))
        if given is not None:
            copies.let_device_wait(given[1])
            yield given[0]
        # Asking for the next has what this came from filled again.
        if coming[1] is not None:
            coming[1].synchronize()
    if coming is not None:
        copies.let_device_wait(coming[1])
        yield coming[0]


def _room_for(batch: Batch, device: torch.device, num_samples: int) -> Batch:
    """Tensors on a device, of the shapes of a batch but for its number of samples."""
    return Batch(
        *(torch.empty((num_samples, *t.shape[1:]), dtype=t.dtype, device=device) for t in batch)
    )
