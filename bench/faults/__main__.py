"""Faults while ranks train, each several times: does all end, in one line, and go on as it was?

    python bench/faults OUT [--num-trials 10] [--num-ranks 2] [--faults kill-forward,stop,...]

Trains without a fault once; then with each fault, in a rank and at a step drawn at random. What is
printed is a table in Markdown; all about each trial is in OUT/trials.jsonl.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from judging import Case, Trial
from ranks import OPTIONS, Course, Told
from trials import FAULTS, draw, missing_for

from exastorm.errors import InputError

COLUMNS = (
    "fault",
    "trials",
    "one clear line",
    "ended in time",
    "longest, s",
    "same bits",
    "other ranks right",
    "said in the first trial",
)
HEAD = f"| {' | '.join(COLUMNS)} |\n|---|{'--:|' * 6}---|\n"


def make_samples(out):
    """Small samples of a made-up climate."""
    command = [sys.executable, "-m", "exastorm.cli.main"]
    size = ["--synthesize.height", 32, "--synthesize.width", 48, "--synthesize.num-snapshots", 80]
    cut = ["--prepare.block-days", 1, "--prepare.gap-hours", 0]
    split = ["--prepare.split-fractions", 0.6, 0.2, 0.2]
    for words in (
        ["synthesize", out / "climate", *size, "--synthesize.cyclone-rate", 5],
        ["prepare", out / "climate/archive", "--labels", out / "climate/truth.nc",
         "--out", out / "samples", *cut, *split],
    ):  # fmt: skip
        subprocess.run([*command, *map(str, words)], check=True, capture_output=True)


def prepare(out, num_ranks, patience):
    """Samples and the run without a fault, made unless they are there; the latter."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "samples").exists():
        make_samples(out)
    folder = out / f"whole-{num_ranks}"
    if not folder.exists():
        # Two ranks add two numbers, in whatever way; more do so in the order of the ring.
        way = ["--train.exchange.allreduce.kind", "flat"]
        course = Course(folder, out / "samples", patience)
        ended = course.launch(num_ranks, Told(), *OPTIONS, *way, max_restarts=0)
        if ended.code != (0,):
            said = "\n".join(line for _, line in ended.lines)
            shutil.rmtree(folder)
            sys.exit(f"the run without a fault ended with code {ended.code[0]}:\n{said}")
    return folder / "run"


def try_fault(fault, whole, asked, record):
    """All trials of a fault; its row of the table."""
    out, rows = asked.out, []
    for number in range(asked.num_trials):
        # What is drawn does not depend on which other faults are tried.
        drawn = draw(random.Random(f"{asked.seed} {fault} {number}"), asked.num_ranks)
        folder = out / fault
        start = time.monotonic()
        try:
            shutil.rmtree(folder, ignore_errors=True)
            course = Course(folder, out / "samples", asked.patience)
            trial = FAULTS[fault](Case(course, whole, asked.num_ranks, **drawn))
        except (AssertionError, OSError, InputError, subprocess.SubprocessError) as error:
            trial = Trial(problems=[f"{type(error).__name__}: {error}"])
        took = {"fault": fault, **drawn, "minutes": round((time.monotonic() - start) / 60, 2)}
        rows.append(trial)
        record.write(json.dumps(took | asdict(trial) | {"is_well": trial.is_well}) + "\n")
        record.flush()
    return rows


def row_of(fault, trials):
    """A row of the table."""
    # Paths are this machine's.
    said = " / ".join(shortened(line) for line in trials[0].told)
    counts = [
        len(trials),
        sum(trial.is_clear for trial in trials),
        sum(trial.is_bounded for trial in trials),
        # One whose end is not known is the longest.
        f"{max((trial.ended_s for trial in trials), key=lambda s: (s != s, s)):.1f}",
        sum(trial.is_same for trial in trials),
        sum(trial.is_other_right for trial in trials),
    ]
    return f"| {fault} | {' | '.join(map(str, counts))} | {said} |\n"


def shortened(line):
    """A line without the folders of files, and without what ends a column."""
    words = [Path(w).name if w.startswith("/") else w for w in line.split()]
    return " ".join(words).replace("|", "/")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--num-trials", type=int, default=10)
    parser.add_argument("--num-ranks", type=int, default=2)
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--patience", type=float, default=1.0, help="factor of all limits, for a busy machine"
    )
    asked = parser.parse_args()
    asked.out = asked.out.resolve()
    whole = prepare(asked.out, asked.num_ranks, asked.patience)
    failed = 0
    sys.stdout.write(HEAD)
    with (asked.out / "trials.jsonl").open("a") as record:
        for fault in asked.faults.split(","):
            missing = missing_for(fault)
            if missing:
                sys.stdout.write(f"| {fault} | 0 | | | | | | left out: {missing} |\n")
                continue
            trials = try_fault(fault, whole, asked, record)
            failed += sum(not trial.is_well for trial in trials)
            sys.stdout.write(row_of(fault, trials))
            sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
