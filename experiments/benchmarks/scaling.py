"""How do time and memory grow? Training with the region and the number of tracks; ingest; imputation; regression.

    python -m experiments.benchmarks.scaling sizes=[1,2,4] tracks=[20,1014]

Every training run is a process of its own, watched from outside. Its memory is what it holds itself: anonymous and
shared pages, at their peak (RssAnon + RssShmem of /proc, so on Linux only). Pages of the memory-mapped store are left
out: they are a cache, which the system takes back when it needs the space. Signal comes from the page cache.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from avocado.cli import app
from avocado.config.values import as_list
from experiments.benchmarks.timing import report, seconds

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from avocado.model.directory import Model
    from experiments.benchmarks.synthetic_run import Setting

EVERY = 0.02  # seconds between two looks at a process's memory


def benchmark(config: DictConfig) -> None:
    """Carry out the parts that are asked for; each prints a table and writes it as CSV."""
    from avocado.errors import InputError

    parts = {"training": training, "ingest": ingest, "imputation": imputation, "regression": regression}
    asked = as_list(config.parts)
    for name in asked:
        if name not in parts:
            raise InputError(f"unknown part '{name}'; there is: {', '.join(parts)}")
    for name in asked:
        title, table = parts[name](config, Path(config.folder))
        report(title, table, Path(config.folder) / f"{name}.csv")


def training(config: DictConfig, folder: Path) -> tuple[str, pd.DataFrame]:
    """Time per epoch and peak memory against the region's size, with most tracks, and against the number of tracks."""
    from avocado.training.config import FitConfig
    from avocado.utils.hardware import Hardware
    from experiments.benchmarks.synthetic_run import Setting, model_of, scratch, synthetic_store

    model, most = model_of(config.model), max(config.tracks)
    middle = sorted(config.sizes)[len(config.sizes) // 2]
    cases = dict.fromkeys([*product(config.sizes, [most]), *product([middle], config.tracks)])
    rows = []
    for size, n_tracks in cases:
        n_bins = size * config.bins
        with scratch(folder) as inside:
            synthetic_store(inside, n_bins, n_tracks)
            for where, limit in (("memory", 1 << 60), ("disk", 0)):
                fit = FitConfig(
                    epochs=1, batch_size=config.batch_size, memory_limit=limit, tracks_per_bin=1, masked=0.0
                )
                setting = Setting(model, config.stage, fit, Hardware(config.device, config.precision))
                (times, own), peak = in_process(_train, inside, setting, config.epochs)
                epoch = statistics.median(times)
                row = {"bins": n_bins, "tracks": n_tracks, "signal MB": n_bins * n_tracks * 2 / 1e6, "read from": where}
                row |= {"s per epoch": epoch, "samples/s": f"{n_bins / epoch:,.0f}", "peak MB": peak / 1e6}
                rows.append(row | {"factors, moments MB": own / 1e6})
                print(f"{n_bins:,} bins × {n_tracks} tracks from {where}: {epoch:.3g} s per epoch", flush=True)
    return f"training, model {config.model}, stage {config.stage}", pd.DataFrame(rows)


def _train(store: Path, setting: Setting, epochs: int) -> tuple[list[float], int]:
    """Seconds of each epoch; bytes that a model of the region needs: genome factors and their moments."""
    from avocado.data.store import open_store
    from experiments.benchmarks.synthetic_run import REGION, timed_epochs

    opened = open_store(store)
    block = 3 * 4 * setting.model.block_width
    return timed_epochs(setting, opened, epochs), block * opened.region(REGION).n_blocks


def in_process(task: Any, *arguments: Any) -> tuple[Any, float]:
    """The result of `task(*arguments)` in a fresh process, and the peak of the process's own memory in bytes."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(there, task, *arguments))
    process.start()
    there.close()
    peak = math.nan
    while not here.poll(EVERY):
        peak = float(np.fmax(peak, memory(process.pid or 0)))
    try:
        result = here.recv()
    except EOFError:
        raise RuntimeError("a process that was measured failed; its error stands above") from None
    finally:
        process.join()
    return result, peak


def _send(pipe: Connection, task: Any, *arguments: Any) -> None:
    # a process that was spawned would spawn its own; a user's process starts them as its system does
    multiprocessing.set_start_method(None, force=True)
    pipe.send(task(*arguments))


def memory(process: int) -> float:
    """Bytes of anonymous and shared memory that a process has resident; nan where the system does not say."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return math.nan
    return sum(float(kilobytes) * 1024 for kilobytes in re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", status, re.M))


def ingest(config: DictConfig, folder: Path) -> tuple[str, pd.DataFrame]:
    """Speed of `avocado.data.ingest` on bigWig files with a value in each bin of one chromosome."""
    from avocado.data import ingest as ingesting
    from avocado.data.bigwig import write_bigwig
    from avocado.data.genome import chromosome_region, load_assembly
    from experiments.benchmarks.synthetic_run import scratch

    assembly, rng, rows = load_assembly(config.ingest.assembly), np.random.default_rng(0), []
    region = chromosome_region(assembly, config.ingest.chrom)
    with scratch(folder) as inside:
        files = [inside / f"{number}.bw" for number in range(config.ingest.files)]
        for file in files:
            values = rng.gamma(0.5, 2.0, region.n_bins).astype(np.float32)
            write_bigwig(file, assembly, [(region.segments[0], values)])
        table = pd.DataFrame({"cell": [file.stem for file in files], "assay": "assay", "file": [*map(str, files)]})
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        for workers in dict.fromkeys([1, os.cpu_count() or 1]):
            out = inside / f"store{workers}"
            took = seconds(lambda out=out, n=workers: ingesting.ingest(table, out, assembly, [region], workers=n))
            row = {"files": len(files), "MB": megabytes, "workers": workers, "s": took}
            rows.append(row | {"MB/s": megabytes / took, "tracks/min": 60 * len(files) / took})
    return f"ingest of {config.ingest.chrom}, {region.n_bins:,} bins in each file", pd.DataFrame(rows)


def imputation(config: DictConfig, folder: Path) -> tuple[str, pd.DataFrame]:
    """Speed of imputing some tracks at once, with and without writing them as bigWig."""
    from avocado.inference.impute import impute_chunks, write_tracks
    from avocado.utils.hardware import Hardware
    from experiments.benchmarks.synthetic_run import scratch

    hardware = Hardware(config.device, config.precision)
    n_bins, rows = config.impute.bins, []
    with scratch(folder) as inside:
        model = _untrained(inside / "model", config.model, n_bins)
        (region,) = model.regions
        for n_tracks in config.impute.tracks:
            pairs = list(product(model.cells, model.assays))[:n_tracks]
            files = {(cell, assay): inside / f"{cell}-{assay}.bw" for cell, assay in pairs}
            only = _median(config.impute.repeats, lambda p=pairs: deque(impute_chunks(model, p, region, hardware), 0))
            written = _median(
                config.impute.repeats, lambda f=files: write_tracks(model, f, [region], hardware=hardware)
            )
            rows.append(
                {
                    "tracks": n_tracks,
                    "imputing s": only,
                    "bins/s": f"{n_bins / only:,.0f}",
                    "bins × tracks/s": f"{n_bins * n_tracks / only:,.0f}",
                    "with bigWigs s": written,
                    "bins/s with bigWigs": f"{n_bins / written:,.0f}",
                    "bins × tracks/s with bigWigs": f"{n_bins * n_tracks / written:,.0f}",
                }
            )
    return f"imputation of {n_bins:,} bins, model {config.model}, by the number of tracks at once", pd.DataFrame(rows)


def regression(config: DictConfig, folder: Path) -> tuple[str, pd.DataFrame]:
    """Speed of the cross-assay regression against the number of tracks: fitting all pairs of some cell types, imputing.

    Of the pairs that are fitted, measured or not, all are imputed, at once.
    """
    from avocado.model.baseline import fit_regression
    from avocado.model.regression import piece_blocks
    from avocado.utils.hardware import Hardware
    from experiments.benchmarks.synthetic_run import ASSAYS, CELLS, REGION, scratch, synthetic_store, wait_for

    cells, rows = CELLS[: config.regression.cells], []
    cell, assay = (index.reshape(-1) for index in np.indices((len(cells), len(ASSAYS))))
    for n_tracks in config.tracks:
        with scratch(folder) as inside:
            store = synthetic_store(inside, config.regression.bins, n_tracks)
            start = time.perf_counter()
            baseline = fit_regression(store, REGION, np.arange(n_tracks), cells, ASSAYS)
            baseline.require([(its, of) for its in cells for of in ASSAYS])
            fitting, start = time.perf_counter() - start, time.perf_counter()
            device = Hardware(config.device, config.precision).use()
            pieces = store.region(REGION).pieces(piece_blocks(n_tracks, device))
            deque(baseline.blocks(REGION, cell, assay, pieces, device), 0)
            wait_for(device)
            imputing = time.perf_counter() - start
        row = {"tracks": n_tracks, "pairs": len(cell), "fitting s": fitting, "imputing s": imputing}
        rows.append(row | {"bins × pairs/s": f"{config.regression.bins * len(cell) / imputing:,.0f}"})
        print(f"{n_tracks} tracks: {fitting:.3g} s to fit {len(cell)} pairs", flush=True)
    return f"cross-assay regression, {config.regression.bins:,} bins", pd.DataFrame(rows)


def _median(repeats: int, call: Callable[[], object]) -> float:
    return statistics.median(seconds(call) for _ in range(repeats))


def _untrained(directory: Path, name: str, n_bins: int) -> Model:
    """A model directory with random parameters for every cell type and assay, and factors of one region."""
    import torch

    from avocado.data.genome import BIN_SIZE, Assembly, chromosome_region
    from avocado.model.directory import load_model, save_region, save_shared
    from avocado.model.network import Network, genome_factors
    from experiments.benchmarks.synthetic_run import ASSAYS, CELLS, REGION, model_of

    shape, generator = model_of(name), torch.Generator().manual_seed(0)
    assembly = Assembly("synthetic", {REGION: n_bins * BIN_SIZE})
    region = chromosome_region(assembly, REGION)
    network = Network(shape, len(CELLS), len(ASSAYS)).initialise(generator, mean_signal=1.0)
    tracks = pd.DataFrame({"cell": CELLS[:1], "assay": ASSAYS[:1], "role": "train"})
    save_shared(directory, network, CELLS, ASSAYS, assembly, tracks, {"stage": "none"})
    save_region(directory, region, genome_factors(shape, region.n_blocks, generator))
    return load_model(directory)


if __name__ == "__main__":
    sys.exit(app.run("benchmark_scaling", benchmark, sys.argv[1:]))
