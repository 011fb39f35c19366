"""Which loci train, which stop the training, and which are scored.

The Avocado paper deals loci at random. Neighbouring loci resemble each other, so that some of what is scored then has
been seen; whole chromosomes held out say what remains of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from avocado.errors import InputError

CHROMOSOMES = 5  # with loci on fewer, stretches of chromosomes are held out
STRETCHES = 20


class Split(NamedTuple):
    """Row numbers of loci. `validation` is empty for classifiers that need none."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def random_splits(n: int, folds: int = 20, seed: int = 0) -> list[Split]:
    """The paper's folds: loci are shuffled, fold i is every `folds`-th of them from i on, fold i + 1 validates.

    Raises InputError for fewer loci than folds, and for fewer than 3 folds.
    """
    if n < folds:
        raise InputError(f"{n} loci are fewer than folds={folds}: give more loci, or fewer folds")
    order = np.arange(n)
    np.random.RandomState(seed).shuffle(order)  # the generator of the original program
    fold = np.empty(n, dtype=int)
    fold[order] = np.arange(n) % folds
    return _splits(order, fold, folds)


def whole_splits(groups: np.ndarray, folds: int = 20, seed: int = 0) -> list[Split]:
    """Folds of whole groups (n_loci,), dealt in random order to the fold with the fewest loci; at most one each.

    Raises InputError for fewer than 3 groups, as one is scored, one validates and one trains.
    """
    names, number = np.unique(groups, return_inverse=True)
    folds = min(folds, len(names))
    fold = dealt(number, folds, np.random.default_rng(seed))[number]
    return _splits(np.arange(len(groups)), fold, folds)


def repeated_splits(groups: np.ndarray, folds: int = 5, repeats: int = 20, seed: int = 0) -> list[Split]:
    """Cross-validation several times, each with other folds, without validation: the paper's for interactions.

    groups (n_loci,) stay whole; every locus one of its own for folds of single loci. Raises InputError for fewer groups
    than folds.
    """
    names, number = np.unique(groups, return_inverse=True)
    if len(names) < folds:
        raise InputError(f"{len(names)} groups of loci are fewer than folds={folds}: give more loci, or fewer folds")
    random, rows, found = np.random.default_rng(seed), np.arange(len(groups)), []
    for _ in range(repeats):
        fold = dealt(number, folds, random)[number]
        found += [Split(rows[fold != k], rows[:0], rows[fold == k]) for k in range(folds)]
    return found


def dealt(number: np.ndarray, folds: int, random: np.random.Generator) -> np.ndarray:
    """Fold of every group (n_groups,): in random order, each to the fold with the fewest loci.

    number: of each locus' group, (n_loci,).
    """
    sizes = np.bincount(number)
    fold, filled = np.empty(len(sizes), dtype=int), np.zeros(folds, dtype=int)
    for group in random.permutation(len(sizes)):
        fold[group] = filled.argmin()
        filled[fold[group]] += sizes[group]
    return fold


def places_to_hold_out(loci: pd.DataFrame) -> tuple[np.ndarray, str]:
    """What is held out whole: of every locus its group (n_loci,), and what the groups are.

    Chromosomes; with loci on fewer than 5, consecutive stretches of them with as many loci each.
    """
    chrom = loci["chrom"].to_numpy().astype(str)
    if len(np.unique(chrom)) >= CHROMOSOMES:
        return chrom, "whole chromosomes"
    rank = np.empty(len(loci), dtype=int)
    rank[np.lexsort([loci["start"], chrom])] = np.arange(len(loci))
    return rank * STRETCHES // max(len(loci), 1), "whole stretches"


def _splits(order: np.ndarray, fold: np.ndarray, folds: int) -> list[Split]:
    """Rows in `order`, fold i scored, the next one validating."""
    if folds < 3:
        raise InputError(f"{folds} folds: at least 3 are needed, as one is scored, one validates and the rest trains")
    its = fold[order]
    found = []
    for k in range(folds):
        test, validation = its == k, its == (k + 1) % folds
        found.append(Split(order[~(test | validation)], order[validation], order[test]))
    return found
