"""Is the difference between two methods more than chance? Paired tests over tracks (Avocado paper, Table 1).

Every comparison is of one method with a reference on the same tracks, and comes with the size of the difference, a
bootstrap interval, two tests and the number of tracks, so that no method is called better by a mean alone. The paper
uses two-sided paired t tests without adjustment; the Wilcoxon signed rank test beside it needs no normal
differences, and Holm's adjustment allows for several comparisons at once.

Tests and interval take tracks as independent, as the paper does. They aren't: the tracks of a cell type share its
donor, its laboratory and the model's factors of it, so p tends to be too small and the interval too short. With
`unit="cell"` the mean difference of each cell type is one observation of the tests, and the bootstrap draws whole cell
types. In cross-validation the models share training tracks besides, which no unit mends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from avocado.evaluation.metrics import is_higher_better
from avocado.evaluation.scores import track_rows

UNITS = ("track", "cell")
FEW = 6  # with fewer observations Wilcoxon's two-sided p cannot fall below 0.05: the least is 2 / 2^5 = 0.0625
RESAMPLES = 10_000


def compare_methods(
    table: pd.DataFrame,
    measure: str | Sequence[str],
    reference: str,
    unit: str = "track",
    higher_is_better: bool | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Every method of a table of scores against `reference`, by one or several measures.

    table: one row per track and method with the columns cell, assay, method and the measures, as from
        `scores.score_table`, whose rows of means are ignored. A track on which one of two methods has no score, or NaN,
        is left out of their comparison and counted in `n_left_out`.
    unit: what is taken as independent, 'track' or 'cell'.
    higher_is_better: of the measures; None for those that `is_higher_better` knows.

    Returns one row per measure and method:

        measure, method, reference, higher_is_better, unit
        n_tracks, n_units, n_left_out     tracks compared, observations of the tests, tracks left out
        mean, reference_mean, difference  over the compared tracks; the difference is method − reference
        low, high                         95 % bootstrap interval of the difference, see `bootstrap_interval`
        effect_size                       paired Cohen's d: mean over standard deviation of the units' differences
        won, tied                         share of the tracks on which the method is better, and equal
        p_t, p_wilcoxon                   two-sided, not adjusted
        p_t_holm, p_wilcoxon_holm         adjusted for all rows of this table
        note                              what cannot be concluded, or ''

    Where the methods are equal on every track, both p are 1. What is undefined is NaN, as p_t of a single track.
    Raises ValueError for an unknown reference, measure or unit, and for two rows of one track and method.
    """
    if unit not in UNITS:
        raise ValueError(f"unknown unit '{unit}'; there is: {', '.join(UNITS)}")
    tracks = track_rows(table)
    methods = list(dict.fromkeys(tracks["method"]))
    if reference not in methods or len(methods) < 2:
        raise ValueError(f"nothing to compare with '{reference}': the table has {', '.join(methods) or 'no methods'}")
    twice = tracks[tracks.duplicated(["cell", "assay", "method"])]
    if len(twice):
        cell, assay, method = twice[["cell", "assay", "method"]].iloc[0]
        raise ValueError(f"{method} has several scores on {cell} {assay}: average seeds and combine regions first")
    rows = []
    for name in [measure] if isinstance(measure, str) else measure:
        if name not in tracks:
            raise ValueError(f"no measure '{name}' in the table; it has: {', '.join(tracks.columns)}")
        higher = is_higher_better(name) if higher_is_better is None else higher_is_better
        for method in methods:
            if method != reference:
                pair = tracks[tracks["method"].isin([method, reference])]
                pair = pair.pivot(index=["cell", "assay"], columns="method", values=name)[[method, reference]]
                rows.append(
                    {
                        "measure": name,
                        "method": method,
                        "reference": reference,
                        "higher_is_better": higher,
                        "unit": unit,
                        **_compare(pair, higher, unit, seed),
                    }
                )
    comparisons = pd.DataFrame(rows)
    notes = comparisons.pop("note")
    for test in ("p_t", "p_wilcoxon"):
        comparisons[f"{test}_holm"] = holm(comparisons[test].to_numpy())
    return comparisons.assign(note=notes)


def _compare(pair: pd.DataFrame, higher_is_better: bool, unit: str, seed: int) -> dict[str, object]:
    """`pair` has the tracks as its index, and the scores of the method and of the reference as its columns."""
    complete = pair.dropna()
    method, reference = complete.to_numpy(dtype=float).T
    differences = pd.Series(method - reference, index=complete.index)
    groups = [unit] if unit == "cell" else ["cell", "assay"]
    units = differences.groupby(groups).agg(["mean", "sum", "count"])
    low, high = bootstrap_interval(units["sum"].to_numpy(), units["count"].to_numpy(), seed)
    p_t, p_wilcoxon, effect_size = paired_tests(units["mean"].to_numpy())
    gain = differences if higher_is_better else -differences
    return {
        "n_tracks": len(complete),
        "n_units": len(units),
        "n_left_out": len(pair) - len(complete),
        "mean": _mean(method),
        "reference_mean": _mean(reference),
        "difference": _mean(differences.to_numpy()),
        "low": low,
        "high": high,
        "effect_size": effect_size,
        "won": _mean(gain.to_numpy() > 0),
        "tied": _mean(gain.to_numpy() == 0),
        "p_t": p_t,
        "p_wilcoxon": p_wilcoxon,
        "note": _caveat(units["mean"].to_numpy(), {"track": "tracks", "cell": "cell types"}[unit]),
    }


