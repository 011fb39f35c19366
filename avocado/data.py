"""Batches for training: every bin of a region once per epoch, each with a random training track.

Batches are made of whole 5-kbp blocks. What a batch may contain is fixed when the DataModule is built: it is given
the training columns (and, apart, the validation columns) of a store, and copies or reads nothing else, so held-out
tracks cannot be reached from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from avocado.errors import InputError
from avocado.genome import BLOCK_BINS
from avocado.store import SignalStore, chunk_blocks

SAMPLINGS = ("shuffled", "sequential")


class BlockBatch(NamedTuple):
    """One (cell, assay, position, signal) sample for every bin of some blocks; all but `blocks` are (blocks, 200)."""

    blocks: Tensor  # (blocks,) int64; the position of sample [k, j] is the padded bin blocks[k] * 200 + j
    cell: Tensor  # int64 index
    assay: Tensor  # int64 index
    signal: Tensor  # float32, arcsinh
    real: Tensor  # float32: 1 for a bin of the region, 0 for the padding after a segment's last bin


class TrackBatch(NamedTuple):
    """All validation tracks of some blocks."""

    blocks: Tensor  # (blocks,) int64
    signal: Tensor  # float32 (blocks, 200, tracks), arcsinh
    real: Tensor  # float32 (blocks, 200)


class Draw(NamedTuple):
    """What a sampler yields: the blocks of a batch, and the seed of the tracks drawn for their bins."""

    blocks: np.ndarray
    seed: tuple[int, int, int, int]


@dataclass(frozen=True)
class Tracks:
    """Some columns of a store's arrays, and the cell type and assay index of each, (n_tracks,) int64."""

    columns: np.ndarray
    cell: np.ndarray
    assay: np.ndarray


def tracks_of(store: SignalStore, columns: Sequence[int], cells: Sequence[str], assays: Sequence[str]) -> Tracks:
    """The experiments in `columns`, indexed by the order of `cells` and `assays`."""
    table = store.tracks.iloc[list(columns)]
    index = (table["cell"].map(cells.index), table["assay"].map(assays.index))
    return Tracks(np.asarray(columns, dtype=np.int64), *(np.asarray(i, dtype=np.int64) for i in index))


