import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from exastorm.parallel.control.greeting import Addresses
from exastorm.parallel.control.messages import Failure, Status, encode
from exastorm.parallel.control.plane import ControlPlane
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.errors import ControlError

RANK = Path(__file__).parent / "control_rank.py"
SOURCE = Path(__file__).parents[3] / "src"
# Generous, since a test machine may be busy: a late reply must not count as silence.
PATIENCE = {"stall_s": 1.5, "hang_s": 4.0, "reply_s": 1.5, "connect_s": 120.0}

# Where packets are counted: on a busy machine ranks would also ask whom they wait for.
PEACE = {"stall_s": 100.0, "hang_s": 200.0}


class Processes:
    """A rank in a process each."""

    def __init__(self, num_ranks, folder, **setup):
        settings = PATIENCE | setup.pop("settings", {})
        self.setup = {
            "num_ranks": num_ranks, "folder": str(folder), "num_buckets": 5, "first": 0,
            "num_steps": 6, "shuffled": True, "fault": None, "culprit": -1, "stops": -1,
            "more_buckets": {}, **setup, "settings": settings,
        }  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        self.ranks = [
            subprocess.Popen(
                [sys.executable, str(RANK), str(rank), json.dumps(self.setup)],
                env=environment,
                stdout=subprocess.PIPE,
                preexec_fn=lambda: os.nice(10),
            )
            for rank in range(num_ranks)
        ]

    def results(self, without=()):
        """What each rank says at its end."""
        return {
            rank: json.loads(process.communicate(timeout=240)[0])
            for rank, process in enumerate(self.ranks)
            if rank not in without
        }

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.ranks:
            process.kill()
            process.communicate()


def check_run(results, num_ranks, num_steps, radix):
    """All ranks did the same, none said too much, none loaded anything heavy."""
    for result in results.values():
        assert result["error"] is None
        assert result["orders"] == results[0]["orders"]
        assert result["outcomes"] == results[0]["outcomes"]
        assert all(sorted(order) == [0, 1, 2, 3, 4] for order in result["orders"])
        assert len(result["orders"]) == num_steps
        for sent, received in result["traffic"]:
            # radix + 1 for each of 5 buckets, and for the votes of the step before.
            assert sent <= (radix + 1) * 6
            assert received <= (radix + 1) * 6
        assert result["num_modules"] == 0, "light: no torch, no numpy"
    step, bits, count, mean_s, _, slowest, different, number = results[0]["outcomes"][0]
    assert (step, bits, count, different, number) == (0, 0, num_ranks, None, 0.0)
    assert mean_s == pytest.approx(1 + 1 / num_ranks)  # rank 1 takes 2 s, all others 1 s
    assert slowest[0] == [2.0, 1]
    ((rank, num_late, _, mean_late_s, _),) = results[0]["stragglers"]
    assert (rank, num_late, mean_late_s) == (1, num_steps, 1.0)


def check_stopped(results, culprit):
    """A rank that gives no answer is reported, and then all end for it."""
    assert len({result["error"] for result in results.values()}) == 1
    assert f"waited 4 s for rank {culprit} (gives no answer" in results[2]["error"]
    # Reported by rank 0, or by rank 1 among others if rank 0 is the one.
    (_, line), *_ = results[1 if culprit == 0 else 0]["lines"]
    assert line.startswith(f"step 5 has waited 1.5 s for rank {culprit} (gives no answer")


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    """What those ranks say that are left of runs in which one falls silent, by fault and rank.

    The runs go side by side: they do nothing but wait, each for as long as the others.
    """
    runs, results = {}, {}
    with ExitStack() as stack:
        for fault, culprit in (("stop", 0), ("stop", 1), ("sleep", 4)):
            folder, shuffled = tmp_path_factory.mktemp("lost"), fault == "stop"
            runs[fault, culprit] = stack.enter_context(
                Processes(
                    6, folder, fault=fault, culprit=culprit, shuffled=shuffled,
                    settings={"radix": 2},
                )
            )  # fmt: skip
        for (fault, culprit), ranks in runs.items():
            results[fault, culprit] = ranks.results(without=[culprit])
    return results


