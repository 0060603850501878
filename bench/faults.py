"""Faults while ranks train, each several times: do they end in one line, and in the same weights?

    python bench/faults.py OUT [--num-trials 10] [--num-ranks 2] [--faults kill-forward,stop,...]

Trains without a fault once, then with each fault in a rank and at a step drawn at random, under the
supervisor, and compares the last weights bit by bit. What is printed is a table in Markdown.
"""

import argparse
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from exastorm.train.checkpoint_files import latest_step, read_state

HERE = Path(__file__).parent

FAULTS = (
    "kill-forward",
    "kill-backward",
    "kill-exchange",
    "kill-checkpoint",
    "stop",
    "exit",
    "nan",
)

NUM_STEPS, INTERVAL = 60, 10

SUPERVISE = """
import sys
from exastorm.parallel.launch.supervisor import Supervisor, SupervisorSettings
settings = SupervisorSettings(num_ranks=int(sys.argv[1]), max_restarts=2, grace_s=5.0)
sys.exit(Supervisor(lambda attempt: [sys.executable, *sys.argv[2:]], settings).run())
"""

OPTIONS = [
    "--train.num-steps", NUM_STEPS, "--train.batch-size", 2, "--train.validation.interval", NUM_STEPS,
    "--train.checkpoint.interval", INTERVAL, "--train.compute.deterministic",
    "--train.exchange.lag", 1, "--train.control.stall-s", 2, "--train.control.hang-s", 5,
]  # fmt: skip


def make_samples(out):
    """Small samples of a made-up climate."""
    command = [sys.executable, "-m", "exastorm.cli.main"]
    size = ["--synthesize.height", 32, "--synthesize.width", 48, "--synthesize.num-snapshots", 96]
    cut = ["--prepare.block-days", 1, "--prepare.gap-hours", 0]
    split = ["--prepare.split-fractions", 0.6, 0.2, 0.2]
    for words in (
        ["synthesize", out / "climate", *size, "--synthesize.cyclone-rate", 5],
        ["prepare", out / "climate/archive", "--labels", out / "climate/truth.nc",
         "--out", out / "samples", *cut, *split],
    ):  # fmt: skip
        subprocess.run([*command, *map(str, words)], check=True, capture_output=True)


def train(samples, run, fault, rank, step, num_ranks):
    """Train under the supervisor; exit code, what was said, seconds."""
    mark = run.with_suffix(".mark")
    mark.unlink(missing_ok=True)
    shutil.rmtree(run, ignore_errors=True)
    told = ["train", samples, "--out", run, "--auto-resume", *OPTIONS]
    words = [HERE / "faulty_rank.py", fault, rank, step, mark, *told]
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", SUPERVISE, str(num_ranks), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert fault == "none" or mark.exists(), f"{fault} did not strike: {done.stderr}"
    return done.returncode, done.stderr.splitlines(), time.monotonic() - start


def last_weights(run):
    """Weights of the last checkpoint."""
    folder = run / "checkpoints"
    return read_state(folder, latest_step(folder))["network"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--num-trials", type=int, default=10)
    parser.add_argument("--num-ranks", type=int, default=2)
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    make_samples(out)
    train(out / "samples", out / "whole", "none", 0, 0, asked.num_ranks)
    whole = last_weights(out / "whole")
    chance = random.Random(asked.seed)
    write = sys.stdout.write
    write(
        "| fault | trials | same weights | longest, s | said, at the first trial |\n|---|--:|--:|--:|---|\n"
    )
    for fault in asked.faults.split(","):
        same, longest, said = 0, 0.0, ""
        for trial in range(asked.num_trials):
            # The rank that writes checkpoints is the first; a step after one was written.
            rank = 0 if fault == "kill-checkpoint" else chance.randrange(asked.num_ranks)
            step = chance.randrange(INTERVAL, NUM_STEPS - INTERVAL)
            run = out / fault
            code, lines, seconds = train(out / "samples", run, fault, rank, step, asked.num_ranks)
            weights = last_weights(run)
            same += code == 0 and all(torch.equal(weights[k], whole[k]) for k in whole)
            longest = max(longest, seconds)
            said = said or f"rank {rank}, step {step}: " + " / ".join(lines)
        write(f"| {fault} | {asked.num_trials} | {same} | {longest:.0f} | {said} |\n")
        sys.stdout.flush()


main()
