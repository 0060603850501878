"""The network interface that leads to an address.

gloo binds to the address that the host's own name resolves to, and where it resolves to none, to
loopback. On machines with several networks or odd names that is the wrong one or none, so we name
the interface: the one that holds the address from which packets to the meeting point leave.
"""

import ctypes
import socket
import sys
from collections.abc import Iterator


class _InterfaceAddress(ctypes.Structure):
    """The head of a `struct ifaddrs` (getifaddrs(3)): the same on Linux, macOS and the BSDs."""


_InterfaceAddress._fields_ = [
    ("next", ctypes.POINTER(_InterfaceAddress)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]

_ADDRESS_OFFSET = {socket.AF_INET: (4, 4), socket.AF_INET6: (8, 16)}
"""Where the address starts in a sockaddr_in (ip(7)) or sockaddr_in6 (ipv6(7)), and its length."""


def local_addresses() -> Iterator[tuple[str, str]]:
    """Name of each network interface of this machine, with each of its addresses (IPv4, IPv6).

    Raises:
        OSError: If the system does not tell.
    """
    system = ctypes.CDLL(None, use_errno=True)
    head = ctypes.POINTER(_InterfaceAddress)()
    if system.getifaddrs(ctypes.byref(head)) != 0:
        raise OSError(ctypes.get_errno(), "getifaddrs failed")
    try:
        entry = head
        while entry:
            address = entry.contents.address
            family = _family(address) if address else None
            if family in _ADDRESS_OFFSET:
                offset, length = _ADDRESS_OFFSET[family]
                packed = ctypes.string_at(address + offset, length)
                yield entry.contents.name.decode(), socket.inet_ntop(family, packed)
            entry = entry.contents.next
    finally:
        system.freeifaddrs(head)


def _family(address: int) -> socket.AddressFamily | None:
    """The family of a sockaddr: two bytes on Linux, the second byte after a length elsewhere."""
    linux = sys.platform == "linux"
    number = (
        ctypes.c_uint16.from_address(address) if linux else ctypes.c_uint8.from_address(address + 1)
    ).value
    return next((family for family in _ADDRESS_OFFSET if family == number), None)


def source_address(address: str) -> str:
    """The own address from which packets to an address leave, as the system routes them.

    Nothing is sent: a connected datagram socket only asks for the route.

    Raises:
        OSError: If there is no route.
    """
    family, kind, protocol, _, target = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(target)
        return str(probe.getsockname()[0])


def interface_toward(address: str) -> str | None:
    """The name of the interface that leads to an address, own addresses included.

    Returns:
        None where no interface holds the address that packets leave from, as under some sandboxes.

    Raises:
        OSError: If there is no route.
    """
    source = source_address(address).partition("%")[0]
    return next((name for name, held in local_addresses() if held == source), None)
