"""How the ranks of a run find one another: one store, one card from each, one verdict for all.

Rank 0 listens at the meeting point, unless its launcher keeps a store there; the others call until
it answers. At the store P ranks make 4 P small requests (claim a rank, hand in a card, read the
verdict, say so), besides asking now and then whether there is a verdict; rank 0 reads all cards in
one request. Whoever waits in vain says so in one line, and rank 0 knows who has not come.
"""

import errno
import os
import socket
import time
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any

import torch.distributed as dist

from exastorm.errors import InputError
from exastorm.parallel.launch.cards import Card, Verdict, judge
from exastorm.parallel.launch.launchers import ADDRESS, LOOPBACK, PORT, Launch
from exastorm.parallel.launch.stores import KeyStore
from exastorm.parallel.world import World

_torch: Any = dist  # whose stubs don't know the stores

MOST_CALLERS = 4096
"""Calls that may wait to be answered at once, as far as the system allows (net.core.somaxconn)."""

NAME_TIMEOUT_S = 60.0
"""How long a host name may stay unknown: that of a machine that has just been started appears late,
but that of a typing error never."""

FAREWELL_S = 30.0
"""How long ranks wait for one another at the end, be it that of a meeting which failed."""

ASKED_PER_S = 5000
"""Questions that a store is asked at most; torch's answers about 25,000 each second (measured)."""

_MEETING, _LEAVING = "meeting", "leaving"
_VERDICT, _TOLD = f"{_MEETING}/verdict", f"{_MEETING}/told"


def open_store(launch: Launch, timeout_s: float) -> tuple[KeyStore, str]:
    """The store that all ranks of a launch share, and the address at which this rank found it.

    Args:
        launch: Who and where.
        timeout_s: How long to call for an answer, seconds.

    Raises:
        InputError: If the port is taken, or no one answers.
    """
    keeps = launch.rank == 0 and not launch.keeps_store
    reached, listener = LOOPBACK, None
    if keeps:
        listener = _listen(launch.port)
    else:
        reached = _call(launch, timeout_s)
    try:
        store = _torch.TCPStore(
            reached,
            launch.port,
            is_master=keeps,
            timeout=timedelta(seconds=timeout_s),
            wait_for_workers=False,
            master_listen_fd=listener,
        )
    except RuntimeError as error:
        raise InputError(
            f"{launch.address}:{launch.port} must be the meeting point of this run, but something "
            f"else answers there ({_first_line(error)})"
        ) from None
    return _own_part(store, launch), reached


def open_again(launch: Launch, reached: str, timeout_s: float) -> KeyStore:
    """Another connection to the store: the first answers nobody as long as a call to it waits.

    Args:
        launch: Who and where.
        reached: The address at which the store was found.
        timeout_s: How long an answer may take, seconds.

    Raises:
        RuntimeError: If the store is gone.
    """
    limit = timedelta(seconds=timeout_s)
    store = _torch.TCPStore(reached, launch.port, timeout=limit, wait_for_workers=False)
    return _own_part(store, launch)


def _own_part(store: Any, launch: Launch) -> KeyStore:
    """What this run keeps in a store.

    What another run, or this one before a restart, has left there must not be taken for ours.
    """
    start = launch.restart_count if launch.keeps_store else 0
    own: KeyStore = _torch.PrefixStore(f"exastorm/{launch.job}/{start}", store)
    return own


def meet(store: KeyStore, launch: Launch, card: Card, timeout_s: float) -> Verdict:
    """Hand in the card of this rank, and return what all are told.

    Raises:
        InputError: If a rank does not come in time, or the ranks can't work together, on all that
            have come; or if this rank comes twice, as two runs may at one store.
    """
    if store.add(f"{_MEETING}/claim/{launch.rank}", 1) > 1:
        raise InputError(
            f"rank {launch.rank} has come twice to {launch.address}:{launch.port}: runs that share "
            f"a machine must differ in {PORT}{_restart_hint(launch)}"
        )
    store.set(_key(launch.rank), card.to_text())
    if launch.rank == 0:
        return _preside(store, launch, timeout_s)
    try:
        # Rank 0 gives up first, and says who is missing.
        told = _all_set(store, [_VERDICT], timeout_s + FAREWELL_S, launch.num_ranks)
        verdict = Verdict.from_text(store.get(_VERDICT)) if told else None
    except RuntimeError:
        verdict = None
    if verdict is None:
        raise InputError(f"rank 0 left {launch.address}:{launch.port} while others came")
    store.add(_TOLD, 1)
    if verdict.problem:
        raise InputError(verdict.problem)
    return verdict


def leave(store: KeyStore, world: World) -> None:
    """Wait until no rank needs the others any more, or one that is gone keeps them waiting.

    Rank 0, with the store, waits until all know.
    """
    everyone = world.num_ranks
    with suppress(RuntimeError):
        for door in ("done", "gone"):
            all_through = f"{_LEAVING}/all-{door}"
            if store.add(f"{_LEAVING}/{door}", 1) == everyone:
                store.set(all_through, "")
            elif door == "done" or world.is_first:
                _all_set(store, [all_through], FAREWELL_S, everyone)


