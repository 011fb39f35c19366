"""New cell types judged by their own tracks: each imputed on masked blocks, from some of the others.

A trial learns a cell type anew from some of its tracks, and imputes one: a track that it was learned from, on blocks
that were not (kind 'masked'), or a track that was left out (kind 'left out'), from 1, 2, 3, ... others. All are imputed
on the same blocks, which nothing was learned from, and put beside average activity there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from avocado.data.joined import join
from avocado.data.store import tracks_of
from avocado.model.baseline import RegressionBaseline
from avocado.model.directory import Model
from avocado.model.regression import drawn_bins, impute_blocks, regress
from avocado.model.states import StatesNetwork
from avocado.model.transfers import expected_beside, given_stores
from avocado.training.frozen import Assays, assays_of, frozen_at
from avocado.training.newcomers import Newcomers, rows_of, signal_of
from avocado.training.transfer import Sample, learn_cells
from avocado.training.transfer_config import TransferConfig
from avocado.utils.progress import shown

MASKED, LEFT_OUT = "masked blocks", "left out"
SIZES = (1, 2, 3, 5, 10)  # numbers of tracks that are learned from, and all but the one left out
SUBSETS = 2  # choices of that many, of each track that is left out
MOST = 60  # trials of a cell type
PIECE = 16  # blocks at once
PRIOR_TRACKS = 2  # how many tracks the gate's start counts for


@dataclass(frozen=True)
class Trial:
    """A track that is imputed, and those that its cell type is learned from: columns of the new tracks."""

    kind: str
    column: int
    used: tuple[int, ...]


@dataclass(frozen=True)
class Imputed:
    """What both parts of a model make of a trial's track at the judged bins, standardised (n_bins,)."""

    trial: Trial
    factorization: np.ndarray
    regression: np.ndarray | None
    mean: float  # that is expected of the track, arcsinh
    deviation: float

    def signal(self, gate: np.ndarray) -> np.ndarray:
        """Arcsinh, by the weights of factorization and baseline, and of the factorization alone."""
        if self.regression is None:
            return self.mean + self.deviation * gate[2] * self.factorization
        both = gate[0] * self.factorization + gate[1] * self.regression
        return self.mean + self.deviation * both


def trials_of(columns: Sequence[int], seed: int, masked: bool = True) -> list[Trial]:
    """The trials of one cell type, whose tracks are in these columns of the new ones."""
    random = np.random.default_rng((seed, 6))
    found = [Trial(MASKED, column, tuple(columns)) for column in columns] if masked else []
    for column in columns:
        others = [its for its in columns if its != column]
        for size in sorted({its for its in (*SIZES, len(others)) if 0 < its <= len(others)}):
            for _ in range(SUBSETS):
                chosen = tuple(sorted(random.permutation(others)[:size].tolist()))
                found.append(Trial(LEFT_OUT, column, chosen))
    return list(dict.fromkeys(found))[:MOST]


def impute_trials(
    new: Newcomers,
    assays: Assays,
    trials: Sequence[Trial],
    drawn: tuple[Sample, Sample],
    blocks: np.ndarray,
    baseline: RegressionBaseline | None,
    config: TransferConfig,
    seed: int,
    checkpoint: Path | None = None,
    progress: bool = False,
) -> list[Imputed]:
    """Learn all trials and impute their tracks in the judged `blocks`.

    assays: of the network, new ones included; baseline: the model's own, of known pairs, where its store is at hand.
    """
    subsets = list(dict.fromkeys(trial.used for trial in trials))
    rows = [new.row(subset, of_cell=True) for subset in subsets]
    known = new.model.network.cell_factors.detach()[: new.model.n_known[0]]
    label = f"{len(subsets)} times with tracks left out" if progress else ""
    cells, _, _ = learn_cells(assays, known, rows, drawn, config, seed, checkpoint, label)
    of_trial = [subsets.index(trial.used) for trial in trials]
    partner = torch.tensor([new.names[1].index(new.pairs[trial.column][1]) for trial in trials])
    found = factorized(new.model, new.region, blocks, cells[of_trial], assays[partner])
    mask = new.model.regions[new.region].mask[blocks]
    regressed = None if baseline is None else _regressions(new, trials, blocks, baseline, progress)
    made = []
    for number, trial in enumerate(trials):
        mean, deviation = (0.0, 1.0)
        if isinstance(new.model.network, StatesNetwork):
            without = [pair for column, pair in enumerate(new.pairs) if column not in trial.used]
            mean, deviation = new.expected([new.pairs[trial.column]], without)[0].tolist()
        its = None if regressed is None else (regressed[number][mask] - mean) / deviation
        made.append(Imputed(trial, found[:, number], its, mean, deviation))
    return made


@torch.no_grad()
def factorized(model: Model, region: str, blocks: np.ndarray, cells: torch.Tensor, assays: Assays) -> np.ndarray:
    """What the network makes of pairs, by their factors, at the bins of some blocks (n_bins, n_pairs)."""
    found, mask = [], model.regions[region].mask
    for first in range(0, len(blocks), PIECE):
        its = blocks[first : first + PIECE]
        block, offset = (torch.from_numpy(index) for index in np.nonzero(mask[its]))
        rows = rows_of(model, region, its)
        for part in torch.arange(len(block)).split(800):
            frozen = frozen_at(model.network, rows, block[part], offset[part])
            found.append(frozen(cells, assays).numpy())
    return np.concatenate(found)


