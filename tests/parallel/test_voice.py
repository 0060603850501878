"""One voice: of ranks that have the same to say one says it, and it is said whoever is gone."""

import threading
import time
from datetime import timedelta

import pytest
import torch.distributed as dist
from tests.parallel.made_ports import free_ports

from exastorm.errors import ExchangeError, InputError
from exastorm.parallel import voice as voice_module
from exastorm.parallel.errors import ControlError
from exastorm.parallel.launch.stores import MemoryStore
from exastorm.parallel.voice import Voice
from exastorm.parallel.world import World

LIMIT_S = 60.0


class Said(list):
    """What was said, by anyone; a line of an error in each."""

    def __call__(self, error):
        self.append(str(error))


@pytest.fixture
def said():
    return Said()


@pytest.fixture
def patient(monkeypatch):
    """A machine that is busy may take long for an answer."""
    monkeypatch.setattr(voice_module, "ANSWER_S", LIMIT_S)


@pytest.fixture
def store():
    return dist.HashStore()


def at_once(*calls):
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * LIMIT_S)
        assert not thread.is_alive()


def ends(store, say, errors, **settings):
    """The end of each rank, by an error of its own."""
    voices = [Voice(store, len(errors), say, **settings) for _ in errors]
    at_once(*(lambda v=v, e=e: v.end(e) for v, e in zip(voices, errors, strict=True)))


@pytest.mark.usefixtures("patient")
def test_what_all_say_alike_one_says(store, said):
    errors = [kind("weights differ") for kind in (InputError, OSError, ExchangeError, InputError)]
    ends(store, said, errors)
    assert said == ["weights differ"]
    assert all(error.is_told for error in errors)


@pytest.mark.usefixtures("patient")
def test_what_differs_all_say(store, said):
    ends(store, said, [InputError(f"no file {rank}") for rank in range(3)])
    assert sorted(said) == ["no file 0", "no file 1", "no file 2"]


@pytest.mark.usefixtures("patient")
def test_who_knows_more_says_it(store, said):
    # Rank 0 says what is wrong; the others, that rank 0 failed, need not.
    others = [ControlError("rank 0 failed: InputError: bad", (0,), is_told=True) for _ in range(2)]
    ends(store, said, [InputError("bad"), *others])
    assert said == ["bad"]


def test_who_was_to_say_more_is_gone(store, said, monkeypatch):
    monkeypatch.setattr(voice_module, "ANSWER_S", 0.1)
    lost = [ControlError("rank 0 failed: InputError: bad", (0,), is_told=True) for _ in range(2)]
    ends(store, said, lost)
    assert said == ["rank 0 failed: InputError: bad"]


def test_who_was_to_say_the_same_is_gone(store, said, monkeypatch):
    monkeypatch.setattr(voice_module, "ANSWER_S", 0.1)

    def die(error):
        raise SystemExit

    with pytest.raises(SystemExit):
        Voice(store, 3, die).end(InputError("bad"))
    assert said == []
    ends(store, said, [InputError("bad")] * 3)
    assert said[0] == "bad"


def server():
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def test_a_store_that_is_gone_is_not_asked(said, capfd):
    (port,) = free_ports(1)
    ends(None, said, [InputError("bad")] * 3, place=("127.0.0.1", port))
    assert said == ["bad"] * 3
    assert capfd.readouterr().err == ""


class Silent(MemoryStore):
    """A store on a machine that can't be reached any more."""

    def __init__(self):
        super().__init__()
        self.num_asked, self.over = 0, threading.Event()

    def add(self, key, value):
        self.num_asked += 1
        self.over.wait(LIMIT_S)
        raise RuntimeError("timed out")


def test_a_store_that_is_silent_is_not_waited_for(said, monkeypatch):
    monkeypatch.setattr(voice_module, "ANSWER_S", 0.1)
    silent, start = Silent(), time.monotonic()
    Voice(silent, 2, said).end(InputError("bad"))
    assert time.monotonic() - start < LIMIT_S / 2
    silent.over.set()
    assert said == ["bad"]
    assert silent.num_asked == 1


