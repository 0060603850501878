"""Keys and values that all ranks see: what is asked of them, and the store of a single process."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol


class KeyStore(Protocol):
    """What ranks may ask of their store; torch.distributed's stores answer all of it."""

    def set(self, key: str, value: str, /) -> None:
        """Set a key for all ranks."""

    def get(self, key: str, /) -> bytes:
        """The value of a key; waits for the rank that sets it."""
        ...

    def multi_get(self, keys: list[str], /) -> list[bytes]:
        """The values of several keys in one request; waits for all."""
        ...

    def add(self, key: str, value: int, /) -> int:
        """Add to a counter, which starts at 0, and return its sum."""
        ...

    def check(self, keys: list[str], /) -> bool:
        """Whether all of the keys are set; does not wait."""
        ...

    def wait(self, keys: list[str], timeout: timedelta, /) -> None:
        """Wait until all of the keys are set."""


class MemoryStore:
    """The store of one process: where others would wait for a key, no one would ever set it."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def set(self, key: str, value: str | bytes) -> None:
        """Set a key."""
        self._values[key] = value.encode() if isinstance(value, str) else value

    def get(self, key: str) -> bytes:
        """The value of a key.

        Raises:
            KeyError: If it was never set.
        """
        return self._values[key]

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """The values of several keys.

        Raises:
            KeyError: If one was never set.
        """
        return [self._values[key] for key in keys]

    def add(self, key: str, value: int) -> int:
        """Add to a counter, which starts at 0, and return its sum."""
        total = int(self._values.get(key, b"0")) + value
        self._values[key] = str(total).encode()
        return total

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all of the keys are set."""
        return all(key in self._values for key in keys)

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Return at once.

        Raises:
            KeyError: If one was never set.
        """
        self.multi_get(keys)
