"""What a set of hyperparameters is worth: validation error of a short-lived model, and what the model costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from avocado.data.genome import BLOCK_BINS
from avocado.data.store import SignalStore, tracks_of
from avocado.errors import InputError
from avocado.model.config import ModelConfig
from avocado.model.directory import new_network
from avocado.model.states import sized
from avocado.runs.run import SplitConfig
from avocado.training.fit import fit
from avocado.training.loop import TrainingSpec, initial_network, prepare
from avocado.training.memory import GIB, predict_memory, require_memory
from avocado.training.module import Watched
from avocado.utils.hardware import Hardware, device_of


class Candidates:
    """Trains one candidate after another on the training tracks of a split, and scores each on its validation tracks.

    Test tracks are never read, and no model is kept. Factorizations are judged alone, without a baseline. Raises
    InputError for a split without validation tracks.
    """

    def __init__(self, store: SignalStore, region: str, split: SplitConfig) -> None:
        roles = split.roles(store)["role"].to_numpy()
        self.store, self.region = store, region
        self.train, self.val = (tracks_of(store, np.flatnonzero(roles == role)) for role in ("train", "val"))
        if not len(self.val.columns):
            raise InputError("a sweep needs validation tracks: set split.validation, for instance 0.1")

    def mse(
        self,
        plan: TrainingSpec,
        hardware: Hardware,
        report: Callable[[int, float], None] | None = None,
        logger: Logger | bool = False,
    ) -> float:
        """MSE (arcsinh) at the end of training, over all bins of the region, averaged over the validation tracks.

        With `patience` that of the best epoch, whose weights training goes back to. report: called with epoch and MSE
        whenever `plan.fit.validate_every` asks for a look; else the only look is the last. logger: is told
        train/mse of every epoch, val/mse of every look, speed and memory. Raises InputError for what
        does not fit into memory and for training that diverges.
        """
        store, n_blocks = self.store, self.store.region(self.region).n_blocks
        all_bins = n_blocks * BLOCK_BINS
        generator = torch.Generator().manual_seed(plan.seed)
        network = initial_network(plan.model, store, self.region, self.train, generator)
        memory = predict_memory(
            network, plan.stage, plan.fit, plan.optimizer, hardware,
            n_blocks=n_blocks, n_tracks=len(self.train.columns), n_validation=len(self.val.columns),
            val_bins=all_bins, signal_bytes=np.dtype(store.dtype).itemsize, scored=False,
        )  # fmt: skip
        require_memory(memory, device_of(hardware.device))
        if isinstance(logger, Logger):
            logger.log_metrics({"memory/predicted_gib": memory.total / GIB})
        watched = report is not None or plan.fit.patience > 0
        # a divisor of the epochs, so that there is a look at the end
        every = math.gcd(plan.fit.epochs, plan.fit.validate_every) if watched else plan.fit.epochs
        plan = replace(plan, fit=replace(plan.fit, validate_every=every))
        module, data = prepare(plan, store, network, generator, self.train, self.val, hardware, all_bins)
        told = [_Told(report)] if report is not None else []
        try:
            fit(module, data, plan.fit, hardware=hardware, progress=False, logger=logger, callbacks=told)
        except torch.OutOfMemoryError as error:
            raise InputError(f"out of memory on the accelerator: {str(error).splitlines()[0]}") from None
        looks = module.history.val_mse
        mse = min(looks) if plan.fit.patience else looks[-1]
        if not math.isfinite(mse):
            raise InputError(f"the validation MSE is {mse}: training diverged")
        return mse


class _Told(pl.Callback):
    """Says every validation to somebody who may stop the training."""

    def __init__(self, report: Callable[[int, float], None]) -> None:
        self.report = report

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The newest entry of the curve."""
        assert isinstance(pl_module, Watched)
        history = pl_module.history
        if history.val_mse:
            self.report(history.val_epoch[-1], history.val_mse[-1])


def costs(config: ModelConfig, n_cells: int, n_assays: int, n_tracks: int, n_blocks: int) -> dict[str, int]:
    """What a model costs, by the names of the objectives of a search: its parameters, and flops per sample.

    n_tracks: training tracks, by which sizes are decided that the config leaves open.
    """
    config = sized(config, n_cells, n_tracks)
    return {"parameters": parameters(config, n_cells, n_assays, n_blocks), "flops": flops(config)}


def parameters(config: ModelConfig, n_cells: int, n_assays: int, n_blocks: int) -> int:
    """Trained numbers: network, cell-type and assay factors, and, where they are free, the genome factors of
    `n_blocks` 5-kbp blocks."""
    with torch.device("meta"):
        network = new_network(config, n_cells, n_assays, 0)
    free = n_blocks * config.block_width if config.kind == "paper" else 0
    return sum(its.numel() for its in network.parameters()) + free


def flops(config: ModelConfig) -> int:
    """Multiplications and additions of the network for one sample (cell type, assay, bin), as the paper computes it.

    The block implementation shares some of them between the bins of a block.
    """
    with torch.device("meta"):
        network = new_network(config, 1, 1, 0)
    return sum(2 * its.in_features * its.out_features for its in network.modules() if isinstance(its, torch.nn.Linear))
