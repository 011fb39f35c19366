"""Do imputed assays stand to each other at genes as the measured ones do? (Avocado paper, pairwise relationships.)

For every gene and cell type, the mean signal of an assay over the promoter or the gene body is taken, from the
experiments and from the imputations. Two questions follow.

**Differences** are the paper's measure: the relationship of two marks is m1 − m2, and its error the mean of
|(m1 − m2) observed − (m1 − m2) imputed|. Alone, they flatter. Where both marks are imputed too low by the same amount,
as by every method that shrinks what it doesn't know, the errors cancel. Where one mark is the experiment's on both
sides, as RNA-seq in the paper, only the error of the other is left. And most of a difference is the level of the gene,
which is much the same in all cell types: average activity knows it without knowing any relationship. The paper's two
triplets, bivalency and its product with H3K36me3, are scored in the same way.

**Correlations** ask for the relationship itself, which the paper does not: Pearson's correlation of m1 and m2 over the
genes of a cell type, observed against imputed. Errors that both marks share do not cancel but show as a correlation
that is not there, and shrinkage neither earns nor costs. Measurement noise weakens the observed correlation and
imputations are smooth, so a good one can overstate it.

Both are about held-out tracks: in cross-validation, each track is imputed by the model of the fold that lacked it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from avocado.data.compendium import Pair
from avocado.errors import InputError
from avocado.evaluation.metrics import pearson
from avocado.evaluation.scores import AVERAGE
from avocado.evaluation.significance import bootstrap_interval

PROMOTER, BODY = "promoter", "gene body"
MIN_GENES = 3  # the correlation of fewer is ±1 or undefined


class Mark(NamedTuple):
    """What is known of a gene in a cell type: the mean signal of an assay over one of its windows."""

    assay: str
    window: str

    def __str__(self) -> str:
        return f"{self.assay} {self.window}"


# not a mean: correlation of the two over the promoter's bins × the lower of their means
BIVALENT = (Mark("H3K4me3", PROMOTER), Mark("H3K27me3", PROMOTER))
BIVALENCY = Mark("bivalency", PROMOTER)


class Relationship(NamedTuple):
    """A number that marks give for a gene: the difference of two of them, or a product."""

    kind: Literal["difference", "product"]
    marks: tuple[Mark, ...]

    def __str__(self) -> str:
        return (" − " if self.kind == "difference" else " × ").join(map(str, self.marks))


RELATIONSHIPS = (
    Relationship("difference", (Mark("H3K36me3", BODY), Mark("RNA-seq", BODY))),
    Relationship("difference", (Mark("H3K4me3", PROMOTER), Mark("H3K27me3", PROMOTER))),
    Relationship("difference", (Mark("H3K4me3", PROMOTER), Mark("H3K36me3", BODY))),
    Relationship("difference", (Mark("H3K27me3", PROMOTER), Mark("H3K36me3", BODY))),
    Relationship("difference", (Mark("H3K27me3", PROMOTER), Mark("H3K4me1", PROMOTER))),
    Relationship("product", (BIVALENCY,)),
    Relationship("product", (BIVALENCY, Mark("H3K36me3", BODY))),
)

GeneValues = Mapping[tuple[str, Mark], np.ndarray]  # (cell, mark) → float64 (n_genes,), NaN where undefined


@dataclass(frozen=True)
class Relationships:
    """Errors of relationships, and why some have none.

    `table` has one row per relationship, cell type and method:

        relationship, kind, cell, method
        n_genes                 genes with a value of every mark, observed and by every method
        error                   mean over genes of |observed − imputed| value, in arcsinh units (products: their powers)
        observed_correlation    Pearson correlation of the two marks over genes; NaN for products
        imputed_correlation
        correlation_error       |observed − imputed| correlation

    `left_out` says of each relationship without a row what it lacks.
    """

    table: pd.DataFrame
    left_out: dict[str, str]


def gene_values(
    tracks: Mapping[Pair, np.ndarray],
    promoters: np.ndarray,
    bodies: np.ndarray,
    relationships: Sequence[Relationship] = RELATIONSHIPS,
) -> dict[tuple[str, Mark], np.ndarray]:
    """Values of all genes for each mark that the relationships need and each cell type that has its tracks.

    tracks: arcsinh signal (n_bins,) of (cell, assay) on one region; for a method, those it imputed while they were held
        out. They may be made when asked for: each is, once, and those of one cell type are in memory at a time.
    promoters, bodies: bin ranks [start, end), int (n_genes, 2), a row per gene; see `whole_windows`. A gene has no
        value (NaN) where its window is empty; bivalency also where one of the two signals is constant.

    Raises ValueError for windows that don't fit each other or the signal, and for signal with NaN.
    """
    if promoters.shape != bodies.shape:
        raise ValueError(
            f"{len(promoters):,} promoters for {len(bodies):,} gene bodies: one of each per gene is needed"
        )
    windows = {PROMOTER: promoters, BODY: bodies}
    marks = {mark for relationship in relationships for mark in relationship.marks}
    bivalency = BIVALENCY in marks
    marks = marks - {BIVALENCY} | set(BIVALENT if bivalency else ())
    known = set(tracks)  # `in` would make the track of a mapping that makes them when asked
    values: dict[tuple[str, Mark], np.ndarray] = {}
    for cell in dict.fromkeys(cell for cell, _ in tracks):
        assays = sorted({mark.assay for mark in marks if (cell, mark.assay) in known})
        signals = {assay: np.asarray(tracks[cell, assay]) for assay in assays}
        for mark in marks:
            if mark.assay in signals:
                values[cell, mark] = window_means(signals[mark.assay], windows[mark.window])
        if bivalency and all(mark.assay in signals for mark in BIVALENT):
            first, second = BIVALENT
            correlations = window_correlations(signals[first.assay], signals[second.assay], promoters)
            values[cell, BIVALENCY] = correlations * np.minimum(values[cell, first], values[cell, second])
    return values


def join_regions(parts: Sequence[GeneValues]) -> dict[tuple[str, Mark], np.ndarray]:
    """The genes of several regions, chromosomes as a rule, one after the other. They must have the same tracks."""
    if any(set(part) != set(parts[0]) for part in parts):
        raise InputError("regions with different tracks cannot be joined: impute the same tracks on all of them")
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def compare_relationships(
    observed: GeneValues, methods: Mapping[str, GeneValues], relationships: Sequence[Relationship] = RELATIONSHIPS
) -> Relationships:
    """Errors of differences, products and correlations of each method, from the `gene_values` of the same genes.

    A cell type counts where all marks of a relationship are observed and imputed by every method. The same genes count
    for all methods. Methods must include 'average activity' (ValueError). Compare methods by `significance`: a
    relationship's rows are a table of scores, of one track per cell type.
    """
    if AVERAGE not in methods:
        raise ValueError(f"methods must include '{AVERAGE}'; got: {', '.join(methods) or 'none'}")
    rows: list[dict[str, object]] = []
    left_out: dict[str, str] = {}
    for relationship in relationships:
        cells = [
            cell
            for cell in sorted({cell for cell, _ in observed})
            if all((cell, mark) in values for values in (observed, *methods.values()) for mark in relationship.marks)
        ]
        found = [row for cell in cells for row in _score(relationship, cell, observed, methods)]
        if not found:
            left_out[str(relationship)] = _lack(relationship, bool(cells), observed, methods)
        rows += found
    columns = ["relationship", "kind", "cell", "method", "n_genes", "error"]
    columns += ["observed_correlation", "imputed_correlation", "correlation_error"]
    return Relationships(pd.DataFrame(rows, columns=pd.Index(columns)), left_out)


def summarise(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Means over cell types of the `table` of `Relationships`, with 95 % intervals from a bootstrap over cell types.

    Columns: relationship, method, measure ('error' or 'correlation_error'), n_cells, mean, low, high. The mean error is
    over all pairs of a gene and a cell type, as in the paper; the mean correlation error over cell types in which the
    correlations are defined. Of a single cell type there is no interval (NaN).
    """
    rows = []
    for (relationship, method), group in table.groupby(["relationship", "method"], sort=False):
        for measure in ("error", "correlation_error"):
            chosen = group[group[measure].notna()]
            if len(chosen):
                counts = chosen["n_genes"].to_numpy() if measure == "error" else np.ones(len(chosen))
                sums = chosen[measure].to_numpy() * counts
                low, high = bootstrap_interval(sums, counts, seed)
                rows.append((relationship, method, measure, len(chosen), sums.sum() / counts.sum(), low, high))
    columns = ["relationship", "method", "measure", "n_cells", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def whole_windows(bins: np.ndarray, ranks: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Of windows cut to a region, those that lie in it as a whole: int (n_genes, 2), [0, 0) for the others.

    bins (n_genes, 2) are bins [start, end) of chromosomes; ranks (n_parts, 2) their parts in the region, as bin ranks;
    source (n_parts,) says which window each is a part of. A mean over a part of a gene is not the gene's.
    """
    windows = np.zeros((len(bins), 2), dtype=np.int64)
    whole = np.diff(ranks, axis=1)[:, 0] == np.diff(bins, axis=1)[source, 0]
    windows[source[whole]] = ranks[whole]
    return windows


def window_means(signal: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Mean of signal (n_bins,) over each window [start, end) of (n, 2), float64 (n,); NaN for an empty one."""
    _require_windows(signal, windows)
    sums = np.concatenate([[0.0], np.cumsum(signal, dtype=np.float64)])
    if not np.isfinite(sums[-1]):
        raise ValueError("the signal has NaN or infinite values")
    start, end = windows.T
    with np.errstate(invalid="ignore"):
        return (sums[end] - sums[start]) / (end - start)


def window_correlations(first: np.ndarray, second: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Pearson correlation of two signals (n_bins,) over the bins of each window [start, end) of (n, 2), float64 (n,).

    NaN for an empty window and where one of the signals is constant.
    """
    _require_windows(first, windows)
    _require_windows(second, windows)
    correlations = np.full(len(windows), np.nan)
    n_bins = np.diff(windows, axis=1)[:, 0]
    filled = np.flatnonzero(n_bins)
    if not len(filled):
        return correlations
    n_bins = n_bins[filled]
    # the bins of all windows one after the other; differences of running sums would be too coarse for a variance
    border = np.cumsum(n_bins) - n_bins
    bins = np.arange(n_bins.sum()) + np.repeat(windows[filled, 0] - border, n_bins)
    centred, constant = [], np.zeros(len(filled), dtype=bool)
    for signal in (first, second):
        values = signal[bins].astype(np.float64)
        constant |= np.minimum.reduceat(values, border) == np.maximum.reduceat(values, border)
        centred.append(values - np.repeat(np.add.reduceat(values, border) / n_bins, n_bins))
    x, y = centred
    products, x_squares, y_squares = (np.add.reduceat(terms, border) for terms in (x * y, x**2, y**2))
    defined = ~constant
    correlations[filled[defined]] = products[defined] / np.sqrt(x_squares[defined] * y_squares[defined])
    return correlations


def _require_windows(signal: np.ndarray, windows: np.ndarray) -> None:
    if windows.ndim != 2 or windows.shape[1] != 2 or not np.issubdtype(windows.dtype, np.integer):
        raise ValueError(f"expected windows as int (n, 2), got {windows.dtype} {windows.shape}")
    if len(windows) and not (windows.min() >= 0 and windows.max() <= len(signal) and (np.diff(windows) >= 0).all()):
        raise ValueError(f"windows are not ranks [start, end) of {len(signal):,} bins")


def _score(
    relationship: Relationship, cell: str, observed: GeneValues, methods: Mapping[str, GeneValues]
) -> list[dict[str, object]]:
    marks = {name: np.stack([v[cell, m] for m in relationship.marks]) for name, v in methods.items()}
    truth = np.stack([observed[cell, mark] for mark in relationship.marks])
    if len({values.shape for values in (truth, *marks.values())}) != 1:
        raise ValueError(f"{cell}: methods have values of different numbers of genes")
    defined = np.isfinite([truth, *marks.values()]).all(axis=(0, 1))
    if not defined.any():
        return []
    truth, is_pair = truth[:, defined], relationship.kind == "difference"
    observed_correlation = _correlation(truth) if is_pair else np.nan
    rows: list[dict[str, object]] = []
    for name, values in marks.items():
        values = values[:, defined]
        correlation = _correlation(values) if is_pair else np.nan
        combine = np.subtract if is_pair else np.multiply
        rows.append(
            {
                "relationship": str(relationship),
                "kind": relationship.kind,
                "cell": cell,
                "method": name,
                "n_genes": int(defined.sum()),
                "error": float(np.abs(combine.reduce(truth) - combine.reduce(values)).mean()),
                "observed_correlation": observed_correlation,
                "imputed_correlation": correlation,
                "correlation_error": abs(observed_correlation - correlation),
            }
        )
    return rows


def _correlation(marks: np.ndarray) -> float:
    return pearson(*marks) if marks.shape[1] >= MIN_GENES else np.nan


def _lack(relationship: Relationship, has_cells: bool, observed: GeneValues, methods: Mapping[str, GeneValues]) -> str:
    """Why a relationship has no row."""
    if has_cells:
        return "no gene has a value of every mark"
    for what, values in {"observed": observed, **{f"imputed by {name}": v for name, v in methods.items()}}.items():
        known = {mark for _, mark in values}
        missing = [str(mark) for mark in relationship.marks if mark not in known]
        if missing:
            return f"{' and '.join(missing)}: {what} in no cell type"
    return "no cell type has all of its tracks observed and imputed while held out"
