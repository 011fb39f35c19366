"""What a split shares between training and test, and what knowing only the place is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avocado.generalization.examples import NONE, TEST, TRAIN, Examples

APART = 1 << 40  # bp, between chromosomes laid end to end: farther than any two places are


@dataclass(frozen=True)
class Shared:
    """Which test examples (bool, in their order) have something in training."""

    locus: np.ndarray  # the very same locus
    near: np.ndarray  # another locus that overlaps it or is close to it
    chrom: np.ndarray
    cell: np.ndarray
    example: np.ndarray  # the same locus in the same cell type


@dataclass(frozen=True)
class Known:
    """What the labels of other examples say of each test example."""

    sum: np.ndarray  # float64 (n_test,), of their labels
    squares: np.ndarray
    number: np.ndarray  # int64 (n_test,)

    @property
    def mean(self) -> np.ndarray:
        """NaN where nothing is known."""
        return _divided(self.sum, self.number)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of the labels; NaN where nothing is known."""
        return np.sqrt(np.clip(_divided(self.squares, self.number) - self.mean**2, 0, None))


def shared(examples: Examples, near: int) -> Shared:
    """What test examples share with training; near: bp up to which two loci are neighbours."""
    train, test = examples.role == TRAIN, examples.role == TEST
    locus = _members(examples.locus, train, test, examples.n_loci)
    counts = _neighbours(examples, near, np.ones(len(examples)))[0]
    return Shared(
        locus,
        counts > _at_locus(examples, np.ones(len(examples)), train),
        _members(examples.chrom, train, test, len(examples.chroms)),
        _members(examples.cell, train, test, len(examples.cells)),
        _members(_pairs(examples), train, test),
    )


def place_identity(examples: Examples, near: int) -> np.ndarray:
    """What a model predicts that only knows which locus it is, float64 (n_test,).

    The mean label of training examples at the same locus; without any, of those at loci that overlap it or are up to
    `near` bp away; without any, of all.
    """
    train = examples.role == TRAIN
    number = _at_locus(examples, np.ones(len(examples)), train)
    mean = _divided(_at_locus(examples, examples.label, train), number)
    counts, sums = _neighbours(examples, near, np.ones(len(examples)), examples.label)
    mean = np.where(number > 0, mean, _divided(sums, np.rint(counts)))
    return np.where(np.isnan(mean), examples.label[train].mean(), mean)


def average_activity(examples: Examples) -> Known:
    """Labels of the training cell types at the locus of each test example, without its own cell type's.

    Examples without a role count where their cell type is in training: in a hybrid split they are the only ones there.
    """
    training = np.zeros(len(examples.cells), dtype=bool)
    training[examples.cell[examples.role == TRAIN]] = True
    donors = (examples.role != TEST) & training[examples.cell]
    test = examples.role == TEST
    powers = [np.ones(len(examples)), examples.label, examples.label**2]
    number, total, squares = (_at_locus(examples, values, donors) for values in powers)
    tested = np.zeros(len(examples.cells), dtype=bool)
    tested[examples.cell[test]] = True
    own = donors & tested[examples.cell]
    if own.any():
        pairs = _pairs(examples)
        known, where = np.unique(pairs[own], return_inverse=True)
        place = np.minimum(np.searchsorted(known, pairs[test]), len(known) - 1)
        is_there = known[place] == pairs[test]
        for totals, values in zip((number, total, squares), powers, strict=True):
            totals -= np.where(is_there, np.bincount(where, values[own])[place], 0)
    return Known(total, squares, np.rint(number).astype(np.int64))


def duplicates(examples: Examples) -> tuple[int, int]:
    """Examples that are there again (same locus, cell type and role), and how many of these have another label."""
    used = examples.role != NONE
    keys = (_pairs(examples) * 3 + examples.role)[used]
    order = np.argsort(keys, kind="stable")
    again = np.diff(keys[order]) == 0
    other = np.diff(examples.label[used][order]) != 0
    return int(again.sum()), int((again & other).sum())


def same_everywhere(examples: Examples, features: np.ndarray, most: int = 200_000) -> np.ndarray:
    """Bool (n_features,): features that have the same value in all cell types at a locus, but differ between loci.

    Looked at in up to `most` examples, of whole loci. NaN is a value. A feature that is constant is not one of them.
    """
    per_locus = np.bincount(examples.locus, minlength=examples.n_loci)
    several = np.flatnonzero(per_locus > 1)
    loci = several[:: max(1, int(per_locus[several].sum()) // most)]
    chosen = np.zeros(examples.n_loci, dtype=bool)
    chosen[loci] = True
    rows = np.flatnonzero(chosen[examples.locus])
    if not len(rows):
        return np.zeros(features.shape[1], dtype=bool)
    of_locus = np.full(examples.n_loci, -1)
    of_locus[examples.locus[rows][::-1]] = rows[::-1]  # one example of each
    values, reference = features[rows], features[of_locus[examples.locus[rows]]]
    same = ((values == reference) | ((values != values) & (reference != reference))).all(axis=0)
    varies = ~((values == values[:1]) | ((values != values) & (values[:1] != values[:1]))).all(axis=0)
    return np.asarray(same & varies)


def _pairs(examples: Examples) -> np.ndarray:
    """A number for every pair of locus and cell type."""
    return examples.locus * len(examples.cells) + examples.cell


def _members(codes: np.ndarray, train: np.ndarray, test: np.ndarray, n: int | None = None) -> np.ndarray:
    if n is None:
        return np.isin(codes[test], codes[train])
    known = np.zeros(n, dtype=bool)
    known[codes[train]] = True
    return known[codes[test]]


def _at_locus(examples: Examples, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Sum of the values of chosen examples at the locus of every test example, float64 (n_test,)."""
    sums = np.bincount(examples.locus[chosen], values[chosen], minlength=examples.n_loci)
    return sums[examples.locus[examples.role == TEST]]


def _neighbours(examples: Examples, near: int, *values: np.ndarray) -> list[np.ndarray]:
    """Sums of the values of training examples at the locus of each test example and less than `near` bp from it.

    As many begin before the locus' end as overlap it or end before its start: two sorted lists are all it takes.
    """
    train = examples.role == TRAIN
    loci = np.unique(examples.locus[train])
    at = examples.first[loci]
    start = examples.chrom[at] * APART + examples.start[at]
    end = examples.chrom[at] * APART + examples.end[at]
    by_start, by_end = np.argsort(start), np.argsort(end)
    wanted, back = np.unique(examples.locus[examples.role == TEST], return_inverse=True)
    place = examples.first[wanted]
    shift = examples.chrom[place] * APART
    begun = np.searchsorted(start[by_start], shift + examples.end[place] + near, side="left")
    ended = np.searchsorted(end[by_end], shift + examples.start[place] - near, side="right")
    found = []
    for each in values:
        sums = np.bincount(examples.locus[train], each[train], minlength=examples.n_loci)[loci]
        before, behind = (np.concatenate([[0.0], np.cumsum(sums[order])]) for order in (by_start, by_end))
        found.append((before[begun] - behind[ended])[back])
    return found


def _divided(sums: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    return np.divide(sums, numbers, out=np.full(len(sums), np.nan), where=numbers > 0)
