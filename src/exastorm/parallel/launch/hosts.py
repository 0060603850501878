"""Which ranks share a machine, told where host names are odd, or the same everywhere.

A host name alone won't do: fresh machines are all "localhost", and containers have names without
meaning. The kernel says more: its boot id tells machines apart, its UTS and network namespaces tell
containers of one machine apart. Ranks in two network namespaces reach one another only over a
network, so they are on two nodes, also when one machine runs both: so tests emulate nodes.
"""

import platform
import uuid
from collections.abc import Sequence
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Made at random at every boot of a Linux kernel (random(4))."""

NETWORK = Path("/proc/self/ns/net")
"""Names the network namespace of this process, uniquely on its kernel (namespaces(7))."""


def host_identity() -> str:
    """One line that is the same on ranks of the same node, and on no other.

    Returns:
        Boot id, host name and network namespace; where there is no Linux kernel to ask, the network
        card's address stands for the boot id.
    """
    try:
        kernel, network = BOOT_ID.read_text().strip(), str(NETWORK.readlink())
    except OSError:
        kernel, network = f"{uuid.getnode():012x}", "-"
    return f"{kernel} {platform.node()} {network}"


def place_ranks(identities: Sequence[str], ranks_per_node: int | None = None) -> tuple[int, ...]:
    """The node of each rank, nodes numbered as they first appear.

    Args:
        identities: `host_identity` of each rank, in the order of ranks.
        ranks_per_node: Say by hand that so many ranks in a row form a node, whatever the
            identities: nodes are then emulated on one machine. The last may hold fewer.
    """
    if ranks_per_node is not None:
        return tuple(rank // ranks_per_node for rank in range(len(identities)))
    nodes: dict[str, int] = {}
    return tuple(nodes.setdefault(identity, len(nodes)) for identity in identities)
