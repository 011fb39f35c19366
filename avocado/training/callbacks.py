"""What happens beside training: checkpoints, stopping early, what an epoch has cost, how far it is."""

from __future__ import annotations

import logging
import resource
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from avocado.training.parallel import sum_over_processes
from avocado.utils.files import replacing
from avocado.utils.progress import duration

log = logging.getLogger(__name__)

WARM, TIMED = 5, 25  # steps after which the time of a step is measured, and said what training will take


class CheckpointFile(TorchCheckpointIO):
    """Writes and reads checkpoints without a second copy of everything in memory, which Lightning's own way takes."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write to a name that nobody reads yet."""
        torch.save(checkpoint, path)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Tensors are read when they are copied to where they belong."""
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)


class EpochCheckpoint(Checkpoint):
    """Saves everything that an exact resume needs, at the end of an epoch, at most once per `every` seconds.

    The file is written under a temporary name, so a kill at any moment leaves the last whole one.
    """

    def __init__(self, path: Path, every: float) -> None:
        self.path, self.every = path, every
        self.saved = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save if it is time."""
        # several processes save together what each has, so they must agree on when
        if not trainer.strategy.broadcast(time.monotonic() - self.saved >= self.every):
            return
        if trainer.is_global_zero:
            with replacing(self.path) as temporary:
                trainer.save_checkpoint(temporary)
        else:
            trainer.save_checkpoint(self.path)  # takes part, and writes nothing
        self.saved = time.monotonic()


class EarlyStop(pl.Callback):
    """Stops after `patience` validations without a better val/mse, and keeps the weights of the best one.

    `fit` returns to these weights, as Lightning calls no hook where a resumed run has no epoch left.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.weights: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop at once where a resumed run had stopped already."""
        trainer.should_stop = _is_enough(pl_module, self.patience)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the best weights; stop when the best is too long ago."""
        if trainer.sanity_checking:
            return
        curve = _validation_curve(pl_module)
        if curve[-1] == min(curve):
            self.weights = {name: tensor.detach().clone() for name, tensor in pl_module.named_parameters()}
        trainer.should_stop = _is_enough(pl_module, self.patience)

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.weights = state_dict["weights"]


class Cost(pl.Callback):
    """Logs each epoch's bins per second, without validation, and the most memory (GiB) taken until its end.

    n_bins: of an epoch, in all processes. Memory is what PyTorch took of the first GPU, or what the training processes
    held of the CPU's, with those pages of memory-mapped signal that they have read.
    """

    def __init__(self, n_bins: int) -> None:
        self.n_bins = n_bins
        self.begun = self.seconds = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget what earlier runs of this process took of a GPU."""
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.begun, self.seconds = time.monotonic(), 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop it."""
        self._stop(pl_module.device)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop it where nothing was validated, and log."""
        device = pl_module.device
        self._stop(device)
        if device.type == "cuda":
            peak = float(torch.cuda.max_memory_allocated(device))
        else:
            kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
            total = torch.tensor(kib * 1024)
            sum_over_processes([total])
            peak = float(total)
        pl_module.log_dict({"bins_per_second": self.n_bins / self.seconds, "memory/peak_gib": peak / (1 << 30)})

    def _stop(self, device: torch.device) -> None:
        if not self.seconds:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            self.seconds = time.monotonic() - self.begun


def _validation_curve(module: pl.LightningModule) -> list[float]:
    return module.history.val_mse  # type: ignore[return-value]


def _is_enough(module: pl.LightningModule, patience: int) -> bool:
    curve = _validation_curve(module)
    return bool(curve) and len(curve) - 1 - curve.index(min(curve)) >= patience


class Steps(pl.Callback):
    """How far training is: one bar over all steps; a line every `every` seconds where nobody looks at a terminal.

    After the first steps a line says how long the others will take.
    """

    def __init__(self, every: float = 30.0) -> None:
        self.every = every
        self._seen = 0  # steps of this process
        self._bar: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start at the epoch that a resumed run has come to."""
        self._steps = int(trainer.num_training_batches) * (trainer.max_epochs or 1)
        self._done = int(trainer.num_training_batches) * trainer.current_epoch
        self._told, self._told_at = time.monotonic(), self._done
        if trainer.is_global_zero and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("training", total=self._steps, completed=self._done)
            self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One step more."""
        self._done += 1
        self._seen += 1
        if self._seen == WARM:
            self._warm = time.monotonic()
        elif self._seen == TIMED and trainer.is_global_zero:
            if pl_module.device.type == "cuda":
                torch.cuda.synchronize(pl_module.device)
            rate, left = (TIMED - WARM) / max(time.monotonic() - self._warm, 1e-9), self._steps - self._done
            log.info("training: %s for %s more steps, %.3g per second; baseline, encoding and scores follow",
                     duration(left / rate), f"{left:,}", rate)  # fmt: skip
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=_state(trainer))
        elif trainer.is_global_zero and time.monotonic() - self._told >= self.every:
            # as fast as since the last line: on a machine that others use, the first steps say little of the last
            now, done = time.monotonic(), self._done - self._told_at
            left = (self._steps - self._done) * (now - self._told) / done
            self._told, self._told_at = now, self._done
            ahead = f", {duration(left)} left" if self._done < self._steps else ""
            log.info("%s: step %s of %s%s", _state(trainer), f"{self._done:,}", f"{self._steps:,}", ahead)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar as it is in the end."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """The terminal is given back before the error is reported."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = None


def _state(trainer: pl.Trainer) -> str:
    shown = "".join(
        f", {name} {float(value):.4f}" for name, value in trainer.progress_bar_metrics.items() if "/" in name
    )
    return f"training, epoch {trainer.current_epoch + 1} of {trainer.max_epochs}{shown}"
