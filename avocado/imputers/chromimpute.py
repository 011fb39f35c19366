"""ChromImpute: an ensemble of regression trees on similar cell types and other assays.

Ernst and Kellis 2015, "Large-scale imputation of epigenomic datasets for systematic annotation of diverse human
tissues", Nature Biotechnology 33:364. To impute assay M in cell type T, every other cell type j that has M, a donor,
acts as the target once: a regression tree learns M in j from M in the cell types that most resemble j and from the
other assays of j around the bin. Each of these trees is then given the same features of T, and their mean is the
imputation. Neither the donor nor T is among the similar cell types, at both ends, so that a tree is applied to what it
was trained on.

Written from the method's description. The original works on whatever signal it is given, in text files rounded to 0.1;
here it is the store's arcsinh(−log10 p), unrounded, which is also the space of the scores. Trees predict means, and
arcsinh of a mean is more than the mean of arcsinh: trained on −log10 p itself they would impute too much by arcsinh
MSE. By default tracks are standardised, as cell types differ in how strong their tracks are throughout, and a tree
cannot know how strong its target is; the original knows no such step. And trees also see the mean of the assay over all
other cell types: where cell types were measured in few assays, those that share one with the target may be few, or the
donor alone, whose tree would know nothing of the assay elsewhere. Nor are kept: the original's zeros within 10 kbp
of the ends of a chromosome, its windows that run from one region into the next, and its comparison of rounded features
with differently rounded thresholds.

The original's work grows with donors × targets, and that of each tree with the cell types that have the assays. Here a
track has at most `donors` donors, those whose tracks resemble the target's most, each with fewer bags the more there
are, and the cell types near a bin are looked for among the `candidates` that are nearest over all. Where there are no
more than that, nothing changes. `ChromImpute.outlook` says what a number of tracks will take.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from avocado.data.compendium import Pair
from avocado.data.store import SignalStore, tracks_of
from avocado.errors import InputError
from avocado.imputers.chromimpute_features import (
    Candidates,
    correlations,
    nearest_cells,
    pieces,
    running_means,
    signal_offsets,
)
from avocado.imputers.chromimpute_trees import Tree, grow_tree
from avocado.imputers.config import ChromImputeConfig
from avocado.imputers.nearest import similarities
from avocado.model.scales import expected_scales, track_scales
from avocado.utils.progress import duration, shown

KEPT_TREES = 1_000  # of earlier tracks, some 100 kB each


@dataclass(frozen=True)
class _Donor:
    """A cell type that has the target assay, the other assays it shares with the target's cell type, and its trees."""

    cell: str
    assays: tuple[str, ...]
    trees: tuple[Tree, ...]


@dataclass(frozen=True)
class _Applied:
    """What imputing a pair with its donors' trees takes."""

    donors: list[_Donor]
    candidates: dict[str, Candidates]  # of the pair's cell type, by ordering assay
    averaged: list[list[int]]  # of each donor, the columns of the assay's mean


