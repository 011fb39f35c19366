"""Where do imputations fail: at peaks of one cell type, of some, or of all? (Avocado paper, Fig. 2 and Methods.)

Loci (25-bp bins) are grouped by k, the number of cell types in which they lie in a peak of an assay. Loci that are
never a peak are left out. A method that imputes what it saw in other cell types does well where k is large; where k
is small, it calls peaks that this cell type doesn't have, or misses the ones that it has.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from avocado.data.compendium import Pair
from avocado.errors import InputError
from avocado.evaluation.scores import AVERAGE

PEAK_SIGNAL = float(np.arcsinh(2))  # 1.44: a −log10 p of 2 in arcsinh units; signal strictly above it is a peak
OBSERVED = "observed"  # the experimental signal, thresholded like the imputations and scored beside them
CALLED = "peak calls"
THRESHOLDED = "observed signal > arcsinh(2)"


def variable_loci(
    observed: Mapping[Pair, np.ndarray],
    methods: Mapping[str, Mapping[Pair, np.ndarray]],
    peaks: Mapping[Pair, np.ndarray] | None = None,
) -> pd.DataFrame:
    """MSE, precision and recall of imputations at loci that are a peak in exactly k cell types, for every k.

    observed: arcsinh signal (n_bins,) of (cell, assay).
    methods: by name, arcsinh signal (n_bins,) of every (cell, assay) imputed while it was held out. All methods must
        have imputed the same tracks, and 'average activity' must be one of them (ValueError): these tracks are scored.
    peaks: bool (n_bins,) of (cell, assay), from peak calls. Without it, observed signal above arcsinh(2) is a peak.

    Every cell type of `peaks` (or else of `observed`) counts towards k, held out or not: which loci are variable is
    a property of the compendium, and no model sees it. Only the scored tracks enter the measures. For each assay and
    k, all pairs of a scored cell type and a locus with this k are pooled; imputed signal strictly above arcsinh(2)
    is an imputed peak. Precision is the share of imputed peaks that are peaks, recall the share of peaks that are
    imputed; each is NaN where there is none to divide by.

    The ends follow from the grouping and not from a method: where all cell types have a peak, every precision is 1;
    and peaks from thresholds give average activity over all the other cell types a recall of 0 at k = 1 and of 1 where
    k is largest. What tells methods apart lies between.

    Returns a table with one row per assay, k (those that occur) and method:

        assay, k
        n_cells         cell types with peaks of the assay: the largest possible k
        n_loci          loci with this k
        n_pairs         scored (cell type, locus) pairs
        peaks           'peak calls' or 'observed signal > arcsinh(2)': what a peak was
        method          the imputers, and 'observed' for the thresholded experiment, whose MSE is NaN, being 0 by
                        definition; without peak calls it is left out, as its precision and recall would be 1
        mse, precision, recall

    The mappings may make tracks when asked for them: every imputed track is asked for once, and one imputed and one
    observed track are in memory at a time. Raises InputError where a track is missing, has another length than
    the rest or holds NaN.
    """
    if AVERAGE not in methods:
        raise ValueError(f"methods must include '{AVERAGE}'; got: {', '.join(methods) or 'none'}")
    scored = _scored_cells(observed, methods, peaks)
    tables = [_score_assay(assay, cells, observed, methods, peaks) for assay, cells in scored.items()]
    return pd.concat(tables, ignore_index=True)


def _scored_cells(
    observed: Mapping[Pair, np.ndarray],
    methods: Mapping[str, Mapping[Pair, np.ndarray]],
    peaks: Mapping[Pair, np.ndarray] | None,
) -> dict[str, list[str]]:
    """Of every assay, the cell types whose tracks are scored."""
    scored = list(methods[AVERAGE])
    if not scored:
        raise InputError("no imputed tracks to score at variable loci: hold some out with fold=0")
    sources = {"the observed signal": observed, **methods, "the peaks": observed if peaks is None else peaks}
    for name, tracks in sources.items():
        known = set(tracks)  # `in` would make the track of a mapping that makes them when asked
        missing = next((track for track in scored if track not in known), None)
        if missing is not None:
            raise InputError(
                f"{name}: no {' '.join(missing)}, which {AVERAGE} imputed; give all methods the same tracks"
            )
    by_average = set(scored)
    for name, tracks in methods.items():
        extra = next((track for track in tracks if track not in by_average), None)
        if extra is not None:
            raise InputError(f"{AVERAGE}: no {' '.join(extra)}, which {name} imputed; give all methods the same tracks")
    cells: dict[str, list[str]] = {}
    for cell, assay in scored:
        cells.setdefault(assay, []).append(cell)
    return cells


def _score_assay(
    assay: str,
    scored: list[str],
    observed: Mapping[Pair, np.ndarray],
    methods: Mapping[str, Mapping[Pair, np.ndarray]],
    peaks: Mapping[Pair, np.ndarray] | None,
) -> pd.DataFrame:
    def peaks_of(cell: str) -> np.ndarray:
        if peaks is None:
            return observed[cell, assay] > PEAK_SIGNAL
        return np.asarray(peaks[cell, assay], dtype=bool)

    cells = [cell for cell, other in (observed if peaks is None else peaks) if other == assay]
    n_cells_with_peak = np.zeros(len(peaks_of(cells[0])), dtype=np.int32)
    for cell in cells:
        n_cells_with_peak += _of_length(n_cells_with_peak, peaks_of(cell), f"the peaks of {cell} {assay}")
    loci = np.flatnonzero(n_cells_with_peak)
    k = n_cells_with_peak[loci]

    def count(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(k[chosen], minlength=len(cells) + 1)

    names = list(methods) if peaks is None else [*methods, OBSERVED]
    n_peaks = np.zeros(len(cells) + 1, dtype=np.int64)
    n_called, n_found = (np.zeros((len(names), len(cells) + 1), dtype=np.int64) for _ in range(2))
    squares = np.zeros((len(names), len(cells) + 1))
    for cell in scored:
        is_peak = peaks_of(cell)[loci]
        n_peaks += count(is_peak)
        experiment = _signal(n_cells_with_peak, observed[cell, assay], f"the observed signal of {cell} {assay}")[loci]
        for row, name in enumerate(names):
            signal = experiment
            if name != OBSERVED:
                signal = _signal(n_cells_with_peak, methods[name][cell, assay], f"{name}'s {cell} {assay}")[loci]
            is_called = signal > PEAK_SIGNAL
            n_called[row] += count(is_called)
            n_found[row] += count(is_called & is_peak)
            error = signal.astype(np.float64) - experiment
            squares[row] += np.bincount(k, weights=error**2, minlength=len(cells) + 1)

    n_loci = np.bincount(k, minlength=len(cells) + 1)
    n_pairs = n_loci * len(scored)
    with np.errstate(divide="ignore", invalid="ignore"):
        tables = [
            pd.DataFrame(
                {
                    "assay": assay,
                    "k": np.arange(len(cells) + 1),
                    "n_cells": len(cells),
                    "n_loci": n_loci,
                    "n_pairs": n_pairs,
                    "peaks": THRESHOLDED if peaks is None else CALLED,
                    "method": name,
                    "mse": np.nan if name == OBSERVED else squares[row] / n_pairs,
                    "precision": n_found[row] / n_called[row],
                    "recall": n_found[row] / n_peaks,
                }
            )[n_loci > 0]
            for row, name in enumerate(names)
        ]
    return pd.concat(tables).sort_values("k", kind="stable")


def _signal(like: np.ndarray, signal: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(_of_length(like, signal, name)).all():
        raise InputError(f"{name} has NaN or infinite values: impute or ingest it again")
    return signal


def _of_length(like: np.ndarray, values: np.ndarray, name: str) -> np.ndarray:
    if values.shape != like.shape:
        raise InputError(f"{name}: shape {values.shape}, expected {like.shape}; give all tracks of one region")
    return values
