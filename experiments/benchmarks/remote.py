"""How much of a remote bigWig is transferred for some regions, by ingest's way of reading and by pybigtools on fsspec.

    python -m experiments.benchmarks.remote file=E003-H3K4me3.pval.signal.bigwig

Without a file, one of the whole genome is simulated: values over stretches of 120 bp on average. A server on this
machine counts requests and bytes.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avocado.cli import app
from avocado.data.genome import BIN_SIZE, Assembly, Region
from experiments.benchmarks.timing import report

if TYPE_CHECKING:
    from omegaconf import DictConfig

MEAN_LENGTH = 120  # bp of a simulated stretch
Counts = dict[str, int]
# caches of fsspec and their blocks in bytes; its own choice last
CACHES = (("none", 1 << 16), ("blockcache", 1 << 16), ("readahead", 1 << 16), ("bytes", 5 << 20))


def benchmark(config: DictConfig) -> None:
    """Read each region in each way, print the table and write it as CSV."""
    import pandas as pd

    from avocado.config.values import as_list
    from avocado.data.bigwig import read_bins
    from avocado.data.genome import load_assembly
    from avocado.data.regions import parse_regions

    assembly, folder = load_assembly(config.assembly), Path(config.folder)
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("fsspec").setLevel(logging.WARNING)
    file = Path(config.file) if config.file else folder / "signal.bw"
    if not file.exists():
        simulate(file, assembly)
    rows = []
    for region in parse_regions(assembly, as_list(config.regions, assembly.sizes)):
        expected = read_bins(file, region.segments)
        ways = {"avocado": ours, **{f"pybigtools, {name}": pybigtools_with(name, size) for name, size in CACHES}}
        for name, read in ways.items():
            with counting(file) as (address, counts):
                begun = time.perf_counter()
                found = read(address, region)
                seconds = time.perf_counter() - begun
            if found is not None and not np.array_equal(found, expected):
                raise RuntimeError(f"{name} has read other values")
            share = counts["bytes"] / file.stat().st_size
            row = {"requests": counts["requests"], "MB": counts["bytes"] / 1e6, "share": share, "s": seconds}
            rows.append({"region": region.name, "way": name} | row)
    report(f"{file.name}, {file.stat().st_size / 1e6:.0f} MB", pd.DataFrame(rows), folder / "remote.csv")


def ours(address: str, region: Region) -> np.ndarray:
    """Mean of each bin, as ingest reads it."""
    from avocado.data.bigwig import read_bins
    from avocado.data.sources import at_hand

    with at_hand(address, [region]) as path:
        return read_bins(path, region.segments)


def pybigtools_with(cache: str, block: int) -> Callable[[str, Region], None]:
    """The same signal by pybigtools on a file of fsspec, whose cache has blocks of so many bytes."""

    def read(address: str, region: Region) -> None:
        import fsspec
        import pybigtools  # pyright: ignore[reportMissingImports]

        remote = fsspec.filesystem("http", skip_instance_cache=True).open(address, block_size=block, cache_type=cache)
        with remote, pybigtools.open(remote) as file:
            for its in region.segments:
                file.values(its.chrom, its.start * BIN_SIZE, its.end * BIN_SIZE, fillna=0.0)

    return read


def simulate(path: Path, assembly: Assembly) -> None:
    """A track of the whole genome, in the form of a peak caller's."""
    from avocado.data.bigwig import write_intervals

    rng = np.random.default_rng(0)
    intervals = {}
    for chrom, size in assembly.sizes.items():
        ends = np.cumsum(rng.geometric(1 / MEAN_LENGTH, size // MEAN_LENGTH))
        ends = ends[ends < size]
        intervals[chrom] = np.append(0, ends[:-1]), ends, np.round(rng.gamma(0.4, 2, len(ends)), 5)
    write_intervals(path, assembly.sizes, intervals)


@contextmanager
def counting(file: Path) -> Iterator[tuple[str, Counts]]:
    """A server that gives pieces of one file: its address, and how much was asked of it."""
    counts, size, lock = {"requests": 0, "bytes": 0}, file.stat().st_size, threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            """Size only."""
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()

        def do_GET(self) -> None:
            """A piece."""
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or size) + 1, size)
            data = os.pread(descriptor, end - start, start)
            with lock:
                counts["requests"] += 1
                counts["bytes"] += len(data)
            self.send_response(206)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.end_headers()
            self.wfile.write(data)

    descriptor = os.open(file, os.O_RDONLY)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/{file.name}", counts
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        os.close(descriptor)


def main() -> int:
    """Entry point; returns the exit status."""
    return app.run("benchmark_remote", benchmark, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
