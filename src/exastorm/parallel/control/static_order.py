"""Is the order of buckets the same step after step? Then it need not be negotiated any more.

A step is static if every rank submitted its buckets in the order in which it did so in the step
before (an AND over all ranks, which comes down with the agreed order). Each member keeps count for
itself and so comes to the same answer as all others. The idea is that of Horovod's response cache
(Romero et al., NSDI 2022).
"""

PIPELINE_STEPS = 2
"""How a step goes is decided by the orders up to so many steps before it.

With gradient lag 1, a rank submits buckets of one step while the step before it is still
exchanged; the one before that is over. So nobody has to wait for a decision."""


class StaticOrder:
    """The orders that were agreed so far, as far as they decide how later steps go.

    Attributes:
        first: The first step, None before.
        completed: The last step whose whole order is agreed, None before.
    """

    def __init__(self, confirm_steps: int) -> None:
        self.first: int | None = None
        self.completed: int | None = None
        self._confirm_steps = confirm_steps
        self._num_equal = 0  # steps in a row in which every rank kept its order
        self._plan: tuple[int, ...] = ()
        self._plans: dict[int, tuple[int, ...]] = {}

    def is_complete(self, step: int) -> bool:
        """True if the whole order of a step is agreed."""
        return self.completed is not None and step <= self.completed

    def is_decided(self, step: int) -> bool:
        """True once it is known whether a step starts with a cached order."""
        if self.first is None or step < self.first + PIPELINE_STEPS:
            return True
        return self.is_complete(step - PIPELINE_STEPS)

    def begin(self, step: int) -> tuple[int, ...] | None:
        """The cached order of a step that begins, None if it is to be negotiated."""
        if self.first is None:
            self.first = step
        return self._plans.pop(step, None)

    def complete(self, step: int, order: tuple[int, ...], as_before: bool) -> None:
        """The whole order of the next step is agreed; `as_before`: it was static."""
        assert self.completed is None or step == self.completed + 1
        self.completed = step
        self._num_equal = self._num_equal + 1 if as_before else 1
        if self._num_equal <= self._confirm_steps:
            self._plan = order  # The root's order of buckets that come together may still vary.
        if self._num_equal >= self._confirm_steps:
            self._plans[step + PIPELINE_STEPS] = self._plan
