"""What readers tell the job about files: what became of one, and how one goes."""

from dataclasses import dataclass

from exastorm.parallel.staging.ledger import Entry
from exastorm.parallel.staging.manifest import StagedFile


@dataclass(frozen=True)
class Read:
    """What became of a file.

    Attributes:
        file: Which.
        entry: As it is kept; None where it isn't.
        problem: What is wrong with the file, to be said behind its name; None where it is kept.
        source_bytes: Read from the shared store for it, by all attempts.
        is_corrupt: Whether it is the file that is wrong, and not the way to it.
    """

    file: StagedFile
    entry: Entry | None
    problem: str | None
    source_bytes: int
    is_corrupt: bool = False


@dataclass(frozen=True)
class InFlight:
    """A file that is being read.

    Attributes:
        file: Which.
        source_bytes: Read so far, in this attempt.
        idle_s: Seconds since the last of them came.
    """

    file: StagedFile
    source_bytes: int
    idle_s: float
