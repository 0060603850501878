"""Runs the jobs of an archive: here, in several processes, or on the workers of a Dask cluster.

What all jobs share goes to each process once: to send a lazy archive of thousands of files with
every job would take longer than the jobs.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing import get_context
from typing import Any, NamedTuple, TypeVar

import dask

from exastorm.errors import InputError

Result = TypeVar("Result")
Job = tuple[Any, ...]

CONNECT_TIMEOUT_S = 5.0
"""How long a scheduler, and the first of its workers, is waited for."""


def run_jobs(
    function: Callable[..., Result],
    shared: tuple[Any, ...],
    jobs: Iterable[Job],
    *,
    num_workers: int = 1,
    scheduler: str | None = None,
) -> Iterator[Result]:
    """Call a function once for each job; yields each result when it is there, in any order.

    Args:
        function: What to call; importable by name, since other processes look it up.
        shared: First arguments of every call, sent to each process once.
        jobs: The other arguments of each call.
        num_workers: Processes on this machine; 1 for this process alone.
        scheduler: Address of a Dask scheduler, whose workers are used instead.

    Raises:
        InputError: If no scheduler answers or it has no workers, if a process dies, or what a job
            raises.
    """
    if scheduler is not None:
        yield from _on_cluster(function, shared, jobs, scheduler)
    elif num_workers > 1:
        yield from _in_processes(function, shared, jobs, num_workers)
    else:
        for job in jobs:
            yield function(*shared, *job)


class Call(NamedTuple):
    """A function and its first arguments.

    Attributes:
        function: The function.
        shared: Its first arguments.
    """

    function: Callable[..., Any]
    shared: tuple[Any, ...]


def _alone(call: Call, *job: Any) -> Any:
    """One job in a process of many: they share the cores, so each reads in one thread."""
    with dask.config.set(scheduler="synchronous"):
        return call.function(*call.shared, *job)


_received: list[Call] = []
"""What a process of a pool was sent when it started."""


def _receive(call: Call) -> None:
    """Keep what all jobs of this process share."""
    _received[:] = [call]


def _alone_here(*job: Any) -> Any:
    """One job in a process of a pool."""
    return _alone(_received[0], *job)


def _in_processes(
    function: Callable[..., Result], shared: tuple[Any, ...], jobs: Iterable[Job], num_workers: int
) -> Iterator[Result]:
    call = Call(function, shared)
    with ProcessPoolExecutor(
        num_workers, mp_context=get_context("spawn"), initializer=_receive, initargs=(call,)
    ) as executor:
        running: set[Future[Result]] = set()
        try:
            for job in jobs:
                running.add(executor.submit(_alone_here, *job))
                # Two a process: one at work, one ready.
                if len(running) >= 2 * num_workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            yield from (future.result() for future in running)
        except BrokenProcessPool:
            raise InputError(
                "one of the processes was ended from outside, as when memory runs out (try a"
                " smaller block_size or num_workers), or a script's work does not stand under"
                " if __name__ == '__main__'"
            ) from None
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def _on_cluster(
    function: Callable[..., Result], shared: tuple[Any, ...], jobs: Iterable[Job], address: str
) -> Iterator[Result]:
    distributed = _distributed()
    # What all jobs share is large and sent once: nothing to warn of.
    no_warning = dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"})
    with no_warning, _connect(address) as client:
        # A task, not scattered data: if the worker that holds it dies, another one makes it again.
        call = client.submit(Call, function, shared, pure=False)
        waiting = iter(jobs)
        # Two a worker thread: one at work, one ready. Jobs may carry fields: never all at once.
        num_ahead = 2 * max(1, sum(client.nthreads().values()))
        first = [job for _, job in zip(range(num_ahead), waiting, strict=False)]
        begun = [client.submit(_alone, call, *job, pure=False) for job in first]
        queue = distributed.as_completed(begun, loop=client.loop)
        try:
            for future in queue:
                yield future.result()
                job = next(waiting, None)
                if job is not None:
                    queue.add(client.submit(_alone, call, *job, pure=False))
        except distributed.KilledWorker as error:
            raise InputError(f"several workers of {address} died over one job: {error}") from None
        except CancelledError:
            raise InputError(f"the Dask scheduler at {address} went away") from None


def _distributed() -> Any:
    """Dask's package for clusters.

    Raises:
        InputError: If it is not there.
    """
    try:
        return import_module("distributed")
    except ImportError:
        raise InputError(
            "a scheduler needs Dask's distributed: pip install 'exastorm[dask]'"
        ) from None


def _connect(address: str) -> Any:
    """A client of a scheduler that has workers.

    Raises:
        InputError: If none answers, or it has no workers.
    """
    try:
        client = _distributed().Client(address, set_as_default=False, timeout=CONNECT_TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise InputError(f"no Dask scheduler answers at {address!r}: {error}") from None
    try:
        client.wait_for_workers(1, timeout=CONNECT_TIMEOUT_S)
    except TimeoutError:
        client.close()
        raise InputError(f"the Dask scheduler at {address!r} has no workers") from None
    return client
