"""One rank of exastorm train that fails where and how it is told, once.

    python bench/faulty_rank.py FAULT RANK STEP MARK [arguments of exastorm]

FAULT is kill-forward, kill-backward, kill-exchange, kill-checkpoint, stop, nan or exit; it strikes
RANK at STEP (steps done before), unless the file MARK is there, which it leaves.
"""

import os
import signal
import sys
from pathlib import Path

from exastorm.cli.main import main as exastorm
from exastorm.parallel.gradients import GradientExchange
from exastorm.train import checkpoint_files
from exastorm.train.loop import Trainer


class Fault:
    """What goes wrong, where and when."""

    def __init__(self, kind, rank, step, mark):
        self.kind, self.step, self.mark = kind, step, mark
        self.here = int(os.environ["RANK"]) == rank
        self.steps_done = -1

    def is_due(self, *kinds):
        """Whether it strikes now, if it is one of these."""
        return (
            self.here
            and self.kind in kinds
            and self.steps_done == self.step
            and not self.mark.exists()
        )

    def strike(self, number=signal.SIGKILL):
        """Strike this process."""
        self.mark.touch()
        os.kill(os.getpid(), number)


def install(fault):
    """Put the fault where it belongs."""
    learn, end = Trainer.learn, GradientExchange._end
    manifest = checkpoint_files._write_manifest

    def faulty_learn(self, batch):
        fault.steps_done = self.step_number
        if fault.is_due("kill-forward"):
            self.network.classifier.register_forward_hook(lambda *_: fault.strike())
        if fault.is_due("kill-backward"):
            next(self.network.classifier.parameters()).register_hook(lambda _: fault.strike())
        if fault.is_due("stop"):
            fault.strike(signal.SIGSTOP)
        if fault.is_due("exit"):
            fault.mark.touch()
            raise RuntimeError("a fault that was asked for")
        if fault.is_due("nan"):
            fault.mark.touch()
            batch = batch._replace(field=batch.field * float("nan"))
        return learn(self, batch)

    def faulty_end(self, current, extra):
        if fault.is_due("kill-exchange"):
            fault.strike()
        return end(self, current, extra)

    def faulty_manifest(path, step, digests):
        # The state is written, and nothing yet says that it is whole.
        if fault.here and fault.kind == "kill-checkpoint" and step >= fault.step:
            if not fault.mark.exists():
                fault.strike()
        return manifest(path, step, digests)

    Trainer.learn, GradientExchange._end = faulty_learn, faulty_end
    checkpoint_files._write_manifest = faulty_manifest


if __name__ == "__main__":
    kind, rank, step, mark = sys.argv[1:5]
    install(Fault(kind, int(rank), int(step), Path(mark)))
    sys.exit(exastorm(sys.argv[5:]))
