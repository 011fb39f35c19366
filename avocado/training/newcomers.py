"""New tracks beside a trained model: what is drawn of them, how strong they are, and the network with rows for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avocado.data.compendium import Pair, pairs_in
from avocado.data.genome import BLOCK_BINS
from avocado.data.store import SignalStore, Tracks
from avocado.errors import InputError
from avocado.model.directory import Model, new_network
from avocado.model.network import Network
from avocado.model.scales import track_scales
from avocado.model.states import StatesNetwork
from avocado.model.transfers import GIVEN, expected_beside
from avocado.training.frozen import Assays, assays_of, frozen_at
from avocado.training.transfer import Curve, Row, Sample, learn_assays, learn_cells
from avocado.training.transfer_config import TransferConfig

RUN = 5  # blocks, 25 kb, that are masked together, in regions that have many of them
LEARNED, STOPPING, JUDGED = 1_000, 250, 250  # blocks that bins are drawn from; that it is stopped by; of the verdict
STOPPING_BINS = 8_000


@dataclass(frozen=True)
class Newcomers:
    """New tracks of a model, and what of them is new. `pairs` are learned from, and are columns of `signal`."""

    model: Model
    store: SignalStore  # with the new tracks
    pairs: list[Pair]
    region: str  # of the model and the store, in which is learned

    @cached_property
    def cells(self) -> list[str]:
        """Cell types that the model does not know."""
        return sorted({cell for cell, _ in self.pairs} - set(self.model.cells))

    @cached_property
    def assays(self) -> list[str]:
        """Assays that the model does not know."""
        return sorted({assay for _, assay in self.pairs} - set(self.model.assays))

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """Cell types and assays, the model's and then the new ones."""
        return [*self.model.cells, *self.cells], [*self.model.assays, *self.assays]

    @cached_property
    def columns(self) -> np.ndarray:
        """Columns of the store."""
        return np.array([self.store.track_index(*pair) for pair in self.pairs], dtype=np.int64)

    @cached_property
    def scales(self) -> np.ndarray:
        """Mean and deviation of the new tracks (2, n_pairs), arcsinh."""
        return track_scales(self.store, self.region, self.columns)

    def expected(self, pairs: Sequence[Pair], without: Sequence[Pair] = (), leave_out: bool = True) -> np.ndarray:
        """Mean and deviation that are expected of pairs (n, 2), from the model's tracks and the new ones.

        without: new tracks that are taken as not measured. Of a network that knows no scales: of all new tracks.
        """
        network = self.model.network
        if not isinstance(network, StatesNetwork):
            mean, deviation = self.scales.mean(axis=1)
            return np.tile([mean, deviation], (len(pairs), 1))
        known = pairs_in(self.model.tracks, "train")
        scales = [network.scales.double().numpy()]
        if self.model.given_scales is not None:
            known += pairs_in(self.model.tracks, GIVEN)
            scales.append(self.model.given_scales)
        used = [number for number, pair in enumerate(self.pairs) if pair not in set(without)]
        every = [*known, *(self.pairs[number] for number in used)]
        cells, assays = (list(its) for its in zip(*every, strict=True))
        none = np.zeros(len(every), dtype=np.int64)
        tracks = Tracks(none, cells, assays, none, none)
        both = np.concatenate([*scales, self.scales[:, used]], axis=1)
        return expected_beside(both, tracks, len(network.cell), pairs, leave_out=leave_out)

    def row(self, columns: Sequence[int], of_cell: bool) -> Row:
        """What a new cell type, or a new assay, is learned from: some of the new tracks."""
        pairs = [self.pairs[column] for column in columns]
        if isinstance(self.model.network, StatesNetwork):
            others = [pair for pair in self.pairs if pair not in pairs]
            known = [pair for pair in pairs if pair[1] in self.model.assays]
            expected = dict(zip(known, self.expected(known, others), strict=True)) if known else {}
            # the strength of an assay that is in few cell types is that of its own tracks
            rest = [pair for pair in pairs if pair not in expected]
            expected |= dict(zip(rest, self.expected(rest, others, leave_out=False), strict=True)) if rest else {}
            scales = np.array([expected[pair] for pair in pairs])
        else:
            scales = self.scales[:, list(columns)].T
        cells, assays = self.names
        partners = [assays.index(assay) if of_cell else cells.index(cell) for cell, assay in pairs]
        return Row(list(columns), partners, scales)


