"""Ranks that are processes of the test: each runs a program and writes what it saw as JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

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
    ranks = [
        subprocess.Popen(
            [*(prefixes[rank] if prefixes else ()), sys.executable, *words],
            env=shared | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_ranks)
    ]
    try:
        ends = [rank.communicate(timeout=limit_s) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    codes = [rank.returncode for rank in ranks]
    # Ranks that wait for one that failed fail after it: what each said is shown.
    assert codes == [0] * num_ranks, "\n".join(
        f"rank {rank}, code {code}: {errors}"
        for rank, (code, (_, errors)) in enumerate(zip(codes, ends, strict=True))
    )
    return [json.loads(output) if output else None for output, _ in ends]