def paired_tests(differences: np.ndarray) -> tuple[float, float, float]:
    """p of the two-sided paired t test and of the Wilcoxon signed rank test, and paired Cohen's d, of (n,) differences.

    Wilcoxon's test drops differences of 0, and is exact up to 50 different ones. Without any difference p is 1 and d
    is 0. The t test and d need two differences that differ from each other, Wilcoxon's one: else they are NaN.
    """
    from scipy import stats  # slow to import

    differences = np.asarray(differences, dtype=np.float64)
    changed = differences[differences != 0]
    if not len(changed):
        return (1.0, 1.0, 0.0) if len(differences) else (np.nan, np.nan, np.nan)
    p_wilcoxon = float(stats.wilcoxon(changed).pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    # equal up to rounding: their standard deviation would be rounding too, and t enormous
    if len(differences) < 2 or np.ptp(differences) <= 1e-12 * np.abs(differences).max():
        return np.nan, p_wilcoxon, np.nan
    p_t = float(stats.ttest_1samp(differences, 0).pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    return p_t, p_wilcoxon, float(differences.mean() / differences.std(ddof=1))


def bootstrap_interval(
    sums: np.ndarray, counts: np.ndarray, seed: int, confidence: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over items that come in clusters, drawn whole and with replacement.

    sums, counts (n_clusters,): the sum of each cluster's items and their number, 1 where every item is independent.
    The same seed gives the same interval. NaN for fewer than 2 clusters.
    """
    n = len(sums)
    if n < 2:
        return np.nan, np.nan
    random = np.random.default_rng(seed)
    # many at a time, but a thousand tracks times ten thousand resamples would be 80 MB
    at_once = max(1, 1_000_000 // n)
    means = []
    for first in range(0, resamples, at_once):
        drawn = random.integers(n, size=(min(at_once, resamples - first), n))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p values of one family of tests, (n,); NaN are no tests and stay NaN."""
    adjusted = np.full(len(p), np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    ordered = tests[np.argsort(p[tests], kind="stable")]
    steps = p[ordered] * np.arange(len(ordered), 0, -1)
    adjusted[ordered] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def sentence(comparison: pd.Series) -> str:
    """A row of `compare_methods` in one line: scores, difference, interval, tests and numbers, and their caveat."""
    c = comparison
    direction = "higher" if c["higher_is_better"] else "lower"
    over = "tracks" if c["unit"] == "track" else f"tracks in {c['n_units']} cell types"
    if not c["n_tracks"]:
        return f"{c['measure']}: {c['method']} and {c['reference']} share no scored track; nothing can be concluded"
    interval = "no interval"
    if np.isfinite(c["low"]):
        interval = f"95 % interval {_signed(c['low'])} to {_signed(c['high'])}"
    wins = f"{direction} on {round(c['won'] * c['n_tracks'])}"
    if c["tied"]:
        wins += f" and equal on {round(c['tied'] * c['n_tracks'])}"
    text = (
        f"{c['measure']}: {c['method']} {c['mean']:.4g}, {c['reference']} {c['reference_mean']:.4g}, difference "
        f"{_signed(c['difference'])} ({interval}; {direction} is better), {wins} of {c['n_tracks']} {over}; paired "
        f"t test {_p(c['p_t'], c['p_t_holm'])}, Wilcoxon {_p(c['p_wilcoxon'], c['p_wilcoxon_holm'])}, "
        f"d = {_signed(c['effect_size'])}"
    )
    if c["n_left_out"]:
        text += f"; {c['n_left_out']} tracks without both scores left out"
    return f"{text}; {c['note']}" if c["note"] else text


def _caveat(differences: np.ndarray, units: str) -> str:
    """What the comparison cannot show, for lack of observations."""
    n = int(np.count_nonzero(differences))
    if len(differences) and not n:
        return "no difference anywhere"
    if n >= FEW:
        return ""
    if not n:
        return "no tracks in common: nothing can be concluded"
    return (
        f"only {n} {units} differ: Wilcoxon's p cannot fall below {2 / 2**n:.3g}, the t test hangs on normal "
        "differences, and the interval is too short; no difference can be claimed or excluded"
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−") if np.isfinite(value) else "undefined"


def _p(p: float, adjusted: float) -> str:
    return f"p = {p:.2g} (Holm {adjusted:.2g})" if np.isfinite(p) else "p undefined"