class BlockSampler(Sampler[Draw]):
    """The order of an epoch: each block once, in batches of nearly equal size, the same number on every rank.

    shuffled: whole blocks in a new random order every epoch; sequential: along the genome, as the paper scans.
    Everything follows from (seed, epoch, rank, batch), so a resumed epoch repeats exactly.
    """

    def __init__(
        self, n_blocks: int, batch_blocks: int, sampling: str = "shuffled", seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        if sampling not in SAMPLINGS:
            raise InputError(f"unknown sampling '{sampling}'; there is: {', '.join(SAMPLINGS)}")
        if n_blocks < world:
            raise InputError(f"{n_blocks} blocks cannot be split over {world} processes")
        self.n_blocks, self.sampling, self.seed, self.rank, self.world = n_blocks, sampling, seed, rank, world
        self.epoch = 0
        self.n_batches = -(-n_blocks // (batch_blocks * world))

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Draw]:
        order = np.arange(self.n_blocks)
        if self.sampling == "shuffled":
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        mine = np.array_split(order, self.world)[self.rank]
        for number, blocks in enumerate(np.array_split(mine, self.n_batches)):
            yield Draw(blocks, (self.seed, self.epoch, self.rank, number))


class TrainingBlocks(Dataset[BlockBatch]):
    """Training signal of a region; indexed by a whole batch at a time.

    signal: the training tracks only, (n_blocks, 200, tracks) in memory or on an accelerator, where a batch is then
    drawn and gathered; or the store's memory-mapped array of all tracks, of which blocks are read from disk.
    """

    def __init__(self, signal: Tensor | np.ndarray, tracks: Tracks, mask: np.ndarray) -> None:
        self.signal = signal
        device = signal.device if isinstance(signal, Tensor) else torch.device("cpu")
        self.columns, self.cell, self.assay = (
            torch.tensor(index, device=device) for index in (tracks.columns, tracks.cell, tracks.assay)
        )
        self.mask = torch.tensor(mask, dtype=torch.float32, device=device)
        self.random = torch.Generator(device)

    def __getitem__(self, draw: Draw) -> BlockBatch:
        device = self.mask.device
        self.random.manual_seed(int(np.random.SeedSequence(draw.seed).generate_state(1, np.uint64)[0] >> 1))
        track = torch.randint(len(self.cell), (len(draw.blocks), BLOCK_BINS), generator=self.random, device=device)
        blocks = torch.from_numpy(draw.blocks).to(device)
        if isinstance(self.signal, Tensor):
            first = torch.arange(BLOCK_BINS, device=device) + blocks[:, None] * BLOCK_BINS
            signal = self.signal.view(-1)[first * self.signal.shape[2] + track]
        else:
            rows = torch.from_numpy(self.signal[draw.blocks])  # one contiguous read per block
            signal = rows.gather(2, self.columns[track][..., None])[..., 0]
        return BlockBatch(blocks, self.cell[track], self.assay[track], signal.float(), self.mask[blocks])


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

    train, val: the only tracks that can be reached from here. batch_size: samples (bins) per step, rounded down to
    whole blocks. memory_limit: bytes; training signal up to it is kept on `device`, larger signal is streamed from
    disk by `workers` processes that read ahead. val_bins: validation looks at this many bins, always the same ones,
    spread evenly over the region. The same seed draws the same batches, streamed or in memory.
    """

    def __init__(
        self,
        store: SignalStore,
        region: str,
        train: Tracks,
        val: Tracks | None = None,
        *,
        batch_size: int = 10_000,
        sampling: str = "shuffled",
        seed: int = 0,
        memory_limit: int = 8 << 30,
        workers: int = 1,
        val_bins: int = 200_000,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        if not len(train.columns):
            raise InputError("no training tracks")
        if batch_size < BLOCK_BINS:
            raise InputError(f"batch_size={batch_size}: at least one block of {BLOCK_BINS} bins is needed")
        self.region = store.region(region)
        self.batch_blocks = batch_size // BLOCK_BINS
        self.sampling, self.seed = sampling, seed
        signal = store.signal(region)
        size = self.region.n_blocks * BLOCK_BINS * len(train.columns) * signal.itemsize
        self.streams = size > memory_limit
        self.workers = workers if self.streams else 0
        kept = signal if self.streams else _load_columns(signal, train.columns, device)
        self.training = TrainingBlocks(kept, train, self.region.mask)
        self.validation = None
        if val is not None and len(val.columns):
            n_blocks = min(self.region.n_blocks, max(1, val_bins // BLOCK_BINS))
            blocks = np.unique(np.linspace(0, self.region.n_blocks - 1, n_blocks).astype(np.int64))
            held = signal[blocks][:, :, val.columns]
            self.validation = ValidationBlocks(held, blocks, self.region.mask, self.batch_blocks)

    def sampler(self, rank: int = 0, world: int = 1) -> BlockSampler:
        """The order of one rank; all ranks together cover every block once per epoch."""
        return BlockSampler(self.region.n_blocks, self.batch_blocks, self.sampling, self.seed, rank, world)

    def train_dataloader(self) -> DataLoader:
        """One item is one batch."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return DataLoader(
            self.training,
            sampler=self.sampler(rank, world),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            persistent_workers=self.workers > 0,
        )

    def val_dataloader(self) -> DataLoader | list:
        """Validation tracks, or nothing when there are none."""
        if self.validation is None:
            return []
        return DataLoader(self.validation, batch_size=None, shuffle=False)


def _load_columns(signal: np.ndarray, columns: np.ndarray, device: torch.device | str) -> Tensor:
    """Chosen columns of a memory-mapped array as one tensor on `device`, read a piece at a time."""
    dtype = torch.from_numpy(signal[:0].copy()).dtype
    loaded = torch.empty((*signal.shape[:2], len(columns)), dtype=dtype, device=device)
    step = chunk_blocks(signal.shape[2])
    for first in range(0, len(signal), step):
        loaded[first : first + step] = torch.from_numpy(signal[first : first + step][:, :, columns])
    return loaded
