import socket
import time

import pytest

from exastorm.parallel.control.link import MAX_PACKET_BYTES, Link


@pytest.fixture
def ends():
    listener = socket.create_server(("127.0.0.1", 0))
    first = Link(socket.create_connection(listener.getsockname()))
    second = Link(listener.accept()[0])
    listener.close()
    yield first, second
    first.close()
    second.close()


def receive(link, num_packets, until_end=False):
    """Whole packets as they come."""
    packets, ended, deadline = [], False, time.monotonic() + 60
    while (len(packets) < num_packets or (until_end and not ended)) and time.monotonic() < deadline:
        more, ended = link.receive()
        packets += more
    return packets, ended


def test_packets_come_whole_and_in_order(ends):
    first, second = ends
    first.send(b"one")
    first.send(b"")
    first.send(b"three")
    assert receive(second, 3) == ([b"one", b"", b"three"], False)
    assert second.receive() == ([], False)


def test_what_the_kernel_does_not_take_waits(ends):
    first, second = ends
    large = bytes(range(256)) * 2**16  # 16 MiB, more than a socket holds
    first.send(large)
    assert first.has_more
    packets = []
    deadline = time.monotonic() + 60
    while not packets and time.monotonic() < deadline:
        packets += second.receive()[0]
        first.flush()
    assert packets == [large]
    assert not first.has_more


def test_the_end_comes_after_what_was_said_before(ends):
    first, second = ends
    first.send(b"last words")
    first.close()
    assert receive(second, 1, until_end=True) == ([b"last words"], True)


def test_writing_to_nobody_is_noted_not_raised(ends):
    first, second = ends
    second.close()
    deadline = time.monotonic() + 60
    while not first.is_broken and time.monotonic() < deadline:
        first.send(b"anybody?")
    assert first.is_broken
    assert not first.has_more


def test_packets_can_be_put_back(ends):
    first, second = ends
    first.send(b"one")
    first.send(b"two")
    packets, _ = receive(second, 2)
    second.put_back(packets[1:])
    assert second.receive() == ([b"two"], False)
    assert second.receive() == ([], False)


def test_too_large_a_packet_is_refused(ends):
    first, second = ends
    first.socket.send((MAX_PACKET_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(ValueError, match=f"a packet of {MAX_PACKET_BYTES + 1} bytes"):
        receive(second, 1)
