"""The benchmark of the control plane: every rank is counted exactly, real or simulated."""

import json
import os
import signal
import subprocess
import sys
import threading
from itertools import pairwise

import pytest

from exastorm.cli.benches.control import BenchControl
from exastorm.cli.command import parse
from exastorm.cli.main import main
from exastorm.errors import InputError
from exastorm.parallel.control.tree import Tree
from exastorm.performance import control_processes
from exastorm.performance.control import ControlBenchSettings, bench_control, handling_time_us
from exastorm.performance.control_processes import Crew, run_processes
from exastorm.performance.control_rank import changing_orders

PLAN = {
    "num_ranks": 8, "radix": 2, "num_buckets": 3, "num_steps": 2, "step_s": 0.02,
    "batch_s": 0.002, "timeout_s": 200.0, "seed": 0,
}  # fmt: skip
SIMULATED = {"num_processes": 0, "handling_us": 10.0, "simulated_ranks": (40,), "radixes": (2,)}


@pytest.fixture(scope="module")
def eight():
    """Eight real processes in a binary and in the flat tree, and the same simulated."""
    settings = ControlBenchSettings(
        num_processes=8, simulated_ranks=(8,), radixes=(2, 0), num_buckets=3, num_steps=2,
        step_ms=20.0, timeout_s=200.0,
    )  # fmt: skip
    return bench_control(settings)


def counted(row, what):
    """Root received and sent, most received and sent."""
    return tuple(
        row[f"{place}_{what}_{way}"] for place in ("root", "max") for way in ("received", "sent")
    )


class TestEightProcesses:
    def test_no_rank_has_more_than_radix_plus_one_messages_a_bucket(self, eight):
        # Rank 0 of 8 has 2 children: of each it hears that each of 3 buckets is ready, and tells
        # each that it is released: 6 in, 6 out. The ranks below are cut 4 + 3: rank 1 has 2
        # children too and hears its parent's release beside: (2 + 1) x 3 = 9 in, 9 out.
        tree, flat = eight["processes"][0], eight["processes"][2]
        assert (tree["order"], tree["radix"], tree["depth"]) == ("negotiated", 2, 4)
        assert counted(tree, "messages") == (6, 6, 9, 9)
        # The lone coordinator has 7 children: 7 x 3; of the others none has more than 3.
        assert (flat["radix"], flat["depth"]) == (0, 2)
        assert counted(flat, "messages") == (21, 21, 21, 21)

    def test_a_packet_holds_a_message_or_more(self, eight):
        for row in eight["processes"] + eight["simulated"]:
            for packets, messages in zip(
                counted(row, "packets"), counted(row, "messages"), strict=True
            ):
                assert 0 <= packets <= messages

    def test_cached_order_takes_one_message_for_all_buckets(self, eight):
        # Up: all went as cached; down: everywhere. Rank 1 has 3 neighbors, rank 0 has 2, or 7.
        tree, flat = eight["processes"][1], eight["processes"][3]
        assert tree["order"] == flat["order"] == "cached"
        assert counted(tree, "messages") == (2, 2, 3, 3)
        assert counted(flat, "messages") == (7, 7, 7, 7)

    def test_simulation_counts_what_processes_count(self, eight):
        for real, made in zip(eight["processes"], eight["simulated"], strict=True):
            for name in ("num_ranks", "radix", "depth", "order"):
                assert real[name] == made[name]
            assert counted(real, "messages") == counted(made, "messages")

    def test_simulation_takes_the_time_that_was_measured(self, eight):
        flat = eight["processes"][2]
        num_packets = flat["root_packets_received"] + flat["root_packets_sent"]
        assert eight["handling_us"] == pytest.approx(1e3 * flat["root_busy_ms"] / num_packets)
        made = eight["simulated"][0]
        num_packets = made["root_packets_received"] + made["root_packets_sent"]
        assert made["root_busy_ms"] == pytest.approx(num_packets * eight["handling_us"] / 1e3)


