"""The LightningModule: what a step does, what each stage freezes, the learning-rate schedule, and exact resume."""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import Logger
from torch import Tensor
from torch.multiprocessing.spawn import ProcessRaisedException

from avocado.data.datamodule import BlockBatch, Sampling, SignalDataModule, TrackBatch, Tracks
from avocado.errors import InputError
from avocado.model.network import Network, Weights
from avocado.training.callbacks import CheckpointFile, Cost, EarlyStop, EpochCheckpoint
from avocado.training.optim import BlockAdam
from avocado.training.parallel import devices, disconnect, gather, quiet, shard, sum_over_processes
from avocado.utils.hardware import Hardware

BLOCK_STATE = {"visits", "mean", "square", "exp_avg", "exp_avg_sq"}  # of BlockAdam and of Adam, one row per block
STAGES = ("pilot", "genome", "joint")
REFRESH = 20  # steps between updates of the progress bar
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam for the network and the two small tables; lazy or dense Adam for the genome factors."""

    learning_rate: float = 0.001
    genome_learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0  # decoupled, on network, cell-type and assay factors
    genome_weight_decay: float = 0.0  # decoupled, on genome factors, once per visit
    genome_optimizer: str = "lazy"  # lazy: only the rows of the batch; dense: every row at every step, as in Keras
    schedule: str = "cosine"
    warmup: float = 0.02  # share of the steps during which the learning rate rises to its value

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise InputError(f"optimizer.schedule={self.schedule!r}: there is {', '.join(SCHEDULES)}")
        if self.genome_optimizer not in ("lazy", "dense"):
            raise InputError(f"optimizer.genome_optimizer={self.genome_optimizer!r}: there is lazy, dense")
        for name in ("learning_rate", "genome_learning_rate", "eps"):
            if not getattr(self, name) > 0:
                raise InputError(f"optimizer.{name}={getattr(self, name)!r}: expected a number above 0")
        for name in ("beta1", "beta2", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"optimizer.{name}={getattr(self, name)!r}: expected a number from 0 to below 1")
        for name in ("weight_decay", "genome_weight_decay"):
            if not getattr(self, name) >= 0:
                raise InputError(f"optimizer.{name}={getattr(self, name)!r}: expected a number from 0")

    def factor(self, step: int, total: int) -> float:
        """Learning rate at `step` of `total`, as a share of its peak."""
        rise = self.warmup * total
        if step < rise:
            return (step + 1) / (rise + 1)
        if self.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, total - rise))))


def steps_for(n_tracks: int) -> int:
    """Steps that training takes at least: 25 per training track, but 2,400 for few and 6,000 for many."""
    return min(max(2_400, 25 * n_tracks), 6_000)


@dataclass(frozen=True)
class FitConfig:
    """How long, on what batches, and with which checks a stage is trained."""

    epochs: int  # one epoch sees every bin once
    batch_size: int = 10_000  # bins per step, rounded down to whole blocks of 200 bins
    sampling: str = "shuffled"  # order of the blocks; see data.Sampling
    tracks_per_bin: int = 1
    hidden: float = 0.0  # share of the training tracks hidden from each block; not in stage=genome
    hidden_weight: float = 3.0  # of the hidden tracks' error, against 1 for the others
    peak_weight: float = 0.0  # extra weight of an error per unit of observed signal (arcsinh)
    refit: float = 0.15  # last share of the epochs: nothing hidden, everything frozen but the genome factors
    min_steps: int | None = 0  # more epochs where a small region would get fewer steps; None: `steps_for` the tracks
    validate_every: int = 1  # epochs
    patience: int = 0  # validations without a better val/mse after which training stops; 0: train to the end
    memory_limit: int | None = None  # bytes of signal that are kept; see data.SignalDataModule
    workers: int = 1  # processes that read ahead when signal is streamed
    checkpoint_every: float = 120.0  # seconds

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "validate_every"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)!r}: expected a whole number of at least 1")
        if self.min_steps is not None and not self.min_steps >= 0:
            raise InputError(f"fit.min_steps={self.min_steps!r}: expected a number from 0, or null")
        for name in (
            "patience",
            "workers",
            "checkpoint_every",
            "hidden_weight",
            "peak_weight",
        ):
            if not getattr(self, name) >= 0:
                raise InputError(f"fit.{name}={getattr(self, name)!r}: expected a number from 0")
        if self.memory_limit is not None and not self.memory_limit >= 0:
            raise InputError(f"fit.memory_limit={self.memory_limit!r}: expected a number from 0, or null")
        Sampling(self.sampling, self.tracks_per_bin, self.hidden)  # says what is wrong with them
        if not 0 <= self.refit < 1:
            raise InputError(f"fit.refit={self.refit}: expected a share from 0 to below 1")

    def for_region(self, n_bins: int, n_tracks: int) -> FitConfig:
        """The same with as many epochs as a region of that size, and that many training tracks, need."""
        steps = -(-n_bins // self.batch_size)
        least = steps_for(n_tracks) if self.min_steps is None else self.min_steps
        return replace(self, epochs=max(self.epochs, -(-least // steps)))

    def describe(self, n_bins: int) -> str:
        """One line: how long it is trained on a region of that size."""
        steps = self.epochs * -(-n_bins // self.batch_size)
        return f"training: {self.epochs:,} epochs, {steps:,} steps of up to {self.batch_size:,} bins"

    def reveal_at(self, stage: str) -> int:
        """The epoch from which no track is hidden and, in stages that hide some, only genome factors learn."""
        if stage == "genome" or not self.hidden:
            return 0
        return max(1, self.epochs - round(self.refit * self.epochs))

    def draws(self, stage: str) -> Sampling:
        """How the epochs of `stage` go through a region."""
        return Sampling(self.sampling, self.tracks_per_bin, self.hidden, self.reveal_at(stage))


@dataclass
class History:
    """Curves of one run: one entry per epoch for training, one per validation."""

    train_mse: list[float] = field(default_factory=list)
    val_epoch: list[int] = field(default_factory=list)
    val_mse: list[float] = field(default_factory=list)


class Watched(pl.LightningModule):
    """A module with curves, and validation tracks whose squared errors `validation_step` adds up."""

    history: History
    val: Tracks | None
    rates = "optimizer.learning_rate"  # what is to be lowered where training diverges
    _squares: Tensor  # of the epoch's errors, added up by `training_step`, arcsinh
    _count: Tensor

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean squared error (arcsinh)."""
        sum_over_processes([self._squares])
        mse = float(self._squares / self._count)
        if not math.isfinite(mse):
            raise InputError(f"training diverged in epoch {self.current_epoch}: the loss is {mse}; lower {self.rates}")
        self.history.train_mse.append(mse)
        self.log("train/mse", mse, prog_bar=True)

    def on_validation_epoch_start(self) -> None:
        """Start the sums of squared error per validation track."""
        n_tracks = len(self.val.columns) if self.val is not None else 0
        self._val_squares = torch.zeros(n_tracks, device=self.device, dtype=torch.float64)
        self._val_count = torch.zeros((), device=self.device, dtype=torch.float64)

    def on_validation_epoch_end(self) -> None:
        """Log MSE averaged over validation tracks (arcsinh)."""
        if not self.trainer.sanity_checking:
            sum_over_processes([self._val_squares, self._val_count])
            mse = float((self._val_squares / self._val_count).mean())
            self.history.val_epoch.append(self.current_epoch)
            self.history.val_mse.append(mse)
            self.log("val/mse", mse, prog_bar=True)


