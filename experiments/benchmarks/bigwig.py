"""pyBigWig or pybigtools? Reading the mean of every 25-bp bin, and writing an imputed chromosome.

    python -m experiments.benchmarks.bigwig chrom=chr20

Each is measured in a process of its own: wall and CPU seconds (the lowest of some repeats), CPU seconds that another
Python thread gets meanwhile (none: the library never lets go of Python's lock), and the peak of memory.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avocado.cli import app
from avocado.data.genome import BIN_SIZE, Assembly, Segment
from experiments.benchmarks.scaling import in_process
from experiments.benchmarks.timing import report

if TYPE_CHECKING:
    from omegaconf import DictConfig

LIBRARIES = ("pyBigWig", "pybigtools")


def benchmark(config: DictConfig) -> None:
    """Measure both libraries, check that they agree, print the table and write it as CSV."""
    import pandas as pd

    from avocado.data.bigwig import read_bins, write_bigwig
    from avocado.data.genome import chromosome_region, load_assembly

    assembly, folder = load_assembly(config.assembly), Path(config.folder)
    segment = chromosome_region(assembly, config.chrom).segments[0]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "signal.bw"
    write_bigwig(file, assembly, [(segment, imputed_like(segment.n_bins))])
    rows = []
    for what, task in (("read", _reading), ("write", _writing)):
        for library in LIBRARIES:
            (times, found), peak = in_process(task, library, file, assembly, segment, config.repeats)
            wall, cpu, other = times
            row = {"what": what, "library": library, "s": wall, "CPU s": cpu, "CPU s of another thread": other}
            rows.append(row | {"peak MB": peak / 1e6, "file MB": found})
    for library in LIBRARIES:
        written = folder / f"{library}.bw"
        if not np.array_equal(read_bins(written, [segment]), read_bins(file, [segment])):
            raise RuntimeError(f"{written}: {library} has written other values")
    title = f"{config.chrom} of {assembly.name}, {segment.n_bins:,} bins"
    report(title, pd.DataFrame(rows), folder / "bigwig.csv")
    for scratch in folder.glob("*.bw"):
        scratch.unlink()


def imputed_like(n_bins: int) -> np.ndarray:
    """Smooth positive signal with all its digits, as a model imputes it: float32 (n_bins,)."""
    noise = np.random.default_rng(0).normal(size=n_bins + 40).cumsum()
    smooth = np.convolve(np.diff(noise, prepend=0), np.ones(41) / 41, "valid")[:n_bins]
    return np.sinh(np.abs(smooth)).astype(np.float32)


def read_pybigtools(file: Path, segment: Segment) -> np.ndarray:
    """What `avocado.data.bigwig.read_bins` reads, by pybigtools: gaps count as 0 before the mean."""
    import pybigtools

    with pybigtools.open(str(file)) as opened:
        start, end = segment.start * BIN_SIZE, segment.end * BIN_SIZE
        options = {"bins": segment.n_bins, "exact": True, "uncovered": 0.0, "fillna": 0.0}
        return np.asarray(opened.values(segment.chrom, start, end, **options), dtype=np.float32)


def write_pybigtools(file: Path, assembly: Assembly, segment: Segment, values: np.ndarray) -> None:
    """What `avocado.data.bigwig.write_bigwig` writes, by pybigtools, which takes one interval after the other."""
    import pybigtools

    def intervals() -> Iterator[tuple[str, int, int, float]]:
        start = segment.start * BIN_SIZE
        for value in values.tolist():
            yield segment.chrom, start, start + BIN_SIZE, value
            start += BIN_SIZE

    pybigtools.open(str(file), "w").write(dict(assembly.sizes), intervals())


def _reading(
    library: str, file: Path, assembly: Assembly, segment: Segment, repeats: int
) -> tuple[tuple[float, float, float], float]:
    from avocado.data.bigwig import read_bins

    read = (lambda: read_bins(file, [segment])) if library == "pyBigWig" else (lambda: read_pybigtools(file, segment))
    return _times(read, repeats), file.stat().st_size / 1e6


def _writing(
    library: str, file: Path, assembly: Assembly, segment: Segment, repeats: int
) -> tuple[tuple[float, float, float], float]:
    from avocado.data.bigwig import write_bigwig

    values = imputed_like(segment.n_bins)

    out = file.with_name(f"{library}.bw")

    def write() -> None:
        if library == "pyBigWig":
            write_bigwig(out, assembly, [(segment, values)])
        else:
            write_pybigtools(out, assembly, segment, values)

    return _times(write, repeats), out.stat().st_size / 1e6


def _times(call: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Wall and CPU seconds of the call, the lowest of each, and the most CPU seconds of a thread beside it."""
    wall, cpu, other = [], [], []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
        done = threading.Event()
        with ThreadPoolExecutor(1) as threads:
            beside = threads.submit(_busy, done)
            call()
            done.set()
            other.append(beside.result())
    return min(wall), min(cpu), max(other)


def _busy(done: threading.Event) -> float:
    """CPU seconds of this thread until the event."""
    start = time.thread_time()
    while not done.is_set():
        pass
    return time.thread_time() - start


if __name__ == "__main__":
    sys.exit(app.run("benchmark_bigwig", benchmark, sys.argv[1:]))
