"""The network interface that leads to an address."""

import socket

import pytest

from exastorm.parallel.launch import interfaces
from exastorm.parallel.launch.interfaces import interface_toward, local_addresses, source_address


def test_loopback_leads_to_itself():
    loopback = {name for name, address in local_addresses() if address == "127.0.0.1"}
    assert interface_toward("127.0.0.1") in loopback
    # All of 127.0.0.0/8 is this machine (RFC 1122, section 3.2.1.3); Debian uses 127.0.1.1.
    assert interface_toward("127.0.1.1") in loopback


def test_every_interface_leads_to_its_own_addresses():
    names = {name for _, name in socket.if_nameindex()}
    for name, address in local_addresses():
        assert name in names
        if ":" not in address:
            assert source_address(address) == address
            assert interface_toward(address) == name


def test_an_address_that_no_interface_holds(monkeypatch):
    monkeypatch.setattr(interfaces, "source_address", lambda _: "192.0.2.77")
    assert interface_toward("192.0.2.1") is None


def test_an_address_without_a_route():
    # 240.0.0.0/4 is reserved: Linux routes nothing to 255.255.255.255 without permission.
    with pytest.raises(OSError, match=r"."):
        source_address("255.255.255.255")


def test_a_system_that_does_not_tell(monkeypatch):
    class Silent:
        @staticmethod
        def getifaddrs(_):
            return -1

    monkeypatch.setattr(interfaces.ctypes, "CDLL", lambda *_, **__: Silent)
    with pytest.raises(OSError, match="getifaddrs failed"):
        list(local_addresses())