class TestProcesses:
    def test_shuffled_and_skipping_ranks_do_the_same(self, tmp_path):
        with Processes(8, tmp_path, settings=PEACE | {"radix": 2}) as ranks:
            check_run(ranks.results(), 8, 6, 2)

    @pytest.mark.slow
    def test_64_ranks(self, tmp_path):
        with Processes(64, tmp_path, num_steps=20, settings=PEACE) as ranks:
            check_run(ranks.results(), 64, 20, 4)

    def test_static_order_is_cached_and_all_stop_at_the_same_step(self, tmp_path):
        with Processes(
            4, tmp_path, shuffled=False, stops=3, settings=PEACE | {"confirm_steps": 1}
        ) as ranks:
            results = ranks.results()
        for result in results.values():
            assert result["error"] is None
            assert result["orders"] == [[0, 1, 2, 3, 4]] * 4, "rank 3 wanted to stop after step 3"
            assert Status(result["outcomes"][-1][1]) == Status.STOP
        # Radix 4: a leaf sends one packet in a cached step, Done; a vote may travel with it.
        assert all(result["traffic"][-1][0] <= 2 for result in list(results.values())[1:])

    @pytest.mark.parametrize("culprit", [0, 1, 5])
    def test_killed_rank_is_noticed_by_all_at_once(self, tmp_path, culprit):
        with Processes(
            6, tmp_path, fault="kill", culprit=culprit, settings=PEACE | {"radix": 2}
        ) as ranks:
            results = ranks.results(without=[culprit])
            assert ranks.ranks[culprit].wait() == -signal.SIGKILL
        assert {result["error"] for result in results.values()} == {
            f"rank {culprit} died: its connection was closed"
        }

    def test_killed_rank_is_noticed_although_a_child_of_it_lives(self, tmp_path):
        started = time.time()
        with Processes(3, tmp_path, fault="fork_and_die", culprit=2) as ranks:
            results = ranks.results(without=[2])
        assert results[0]["error"] == results[1]["error"] != None  # noqa: E711
        assert "rank 2 died" in results[0]["error"]
        assert max(result["ended_at"] for result in results.values()) - started < 20

    @pytest.mark.parametrize("culprit", [0, 1])
    def test_stopped_rank_is_named_then_ends_the_run(self, lost, culprit):
        check_stopped(lost["stop", culprit], culprit)

    @pytest.mark.slow
    def test_stopped_leaf_is_named_too(self, tmp_path):
        with Processes(6, tmp_path, fault="stop", culprit=5, settings={"radix": 2}) as ranks:
            check_stopped(ranks.results(without=[5]), 5)

    def test_hanging_main_thread_is_told_from_a_stopped_process(self, lost):
        results = lost["sleep", 4]
        # It hung before its third bucket of step 5, which is cached.
        assert {result["error"] for result in results.values()} == {
            "step 5 has waited 4 s for rank 4 (alive, but has not submitted bucket 2, 3, 4)"
        }
        assert "step 5 has waited 1.5 s for rank 4 (alive" in results[0]["lines"][0][1]

    def test_a_job_that_is_suspended_goes_on(self, tmp_path):
        # All ranks stand still for longer than hang_s while they wait for rank 2.
        patience = {"stall_s": 1.0, "hang_s": 2.0}
        with Processes(3, tmp_path, fault="slow", culprit=2, settings=patience) as ranks:
            while not (tmp_path / "slow").exists():
                time.sleep(0.05)
            for process in ranks.ranks:
                process.send_signal(signal.SIGSTOP)
            time.sleep(3.0)
            for process in ranks.ranks:
                process.send_signal(signal.SIGCONT)
            results = ranks.results()
        assert [result["error"] for result in results.values()] == [None] * 3

    def test_an_error_on_one_rank_ends_all(self, tmp_path):
        with Processes(3, tmp_path, fault="raise", culprit=2) as ranks:
            results = ranks.results()
        assert results[2]["error"] == "own: [Errno 28] No space left on device"
        line = "rank 2 failed: OSError: [Errno 28] No space left on device"
        assert results[0]["error"] == results[1]["error"] == line

    def test_ranks_that_were_told_otherwise_are_refused(self, tmp_path):
        with Processes(3, tmp_path, more_buckets={"2": 1}) as ranks:
            results = ranks.results()
        # The same line also on rank 1, whether it came before or after the door was closed.
        assert len({result["error"] for result in results.values()}) == 1
        assert "all ranks must be told the same of the run" in results[0]["error"]
        assert "rank 2 was told num_ranks 3, radix 4, num_buckets 6" in results[0]["error"]


