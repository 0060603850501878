"""All processes of a run, connected: who sits where, what they share, and groups that exchange.

`connect` brings the ranks of a launch together; a process that is alone gets the same object, with
nothing of torch.distributed behind it.
"""

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

import torch
import torch.distributed as dist

from exastorm.errors import InputError
from exastorm.parallel.launch.cards import Card
from exastorm.parallel.launch.hosts import host_identity
from exastorm.parallel.launch.interfaces import source_address
from exastorm.parallel.launch.launchers import LOOPBACK, Launch
from exastorm.parallel.launch.meeting import leave, meet, open_again, open_store
from exastorm.parallel.launch.stores import KeyStore, MemoryStore
from exastorm.parallel.launch.transport import (
    DeviceChoice,
    Transport,
    choose_device,
    choose_interface,
    device_identity,
)
from exastorm.parallel.voice import ANSWER_S, Say, Voice
from exastorm.parallel.world import World


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """How processes of a run connect."""

    timeout_s: float = 900.0
    """Seconds that an exchange waits for other ranks before it fails. Longer than control.hang_s,
    after which a run ends too, with the name of the rank that all wait for."""

    meeting_timeout_s: float = 300.0
    """Seconds that ranks wait at the start for others to come and to connect."""

    interface: str | None = None
    """Network interface that exchanges use, such as eth0 or ib0; None takes the one that leads to
    rank 0's machine (gloo), or what NCCL finds best."""

    def __post_init__(self) -> None:
        for name in ("timeout_s", "meeting_timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.interface is not None and not self.interface.strip():
            raise ValueError(f"interface must be a name or None, got {self.interface!r}")


class Cluster:
    """The processes of a run, as one of them sees it. A context manager; leaving it closes it.

    Attributes:
        world: Who sits where.
        device: Where this rank computes.
        store: Keys and values that all ranks see. Keys that start with meeting/, leaving/, world/,
            groups/ or said/ are in use; `unique` gives names for others.
        voice: Tells the user what several ranks have to say, once.
    """

    world: World
    device: torch.device
    store: KeyStore

    def __init__(
        self,
        world: World,
        device: torch.device,
        store: KeyStore,
        transport: Transport | None = None,
        host: str = LOOPBACK,
        voice: Voice | None = None,
    ) -> None:
        self.world, self.device, self.store, self.host = world, device, store, host
        self.voice = voice or Voice(store, world.num_ranks)
        self.voice.world = world
        self._transport = transport
        self._num_uses: Counter[str] = Counter()

    @classmethod
    def alone(cls, device: torch.device | str = "cpu") -> Self:
        """The cluster of one process."""
        return cls(World.single(), torch.device(device), MemoryStore())

    def make_group(self, ranks: Sequence[int]) -> dist.ProcessGroup | None:
        """A new group of ranks with connections of its own, for torch.distributed's collectives.

        All its members make it, each its groups in the same order as the others; a rank that isn't
        in it may ask or not.

        Returns:
            None if this rank isn't in it, or there is nobody else in it.

        Raises:
            ValueError: If the ranks aren't different ranks of the world.
            InputError: If the members can't reach one another.
        """
        members = tuple(ranks)
        known = all(0 <= rank < self.world.num_ranks for rank in members)
        if not known or len(set(members)) != len(members):
            raise ValueError(f"ranks must be different ranks of the world, got {members}")
        if self.world.rank not in members or len(members) == 1 or self._transport is None:
            return None
        return self._transport.make_group(members)

    def unique(self, purpose: str) -> str:
        """A name for one use of the store, after which keys of another use of it are not found.

        All ranks that take part in a purpose ask for it as often, and so get the same name.
        """
        self._num_uses[purpose] += 1
        return f"{purpose}/{self._num_uses[purpose]}"

    def close(self, *, failed: bool = False) -> None:
        """Wait until all ranks are done, then close the connections. Twice does no harm.

        Args:
            failed: Don't wait for the others, which may be gone.
        """
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if not failed:
            leave(self.store, self.world)
        transport.close(failed=failed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.voice.end(error)
        self.close(failed=error is not None)


def connect(
    launch: Launch,
    settings: ClusterSettings | None = None,
    device: DeviceChoice = "auto",
    say: Say | None = None,
) -> Cluster:
    """Bring the ranks of a launch together.

    Args:
        launch: Who this process is.
        settings: How long to wait, and which network to use.
        device: Where ranks compute: auto takes a GPU if there is one.
        say: Tells the user of a mistake or a loss, because of which the cluster is left or never
            came about. What several ranks have to say one says; then it is marked as told on all.

    Returns:
        The cluster; for a launch of one rank, that of `Cluster.alone`.

    Raises:
        InputError: If ranks don't come, can't work together or can't reach one another.
    """
    settings = settings or ClusterSettings()
    if launch.num_ranks == 1:
        return Cluster.alone(choose_device(device, launch))
    try:
        place = choose_device(device, launch)
    except InputError as error:
        with suppress(InputError):  # Others may be there with the same mistake, or not.
            _open(launch, ANSWER_S, say)[2].end(error)
        raise
    store, reached, voice = _open(launch, settings.meeting_timeout_s, say)
    try:
        return _meet(launch, settings, place, store, reached, voice)
    except InputError as error:
        voice.end(error)
        raise


def _open(launch: Launch, timeout_s: float, say: Say | None) -> tuple[KeyStore, str, Voice]:
    """The store of all ranks, the address at which it was found, and this rank's voice there."""
    store, reached = open_store(launch, timeout_s)
    is_host = launch.rank == 0 and not launch.keeps_store
    where = None if is_host else (reached, launch.port)
    voice = Voice(
        store,
        launch.num_ranks,
        say,
        place=where,
        is_host=is_host,
        open_again=lambda: open_again(launch, reached, ANSWER_S),
    )
    return store, reached, voice


def _meet(
    launch: Launch,
    settings: ClusterSettings,
    place: torch.device,
    store: KeyStore,
    reached: str,
    voice: Voice,
) -> Cluster:
    """Bring together ranks that have found the store."""
    card = Card(
        host=host_identity(),
        device=device_identity(place),
        reached=reached,
        ranks_per_node=launch.ranks_per_node,
    )
    verdict = meet(store, launch, card, settings.meeting_timeout_s)
    world = World(rank=launch.rank, placement=verdict.placement)
    interface = choose_interface(settings.interface, verdict.address, place)
    timeouts = (
        timedelta(seconds=settings.meeting_timeout_s),
        timedelta(seconds=settings.timeout_s),
    )
    transport = Transport(store, world, place, interface, timeouts)
    return Cluster(world, place, store, transport, source_address(verdict.address), voice)
