"""Scores by how much a locus varies between cell types, by test cell type, and of single training cell types."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from avocado.generalization.examples import TEST, TRAIN, Examples
from avocado.generalization.places import Known
from avocado.generalization.scoring import AVERAGE_PRECISION, Interval, Measure, intervals

VARYING = "all that vary"
UNKNOWN = "not known"
SHARES = ((0.0, "high in none"), (0.25, "in up to 1/4"), (0.5, "1/4 to 1/2"), (0.75, "1/2 to 3/4"), (1.0, "above 3/4"))
EVERYWHERE = "in all"
QUARTERS = ("0–25 %", "25–50 %", "50–75 %", "75–100 %")
FEWEST = 20  # examples of a group that is scored
RESAMPLES = 300


def variability_groups(known: Known, is_binary: bool) -> tuple[np.ndarray, list[str]]:
    """Group of every test example, int (n_test,), −1 where nothing is known, and the groups' names.

    Binary labels: by the share of training cell types in which the locus is 1. Others: those without any variation, and
    quarters of the others by standard deviation.
    """
    if is_binary:
        share = known.mean
        upper = np.array([limit for limit, _ in SHARES[:-1]])
        group = np.where(share >= 1, len(SHARES), np.searchsorted(upper, share, side="left"))
        return np.where(known.number > 0, group, -1), [*(name for _, name in SHARES), EVERYWHERE]
    spread = known.spread
    varied = spread[spread > 1e-9]  # NaN is not
    cuts = np.quantile(varied, [0.25, 0.5, 0.75]) if len(varied) else np.zeros(3)
    group = np.where(spread > 1e-9, 1 + np.searchsorted(cuts, spread, side="left"), 0)
    return np.where(known.number > 0, group, -1), ["no variation", *QUARTERS]


def by_variability(
    measure: Measure,
    label: np.ndarray,
    scores: Mapping[str, np.ndarray],
    known: Known,
    unit: np.ndarray,
    seed: int,
) -> pd.DataFrame:
    """Scores within groups of loci by variability, in which average activity has little to say (Fig. S4).

    Columns: group, examples, base_rate, predictor, value, low, high. First all loci that vary at all.
    """
    group, names = variability_groups(known, measure is AVERAGE_PRECISION)
    varying = known.spread > 1e-9
    rows = []
    for name, chosen in [(VARYING, varying), *((name, group == number) for number, name in enumerate(names))]:
        if np.count_nonzero(chosen) < FEWEST:
            continue
        its = {title: values[chosen] for title, values in scores.items()}
        found = intervals(measure, label[chosen], its, unit[chosen], seed=seed, resamples=RESAMPLES)[0]
        for title, interval in found.items():
            rows.append((name, int(chosen.sum()), float(label[chosen].mean()), title, *_fields(interval)))
    return pd.DataFrame(
        rows, columns=pd.Index(["group", "examples", "base_rate", "predictor", "value", "low", "high"])
    )  # fmt: skip


def by_cell(
    measure: Measure, examples: Examples, scores: Mapping[str, np.ndarray], single: pd.DataFrame
) -> pd.DataFrame:
    """Scores of each test cell type: cell, examples, base_rate, one column for each predictor, and its most similar
    training cell type with what that alone scores, from `similarity`.
    """
    test = examples.role == TEST
    cell, label = examples.cell[test], examples.label[test]
    rows = []
    for code in np.unique(cell):
        chosen = cell == code
        row = {"cell": str(examples.cells[code]), "examples": int(chosen.sum()), "base_rate": label[chosen].mean()}
        row |= {name: measure(label[chosen], values[chosen]) for name, values in scores.items()}
        rows.append(row)
    table = pd.DataFrame(rows)
    if len(single):
        best = single.loc[single.groupby("cell")["value"].idxmax()].set_index("cell")
        table["most similar"] = table["cell"].map(best["training_cell"])
        table["it alone"] = table["cell"].map(best["value"])
    return table


def similarity(measure: Measure, examples: Examples) -> pd.DataFrame:
    """Each training cell type's labels alone as the predictor of each test cell type (Fig. S5).

    Columns: cell, training_cell, examples (test examples at whose locus the training cell type has a label), base_rate
    (of these), value. The same cell type is not its own predictor.
    """
    test = np.flatnonzero(examples.role == TEST)
    training = np.unique(examples.cell[examples.role == TRAIN])
    donors = np.flatnonzero(examples.role != TEST)
    donors = donors[np.argsort(examples.cell[donors], kind="stable")]
    bounds = np.searchsorted(examples.cell[donors], [training, training + 1])
    n = len(examples.cells)
    cell, locus, label = examples.cell[test], examples.locus[test], examples.label[test]
    tested = np.unique(cell)
    rows = []
    for code, first, last in zip(training, *bounds, strict=True):
        its = donors[first:last]
        values = np.full(examples.n_loci, np.nan)
        values[examples.locus[its]] = examples.label[its]
        guess = values[locus]
        known = np.flatnonzero(np.isfinite(guess) & (cell != code))
        if not len(known):
            continue
        sums = measure.sums(label[known], guess[known], cell[known], n, None)
        found, number = measure.value(sums), np.bincount(cell[known], minlength=n)
        rates = np.bincount(cell[known], label[known], minlength=n)
        rows += [
            (str(examples.cells[t]), str(examples.cells[code]), int(number[t]), rates[t] / number[t], float(found[t]))
            for t in tested
            if number[t] and np.isfinite(found[t])
        ]
    return pd.DataFrame(rows, columns=pd.Index(["cell", "training_cell", "examples", "base_rate", "value"]))


def _fields(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high
