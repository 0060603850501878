"""One rank of `exastorm train` with a fault built in, which it notes down before it strikes.

    FAULT='{...}' python faulty_rank.py train [arguments of exastorm train]

It also writes down which samples it learns from at each step, as hashes of their fields.
"""

import dataclasses
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from exastorm.cli.main import main as exastorm
from exastorm.parallel.gradients import GradientExchange
from exastorm.train import checkpoint_files
from exastorm.train.data import TrainingData
from exastorm.train.loop import Trainer

RANK = int(os.environ["RANK"])


@dataclasses.dataclass
class Fault:
    """What goes wrong, in which rank, and where.

    Attributes:
        kind: kill, stop, nan, fill (the folder of checkpoints), cut (somebody else does), or none.
        place: forward, backward, exchange or checkpoint; "" at the beginning of a step.
        rank: Which rank.
        step: Steps done before.
        notes: Folder in which ranks note things down.
        part: Name of this part of the run in the notes.
        folder: The folder of checkpoints.
    """

    kind: str
    place: str
    rank: int
    step: int
    notes: Path
    part: str
    folder: Path
    steps_done: int = -1

    @property
    def mark(self):
        """Made when the fault strikes; it does so once."""
        return self.notes / "struck"

    def is_due(self, place):
        """Whether it strikes now, if that is the place."""
        now = (
            self.steps_done >= self.step
            if place == "checkpoint"
            else (self.steps_done == self.step)
        )
        is_ours = self.kind != "none" and self.rank == RANK and self.place == place
        return is_ours and now and not self.mark.exists()

    def strike(self, told=""):
        """Strike this process, or let the world around it be struck."""
        note(self.mark, told)
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.kind == "fill":
            fill(self.folder / "filler")

    def record(self, epoch, hashes):
        """Note the samples of a step."""
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        with (self.notes / f"{self.part}-{attempt}-{RANK}.jsonl").open("a") as file:
            file.write(json.dumps([self.steps_done, epoch, hashes]) + "\n")


def note(path, text):
    """Write a file that is whole as soon as it is there."""
    partial = path.with_name(f"{path.name}-{RANK}")
    partial.write_text(text)
    partial.rename(path)


def fill(path):
    """Fill a disk."""
    with path.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2


def hashes_of(batch):
    """A name for each sample that only its values make."""
    return [hashlib.sha256(field.numpy().tobytes()).hexdigest()[:16] for field in batch.field]


def install_in_steps(fault):
    """Faults in forward, backward and exchange, and between steps."""
    learn, complete = Trainer.learn, GradientExchange._complete
    strikes = {"forward": "register_forward_hook", "backward": "register_full_backward_pre_hook"}

    def faulty_learn(self, batch):
        fault.steps_done = self.step_number
        epoch = self.data.position_of(self.step_number).epoch
        fault.record(epoch, fault_hashes.pop(self.step_number, None) or hashes_of(batch))
        if fault.is_due(""):
            fault.strike()
        if fault.place in strikes and fault.is_due(fault.place):
            getattr(self.network.classifier, strikes[fault.place])(lambda *_: strike_once(fault))
        return learn(self, batch)

    def faulty_complete(self, current, extra):
        complete(self, current, extra)
        # All sums of this step are under way.
        if fault.is_due("exchange"):
            fault.strike()

    Trainer.learn, GradientExchange._complete = faulty_learn, faulty_complete


def strike_once(fault):
    """For a hook, which stays."""
    if not fault.mark.exists():
        fault.strike()


fault_hashes = {}


def install_in_samples(fault):
    """The first sample of a step is no number, also where it is looked at again."""
    batches = TrainingData.batches

    def faulty_batches(self, start_step):
        for step, batch in enumerate(batches(self, start_step), start_step):
            if fault.kind == "nan" and fault.rank == RANK and step == fault.step:
                fault_hashes[step] = hashes_of(batch)
                batch.field[0] = float("nan")
                if not fault.mark.exists():
                    note(fault.mark, self.times_of_step(step)[0])
            yield batch

    TrainingData.batches = faulty_batches


def install_in_checkpoints(fault):
    """Faults amid the write of a checkpoint: in its state, before its manifest, before `latest`."""
    moment = ("_write_state", "_write_manifest", "replace_file")[fault.step % 3]
    real = getattr(checkpoint_files, moment)

    def faulty(path, *rest):
        if fault.is_due("checkpoint"):
            if moment == "_write_state":
                path.write_bytes(b"half a state")
            fault.strike()
        return real(path, *rest)

    setattr(checkpoint_files, moment, faulty)


def main():
    told = json.loads(os.environ["FAULT"])
    fault = Fault(**told | {"notes": Path(told["notes"]), "folder": Path(told["folder"])})
    note(fault.notes / f"{fault.part}-{RANK}.pid", str(os.getpid()))
    install_in_steps(fault)
    install_in_samples(fault)
    install_in_checkpoints(fault)
    code = exastorm(sys.argv[1:])
    note(fault.notes / f"{fault.part}-{RANK}.end", str(time.time()))
    return code


if __name__ == "__main__":
    sys.exit(main())
