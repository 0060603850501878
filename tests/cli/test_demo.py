"""The demo in small: every step runs, options override its file, and its figures are kept."""

import json

from exastorm.cli.command import parse
from exastorm.cli.demo import Demo
from exastorm.cli.main import main

SMALL = [
    "--synthesize.height", "48", "--synthesize.width", "72", "--synthesize.num-snapshots", "96",
    "--label.num-workers", "1", "--prepare.block-days", "3", "--prepare.gap-hours", "12",
    "--train.num-steps", "6", "--train.schedule.warmup-steps", "1",
]  # fmt: skip


def test_settings_come_from_the_shipped_file_and_options_win():
    demo = parse(Demo, "demo", ["--train.num-steps", "700"])
    assert demo.train.num_steps == 700
    assert demo.synthesize.cyclone_rate == 2.0  # configs/demo.yaml; the default is 1
    assert demo.prepare.gap_hours == 48.0


def test_the_whole_demo(tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), *SMALL, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert json.loads((out / "summary.json").read_text(encoding="utf-8")) == figures
    assert figures["climate"]["num_snapshots"] == 96
    for key in ("network_vs_labels", "baseline_vs_labels", "network_vs_truth"):
        assert 0.0 < figures[key]["mean_iou"] <= 1.0
    # The held-out masks are those that were scored: as many pixels in both.
    assert figures["network_vs_labels"]["num_pixels"] == figures["network_vs_truth"]["num_pixels"]
    assert "data:image/png;base64," in (out / "index.html").read_text(encoding="utf-8")
    assert main(["demo", "--out", str(out), *SMALL]) == 2
    assert "holds a climate already" in capsys.readouterr().err
