"""Links with a delay: packets between emulated nodes, each held back for a stated time.

Kernels without netem can't delay packets. Here each node's link is a tun device (the kernel's
Documentation, networking/tuntap), whose other end is held by a process that passes each packet to
the node it is for, some time later, in order. It drops nothing and has no rate of its own, so it
serves for small messages.
"""

import ctypes
import fcntl
import heapq
import multiprocessing
import os
import selectors
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from exastorm.errors import InputError

TUN_DEVICE = Path("/dev/net/tun")
NAMESPACES = Path("/run/netns")

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
"""linux/if_tun.h."""

CLONE_NEWNET = 0x40000000
"""setns(2)."""

LARGEST_PACKET = 65_535
"""Of IPv4 (RFC 791); the devices' largest is below it."""

DESTINATION = slice(16, 20)
"""Where IPv4 has the address that a packet is for (RFC 791, section 3.1)."""


class Relay:
    """Passes packets between nodes after a delay, as a context manager: a process of its own."""

    def __init__(
        self, namespaces: Sequence[str], addresses: Sequence[bytes], delay_ms: float
    ) -> None:
        """Name the nodes; nothing is made before the context is entered.

        Args:
            namespaces: Network namespace of each node.
            addresses: IPv4 address of each node, 4 bytes.
            delay_ms: Time from one node to another, milliseconds.
        """
        if not delay_ms >= 0:
            raise ValueError(f"delay_ms must not be negative, got {delay_ms}")
        self._namespaces, self._addresses = list(namespaces), list(addresses)
        self._delay_s = delay_ms / 1e3
        self._process: multiprocessing.process.BaseProcess | None = None
        self._devices: list[int] = []

    def __enter__(self) -> "Relay":
        """Make a device in each node, and begin to pass packets.

        Raises:
            InputError: If the system has no tun devices.
        """
        if not TUN_DEVICE.exists():
            raise InputError(f"a delayed network needs {TUN_DEVICE}, got none")
        self._devices = [_open_device(name) for name in self._namespaces]
        context = multiprocessing.get_context("fork")
        arguments = (self._devices, self._addresses, self._delay_s)
        self._process = context.Process(target=_pass_packets, args=arguments, daemon=True)
        self._process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process; the devices go with it."""
        if self._process is not None:
            self._process.terminate()
            self._process.join()
        for device in self._devices:
            os.close(device)


def _open_device(namespace: str) -> int:
    """The relay's end of a tun device eth0 in a namespace."""
    library = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(NAMESPACES / namespace, os.O_RDONLY)
    try:
        _enter(library, there)
        try:
            device = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK)
            request = struct.pack("16sH22x", b"eth0", IFF_TUN | IFF_NO_PI)
            fcntl.ioctl(device, TUNSETIFF, request)
        finally:
            _enter(library, home)
    finally:
        os.close(home)
        os.close(there)
    return device


def _enter(library: ctypes.CDLL, namespace: int) -> None:
    """Move this thread to a network namespace.

    Raises:
        OSError: If it can't.
    """
    if library.setns(namespace, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _pass_packets(devices: Sequence[int], addresses: Sequence[bytes], delay_s: float) -> None:
    """Pass packets until the process is ended."""
    device_of = dict(zip(addresses, devices, strict=True))
    waiting: list[tuple[float, int, int, bytes]] = []
    number = 0
    # epoll would round waits up to whole milliseconds.
    with selectors.SelectSelector() as selector:
        for device in devices:
            selector.register(device, selectors.EVENT_READ)
        while True:
            wait_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            for key, _ in selector.select(wait_s):
                packet = os.read(key.fd, LARGEST_PACKET)
                target = device_of.get(packet[DESTINATION])
                # IPv6 and broadcasts of the system's own go nowhere.
                if target is not None:
                    heapq.heappush(waiting, (time.monotonic() + delay_s, number, target, packet))
                    number += 1
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, _, target, packet = heapq.heappop(waiting)
                os.write(target, packet)
