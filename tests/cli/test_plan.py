"""`exastorm plan` as a user runs it."""

import contextlib
import io
import json

import pytest
from tests.train.conftest import make_samples

from exastorm.cli.main import main


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """24 training samples."""
    return str(make_samples(tmp_path_factory.mktemp("plan") / "s"))


def figures(capsys, *argv):
    """The JSON of a plan that must succeed."""
    code = main(["plan", *argv, "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


MACHINE = ["--machine.num-nodes", "3", "--machine.ranks-per-node", "2"]


def test_a_plan(samples, capsys):
    plan = figures(capsys, samples, *MACHINE, "--train.batch-size", "1")
    # 6 ranks of 1 sample: 24 samples are 4 steps, 4 for each rank.
    assert (plan["num_nodes"], plan["num_ranks"], plan["global_batch"]) == (3, 6, 6)
    assert (plan["steps_per_epoch"], plan["samples_per_rank"], plan["samples_left_over"]) == (
        4, 4, 0
    )  # fmt: skip
    assert plan["num_epochs"] == 2000 / 4
    # Gradients of 4 bytes, and two numbers more: loss and weight.
    size_mb = 4 * (plan["num_parameters"] + 2) / 1e6
    assert sum(plan["bucket_mb"]) == pytest.approx(size_mb)
    assert plan["num_buckets"] == len(plan["bucket_mb"])
    # 2 M (N - 1) / N with 3 nodes, 2 M (P - 1) / P with 6 ranks in blocks, twice that dealt out.
    sent = plan["node_link_mb"]
    assert sent["hierarchical"] == pytest.approx(size_mb * 4 / 3)
    assert sent["flat"] == pytest.approx(size_mb * 5 / 3)
    assert sent["flat, ranks dealt out in turn"] == pytest.approx(size_mb * 10 / 3)
    # 100 Gbit/s are 12.5 MB in a millisecond.
    assert plan["least_exchange_ms"] == pytest.approx(sent["hierarchical"] / 12.5)


PLAIN = [*MACHINE, "--train.batch-size", "2"]


@pytest.fixture(scope="module")
def plain(samples):
    """Figures of a plan with few options."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main(["plan", samples, *PLAIN, "--json"]) == 0
    return json.loads(text.getvalue())


@pytest.mark.parametrize(
    ("option", "figure"),
    [
        (["--machine.num-nodes", "4"], "num_ranks"),
        (["--machine.ranks-per-node", "4"], "num_ranks"),
        (["--machine.link-gbit", "10"], "least_exchange_ms"),
        (["--train.batch-size", "1"], "steps_per_epoch"),
        (["--train.exchange.bucket-mb", "0.1"], "num_buckets"),
        (["--train.exchange.lag", "1"], "checkpoint_mb"),
        (["--train.control.radix", "1"], "tree_depth"),
        (["--train.network.name", "tiramisu"], "num_parameters"),
        (["--train.optimizer.name", "sgd"], "rank_memory_mb"),
    ],
)
def test_options_change_the_plan(samples, plain, capsys, option, figure):
    given = dict(zip(PLAIN[::2], PLAIN[1::2], strict=True)) | {option[0]: option[1]}
    changed = figures(capsys, samples, *(word for pair in given.items() for word in pair))
    assert changed[figure] != plain[figure]


def test_what_staging_will_do(samples, capsys):
    subset = ["--train.stage.mode", "sample", "--train.stage.samples-per-node", "24"]
    plan = figures(capsys, samples, *MACHINE, "--stage", "/local", *subset, "--train.seed", "1")
    # All 24 training samples lie in one shard, so each of 3 nodes has it.
    assert plan["staging"]["copies"]["train"] == {"least": 3, "mean": 3, "most": 3}
    assert plan["staging"]["samples"]["train"] == {"least": 24, "mean": 24, "most": 24}
    # Of the other two shards one each: scores count a sample once.
    assert plan["staging"]["copies"]["test"] == {"least": 1, "mean": 1, "most": 1}
    # Two ranks of a node take 4 of its 24 in a step.
    assert plan["steps_per_epoch"] == 6
    assert main(["plan", samples, *MACHINE, "--train.stage.folder", "/local"]) == 0
    *table, line = capsys.readouterr().out.splitlines()
    # Each number of the nodes has a line of its own; three nodes read three shards, one each.
    rows = {row.split()[0]: " ".join(row.split()[1:]) for row in table}
    assert (rows["mode"], rows["train"]) == ("replicate", "24")
    assert " on average, " in rows["read_mb"]
    assert line.endswith(
        "each node keeps 0.00 GB and 24 training samples, 3.0 copies of each shard"
    )


def test_settings_of_a_file(samples, capsys):
    plan = figures(capsys, samples, "--config", "cluster", *MACHINE)
    assert plan["num_epochs"] == 20_000 / plan["steps_per_epoch"]


def test_the_line_says_what_matters(samples, capsys):
    assert main(["plan", samples, *MACHINE, "--train.batch-size", "1"]) == 0
    *table, line = capsys.readouterr().out.splitlines()
    assert line.startswith("6 ranks on 3 nodes: 4 steps of 6 samples an epoch, ")
    assert "; each node sends " in line
    names = {row.split()[0] for row in table}
    assert {"global_batch", "hierarchical", "messages_per_rank", "least_exchange_ms"} <= names


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--machine.num-nodes", "0"], "num_nodes must be at least 1, got 0"),
        (["--machine.nodes", "3"], "--machine.num-nodes"),
        (["--machine.num-nodes", "4560"], "must be at most the 24 samples, got 2 x 4560"),
        (["--train.exchange.lag", "2"], "invalid choice '2'"),
    ],
)
def test_mistakes_are_one_line_and_code_2(samples, argv, words, capsys):
    assert main(["plan", samples, *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err


def test_a_folder_without_samples(tmp_path, capsys):
    assert main(["plan", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"exastorm: error: {tmp_path}")


def test_samples_must_be_given(capsys):
    assert main(["plan"]) == 2
    assert "PATH" in capsys.readouterr().err
