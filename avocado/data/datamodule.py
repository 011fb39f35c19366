"""Batches for training: every bin of a region once per epoch, each with uniformly random training tracks (1 or more).

Batches are made of whole 5-kbp blocks. What a batch may contain is fixed when the DataModule is built: it is given
the training columns (and, apart, the validation columns) of a store, and copies or reads nothing else, so held-out
tracks cannot be reached from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from avocado.data.genome import BLOCK_BINS
from avocado.data.sampling import ORDERS, Sampling
from avocado.data.store import SignalStore, Tracks, chunk_blocks
from avocado.errors import InputError

READ_AHEAD = 4  # batches that each worker process prepares where signal streams
VAL_BINS = 200_000  # that validation looks at
VAL_VALUES = 1 << 24  # of a batch of validation on an accelerator
CPU_SIGNAL = 8 << 30  # bytes
MASKINGS = 256  # different choices of masked tracks; each block has one of them


class BlockBatch(NamedTuple):
    """(cell, assay, position, signal) samples of every bin of some blocks, some tracks per bin.

    The position of samples [k, j] is the padded bin blocks[k] * 200 + j. `bins` is 200, or 1 where all bins of a
    block have the same tracks.
    """

    blocks: Tensor  # (blocks,) int64: rows of this process's table of blocks, which is the whole one where it is alone
    cell: Tensor  # int64 index (blocks, bins, tracks)
    assay: Tensor  # int64 index (blocks, bins, tracks)
    signal: Tensor  # float32 (blocks, 200, tracks), arcsinh
    real: Tensor  # float32 (blocks, 200): 1 for a bin of the region, 0 for the padding after a segment's last bin
    n_masked: int  # the first tracks of each bin are masked from the genome factors of the block

    def parts(self, n_blocks: int) -> Iterator[BlockBatch]:
        """The batch in pieces of at most `n_blocks` blocks."""
        if n_blocks >= len(self.blocks):
            yield self
            return
        for first in range(0, len(self.blocks), n_blocks):
            piece = slice(first, first + n_blocks)
            yield BlockBatch(self.blocks[piece], self.cell[piece], self.assay[piece], self.signal[piece],
                             self.real[piece], self.n_masked)  # fmt: skip


class TrackBatch(NamedTuple):
    """All validation tracks of some blocks."""

    blocks: Tensor  # (blocks,) int64
    signal: Tensor  # float32 (blocks, 200, tracks), arcsinh
    real: Tensor  # float32 (blocks, 200)


class Draw(NamedTuple):
    """What a sampler yields: the blocks of a batch, and what decides the tracks that are drawn for their bins."""

    blocks: np.ndarray
    seed: int
    epoch: int
    rank: int
    batch: int


class BlockSampler(Sampler[Draw]):
    """The order of an epoch: each of a process's blocks once, in batches of nearly equal size.

    Process `rank` of `world` has blocks rank, rank + world, ... of the region and yields their rank among its own; all
    processes have the same number of batches.

    shuffled: whole blocks in a new random order every epoch; sequential: along the genome, as the paper scans.
    Everything follows from (seed, epoch, rank, batch), so a resumed epoch repeats exactly.
    """

    def __init__(
        self, n_blocks: int, batch_blocks: int, sampling: str = "shuffled", seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        if sampling not in ORDERS:
            raise InputError(f"unknown sampling '{sampling}'; there is: {', '.join(ORDERS)}")
        if n_blocks < world:
            raise InputError(f"{n_blocks} blocks cannot be split over {world} processes")
        self.n_blocks, self.sampling, self.seed, self.rank, self.world = n_blocks, sampling, seed, rank, world
        self.epoch = 0
        self.n_batches = -(-(n_blocks // world) // batch_blocks)  # even the smallest share has a block for each

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Draw]:
        order = np.arange(len(range(self.rank, self.n_blocks, self.world)))
        if self.sampling == "shuffled":
            np.random.default_rng((self.seed, self.epoch, self.rank)).shuffle(order)
        for number, blocks in enumerate(np.array_split(order, self.n_batches)):
            yield Draw(blocks, self.seed, self.epoch, self.rank, number)


class TrainingBlocks(Dataset[BlockBatch]):
    """Training signal of a region; indexed by a whole batch at a time.

    signal: the training tracks only, (n_blocks, 200, tracks) in memory or on an accelerator, where a batch is then
    drawn and gathered; or the store's file of the region, from which a batch's values are read. share: which
    blocks of a file the process has, `BlockSampler`'s rank and world.
    """

    def __init__(
        self,
        signal: Tensor | Path,
        tracks: Tracks,
        mask: np.ndarray,
        sampling: Sampling,
        seed: int,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.signal, self.sampling, self.share = signal, sampling, share
        device = signal.device if isinstance(signal, Tensor) else torch.device("cpu")
        self.columns, self.cell, self.assay = (
            torch.tensor(index, device=device) for index in (tracks.columns, tracks.cell, tracks.assay)
        )
        self.mask = torch.tensor(mask, dtype=torch.float32, device=device)
        n_tracks = len(self.cell)
        self.n_masked = min(round(sampling.masked * n_tracks), n_tracks - 1)
        rng = np.random.default_rng((seed, 1))
        # each row is all tracks in some order, the masked ones first
        orders = rng.permuted(np.tile(np.arange(n_tracks), (MASKINGS if self.n_masked else 1, 1)), axis=1)
        self.orders = torch.tensor(orders, device=device)
        self.order_of_block = torch.tensor(rng.integers(len(orders), size=len(mask)), device=device)

    def __getitem__(self, draw: Draw) -> BlockBatch:
        blocks = _sent(torch.from_numpy(draw.blocks), self.mask.device)
        n_masked = self.n_masked if draw.epoch < self.sampling.unmask_at else 0
        track, n_masked = self._tracks(blocks, draw[1:], n_masked)
        everywhere = track.expand(-1, BLOCK_BINS, -1)
        signal = self._at(blocks, everywhere)
        return BlockBatch(blocks, self.cell[track], self.assay[track], signal, self.mask[blocks], n_masked)

    def _tracks(self, blocks: Tensor, seed: tuple[int, ...], n_masked: int) -> tuple[Tensor, int]:
        """Tracks (blocks, bins, tracks) of a batch, masked ones first, and how many of them are masked."""
        n_tracks, m = self.orders.shape[1], self.sampling.tracks_per_bin
        orders = self.orders[self.order_of_block[blocks]]
        if m >= n_tracks:
            return orders[:, None], n_masked
        # drawn by the CPU, so that all devices see the same
        random = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
        m_masked = min(max(1, round(m * n_masked / n_tracks)), m - 1) if n_masked and m > 1 else 0
        draws = []
        for number, low, high in ((m_masked, 0, n_masked), (m - m_masked, n_masked, n_tracks)):
            if number:
                shape = (len(blocks), BLOCK_BINS, number)
                draws.append(torch.randint(low, high, shape, generator=random))
        drawn = _sent(torch.cat(draws, dim=2), blocks.device)
        return orders[:, None].expand(-1, BLOCK_BINS, -1).gather(2, drawn), m_masked

    def _at(self, blocks: Tensor, track: Tensor) -> Tensor:
        """signal[block, bin, track], float32 (blocks, 200, tracks), without copying whole blocks."""
        if isinstance(self.signal, Tensor):
            return self.signal.view(-1)[_bins(blocks)[..., None] * self.signal.shape[2] + track].float()
        file = np.load(self.signal, mmap_mode="r")  # opened anew, as another process may read it
        rank, world = self.share
        address = _bins(blocks * world + rank)[..., None] * file.shape[2] + self.columns[track]
        return torch.from_numpy(np.asarray(file).reshape(-1)[address.numpy()]).float()


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on `device`. From pinned memory, as else the host would wait for all that a GPU has to do."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _bins(blocks: Tensor) -> Tensor:
    """Padded addresses (blocks, 200) of the bins of some blocks."""
    return torch.arange(BLOCK_BINS, device=blocks.device) + blocks[:, None] * BLOCK_BINS


class ValidationBlocks(Dataset[TrackBatch]):
    """Validation tracks over a fixed set of blocks."""

    def __init__(self, signal: np.ndarray, blocks: np.ndarray, mask: np.ndarray, batch_blocks: int) -> None:
        self.signal, self.blocks, self.mask, self.batch_blocks = signal, blocks, mask, batch_blocks

    def __len__(self) -> int:
        return -(-len(self.blocks) // self.batch_blocks)

    def __getitem__(self, number: int) -> TrackBatch:
        part = slice(number * self.batch_blocks, (number + 1) * self.batch_blocks)
        if number >= len(self):
            raise IndexError(number)
        blocks = self.blocks[part]
        return TrackBatch(
            torch.from_numpy(blocks),
            torch.from_numpy(self.signal[part].astype(np.float32)),
            torch.from_numpy(self.mask[blocks].astype(np.float32)),
        )


class SignalDataModule(pl.LightningDataModule):
    """Streams (cell, assay, position, signal) of one region of a store.

    train, val: the only tracks that can be reached from here. batch_size: bins per step, rounded down to whole
    blocks. memory_limit: bytes, see `signal_limit`; training signal up to it is kept on `device`, larger signal is
    streamed from disk by `workers` processes that read ahead. val_bins: validation looks at this many bins, always the
    same ones, spread evenly over the region. processes: where several share the region, each loads its own blocks, in
    `setup`.
    The same seed draws the same batches, streamed or in memory, on any device.
    """

    beside = 0.0  # bytes per bin and track that are kept beside the signal

    def __init__(
        self,
        store: SignalStore,
        region: str,
        train: Tracks,
        val: Tracks | None = None,
        *,
        batch_size: int = 10_000,
        sampling: Sampling | None = None,
        seed: int = 0,
        memory_limit: int | None = None,
        workers: int = 1,
        val_bins: int = VAL_BINS,
        device: torch.device | str = "cpu",
        processes: int = 1,
    ) -> None:
        super().__init__()
        if not len(train.columns):
            raise InputError("no training tracks")
        if batch_size < BLOCK_BINS:
            raise InputError(f"batch_size={batch_size}: at least one block of {BLOCK_BINS} bins is needed")
        self.store, self.region = store, store.region(region)
        self.train, self.val = train, val if val is not None and len(val.columns) else None
        self.batch_blocks = batch_size // BLOCK_BINS
        self.sampling, self.seed, self.val_bins = sampling or Sampling(), seed, val_bins
        self.device, self.processes = torch.device(device), processes
        signal = store.signal(region)
        n_bins = self.region.n_blocks * BLOCK_BINS
        limit = signal_limit(memory_limit, self.device)
        self.streams = streams(n_bins, len(train.columns), signal.itemsize + self.beside, limit, processes)
        self.workers = workers if self.streams else 0
        if processes == 1:
            self.load(self.device, 0)

    def setup(self, stage: str) -> None:
        """Called by Lightning in every process."""
        if self.processes > 1 and self.trainer is not None:
            self.load(self.trainer.strategy.root_device, self.trainer.global_rank)

    def load(self, device: torch.device, rank: int) -> None:
        """The signal of the blocks of process `rank`."""
        share = slice(rank, None, self.processes)
        signal, mask = self.store.signal(self.region.name)[share], self.region.mask[share]
        file = self.store.file(self.region.name)
        kept = file if self.streams else load_columns(signal, self.train.columns, device)
        self.training = TrainingBlocks(kept, self.train, mask, self.sampling, self.seed, (rank, self.processes))
        self.validation = None
        if self.val is not None:
            blocks = self.validation_blocks(len(mask))
            held = signal[np.ix_(blocks, np.arange(BLOCK_BINS), self.val.columns)]
            few = 0 if device.type == "cpu" else VAL_VALUES // (BLOCK_BINS * len(self.val.columns))
            self.validation = ValidationBlocks(held, blocks, mask, max(self.batch_blocks, few))

    def validation_blocks(self, n_blocks: int) -> np.ndarray:
        """Which of a process's `n_blocks` blocks validation looks at."""
        number = min(n_blocks, max(1, self.val_bins // BLOCK_BINS // self.processes))
        return np.unique(np.linspace(0, n_blocks - 1, number).astype(np.int64))

    def sampler(self, rank: int = 0, world: int = 1) -> BlockSampler:
        """The order of one rank; all ranks together cover every block once per epoch."""
        return BlockSampler(self.region.n_blocks, self.batch_blocks, self.sampling.order, self.seed, rank, world)

    def train_dataloader(self) -> DataLoader:
        """One item is one batch."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = self.sampler(rank, world)
        if self.trainer:  # workers of a resumed run read ahead before Lightning sets its epoch, the next to be started
            sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.ready)
        return DataLoader(
            self.training,
            sampler=sampler,
            batch_size=None,
            num_workers=self.workers,
            # a loader draws a number whenever it starts; from torch's own generator this would shift the dropout masks
            # of an epoch, and not in the same way when training is resumed
            generator=torch.Generator(),
            prefetch_factor=READ_AHEAD if self.workers else None,
            pin_memory=self.streams and self.device.type == "cuda",  # copied while the host goes on
            persistent_workers=self.workers > 0,
        )

    def val_dataloader(self) -> DataLoader | list:
        """Validation tracks, or nothing when there are none."""
        if self.validation is None:
            return []
        return DataLoader(self.validation, batch_size=None, shuffle=False)


def signal_limit(memory_limit: int | None, device: torch.device) -> int:
    """Bytes of signal that may be kept on `device`; None: half of a GPU's memory, 8 GiB on a CPU."""
    if memory_limit is not None:
        return memory_limit
    return torch.cuda.get_device_properties(device).total_memory // 2 if device.type == "cuda" else CPU_SIGNAL


def streams(n_bins: int, n_tracks: int, itemsize: float, memory_limit: int, processes: int) -> bool:
    """Whether a process's share of the training signal is more than it may keep, in bytes, and so comes from disk."""
    return n_bins * n_tracks * itemsize > memory_limit * processes


def load_columns(signal: np.ndarray, columns: np.ndarray, device: torch.device | str) -> Tensor:
    """Chosen columns of a memory-mapped array as one tensor on `device`, read a piece at a time."""
    dtype = torch.from_numpy(signal[:0].copy()).dtype
    loaded = torch.empty((*signal.shape[:2], len(columns)), dtype=dtype, device=device)
    step = chunk_blocks(signal.shape[2])
    for first in range(0, len(signal), step):
        loaded[first : first + step] = torch.from_numpy(signal[first : first + step][:, :, columns])
    return loaded