@pytest.mark.usefixtures("patient")
def test_a_store_that_the_main_thread_waits_at_is_asked_by_another_connection(said):
    def connection():
        return dist.TCPStore("127.0.0.1", host.port, is_master=False, wait_for_workers=False)

    host = server()
    stuck = connection()
    Voice(host, 2, said, is_host=False).end(InputError("bad"))
    # As a rank that waits in gloo for one that has failed.
    waiting = threading.Thread(target=lambda: stuck.get("never"), daemon=True)
    waiting.start()
    Voice(stuck, 2, said, open_again=connection).end(InputError("bad"))
    assert waiting.is_alive()
    assert said == ["bad"]
    host.set("never", "")
    waiting.join(LIMIT_S)


# Ranks 0 to 5 on nodes 0, 0, 0, 1, 1, 2; where nobody can ask, on the node of the lost ones all
# that are left say it, on others the first.
@pytest.mark.parametrize(
    ("lost", "speakers"), [((0,), [1, 2, 3, 5]), ((3,), [0, 4, 5]), ((0, 5), [1, 2, 3]), ((), None)]
)
def test_without_a_store_each_node_says_it(lost, speakers, said):
    (port,) = free_ports(1)
    for rank in range(6):
        if rank not in lost:
            voice = Voice(None, 6, lambda _, r=rank: said.append(r), place=("127.0.0.1", port))
            voice.world = World(rank=rank, placement=(0, 0, 0, 1, 1, 2))
            voice.end(ControlError(f"ranks {lost} died", lost))
    assert said == (list(range(6)) if speakers is None else speakers)


@pytest.mark.usefixtures("patient")
def test_the_rank_with_the_store_waits_for_the_others(store, said):
    host, other = Voice(store, 2, said, is_host=True), Voice(store, 2, said)
    left = []

    def end_late():
        time.sleep(0.3)
        left.append("other")
        other.end(InputError("bad"))

    def end_first():
        host.end(InputError("bad"))
        left.append("host")

    at_once(end_late, end_first)
    assert left == ["other", "host"]
    assert said == ["bad"]


def test_it_waits_longer_for_who_has_begun_to_ask(said, monkeypatch):
    monkeypatch.setattr(voice_module, "ANSWER_S", 0.1)

    class Late(MemoryStore):
        """A store where the second rank is still busy when the wait for all three is over."""

        def add(self, key, value):
            if (key, value) == ("said/came", 0) and not left:
                left.append("second")
                second.end(InputError("bad"))
            return super().add(key, value)

    left, store = [], Late()
    second = Voice(store, 3, said)
    second.say("slow", lambda: None)
    Voice(store, 3, said, is_host=True).end(InputError("bad"))
    assert left == ["second"]
    assert said == ["bad"]
    assert store.add("said/parted", 0) == store.add("said/came", 0) == 2


def test_it_does_not_wait_for_ever(store, said, monkeypatch):
    monkeypatch.setattr(voice_module, "ANSWER_S", 0.1)
    start = time.monotonic()
    Voice(store, 2, said, is_host=True).end(InputError("bad"))
    assert said == ["bad"]
    assert time.monotonic() - start < LIMIT_S / 2


def test_over_a_real_store(said, monkeypatch):
    monkeypatch.setattr(voice_module, "ANSWER_S", LIMIT_S)
    host = server()
    wait = timedelta(seconds=LIMIT_S)
    client = dist.TCPStore(
        "127.0.0.1", host.port, is_master=False, wait_for_workers=False, timeout=wait
    )
    first = Voice(host, 2, said, is_host=True)
    second = Voice(client, 2, said, place=("127.0.0.1", host.port))
    at_once(*(lambda v=v: v.end(InputError("bad")) for v in (first, second)))
    assert said == ["bad"]


def test_a_fault_shows_itself(store, said):
    error = KeyError("a")
    ends(store, said, [error])
    assert said == []
    assert not hasattr(error, "is_told")


def test_a_library_leaves_it_to_who_catches_it(store):
    error = InputError("bad")
    ends(store, None, [error])
    assert not error.is_told
