"""A copy of a state as it is now, so that training can go on while the copy is written to disk.

On a CPU it is a copy in memory. On a GPU the copies are queued into pinned memory behind the work
that is queued already: the caller does not wait for them, whoever writes them does.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Snapshot:
    """A state on the CPU, some of which may still be on its way there.

    Attributes:
        state: The copy; not to be read before `wait`.
        copies: Events of the GPUs after the last copy from each.
    """

    state: dict[str, Any]
    copies: tuple[torch.cuda.Event, ...]

    def wait(self) -> dict[str, Any]:
        """The state, once all of it has arrived."""
        for event in self.copies:
            event.synchronize()
        return self.state


def take_snapshot(state: dict[str, Any]) -> Snapshot:
    """Copy a state of tensors and plain values.

    Args:
        state: Of dicts, lists, tuples, tensors, strings, bytes, numbers, booleans and None.

    Raises:
        TypeError: For anything else, naming where it is: it could be written, but not be read back
            without running code from the file.
    """
    devices: set[torch.device] = set()
    copied = {key: _copy(value, str(key), devices) for key, value in state.items()}
    events = []
    for device in devices:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        events.append(event)
    return Snapshot(copied, tuple(events))


def _copy(value: Any, place: str, devices: set[torch.device]) -> Any:
    """Copy one value; GPUs that copy are added to `devices`."""
    if isinstance(value, Tensor):
        return _copy_tensor(value.detach(), devices)
    if isinstance(value, dict):
        return {key: _copy(item, f"{place}.{key}", devices) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_copy(item, f"{place}[{i}]", devices) for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    # Subclasses, as numpy's float64 of float, are written as what they are, not as plain values.
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    raise TypeError(f"a state must be tensors and plain values, got {type(value)} in {place}")


def _copy_tensor(tensor: Tensor, devices: set[torch.device]) -> Tensor:
    """Copy a tensor to the CPU; it keeps its memory format and shares memory with no other."""
    if tensor.device.type != "cuda":
        return tensor.to("cpu", copy=True)
    pinned = torch.empty_like(tensor, device="cpu", pin_memory=True)
    devices.add(tensor.device)
    return pinned.copy_(tensor, non_blocking=True)
