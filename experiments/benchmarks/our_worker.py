"""Our side of the comparison with the original: the same questions, answered in a process of its own.

    python -m experiments.benchmarks.our_worker      (started by workers.py)

`prepare` is the only place in which the comparisons build our model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avocado.data import SignalDataModule, tracks_of
from avocado.genome import BLOCK_BINS, Region, Segment
from avocado.hardware import Hardware, device_of
from avocado.impute import impute
from avocado.model import ModelConfig, Network, genome_factors
from avocado.modeldir import load_model, save_region, save_shared
from avocado.runs import Run, SplitConfig
from avocado.store import SignalStore, open_store
from avocado.training import FactorizationModule, FitConfig, OptimizerConfig, fit
from experiments.benchmarks.original_worker import peak_memory, serve


class TimedModule(FactorizationModule):
    """Notes how long its epochs take, from start to end without validation, and the blocks of the last one."""

    steps: int | None = None  # of an epoch, the rest of which is skipped; None: all

    def on_train_start(self) -> None:
        """No epoch yet."""
        super().on_train_start()
        self.seconds: list[float] = []

    def on_train_epoch_start(self) -> None:
        """Start the clock."""
        self.seconds.append(0.0)
        self.blocks: list[torch.Tensor] = []
        self._since = time.perf_counter()
        super().on_train_epoch_start()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """Skip the rest of the epoch after `steps` batches."""
        return -1 if batch_idx == self.steps else super().on_train_batch_start(batch, batch_idx)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note which blocks were trained."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        self.blocks.append(batch.blocks)

    def on_validation_start(self) -> None:
        """Stop the clock: the original's held-out tracks are not scored on the clock either."""
        self.seconds[-1] += time.perf_counter() - self._since
        super().on_validation_start()

    def on_validation_end(self) -> None:
        """Go on."""
        super().on_validation_end()
        self._since = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """Stop the clock."""
        super().on_train_epoch_end()
        self.seconds[-1] += time.perf_counter() - self._since


def names(store: SignalStore) -> tuple[list[str], list[str]]:
    """Cell types and assays in the order of their indices."""
    return sorted(set(store.tracks["cell"])), sorted(set(store.tracks["assay"]))


def prepare(
    run: Run, store: SignalStore, hardware: Hardware, train: Sequence[int], val: Sequence[int] = ()
) -> tuple[TimedModule, SignalDataModule]:
    """Module and data of a run, as `avocado.runs` makes them.

    train, val: columns of the store; validation looks at all bins.
    """
    cells, assays = names(store)
    train_tracks = tracks_of(store, train, cells, assays)
    val_tracks = tracks_of(store, val, cells, assays) if val else None
    data = SignalDataModule(
        store,
        run.region,
        train_tracks,
        val_tracks,
        batch_size=run.fit.batch_size,
        sampling=run.fit.draws(run.stage),
        seed=run.seed,
        memory_limit=run.fit.memory_limit,
        workers=run.fit.workers,
        device=device_of(hardware.device),
        val_bins=store.region(run.region).n_blocks * BLOCK_BINS,
    )
    generator = torch.Generator().manual_seed(run.seed)
    mean = float(store.tracks["mean"].iloc[list(train)].mean()) if "mean" in store.tracks else 0.0
    network = Network(run.model, len(cells), len(assays)).initialise(generator, mean)
    genome = genome_factors(run.model, data.region.n_blocks, generator)
    module = TimedModule(
        network, genome, run.stage, run.optimizer, run.seed, val_tracks,
        run.fit.reveal_at(run.stage), run.fit.hidden_weight, hardware.compute_type(),
    )  # fmt: skip
    return module, data


class Ours:
    """What our side is asked to do; see `original_worker.Original` for the same of the other side."""

    def prepare(self, store: str, region: str, model: dict[str, Any], batch_size: int, precision: str) -> None:
        """Load all tracks of a store and build the model; `model` are the fields of a ModelConfig."""
        self.hardware = Hardware("cpu", precision)
        self.store = open_store(store)
        # the original's way through the data: along the genome, one track per bin
        epoch = FitConfig(epochs=1, batch_size=batch_size, sampling="sequential", tracks_per_bin=1)
        self.run = Run("joint", region, SplitConfig(), 0, ModelConfig(**model), OptimizerConfig(), epoch)
        self.module, self.data = prepare(self.run, self.store, self.hardware, range(len(self.store.tracks)))

    def train(self, steps: int, epochs: int) -> dict[str, float]:
        """Train `epochs` epochs of at most `steps` batches through `fit`; seconds and samples of the last one."""
        self.module.steps = steps
        fit(self.module, self.data, replace(self.run.fit, epochs=epochs), hardware=self.hardware, progress=False)
        blocks = torch.cat(self.module.blocks).numpy()
        return {"seconds": self.module.seconds[-1], "samples": int(self.data.region.mask[blocks].sum())}

    def save(self, folder: str, bins: int) -> None:
        """Write a model directory with the factors of the first `bins` bins, and load it, for `predict`."""
        cells, assays = names(self.store)
        region = first_bins(self.data.region, bins)
        tracks = self.store.tracks[["cell", "assay"]].assign(role="train")
        save_shared(Path(folder), self.module.network, cells, assays, self.store.assembly, tracks, {})
        save_region(Path(folder), region, self.module.genome[: region.n_blocks])
        self.model = load_model(folder)

    def predict(self, pairs: list[tuple[str, str]]) -> dict[str, float]:
        """Impute all pairs at once over the saved region; seconds of all of them together."""
        start = time.perf_counter()
        imputed = impute(self.model, [(cell, assay) for cell, assay in pairs], self.run.region, self.hardware)
        seconds = time.perf_counter() - start
        if not np.isfinite(imputed).all():
            raise RuntimeError("imputed signal is not finite")
        return {"seconds": seconds, "bins": len(imputed)}

    def memory(self) -> int:
        """Peak resident memory so far, in bytes."""
        return peak_memory()


def first_bins(region: Region, n_bins: int) -> Region:
    """The first `n_bins` bins of a region, or all where it has fewer; its blocks are the region's first ones."""
    segments = [
        Segment(segment.chrom, segment.start, min(segment.end, segment.start + n_bins - rank))
        for segment, rank, _ in region.walk()
        if rank < n_bins
    ]
    return Region(region.name, tuple(segments))


if __name__ == "__main__":
    serve(Ours())