@pytest.mark.slow
def test_64_processes_in_every_tree():
    settings = ControlBenchSettings(num_processes=64, simulated_ranks=(), num_steps=3)
    found = bench_control(settings)
    assert found["simulated"] == []
    for row in found["processes"]:
        num_each = 7 if row["order"] == "negotiated" else 1  # 7 buckets, or one word for all
        tree = Tree(num_ranks=64, radix=row["radix"])
        num_children = [len(tree.children(rank)) for rank in range(64)]
        most = num_each * max(num_children[0], 1 + max(num_children[1:]))
        root = num_each * num_children[0]
        assert counted(row, "messages") == (root, root, most, most)
        assert most <= num_each * ((row["radix"] or 63) + 1)
        for packets, messages in zip(
            counted(row, "packets"), counted(row, "messages"), strict=True
        ):
            assert packets <= messages


def test_orders_change_from_step_to_step():
    # Of two buckets there are two orders, so they take turns.
    orders = changing_orders(2, 50, "0 1")
    assert len(orders) == 50
    assert all(before != after for before, after in pairwise(orders))
    assert orders[0] == [1, 0], "nor is the first as if buckets came in order"
    assert changing_orders(5, 50, "0 1") != changing_orders(5, 50, "0 2")


def test_a_rank_is_light():
    # A lone rank does all that a rank does; what it hears at its eight meetings is given here.
    plan = json.dumps(PLAN | {"num_ranks": 1})
    code = (
        f"import json, sys; from exastorm.performance.control_rank import main; "
        f"main(0, json.loads({plan!r})); "
        f"print([name for name in ('torch', 'numpy', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="[null]\n" + "null\n" * 7, text=True,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.endswith("[]\n"), done.stderr


class TestFaults:
    def test_rank_that_is_killed(self, monkeypatch):
        class Doomed(Crew):
            def tell(self, word):
                if word is None:  # They are connected.
                    self._processes[3].kill()
                super().tell(word)

        monkeypatch.setattr(control_processes, "Crew", Doomed)
        with pytest.raises(InputError, match=r"rank \d of .* must end well, got: rank 3 died"):
            run_processes(4, PLAN | {"num_ranks": 4}, 200.0)

    def test_rank_that_hangs(self, monkeypatch):
        class Hung(Crew):
            def tell(self, word):
                os.kill(self._processes[1].pid, signal.SIGSTOP)
                super().tell(word)

        monkeypatch.setattr(control_processes, "Crew", Hung)
        with pytest.raises(InputError, match=r"within timeout_s 3"):
            run_processes(2, PLAN | {"num_ranks": 2}, 3.0)

    def test_machine_that_starts_no_more_processes(self, monkeypatch):
        def refuse(*_, **__):
            raise BlockingIOError(11, "Resource temporarily unavailable")

        monkeypatch.setattr(subprocess, "Popen", refuse)
        with pytest.raises(InputError, match=r"num_processes must be .* can start, got 9 "):
            Crew(9, PLAN, 200.0)
        clocks = [one for one in threading.enumerate() if isinstance(one, threading.Timer)]
        for clock in clocks:
            clock.join(20.0)
        assert not any(clock.is_alive() for clock in clocks), "it would tick for 200 s"


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_processes": 1}, r"num_processes must be 0 or at least 2, got 1"),
            ({"num_processes": 0}, r"handling_us must be given where no processes .* got None"),
            ({"handling_us": -1.0}, r"handling_us must be at least 0, got -1.0"),
            ({"simulated_ranks": (1,)}, r"simulated_ranks must be at least 2, got \(1,\)"),
            ({"radixes": ()}, r"radixes must be 0 \(flat\) or more, got \(\)"),
            ({"radixes": (-1,)}, r"radixes must be 0 \(flat\) or more, got \(-1,\)"),
            ({"num_buckets": 1}, r"num_buckets must be at least 2, got 1"),
            ({"num_steps": 0}, r"num_steps must be at least 1, got 0"),
            ({"step_ms": -1.0}, r"step_ms must be at least 0, got -1.0"),
            ({"batch_ms": -1.0}, r"batch_ms must be at least 0, got -1.0"),
            ({"latency_us": -1.0}, r"latency_us must be at least 0, got -1.0"),
            ({"jitter_ms": -1.0}, r"jitter_ms must be at least 0, got -1.0"),
            ({"timeout_s": 0.0}, r"timeout_s must be above 0, got 0.0"),
        ],
    )
    def test_wrong_ones_are_named(self, options, message):
        with pytest.raises(ValueError, match=message):
            ControlBenchSettings(**options)

    @pytest.mark.parametrize(
        "change",
        [
            {"simulated_ranks": (40, 41)},
            {"radixes": (3,)},
            {"num_buckets": 5},
            {"step_ms": 1.0},
            {"batch_ms": 50.0},
            {"handling_us": 20.0},
            {"latency_us": 500.0},
            {"jitter_ms": 10.0},
            {"seed": 1},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_every_one_changes_what_is_simulated(self, change):
        usual = bench_control(ControlBenchSettings(**SIMULATED))
        changed = bench_control(ControlBenchSettings(**SIMULATED | change))
        assert changed["simulated"] != usual["simulated"]
        assert usual == bench_control(ControlBenchSettings(**SIMULATED)), "the same seed"
        assert usual["processes"] == []

    def test_processes_are_told_the_options(self, monkeypatch):
        told = []

        def note(num_ranks, plan, timeout_s):
            told.append((num_ranks, timeout_s, plan))
            row = {"root_busy_ms": 1.0, "root_packets_sent": 2.0, "root_packets_received": 3.0}
            return row, row

        monkeypatch.setattr("exastorm.performance.control.run_processes", note)
        settings = ControlBenchSettings(
            num_processes=5, simulated_ranks=(), radixes=(3,), num_buckets=4, num_steps=6,
            step_ms=7.0, batch_ms=8.0, timeout_s=9.0, seed=10,
        )  # fmt: skip
        # 1 ms of CPU time for 2 + 3 packets.
        assert bench_control(settings)["handling_us"] == 200
        plan = {
            "num_ranks": 5, "radix": 3, "num_buckets": 4, "num_steps": 6, "step_s": 0.007,
            "batch_s": 0.008, "timeout_s": 9.0, "seed": 10,
        }  # fmt: skip
        assert told == [(5, 9.0, plan)]

    def test_batching_saves_packets_of_processes(self):
        # Three buckets at once: a leaf's first leaves at once, what follows waits for 50 ms, so a
        # leaf sends at most two packets; one for each bucket would be three.
        plan = PLAN | {"num_ranks": 2, "step_s": 0.0, "batch_s": 0.05}
        negotiated, _ = run_processes(2, plan, 200.0)
        assert negotiated["root_messages_received"] == 3
        assert negotiated["root_packets_received"] < 3


def test_handling_time_is_that_of_the_busiest_root():
    # 2 ms for 10 + 10 packets are 100 us each; the other root did less and is not looked at.
    rows = [
        {"root_busy_ms": 5.0, "root_packets_sent": 1.0, "root_packets_received": 1.0},
        {"root_busy_ms": 2.0, "root_packets_sent": 10.0, "root_packets_received": 10.0},
    ]
    assert handling_time_us(rows) == pytest.approx(100.0)
    assert handling_time_us([]) is None


def test_command_prints_a_table_and_figures(capsys):
    words = ["--control.num-processes", "0", "--control.handling-us", "1"]
    words += ["--control.simulated-ranks", "85", "--control.radixes", "4", "0"]
    assert parse(BenchControl, "bench control", words).control.radixes == (4, 0)
    main(["bench", "control", *words])
    text = capsys.readouterr().out
    rows = {tuple(line.split()[:4]): line.split()[4:] for line in text.splitlines()}
    # 1 + 4 + 16 + 64 = 85: a full tree of 4 levels; inner ranks have (4 + 1) x 7 messages.
    assert rows["85", "4", "4", "negotiated"][2:4] == ["28/28", "35/35"]
    assert rows["85", "flat", "2", "cached"][2:4] == ["84/84", "84/84"]
    main(["bench", "control", *words, "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert [row["radix"] for row in figures["simulated"]] == [4, 4, 0, 0]
    assert figures["handling_us"] == 1
