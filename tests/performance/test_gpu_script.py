"""bench/gpu.sh: the same lines on the CPU, small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_script_runs_small_on_a_cpu(tmp_path):
    environment = os.environ | {"EXASTORM_BENCH_SMALL": "1", "PYTHON": sys.executable}
    done = subprocess.run(
        ["sh", str(ROOT / "bench" / "gpu.sh"), str(tmp_path)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(tmp_path.glob("*.failed"))
    # 2 networks x (2 variants + batch, layout, recompute, TF32 off, batch norm).
    files = sorted(tmp_path.glob("step-*.json"))
    assert len(files) == 14
    for file in files:
        figures = json.loads(file.read_text())
        assert figures["samples_per_s"] > 0
        assert figures["peak_memory_mb"] > 0
    for sum_ in json.loads((tmp_path / "exchange.json").read_text())["sums"]:
        assert (sum_["num_wrong"], sum_["kind"]) == (0, "flat")
    overlap = json.loads((tmp_path / "overlap.json").read_text())
    assert (overlap["num_ranks"], overlap["num_wrong"]) == (2, 0)
    sides = json.loads((tmp_path / "input.json").read_text())["sides"]
    assert sides["shards float32"]["samples_per_s"] > 0
    assert "0 failed" in done.stdout
    assert len([line for line in done.stdout.splitlines() if "TF/s" in line]) == 1
