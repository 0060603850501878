"""Whatever a web server answers: a file arrives as the manifest says it is, or not at all."""

import threading

import pytest
from tests.parallel.staging.made_nodes import stage_on_nodes
from tests.parallel.staging.made_web import (
    CONTENT,
    NAME,
    QUOTED,
    SHA256,
    SIZE,
    Reader,
    chunked,
    cut,
    moved,
    silent,
    sized,
    slow,
    status,
    web_server,
)  # fmt: skip

from exastorm.parallel.staging import web_store
from exastorm.parallel.staging.manifest import Manifest, StagedFile
from exastorm.parallel.staging.shared_store import UNKNOWN, open_store
from exastorm.parallel.staging.source import FileProblemError, StoreGoneError


@pytest.fixture
def reader_of(tmp_path):
    return lambda root, patience_s=2.0: Reader(root, tmp_path, patience_s)


def test_a_file_of_the_web_is_asked_for_once(reader_of):
    with web_server() as server:
        reader = reader_of(server.url)
        reader.stage()
        assert (server.asked, server.heads) == ([QUOTED], 0)
    assert (reader.num_bytes, reader.waits) == (SIZE, [])


@pytest.mark.parametrize(
    "act",
    [
        cut, status(500), status(503), status(429), chunked(CONTENT[:99], b"5\r\nab"),
        sized(SIZE - 1), sized(SIZE + 1), sized(SIZE, bytes(SIZE)), chunked(CONTENT[:-1]),
        chunked(CONTENT + b"1"), status(404),
    ],
)  # fmt: skip
def test_what_goes_wrong_once_is_asked_for_again(reader_of, act):
    with web_server(act) as server:
        reader_of(server.url).stage()
        assert server.asked == [QUOTED] * 2


@pytest.mark.parametrize(
    "act", [chunked(CONTENT), sized("many"), sized(-1), sized(None), moved]
)  # fmt: skip
def test_other_ways_to_send_a_file(reader_of, act):
    with web_server(act) as server:
        reader_of(server.url).stage()
        assert len(server.asked) == 1 + (act is moved)


@pytest.mark.parametrize(
    ("act", "line", "is_corrupt"),
    [
        (status(404), "is missing from the shared store", True),
        (status(410), "is missing from the shared store", True),
        (status(403), r"can't be read \(403 Forbidden\)", False),
        (status(500), r"can't be read \(500 Internal Server Error\)", False),
        (cut, r"can't be read \(the server ended 763000 bytes before the end\)", False),
        (sized(5), "has 5 bytes in place of 768000, twice", True),
        (chunked(CONTENT[:-1]), "has 767999 bytes in place of 768000, twice", True),
        (sized(SIZE, bytes(SIZE)), r"has sha256 .* in place of .*, twice", True),
    ],
)
def test_what_stays_wrong_is_told_in_a_line(reader_of, act, line, is_corrupt):
    with web_server(*[act] * 1000) as server:
        reader = reader_of(server.url, 0.3)
        with pytest.raises(FileProblemError, match=f"^{line}$") as caught:
            reader.stage()
        assert caught.value.is_corrupt is is_corrupt
    assert not reader.local.path(NAME).exists()


def test_a_slow_server_is_no_silent_one(reader_of, monkeypatch):
    monkeypatch.setattr(web_store, "BLOCK_BYTES", SIZE // 6)
    told = []
    with web_server(slow) as server:
        reader = reader_of(server.url, 0.4)
        reader.source.progress = told.append
        reader.stage()
        assert server.asked == [QUOTED]
    # It tells of each part as it comes.
    assert told == [SIZE // 6] * 6


def test_a_block_is_less_than_a_slow_server_sends_in_patience():
    # 60 s of patience (StageSettings), at 5 kB/s for each of several readers.
    assert web_store.BLOCK_BYTES <= 60 * 5_000


def test_a_silent_server_is_asked_again(reader_of):
    with web_server(silent) as server:
        reader_of(server.url, 0.3).stage()
        assert len(server.asked) == 2


def test_a_server_that_comes_back(reader_of):
    with web_server() as server:
        port, url = server.server_port, server.url
    reader = reader_of(url, 5.0)
    came_back = threading.Event()

    def come_back():
        with web_server(port=port):
            came_back.wait(5)

    timer = threading.Timer(0.4, come_back)
    timer.start()
    try:
        reader.stage()
    finally:
        came_back.set()
        timer.join()
    assert reader.waits
    assert all("Connection refused" in line for line in reader.waits)


def test_a_server_that_stays_away(reader_of):
    with web_server() as server:
        url = server.url
    with pytest.raises(StoreGoneError, match="Connection refused"):
        reader_of(url, 0.2).stage()


def test_a_gateway_whose_server_stays_away(reader_of):
    with web_server(*[status(503)] * 1000, root_status=503) as server:
        reader = reader_of(server.url, 0.2)
        with pytest.raises(StoreGoneError, match="503 Service Unavailable"):
            reader.stage()
    assert set(reader.waits) == {"503 Service Unavailable"}


@pytest.mark.parametrize("code", [200, 301, 403, 404, 405, 500, 501])
def test_a_server_that_answers_anything_is_there(code):
    with web_server(root_status=code) as server:
        assert open_store(server.url, 2.0).is_there()


@pytest.mark.parametrize("code", [502, 503, 504])
def test_a_server_for_which_others_answer_is_not(code):
    with web_server(root_status=code) as server:
        assert not open_store(server.url, 2.0).is_there()


def test_nodes_stage_from_the_web_and_ask_once_for_each_file(tmp_path):
    files = tuple(StagedFile(f"part/{n}.bin", SIZE, SHA256) for n in range(6))
    with web_server(status(500), cut) as server:
        results = stage_on_nodes(Manifest(server.url, files), tmp_path, (0, 1), mode="replicate")
        assert len(server.asked) == len(files) + 2
    assert [sorted(staged.entries) for staged in results] == [[f.name for f in files]] * 2
    # What broke off was read too.
    assert results[0].figures.total.read_bytes >= len(files) * SIZE


def test_a_size_that_is_not_told_is_unknown():
    with web_server(sized(None)) as server, open_store(server.url, 2.0).open(NAME) as file:
        assert file.num_bytes == UNKNOWN
