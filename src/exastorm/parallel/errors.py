"""What goes wrong between processes."""

from exastorm.errors import ExchangeError


class ControlError(ExchangeError):
    """The run has to end on all ranks; says why in one line, the same on each.

    Attributes:
        ranks: The ranks because of which it ends, as far as known.
    """

    def __init__(self, line: str, ranks: tuple[int, ...] = ()) -> None:
        super().__init__(line)
        self.ranks = ranks


__all__ = ["ControlError", "ExchangeError"]
