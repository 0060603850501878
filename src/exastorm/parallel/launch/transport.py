"""What carries tensors between ranks: groups of torch, on gloo between CPUs, NCCL between GPUs."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from exastorm.errors import InputError
from exastorm.parallel.launch.cards import CPU
from exastorm.parallel.launch.interfaces import interface_toward
from exastorm.parallel.launch.launchers import Launch
from exastorm.parallel.launch.stores import KeyStore
from exastorm.parallel.world import World

_torch: Any = dist  # whose stubs don't know the stores

DeviceChoice = Literal["auto", "cpu", "cuda"]


def choose_device(choice: DeviceChoice, launch: Launch) -> torch.device:
    """The device of this rank: each rank of a machine has its own GPU.

    Raises:
        InputError: If there is no GPU for it.
    """
    if choice == "cpu" or (choice == "auto" and not torch.cuda.is_available()):
        return torch.device(CPU)
    if not torch.cuda.is_available():
        raise InputError("device must be cpu or auto, got cuda, but torch sees no GPU")
    num_gpus = torch.cuda.device_count()
    # A launcher that shows each process its own GPU alone needs no number.
    index = 0 if num_gpus == 1 or launch.num_ranks == 1 else launch.local_rank
    if index is None:
        raise InputError(f"LOCAL_RANK must be set to choose one of {num_gpus} GPUs")
    if index >= num_gpus:
        raise InputError(
            f"ranks on a machine must be at most its {num_gpus} GPUs, got local rank {index}"
        )
    return torch.device("cuda", index)


def device_identity(device: torch.device) -> str:
    """What tells a GPU from all others, its UUID; CPUs are all alike."""
    if device.type == CPU:
        return CPU
    return str(torch.cuda.get_device_properties(device).uuid)


class Transport:
    """Connections between all ranks, and groups with connections of their own."""

    def __init__(
        self,
        store: KeyStore,
        world: World,
        device: torch.device,
        interface: str | None,
        timeouts: tuple[timedelta, timedelta],
    ) -> None:
        """Connect all ranks, as torch's default group.

        Args:
            store: What all ranks share.
            world: Who sits where.
            device: Where this rank's tensors are.
            interface: The network interface to use; None for the library's own choice.
            timeouts: How long ranks wait for one another to connect, and in an exchange.

        Raises:
            InputError: If the ranks can't reach one another.
        """
        self._store, self._rank = store, world.rank
        self._connect_timeout, self._timeout = timeouts
        # Both are read for every new group (torch.distributed, "Common environment variables").
        self._variable = "GLOO_SOCKET_IFNAME" if device.type == CPU else "NCCL_SOCKET_IFNAME"
        self._backend = "gloo" if device.type == CPU else "nccl"
        self._num_made: Counter[tuple[int, ...]] = Counter()
        self._before = os.environ.get(self._variable)
        if interface is not None:
            # NCCL takes a name for the start of many, unless told "=" (NCCL manual, same variable).
            exactly = "=" if self._backend == "nccl" else ""
            os.environ[self._variable] = exactly + interface
        if device.type != CPU:
            torch.cuda.set_device(device)
        # torch names the default group by how many it has tried to make in this process, which may
        # differ between ranks where one has failed before; then they never meet.
        distributed_c10d._world.group_count = 0
        try:
            with self._connecting():
                dist.init_process_group(
                    self._backend,
                    store=_torch.PrefixStore("world", store),
                    rank=world.rank,
                    world_size=world.num_ranks,
                    timeout=self._connect_timeout,
                )
            distributed_c10d._set_pg_timeout(self._timeout)
        except InputError:
            self._restore_environment()
            raise

    def make_group(self, members: tuple[int, ...]) -> dist.ProcessGroup:
        """A new group, which all members make, and nobody else.

        torch's new_group names a group by how many this rank has made before. On uneven nodes that
        differs between ranks, which then never meet; so a group is named here, by its members and
        how many they have made before.

        Raises:
            InputError: If the members can't reach one another.
        """
        digest = hashlib.sha256(repr(members).encode()).hexdigest()[:16]
        name = distributed_c10d.GroupName(f"{digest}-{self._num_made[members]}")
        self._num_made[members] += 1
        with self._connecting():
            group: dist.ProcessGroup
            group, _ = distributed_c10d._new_process_group_helper(
                len(members),
                members.index(self._rank),
                list(members),
                dist.Backend(self._backend),
                _torch.PrefixStore("groups", self._store),
                name,
                timeout=self._connect_timeout,
            )
        distributed_c10d._set_pg_timeout(self._timeout, group)
        distributed_c10d._world.pg_group_ranks[group] = {r: i for i, r in enumerate(members)}
        return group

    def close(self, *, failed: bool) -> None:
        """Close all groups. NCCL's would wait for ranks that failed; they end with the process."""
        self._restore_environment()
        if dist.is_initialized() and not (failed and self._backend == "nccl"):
            dist.destroy_process_group()

    def _restore_environment(self) -> None:
        os.environ.pop(self._variable, None)
        if self._before is not None:
            os.environ[self._variable] = self._before

    @contextmanager
    def _connecting(self) -> Iterator[None]:
        """Tell a failure to connect in one line.

        Raises:
            InputError: For torch's RuntimeError.
        """
        try:
            yield
        except RuntimeError as error:
            over = os.environ.get(self._variable, "of the library's choice")
            first_line = str(error).partition("\n")[0]
            raise InputError(
                f"rank {self._rank} can't reach other ranks over network interface {over}: "
                f"{first_line}"
            ) from None


def choose_interface(chosen: str | None, address: str, device: torch.device) -> str | None:
    """The network interface to name to the library; None to leave the choice to it.

    A setting wins, then the user's GLOO_SOCKET_IFNAME, then the way to an address. NCCL tries all
    interfaces itself.

    Raises:
        InputError: If there is no such interface, or no way to the address.
    """
    if chosen is not None:
        return chosen
    if device.type != CPU or os.environ.get("GLOO_SOCKET_IFNAME"):
        return None
    try:
        return interface_toward(address)
    except OSError as error:
        raise InputError(f"no network leads to rank 0 at {address} ({error.strerror})") from None