class Board:
    """Where ranks in one process find one another."""

    def __init__(self):
        self.addresses = {}
        self.changed = threading.Condition()

    def publish(self, rank, address):
        with self.changed:
            self.addresses[rank] = address
            self.changed.notify_all()

    def lookup(self, rank):
        with self.changed:
            assert self.changed.wait_for(lambda: rank in self.addresses, 60)
            return self.addresses[rank]

    def addresses_of_run(self):
        return Addresses(self.publish, self.lookup)


def in_threads(actions):
    """Run each on a thread; the results or errors, in order."""
    results = [None] * len(actions)

    def work(number):
        try:
            results[number] = actions[number]()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    return results


def planes(num_ranks, **arguments):
    """All ranks of a run in this process."""
    board = Board()
    settings = ControlSettings(**{**PATIENCE, **arguments.pop("settings", {})})
    return in_threads(
        [
            lambda rank=rank: ControlPlane(
                rank, num_ranks, board.addresses_of_run(), settings, **arguments
            )
            for rank in range(num_ranks)
        ]
    )


class TestOneProcess:
    def test_a_lone_rank_needs_nobody(self):
        num_threads = threading.active_count()
        with ControlPlane(0, 1, num_buckets=3) as control:
            for step in range(300):
                control.submit(step, 2)
                control.finish(step)
                assert list(control.released(step)) == [2, 0, 1]
                control.vote(step, Status.STOP, seconds=0.5, fingerprint=(1, 2))
                assert control.outcome(step).status == Status.STOP
            with control.waiting():
                pass
            assert control.stragglers() == ()
            assert threading.active_count() == num_threads
        control.close()  # once more does nothing

    def test_addresses_are_needed_for_more(self):
        with pytest.raises(ValueError, match="addresses must be given for more than one rank"):
            ControlPlane(0, 2)

    def test_idle_threads_sleep(self):
        controls = planes(3)
        for control in controls:
            control.vote(0)
        for control in controls:
            control.outcome(0)
        before = time.process_time()
        time.sleep(1.5)
        assert time.process_time() - before < 0.3, "a busy loop would use about 1.5 s"
        in_threads([control.close for control in controls])

    def test_a_neighbor_that_takes_nothing_costs_nothing(self):
        # 8 MB for a parent that never reads: the rest waits without turning.
        board = Board()
        with socket.create_server(("127.0.0.1", 0)) as parent:
            board.publish(0, f"127.0.0.1 {parent.getsockname()[1]} token")

            def welcome():
                connection, _ = parent.accept()
                connection.recv(1000)
                said = json.dumps("welcome").encode()
                connection.sendall(len(said).to_bytes(4, "big") + said)
                return connection

            settings = ControlSettings(**{**PATIENCE, "stall_s": 100.0, "hang_s": 100.0})
            control, connection = in_threads(
                [lambda: ControlPlane(1, 2, board.addresses_of_run(), settings), welcome]
            )
            control.vote(0, fingerprint=(10**7,) * 10**6)
            before = time.process_time()
            time.sleep(1.5)
            assert time.process_time() - before < 0.3, "a busy loop would use about 1.5 s"
            connection.close()
        with pytest.raises(ControlError, match="rank 0 died"):
            control.close()

    def test_released_waits_for_all_and_reads_once(self):
        first, second = planes(2, num_buckets=2)
        first.finish(0)
        order = []
        reader = threading.Thread(target=lambda: order.extend(first.released(0)))
        reader.start()
        assert order == []
        second.submit(0, 1)
        second.submit(0, 0)
        reader.join(60)
        assert sorted(order) == [0, 1]
        assert list(second.released(0)) == order
        with pytest.raises(ValueError, match="the order of step 0 has been read"):
            next(first.released(0))
        in_threads([first.close, second.close])

    def test_outcome_must_be_voted_on(self):
        with ControlPlane(0, 1) as control:
            with pytest.raises(ValueError, match="has not voted on step 0"):
                control.outcome(0)
            for step in range(150):
                control.vote(step)
            with pytest.raises(ValueError, match="outcome of step 3 is not kept"):
                control.outcome(3)

    def test_failure_reaches_the_callback_while_the_main_thread_is_stuck(self):
        heard = threading.Event()
        errors = []

        def on_failure(error):
            errors.append(error)
            heard.set()

        first, second = planes(2, on_failure=on_failure)
        second.fail("out of\nmemory")
        assert heard.wait(60)
        assert str(errors[0]) == "rank 1 failed: out of memory"
        assert errors[0].ranks == (1,)
        for call in (lambda: first.vote(0), lambda: first.submit(0, 0), lambda: first.finish(0)):
            with pytest.raises(ControlError, match="rank 1 failed: out of memory"):
                call()
        first.close()  # says nothing more: it has been told
        with pytest.raises(ControlError, match="rank 1 failed"):
            second.close()

    def test_a_control_thread_that_fails_ends_all(self):
        # No rank would hear of anything any more, nor know why.
        def report(line):
            raise RuntimeError("no\nluck")

        heard = []
        patience = {"stall_s": 0.2, "hang_s": 200.0, "reply_s": 100.0}
        first, second = planes(2, report=report, on_failure=heard.append, settings=patience)
        first.vote(0)
        line = "rank 0 failed: its control thread stopped: RuntimeError: no luck"
        errors = in_threads([lambda: first.outcome(0)])
        errors += in_threads([second.close])
        first.close()
        assert [str(error) for error in (*errors, *heard)] == [line] * 4
        assert all(error.ranks == (0,) for error in errors)

    def test_many_packets_at_once_arrive(self):
        # More than the kernel holds for a connection: the rest waits until there is room.
        fingerprint = tuple(range(10**19, 10**19 + 800_000))  # 17 MB of text
        first, second = planes(2)
        other = (*fingerprint[:-1], 0)
        in_threads(
            [
                lambda: first.vote(0, fingerprint=fingerprint),
                lambda: second.vote(0, fingerprint=other),
            ]
        )
        assert first.outcome(0).different == second.outcome(0).different == (1, 799_999)
        in_threads([first.close, second.close])


