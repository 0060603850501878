"""What a user's mistake looks like: one line with what must be, what was got, and where."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """A problem in what the user gave, told in one line.

    Attributes:
        problem: What must be and what was got.
        file: The file or store, where known.
        variable: The variable, where known.
        time: The time step, where known.
        is_told: True where another process tells the user.
    """

    is_told = False

    def __init__(
        self,
        problem: str,
        *,
        file: str | Path | None = None,
        variable: str | None = None,
        time: object | None = None,
    ) -> None:
        self.problem = problem
        self.file = None if file is None else str(file)
        self.variable = variable
        self.time = time
        where = [self.file] if self.file else []
        where += [f"variable {variable}"] if variable else []
        where += [f"time {time}"] if time is not None else []
        message = ", ".join(where) + (": " if where else "") + problem
        super().__init__(" ".join(message.split()))


class ExchangeError(RuntimeError):
    """Ranks that should exchange something can't: one is gone, silent, or says something else."""


@contextmanager
def writing(file: str | Path) -> Iterator[None]:
    """Tell a failure to write netCDF as other failures to write, where the library only says so.

    Raises:
        InputError: For the RuntimeError that netCDF4 raises, as on a full disk.
    """
    try:
        yield
    except RuntimeError as error:
        raise InputError(f"cannot be written ({error}); is the disk full?", file=file) from error
