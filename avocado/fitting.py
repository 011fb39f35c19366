"""From a plan and a store to what `training.fit` takes: network, prior, module and data of one stage."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from avocado.data import VAL_BINS, SignalDataModule, Tracks
from avocado.errors import InputError
from avocado.hardware import Hardware, device_of
from avocado.model import ModelConfig, Network, genome_factors
from avocado.regression import Prior, RegressionConfig, fit_prior
from avocado.store import SignalStore
from avocado.training import STAGES, FactorizationModule, FitConfig, OptimizerConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is trained, where and how."""

    stage: str
    region: str  # 'pilot', or a chromosome
    seed: int
    model: ModelConfig
    optimizer: OptimizerConfig
    fit: FitConfig

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise InputError(f"unknown stage '{self.stage}'; there is: {', '.join(STAGES)}")
        if self.seed < 0:
            raise InputError(f"seed={self.seed}: expected a whole number from 0")


def initial_network(config: ModelConfig, store: SignalStore, train: Tracks, generator: torch.Generator) -> Network:
    """An untrained network for the cell types and assays of a store, which predicts the training tracks' mean."""
    # with a prior the network learns departures from it
    known = "mean" in store.tracks and not config.prior_input
    mean = float(store.tracks["mean"].iloc[train.columns].mean()) if known else 0.0
    return Network(config, len(store.cells), len(store.assays)).initialise(generator, mean)


def set_prior(
    network: Network, store: SignalStore, region: str, train: Tracks, seed: int, progress: bool = False
) -> Prior:
    """Fit the regression that a network with `prior_input` departs from, and tell the network how strong tracks are.

    seed: of its random features and of the bins that it learns from.
    """
    config = RegressionConfig(features=network.config.prior_features, seed=seed)
    prior, scale = fit_prior(store, region, train.columns, store.cells, store.assays, config, progress)
    network.scale.copy_(torch.from_numpy(scale))
    return prior


@contextlib.contextmanager
def regressed(
    prior: Prior | None,
    region: str,
    tracks: Sequence[Tracks | None],
    directory: Path,
    hardware: Hardware,
    progress: bool = False,
) -> Iterator[Path | None]:
    """What the prior imputes for some tracks over a region, in a file that is there for the time of a plan."""
    if prior is None:
        yield None
        return
    cell, assay = (
        np.concatenate([getattr(its, axis) for its in tracks if its is not None]) for axis in ("cell", "assay")
    )
    log.info("regressing %d tracks on each other over %s", len(cell), region)
    try:
        yield prior.write(directory / "prior", region, cell, assay, hardware.use(), progress)
    finally:
        shutil.rmtree(directory / "prior", ignore_errors=True)


Kind = TypeVar("Kind", bound=FactorizationModule)


def prepare(
    plan: Plan,
    store: SignalStore,
    network: Network,
    generator: torch.Generator,
    train: Tracks,
    val: Tracks | None,
    hardware: Hardware,
    kind: type[Kind] = FactorizationModule,
    val_bins: int = VAL_BINS,
    prior: Path | None = None,
) -> tuple[Kind, SignalDataModule]:
    """What `training.fit` takes: a module of class `kind` with fresh genome factors, and the data of the run's region.

    generator: of the genome factors. val_bins: bins of the validation tracks that are looked at. prior: what
    `regressed` wrote, for a network with `prior_input`.
    """
    data = SignalDataModule(
        store,
        plan.region,
        train,
        val,
        batch_size=plan.fit.batch_size,
        sampling=plan.fit.draws(plan.stage),
        seed=plan.seed,
        memory_limit=plan.fit.memory_limit,
        workers=plan.fit.workers,
        val_bins=val_bins,
        device=device_of(hardware.device),
        processes=hardware.processes,
        prior=prior,
    )
    genome = genome_factors(network.config, data.region.n_blocks, generator)
    module = kind(
        network, genome, plan.stage, plan.optimizer, plan.seed, val,
        plan.fit.reveal_at(plan.stage), plan.fit.hidden_weight, plan.fit.peak_weight,
        hardware.compute_type(), hardware.formulation,
    )  # fmt: skip
    return module, data
