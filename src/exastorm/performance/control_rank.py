"""One rank of the benchmark of the control plane: a light process, without torch and numpy.

    python -m exastorm.performance.control_rank RANK PLAN

PLAN is JSON: `num_ranks`, `radix`, `num_buckets`, `num_steps`, `step_s`, `batch_s`, `timeout_s`,
`seed`. Ranks and the benchmark meet: each rank writes a line of JSON, and waits for one. At the
first meeting they say their addresses and hear all of them; at the last, what they measured.
"""

import json
import random
import sys
import time
from typing import Any

from exastorm.parallel.control.greeting import Addresses
from exastorm.parallel.control.plane import ControlPlane
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.errors import ControlError

Order = list[int]
"""Buckets of a step, as one rank submits them."""


def say(word: Any = None) -> None:
    """Come to the next meeting, with a word for the benchmark."""
    sys.stdout.write(json.dumps(word) + "\n")
    sys.stdout.flush()


def hear() -> Any:
    """Wait until all have come to the meeting; what the benchmark says then.

    Raises:
        ControlError: The benchmark is gone.
    """
    line = sys.stdin.readline()
    if not line:
        raise ControlError("the benchmark ended before its ranks")
    return json.loads(line)


def meet(word: Any = None) -> Any:
    """Say and hear."""
    say(word)
    return hear()


class AddressBook:
    """The addresses of all ranks, from the first meeting."""

    def __init__(self) -> None:
        self._has_said = False
        self._all: list[str] | None = None

    def publish(self, rank: int, address: str) -> None:
        """Where this rank can be found; rank 0 waits for others before it looks up anything."""
        if not self._has_said:
            say(address)
        self._has_said = True

    def lookup(self, rank: int) -> str:
        """Where a rank can be found; waits for all the first time."""
        if not self._has_said:
            say()
        self._has_said = True
        if self._all is None:
            self._all = hear()
        return self._all[rank]


def main(rank: int, plan: dict[str, Any]) -> None:
    """Take part in a run: steps whose order is negotiated, then steps whose order is cached."""
    limit_s = plan["timeout_s"]
    settings = ControlSettings(
        radix=plan["radix"],
        batch_s=plan["batch_s"],
        # On a busy machine ranks would ask whom they wait for, and those packets would be counted.
        stall_s=limit_s,
        hang_s=limit_s,
        connect_s=limit_s,
    )
    book, num_buckets, num_steps = AddressBook(), plan["num_buckets"], plan["num_steps"]
    orders = changing_orders(num_buckets, num_steps, f"{plan['seed']} {rank}")
    # Afterwards each rank keeps its last order; from so many steps later on the plan is followed.
    kept = [orders[-1]] * num_steps
    first_cached = num_steps + settings.confirm_steps
    addresses = Addresses(book.publish, book.lookup)
    with ControlPlane(
        rank, plan["num_ranks"], addresses, settings, num_buckets=num_buckets
    ) as control:
        book.lookup(rank)  # Rank 0 asks for nobody, but hears them too.
        negotiated = measure(control, 0, orders, plan["step_s"])
        for step in range(num_steps, first_cached):
            go_through(control, step, orders[-1], 0.0)
        vote(control, first_cached - 1)
        cached = measure(control, first_cached, kept, plan["step_s"])
        # Of the vote in each of the two, one packet goes to each neighbor, and comes from it.
        num_neighbors = len(control.tree.children(rank)) + (rank > 0)
        meet({"num_neighbors": num_neighbors, "negotiated": negotiated, "cached": cached})


def changing_orders(num_buckets: int, num_steps: int, seed: str) -> list[Order]:
    """An order for each step, drawn anew, unlike the one before: so none can be cached."""
    generator = random.Random(seed)
    orders = [list(range(num_buckets))]
    while len(orders) <= num_steps:
        order = generator.sample(orders[-1], num_buckets)
        if order != orders[-1]:
            orders.append(order)
    return orders[1:]


def measure(
    control: ControlPlane, first_step: int, orders: list[Order], step_s: float
) -> dict[str, Any]:
    """Go through steps and vote once; the packets and messages that took here, and times.

    Ranks meet wherever one that is ahead could be counted by one that is behind.
    """
    before = _counts(control)
    meet()
    cpu_s, start_s = time.process_time(), time.monotonic()
    for i, order in enumerate(orders):
        go_through(control, first_step + i, order, step_s)
    end_s, cpu_s = time.monotonic(), time.process_time() - cpu_s
    meet()
    vote(control, first_step + len(orders) - 1)
    counts = [now - then for now, then in zip(_counts(control), before, strict=True)]
    meet()
    return {"counts": counts, "start_s": start_s, "end_s": end_s, "cpu_s": cpu_s}


def vote(control: ControlPlane, step: int) -> None:
    """Vote, and hear the outcome: after that, all has come that neighbors said of the step."""
    control.vote(step)
    control.outcome(step)


def go_through(control: ControlPlane, step: int, order: Order, step_s: float) -> None:
    """Submit the buckets of a step evenly over a time, and wait until all may be reduced."""
    start = time.monotonic()
    for place, bucket in enumerate(order):
        due = start + step_s * place / (len(order) - 1)
        time.sleep(max(due - time.monotonic(), 0.0))
        control.submit(step, bucket)
    released = list(control.released(step))
    assert sorted(released) == sorted(order), f"step {step} released {released}"


def _counts(control: ControlPlane) -> tuple[int, ...]:
    """Packets sent and received, messages sent and received."""
    return (*control.traffic(), *control.messages())


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), json.loads(sys.argv[2]))
    except ControlError as problem:
        sys.exit(str(problem))
