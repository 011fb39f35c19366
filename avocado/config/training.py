"""From a training config to what the stages take: runs, splits, hardware, tracking."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from avocado.config.values import as_list, build
from avocado.data.store import SignalStore
from avocado.errors import InputError
from avocado.model.config import ModelConfig
from avocado.runs.run import RunSpec, SplitConfig
from avocado.tracking.config import Tracking
from avocado.training.config import FitConfig, OptimizerConfig
from avocado.training.stages import stage_named
from avocado.utils.hardware import Hardware

if TYPE_CHECKING:
    from omegaconf import DictConfig


def plan(config: DictConfig, store: SignalStore, step: str) -> RunSpec:
    """The plain description of one stage. Raises InputError for anything of the wrong kind, before work starts."""
    region, split = region_of(config, store, step), split_of(config)
    n_bins = store.region(region).n_bins // hardware_of(config, step).processes  # of each process
    epochs = config.epochs.get(step, stage_named(step).epochs)
    return RunSpec(
        stage=step,
        region=region,
        split=split,
        seed=config.seed,
        model=build(ModelConfig, config.model, "model"),
        optimizer=build(OptimizerConfig, config.optimizer, "optimizer"),
        fit=build(FitConfig, config.fit, "fit", epochs=epochs).for_region(n_bins, split.n_training(store)),
    )


def split_of(config: DictConfig) -> SplitConfig:
    """Who trains, validates and tests. Raises InputError for a fold that is neither a number nor all."""
    fold = config.fold
    if fold in ("all", None):
        fold = None
    elif not isinstance(fold, int) or isinstance(fold, bool):
        raise InputError(f"fold={fold}: expected a number from 0, or all")
    if config.source is not None:
        return SplitConfig(like=str(config.source))
    return SplitConfig(
        fold, config.split.folds, config.split.seed, tuple(as_list(config.split.hold_out)), config.split.validation
    )


def region_of(config: DictConfig, store: SignalStore, step: str) -> str:
    """The region of a stage. Raises InputError where the store does not have it."""
    region = stage_named(step).region_for(str(config.chrom))
    if region not in store.regions:
        raise InputError(
            f"unknown chrom '{region}'; store {store.path} has: {', '.join(store.regions)}; "
            "to add one, repeat avocado ingest with it in regions="
        )
    return region


def hardware_of(config: DictConfig, stage: str = "genome") -> Hardware:
    """What trainer= asks for; only the stages that train the network run in several processes."""
    trainer = config.trainer
    asked = Hardware(trainer.device, trainer.precision, trainer.processes, trainer.implementation)
    return asked if stage_named(stage).trains_network else replace(asked, processes=1)


def tracking_of(config: DictConfig) -> Tracking:
    """What logger= asks for."""
    # an empty WANDB_MODE= is none
    return build(Tracking, {**config.logger, "mode": config.logger.mode or "online"}, "logger")
