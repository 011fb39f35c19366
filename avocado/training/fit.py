"""One training with Lightning: the trainer, its checkpoint, going on from one, and errors that users can read."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.loggers import Logger
from torch.multiprocessing.spawn import ProcessRaisedException

from avocado.data.datamodule import SignalDataModule
from avocado.errors import InputError
from avocado.training.callbacks import CheckpointFile, Cost, EarlyStop, EpochCheckpoint, Steps
from avocado.training.config import FitConfig
from avocado.training.module import Watched
from avocado.training.parallel import devices, quiet
from avocado.utils.hardware import Hardware

Module = TypeVar("Module", bound=Watched)


def fit(
    module: Module,
    data: SignalDataModule,
    config: FitConfig,
    checkpoint: Path | None = None,
    *,
    hardware: Hardware | None = None,
    progress: bool = True,
    logger: Logger | bool = False,
    callbacks: Sequence[pl.Callback] = (),
) -> Module:
    """Train `module` on `data`; goes on from `checkpoint` where it exists, and saves to it now and then.

    Raises KeyboardInterrupt on Ctrl-C, InputError when training diverges or the checkpoint is damaged.
    """
    hardware = hardware or Hardware()
    callbacks = [*callbacks, *([Steps()] if progress else [])]
    early_stop = EarlyStop(config.patience)
    if config.patience:
        if hardware.processes > 1:
            raise InputError("patience needs a single process: set patience=0 or processes=1")
        if data.val is None or not len(data.val.columns):
            raise InputError("patience needs validation tracks: set split.validation, for instance 0.1, or patience=0")
        callbacks.append(early_stop)
    if checkpoint is not None:
        callbacks.append(EpochCheckpoint(checkpoint, config.checkpoint_every))
    if logger:
        callbacks.append(Cost(data.region.n_bins))
    resume = checkpoint if checkpoint is not None and checkpoint.is_file() else None
    try:
        with warnings.catch_warnings():
            quiet()
            trainer = pl.Trainer(
                **devices(hardware),
                max_epochs=config.epochs,
                check_val_every_n_epoch=config.validate_every,
                num_sanity_val_steps=0,
                limit_val_batches=None if data.val is not None and len(data.val.columns) else 0,
                logger=logger,
                callbacks=callbacks,
                # named, as in a Slurm job Lightning would take the job's layout for that of its processes, and answer
                # signals with a file in the working directory and a requeue
                plugins=[CheckpointFile(), LightningEnvironment()],
                default_root_dir=os.devnull,  # where no such file can lie: runs go on from their own directory
                enable_checkpointing=checkpoint is not None,
                enable_model_summary=False,
                enable_progress_bar=False,
                use_distributed_sampler=False,  # ours divides the blocks itself
            )
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except ProcessRaisedException as error:
        raise _told_by_process(error) from None
    except SystemExit:  # how Lightning ends on Ctrl-C
        raise KeyboardInterrupt from None
    except (UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, OSError, RuntimeError):
        if resume is None or _is_whole(resume):
            raise
        raise InputError(f"{resume} is damaged: start again with resume=false") from None
    if early_stop.weights:
        module.load_state_dict(early_stop.weights, strict=False)
        if isinstance(logger, Logger):
            logger.log_metrics({"val/mse": min(module.history.val_mse)})  # of these weights, not of the last
    return module


def _told_by_process(error: ProcessRaisedException) -> Exception:
    """The user's error that ended one of several processes, which comes as a traceback; else `error` itself."""
    _, found, message = str(error).rpartition(f"{InputError.__module__}.{InputError.__name__}: ")
    return InputError(message.strip()) if found else error


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint can be read at all; torch raises errors of many kinds where it cannot."""
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception:
        return False
    return True