def _preside(store: KeyStore, launch: Launch, timeout_s: float) -> Verdict:
    """Rank 0's part: read all cards and tell the verdict."""
    keys = [_key(rank) for rank in range(launch.num_ranks)]
    try:
        if not _all_set(store, keys, timeout_s, num_askers=1):
            missing = [rank for rank, key in enumerate(keys) if not store.check([key])]
            raise InputError(_missing_line(missing, launch, timeout_s))
        verdict = judge([Card.from_text(card) for card in store.multi_get(keys)])
    except InputError as error:
        num_others = sum(store.check([key]) for key in keys[1:])
        _tell(store, Verdict(problem=error.problem), num_others)
        raise
    _tell(store, verdict, launch.num_ranks - 1)
    return verdict


def _tell(store: KeyStore, verdict: Verdict, num_others: int) -> None:
    """Give the verdict, and keep the store until all who came have read it, or are gone."""
    store.set(_VERDICT, verdict.to_text())
    deadline = time.monotonic() + FAREWELL_S
    while store.add(_TOLD, 0) < num_others and time.monotonic() < deadline:
        time.sleep(0.02)


def _all_set(store: KeyStore, keys: list[str], timeout_s: float, num_askers: int) -> bool:
    """Wait for keys, at most so long.

    Asks now and then, and all askers together not more often than ASKED_PER_S: so signals are heard
    meanwhile, and torch writes no alarms of its own, as it does where it waits itself.
    """
    deadline, rarely_s = time.monotonic() + timeout_s, num_askers / ASKED_PER_S
    pause_s = max(0.01, rarely_s)
    while not store.check(keys):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, max(0.5, rarely_s))
    return True


def _listen(port: int) -> int:
    """A file descriptor that listens on a port of all own addresses.

    Raises:
        InputError: If the port is taken.
    """
    try:
        try:
            server = socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=MOST_CALLERS
            )
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES):
                raise
            # No IPv6 here, or none beside IPv4.
            server = socket.create_server(("", port), backlog=MOST_CALLERS)
    except OSError as error:
        raise InputError(
            f"{PORT} must be a free port of this machine, got {port} "
            f"({os.strerror(error.errno or 0)})"
        ) from None
    return server.detach()


def _call(launch: Launch, timeout_s: float) -> str:
    """Call the meeting point until it answers; its address.

    Raises:
        InputError: If it never does.
    """
    start, pause_s = time.monotonic(), 0.05
    while True:
        try:
            with socket.create_connection((launch.address, launch.port), timeout=5.0) as call:
                return str(call.getpeername()[0])
        except socket.gaierror:
            problem, limit_s = "its name is not known", min(timeout_s, NAME_TIMEOUT_S)
        except OSError as error:
            problem, limit_s = error.strerror or str(error), timeout_s
        if time.monotonic() - start > limit_s:
            raise InputError(
                f"no one answers rank {launch.rank} at {launch.address}:{launch.port} after "
                f"{limit_s:.0f} s ({problem}): {ADDRESS} and {PORT} must be those of rank 0"
            )
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, 1.0)


def _missing_line(missing: list[int], launch: Launch, timeout_s: float) -> str:
    """Who has not come, and what may be wrong."""
    line = (
        f"of {launch.num_ranks} ranks {len(missing)} have not come to {launch.address}:"
        f"{launch.port} after {timeout_s:.0f} s: {_ranges(missing)}"
    )
    if not launch.keeps_store and not _is_own(launch.address):
        line += f"; is {ADDRESS} the machine of rank 0?"
    return line + _restart_hint(launch)


def _restart_hint(launch: Launch) -> str:
    """The way out where each machine's torchrun counts restarts for itself, with one store for all.

    A machine whose own ranks have not failed counts none, though its ranks are started again too
    (torch.distributed.elastic, `LocalElasticAgent._start_workers`).
    """
    if not launch.keeps_store:
        return ""
    return "; after restarts on several machines, set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"


def _ranges(ranks: list[int], most: int = 10) -> str:
    """Ranks in rising order, shortened: 3, 5-7, ..."""
    cuts = [index + 1 for index, (a, b) in enumerate(pairwise(ranks)) if b != a + 1]
    runs = [ranks[start:stop] for start, stop in pairwise([0, *cuts, len(ranks)])]
    told = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs[:most]]
    return ", ".join(told + ["..."] * (len(runs) > most))


def _is_own(address: str) -> bool:
    """Whether an address is one of this machine: only to those can a socket be bound."""
    with suppress(OSError):
        family, kind, protocol, _, target = socket.getaddrinfo(address, 0, type=socket.SOCK_DGRAM)[
            0
        ]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(target)
            return True
    return False


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _key(rank: int) -> str:
    return f"{_MEETING}/rank/{rank}"
