"""Emulated nodes: what goes through their links is counted, held back, cut, and gone at the end."""

import json
import os
import subprocess
import sys
import time

import pytest
from tests.performance.needs_fabric import needs_fabric

from exastorm.errors import InputError
from exastorm.performance import fabric as fabric_module
from exastorm.performance.fabric import Fabric

RECEIVE = """
import json, socket, sys, time
with socket.create_server((sys.argv[1], 5000)) as server:
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    stream = server.accept()[0]
    size = 0
    while more := stream.recv(1 << 16):
        size += len(more)
    sys.stdout.write(json.dumps({"size": size, "end": time.monotonic()}))
"""

SEND = """
import socket, sys, time
start = time.monotonic()
with socket.create_connection((sys.argv[1], 5000), timeout=float(sys.argv[3])) as stream:
    stream.sendall(bytes(int(sys.argv[2])))
sys.stdout.write(str(start))
"""


def on_node(fabric, node, program, *arguments):
    """A program that runs on a node."""
    words = [*fabric.prefix(node), sys.executable, "-SE", "-c", program, *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def namespaces():
    """All network namespaces with a name."""
    return subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout


def transfer(fabric, num_bytes):
    """Send bytes from node 1 to node 0; how many arrived, and seconds till the last did."""
    receiver = on_node(fabric, 0, RECEIVE, fabric.address(0))
    assert receiver.stdout.readline() == "ready\n"
    start, errors = on_node(fabric, 1, SEND, fabric.address(0), num_bytes, 60).communicate()
    assert start, errors
    seen = json.loads(receiver.communicate()[0])
    return seen["size"], seen["end"] - float(start)


@needs_fabric
def test_links_count_bytes_and_hold_them_to_their_rate():
    with Fabric(2, rate_mbit=20.0) as fabric:
        before = fabric.bytes_sent(1)
        size, seconds = transfer(fabric, 1_000_000)
        sent = fabric.bytes_sent(1) - before
    assert size == 1_000_000
    # Headers of 66 bytes (Ethernet 14, IPv4 20, TCP 32) on each 1448 are 4.6 %; what is lost is
    # sent again.
    assert 1_000_000 < sent < 1_300_000
    # 256 KiB may go at once, the rest waits for 20 Mbit/s: (1e6 - 262144) x 8 / 20e6 s.
    assert seconds > 0.29


@needs_fabric
def test_a_link_is_cut_and_mended():
    with Fabric(2) as fabric:
        assert transfer(fabric, 1000)[0] == 1000
        fabric.cut(0)
        receiver = on_node(fabric, 0, RECEIVE, fabric.address(0))
        assert receiver.stdout.readline() == "ready\n"
        try:
            start, _ = on_node(fabric, 1, SEND, fabric.address(0), 1000, 1.0).communicate()
            assert start == ""
            fabric.mend(0)
            deadline = time.monotonic() + 60
            while not start and time.monotonic() < deadline:
                start, _ = on_node(fabric, 1, SEND, fabric.address(0), 1000, 1.0).communicate()
            assert json.loads(receiver.communicate(timeout=60)[0])["size"] == 1000
        finally:
            receiver.kill()
            receiver.communicate()


@needs_fabric
@pytest.mark.parametrize("delay_ms", [None, 1.0])
def test_nothing_is_left_whatever_happens(delay_ms):
    class MistakeError(Exception):
        pass

    def make_a_mistake():
        with fabric:
            assert fabric.prefix(1)[-1] in namespaces()
            raise MistakeError

    fabric = Fabric(2, delay_ms=delay_ms)
    with pytest.raises(MistakeError):
        make_a_mistake()
    assert fabric.prefix(1)[-1] not in namespaces()
    assert fabric._name not in namespaces()


@needs_fabric
def test_a_command_that_fails_takes_down_what_was_made(monkeypatch):
    # tc-tbf(8) knows no such burst.
    monkeypatch.setattr(fabric_module, "BURST", "nothing")
    fabric = Fabric(2, rate_mbit=10.0)
    with pytest.raises(InputError, match="must work for an emulated network"):
        fabric.__enter__()
    assert fabric._name not in namespaces()


@needs_fabric
def test_links_of_a_relay_cannot_be_cut():
    with Fabric(1, delay_ms=1.0) as fabric, pytest.raises(InputError, match="link set port0 down"):
        fabric.cut(0)


def test_root_and_tools_are_asked_for(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InputError, match=r"needs root and iproute2 .*, got user 1000"):
        Fabric(2).__enter__()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(fabric_module.shutil, "which", lambda tool: None)
    with pytest.raises(InputError, match="without ip, tc"):
        Fabric(2).__enter__()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_nodes": 0}, "num_nodes must be from 1 to 250, got 0"),
        ({"num_nodes": 2, "rate_mbit": 0.0}, "rate_mbit must be positive, got 0.0"),
        ({"num_nodes": 2, "rate_mbit": 1.0, "delay_ms": 1.0}, "delay_ms must be None with a rate"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Fabric(**arguments)
