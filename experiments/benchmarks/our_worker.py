"""Our side of the comparison with the original: the same questions, answered in a process of its own.

    python -m experiments.benchmarks.our_worker      (started by workers.py)

`prepare_columns` is the only place in which the comparisons build our model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avocado.data.datamodule import SignalDataModule
from avocado.data.genome import BLOCK_BINS, Region, Segment
from avocado.data.store import SignalStore, open_store, tracks_of
from avocado.inference.impute import impute
from avocado.model.config import ModelConfig
from avocado.model.directory import load_model, save_region, save_shared
from avocado.runs.run import RunSpec
from avocado.training.config import FitConfig, OptimizerConfig
from avocado.training.fit import fit
from avocado.training.loop import initial_network, prepare
from avocado.utils.hardware import Hardware
from experiments.benchmarks.original_worker import peak_memory, serve
from experiments.benchmarks.synthetic_run import TimedModule


class CountedModule(TimedModule):
    """Trains no more than `steps` batches of an epoch, and notes the blocks of its last epoch."""

    steps: int | None = None  # None: all

    def on_train_epoch_start(self) -> None:
        """No block yet."""
        self.blocks: list[torch.Tensor] = []
        super().on_train_epoch_start()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """Skip the rest of the epoch after `steps` batches."""
        return -1 if batch_idx == self.steps else super().on_train_batch_start(batch, batch_idx)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note which blocks were trained."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        self.blocks.append(batch.blocks)


def prepare_columns(
    run: RunSpec,
    store: SignalStore,
    hardware: Hardware,
    train: Sequence[int],
    val: Sequence[int] = (),
) -> tuple[CountedModule, SignalDataModule]:
    """Module and data of a run on columns `train` of the store; validation, on `val`, looks at all bins."""
    train_tracks, val_tracks = (tracks_of(store, columns) for columns in (train, val))
    generator = torch.Generator().manual_seed(run.seed)
    network = initial_network(run.model, store, run.region, train_tracks, generator)
    val_bins = store.region(run.region).n_blocks * BLOCK_BINS
    module, data = prepare(run, store, network, generator, train_tracks, val_tracks, hardware, val_bins, CountedModule)
    assert isinstance(module, CountedModule)  # models of the original's kind
    return module, data


class Ours:
    """What our side is asked to do; see `original_worker.Original` for the same of the other side."""

    def prepare(self, store: str, region: str, model: dict[str, Any], batch_size: int, precision: str) -> None:
        """Load all tracks of a store and build the model; `model` are the fields of a ModelConfig."""
        self.hardware = Hardware("cpu", precision)
        self.store = open_store(store)
        # the original's way through the data: along the genome, one track per bin
        epoch = FitConfig(epochs=1, batch_size=batch_size, sampling="sequential", tracks_per_bin=1, masked=0.0)
        self.run = RunSpec("joint", region, 0, ModelConfig(**model), OptimizerConfig(), epoch)
        self.module, self.data = prepare_columns(self.run, self.store, self.hardware, range(len(self.store.tracks)))

    def train(self, steps: int, epochs: int) -> dict[str, float]:
        """Train `epochs` epochs of at most `steps` batches through `fit`; seconds and samples of the last one."""
        self.module.steps = steps
        fit(self.module, self.data, replace(self.run.fit, epochs=epochs), hardware=self.hardware, progress=False)
        blocks = torch.cat(self.module.blocks).numpy()
        return {"seconds": self.module.seconds[-1], "samples": int(self.data.region.mask[blocks].sum())}

    def save(self, folder: str, bins: int) -> None:
        """Write a model directory with the factors of the first `bins` bins, and load it, for `predict`."""
        region = first_bins(self.data.region, bins)
        tracks = self.store.tracks[["cell", "assay"]].assign(role="train")
        save_shared(
            Path(folder), self.module.network, self.store.cells, self.store.assays, self.store.assembly, tracks, {}
        )
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
