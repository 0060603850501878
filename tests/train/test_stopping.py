"""A signal asks to stop; it does not end the process, and afterwards all is as before."""

import os
import signal
import threading

import pytest

from exastorm.train.stopping import StopRequest


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def handlers_of_before():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_sets_the_flag_and_says_so_in_one_line(name, capfd):
    with StopRequest() as stop:
        assert stop.requested is None
        send(getattr(signal, name))
        assert stop.requested == name
    told = capfd.readouterr().err
    assert told.startswith(f"exastorm: {name}: stops after this step and saves")
    assert told.count("\n") == 1
    assert ("Ctrl-C again" in told) == (name == "SIGINT")


def test_the_first_signal_is_the_one_that_counts(capfd):
    with StopRequest() as stop:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        # The scheduler first, then the user once: still saved.
        send(signal.SIGINT)
        assert stop.requested == "SIGTERM"
    assert capfd.readouterr().err.count("\n") == 1


def test_the_second_ctrl_c_stops_at_once(capfd):
    with StopRequest() as stop:
        send(signal.SIGINT)
        assert stop.requested == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_afterwards_signals_do_what_they_did_before(capfd):
    caught = []
    signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    with StopRequest() as stop:
        send(signal.SIGTERM)
    send(signal.SIGTERM)
    assert (stop.requested, caught) == ("SIGTERM", [signal.SIGTERM])
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_an_ignored_signal_stays_ignored(capfd):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopRequest() as stop:
        send(signal.SIGINT)
        assert stop.requested is None
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_closed_stderr_does_not_matter(monkeypatch):
    monkeypatch.setattr("exastorm.train.stopping.STDERR", 10_000)
    with StopRequest() as stop:
        send(signal.SIGTERM)
    assert stop.requested == "SIGTERM"


def test_outside_the_main_thread_nothing_is_caught():
    seen = []

    def enter():
        before = signal.getsignal(signal.SIGTERM)
        with StopRequest() as stop:
            seen.append((signal.getsignal(signal.SIGTERM) is before, stop.requested))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(True, None)]
