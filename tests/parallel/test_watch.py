"""Agreement beside the gradients, and the end of a run in which a rank is lost."""

import os
import sys
import threading
import time

import pytest
from tests.parallel.made_ranks import LIMIT_S, run_ranks, values

from exastorm.parallel import watch as watch_module
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.control.messages import Status
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.errors import ControlError, ExchangeError
from exastorm.parallel.voice import Voice
from exastorm.parallel.watch import EXIT_CODE, Watch, tell

PEACE = {"stall_s": 100.0, "hang_s": 200.0, "connect_s": LIMIT_S}


def settings_with(**changes):
    return ControlSettings(**PEACE | changes)


def test_all_hear_what_any_wanted_one_step_later():
    def act(cluster):
        heard = []
        with Watch(cluster, settings_with()) as watch:
            for step in (3, 5, 6, 7):  # steps may be left out
                wish = Status.NONE
                if (step, cluster.world.rank) == (5, 2):
                    wish = Status.STOP
                if (step, cluster.world.rank) == (6, 0):
                    wish = Status(2)
                number = step + 0.1 * cluster.world.rank
                outcome = watch.agree(step, wish, number=number)
                heard.append(outcome and (outcome.step, outcome.status, outcome.number))
        return heard

    # Of the first rank's number.
    expected = [None, (3, Status.NONE, 3.0), (5, Status.STOP, 5.0), (6, Status(2), 6.0)]
    assert values(run_ranks(act, 3)) == [expected] * 3


def test_a_rank_alone_hears_itself():
    with Watch(Cluster.alone(), settings_with()) as watch:
        assert watch.agree(0, Status.STOP, fingerprint=(1,)) is None
        outcome = watch.agree(1, Status.NONE)
        assert (outcome.status, outcome.different) == (Status.STOP, None)
        assert watch.stragglers() == ()


def test_the_first_rank_that_differs_is_named_with_the_place():
    def act(cluster):
        prints = {1: (4, 5, 6), 2: (4, 0, 6), 3: (0, 5, 6)}
        with Watch(cluster, settings_with(radix=2)) as watch:
            watch.agree(0, Status.NONE, fingerprint=(4, 5, 6))
            mine = prints.get(cluster.world.rank, (4, 5, 6))
            heard = [watch.agree(1, Status.NONE, fingerprint=mine).different]
            heard += [watch.agree(step, Status.NONE).different for step in (2, 3)]
        return heard

    # Equal after step 0; after step 1 ranks 2 and 3 differ, rank 2 in its second number.
    assert values(run_ranks(act, 4)) == [[None, (2, 1), None]] * 4


def test_who_is_late_is_known_on_the_first_rank():
    def act(cluster):
        seconds = (1.0, 1.05, 3.0)[cluster.world.rank]
        with Watch(cluster, settings_with()) as watch:
            for step in range(4):
                watch.agree(step, Status.NONE, seconds=seconds)
            watch.control.outcome(3)
            return watch.stragglers()

    first, *others = values(run_ranks(act, 3))
    # Rank 2 took 3 s where the others' mean is 1.025 s; rank 1 is 5 % late, less than a tenth.
    ((rank, num_late, num_steps, mean_late_s, most_late_s),) = first
    assert (rank, num_late, num_steps) == (2, 4, 4)
    assert mean_late_s == pytest.approx(1.975)
    assert most_late_s == pytest.approx(1.975)
    assert others == [(), ()]


# What is wrong with what a rank was given, or the system refuses, that rank tells in one line
# itself; of other errors it shows a traceback, and the others tell why they end.
@pytest.mark.parametrize(("kind", "told"), [(OSError, True), (KeyError, False)])
def test_an_error_on_one_rank_ends_all(kind, told):
    def act(cluster):
        with Watch(cluster, settings_with()) as watch:
            watch.agree(0, Status.NONE)
            if cluster.world.is_first:
                raise kind("a")
            watch.agree(1, Status.NONE)
            watch.control.outcome(1)

    own, *others = run_ranks(act, 3)
    assert isinstance(own, kind)
    for error in others:
        assert isinstance(error, ControlError)
        assert str(error) == f"rank 0 failed: {kind.__name__}: {kind('a')}"
        assert error.ranks == (0,)
        assert error.is_told == told


