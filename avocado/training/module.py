"""The LightningModule of the paper's network: what a step does, what each stage freezes, and exact resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from avocado.data.datamodule import BlockBatch, TrackBatch
from avocado.data.store import Tracks
from avocado.errors import InputError
from avocado.model.network import Network, Weights
from avocado.training.config import OptimizerConfig
from avocado.training.optim import BlockAdam
from avocado.training.parallel import disconnect, gather, shard, sum_over_processes
from avocado.training.stages import stage_named

BLOCK_STATE = {"visits", "mean", "square", "exp_avg", "exp_avg_sq"}  # of BlockAdam and of Adam, one row per block


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
    compute: type of activations and matrix products (`Hardware.compute_type`). implementation: 'blocks', or
    'reference', which is the paper's, in float32, and slow.
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
        unmask_at: int = 0,
        masked_weight: float = 1.0,
        peak_weight: float = 0.0,
        compute: torch.dtype | None = None,
        implementation: str = "blocks",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network.train()
        self.network.compute = compute
        self.implementation = implementation
        self.genome = torch.nn.Parameter(genome, requires_grad=False)
        self.stage, self.config, self.seed, self.val = stage_named(stage), optimizer, seed, val
        self.unmask_at, self.masked_weight, self.peak_weight = unmask_at, masked_weight, peak_weight
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
        if not self.stage.trains_network:
            return [genome]
        shared = torch.optim.AdamW(self.network.parameters(), c.learning_rate, betas, c.eps, c.weight_decay, fused=True)
        return [genome, shared]

    def on_train_epoch_start(self) -> None:
        """Fix the random numbers of the epoch, so that a resumed run repeats the uninterrupted one."""
        torch.manual_seed((self.seed << 32) + (self.current_epoch << 8) + self.global_rank)
        frozen = not self.stage.trains_network or (self.unmask_at and self.current_epoch >= self.unmask_at)
        self.network.requires_grad_(not frozen)
        self._frozen = self.network.weights() if frozen else None
        self._squares = torch.zeros((), device=self.device)
        self._count = torch.zeros((), device=self.device)

    def training_step(self, batch: BlockBatch, batch_idx: int) -> None:
        """One update of the batch's genome factors and, unless frozen, of the network."""
        optimizers = self._optimizers()
        n_batches = int(self.trainer.num_training_batches)
        step = self.current_epoch * n_batches + batch_idx
        scale = self.config.factor(step, n_batches * (self.trainer.max_epochs or 1))
        rates = [self.config.genome_learning_rate, self.config.learning_rate]
        for optimizer, rate in zip(optimizers, rates if self.stage.trains_network else rates[:1], strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
        genome, *shared = optimizers
        n_tracks, split = batch.signal.shape[2], batch.n_masked
        count = batch.real.sum()
        sum_over_processes([count])
        weights = self._frozen or self.network.weights()
        leaves = self._frozen or weights.leaves()
        for part in batch.parts(self.network.blocks_at_once(n_tracks, self.device)):
            rows = self.genome[part.blocks].requires_grad_()
            visible, loss = self._errors(rows, part, slice(split, None), leaves)
            loss = loss / (count * (n_tracks - split))
            if split:
                # genome factors do not learn from masked tracks; what does learns to impute
                _, masked = self._errors(rows.detach(), part, slice(split), leaves)
                loss = loss + self.masked_weight * masked / (count * split)
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
            if self.implementation == "blocks":
                weights.pass_on(leaves)
            sum_over_processes(p.grad for p in self.network.parameters() if p.grad is not None)
            for optimizer in shared:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        self._count += count * (n_tracks - split)

    def _errors(self, rows: Tensor, batch: BlockBatch, tracks: slice, weights: Weights) -> tuple[Tensor, Tensor]:
        """Sums of squared errors, arcsinh, and of what is minimised: errors where signal is high may weigh more."""
        cell, assay = batch.cell[..., tracks], batch.assay[..., tracks]
        if self.implementation == "blocks":
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
