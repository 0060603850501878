"""What one member of the control tree knows of one step until its whole order is agreed."""


class Round:
    """The buckets of one step, as one member sees them.

    Attributes:
        step: The step.
        since: When something last came, in seconds of the member's clock.
        order: What this rank was told to reduce, in order.
        num_agreed: Of `order`, how many the root has released.
        mine: 1 for each bucket that this rank submitted.
        num_mine: How many those are.
        as_before: So far this rank and all of whom it has heard went as in the step before.
        counts: For each bucket, in how many subtrees it is ready (this rank's own part is one).
        from_child: How many buckets each child has told of.
        ready: At the root, buckets that are ready everywhere and not released.
        plan: The cached order, None if the step is negotiated.
        num_done: Children whose subtrees went as cached.
        done: Which those are.
        deviated: This rank or one below left the plan.
        left_plan: The plan that was left, None if none was.
        num_unfrozen: Of this rank and its children, how many may still follow the plan.
        frozen_position: How far somebody followed the plan before it was left.
        required: At the root, what comes first in the order because somebody has reduced it.
    """

    __slots__ = (
        "as_before", "counts", "deviated", "done", "from_child", "frozen_position", "left_plan",
        "mine", "num_agreed", "num_done", "num_mine", "num_unfrozen", "order", "plan", "ready",
        "required", "since", "step",
    )  # fmt: skip

    def __init__(
        self,
        step: int,
        num_children: int,
        order: list[int],
        mine: bytearray,
        plan: tuple[int, ...] | None,
    ) -> None:
        self.step = step
        self.since = 0.0
        self.order = order
        self.num_agreed = 0
        self.mine = mine
        self.num_mine = 0
        self.as_before = True
        self.counts = [0] * len(mine)
        self.from_child = [0] * num_children
        self.ready: list[int] = []
        self.plan = plan
        self.num_done = 0
        self.done = [False] * num_children
        self.deviated = False
        self.left_plan: tuple[int, ...] | None = None
        self.num_unfrozen = 0
        self.frozen_position = 0
        self.required: tuple[int, ...] = ()

    def silent_children(self) -> list[int]:
        """Numbers of the children whose subtrees have not told all."""
        if self.plan is not None:
            return [number for number, done in enumerate(self.done) if not done]
        return [n for n, count in enumerate(self.from_child) if count < len(self.mine)]