class ChromImpute:
    """Imputes a track with one regression tree per donor, a cell type in which the assay was measured.

    An imputation of a training track is one too, and no copy: its own signal is left out of everything, the training
    of the trees included (leave-one-out, as the original imputes observed tracks). The trees of tracks are grown when
    they are first asked for, so ask for all regions of some tracks in turn. Trees are kept: of two cell types that
    share the same assays with a donor, a held-out track of one takes the trees of the other's.

    Growing a tree takes one pass over the region of `fit`, for which the pilot regions do, and imputing one pass over
    the region asked for; of signal, a piece is in memory at a time. Memory is that of a donor's training features:
    5 bytes × positions × (79 + 2 × neighbours) for every assay that it shares with the target's cell type, 50 MB each
    with the default settings.
    """

    learns_for_each = True

    def __init__(self, config: ChromImputeConfig | None = None, seed: int = 0, progress: bool = False) -> None:
        self.config = config or ChromImputeConfig()
        self.seed = seed
        self.progress = progress

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        """Draw the training bins, and compare the training tracks of each assay over the region.

        The trees are grown by `predict`, from the columns `experiments` on this region and from nothing else.
        """
        config, n_bins = self.config, store.region(region).n_bins
        self._store, self._region = store, region
        self._columns: dict[str, dict[str, int]] = {}  # of every assay: cell types by name, and columns
        for column in sorted(experiments, key=lambda e: store.tracks["cell"].iloc[e]):
            cell, assay = store.tracks["cell"].iloc[column], store.tracks["assay"].iloc[column]
            self._columns.setdefault(assay, {})[cell] = column
        self._scale = self._train = None
        if config.standardise:
            self._train = tracks_of(store, list(experiments))
            self._scale = np.ones((2, len(store.tracks)), dtype=np.float32)
            self._scale[:, self._train.columns] = track_scales(store, region, self._train.columns)
        self._bins = [
            np.sort(np.random.default_rng([self.seed, bag]).choice(n_bins, min(config.positions, n_bins), False))
            for bag in range(config.bags)
        ]
        self._similar: dict[Pair, list[str]] = {}  # to (cell type, assay): cell types, nearest first
        self._correlations: dict[str, np.ndarray] = {}
        for assay, columns in shown(self._columns.items(), "comparing tracks", len(self._columns), self.progress):
            cells, found = list(columns), correlations(store, region, list(columns.values()))
            self._correlations[assay] = found
            for cell, row in zip(cells, found, strict=True):
                self._similar[cell, assay] = [cells[i] for i in np.argsort(-row, kind="stable") if cells[i] != cell]
        self._grown: dict[Pair, list[_Donor]] = {}  # of the pairs that were asked for last
        self._kept: OrderedDict[tuple[object, ...], _Donor] = OrderedDict()  # of this and of earlier tracks

    def predict(self, pairs: Sequence[Pair], region: str) -> np.ndarray:
        """Mean of the donors' trees: arcsinh signal, float32 (n_bins, n_pairs), on any region of the store.

        Raises InputError where no other cell type has an assay, or none of them another assay that the cell type has.
        """
        layout = self._store.region(region)
        chosen = {pair: self.donors(*pair) for pair in pairs}
        self._grown = {pair: grown for pair, grown in self._grown.items() if pair in chosen}
        for (cell, assay), donors in chosen.items():
            if (cell, assay) not in self._grown:
                each = shown(donors.items(), f"trees of {cell} {assay}", len(donors), self.progress)
                self._grown[cell, assay] = [self._donor(*donor, cell, assay, len(donors)) for donor in each]
        imputed = np.empty((layout.n_bins, len(pairs)), dtype=np.float32)
        parts = self._imputed([(pair, self._grown[pair]) for pair in pairs], region)
        for ranks, signal in shown(parts, f"imputing {len(pairs)} tracks", None, self.progress):
            imputed[ranks] = signal
        if self._scale is None or self._train is None:
            return imputed
        scales = self._scale[:, self._train.columns]
        expected = expected_scales(scales, self._train, pairs).astype(np.float32)
        return imputed * expected[:, 1] + expected[:, 0]

    def _imputed(self, asked: Sequence[tuple[Pair, list[_Donor]]], region: str) -> Iterator[tuple[slice, np.ndarray]]:
        """Mean of each pair's donors' trees piece by piece: ranks, and (standardised) signal, float64 (n, n_pairs)."""
        applied = [self._applied(*pair, donors) for pair, donors in asked]
        averaged = {column for its in applied for columns in its.averaged for column in columns}
        columns, place = _gathered([one for its in applied for one in its.candidates.values()], *averaged)
        # a bin's signal around it twice, for all donors and for one, besides its running means; one pair at a time
        width = 2 * max(len(its.candidates) for its in applied) * (len(self._offsets()) + self.config.neighbours)
        for ranks, signal in pieces(self._store, region, columns, self.config.margin, width, self._scale):
            yield ranks, np.stack([self._mean(its, signal, place) for its in applied], axis=1)

    def _applied(self, cell: str, assay: str, donors: list[_Donor]) -> _Applied:
        others = sorted({other for donor in donors for other in donor.assays})
        candidates = {other: self._candidates(cell, other, assay, cell) for other in others}
        return _Applied(donors, candidates, [self._averaged(donor.cell, cell, assay) for donor in donors])

    def _mean(self, applied: _Applied, signal: np.ndarray, place: dict[int, int]) -> np.ndarray:
        """Mean of a pair's donors' trees over a piece, float64 (n,)."""
        config, offsets, candidates = self.config, self._offsets(), applied.candidates
        rows = np.arange(config.margin, len(signal) - config.margin)
        # one more than the running means need, as every donor is left out of what its own trees see
        near = {
            other: nearest_cells(found, signal, place, rows, config.distance_window, config.neighbours + 1)
            for other, found in candidates.items()
        }
        around = {other: signal[rows[:, None] + offsets, place[its.acting]] for other, its in candidates.items()}
        total = np.zeros(len(rows))
        for donor, averaged in zip(applied.donors, applied.averaged, strict=True):
            features = _laid_out(
                [near[other] for other in donor.assays],
                [around[other] for other in donor.assays],
                config.neighbours,
                [candidates[other].index(self._columns[other][donor.cell]) for other in donor.assays],
                signal[rows[:, None], [place[column] for column in averaged]],
            )
            total += np.mean([tree.predict(features) for tree in donor.trees], axis=0)
        return total / len(applied.donors)

    def outlook(self, pairs: Sequence[Pair], region: str) -> str:
        """What imputing these tracks over a region will take, in a line: trees, and the time they take here.

        Measured on one donor's trees, which are kept, and on one piece of the region. Tracks that cannot be imputed
        count for nothing.
        """
        config, wanted, applied, n_tracks = self.config, {}, 0, 0
        for cell, assay in pairs:
            try:
                chosen = self.donors(cell, assay)
            except InputError:
                continue
            n_tracks += 1
            for donor, assays in chosen.items():
                n_bags = self._n_bags(len(chosen))
                wanted.setdefault(self._key(donor, assays, cell, assay, n_bags), (donor, assays, cell, assay, chosen))
                applied += n_bags * len(assays)
        if not wanted:
            return "ChromImpute: no track can be imputed"
        by_size = sorted(wanted.values(), key=lambda one: len(one[1]))
        donor, assays, cell, assay, chosen = by_size[len(by_size) // 2]
        grow_tree(np.zeros((2, 1)), np.zeros(2), 1)  # scikit-learn is loaded
        start = time.perf_counter()
        grown = self._donor(donor, assays, cell, assay, len(chosen))
        growing = (time.perf_counter() - start) / (len(grown.trees) * len(assays))
        start = time.perf_counter()
        ranks, _ = next(self._imputed([((cell, assay), [grown] * len(chosen))], region))
        applied_here = len(chosen) * len(grown.trees) * len(assays) * (ranks.stop - ranks.start)
        applying = (time.perf_counter() - start) / applied_here
        n_trees = sum(self._n_bags(len(one[4])) for one in by_size)
        to_grow = sum(self._n_bags(len(one[4])) * len(one[1]) for one in by_size)
        seconds = growing * to_grow + applying * applied * self._store.region(region).n_bins
        return (
            f"ChromImpute: {n_tracks:,} tracks × up to {config.donors or max(len(one[4]) for one in by_size)} donors, "
            f"{n_trees:,} different trees, {duration(seconds)}"
        )

    def donors(self, cell: str, assay: str) -> dict[str, tuple[str, ...]]:
        """The cell types that a track's trees are grown from, by name, and the assays that each shares with `cell`.

        At most `config.donors`, the most similar ones by `similarities`; of equally similar ones the first by name.
        Raises InputError where there is none.
        """
        own = {other for other, columns in self._columns.items() if cell in columns and other != assay}
        shared = {
            donor: tuple(other for other in sorted(own) if donor in self._columns[other])
            for donor in self._columns.get(assay, {})
            if donor != cell
        }
        if not any(shared.values()):
            reason = (
                f"{cell} has no training track of another assay"
                if not own
                else f"{assay} has no training track in another cell type"
                if not shared
                else f"no other cell type with {assay} has one of its assays ({', '.join(sorted(own))})"
            )
            raise InputError(
                f"ChromImpute cannot impute {cell} {assay}: {reason}; it learns from cell types in which {assay} and "
                f"another assay of {cell} were measured"
            )
        usable = [donor for donor, assays in shared.items() if assays]
        similar = similarities(self._columns, self._correlations, cell, usable, without=assay)
        nearest = {usable[i] for i in np.argsort(-similar, kind="stable")[: self.config.donors]}
        return {donor: shared[donor] for donor in usable if donor in nearest}

    def _donor(self, donor: str, assays: tuple[str, ...], cell: str, assay: str, n_donors: int) -> _Donor:
        """A donor with its trees; the track (cell, assay) itself is no part of what they learn from."""
        n_bags = self._n_bags(n_donors)
        key = self._key(donor, assays, cell, assay, n_bags)
        if key not in self._kept:
            bags = (self.training_rows(donor, assays, cell, assay, bins) for bins in self._bins[:n_bags])
            self._kept[key] = _Donor(donor, assays, tuple(grow_tree(*rows, self.config.min_leaf) for rows in bags))
            while len(self._kept) > max(1, KEPT_TREES // n_bags):
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _key(self, donor: str, assays: tuple[str, ...], cell: str, assay: str, n_bags: int) -> tuple[object, ...]:
        """What a donor's trees depend on: the target's cell type only as the one whose own track is left out."""
        return donor, assays, assay, n_bags, cell if cell in self._columns[assay] else None

    def _n_bags(self, n_donors: int) -> int:
        return min(self.config.bags, max(1, self.config.trees // n_donors))

    def training_rows(
        self, donor: str, assays: Sequence[str], cell: str, assay: str, bins: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What a donor's tree for (cell, assay) is grown on: features, float32 (n, n_features), and targets (n,).

        assays: sorted, in which the donor and `cell` have training tracks; bins: sorted ranks in the region of `fit`.
        """
        config, offsets = self.config, self._offsets()
        candidates = [self._candidates(donor, other, assay, cell) for other in assays]
        counts = [2 * min(config.neighbours, len(found.ordering)) for found in candidates]
        target = self._columns[assay][donor]
        averaged = self._averaged(donor, cell, assay)
        columns, place = _gathered(candidates, target, *averaged)
        n_features = sum(counts) + len(offsets) * len(assays) + bool(averaged)
        features = np.empty((len(bins), n_features), dtype=np.float32, order="F")  # as trees take one after another
        targets = np.empty(len(bins))
        for ranks, signal in pieces(self._store, self._region, columns, config.margin, scale=self._scale):
            part = slice(*np.searchsorted(bins, [ranks.start, ranks.stop]))
            rows = bins[part] - ranks.start + config.margin
            if not len(rows):
                continue
            # in the order of `_laid_out`, but column by column, which is how they lie in memory
            done = 0
            for found, count in zip(candidates, counts, strict=True):
                near = nearest_cells(found, signal, place, rows, config.distance_window, config.neighbours)
                features[part, done : done + count] = running_means(*near, config.neighbours)
                done += count
            for found in candidates:
                track = np.ascontiguousarray(signal[:, place[found.acting]])
                for number, offset in enumerate(offsets, done):
                    features[part, number] = track[rows + offset]
                done += len(offsets)
            if averaged:
                features[part, -1] = signal[rows[:, None], [place[column] for column in averaged]].mean(axis=1)
            targets[part] = signal[rows, place[target]]
        return features, targets

    def _candidates(self, acting: str, other: str, assay: str, cell: str) -> Candidates:
        """Cell types but `acting` and `cell` that have the ordering assay `other` and the target assay."""
        ordering, target = self._columns[other], self._columns[assay]
        cells = [name for name in self._similar[acting, other] if name in target and name != cell]
        cells = cells[: self.config.candidates]
        return Candidates(
            ordering[acting], tuple(ordering[name] for name in cells), tuple(target[name] for name in cells)
        )

    def _averaged(self, donor: str, cell: str, assay: str) -> list[int]:
        """The assay's tracks in all cell types but the donor's and the target's own."""
        columns = self._columns[assay] if self.config.average else {}
        return [column for name, column in columns.items() if name not in (donor, cell)]

    def _offsets(self) -> np.ndarray:
        return signal_offsets(self.config.narrow_window, self.config.wide_window, self.config.wide_step)


def _laid_out(
    near: Sequence[tuple[np.ndarray, np.ndarray]],
    around: Sequence[np.ndarray],
    neighbours: int,
    without: Sequence[int | None],
    averaged: np.ndarray,
) -> np.ndarray:
    """Features in the order of the trees, float32 (n, n_features): running means by assay, signal by assay, average."""
    means = [running_means(*found, neighbours, one) for found, one in zip(near, without, strict=True)]
    average = averaged.mean(axis=1, keepdims=True) if averaged.shape[1] else averaged
    return np.concatenate([*means, *around, average], axis=1, dtype=np.float32)


def _gathered(candidates: Iterable[Candidates], *more: int) -> tuple[list[int], dict[int, int]]:
    """The store's columns that are needed, in order, and the place of each in that list."""
    columns = sorted(set(more).union(*(found.columns for found in candidates)))
    return columns, {column: index for index, column in enumerate(columns)}