class TestGreeting:
    def test_strangers_stay_outside(self):
        board = Board()
        settings = ControlSettings(**PATIENCE)
        controls = []
        root = threading.Thread(
            target=lambda: controls.append(ControlPlane(0, 2, board.addresses_of_run(), settings))
        )
        root.start()
        host, port, token = board.lookup(0).split()
        facts = {"num_ranks": 2, "radix": 4, "num_buckets": 0, "confirm_steps": 3}

        def knock(*greeting):
            stranger = socket.create_connection((host, int(port)))
            data = json.dumps(greeting).encode() if greeting else b"GET / HTTP/1.0\r\n\r\n"
            stranger.sendall(len(data).to_bytes(4, "big") + data if greeting else data)
            stranger.settimeout(60)
            try:
                answer = stranger.recv(100)
            except ConnectionResetError:
                answer = b""
            stranger.close()
            return answer

        assert knock("exastorm control 1", "0" * 32, 1, facts) == b""  # another run's token
        assert knock("exastorm control 0", token, 1, facts) == b""
        assert knock("exastorm control 1", token, 7, facts) == b""  # not its child
        assert knock() == b""  # "GET " as a length is 1.2 GB
        assert root.is_alive()
        silent = socket.create_connection((host, int(port)))  # says nothing at all
        second = ControlPlane(1, 2, board.addresses_of_run(), settings)
        root.join(60)
        in_threads([controls[0].close, second.close])
        silent.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))

    def test_what_comes_with_the_welcome_is_not_lost(self):
        # A parent that lets its child in and fails at once: both in one piece.
        board = Board()
        with socket.create_server(("127.0.0.1", 0)) as parent:
            board.publish(0, f"127.0.0.1 {parent.getsockname()[1]} token")

            def welcome_and_fail():
                connection, _ = parent.accept()
                connection.recv(1000)
                failure = encode([Failure("rank 0 failed: no luck", (0,))])
                said = [json.dumps("welcome").encode(), failure]
                connection.sendall(b"".join(len(b).to_bytes(4, "big") + b for b in said))
                return connection

            settings = ControlSettings(**PATIENCE)
            control, connection = in_threads(
                [lambda: ControlPlane(1, 2, board.addresses_of_run(), settings), welcome_and_fail]
            )
            with pytest.raises(ControlError, match="rank 0 failed: no luck"):
                control.close()
            connection.close()

    def test_a_neighbor_that_talks_nonsense_ends_the_run(self):
        first, second = planes(2)
        second._courier._links[0].send(b"{}!")
        with pytest.raises(ControlError, match="rank 1 can't be understood: not a packet"):
            first.close()
        with pytest.raises(ControlError, match="rank 1 can't be understood"):
            second.close()

    def test_a_child_that_does_not_come_is_named(self):
        board = Board()
        settings = ControlSettings(connect_s=0.5)
        with pytest.raises(ControlError, match="rank 1, 2 did not connect in time"):
            ControlPlane(0, 3, board.addresses_of_run(), settings)

    def test_those_who_came_hear_who_did_not(self):
        board = Board()
        root, child = in_threads(
            [
                lambda: ControlPlane(
                    0, 3, board.addresses_of_run(), ControlSettings(connect_s=2.0)
                ),
                lambda: ControlPlane(
                    1, 3, board.addresses_of_run(), ControlSettings(connect_s=2.0)
                ),
            ]
        )
        assert "rank 2 did not connect in time" in str(root)
        with pytest.raises(ControlError, match="rank 2 did not connect in time"):
            child.close()

    def test_those_who_come_late_hear_it_too(self):
        board = Board()
        settings = ControlSettings(connect_s=0.5)
        with pytest.raises(ControlError, match="rank 1, 2 did not connect in time"):
            ControlPlane(0, 3, board.addresses_of_run(), settings)
        with pytest.raises(ControlError, match="rank 1, 2 did not connect in time"):
            ControlPlane(1, 3, board.addresses_of_run(), ControlSettings(connect_s=100))

    def test_a_parent_that_says_no_address_is_named(self):
        def lookup(rank):
            raise TimeoutError("the time is over")

        addresses = Addresses(lambda rank, address: None, lookup)
        with pytest.raises(ControlError, match="rank 0 did not say where it is in time") as caught:
            ControlPlane(1, 2, addresses)
        assert caught.value.ranks == (0,)

    def test_an_address_where_nobody_is(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        addresses = Addresses(lambda rank, address: None, lambda rank: f"127.0.0.1 {port} token")
        with pytest.raises(ControlError, match=f"rank 0 can't be reached at 127.0.0.1 port {port}"):
            ControlPlane(1, 2, addresses, ControlSettings(connect_s=0.5))

    def test_an_address_of_another_run(self):
        # Its parent there hangs up on it.
        board = Board()
        with socket.create_server(("127.0.0.1", 0)) as other:
            board.publish(0, f"127.0.0.1 {other.getsockname()[1]} token")

            def hang_up():
                connection, _ = other.accept()
                connection.recv(1000)
                connection.close()

            errors = in_threads(
                [
                    lambda: ControlPlane(
                        1, 2, board.addresses_of_run(), ControlSettings(**PATIENCE)
                    ),
                    hang_up,
                ]
            )
        assert "rank 0 hung up" in str(errors[0])
