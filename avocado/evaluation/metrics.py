"""Measures of one imputed track against the observed one, over the bins of one chromosome or region.

Every function takes two vectors (n_bins,) of arcsinh signal in any float type, computes in float64 and returns one
float. The definitions are those of the Avocado paper's Table 1 and, for the correlations, of Ernst and Kellis 2015.
For several chromosomes, average a measure with weights proportional to their bins, then plainly over tracks.
Vectors of different or zero length, and NaN or infinite values, raise ValueError.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def mse(observed: np.ndarray, imputed: np.ndarray) -> float:
    """Mean squared error over all bins ("MSEglobal")."""
    observed, imputed = _checked(observed, imputed)
    return float(np.mean((observed - imputed) ** 2))


def mse_1obs(observed: np.ndarray, imputed: np.ndarray) -> float:
    """Mean squared error over the bins in the top 1 % of the observed signal: are its peaks found? ("MSE1obs")."""
    observed, imputed = _checked(observed, imputed)
    chosen = top_bins(observed)
    return float(np.mean((observed[chosen] - imputed[chosen]) ** 2))


def mse_1imp(observed: np.ndarray, imputed: np.ndarray) -> float:
    """Mean squared error over the bins in the top 1 % of the imputed signal: are its peaks real? ("MSE1imp")."""
    observed, imputed = _checked(observed, imputed)
    chosen = top_bins(imputed)
    return float(np.mean((observed[chosen] - imputed[chosen]) ** 2))


def pearson(observed: np.ndarray, imputed: np.ndarray) -> float:
    """Pearson correlation over all bins ("GWcorr"); NaN, as undefined, where one of the vectors is constant."""
    observed, imputed = _checked(observed, imputed)
    if _constant(observed) or _constant(imputed):
        return float("nan")
    x, y = observed - observed.mean(), imputed - imputed.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


def spearman(observed: np.ndarray, imputed: np.ndarray) -> float:
    """Pearson correlation of the ranks, tied bins sharing their average rank; NaN for a constant vector."""
    from scipy.stats import rankdata  # most of a second to import

    observed, imputed = _checked(observed, imputed)
    return pearson(rankdata(observed, method="average"), rankdata(imputed, method="average"))


def top_bins(signal: np.ndarray, percent: float = 1) -> np.ndarray:
    """Bool (n_bins,): signal at least as high as the n-th highest, n = int(percent / 100 × n_bins) but at least 1.

    Bins tied with the n-th highest are all included, so the set can be larger than n. In a signal with fewer than n
    positive bins it is every bin.
    """
    n = max(1, int(percent / 100 * len(signal)))
    return signal >= np.partition(signal, -n)[-n]


def score_track(observed: np.ndarray, imputed: np.ndarray) -> dict[str, float]:
    """All measures of METRICS, in that order."""
    observed, imputed = _checked(observed, imputed)
    return {name: metric(observed, imputed) for name, metric in METRICS.items()}


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "mse": mse,
    "mse_1obs": mse_1obs,
    "mse_1imp": mse_1imp,
    "pearson": pearson,
    "spearman": spearman,
}


def _checked(observed: np.ndarray, imputed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    observed, imputed = np.asarray(observed, dtype=np.float64), np.asarray(imputed, dtype=np.float64)
    if observed.ndim != 1 or observed.shape != imputed.shape or not len(observed):
        raise ValueError(f"expected two vectors of equal length, got shapes {observed.shape} and {imputed.shape}")
    for name, values in (("observed", observed), ("imputed", imputed)):
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise ValueError(f"{bad:,} of {len(values):,} {name} values are NaN or infinite")
    return observed, imputed


def _constant(values: np.ndarray) -> bool:
    return bool(values.min() == values.max())
