"""A made-up network: nodes as network namespaces of this machine, on links of a stated rate.

Each node is a namespace with one link (eth0) to a bridge in a namespace of its own. Both ends of a
link are shaped by a token bucket (tc-tbf(8)), so that a node sends and receives no faster than its
network card would; the kernel counts what went through. With a delay, links are those of `relay`
instead. Needs root, and Debian's iproute2.
"""

import os
import secrets
import shutil
import socket
import subprocess
from types import TracebackType

from exastorm.errors import InputError
from exastorm.performance.relay import Relay

TOOLS = ("ip", "tc")

BURST = "256kb"
"""Bytes that may go at once: tc-tbf(8) asks for at least rate / HZ, at 1 Gbit/s and 250 Hz 500 kB;
with less than a gigabit, and 64 kB packets, this is enough."""

LATENCY = "50ms"
"""How long a packet may wait in the bucket before it is dropped, which TCP then makes up for."""


DELAYED_MTU = 60_000
"""Largest packet on links of a relay, which handles packets one by one: about loopback's 65,536."""


class Fabric:
    """Nodes and their links, as a context manager that takes them down again.

    Attributes:
        num_nodes: Nodes.
        rate_mbit: Rate of each link, each way, Mbit/s; None for as fast as the machine can.
    """

    def __init__(
        self, num_nodes: int, rate_mbit: float | None = None, delay_ms: float | None = None
    ) -> None:
        """Name the parts; nothing is made before the context is entered.

        Args:
            num_nodes: Nodes, at most 250.
            rate_mbit: Rate of each link, Mbit/s.
            delay_ms: Time that a packet takes from node to node, milliseconds; such links have no
                rate.
        """
        if not 1 <= num_nodes <= 250:
            raise ValueError(f"num_nodes must be from 1 to 250, got {num_nodes}")
        if rate_mbit is not None and not rate_mbit > 0:
            raise ValueError(f"rate_mbit must be positive, got {rate_mbit}")
        if rate_mbit is not None and delay_ms is not None:
            raise ValueError(f"delay_ms must be None with a rate, got {delay_ms}")
        self.num_nodes, self.rate_mbit, self._delay_ms = num_nodes, rate_mbit, delay_ms
        self._relay: Relay | None = None
        # Interfaces have short names (15 characters), and other fabrics may be up.
        self._name = f"exa{secrets.token_hex(2)}"
        self._made: list[str] = []

    def __enter__(self) -> "Fabric":
        """Make nodes and links.

        Raises:
            InputError: If that is not allowed here, or a tool is missing.
        """
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing or os.geteuid() != 0:
            raise InputError(
                "an emulated network needs root and iproute2 (Debian: apt-get install iproute2), "
                f"got user {os.geteuid()}, without {', '.join(missing) or 'neither'}"
            )
        try:
            self._make()
        except BaseException:
            self._take_down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._take_down()

    def prefix(self, node: int) -> list[str]:
        """What a command is put behind to run on a node."""
        return ["ip", "netns", "exec", self._node(node)]

    def address(self, node: int) -> str:
        """IPv4 address of a node."""
        return f"10.77.0.{node + 1}"

    def bytes_sent(self, node: int) -> int:
        """Bytes that a node has sent so far, headers too."""
        path = "/sys/class/net/eth0/statistics/tx_bytes"
        return int(_run(*self.prefix(node), "cat", path))

    def cut(self, node: int) -> None:
        """Take the link of a node down."""
        _run("ip", "-n", self._switch, "link", "set", self._port(node), "down")

    def mend(self, node: int) -> None:
        """Bring the link of a node up again."""
        _run("ip", "-n", self._switch, "link", "set", self._port(node), "up")

    def shape(self, node: int, rate_mbit: float) -> None:
        """Give the link of a node another rate, each way, than all links have."""
        bucket = f"root tbf rate {rate_mbit:g}mbit burst {BURST} latency {LATENCY}"
        for place, link in ((self._node(node), "eth0"), (self._switch, self._port(node))):
            _run("tc", "-n", place, "qdisc", "replace", "dev", link, *bucket.split())

    @property
    def _switch(self) -> str:
        """Namespace of the bridge."""
        return f"{self._name}-switch"

    def _node(self, node: int) -> str:
        """Namespace of a node."""
        return f"{self._name}-{node}"

    def _port(self, node: int) -> str:
        """The bridge's end of a node's link."""
        return f"port{node}"

    def _make(self) -> None:
        """Make the bridge, then each node and its link."""
        self._add_namespace(self._switch)
        _run("ip", "-n", self._switch, "link", "add", "bridge0", "type", "bridge")
        _run("ip", "-n", self._switch, "link", "set", "bridge0", "up")
        for node in range(self.num_nodes):
            if self._delay_ms is None:
                self._add_node(node)
            else:
                self._add_namespace(self._node(node))
        if self._delay_ms is not None:
            self._add_delayed_links(self._delay_ms)

    def _add_node(self, node: int) -> None:
        """Make a node, linked to the bridge."""
        here, there, port = self._node(node), self._switch, self._port(node)
        self._add_namespace(here)
        link = f"link add eth0 netns {here} type veth peer name {port} netns {there}"
        _run("ip", *link.split())
        _run("ip", "-n", there, "link", "set", port, "master", "bridge0", "up")
        _run("ip", "-n", here, "link", "set", "lo", "up")
        _run("ip", "-n", here, "address", "add", f"{self.address(node)}/24", "dev", "eth0")
        _run("ip", "-n", here, "link", "set", "eth0", "up")
        if self.rate_mbit is not None:
            self.shape(node, self.rate_mbit)

    def _add_delayed_links(self, delay_ms: float) -> None:
        """Link all nodes through a relay."""
        nodes = range(self.num_nodes)
        addresses = [socket.inet_aton(self.address(node)) for node in nodes]
        self._relay = Relay([self._node(node) for node in nodes], addresses, delay_ms)
        self._relay.__enter__()
        for node in nodes:
            here = self._node(node)
            _run("ip", "-n", here, "link", "set", "lo", "up")
            _run("ip", "-n", here, "address", "add", f"{self.address(node)}/24", "dev", "eth0")
            _run("ip", "-n", here, "link", "set", "eth0", "mtu", str(DELAYED_MTU), "up")

    def _add_namespace(self, name: str) -> None:
        """Make a namespace, to be taken down at the end."""
        _run("ip", "netns", "add", name)
        self._made.append(name)

    def _take_down(self) -> None:
        """Remove all namespaces, and with them their links."""
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.__exit__(None, None, None)
        while self._made:
            subprocess.run(["ip", "netns", "delete", self._made.pop()], check=False)


def _run(*words: str) -> str:
    """Run a command; its output.

    Raises:
        InputError: If it fails, with what it says.
    """
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"'{' '.join(words)}' must work for an emulated network: {done.stderr}")
    return done.stdout
