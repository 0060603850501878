"""One rank of a control plane as a process: `control_rank.py RANK SETUP`, JSON in and out.

Light on purpose: it loads nothing but the control plane. Addresses are files in a folder.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from exastorm.parallel.control.greeting import Addresses
from exastorm.parallel.control.messages import Status
from exastorm.parallel.control.plane import ControlPlane
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.errors import ControlError


def addresses_in(folder):
    """Addresses as files, written whole."""

    def publish(rank, address):
        path = Path(folder) / f".{rank}"
        path.write_text(address)
        path.rename(Path(folder) / str(rank))

    def lookup(rank):
        path = Path(folder) / str(rank)
        while not path.exists():
            time.sleep(0.01)
        return path.read_text()

    return Addresses(publish, lookup)


def misbehave(setup, rank, step):
    """What happens to the culprit in the middle of the last step."""
    if setup["fault"] is None or rank != setup["culprit"] or step != setup["num_steps"] - 1:
        return
    if setup["fault"] == "raise":
        raise OSError(28, "No space left on device")
    if setup["fault"] == "sleep":
        time.sleep(600)
    if setup["fault"] == "slow":
        (Path(setup["folder"]) / "slow").touch()
        for _ in range(15):  # Little by little: a suspended process is not to find it done.
            time.sleep(0.1)
        return
    if setup["fault"] == "fork_and_die" and os.fork() == 0:
        os.close(1)  # As a loader's worker that outlives its parent.
        time.sleep(30)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGSTOP if setup["fault"] == "stop" else signal.SIGKILL)


def run(control, setup, rank, result):
    """A few steps, like those of a training."""
    num_buckets = setup["num_buckets"]
    for step in range(setup["first"], setup["num_steps"]):
        order = list(range(num_buckets))
        if setup["shuffled"]:
            random.Random(f"{rank}, {step}").shuffle(order)
            order = order[: 1 + (rank + step) % num_buckets]
        sent, received = control.traffic()
        for place, bucket in enumerate(order):
            if place == len(order) // 2:
                misbehave(setup, rank, step)
            control.submit(step, bucket)
        control.finish(step)
        result["orders"].append(list(control.released(step)))
        now_sent, now_received = control.traffic()
        result["traffic"].append((now_sent - sent, now_received - received))
        wants = Status.STOP if (rank, step) == (setup["stops"], 3) else Status.NONE
        control.vote(step, wants, seconds=1.0 + (rank == 1), fingerprint=(step,))
        outcome = control.outcome(step)
        result["outcomes"].append(outcome)
        if Status.STOP in outcome.status:
            break


def main(rank, setup):
    lines = []
    result = {"orders": [], "outcomes": [], "traffic": [], "error": None, "lines": lines}
    settings = ControlSettings(**setup["settings"])
    try:
        with ControlPlane(
            rank,
            setup["num_ranks"],
            addresses_in(setup["folder"]),
            settings,
            num_buckets=setup["num_buckets"] + setup["more_buckets"].get(str(rank), 0),
            report=lambda line: lines.append((time.time(), line)),
        ) as control:
            try:
                run(control, setup, rank, result)
            finally:
                result["ended_at"] = time.time()
            result["stragglers"] = control.stragglers()
    except ControlError as error:
        result["error"] = str(error)
    except OSError as error:
        result["error"] = f"own: {error}"
    result["num_modules"] = sum(name in sys.modules for name in ("torch", "numpy", "asyncio"))
    print(json.dumps(result))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
