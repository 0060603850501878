"""What a step hides of its exchange: sums are right at both lags, and figures are what they say."""

import json

import pytest
from tests.performance.needs_fabric import needs_fabric

from exastorm.cli.benches.overlap import overlap_text
from exastorm.cli.main import main
from exastorm.performance.overlap import OverlapBenchSettings, bench_overlap


@needs_fabric
def test_layers_that_sleep_on_emulated_nodes():
    settings = OverlapBenchSettings(
        num_nodes=2,
        ranks_per_node=1,
        rate_mbit=200.0,
        sleep_s=0.3,
        size_mb=2.0,
        num_layers=5,
        bucket_mb=0.5,
        num_steps=2,
    )
    found = bench_overlap(settings)
    assert found["links"] == "emulated, 200 Mbit/s each way"
    assert found["exchange_mb"] == 2.0
    # Gradients of rank r at step k are r + k: with lag 1 they must be those of the step before.
    assert found["num_wrong"] == 0
    # 2 MB must leave each node: what goes at once is at most 256 KiB in each of two buckets.
    assert found["exchange_s"] >= 8 * (2.0 - 2 * 0.262) / 200.0
    for name in ("step_alone_s", "step_lag0_s", "step_lag1_s"):
        assert found[name] >= 0.3
    for lag in (0, 1):
        step = found[f"step_lag{lag}_s"]
        alone, sleep, exchange = found["step_alone_s"], 0.3, found["exchange_s"]
        assert found[f"hidden_lag{lag}"] == pytest.approx(1 - (step - alone) / exchange)
        assert found[f"hidden_lag{lag}_of_sleep"] == pytest.approx(1 - (step - sleep) / exchange)
    text = overlap_text(found).splitlines()
    assert text[0].startswith("2 ranks (cpu) on 2 nodes, blocks; links: emulated, 200 Mbit/s")
    assert text[1] == "2.0 MB of gradients; a step: sleeps 0.3 s; wrong sums: 0"
    assert len(text[-1].split("%")) == 3


def test_a_network_on_this_machine_as_it_is(capsys):
    argv = ["bench", "overlap", "--overlap.no-emulate", "--overlap.num-nodes", "1"]
    argv += ["--overlap.ranks-per-node", "2", "--overlap.work", "network"]
    argv += ["--overlap.height", "32", "--overlap.width", "48", "--overlap.num-steps", "1"]
    argv += ["--overlap.bucket-mb", "0.5", "--overlap.network.name", "tiramisu", "--json"]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["work"], found["num_wrong"], found["num_ranks"]) == ("network", 0, 2)
    assert found["exchange_s"] > 0
    assert "hidden_lag1_of_sleep" not in found
    assert "a step: network" in overlap_text(found)


def test_one_rank_hides_nothing(capsys):
    argv = ["bench", "overlap", "--overlap.no-emulate", "--overlap.num-nodes", "1"]
    argv += [
        "--overlap.ranks-per-node",
        "1",
        "--overlap.size-mb",
        "0.1",
        "--overlap.num-steps",
        "1",
    ]
    assert main([*argv, "--overlap.sleep-s", "0.01"]) == 0
    assert "one rank: nothing to exchange" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"work": "rest"}, "work must be sleep or network, got 'rest'"),
        ({"sleep_s": 0.0}, r"sleep_s must be positive, got 0\.0"),
        ({"num_layers": 0}, "num_layers must be at least 1, got 0"),
        ({"ranks_per_node": 0}, "ranks_per_node must be at least 1, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        OverlapBenchSettings(**change)
