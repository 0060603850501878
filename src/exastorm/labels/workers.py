"""Runs the jobs of an archive: here, in several processes, or on the workers of a Dask cluster."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Any, TypeVar

import dask

from exastorm.errors import InputError

Result = TypeVar("Result")
Job = tuple[Any, ...]


def run_jobs(
    function: Callable[..., Result],
    jobs: Iterable[Job],
    *,
    num_workers: int = 1,
    scheduler: str | None = None,
) -> Iterator[Result]:
    """Call a function once for each job; yields each result when it is there, in any order.

    Args:
        function: What to call; importable by name, since other processes look it up.
        jobs: Arguments of each call.
        num_workers: Processes on this machine; 1 for this process alone.
        scheduler: Address of a Dask scheduler, whose workers are used instead.

    Raises:
        InputError: If no scheduler answers, or what a job raises.
    """
    if scheduler is not None:
        yield from _on_cluster(function, jobs, scheduler)
    elif num_workers > 1:
        yield from _in_processes(function, jobs, num_workers)
    else:
        for job in jobs:
            yield function(*job)


def _alone(function: Callable[..., Result], *job: Any) -> Result:
    """One job in a process of many: they share the cores, so each reads in one thread."""
    with dask.config.set(scheduler="synchronous"):
        return function(*job)


def _in_processes(
    function: Callable[..., Result], jobs: Iterable[Job], num_workers: int
) -> Iterator[Result]:
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as executor:
        running: set[Future[Result]] = set()
        try:
            for job in jobs:
                running.add(executor.submit(_alone, function, *job))
                # Two a process: one at work, one ready.
                if len(running) >= 2 * num_workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            yield from (future.result() for future in running)
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def _on_cluster(
    function: Callable[..., Result], jobs: Iterable[Job], address: str
) -> Iterator[Result]:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise InputError(
            "a scheduler needs Dask's distributed: pip install 'exastorm[dask]'"
        ) from None
    try:
        client = Client(address, set_as_default=False, timeout=30)
    except (OSError, ValueError) as error:
        raise InputError(f"no Dask scheduler answers at {address!r}: {error}") from None
    with client:
        waiting = iter(jobs)
        # Two a worker thread: one at work, one ready. Jobs carry lazy arrays: never all at once.
        num_ahead = 2 * max(1, sum(client.nthreads().values()))
        first = [job for _, job in zip(range(num_ahead), waiting, strict=False)]
        queue = as_completed([client.submit(_alone, function, *job, pure=False) for job in first])
        for future in queue:
            yield future.result()
            job = next(waiting, None)
            if job is not None:
                queue.add(client.submit(_alone, function, *job, pure=False))
