"""Measures of one imputed track against the observed one, over the bins of one chromosome or region.

Every function takes two vectors (n_bins,) of arcsinh signal in any float type, computes in float64 and returns one
float. Some look at places besides: windows, peaks, weights (see `AnnotationWindows`). Sources: MSEglobal, MSE1obs,
MSE1imp, MSEProm, MSEGene and MSEEnh are those of the Avocado paper (Table 1); match1, catch1obs, catch1imp and the
areas under the curve those of Ernst and Kellis 2015; MSE1of follows PREDICTD (Durham et al. 2018); MSEvar is the ENCODE
Imputation Challenge's (2023). For several chromosomes see `scores.combine_regions`.

Two rules for ties, as in the papers. The top 1 % of MSE1obs, MSE1imp and MSE1of includes every bin that ties with its
lowest one, so it can be larger. The top 1 % and 5 % of Ernst and Kellis have exactly their size, and of the bins that
tie at the cut the first ones are in, as in their program.

Vectors of different or zero length, and NaN or infinite values, raise ValueError. What is undefined is NaN: a
correlation with, or the top of, a constant vector, and a measure of places where there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

HIGHER = (
    "pearson",
    "spearman",
    "skill",
    "match",
    "catch",
    "auc",
    "precision",
    "recall",
)  # is better: beginnings of names
LOWER = ("mse", "error")


@dataclass(frozen=True)
class AnnotationWindows:
    """Places of one region, and of one track, that some measures need; those of absent (None) places are left out.

    Windows are int (n_windows, 2): the rank of the first bin of each, and of the first one behind it. They may overlap.
    `annotations.loci_of` makes them from annotation files.
    """

    promoters: np.ndarray | None = None
    genes: np.ndarray | None = None  # gene bodies
    enhancers: np.ndarray | None = None
    peaks: np.ndarray | None = None  # bool (n_bins,): bins that the observed track's peak calls touch
    variance: np.ndarray | None = None  # float (n_bins,): of the assay over the training cell types
    kept: np.ndarray | None = None  # bool (n_bins,): bins that count at all; None: all of them

    def restricted(self) -> AnnotationWindows:
        """The same places in ranks of the `kept` bins only."""
        if self.kept is None:
            return self
        kept = self.kept
        ranks = np.concatenate([[0], np.cumsum(kept)])
        windows = (None if each is None else ranks[each] for each in (self.promoters, self.genes, self.enhancers))
        vectors = (None if each is None else each[kept] for each in (self.peaks, self.variance))
        return AnnotationWindows(*windows, *vectors)


def mse(observed: np.ndarray, imputed: np.ndarray) -> float:
    """Mean squared error over all bins ("MSEglobal")."""
    observed, imputed = _checked(observed, imputed)
    return float(np.mean((observed - imputed) ** 2))


def mse_1obs(observed: np.ndarray, imputed: np.ndarray) -> float:
    """Mean squared error over the bins in the top 1 % of the observed signal: are its peaks found? ("MSE1obs")."""
    return mse_1of(observed, imputed, observed)


def mse_1imp(observed: np.ndarray, imputed: np.ndarray) -> float:
    """Mean squared error over the bins in the top 1 % of the imputed signal: are its peaks real? ("MSE1imp")."""
    return mse_1of(observed, imputed, imputed)


def mse_1of(observed: np.ndarray, imputed: np.ndarray, other: np.ndarray) -> float:
    """Mean squared error over the bins in the top 1 % of `other`, another method's imputation.

    MSE1imp judges every method on bins of its own choice; here all are judged on the same ones (PREDICTD's
    "MSE1imppred" and "MSE1impchrom").
    """
    observed, imputed = _checked(observed, imputed)
    chosen = top_bins(_checked(observed, other)[1])
    return float(np.mean((observed[chosen] - imputed[chosen]) ** 2))


def mse_windows(observed: np.ndarray, imputed: np.ndarray, windows: np.ndarray) -> float:
    """Squared error summed over all bins of all `windows` (n_windows, 2), divided by their number of bins.

    Long windows weigh more, and a bin counts once for every window that covers it ("MSEProm", "MSEGene", "MSEEnh").
    NaN where there are no windows; ValueError for ranks outside the vectors.
    """
    return _weighted(*_checked(observed, imputed), coverage(windows, len(observed)))


def mse_var(observed: np.ndarray, imputed: np.ndarray, variance: np.ndarray) -> float:
    """Σ variance × squared error / Σ variance, the variance (n_bins,) being the assay's over training cell types.

    It asks for the bins that differ between cell types, where average activity knows nothing ("MSEvar"). Only training
    tracks may enter the variance. NaN where it is 0 everywhere; ValueError where it is negative, NaN or infinite.
    """
    observed, imputed = _checked(observed, imputed)
    variance = np.asarray(variance, dtype=np.float64)
    if variance.shape != observed.shape or not np.isfinite(variance).all() or variance.min() < 0:
        raise ValueError(f"expected {len(observed):,} variances from 0, got shape {variance.shape} or bad values")
    return _weighted(observed, imputed, variance)


def pearson(observed: np.ndarray, imputed: np.ndarray) -> float:
    """Pearson correlation over all bins ("GWcorr"); NaN, as undefined, where one of the vectors is constant."""
    observed, imputed = _checked(observed, imputed)
    if _constant(observed) or _constant(imputed):
        return float("nan")
    x, y = observed - observed.mean(), imputed - imputed.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


def spearman(observed: np.ndarray, imputed: np.ndarray) -> float:
    """Pearson correlation of the ranks, tied bins sharing their average rank; NaN for a constant vector."""
    observed, imputed = _checked(observed, imputed)
    return pearson(observed.ranks, imputed.ranks)


def match1(observed: np.ndarray, imputed: np.ndarray) -> float:
    """How much of the observed top 1 % is in the imputed top 1 %, in percent ("Match1").

    A percentage, as Ernst and Kellis give it, and not a number of bins, as the Avocado paper's figure has it: a number
    depends on the chromosome's length and cannot be compared or averaged across regions.
    """
    return _overlap(*_checked(observed, imputed), within=1)


def catch1obs(observed: np.ndarray, imputed: np.ndarray) -> float:
    """How much of the observed top 1 % is in the imputed top 5 %, in percent ("Catch1obs")."""
    return _overlap(*_checked(observed, imputed), within=5)


def catch1imp(observed: np.ndarray, imputed: np.ndarray) -> float:
    """How much of the imputed top 1 % is in the observed top 5 %, in percent ("Catch1imp")."""
    observed, imputed = _checked(observed, imputed)
    return _overlap(imputed, observed, within=5)


def auc_obs1(observed: np.ndarray, imputed: np.ndarray) -> float:
    """Area under the ROC curve of the imputed signal as a score for the observed top 1 % of bins ("AucObs1").

    Bins of equal score count half. NaN for a constant observed signal, 0.5 for a constant imputed one.
    """
    observed, imputed = _checked(observed, imputed)
    return float("nan") if _constant(observed) else _roc_auc(imputed, top_bins(observed, ties=False))


def auc_imp1(observed: np.ndarray, imputed: np.ndarray) -> float:
    """Area under the ROC curve of the observed signal as a score for the imputed top 1 % of bins ("AucImp1")."""
    observed, imputed = _checked(observed, imputed)
    return auc_obs1(imputed, observed)


def catch_peak_obs(observed: np.ndarray, imputed: np.ndarray, peaks: np.ndarray) -> float:
    """Area under the ROC curve of the imputed signal as a score for bins in observed peaks ("CatchPeakObs").

    `peaks`, bool (n_bins,): the bins that peak calls of the observed track touch, each counted once. The observed
    signal itself is not used. NaN where no bin or every bin is in a peak.
    """
    _, imputed = _checked(observed, imputed)
    if peaks.shape != imputed.shape or peaks.dtype != np.bool_:
        raise ValueError(f"expected peaks as bool of shape {imputed.shape}, got {peaks.dtype} of {peaks.shape}")
    return _roc_auc(imputed, peaks)


def top_bins(signal: np.ndarray, percent: int = 1, ties: bool = True) -> np.ndarray:
    """Bool (n_bins,): the n highest bins, n = percent of n_bins rounded down but at least 1.

    Bins that tie with the n-th highest are all included, so the set can be larger than n: in a signal with fewer than
    n positive bins it is every bin. With `ties=False` it has n bins, the first ones of those that tie.
    """
    n = max(1, len(signal) * percent // 100)
    cut = np.partition(signal, -n)[-n]
    if ties:
        return np.asarray(signal >= cut)
    chosen = np.asarray(signal > cut)
    chosen[np.flatnonzero(signal == cut)[: n - np.count_nonzero(chosen)]] = True
    return chosen


def coverage(windows: np.ndarray, n_bins: int) -> np.ndarray:
    """Int (n_bins,): how many of the `windows` (n_windows, 2) cover each bin. ValueError for ranks out of range."""
    windows = np.asarray(windows).reshape(-1, 2)
    if ((windows < 0) | (windows > n_bins)).any() or (windows[:, 0] > windows[:, 1]).any():
        raise ValueError(f"windows are not ranks [start, end) of {n_bins:,} bins")
    starts, ends = (np.bincount(windows[:, side].astype(np.int64), minlength=n_bins + 1) for side in (0, 1))
    return np.cumsum(starts - ends)[:n_bins]


def score_track(observed: np.ndarray, imputed: np.ndarray, loci: AnnotationWindows | None = None) -> dict[str, float]:
    """All measures of METRICS, then those of LOCI_METRICS whose places `loci` has; over its `kept` bins."""
    if loci is None:
        loci = AnnotationWindows()
    elif loci.kept is not None:
        if loci.kept.shape != np.shape(observed) or loci.kept.shape != np.shape(imputed):
            raise ValueError(f"kept bins of shape {loci.kept.shape} for signal of shape {np.shape(observed)}")
        observed, imputed, loci = observed[loci.kept], imputed[loci.kept], loci.restricted()
    observed, imputed = _checked(observed, imputed)
    scores = {name: metric(observed, imputed) for name, metric in METRICS.items()}
    for name, (places, metric) in LOCI_METRICS.items():
        if (given := getattr(loci, places)) is not None:
            scores[name] = metric(observed, imputed, given)
    return scores


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "mse": mse,
    "mse_1obs": mse_1obs,
    "mse_1imp": mse_1imp,
    "pearson": pearson,
    "spearman": spearman,
    "match1": match1,
    "catch1obs": catch1obs,
    "catch1imp": catch1imp,
    "auc_obs1": auc_obs1,
    "auc_imp1": auc_imp1,
}

# with the field of AnnotationWindows that holds the third argument
LOCI_METRICS: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]]] = {
    "mse_prom": ("promoters", mse_windows),
    "mse_gene": ("genes", mse_windows),
    "mse_enh": ("enhancers", mse_windows),
    "mse_var": ("variance", mse_var),
    "catch_peak_obs": ("peaks", catch_peak_obs),
}


class _Signal(np.ndarray):
    """A checked float64 vector that remembers its ranks, so that the measures of a track sort it once."""

    @cached_property
    def ranks(self) -> np.ndarray:
        """Ranks from 1, tied bins sharing their average."""
        from scipy.stats import rankdata  # most of a second to import

        return rankdata(np.asarray(self), method="average")


def _checked(observed: np.ndarray, imputed: np.ndarray) -> tuple[_Signal, _Signal]:
    if np.ndim(observed) != 1 or np.shape(observed) != np.shape(imputed) or not len(observed):
        shapes = f"{np.shape(observed)} and {np.shape(imputed)}"
        raise ValueError(f"expected two vectors of equal length, got shapes {shapes}")
    return _signal(observed, "observed"), _signal(imputed, "imputed")


def _signal(values: np.ndarray, name: str) -> _Signal:
    if isinstance(values, _Signal):
        return values
    values = np.asarray(values, dtype=np.float64)
    bad = len(values) - np.count_nonzero(np.isfinite(values))
    if bad:
        raise ValueError(f"{bad:,} of {len(values):,} {name} values are NaN or infinite")
    return values.view(_Signal)


def _constant(values: np.ndarray) -> bool:
    return bool(values.min() == values.max())


def _weighted(observed: np.ndarray, imputed: np.ndarray, weights: np.ndarray) -> float:
    total = weights.sum()
    return float(weights @ (observed - imputed) ** 2 / total) if total else float("nan")


def _overlap(first: _Signal, second: _Signal, within: int) -> float:
    """Percentage of the top 1 % of `first` that is in the top `within` % of `second`."""
    if _constant(first) or _constant(second):
        return float("nan")
    top = top_bins(first, ties=False)
    return float(100 * np.count_nonzero(top & top_bins(second, within, ties=False)) / np.count_nonzero(top))


def _roc_auc(score: _Signal, positive: np.ndarray) -> float:
    """Share of (positive, negative) pairs of bins in which the positive one has the higher score, ties half."""
    n = np.count_nonzero(positive)
    if n in (0, len(positive)):
        return float("nan")
    # the Mann-Whitney statistic: ranks of the positives beyond those they would have among themselves
    return float((score.ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def is_higher_better(measure: str) -> bool:
    """Whether higher values of a measure are better. Raises ValueError for one whose name says nothing about it."""
    if measure.startswith(HIGHER):
        return True
    if measure.startswith(LOWER) or measure.endswith(LOWER):
        return False
    raise ValueError(f"is a higher or a lower {measure} better? say so with higher_is_better")
