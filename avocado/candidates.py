"""What a set of hyperparameters is worth: validation error of a short-lived model, and what the model costs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from pytorch_lightning.loggers import Logger

from avocado.data import tracks_of
from avocado.errors import InputError
from avocado.fitting import Plan, initial_network, prepare, regressed, set_prior
from avocado.genome import BLOCK_BINS
from avocado.hardware import Hardware, device_of
from avocado.memory import GIB, predict_memory, require_memory
from avocado.model import ModelConfig, Network
from avocado.runs import SplitConfig
from avocado.store import SignalStore
from avocado.training import FactorizationModule, fit


class Candidates:
    """Trains one candidate after another on the training tracks of a split, and scores each on its validation tracks.

    Test tracks are never read, and no model is kept. folder: for the regression that candidates with `prior_input`
    have in common; a context, which takes it away. Raises InputError for a split without validation tracks.
    """

    def __init__(self, store: SignalStore, region: str, split: SplitConfig, folder: Path) -> None:
        roles = split.roles(store)["role"].to_numpy()
        self.store, self.region, self.folder = store, region, folder
        self.train, self.val = (
            tracks_of(store, np.flatnonzero(roles == role).tolist(), store.cells, store.assays)
            for role in ("train", "val")
        )
        if not len(self.val.columns):
            raise InputError("a sweep needs validation tracks: set split.validation, for instance 0.1")
        self._stack = contextlib.ExitStack()
        self._priors: dict[tuple[int, int], tuple[Path | None, torch.Tensor]] = {}  # by number of features and seed

    def mse(
        self,
        plan: Plan,
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
        network = initial_network(plan.model, store, self.train, generator)
        memory = predict_memory(
            network, plan.stage, plan.fit, plan.optimizer, hardware,
            n_blocks=n_blocks, n_tracks=len(self.train.columns), n_validation=len(self.val.columns),
            val_bins=all_bins, signal_bytes=np.dtype(store.dtype).itemsize, scored=False,
        )  # fmt: skip
        require_memory(memory, device_of(hardware.device))
        if isinstance(logger, Logger):
            logger.log_metrics({"memory/predicted_gib": memory.total / GIB})
        prior = self._regressed(network, plan.seed, hardware) if plan.model.prior_input else None
        watched = report is not None or plan.fit.patience > 0
        # a divisor of the epochs, so that there is a look at the end
        every = math.gcd(plan.fit.epochs, plan.fit.validate_every) if watched else plan.fit.epochs
        plan = replace(plan, fit=replace(plan.fit, validate_every=every))
        module, data = prepare(
            plan, store, network, generator, self.train, self.val, hardware, _Reporting, all_bins, prior
        )
        module.report = report
        try:
            fit(module, data, plan.fit, hardware=hardware, progress=False, logger=logger)
        except torch.OutOfMemoryError as error:
            raise InputError(f"out of memory on the accelerator: {str(error).splitlines()[0]}") from None
        looks = module.history.val_mse
        mse = min(looks) if plan.fit.patience else looks[-1]
        if not math.isfinite(mse):
            raise InputError(f"the validation MSE is {mse}: training diverged")
        return mse

    def _regressed(self, network: Network, seed: int, hardware: Hardware) -> Path | None:
        """What regression imputes, computed once for each number of features; and its scales for this network."""
        key = network.config.prior_features, seed
        if key not in self._priors:
            prior = set_prior(network, self.store, self.region, self.train, seed)
            folder = self.folder / f"{key[0]}-{seed}"
            file = self._stack.enter_context(regressed(prior, self.region, (self.train, self.val), folder, hardware))
            self._priors[key] = file, network.scale.clone()
        file, scale = self._priors[key]
        network.scale.copy_(scale)
        return file

    def __enter__(self) -> Candidates:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()


class _Reporting(FactorizationModule):
    """Says every validation to somebody who may stop the training."""

    report: Callable[[int, float], None] | None = None

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        if self.report is not None and self.history.val_mse:
            self.report(self.history.val_epoch[-1], self.history.val_mse[-1])


def costs(config: ModelConfig, n_cells: int, n_assays: int, n_blocks: int) -> dict[str, int]:
    """What a model costs, by the names of the objectives of a search: its parameters, and flops per sample."""
    return {"parameters": parameters(config, n_cells, n_assays, n_blocks), "flops": flops(config)}


def parameters(config: ModelConfig, n_cells: int, n_assays: int, n_blocks: int) -> int:
    """Trained numbers: network, cell-type and assay factors, and the genome factors of `n_blocks` 5-kbp blocks."""
    with torch.device("meta"):
        network = Network(config, n_cells, n_assays)
    return sum(its.numel() for its in network.parameters()) + n_blocks * config.block_width


def flops(config: ModelConfig) -> int:
    """Multiplications and additions of the network for one sample (cell type, assay, bin), as the paper computes it.

    The block formulation shares some of them between the bins of a block.
    """
    with torch.device("meta"):
        network = Network(config, 1, 1)
    return sum(2 * layer.in_features * layer.out_features for layer in network.dense)
