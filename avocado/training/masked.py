"""Masked training of `states.StatesNetwork`: batches with masked tracks, the LightningModule, encoding a region.

Every block of a batch masks some of its tracks, other ones in every epoch, and the network is asked for masked ones. In
the first part of the epochs a share of the tracks is set apart: they are shown, but never asked for. At the end of that
part they stand for tracks that were never measured: `fit_gate` finds out on them how far an imputation is to be
trusted, and how much a baseline. The second part asks for all tracks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avocado.data.datamodule import Draw, SignalDataModule, load_columns
from avocado.data.genome import BLOCK_BINS, Region
from avocado.data.store import SignalStore, Tracks
from avocado.model.baseline import RegressionBaseline
from avocado.model.encoding import AROUND, piece_blocks, pieces, surroundings
from avocado.model.states import StatesNetwork
from avocado.training.config import FitConfig, OptimizerConfig
from avocado.training.module import History, Watched
from avocado.training.parallel import disconnect, sum_over_processes
from avocado.utils.hardware import Hardware
from avocado.utils.progress import shown

SET_APART = 0.2  # share of the training tracks that the first part of the epochs does not ask for
FIRST_PART = 0.6  # of the epochs
SECOND_PEAK = 0.5  # of the learning rate in the second part, against that in the first
PROBED = 400  # blocks on which the gate is found
PRIOR_TRACKS = 24  # how many tracks set apart the gate's start counts for
CLIP = 1.0  # largest norm of a gradient


class MaskedBatch(NamedTuple):
    """Whole blocks with all training tracks, and what is masked and asked for."""

    blocks: Tensor  # (blocks,) int64
    signal: Tensor  # (blocks, 200, tracks), arcsinh
    around: Tensor  # float16 (blocks, 20, tracks, windows), see `encoding.surroundings`
    real: Tensor  # float32 (blocks, 200): 1 for a bin of the region, 0 for padding
    visible: Tensor  # float32 (blocks, tracks): 0 for masked tracks
    asked: Tensor  # int64 (blocks, pairs): masked tracks that are to be imputed


class ValidationBatch(NamedTuple):
    """Blocks with all training tracks, which are visible, and the validation tracks."""

    signal: Tensor
    around: Tensor
    real: Tensor
    wanted: Tensor  # float32 (blocks, 200, validation tracks), arcsinh


@dataclass(frozen=True)
class Source:
    """The training tracks of a region: in memory, or read block by block from the store's file."""

    file: Path
    layout: Region
    columns: np.ndarray
    scales: np.ndarray  # (2, n_tracks)
    share: tuple[int, int]  # rank and number of processes; this one has every n-th block
    signal: Tensor | None = None  # of this process's blocks
    around: Tensor | None = None

    def at(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and surroundings of some of this process's blocks."""
        if self.signal is not None and self.around is not None:
            return self.signal[blocks], self.around[blocks]
        file = np.load(self.file, mmap_mode="r")  # opened anew, as another process may read it
        numbers = (blocks * self.share[1] + self.share[0]).tolist()
        signal = np.stack([file[number][:, self.columns] for number in numbers])
        around = [surroundings(file, self.layout, self.columns, self.scales, n, n + 1) for n in numbers]
        return torch.from_numpy(signal), torch.cat(around)


class MaskedBlocks(Dataset[MaskedBatch]):
    """Training batches, indexed by the blocks of one (`data.Draw`).

    apart: bool (n_tracks,), which tracks are not asked for before epoch `unmask_at`. masked: share of the tracks that
    are masked in a block; asked: how many of them are asked for, at most.
    """

    def __init__(
        self, source: Source, mask: np.ndarray, masked: float, asked: int, apart: np.ndarray, unmask_at: int
    ) -> None:
        self.source, self.unmask_at = source, unmask_at
        self.mask, self.apart = torch.tensor(mask, dtype=torch.float32), torch.from_numpy(apart)
        n_tracks = len(apart)
        # tracks set apart are never masked, and at least one is visible
        self.n_masked = min(max(1, round(masked * n_tracks)), n_tracks - max(1, int(apart.sum())))
        self.n_asked = min(asked, self.n_masked)

    def __getitem__(self, draw: Draw) -> MaskedBatch:
        blocks = torch.from_numpy(draw.blocks)
        seed = int(np.random.SeedSequence(draw[1:]).generate_state(1, np.uint64)[0] >> 1)
        random = torch.rand(len(blocks), len(self.apart), generator=torch.Generator().manual_seed(seed))
        if draw.epoch < self.unmask_at:
            random = random + self.apart  # come last, and so are neither masked nor asked for
        masked = random.argsort(dim=1)[:, : self.n_masked]
        visible = torch.ones(len(blocks), len(self.apart)).scatter_(1, masked, 0)
        signal, around = self.source.at(blocks)
        device = signal.device
        return MaskedBatch(
            blocks, signal, around, self.mask[blocks].to(device), visible.to(device),
            masked[:, : self.n_asked].to(device),
        )  # fmt: skip


class MaskedValidation(Dataset[ValidationBatch]):
    """Validation tracks over some blocks, `step` of them at a time."""

    def __init__(self, source: Source, blocks: np.ndarray, wanted: np.ndarray, mask: np.ndarray, step: int) -> None:
        self.source, self.blocks, self.wanted, self.mask, self.step = source, blocks, wanted, mask, step

    def __len__(self) -> int:
        return -(-len(self.blocks) // self.step)

    def __getitem__(self, number: int) -> ValidationBatch:
        if number >= len(self):
            raise IndexError(number)
        part = slice(number * self.step, (number + 1) * self.step)
        blocks = self.blocks[part]
        signal, around = self.source.at(torch.from_numpy(blocks))
        wanted, real = self.wanted[part].astype(np.float32), self.mask[blocks].astype(np.float32)
        return ValidationBatch(signal, around, torch.from_numpy(real), torch.from_numpy(wanted))


class MaskedDataModule(SignalDataModule):
    """`SignalDataModule` whose batches are whole blocks with all training tracks, some of them masked.

    scales: mean and deviation of the training tracks (2, n_tracks); apart: which are set apart until `unmask_at`.
    """

    beside = AROUND

    def __init__(self, *args: Any, scales: np.ndarray, apart: np.ndarray, unmask_at: int, **options: Any) -> None:
        self.scales, self.apart, self.unmask_at = scales, apart, unmask_at
        super().__init__(*args, **options)

    def load(self, device: torch.device, rank: int) -> None:
        """The training signal of the blocks of process `rank`, where it does not stream."""
        share = slice(rank, None, self.processes)
        file, columns = self.store.file(self.region.name), self.train.columns
        signal, mask = self.store.signal(self.region.name), self.region.mask[share]
        kept: tuple[Tensor | None, Tensor | None] = (None, None)
        if not self.streams:
            steps = self.region.pieces(piece_blocks(len(columns)))
            found = [surroundings(signal, self.region, columns, self.scales, *step) for step in steps]
            kept = load_columns(signal[share], columns, device), torch.cat(found)[share].to(device)
        source = Source(file, self.region, columns, self.scales, (rank, self.processes), *kept)
        self.training = MaskedBlocks(  # type: ignore[assignment]
            source, mask, self.sampling.masked, self.sampling.tracks_per_bin, self.apart, self.unmask_at
        )
        self.validation = None
        if self.val is not None:
            blocks = self.validation_blocks(len(mask))
            wanted = signal[share][np.ix_(blocks, np.arange(BLOCK_BINS), self.val.columns)]
            self.validation = MaskedValidation(source, blocks, wanted, mask, self.batch_blocks)  # type: ignore[assignment]

    def release(self) -> None:
        """Keep the signal in memory no longer, as Lightning's objects would; what is asked for after that streams."""
        for its in (self.training, self.validation):
            if isinstance(its, MaskedBlocks | MaskedValidation):
                its.source = replace(its.source, signal=None, around=None)


def set_apart(n_tracks: int, seed: int) -> np.ndarray:
    """Bool (n_tracks,): tracks that the first part of the epochs does not ask for; none where there are under five."""
    apart = np.zeros(n_tracks, dtype=bool)
    number = round(SET_APART * n_tracks) if n_tracks >= 5 else 0
    apart[np.random.default_rng((seed, 2)).permutation(n_tracks)[:number]] = True
    return apart


def first_part(config: FitConfig) -> int:
    """Epochs before all tracks are asked for."""
    return round(FIRST_PART * config.epochs) if config.epochs > 1 else 0


class MaskedModule(Watched):
    """Trains encoder, cell-type factors, assay factors and decoder of a `StatesNetwork` on masked blocks."""

    def __init__(
        self,
        network: StatesNetwork,
        optimizer: OptimizerConfig,
        fit: FitConfig,
        seed: int,
        val: Tracks | None,
        apart: np.ndarray,
        compute: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network.train()
        network.compute = compute
        self.config, self.fit_config, self.seed, self.val = optimizer, fit, seed, val
        self.apart, self.unmask_at = apart, first_part(fit)
        self.history = History()
        self.probe: dict[str, Tensor] = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW for everything."""
        c = self.config
        return torch.optim.AdamW(
            self.network.parameters(), c.learning_rate, (c.beta1, c.beta2), c.eps, c.weight_decay, fused=True
        )

    def on_train_epoch_start(self) -> None:
        """Fix the random numbers of the epoch; look at the tracks set apart when their time is over."""
        torch.manual_seed((self.seed << 32) + (self.current_epoch << 8) + self.global_rank)
        self._squares, self._count = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        if self.unmask_at and self.current_epoch == self.unmask_at and self.apart.any() and self.global_rank == 0:
            self.probe = self._probed()

    def training_step(self, batch: MaskedBatch, batch_idx: int) -> None:
        """One update of the network."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        optimizer.param_groups[0]["lr"] = self.config.learning_rate * self._rate(batch_idx)
        network = self.network
        real, asked = batch.real[..., None], batch.asked
        signal = batch.signal.float()
        cell, assay = network.cell[asked], network.assay[asked]
        wanted = signal.gather(2, asked[:, None].expand(-1, BLOCK_BINS, -1))
        mean, deviation = (its[:, None] for its in network.expected[cell, assay].unbind(-1))
        with self._typed():
            rows = network.encode(network.standardised(signal) * real, batch.around, batch.visible)
            found = network(rows, cell, assay).float()
        errors = (found - (wanted - mean) / deviation).square() * real
        if self.fit_config.peak_weight:
            errors = errors * (1 + self.fit_config.peak_weight * wanted)
        count = batch.real.sum() * asked.shape[1]
        sum_over_processes([count])
        (errors.sum() / count).backward()
        gradients = [its.grad for its in network.parameters() if its.grad is not None]
        sum_over_processes(gradients)
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self._squares += ((found.detach() * deviation + mean - wanted).square() * real).sum()
        self._count += count

    def _typed(self) -> torch.autocast:
        """Matrix products in the type that the hardware is fastest in."""
        dtype = self.network.compute
        return torch.autocast(self.device.type, dtype, enabled=dtype in (torch.bfloat16, torch.float16))

    def _rate(self, batch_idx: int) -> float:
        """Learning rate as a share of its peak: one schedule for each part of the epochs."""
        steps, epochs = int(self.trainer.num_training_batches), self.trainer.max_epochs or 1
        if self.current_epoch < self.unmask_at:
            return self.config.factor(self.current_epoch * steps + batch_idx, self.unmask_at * steps)
        step = (self.current_epoch - self.unmask_at) * steps + batch_idx
        peak = SECOND_PEAK if self.unmask_at else 1.0
        return peak * self.config.factor(step, (epochs - self.unmask_at) * steps)

    @torch.no_grad()
    def _probed(self) -> dict[str, Tensor]:
        """The tracks set apart, one by one masked in some blocks and imputed: standardised, (blocks, 200)."""
        data: MaskedBlocks = self.trainer.datamodule.training  # type: ignore[attr-defined]
        network, apart = self.network.eval(), torch.from_numpy(np.flatnonzero(self.apart))
        n_blocks = len(data.mask)
        blocks = torch.from_numpy(np.linspace(0, n_blocks - 1, min(PROBED, n_blocks)).astype(np.int64))
        track = apart[torch.arange(len(blocks)) % len(apart)]
        found = []
        for block, its in zip(blocks.split(16), track.split(16), strict=True):
            signal, around = data.source.at(block)
            visible = torch.ones(len(block), len(self.apart)).scatter_(1, its[:, None], 0).to(signal.device)
            real, its = data.mask[block].to(signal.device), its.to(signal.device)
            with self._typed():
                rows = network.encode(network.standardised(signal.float()) * real[..., None], around, visible)
                imputed = network(rows, network.cell[its][:, None], network.assay[its][:, None])
            found.append(imputed[..., 0].float().cpu())
        network.train()
        rank, world = data.source.share
        return {"blocks": blocks * world + rank, "track": track, "found": torch.cat(found)}

    def validation_step(self, batch: ValidationBatch, batch_idx: int) -> None:
        """Add the squared errors of some blocks; the factorization alone, without a baseline."""
        assert self.val is not None
        network, real = self.network, batch.real[..., None]
        cell, assay = (torch.tensor(index, device=self.device) for index in (self.val.cell, self.val.assay))
        visible = torch.ones(len(batch.signal), batch.signal.shape[2], device=self.device)
        with self._typed():
            rows = network.encode(network.standardised(batch.signal.float()) * real, batch.around, visible)
            imputed = network.predict(rows.float(), cell, assay)
        squares = (imputed.float() - batch.wanted).square() * real
        self._val_squares += squares.sum(dim=(0, 1))
        self._val_count += batch.real.sum()

    def on_fit_end(self) -> None:
        """Processes need each other no more."""
        disconnect()

    def get_extra_state(self) -> dict[str, Any]:
        """Curves, and what was imputed of the tracks set apart."""
        return {"history": vars(self.history), "probe": self.probe}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self.history, self.probe = History(**state["history"]), state["probe"]


def columns_of(network: StatesNetwork, store: SignalStore, cells: list[str], assays: list[str]) -> np.ndarray:
    """Columns of a store that hold the tracks which a network's encoder takes. Raises InputError for one not there."""
    pairs = zip(network.cell.tolist(), network.assay.tolist(), strict=True)
    return np.array([store.track_index(cells[cell], assays[assay]) for cell, assay in pairs], dtype=np.int64)


@torch.no_grad()
def encode_region(
    network: StatesNetwork,
    store: SignalStore,
    region: str,
    columns: np.ndarray,
    hardware: Hardware | None = None,
    progress: bool = False,
) -> Tensor:
    """Genome factors (n_blocks, block_width) of a region, from the training tracks in `columns`, in bounded memory."""
    device, layout = (hardware or Hardware()).use(), store.region(region)
    network = network.eval().to(device)
    genome = torch.empty(layout.n_blocks, network.config.block_width)
    scales = network.scales.double().cpu().numpy()
    steps = pieces(store.signal(region), layout, columns, scales)
    total = len(layout.pieces(piece_blocks(len(columns))))
    for first, last, signal, around in shown(steps, f"encoding {region}", total, progress):
        for start in range(0, last - first, 8):
            part = slice(start, start + 8)
            visible = torch.ones(len(signal[part]), len(columns), device=device)
            rows = network.encode(signal[part].to(device), around[part].to(device), visible)
            genome[first + start : first + start + len(rows)] = rows.cpu()
    return genome


def fit_gate(
    network: StatesNetwork, store: SignalStore, region: str, columns: np.ndarray, probe: dict[str, Tensor],
    baseline: RegressionBaseline | None,
) -> None:  # fmt: skip
    """Set the weights of factorization and baseline by what both impute of the tracks set apart, least squares.

    Neither has been fitted to these: the network was not asked for them, and the regression of a track leaves it out.
    What the gate starts with counts for `PRIOR_TRACKS` tracks, so that a few tracks do not decide alone.
    """
    if not probe:
        return
    signal, layout = store.signal(region), store.region(region)
    products, wanted = torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    n_tracks = len(set(probe["track"].tolist()))
    cells, assays = network.cell.cpu(), network.assay.cpu()
    for block, track, found in zip(probe["blocks"].tolist(), probe["track"].tolist(), probe["found"], strict=True):
        real = torch.from_numpy(layout.mask[block])
        observed = torch.from_numpy(signal[block][:, columns[track]].astype(np.float64))
        cell, assay = cells[track], assays[track]
        mean, deviation = network.expected[cell, assay].double().cpu()
        regressed = torch.zeros_like(observed)
        if baseline is not None:
            index = np.array([int(cell)]), np.array([int(assay)])
            imputed = next(iter(baseline.blocks(region, *index, [(block, block + 1)])))[0, :, 0]
            regressed = (imputed.double().cpu() - mean) / deviation
        inputs = torch.stack([found.double(), regressed], dim=1)[real]
        products += inputs.mT @ inputs / len(inputs)
        wanted += inputs.mT @ ((observed - mean) / deviation)[real] / len(inputs)
    scale, start = n_tracks / len(probe["blocks"]), network.gate.double().cpu()
    products, wanted = products * scale, wanted * scale
    weight = 1 + PRIOR_TRACKS / n_tracks
    alone = (wanted[0] + products[0, 0] / n_tracks * PRIOR_TRACKS * start[2]) / (products[0, 0] * weight)
    gate = torch.tensor([alone, 0.0, alone], dtype=torch.float64)
    if baseline is not None:
        gate[:2] = torch.linalg.solve(products * weight, wanted + products / n_tracks * PRIOR_TRACKS @ start[:2])
    network.gate.copy_(gate.clamp(min=0))
