"""How a model is trained: learning rates and their schedule, epochs, batches, masking and checks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from avocado.data.sampling import Sampling
from avocado.errors import InputError
from avocado.training.stages import stage_named
from avocado.utils.settings import setting

SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam for the network and the two small tables; lazy or dense Adam for the genome factors."""

    learning_rate: float = setting(0.003, "of network, cell-type and assay factors")
    genome_learning_rate: float = setting(0.005, "of free genome factors (model.kind=paper)")
    beta1: float = setting(0.9, "of Adam")
    beta2: float = setting(0.99, "of Adam")
    eps: float = setting(1e-8, "of Adam")
    weight_decay: float = setting(0.01, "decoupled, of network, cell-type and assay factors")
    genome_weight_decay: float = setting(0.0, "decoupled, of free genome factors, once per epoch")
    genome_optimizer: str = setting("lazy", "rows of the batch only; dense: every row at every step, as in Keras")
    schedule: str = setting("cosine", "to zero over all epochs, or constant")
    warmup: float = setting(0.05, "share of the steps in which the learning rates rise")

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
    batch_size: int = setting(3200, "bins per step, in whole blocks of 200")
    sampling: str = setting("shuffled", "blocks in a new random order, or sequential along the genome")
    tracks_per_bin: int = setting(
        16, "training tracks drawn for each bin of a batch; all where there are fewer; 1 in the paper"
    )
    masked: float = setting(
        0.2, "share of the tracks masked in each block's factors, from which the network learns to impute"
    )
    masked_weight: float = setting(3.0, "model.kind=paper: of their error, against 1 for the others")
    peak_weight: float = setting(
        0.0, "extra weight of an error per unit of observed signal; 1 shrinks peaks less, at a little more MSE"
    )
    fine_tuning: float = setting(
        0.34, "model.kind=paper: last share of the epochs: nothing masked, only genome factors learn"
    )
    min_steps: int | None = setting(
        None, "more epochs where a small region would get fewer steps; null: 25 per training track, 2,400 to 6,000"
    )
    validate_every: int = setting(1, "epochs between validations")
    patience: int = setting(0, "validations without improvement before stopping; 0: train to the end")
    memory_limit: int | None = setting(
        None, "bytes of signal kept in memory, more streams from disk; null: half of a GPU's, 8 GiB on a CPU"
    )
    workers: int = setting(1, "processes that read ahead when signal streams")
    checkpoint_every: float = setting(60.0, "seconds between checkpoints")

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "validate_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)!r}: expected a whole number of at least 1")
        if self.min_steps is not None and not self.min_steps >= 0:
            raise InputError(f"fit.min_steps={self.min_steps!r}: expected a number from 0, or null")
        for name in (
            "patience",
            "workers",
            "checkpoint_every",
            "masked_weight",
            "peak_weight",
        ):
            if not getattr(self, name) >= 0:
                raise InputError(f"fit.{name}={getattr(self, name)!r}: expected a number from 0")
        if self.memory_limit is not None and not self.memory_limit >= 0:
            raise InputError(f"fit.memory_limit={self.memory_limit!r}: expected a number from 0, or null")
        Sampling(self.sampling, self.tracks_per_bin, self.masked)  # says what is wrong with them
        if not 0 <= self.fine_tuning < 1:
            raise InputError(f"fit.fine_tuning={self.fine_tuning}: expected a share from 0 to below 1")

    def for_region(self, n_bins: int, n_tracks: int) -> FitConfig:
        """The same with as many epochs as a region of that size, and that many training tracks, need."""
        steps = -(-n_bins // self.batch_size)
        least = steps_for(n_tracks) if self.min_steps is None else self.min_steps
        return replace(self, epochs=max(self.epochs, -(-least // steps)))

    def describe(self, n_bins: int) -> str:
        """One line: how long it is trained on a region of that size."""
        steps = self.epochs * -(-n_bins // self.batch_size)
        return f"training: {self.epochs:,} epochs, {steps:,} steps of up to {self.batch_size:,} bins"

    def unmask_at(self, stage: str) -> int:
        """The epoch from which no track is masked and, in stages that hide some, only genome factors learn."""
        if not self.masked or not stage_named(stage).trains_network:
            return 0
        return max(1, self.epochs - round(self.fine_tuning * self.epochs))

    def draws(self, stage: str) -> Sampling:
        """How the epochs of `stage` go through a region."""
        return Sampling(self.sampling, self.tracks_per_bin, self.masked, self.unmask_at(stage))
