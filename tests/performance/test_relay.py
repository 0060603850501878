"""Links with a delay: packets come late by it at least, and in order."""

import ctypes
import json
import subprocess
import sys

import pytest
from tests.performance.needs_fabric import needs_fabric

from exastorm.errors import InputError
from exastorm.performance import relay as relay_module
from exastorm.performance.fabric import Fabric
from exastorm.performance.relay import Relay, _enter

# One clock for all: CLOCK_MONOTONIC is the machine's (clock_gettime(2)).
RECEIVE = """
import json, socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
    here.bind((sys.argv[1], 5000))
    here.settimeout(60)
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    seen = []
    for _ in range(int(sys.argv[2])):
        text = here.recv(65536)
        seen.append([time.monotonic(), *json.loads(text)])
    sys.stdout.write(json.dumps(seen))
"""

SEND = """
import json, socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
    for number in range(int(sys.argv[2])):
        text = json.dumps([time.monotonic(), number])
        there.sendto(text.ljust(number * 100).encode(), (sys.argv[1], 5000))
"""

NUM_PACKETS = 40


@needs_fabric
def test_packets_come_in_order_after_the_delay():
    with Fabric(3, delay_ms=20.0) as fabric:

        def on_node(node, program, *arguments):
            words = [sys.executable, "-SE", "-c", program, *map(str, arguments)]
            return subprocess.Popen(
                [*fabric.prefix(node), *words], stdout=subprocess.PIPE, text=True
            )

        receiver = on_node(2, RECEIVE, fabric.address(2), NUM_PACKETS)
        assert receiver.stdout.readline() == "ready\n"
        on_node(0, SEND, fabric.address(2), NUM_PACKETS).communicate()
        seen = json.loads(receiver.communicate()[0])
        # 28 bytes of headers on each (IPv4 20, UDP 8): all went through the counted link.
        assert fabric.bytes_sent(0) >= sum(100 * n + 28 for n in range(NUM_PACKETS))
    assert [number for _, _, number in seen] == list(range(NUM_PACKETS))
    assert all(arrived - sent >= 0.020 for arrived, sent, _ in seen)


def test_the_device_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(relay_module, "TUN_DEVICE", tmp_path / "tun")
    with pytest.raises(InputError, match=r"a delayed network needs .*tun, got none"):
        Relay([], [], 1.0).__enter__()


def test_what_is_no_namespace_is_not_entered(tmp_path):
    path = tmp_path / "file"
    with path.open("w") as file, pytest.raises(OSError, match=r"Invalid argument|not permitted"):
        _enter(ctypes.CDLL(None, use_errno=True), file.fileno())


def test_time_does_not_run_backward():
    with pytest.raises(ValueError, match=r"delay_ms must not be negative, got -1\.0"):
        Relay([], [], -1.0)
