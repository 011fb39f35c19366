"""Regression trees of ChromImpute: scikit-learn's histogram trees, with features binned several times faster.

A tree is one round of `HistGradientBoostingRegressor`, from the mean and at full rate. Most of the time of such a fit
goes into binning the features, where every value of every feature is looked up among its thresholds. Here a feature is
sorted once, which says both what the thresholds are and which values lie between them. `grow_tree` gives the very same
trees; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

MAX_BINS = 255  # of a feature; the number fits a byte, with one to spare for missing values


@dataclass(frozen=True)
class Tree:
    """A grown tree: a leaf's value is what it adds to the mean of all targets."""

    mean: float
    predictor: TreePredictor

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The mean target of the leaf of every row of (n, n_features), float64 (n,)."""
        no_categories = np.zeros((0, 8), np.uint32), np.zeros(features.shape[1], np.uint32)
        return self.mean + self.predictor.predict(np.asarray(features, dtype=np.float64), *no_categories, 1)


def grow_tree(features: np.ndarray, targets: np.ndarray, min_leaf: int) -> Tree:
    """A least-squares regression tree (CART), grown until no split lowers the squared error.

    features: (n, n_features), targets: (n,). A leaf predicts the mean of its targets and has at least `min_leaf` rows.
    With up to 255 distinct values of a feature it finds the splits of scikit-learn's exact tree, many times faster; of
    more values, it considers 254 thresholds at their quantiles.
    """
    from sklearn.ensemble._hist_gradient_boosting.grower import TreeGrower

    n, n_features = features.shape
    binned = np.empty((n, n_features), dtype=np.uint8, order="F")
    thresholds = [_bin(features[:, column], binned[:, column]) for column in range(n_features)]
    mean = float(np.average(targets))
    grower = TreeGrower(
        X_binned=binned,
        gradients=(mean - np.asarray(targets, dtype=np.float64)).astype(np.float32),
        hessians=np.ones(1, dtype=np.float32),  # of the squared error: the same for all rows
        max_leaf_nodes=None,
        min_samples_leaf=min_leaf,
        n_bins=MAX_BINS + 1,
        n_bins_non_missing=np.array([len(found) + 1 for found in thresholds], dtype=np.uint32),
        shrinkage=1,
        n_threads=1,
    )
    grower.grow()
    return Tree(mean, grower.make_predictor(thresholds))


def _bin(values: np.ndarray, binned: np.ndarray) -> np.ndarray:
    """Write which bin each value falls into, and return the thresholds between bins, increasing, float64."""
    # a value equal to a threshold lies below it; between few distinct values they lie half way, else at quantiles
    order = _ascending(values)
    ascending = values[order]
    rises = ascending[1:] > ascending[:-1]
    if np.count_nonzero(rises) < MAX_BINS:
        low = np.flatnonzero(rises)
        high = low + 1
    else:
        low, high = _quantile_ranks(len(values))
    thresholds = np.unique((ascending[low].astype(np.float64) + ascending[high]) / 2)
    ends = np.searchsorted(ascending, thresholds, side="right")
    counts = np.diff(ends, prepend=0, append=len(values))
    binned[order] = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
    return thresholds


def _ascending(values: np.ndarray) -> np.ndarray:
    """The ranks (n,) that sort some values, several times faster than by argsort where these are float32."""
    if values.dtype != np.float32:
        return np.argsort(values)
    bits = np.ascontiguousarray(values).view(np.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64)  # whole numbers in the order of the values
    keys = (keys << 32) | np.arange(len(values))  # which are sorted together with their ranks
    keys.sort()
    return keys & 0xFFFFFFFF


@cache
def _quantile_ranks(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The ranks among n sorted values, (254,) each, between which their quantiles lie half way."""
    percentiles = np.linspace(0, 100, MAX_BINS + 1)[1:-1]
    ranks = np.percentile(np.arange(n), percentiles, method="averaged_inverted_cdf")
    return np.floor(ranks).astype(np.int64), np.ceil(ranks).astype(np.int64)
