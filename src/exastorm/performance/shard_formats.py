"""Which on-disk form gives random whole samples fastest: the measurement behind samples/shards.py.

Beside every form the same number of bytes is read one after the other in large blocks, as
`dd of=/dev/null bs=56M` does: no form can do better while samples are copied out of the page cache.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.performance.sample_forms import FORMS, Read, SampleSource
from exastorm.progress import ProgressBar

RAW_BLOCK_BYTES = 56 << 20
"""Bytes per read of the raw measure, about a sample of the paper's size."""


@dataclass(frozen=True, kw_only=True)
class ShardBenchSettings:
    """Size of the samples and length of the measurement."""

    num_samples: int = 24
    """Samples written in each form; more than the processor's caches hold, less than memory."""

    num_channels: int = 16
    """Channels of a sample; the paper's are 16."""

    height: int = 768
    """Latitudes of a sample; the paper's are 768."""

    width: int = 1152
    """Longitudes of a sample; the paper's are 1152."""

    num_rounds: int = 3
    """Times that each form's samples are read, in another random order each."""

    num_threads: int = 2
    """Threads of the second measurement; the first has one."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


def bench_shards(folder: Path, settings: ShardBenchSettings) -> dict[str, Any]:
    """Measure random reads of whole samples in each form, page cache warm.

    Args:
        folder: Where the files go meanwhile; a temporary folder in it, removed in the end.
        settings: Size and length.

    Returns:
        `forms`: for each form samples/s with one thread and with `num_threads`, CPU milliseconds
        per sample with one, and `share_of_raw_read`, one thread's rate over that of sequential
        reads of the same bytes right before it. `raw_read_samples_per_s`: median of those.
    """
    shape = (settings.num_channels, settings.height, settings.width)
    source = SampleSource(settings.num_samples, shape)
    forms, raw_rates = {}, []
    folder.mkdir(parents=True, exist_ok=True)
    with ProgressBar("bench shards", len(FORMS)) as bar:
        for name, (write, open_reader) in FORMS.items():
            own = Path(tempfile.mkdtemp(prefix="bench-", dir=folder))
            try:
                write(own, source)
                raw_rates.append(_raw_rate(own, source, settings.num_rounds))
                forms[name] = _rates(lambda: open_reader(own, source), settings)  # noqa: B023
            finally:
                shutil.rmtree(own)
            forms[name]["share_of_raw_read"] = forms[name]["samples_per_s"] / raw_rates[-1]
            bar.advance(note=name)
    return {
        **asdict(settings),
        "sample_mb": source.sample_bytes / 1e6,
        "raw_read_samples_per_s": float(np.median(raw_rates)),
        "forms": forms,
    }


def _raw_rate(folder: Path, source: SampleSource, num_rounds: int) -> float:
    """Samples' worth of bytes per second, reading all files in large blocks; best round."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    buffer = np.empty(RAW_BLOCK_BYTES, np.uint8).data
    rates = []
    for _ in range(num_rounds + 1):  # the first warms the page cache
        num_bytes, start = 0, time.perf_counter()
        for path in files:
            descriptor = os.open(path, os.O_RDONLY)
            while got := os.readv(descriptor, [buffer]):
                num_bytes += got
            os.close(descriptor)
        rates.append(num_bytes / source.sample_bytes / (time.perf_counter() - start))
    return max(rates)


def _rates(open_reader: Callable[[], Read], settings: ShardBenchSettings) -> dict[str, float]:
    """Random reads with one thread and with several; best round of each."""
    one, cpu = _best_round([open_reader()], settings)
    many, _ = _best_round([open_reader() for _ in range(settings.num_threads)], settings)
    return {"samples_per_s": one, "samples_per_s_threads": many, "cpu_ms_per_sample": 1e3 * cpu}


def _best_round(readers: list[Read], settings: ShardBenchSettings) -> tuple[float, float]:
    """Samples/s and CPU seconds per sample of readers that share the samples, a thread each."""
    generator = np.random.default_rng(1)
    results = []
    with ThreadPoolExecutor(len(readers)) as pool:
        for _ in range(settings.num_rounds + 1):  # the first warms buffers and page cache
            parts = np.array_split(generator.permutation(settings.num_samples), len(readers))
            start, cpu = time.perf_counter(), time.process_time()
            list(pool.map(_read_all, readers, parts))
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            results.append((settings.num_samples / wall, cpu / settings.num_samples))
    return max(rate for rate, _ in results), min(cpu for _, cpu in results)


def _read_all(read: Read, samples: NDArray[np.int64]) -> None:
    """Read some samples, keeping none."""
    for i in samples:
        read(int(i))
