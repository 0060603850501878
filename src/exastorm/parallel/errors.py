"""What goes wrong between processes."""


class ExchangeError(RuntimeError):
    """Ranks that should exchange something can't: one is gone, silent, or says something else."""
