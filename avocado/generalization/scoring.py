"""Scores of predictions with bootstrap intervals over the genome, fast enough for millions of examples.

Neighbouring places resemble each other, so whole chromosomes (or stretches of few) are drawn with replacement. What a
score needs of a unit is summed once; a resample is then a sum over units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

FINEST = 4096  # ranks that are told apart in resamples of average precision
RESAMPLES = 1000


@dataclass(frozen=True)
class Measure:
    """A score of predictions that can be computed from sums over parts of the examples; higher is better."""

    name: str
    sums: Callable[[np.ndarray, np.ndarray, np.ndarray, int, int | None], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]  # of sums (..., parts): (...)

    def __call__(self, label: np.ndarray, score: np.ndarray) -> float:
        """The score of predictions (n,) of labels (n,); NaN where it is not defined."""
        return float(self.value(self.sums(label, score, np.zeros(len(label), dtype=np.int64), 1, None))[0])


@dataclass(frozen=True)
class Interval:
    """A score with its 95 % bootstrap interval, which is NaN where there is but one unit to draw."""

    value: float
    low: float
    high: float


def intervals(
    measure: Measure,
    label: np.ndarray,
    scores: Mapping[str, np.ndarray],
    unit: np.ndarray,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[dict[str, Interval], dict[tuple[str, str], Interval]]:
    """Of each predictor (scores (n,) by name) its score, and of every two the difference of the first and the second.

    unit: int (n,), the part of the genome of each example, of which whole ones are drawn.
    """
    codes = np.unique(unit, return_inverse=True)[1]
    n = int(codes.max()) + 1
    # the same units for all predictors
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    counts = np.concatenate([np.ones((1, n)), counts])
    drawn = {}
    for name, score in scores.items():
        sums = measure.sums(label, score, codes, n, FINEST)
        flat = counts @ sums.reshape(n, -1)
        values = measure.value(flat.reshape(-1, *sums.shape[1:]))
        drawn[name] = values + (measure(label, score) - values[0])  # sums of coarse ranks are off by the same for all
    known = {name: _interval(values, n) for name, values in drawn.items()}
    pairs = [(one, other) for one in drawn for other in drawn if one != other]
    return known, {(one, other): _interval(drawn[one] - drawn[other], n) for one, other in pairs}


def _interval(values: np.ndarray, n: int) -> Interval:
    sampled = values[1:][np.isfinite(values[1:])]
    if n < 2 or not len(sampled):
        return Interval(float(values[0]), np.nan, np.nan)
    low, high = np.quantile(sampled, [0.025, 0.975])
    return Interval(float(values[0]), float(low), float(high))


def _ranked(label: np.ndarray, score: np.ndarray, unit: np.ndarray, n: int, finest: int | None) -> np.ndarray:
    """Examples and positives of each unit by rank, float64 (n, 2, n_ranks).

    Only ranks at which a positive stands count for average precision: negatives between two of them lie together.
    """
    edges = np.unique(score[label > 0])
    if finest is not None and len(edges) > finest:
        edges = edges[np.linspace(0, len(edges) - 1, finest).astype(np.int64)]
    rank = np.searchsorted(edges, score, side="right")
    width = len(edges) + 1
    cells = unit * width + rank
    both = [np.bincount(cells, weights, minlength=n * width) for weights in (None, label)]
    return np.stack(both, axis=0).reshape(2, n, width).swapaxes(0, 1).astype(np.float64)


def _average_precision(sums: np.ndarray) -> np.ndarray:
    """Σ precision × step of recall from the highest rank down; tied examples are one step (as scikit-learn has it)."""
    examples, positives = np.moveaxis(sums[..., ::-1].cumsum(axis=-1), -2, 0)
    steps = np.diff(positives, axis=-1, prepend=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(examples > 0, positives / examples, 0)
        return (precision * steps).sum(axis=-1) / positives[..., -1]


def _moments(label: np.ndarray, score: np.ndarray, unit: np.ndarray, n: int, finest: int | None) -> np.ndarray:
    """Examples, Σx, Σy, Σx², Σy², Σxy of each unit, float64 (n, 6)."""
    x, y = label - label.mean(), score - score.mean()
    parts = (np.ones_like(x), x, y, x * x, y * y, x * y)
    return np.stack([np.bincount(unit, part, minlength=n) for part in parts], axis=1)


def _pearson(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spreads = n * xx - x**2, n * yy - y**2
    varies = (spreads[0] > 1e-12 * n * xx) & (spreads[1] > 1e-12 * n * yy)  # a constant has but rounding errors
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(varies, (n * xy - x * y) / np.sqrt(np.where(varies, spreads[0] * spreads[1], 1)), np.nan)


def within_loci(label: np.ndarray, score: np.ndarray, locus: np.ndarray) -> float:
    """Of all pairs of examples at one locus with different labels, the share in which the higher label has the higher
    score, ties half: 0.5 for whoever knows only the place. NaN where there is no such pair. Labels are 0 and 1.
    """
    order = np.lexsort((score, locus))
    label, score, locus = label[order], score[order], locus[order]
    negatives = np.concatenate([[0], np.cumsum(label == 0)])  # before each example
    new_locus = np.diff(locus, prepend=-1) != 0
    new_tie = new_locus | (np.diff(score, prepend=np.nan) != 0)
    at = np.flatnonzero(new_tie)
    sizes = np.diff(at, append=len(label))
    in_tie = np.repeat(negatives[at + sizes] - negatives[at], sizes)
    below = np.repeat(negatives[at], sizes) - np.repeat(
        negatives[np.flatnonzero(new_locus)], np.diff(np.flatnonzero(new_locus), append=len(label))
    )
    is_high = label > 0
    locus_code = np.cumsum(new_locus) - 1
    high, low = (np.bincount(locus_code, chosen) for chosen in (is_high, ~is_high))
    pairs = (high * low).sum()
    return float((below + 0.5 * in_tie)[is_high].sum() / pairs) if pairs else float("nan")


AVERAGE_PRECISION = Measure("average precision", _ranked, _average_precision)
PEARSON = Measure("Pearson correlation", _moments, _pearson)
