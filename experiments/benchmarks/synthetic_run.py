"""What the training benchmarks share: a synthetic signal store, a module and its data, and epochs timed one by one."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch

from avocado.config.schema import option, options_of
from avocado.config.values import build
from avocado.data.datamodule import SignalDataModule
from avocado.data.genome import BIN_SIZE, Assembly, chromosome_region
from avocado.data.store import SignalStore, open_store, tracks_of, write_metadata, write_region
from avocado.errors import InputError
from avocado.model.config import ModelConfig
from avocado.model.network import Network, genome_factors
from avocado.training.config import FitConfig, OptimizerConfig
from avocado.training.fit import fit
from avocado.training.module import FactorizationModule
from avocado.utils.hardware import Hardware, device_of
from experiments.benchmarks.store import chunks

CELLS = [f"cell{number}" for number in range(127)]  # as many as Roadmap has,
ASSAYS = [f"assay{number}" for number in range(24)]  # and 1,014 of these 3,048 pairs were measured
REGION = "chr1"


@dataclass(frozen=True)
class Setting:
    """What is trained, and on what hardware."""

    model: ModelConfig
    stage: str
    fit: FitConfig
    hardware: Hardware

    @property
    def device(self) -> torch.device:
        """Where the training step runs."""
        return device_of(self.hardware.device)

    @property
    def dtype(self) -> torch.dtype:
        """What the matrix products of a step are computed in."""
        return self.hardware.compute_type()


class TimedModule(FactorizationModule):
    """Notes the wall time of each of its epochs, without validation; `between`, if set, is called after each."""

    between: Callable[[], object] | None = None

    def on_train_start(self) -> None:
        """No epoch yet."""
        super().on_train_start()
        self.seconds: list[float] = []

    def on_train_epoch_start(self) -> None:
        """Start the clock."""
        self.seconds.append(0.0)
        self._go_on()
        super().on_train_epoch_start()

    def on_validation_start(self) -> None:
        """Stop the clock: the original's held-out tracks are not scored on the clock either."""
        self._stop()
        super().on_validation_start()

    def on_validation_end(self) -> None:
        """Go on."""
        super().on_validation_end()
        self._go_on()

    def on_train_epoch_end(self) -> None:
        """Stop the clock when all of the epoch's work is done."""
        super().on_train_epoch_end()
        self._stop()
        if self.between is not None:
            self.between()

    def _go_on(self) -> None:
        wait_for(self.device)
        self._since = time.perf_counter()

    def _stop(self) -> None:
        wait_for(self.device)
        self.seconds[-1] += time.perf_counter() - self._since


Kind = TypeVar("Kind", bound=FactorizationModule)


def prepare(kind: type[Kind], setting: Setting, store: SignalStore) -> tuple[Kind, SignalDataModule]:
    """A fresh module of class `kind`, and the data of all tracks of a synthetic store; nothing else makes them."""
    tracks = tracks_of(store, range(len(store.tracks)), (CELLS, ASSAYS))
    data = SignalDataModule(
        store,
        REGION,
        tracks,
        batch_size=setting.fit.batch_size,
        sampling=setting.fit.draws(setting.stage),
        memory_limit=setting.fit.memory_limit,
        workers=setting.fit.workers,
        device=setting.device,
    )
    generator = torch.Generator().manual_seed(0)
    network = Network(setting.model, len(CELLS), len(ASSAYS)).initialise(generator, mean_signal=1.0)
    genome = genome_factors(setting.model, store.region(REGION).n_blocks, generator)
    return kind(network, genome, setting.stage, OptimizerConfig(), 0, None, compute=setting.dtype), data


def train(module: FactorizationModule, data: SignalDataModule, setting: Setting) -> None:
    """Train as a user does, through `avocado.training.fit.fit`, without checkpoints."""
    fit(module, data, setting.fit, hardware=setting.hardware, progress=False)


def timed_epochs(
    setting: Setting, store: SignalStore, epochs: int, between: Callable[[], object] | None = None
) -> list[float]:
    """Seconds of `epochs` training epochs; one more before them warms up and is not counted.

    between: called after each epoch, the one that warms up included.
    """
    setting = replace(setting, fit=replace(setting.fit, epochs=epochs + 1))
    module, data = prepare(TimedModule, setting, store)
    module.between = between
    train(module, data, setting)
    return module.seconds[1:]


def wait_for(device: torch.device) -> None:
    """Return when the device has finished what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def scratch(folder: str | Path) -> Iterator[Path]:
    """A new folder inside `folder` for what a benchmark writes on its way; removed at the end."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=folder) as inside:
        yield Path(inside)


def epoch_bins(setting: Setting, bins: int) -> int:
    """`bins` in whole batches; where it is 0, those of the pilot regions, or fewer where they would take long on a CPU.

    An epoch of a few short steps would measure what happens between epochs.
    """
    quick = int(4e12 / (6 * multiply_adds(setting.model)))
    bins = bins or (1_126_469 if setting.device.type != "cpu" else min(1_126_469, quick))
    return max(1, bins // setting.fit.batch_size) * setting.fit.batch_size


def synthetic_store(folder: Path, n_bins: int, n_tracks: int) -> SignalStore:
    """A store of random float16 signal over one region; its pairs are drawn from 127 cell types × 24 assays."""
    n_pairs = len(CELLS) * len(ASSAYS)
    if not 1 <= n_tracks <= n_pairs or n_bins < 1:
        raise InputError(f"{n_tracks} tracks × {n_bins} bins: expected 1 to {n_pairs} tracks and at least 1 bin")
    assembly = Assembly("synthetic", {REGION: n_bins * BIN_SIZE})
    region = chromosome_region(assembly, REGION)
    pairs = np.sort(np.random.default_rng(0).choice(n_pairs, n_tracks, replace=False))
    cell, assay = np.divmod(pairs, len(ASSAYS))
    tracks = pd.DataFrame({"cell": np.take(CELLS, cell), "assay": np.take(ASSAYS, assay)})
    write_region(folder, region, n_tracks, "float16", chunks(region, n_tracks))
    write_metadata(folder, assembly, [region], tracks, "float16")
    return open_store(folder)


def model_of(name: str) -> ModelConfig:
    """The shapes of `conf/model/<name>.yaml`; without dropout and average activity, which the paper's model has not."""
    if name not in options_of("model"):
        raise InputError(f"unknown model '{name}'; there is: {', '.join(options_of('model'))}")
    return replace(build(ModelConfig, option("model", name), "model"), dropout=0.0)


def multiply_adds(model: ModelConfig) -> int:
    """Multiply-adds of the dense network for one sample: inputs × nodes, nodes² between hidden layers, the output.

    This is the paper's implementation, in which the first layer meets all concatenated factors of every sample.
    """
    widths = [model.inputs] + [model.nodes] * model.layers + [1]
    return sum(before * after for before, after in pairwise(widths))


def operations(model: ModelConfig, stage: str) -> int:
    """Floating-point operations per sample of a training step, 2 to a multiply-add.

    Forward, gradient of the inputs, gradient of the weights: 6 to each multiply-add of the dense network. The last of
    them, a third, is not needed in stage=genome, where the network is frozen.
    """
    return (4 if stage == "genome" else 6) * multiply_adds(model)