class FactorizationModule(Watched):
    """Trains genome factors of one region and, unless `stage` is genome, everything else with them.

    network: the shared part; genome: (n_blocks, block_width). val: which tracks the validation batches hold.
    compute: type of activations and matrix products (`Hardware.compute_type`). formulation: 'blocks', or 'reference',
    which is the paper's, in float32, and slow.
    Where several processes share the run (see `parallel`), each has the rows of its own blocks until training ends.
    Optimization is manual because the genome factors are updated by rows that were gathered before the step. A step
    goes through its batch some blocks at a time, so that memory does not grow with the batch: gradients of the network
    add up, and the rows of the blocks are updated at once, as no other block depends on them.
    """

    rates = "optimizer.learning_rate and optimizer.genome_learning_rate"

    def __init__(
        self,
        network: Network,
        genome: Tensor,
        stage: str,
        optimizer: OptimizerConfig,
        seed: int,
        val: Tracks | None,
        reveal_at: int = 0,
        hidden_weight: float = 1.0,
        peak_weight: float = 0.0,
        compute: torch.dtype | None = None,
        formulation: str = "blocks",
    ) -> None:
        super().__init__()
        if stage not in STAGES:
            raise InputError(f"unknown stage '{stage}'; there is: {', '.join(STAGES)}")
        self.automatic_optimization = False
        self.network = network.train()
        self.network.compute = compute
        self.formulation = formulation
        self.genome = torch.nn.Parameter(genome, requires_grad=False)
        self.stage, self.config, self.seed, self.val = stage, optimizer, seed, val
        self.reveal_at, self.hidden_weight, self.peak_weight = reveal_at, hidden_weight, peak_weight
        self.history = History()
        self.n_blocks = len(genome)
        self._frozen: Weights | None = None

    def setup(self, stage: str) -> None:
        """Called by Lightning in every process: keep the blocks that are this process's."""
        self.genome = torch.nn.Parameter(shard(self.genome.data), requires_grad=False)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The genome optimizer, and one for the shared parameters where they are trained."""
        c = self.config
        betas = (c.beta1, c.beta2)
        if c.genome_optimizer == "dense":
            genome = torch.optim.Adam([self.genome], c.genome_learning_rate, betas, c.eps, fused=True)
            self._gradient = torch.zeros_like(self.genome)  # kept, as making it at every step would double its cost
        else:
            genome = BlockAdam(self.genome, c.genome_learning_rate, betas, c.eps, c.genome_weight_decay)
        if self.stage == "genome":
            return [genome]
        shared = torch.optim.AdamW(self.network.parameters(), c.learning_rate, betas, c.eps, c.weight_decay, fused=True)
        return [genome, shared]

    def on_train_epoch_start(self) -> None:
        """Fix the random numbers of the epoch, so that a resumed run repeats the uninterrupted one."""
        torch.manual_seed((self.seed << 32) + (self.current_epoch << 8) + self.global_rank)
        frozen = self.stage == "genome" or (self.reveal_at and self.current_epoch >= self.reveal_at)
        self.network.requires_grad_(not frozen)
        self._frozen = self.network.weights() if frozen else None
        self._squares = torch.zeros((), device=self.device)
        self._count = torch.zeros((), device=self.device)

    def training_step(self, batch: BlockBatch, batch_idx: int) -> None:
        """One update of the batch's genome factors and, unless frozen, of the network."""
        optimizers = self._optimizers()
        step = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        scale = self.config.factor(step, self._total_steps())
        for optimizer, rate in zip(optimizers, self._rates(), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
        genome, *shared = optimizers
        n_tracks, split = batch.signal.shape[2], batch.n_hidden
        count = batch.real.sum()
        sum_over_processes([count])
        weights = self._frozen or self.network.weights()
        leaves = self._frozen or weights.leaves()
        for part in batch.parts(self.network.blocks_at_once(n_tracks, self.device)):
            rows = self.genome[part.blocks].requires_grad_()
            visible, loss = self._errors(rows, part, slice(split, None), leaves)
            loss = loss / (count * (n_tracks - split))
            if split:
                # genome factors do not learn from hidden tracks; what does learns to impute
                _, hidden = self._errors(rows.detach(), part, slice(split), leaves)
                loss = loss + self.hidden_weight * hidden / (count * split)
            loss.backward()
            assert rows.grad is not None
            if isinstance(genome, BlockAdam):
                genome.step_rows(part.blocks, rows, rows.grad)
            else:
                self._gradient[part.blocks] = rows.grad
            self._squares += visible
        if not isinstance(genome, BlockAdam):
            self.genome.grad = self._gradient
            genome.step()
            self._gradient.index_fill_(0, batch.blocks, 0)
        if self._frozen is None:
            if self.formulation == "blocks":
                weights.pass_on(leaves)
            sum_over_processes(p.grad for p in self.network.parameters() if p.grad is not None)
            for optimizer in shared:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        self._count += count * (n_tracks - split)

    def _errors(self, rows: Tensor, batch: BlockBatch, tracks: slice, weights: Weights) -> tuple[Tensor, Tensor]:
        """Sums of squared errors, arcsinh, and of what is minimised: errors where signal is high may weigh more."""
        cell, assay = batch.cell[..., tracks], batch.assay[..., tracks]
        if self.formulation == "blocks":
            imputed = self.network(rows, cell, assay, weights)
        else:
            imputed = self.network.forward_reference(rows, cell, assay)
        signal = batch.signal[..., tracks]
        squares = (imputed - signal).square() * batch.real[..., None]
        weighted = squares * (1 + self.peak_weight * signal) if self.peak_weight else squares
        return squares.detach().sum(), weighted.sum()

    def validation_step(self, batch: TrackBatch, batch_idx: int) -> None:
        """Add the squared errors of some blocks."""
        assert self.val is not None
        cell, assay = (torch.tensor(index, device=self.device) for index in (self.val.cell, self.val.assay))
        imputed = self.network.predict(self.genome[batch.blocks], cell, assay)
        squares = (imputed - batch.signal).square() * batch.real[..., None]
        self._val_squares += squares.sum(dim=(0, 1))
        self._val_count += batch.real.sum()

    def on_fit_end(self) -> None:
        """The first process takes the genome factors of all; they need each other no more."""
        self.genome = torch.nn.Parameter(gather(self.genome.data, self.n_blocks), requires_grad=False)
        disconnect()

    def get_extra_state(self) -> dict[str, Any]:
        """The curves are a part of the state, in checkpoints and where another process hands over its module."""
        return vars(self.history)

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the curves."""
        self.history = History(**state)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint holds all blocks, of every process."""
        self._exchange(checkpoint, lambda rows: gather(rows, self.n_blocks))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Of which each process takes its own."""
        self._exchange(checkpoint, shard)

    def _exchange(self, checkpoint: dict[str, Any], rows: Callable[[Tensor], Tensor]) -> None:
        """Replace all tables of blocks in a checkpoint, and nothing in the running optimizer, which it refers to."""
        weights, states = checkpoint["state_dict"], checkpoint["optimizer_states"][0]["state"]
        weights["genome"] = rows(weights["genome"])
        states[0] = {name: rows(value) if name in BLOCK_STATE else value for name, value in sorted(states[0].items())}

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        found = self.optimizers(use_pl_optimizer=False)
        return found if isinstance(found, list) else [found]  # type: ignore[return-value]

    def _rates(self) -> list[float]:
        rates = [self.config.genome_learning_rate, self.config.learning_rate]
        return rates[:1] if self.stage == "genome" else rates

    def _total_steps(self) -> int:
        return int(self.trainer.num_training_batches) * (self.trainer.max_epochs or 1)


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
    callbacks = [*callbacks, *([TQDMProgressBar(refresh_rate=REFRESH)] if progress else [])]
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
                plugins=[CheckpointFile()],
                enable_checkpointing=checkpoint is not None,
                enable_model_summary=False,
                enable_progress_bar=progress,
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
