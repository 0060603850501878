"""What goes wrong between processes."""

from collections.abc import Iterator
from contextlib import contextmanager

from exastorm.errors import ExchangeError


class ControlError(ExchangeError):
    """The run has to end on all ranks; says why in one line, the same on each.

    Attributes:
        ranks: The ranks because of which it ends, as far as known.
        is_told: True where another rank, or thread, tells the user.
    """

    def __init__(self, line: str, ranks: tuple[int, ...] = (), *, is_told: bool = False) -> None:
        super().__init__(line)
        self.ranks = ranks
        self.is_told = is_told


def told(error: BaseException) -> BaseException:
    """What is said of an error in an exchange, in place of what a library says of it."""
    if not isinstance(error, RuntimeError) or isinstance(error, ExchangeError):
        return error
    # gloo and NCCL begin with the place in their code, in brackets, and gloo ends with advice.
    text = str(error).partition("\n")[0].partition(". This is")[0]
    problem = ExchangeError(
        f"an exchange with other ranks failed: {text.partition('] ')[2] or text}"
    )
    problem.__cause__ = error
    return problem


@contextmanager
def exchanging() -> Iterator[None]:
    """Tell of errors in an exchange as `told` does.

    Raises:
        ExchangeError: For a RuntimeError of a library.
    """
    try:
        yield
    except RuntimeError as error:
        raise told(error) from error


__all__ = ["ControlError", "ExchangeError", "exchanging", "told"]