def test_what_all_found_out_together_all_say_alike(monkeypatch):
    # Nobody waits to hear of it from others, as where an exchange failed.
    monkeypatch.setattr(watch_module, "LAST_WORDS_S", 10 * LIMIT_S)

    def act(cluster):
        with Watch(cluster, settings_with()) as watch:
            watch.agree(0, Status.NONE, fingerprint=(cluster.world.rank // 2,))
            rank = watch.agree(1, Status.NONE).different.rank
            raise ExchangeError(f"others on rank {rank}")

    for error in run_ranks(act, 3):
        assert isinstance(error, ControlError)
        assert (str(error), error.ranks, error.is_told) == ("others on rank 2", (2,), False)


def test_a_watch_that_follows_another_finds_its_own_ranks():
    def act(cluster):
        heard = []
        for wish in (Status.STOP, Status.NONE):
            with Watch(cluster, settings_with()) as watch:
                watch.agree(0, wish)
                heard.append(watch.agree(1, wish).status)
        return heard

    assert values(run_ranks(act, 3)) == [[Status.STOP, Status.NONE]] * 3


def test_a_rank_that_is_done_hears_that_another_failed():
    def act(cluster):
        with Watch(cluster, settings_with()):
            if not cluster.world.is_first:
                raise ArithmeticError("too large")

    first, _ = run_ranks(act)
    assert isinstance(first, ControlError)
    assert str(first) == "rank 1 failed: ArithmeticError: too large"
    assert not first.is_told


def test_an_exchange_that_failed_is_told_with_its_cause():
    # A collective fails at once when a connection is closed, and can't say why.
    exchange_failed = threading.Event()

    def act(cluster):
        with Watch(cluster, settings_with()):
            if cluster.world.is_first:
                exchange_failed.set()
                raise ExchangeError("an exchange with other ranks failed: connection closed")
            assert exchange_failed.wait(LIMIT_S)
            time.sleep(0.1)
            raise OSError("no space left")

    first, _ = run_ranks(act)
    assert isinstance(first, ControlError)
    assert str(first) == "rank 1 failed: OSError: no space left"


def test_an_exchange_that_failed_without_a_known_cause_ends_all(monkeypatch):
    monkeypatch.setattr(watch_module, "LAST_WORDS_S", 0.1)

    def act(cluster):
        with Watch(cluster, settings_with()) as watch:
            if cluster.world.is_first:
                raise ExchangeError("an exchange with other ranks failed: timed out")
            watch.control.vote(0)
            watch.control.outcome(0)

    monkeypatch.setattr(os, "_exit", lambda code: None)
    first, second = run_ranks(act)
    assert str(first) == "an exchange with other ranks failed: timed out"
    assert isinstance(second, ControlError)
    assert "rank 0 failed: ExchangeError: an exchange with other ranks failed" in str(second)


def test_a_main_thread_that_is_stuck_is_ended(monkeypatch, capsys):
    # As in a collective that another rank will never join.
    monkeypatch.setattr(watch_module, "LAST_WORDS_S", 0.1)
    ended, stuck = [], threading.Barrier(3)
    both_ended = threading.Event()

    def end(code):
        ended.append(code)
        if len(ended) == 2:
            both_ended.set()

    monkeypatch.setattr(os, "_exit", end)

    def act(cluster):
        with Watch(cluster, settings_with()):
            stuck.wait(LIMIT_S)
            if cluster.world.rank == 1:
                raise ArithmeticError("too large")
            assert both_ended.wait(LIMIT_S)

    run_ranks(act, 3)
    assert ended == [EXIT_CODE] * 2
    # Of ranks 0 and 2 one tells.
    line = "exastorm: error: rank 1 failed: ArithmeticError: too large\n"
    assert capsys.readouterr().err == line


class Unwritable:
    """What the standard error stream is on a full disk, or after its reader has gone."""

    def __init__(self, error):
        self._error = error

    def write(self, text):
        raise self._error

    flush = None


UNWRITABLE = [
    Unwritable(OSError(28, "No space left on device")),
    Unwritable(BrokenPipeError()),
    Unwritable(ValueError("I/O operation on closed file")),
    None,
]


@pytest.mark.parametrize("stream", UNWRITABLE)
def test_what_cannot_be_written_is_not_told(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    tell("a line")


def test_a_run_ends_after_hang_s_where_nothing_can_be_written(monkeypatch):
    # All rounds of the search before that have a line to tell.
    monkeypatch.setattr(sys, "stderr", UNWRITABLE[0])
    all_ended = threading.Event()

    def act(cluster):
        with Watch(cluster, settings_with(stall_s=0.2, hang_s=0.7, reply_s=60.0)) as watch:
            if cluster.world.is_first:
                watch.agree(0, Status.NONE)
                try:
                    watch.control.outcome(0)
                finally:
                    all_ended.set()
            assert all_ended.wait(LIMIT_S)

    first, second = run_ranks(act)
    assert isinstance(first, ControlError)
    assert (
        str(first)
        == str(second)
        == ("step 0 has waited 0.7 s for rank 1 (alive, but has not voted)")
    )


def join(name):
    """Wait for all threads of a name, which must not be heard of in another test."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(LIMIT_S)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_process_is_ended_even_if_it_cannot_say_why(monkeypatch):
    monkeypatch.setattr(watch_module, "LAST_WORDS_S", 0.1)
    ended = threading.Event()

    def say_nothing(self, error, say):
        raise MemoryError

    monkeypatch.setattr(os, "_exit", lambda code: ended.set())
    monkeypatch.setattr(Voice, "end", say_nothing)

    def act(cluster):
        with Watch(cluster, settings_with()):
            if cluster.world.is_first:
                raise ArithmeticError("too large")
            assert ended.wait(LIMIT_S)

    run_ranks(act)
    assert ended.is_set()
    join("last words")


def test_a_silent_first_rank_is_told_once(monkeypatch, capsys):
    def act(cluster):
        with Watch(cluster, settings_with()) as watch:
            watch.agree(0, Status.NONE)
            if not cluster.world.is_first:
                watch._tell_once("step 1 has waited 60 s for rank 0")
            watch.control.outcome(0)

    values(run_ranks(act, 3))
    deadline = time.monotonic() + LIMIT_S
    said = ""
    while not said and time.monotonic() < deadline:
        said += capsys.readouterr().err
        time.sleep(0.05)
    join("stall")
    said += capsys.readouterr().err
    assert said == "exastorm: step 1 has waited 60 s for rank 0\n"


def test_a_parent_that_never_comes_is_named_within_connect_s():
    def act(cluster):
        if not cluster.world.is_first:
            Watch(cluster, settings_with(connect_s=0.3))

    start = time.monotonic()
    _, *children = run_ranks(act, 3)
    assert time.monotonic() - start < LIMIT_S, "as long as torch would wait"
    for child in children:
        assert isinstance(child, ControlError)
        assert (str(child), child.ranks) == ("rank 0 did not say where it is in time", (0,))


def test_who_ends_by_itself_is_not_ended(monkeypatch, capsys):
    monkeypatch.setattr(watch_module, "LAST_WORDS_S", 0.2)
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)

    def act(cluster):
        with Watch(cluster, settings_with()) as watch:
            if not cluster.world.is_first:
                raise OSError("no space left")
            watch.control.vote(0)
            watch.control.outcome(0)

    run_ranks(act)
    time.sleep(0.5)
    assert ended == []
    assert capsys.readouterr().err == ""


def test_whom_all_wait_for_is_told_while_it_goes_on(capsys):
    waited_for = threading.Event()

    def act(cluster):
        with Watch(cluster, settings_with(stall_s=0.2, reply_s=60.0)) as watch:
            if not cluster.world.is_first:
                assert waited_for.wait(LIMIT_S)
            watch.agree(0, Status.NONE)
            if cluster.world.is_first:
                deadline = time.monotonic() + LIMIT_S
                said = ""
                while "rank 1" not in said and time.monotonic() < deadline:
                    said += capsys.readouterr().err
                    time.sleep(0.05)
                waited_for.set()
                return said
            return None

    said, _ = values(run_ranks(act))
    assert said.startswith("exastorm: ")
    assert "has waited" in said
    assert "for rank 1 (alive" in said
