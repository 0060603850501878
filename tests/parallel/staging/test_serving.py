"""Files from node to node over real connections, and all that can go wrong on the way."""

import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from exastorm.parallel.staging.checksums import crc32c
from exastorm.parallel.staging.fetching import BUFFER_BYTES, CONNECT_S, TransferError, fetch
from exastorm.parallel.staging.ledger import Entry
from exastorm.parallel.staging.local_store import LocalStore
from exastorm.parallel.staging.serving import FileServer

HOST = "127.0.0.1"
CONTENT = bytes(range(251)) * 9000


class Shelf:
    """A folder of files."""

    def __init__(self, folder):
        self._folder = folder

    def path(self, name):
        return Path(self._folder, name)


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "big").write_bytes(CONTENT)
    (folder / "empty").write_bytes(b"")
    (tmp_path / "secret").write_bytes(b"secret")
    with FileServer(Shelf(folder), HOST, timeout_s=5.0) as server:
        yield server


@pytest.fixture
def local(tmp_path):
    with LocalStore(tmp_path / "mine", "fingerprint") as local:
        local.check_writable()
        yield local


def entry_of(name, content):
    return Entry(name, len(content), crc32c(content))


def got(server, local, entry, token=None, timeout_s=5.0):
    """Fetch, as a node does."""
    with local.begin(entry.name) as partial:
        return fetch(server.address, token or server.token, entry, partial, timeout_s)


def test_a_file_arrives_whole_and_is_noted(server, local):
    assert len(CONTENT) > 2 * BUFFER_BYTES
    entry = entry_of("big", CONTENT)
    assert got(server, local, entry) == entry
    assert local.path("big").read_bytes() == CONTENT
    assert local.present() == {"big": entry}
    server.close()
    assert server.sent_bytes == len(CONTENT)


def test_an_empty_file_arrives(server, local):
    got(server, local, entry_of("empty", b""))
    assert local.path("empty").read_bytes() == b""


def test_many_are_served_at_once(server, local):
    entry = entry_of("big", CONTENT)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(got(server, local, entry))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [entry] * 8


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (entry_of("none", b""), "has no none"),
        (Entry("big", len(CONTENT) - 1, 0), "has big with 2259000 bytes in place of 2258999"),
        (Entry("big", len(CONTENT), 1), "sent big with checksum [0-9a-f]{8} in place of 00000001"),
        (entry_of("../secret", b"secret"), "has no ../secret"),
    ],
)
def test_what_is_not_as_announced_stays_out(server, local, entry, problem):
    with pytest.raises(TransferError, match=problem), local.begin("mine") as partial:
        fetch(server.address, server.token, entry, partial, 5.0)
    assert local.present() == {}
    assert not list(local.folder.rglob("part-*"))


@pytest.mark.parametrize("token", ["0" * 32, "ü"])
def test_a_stranger_is_not_answered(server, local, token):
    with pytest.raises(TransferError, match="hung up"):
        got(server, local, entry_of("big", CONTENT), token=token)


@pytest.mark.parametrize("words", [b"", b"\xff", b"\x00\x02\xff\xff"])
def test_a_caller_that_says_nonsense_does_no_harm(server, local, words):
    with socket.create_connection(server.address) as call:
        call.sendall(words)
        call.shutdown(socket.SHUT_WR)
        assert call.recv(1) == b""
    got(server, local, entry_of("big", CONTENT))


def answering(answer):
    """A server that answers the first call as told; its address."""
    listener = socket.create_server((HOST, 0))

    def serve():
        with listener:
            call, _ = listener.accept()
            with call:
                call.recv(1000)
                answer(call)

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[:2]


def head_of(size):
    return struct.pack("!BQ", 1, size)


def test_a_node_that_hangs_up_in_mid_file(local):
    address = answering(lambda call: call.sendall(head_of(1000) + b"half"))
    with pytest.raises(TransferError, match="hung up"), local.begin("a") as partial:
        fetch(address, "", Entry("a", 1000, 0), partial, 5.0)


def test_a_flipped_byte_is_noticed(local):
    flipped = bytes([CONTENT[0] ^ 1]) + CONTENT[1:1000]
    address = answering(lambda call: call.sendall(head_of(1000) + flipped))
    expected = entry_of("a", CONTENT[:1000])
    with pytest.raises(TransferError, match="checksum"), local.begin("a") as partial:
        fetch(address, "", expected, partial, 5.0)
    assert local.present() == {}


def test_a_silent_node_is_given_up(local):
    over = threading.Event()
    address = answering(lambda call: over.wait(10))
    with pytest.raises(TransferError, match="fell silent"), local.begin("a") as partial:
        fetch(address, "", Entry("a", 1000, 0), partial, 0.2)
    over.set()


def test_a_slow_node_is_not_given_up(local):
    def answer(call):
        call.sendall(head_of(3))
        for letter in (b"a", b"b", b"c"):
            time.sleep(0.2)
            call.sendall(letter)

    expected = entry_of("a", b"abc")
    with local.begin("a") as partial:
        # 0.6 s in all, of which no wait is as long as 0.5 s.
        assert fetch(answering(answer), "", expected, partial, 0.5) == expected


def test_a_transfer_that_nobody_wants_ends_early(local):
    over = threading.Event()
    address = answering(lambda call: over.wait(10))
    # Longer than a test may take.
    with pytest.raises(TransferError, match="fell silent"), local.begin("a") as partial:
        fetch(address, "", Entry("a", 1000, 0), partial, 600.0, lambda: True)
    over.set()


def test_a_node_that_is_switched_off_is_called_as_long_as_it_is_wanted(local, monkeypatch):
    calls = []

    def call(address, timeout):
        calls.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", call)
    with local.begin("a") as partial:
        with pytest.raises(TransferError, match=r"can't be reached \(timed out\)"):
            fetch((HOST, 1), "", Entry("a", 1, 0), partial, 60.0, lambda: len(calls) == 3)
        assert calls == [CONNECT_S] * 3
        with pytest.raises(TransferError, match="can't be reached"):
            fetch((HOST, 1), "", Entry("a", 1, 0), partial, 1e-6)
    assert len(calls) == 4


def test_nobody_there(local):
    with socket.create_server((HOST, 0)) as listener:
        address = listener.getsockname()[:2]
    with pytest.raises(TransferError, match="can't be reached"), local.begin("a") as partial:
        fetch(address, "", Entry("a", 1, 0), partial, 1.0)


def test_closing_cuts_off_who_takes_nothing(tmp_path):
    (tmp_path / "big").write_bytes(CONTENT * 20)
    server = FileServer(Shelf(tmp_path), HOST, timeout_s=300.0)
    with socket.create_connection(server.address) as call:
        request = f"{server.token}\nbig".encode()
        call.sendall(struct.pack("!H", len(request)) + request)
        assert call.recv(9)[0] == 1
        server.close()
        server.close()
        assert server.sent_bytes < 20 * len(CONTENT)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(server.address)
