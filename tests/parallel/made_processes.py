"""Ranks that are processes of the test: each runs a program and writes what it saw as JSON."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.parallel.made_forks import Fork, run_program

import exastorm

NOT_OURS = ("GLOO", "SLURM", "EXASTORM")


def run_processes(words, num_ranks, limit_s, prefixes=None, **variables):
    """What each rank wrote; None of one that wrote nothing.

    Args:
        words: What python runs, and with which arguments; the rank is in RANK.
        num_ranks: All ranks.
        limit_s: How long all may take together.
        prefixes: Commands that ranks are started through, one each.
        variables: Of their environment; what is no text is written as JSON.
    """
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in variables.items()}
    clean = {k: v for k, v in os.environ.items() if not k.startswith(NOT_OURS)}
    shared = clean | {
        "PYTHONPATH": str(Path(exastorm.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": str(num_ranks),
        **texts,
    }
    environments = [shared | {"RANK": str(rank)} for rank in range(num_ranks)]
    if prefixes is None:
        ends = _forked(words, environments, limit_s)
    else:
        ends = _started(words, environments, limit_s, prefixes)
    # Ranks that wait for one that failed fail after it: what each said is shown.
    assert [code for code, _, _ in ends] == [0] * num_ranks, "\n".join(
        f"rank {rank}, code {code}: {errors}" for rank, (code, _, errors) in enumerate(ends)
    )
    return [json.loads(output) if output else None for _, output, _ in ends]


def _forked(words, environments, limit_s):
    """Exit code, output and errors of each rank, none of which imports torch anew."""
    deadline = time.monotonic() + limit_s
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            Fork(run_program, (words,), Path(folder, str(rank)), environment)
            for rank, environment in enumerate(environments)
        ]
        try:
            return [rank.end(max(0.0, deadline - time.monotonic())) for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()


def _started(words, environments, limit_s, prefixes):
    """The same of ranks that are started by other programs."""
    ranks = [
        subprocess.Popen(
            [*prefix, sys.executable, *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for prefix, environment in zip(prefixes, environments, strict=True)
    ]
    try:
        ends = [rank.communicate(timeout=limit_s) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    return [(rank.returncode, *end) for rank, end in zip(ranks, ends, strict=True)]