def _regressions(
    new: Newcomers, trials: Sequence[Trial], blocks: np.ndarray, own: RegressionBaseline, progress: bool
) -> list[np.ndarray]:
    """The baseline of each trial's pair in the judged blocks, arcsinh (n_blocks, 200), from the trial's tracks.

    As `transfers.added_baseline` has it, with one pass over the tracks for all trials.
    """
    config = own.config
    assert config is not None
    store = join([own.store, *given_stores(new.model.path, new.model.transfers), new.store])
    names = new.names
    columns = [*own.train.columns.tolist(), *(store.track_index(*pair) for pair in new.pairs)]
    every, n_known = tracks_of(store, columns, names), len(own.train.columns)
    scales = np.concatenate([own.fitted.scales, new.scales], axis=1)
    means = drawn_bins(store, new.region, every.columns, scales, config)
    steps = [(block, block + 1) for block in blocks.tolist()]
    signal, layout = store.signal(new.region), store.region(new.region)
    found: dict[tuple[int, tuple[int, ...]], np.ndarray] = {}
    label = "regressing with tracks left out"
    for trial in shown(trials, label, len(trials), progress):
        # a track's own signal has no part in its regression
        used = tuple(column for column in trial.used if column != trial.column)
        if (trial.column, used) in found:
            continue
        rows = [*range(n_known), *(n_known + column for column in used)]
        donors = np.array([row < n_known or every.assays[row] not in own.assays for row in rows])
        train = replace(tracks_of(store, every.columns[rows], names), donors=donors)
        pair = [new.pairs[trial.column]]
        expected = expected_beside(scales[:, rows], train, n_known, pair, config.scale_ridge)
        fitted = regress(means[rows], scales[:, rows], expected, train, names[1], pair, config)
        parts = impute_blocks(signal, layout, train, names[1], fitted, pair, steps)
        found[trial.column, used] = torch.cat(list(parts))[..., 0].numpy()
    return [found[t.column, tuple(column for column in t.used if column != t.column)] for t in trials]


def gate_of(
    imputed: Sequence[Imputed], signal: np.ndarray, start: np.ndarray, without: int | None = None
) -> np.ndarray:
    """Weights of factorization and baseline, and of the factorization alone, for one new cell type, least squares.

    From its tracks that were left out, each imputed from all others; but `without` one of them, a column. What the gate
    starts with counts for PRIOR_TRACKS tracks, so that a few tracks do not decide alone.
    """
    most = max((len(its.trial.used) for its in imputed if its.trial.kind == LEFT_OUT), default=0)
    chosen = [its for its in imputed if its.trial.kind == LEFT_OUT and len(its.trial.used) == most
              and its.trial.column != without]  # fmt: skip
    products, wanted = PRIOR_TRACKS * np.eye(2), PRIOR_TRACKS * start[:2]
    alone = [PRIOR_TRACKS * start[2], float(PRIOR_TRACKS)]
    for its in chosen:
        target = (signal[:, its.trial.column] - its.mean) / its.deviation
        regression = np.zeros_like(target) if its.regression is None else its.regression
        inputs = np.stack([its.factorization, regression], axis=1).astype(np.float64)
        products += inputs.T @ inputs / len(inputs)
        wanted += inputs.T @ target / len(inputs)
        alone[0] += float(inputs[:, 0] @ target) / len(inputs)
        alone[1] += float(inputs[:, 0] @ inputs[:, 0]) / len(inputs)
    both = np.linalg.solve(products, wanted) if any(its.regression is not None for its in chosen) else start[:2]
    return np.maximum([*both, alone[0] / alone[1]], 0)


def averages(new: Newcomers, blocks: np.ndarray, baseline_store, columns: dict[str, list[int]]) -> np.ndarray:
    """Average activity of the new tracks' assays at the judged bins (n_bins, n_pairs), NaN where there is none.

    baseline_store, columns: with the model's training tracks, by assay; without a store (None), what the model imputes
    of the cell types that it was trained with takes their place.
    """
    mask = new.model.regions[new.region].mask[blocks]
    found = np.full((int(mask.sum()), len(new.pairs)), np.nan, dtype=np.float32)
    for assay in dict.fromkeys(assay for _, assay in new.pairs):
        its = [number for number, pair in enumerate(new.pairs) if pair[1] == assay]
        if columns.get(assay) and baseline_store is not None:
            signal = signal_of(baseline_store, new.region, blocks, np.array(columns[assay]))
            found[:, its] = signal[mask].mean(axis=1)[:, None]
        elif baseline_store is None and assay in new.model.assays:
            found[:, its] = _imputed_average(new, blocks, assay)[:, None]
        elif assay in new.assays:  # the other new tracks of it
            signal = signal_of(new.store, new.region, blocks, new.columns[its])[mask]
            for place, number in enumerate(its):
                if len(its) > 1:
                    found[:, number] = np.delete(signal, place, axis=1).mean(axis=1)
    return found


def _imputed_average(new: Newcomers, blocks: np.ndarray, assay: str) -> np.ndarray:
    model, number = new.model, new.model.assays.index(assay)
    cells = list(range(model.n_known[0]))
    partner = torch.full((len(cells),), number)
    found = factorized(model, new.region, blocks, model.network.cell_factors[cells], assays_of(model.network)[partner])
    if isinstance(model.network, StatesNetwork):
        mean, deviation = model.network.expected[cells, number].numpy().T
        found = mean + deviation * float(model.network.gate[2]) * found
    return found.mean(axis=1)
