"""Ports for ranks to meet at, which nothing else on the machine takes in the meantime."""

import random
import socket
from pathlib import Path

_given = set()


def free_ports(number):
    """Ports from below those that the system gives to outgoing connections (ip(7)).

    A port that the system has chosen itself is soon given again: to one of the many connections
    that ranks make before they come to it.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = []
    while len(ports) < number:
        # Not seeded: tests that run side by side must differ.
        port = random.SystemRandom().randrange(10_000, lowest)
        if port not in _given and _is_free(port):
            _given.add(port)
            ports.append(port)
    return ports


def _is_free(port):
    try:
        with socket.create_server(("", port)):
            return True
    except OSError:
        return False
