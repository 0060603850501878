"""Checkpoints of a run: all that it needs to go on as if it had never stopped.

`save` copies the state and returns; a thread writes the copy while training goes on. A checkpoint
that was torn or altered on the disk is found when it is read, named, and the one before it is used.
"""

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from exastorm.errors import InputError
from exastorm.train.checkpoint_files import (
    delete_checkpoint,
    latest_step,
    list_steps,
    read_state,
    step_path,
    tidy,
    what_is_wrong,
    write_checkpoint,
)
from exastorm.train.run_lock import RunLock
from exastorm.train.snapshot import Snapshot, take_snapshot

CHECKPOINTS_NAME = "checkpoints"
"""Folder of the checkpoints in a run folder."""

LOCK_NAME = "lock"

OLD_NAME = "checkpoint.pt"
"""The checkpoint of a run when there was only one, in another form."""


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """When checkpoints are written, and how many are kept."""

    interval: int = 250
    """Steps between checkpoints; the last step always makes one."""

    num_kept: int = 2
    """Checkpoints that are kept; with 1 there is no other to use if it is damaged on the disk."""

    asynchronous: bool = True
    """Write in the background, from a copy of the state in memory; else training waits."""

    def __post_init__(self) -> None:
        for name in ("interval", "num_kept"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class CheckpointError(InputError):
    """A checkpoint could not be written."""


class CheckpointStore:
    """The checkpoints of one run, as a context manager that keeps other processes out."""

    def __init__(self, run: Path, settings: CheckpointSettings) -> None:
        """Name the run; nothing is made or locked before the context is entered.

        Args:
            run: The run folder; checkpoints are in `CHECKPOINTS_NAME` in it.
            settings: When and how to write.
        """
        self._settings = settings
        self._run = run
        self._folder = run / CHECKPOINTS_NAME
        self._lock = RunLock(run, self._folder / LOCK_NAME)
        self._damaged: set[int] = set()
        self._writer: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def __enter__(self) -> "CheckpointStore":
        """Make the folder, lock it, and remove what an interrupted write left.

        Raises:
            InputError: If another process trains in this folder.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        tidy(self._folder)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the write under way.

        Raises:
            InputError: If it failed; where something else ends the context that goes on, and the
                failure is told on stderr.
        """
        try:
            self.wait()
        except InputError as failure:
            if error is None:
                raise
            # Where one has failed, that is why the next ones do.
            if not isinstance(error, CheckpointError):
                _warn(str(failure))
        finally:
            if self._writer is not None:
                self._writer.shutdown()
                self._writer = None
            self._lock.release()

    def is_due(self, step: int) -> bool:
        """True where the interval asks for a checkpoint after this step."""
        return step % self._settings.interval == 0

    def save(self, state: dict[str, Any], step: int) -> None:
        """Write a checkpoint of the state as it is now; tensors may change once this returns.

        One write at a time: if the one before is still under way, this waits for it.

        Args:
            state: Of dicts, lists, tuples, tensors and plain values.
            step: Steps done.

        Raises:
            InputError: If the write before this one failed, or this one where it is not done in the
                background.
        """
        assert self._writer is not None, "a store writes inside its context"
        self.wait()
        self._pending = self._writer.submit(self._write, take_snapshot(state), step)
        if not self._settings.asynchronous:
            self.wait()

    def wait(self) -> None:
        """Wait until all is written.

        Raises:
            InputError: If it could not be; the checkpoints before it are whole.
        """
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def load(self) -> tuple[dict[str, Any], int]:
        """The state of the latest checkpoint that is whole, its tensors on the CPU, and its step.

        Damaged ones are named on stderr.

        Raises:
            InputError: If there is none, or it is of another format.
        """
        self.wait()
        problems: list[str] = []
        for step in self._candidates():
            problem = what_is_wrong(self._folder, step)
            if not problem:
                if problems:
                    _warn(f"{'; '.join(problems)}; step {step} is used")
                return read_state(self._folder, step), step
            self._damaged.add(step)
            problems.append(f"{step_path(self._folder, step)} is damaged: {problem}")
        raise InputError(
            f"must hold a whole checkpoint to resume from, got {'; '.join(problems) or 'none'}",
            file=self._run,
        )

    def _candidates(self) -> list[int]:
        """Steps of the checkpoints in the order they are tried.

        Raises:
            InputError: If there is only one in the form of before.
        """
        steps = list_steps(self._folder)
        if not steps:
            refuse_old_form(self._run)
        latest = latest_step(self._folder)
        if latest is None:
            return steps
        return [latest, *(step for step in steps if step != latest)]

    def _write(self, snapshot: Snapshot, step: int) -> None:
        """Write a checkpoint and delete those that are no longer kept.

        Those of later steps go too: they are damaged, or of a course that was left when `latest`
        was set back.
        """
        try:
            write_checkpoint(self._folder, snapshot.wait(), step)
            self._damaged.discard(step)
            steps = list_steps(self._folder)
            whole = [other for other in steps if other <= step and other not in self._damaged]
            for other in set(steps) - set(whole[: self._settings.num_kept]):
                delete_checkpoint(step_path(self._folder, other))
        except OSError as error:
            raise CheckpointError(
                f"cannot be written ({error.strerror}); the checkpoint before it is as it was",
                file=step_path(self._folder, step),
            ) from error


class NoCheckpoints(CheckpointStore):
    """What ranks have that leave checkpoints to the first: the same verbs, and nothing done."""

    def __enter__(self) -> "NoCheckpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is under way."""

    def save(self, state: dict[str, Any], step: int) -> None:
        """Leave it to the first rank."""


def has_checkpoint(run: Path) -> bool:
    """True if a run folder holds a checkpoint, whole or not.

    Raises:
        InputError: If it holds only one in the form of before.
    """
    if list_steps(run / CHECKPOINTS_NAME):
        return True
    refuse_old_form(run)
    return False


def refuse_old_form(run: Path) -> None:
    """Refuse a run whose checkpoint is in the form of before.

    Raises:
        InputError: If there is one.
    """
    if (run / OLD_NAME).exists():
        raise InputError(
            "was written by an earlier version of exastorm and can't be resumed; train anew in "
            "another folder, or end the run with that version",
            file=run / OLD_NAME,
        )


def _warn(text: str) -> None:
    """Tell the user of something that went wrong and does not stop the run."""
    sys.stderr.write(f"exastorm: warning: {' '.join(text.split())}\n")