def divided(n_blocks: int, config: TransferConfig, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks to learn from, to stop by, and of the verdict: runs of neighbouring ones, chosen at random."""
    random = np.random.default_rng((seed, 3))
    run = np.arange(n_blocks) // max(1, min(RUN, n_blocks // 20))
    order = random.permutation(run[-1] + 1)
    n_masked = max(2, round(config.masked * len(order)))
    if n_masked >= len(order):
        raise InputError(f"transfer.masked={config.masked} of {n_blocks} blocks leaves none to learn from")
    parts = order[n_masked:], order[: n_masked // 2], order[n_masked // 2 : n_masked]
    blocks = [np.flatnonzero(np.isin(run, its)) for its in parts]
    most = LEARNED, STOPPING, JUDGED
    chosen = [np.sort(random.permutation(its)[:n]) for its, n in zip(blocks, most, strict=True)]
    return chosen[0], chosen[1], chosen[2]


def samples(
    new: Newcomers, blocks: tuple[np.ndarray, np.ndarray, np.ndarray], config: TransferConfig, seed: int
) -> tuple[Sample, Sample]:
    """Bins to learn from, and bins to stop by."""
    return (
        _sample(new, blocks[0], config.bins, np.random.default_rng((seed, 4))),
        _sample(new, blocks[1], min(config.bins, STOPPING_BINS), np.random.default_rng((seed, 5))),
    )


def _sample(new: Newcomers, blocks: np.ndarray, n_bins: int, random: np.random.Generator) -> Sample:
    layout = new.model.regions[new.region]
    block, offset = np.nonzero(layout.mask[blocks])
    chosen = np.sort(random.permutation(len(block))[:n_bins])
    block, offset = block[chosen], offset[chosen]
    signal = signal_of(new.store, new.region, blocks, new.columns)[block, offset]
    rows = rows_of(new.model, new.region, blocks)
    frozen = frozen_at(new.model.network, rows, torch.from_numpy(block), torch.from_numpy(offset))
    return Sample(frozen, torch.from_numpy(signal))


def rows_of(model: Model, region: str, blocks: np.ndarray) -> Tensor:
    """Genome factors (n_blocks, block_width) of some blocks."""
    rows = model.rows(region)
    return torch.cat([rows[block : block + 1] for block in blocks.tolist()])


def signal_of(store: SignalStore, region: str, blocks: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Arcsinh signal (n_blocks, 200, n_columns), float32."""
    signal = store.signal(region)
    found = [np.asarray(signal[block : block + 1])[:, :, columns] for block in blocks.tolist()]
    return np.concatenate(found).astype(np.float32) if found else np.zeros((0, BLOCK_BINS, len(columns)), np.float32)


@dataclass(frozen=True)
class Learned:
    """The rows of what is new, with the nearest known name of each, and how they were learned."""

    cells: Tensor  # (n_new_cells, k)
    assays: Assays
    nearest: dict[str, str]
    curves: dict[str, Curve]  # by 'cell types' and 'assays'


def learn(
    new: Newcomers, drawn: tuple[Sample, Sample], config: TransferConfig, seed: int,
    checkpoints: Path | None = None, progress: bool = False,
) -> Learned:  # fmt: skip
    """Learn new assays from their tracks in known cell types, and then new cell types from all of theirs.

    checkpoints: folder of files from which an interrupted call goes on.
    """
    model, network = new.model, new.model.network
    n_cells, n_assays = model.n_known
    assays, cells = assays_of(network), network.cell_factors.detach()
    nearest: dict[str, str] = {}
    curves: dict[str, Curve] = {}
    if new.assays:
        rows = [new.row([column for column, (cell, its) in enumerate(new.pairs)
                         if its == assay and cell in model.cells], of_cell=False) for assay in new.assays]  # fmt: skip
        known = assays[torch.arange(n_assays)]
        found, near, curves["assays"] = learn_assays(
            cells, known, rows, drawn, config, seed, checkpoints and checkpoints / "assays.ckpt",
            "learning assays" if progress else "",
        )  # fmt: skip
        nearest |= {assay: model.assays[number] for assay, number in zip(new.assays, near, strict=True)}
        assays = assays.like(torch.cat([assays.flat(), found.flat()]))
    learned = cells[:0]
    if new.cells:
        rows = [new.row([column for column, pair in enumerate(new.pairs) if pair[0] == cell], of_cell=True)
                for cell in new.cells]  # fmt: skip
        learned, near, curves["cell types"] = learn_cells(
            assays, cells[:n_cells], rows, drawn, config, seed, checkpoints and checkpoints / "cells.ckpt",
            "learning cell types" if progress else "",
        )  # fmt: skip
        nearest |= {cell: model.cells[number] for cell, number in zip(new.cells, near, strict=True)}
    return Learned(learned, assays, nearest, curves)


def extended(new: Newcomers, learned: Learned, gates: Tensor) -> Network | StatesNetwork:
    """The network with rows for what is new; everything else is what it was, bit for bit.

    gates: of the new cell types (n_cells, 3), see `StatesNetwork.added_gate`.
    """
    model, before = new.model, new.model.network
    cells, assays = new.names
    network = new_network(before.config, len(cells), len(assays), _n_tracks(before), model.n_known)
    state = dict(before.state_dict())
    state["cell_factors"] = torch.cat([state["cell_factors"], learned.cells])
    state["assay_factors"] = learned.assays.factors
    if isinstance(before, StatesNetwork):
        state["output"], state["output_bias"] = learned.assays.output, learned.assays.bias
        expected = torch.zeros(len(cells), len(assays), 2)
        added = [(cell, assay) for cell in cells for assay in assays
                 if cell not in model.cells or assay not in model.assays]  # fmt: skip
        for chosen, leave_out in (([p for p in added if p[1] in model.assays], True),
                                  ([p for p in added if p[1] not in model.assays], False)):  # fmt: skip
            if chosen:
                index = [[names.index(pair[i]) for pair in chosen] for i, names in enumerate((cells, assays))]
                its = new.expected(chosen, leave_out=leave_out)
                expected[index[0], index[1]] = torch.from_numpy(its).float()
        expected[: len(model.cells), : len(model.assays)] = before.expected
        state["expected"] = expected
        limits = torch.ones(len(cells), len(assays))  # of what is new none are known
        limits[: len(model.cells), : len(model.assays)] = before.limits
        state["limits"] = limits
    network.load_state_dict(state)
    if isinstance(network, StatesNetwork) and isinstance(before, StatesNetwork):
        earlier = [] if before.added_gate is None else [before.added_gate]
        network.added_gate = torch.cat([*earlier, gates]) if earlier or len(gates) else None
    return network.eval().requires_grad_(False)


def _n_tracks(network: Network | StatesNetwork) -> int:
    return len(network.cell) if isinstance(network, StatesNetwork) else 0
