"""How files are staged: where to, which of them on which node, and with what patience."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """Settings of staging; all nodes must be given the same."""

    folder: str | None = None
    """Folder on each node's own disk, or in its memory as /dev/shm; {node} in it stands for the
    number of the node. None reads the shared store."""

    mode: Literal["replicate", "partition", "sample"] = "replicate"
    """What a node keeps: every file, its own part, or a random subset as in the paper."""

    samples_per_node: int | None = None
    """With sample: how many samples a node keeps; 1,500 on Summit (the paper's staging script)."""

    num_readers: int = 8
    """Processes of a node that read from the shared store side by side.

    8 readers raised the rate of a node on Summit from 1.79 to 11.98 GB/s (SC18 paper, section
    V-A1)."""

    num_transfers: int = 4
    """Files that a node fetches from other nodes at once."""

    on_corrupt: Literal["stop", "skip"] = "stop"
    """What to do about a file that is not what its index says, after it was read twice."""

    patience_s: float = 60.0
    """How long a shared store, or another node, may give no answer (seconds)."""

    steal_after_s: float = 30.0
    """A file of which nothing came for so long is read by another node too (seconds)."""

    keep: bool = False
    """Leave the files on the nodes at the end; a later run takes what is still right."""

    seed: int = 0
    """Seed of the random subsets of sample."""

    def __post_init__(self) -> None:
        if self.folder is not None and not self.folder.strip():
            raise ValueError("folder must be named, got an empty name")
        if (self.samples_per_node is not None) != (self.mode == "sample"):
            raise ValueError(
                "samples_per_node must be given with mode sample, and only with it, "
                f"got {self.samples_per_node} with {self.mode}"
            )
        self._check_words()
        self._check_numbers()

    def _check_words(self) -> None:
        """Refuse words that mean nothing.

        Raises:
            ValueError: For one; says which words there are.
        """
        for name, words in (
            ("mode", ("replicate", "partition", "sample")), ("on_corrupt", ("stop", "skip")),
        ):  # fmt: skip
            if getattr(self, name) not in words:
                raise ValueError(
                    f"{name} must be one of {', '.join(words)}, got {getattr(self, name)}"
                )

    def _check_numbers(self) -> None:
        """Refuse numbers out of range.

        Raises:
            ValueError: For one; says what it must be.
        """
        for name in ("samples_per_node", "num_readers", "num_transfers"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        for name in ("patience_s", "steal_after_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
