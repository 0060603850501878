"""What one rank itself has submitted: each bucket once a step, steps one after the other."""


class OwnSteps:
    """The buckets that this rank has submitted in its current step.

    Attributes:
        first: The first step, None before.
    """

    def __init__(self, num_buckets: int) -> None:
        self.first: int | None = None
        self._num_buckets = num_buckets
        self._step: int | None = None
        self._order: list[int] = []
        self._order_before: list[int] = []
        self._has = bytearray(num_buckets)

    def submit(self, step: int, bucket: int) -> bool:
        """Note a bucket.

        Returns:
            True if this rank submitted the same bucket at the same place in the step before.

        Raises:
            ValueError: A bucket twice, a bucket that there is not, or a step out of order.
        """
        if not 0 <= bucket < self._num_buckets:
            raise ValueError(f"bucket must be from 0 to {self._num_buckets - 1}, got {bucket}")
        if step != self._step:
            self._begin(step)
        if self._has[bucket]:
            raise ValueError(f"bucket {bucket} of step {step} is submitted twice")
        self._has[bucket] = 1
        place = len(self._order)
        self._order.append(bucket)
        return place < len(self._order_before) and self._order_before[place] == bucket

    def missing(self, step: int) -> list[int]:
        """Buckets of a step that were not submitted, ascending."""
        if self._step is None or self.first is None or step > self._step or step < self.first:
            return list(range(self._num_buckets))
        if step < self._step:
            return []
        return [bucket for bucket in range(self._num_buckets) if not self._has[bucket]]

    def _begin(self, step: int) -> None:
        if self._step is None:
            self.first = step
        elif step != self._step + 1 or len(self._order) < self._num_buckets:
            now = f"step {self._step} with {len(self._order)} of {self._num_buckets} buckets"
            raise ValueError(
                f"steps must be finished one after the other, got step {step} in {now}"
            )
        self._order_before, self._order = self._order, []
        self._has = bytearray(self._num_buckets)
        self._step = step
