"""From a plan and a store to a trained network, its baseline, and the genome factors of a region."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning.loggers import Logger

from avocado.data.compendium import pairs_in
from avocado.data.datamodule import VAL_BINS, SignalDataModule
from avocado.data.store import SignalStore, Tracks, tracks_of
from avocado.errors import InputError
from avocado.model.baseline import RegressionBaseline, fit_regression
from avocado.model.config import ModelConfig, RegressionConfig
from avocado.model.directory import new_network
from avocado.model.network import Network, genome_factors
from avocado.model.scales import expected_scales, track_scales
from avocado.model.start import spectral_start
from avocado.model.states import StatesNetwork, sized
from avocado.training.config import FitConfig, OptimizerConfig
from avocado.training.fit import fit
from avocado.training.masked import (
    MaskedDataModule,
    MaskedModule,
    columns_of,
    encode_region,
    first_part,
    fit_gate,
    set_apart,
)
from avocado.training.module import FactorizationModule, History
from avocado.training.stages import stage_named
from avocado.utils.hardware import Hardware, device_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSpec:
    """What is trained, where and how."""

    stage: str
    region: str  # 'pilot', or a chromosome
    seed: int
    model: ModelConfig
    optimizer: OptimizerConfig
    fit: FitConfig

    def __post_init__(self) -> None:
        stage_named(self.stage)  # says what is wrong with it
        if self.seed < 0:
            raise InputError(f"seed={self.seed}: expected a whole number from 0")


def initial_network(
    config: ModelConfig, store: SignalStore, region: str, train: Tracks, generator: torch.Generator
) -> Network | StatesNetwork:
    """An untrained network for the cell types and assays of a store.

    Of kind 'paper' it predicts the training tracks' mean. Of kind 'states' it knows how strong the training tracks of
    the region are, and how strong each pair's track is expected to be; its sizes fit the compendium. Where there are
    more cell types than programs, they start along the directions in which they differ most.
    """
    n_cells, n_assays, n_tracks = len(store.cells), len(store.assays), len(train.columns)
    asked, config = config, sized(config, n_cells, n_tracks)
    found = {key: value for key, value in asdict(config).items() if value != getattr(asked, key)}
    if found:
        sizes = " ".join(f"model.{key}={value}" for key, value in found.items())
        log.info("for %d cell types and %d training tracks: %s", n_cells, n_tracks, sizes)
    network = new_network(config, n_cells, n_assays, n_tracks)
    if isinstance(network, Network):
        known = "mean" in store.tracks
        return network.initialise(generator, float(store.tracks["mean"].iloc[train.columns].mean()) if known else 0.0)
    if n_tracks < 2:
        raise InputError("model.kind=states learns from tracks that are masked: it needs at least two training tracks")
    pairs = [(cell, assay) for cell in store.cells for assay in store.assays]
    scales = track_scales(store, region, train.columns)
    expected = expected_scales(scales, tracks_of(store, train.columns), pairs)
    network.scales.copy_(torch.from_numpy(scales))
    network.expected.copy_(torch.from_numpy(expected).view(n_cells, n_assays, 2))
    network.cell.copy_(torch.from_numpy(train.cell))
    network.assay.copy_(torch.from_numpy(train.assay))
    start = None
    if 1 < config.cell_factors <= n_cells:  # not a program for each cell type
        # not the tracks that `prepare` sets apart by the same seed, that of the run: the gate is learned on them
        looked_at = np.flatnonzero(~set_apart(n_tracks, generator.initial_seed()))
        start = torch.from_numpy(spectral_start(store, region, train, scales, looked_at, config.cell_factors - 1))
    return network.initialise(generator, start)


def prepare(
    plan: TrainingSpec,
    store: SignalStore,
    network: Network | StatesNetwork,
    generator: torch.Generator,
    train: Tracks,
    val: Tracks | None,
    hardware: Hardware,
    val_bins: int = VAL_BINS,
    kind: type[FactorizationModule] = FactorizationModule,
) -> tuple[FactorizationModule | MaskedModule, SignalDataModule]:
    """What `training.fit` takes: a module, with fresh genome factors where they are free, and the data of the region.

    kind: of the module where genome factors are free.

    generator: of the genome factors. val_bins: bins of the validation tracks that are looked at.
    """
    options = {
        "batch_size": plan.fit.batch_size,
        "sampling": plan.fit.draws(plan.stage),
        "seed": plan.seed,
        "memory_limit": plan.fit.memory_limit,
        "workers": plan.fit.workers,
        "val_bins": val_bins,
        "device": device_of(hardware.device),
        "processes": hardware.processes,
    }
    if isinstance(network, StatesNetwork):
        apart, scales = set_apart(len(train.columns), plan.seed), network.scales.double().cpu().numpy()
        masked = MaskedDataModule(
            store, plan.region, train, val, **options, scales=scales, apart=apart, unmask_at=first_part(plan.fit)
        )
        module = MaskedModule(network, plan.optimizer, plan.fit, plan.seed, val, apart, hardware.compute_type())
        return module, masked
    data = SignalDataModule(store, plan.region, train, val, **options)
    genome = genome_factors(network.config, data.region.n_blocks, generator)
    module = kind(
        network, genome, plan.stage, plan.optimizer, plan.seed, val,
        plan.fit.unmask_at(plan.stage), plan.fit.masked_weight, plan.fit.peak_weight,
        hardware.compute_type(), hardware.implementation,
    )  # fmt: skip
    return module, data


@dataclass(frozen=True)
class Trained:
    """What training left: the network is trained in place."""

    network: Network | StatesNetwork
    genome: torch.Tensor  # factors of the region (n_blocks, block_width)
    history: History
    baseline: RegressionBaseline | None = None


def carry_out(
    plan: TrainingSpec,
    store: SignalStore,
    network: Network | StatesNetwork,
    names: tuple[list[str], list[str]],
    generator: torch.Generator,
    train: Tracks,
    val: Tracks | None,
    hardware: Hardware,
    checkpoint: Path | None = None,
    progress: bool = False,
    logger: Logger | bool = False,
) -> Trained:
    """Train one stage on one region.

    names: cell types and assays of the network, by index. In stage 'genome' nothing is trained of a network that infers
    genome factors: they are what it makes of the region's training tracks.
    """
    if isinstance(network, StatesNetwork) and not stage_named(plan.stage).trains_network:
        columns = columns_of(network, store, *names)
        return Trained(network, encode_region(network, store, plan.region, columns, hardware, progress), History())
    module, data = prepare(plan, store, network, generator, train, val, hardware)
    fit(module, data, plan.fit, checkpoint, hardware=hardware, progress=progress, logger=logger)
    if isinstance(module, FactorizationModule):
        return Trained(module.network, module.genome.detach(), module.history)
    assert isinstance(data, MaskedDataModule)
    data.release()
    network = module.network
    apart = np.unique(module.probe["track"]) if module.probe else np.arange(0)
    baseline = fit_baseline(network, store, plan.region, train, plan.seed, apart, progress)
    fit_gate(network, store, plan.region, train.columns, module.probe, baseline)
    log.info(gate_line(network.gate.tolist(), baseline is not None))
    genome = encode_region(network, store, plan.region, train.columns, hardware, progress)
    device = next(network.parameters()).device
    network.set_limits(genome.to(device), torch.from_numpy(store.region(plan.region).mask).to(device))
    return Trained(network, genome, module.history, baseline)


def gate_line(gate: Sequence[float], combined: bool) -> str:
    """What the gate (3,) says, for somebody who watches: what an imputation is made of."""
    factorization, regression, alone = gate
    if not combined:
        return f"imputation = {alone:.2f} × factorization, as tracks set apart say"
    return (
        f"imputation = {factorization:.2f} × factorization + {regression:.2f} × cross-assay regression, as tracks set "
        f"apart say; {alone:.2f} × factorization where it stands alone"
    )


def fit_baseline(
    network: StatesNetwork,
    store: SignalStore,
    region: str,
    train: Tracks,
    seed: int,
    apart: np.ndarray,
    progress: bool = False,
) -> RegressionBaseline | None:
    """The regression that a network combines with its factorization, where its config asks for one.

    seed: of the regression's random features and of the bins that it learns from. apart: the training tracks, by row,
    that `fit_gate` asks for; these, and what is not trained on, are regressed now, other pairs when they are asked for.
    """
    if network.config.baseline == "none":
        return None
    features = network.config.baseline_features
    assert features is not None  # decided with the network
    config = RegressionConfig(features=features, seed=seed)
    baseline = fit_regression(store, region, train.columns, store.cells, store.assays, config)
    asked = np.delete(np.arange(len(store.tracks)), np.delete(train.columns, apart))
    baseline.require(pairs_in(store.tracks.iloc[asked]), progress)
    return baseline
