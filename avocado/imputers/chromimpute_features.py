"""The two kinds of features of ChromImpute's trees (Ernst and Kellis 2015), made piece by piece from a store.

The first kind says what the target assay looks like in similar cell types: for each assay that orders the cell types,
running means of the target assay's signal over the nearest 1, 2, 3, ... of them. "Near" is judged twice: around the
bin (local), and over the whole training region (global). The second kind is the signal of the cell type's other assays
around the bin.

Bins beyond the end of a segment count as copies of its last bin, so that no window reaches into another segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from avocado.data.genome import BLOCK_BINS
from avocado.data.store import SignalStore

PIECE_BYTES = 64 << 20  # of the signal and of the features that a piece of a region is cut to
SMALLEST_PIECE = 1_000  # bins; shorter ones would be mostly margin


def pieces(
    store: SignalStore,
    region: str,
    columns: Sequence[int],
    margin: int,
    width: int = 0,
    scale: np.ndarray | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """The signal of some columns of the store, in pieces of one segment each and in order.

    Yields (ranks, signal): the ranks of the piece's n bins in the region, and their arcsinh signal with `margin` bins
    on either side, float32 (margin + n + margin, n_columns); beyond the segment's ends its end bins are repeated.
    width: numbers of 8 bytes that the caller will hold per bin, for which the pieces are made shorter. scale: mean and
    deviation of every column of the store, (2, n_tracks), for standardised signal.
    """
    signal = store.signal(region).reshape(-1, len(store.tracks))
    size = max(SMALLEST_PIECE, PIECE_BYTES // (4 * len(columns) + 8 * width))
    for segment, rank, block in store.region(region).walk():
        flat = signal[block * BLOCK_BINS : block * BLOCK_BINS + segment.n_bins]
        for start in range(0, segment.n_bins, size):
            stop = min(start + size, segment.n_bins)
            first, last = max(start - margin, 0), min(stop + margin, segment.n_bins)
            values = flat[first:last][:, columns].astype(np.float32)
            if scale is not None:
                values = (values - scale[0, columns]) / scale[1, columns]
            beyond = (margin - (start - first), margin - (last - stop))
            yield slice(rank + start, rank + stop), np.pad(values, (beyond, (0, 0)), mode="edge")


def correlations(store: SignalStore, region: str, columns: Sequence[int]) -> np.ndarray:
    """Pearson correlation of every two columns over all bins of a region, float64 (n_columns, n_columns).

    With a constant track it is 0.
    """
    products, sums, n_bins = np.zeros((len(columns), len(columns))), np.zeros(len(columns)), 0
    for _, signal in pieces(store, region, columns, margin=0):
        signal = signal.astype(np.float64)
        products += signal.T @ signal
        sums += signal.sum(axis=0)
        n_bins += len(signal)
    covariance = products / n_bins - np.outer(sums, sums) / n_bins**2
    scale = np.sqrt(np.outer(covariance.diagonal(), covariance.diagonal()).clip(min=0))
    return np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)


def signal_offsets(narrow: int, wide: int, step: int) -> np.ndarray:
    """Where the other assays are looked at, in bins: 0, every bin to ± narrow, from there every `step` to ± wide.

    With 20, 400 and 20 these are 79 offsets, 0, −1, 1, ..., −20, 20, −40, 40, ..., −400, 400: ± 10 kbp.
    """
    distances = np.concatenate([np.arange(1, narrow + 1), np.arange(narrow + step, wide + 1, step)])
    return np.concatenate([[0], np.stack([-distances, distances], axis=1).ravel()])


def box_sums(values: np.ndarray, width: int) -> np.ndarray:
    """Sums over `width` consecutive rows: (n, ...) to (n − width + 1, ...), entry i over rows i .. i + width − 1.

    Added up by doubling, 1, 2, 4, ... rows. Unlike with differences of cumulative sums, equal windows have exactly
    equal sums wherever they lie, so ties between them stay ties and the cuts between pieces leave no trace.
    """
    n = len(values) - width + 1
    total, done = np.zeros((n, *values.shape[1:]), dtype=values.dtype), 0
    power, doubled = 1, values
    while True:
        if width & power:
            total += doubled[done : done + n]
            done += power
        if done == width:
            return total
        doubled = doubled[:-power] + doubled[power:]
        power *= 2


@dataclass(frozen=True)
class Candidates:
    """The cell types whose target signal may serve one acting cell type, as one ordering assay sees them.

    All are columns of the store: the acting cell type's track of the ordering assay, and of every candidate, globally
    nearest first, its track of the ordering assay and of the target assay.
    """

    acting: int
    ordering: tuple[int, ...]
    target: tuple[int, ...]

    @property
    def columns(self) -> set[int]:
        """All of these columns."""
        return {self.acting, *self.ordering, *self.target}

    def index(self, column: int) -> int | None:
        """The place of a candidate, given its track of the ordering assay; None where it is none of them."""
        return self.ordering.index(column) if column in self.ordering else None


def nearest_cells(
    candidates: Candidates, signal: np.ndarray, place: dict[int, int], rows: np.ndarray, window: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """The candidates' target signal at some bins, and which candidates are locally nearest there.

    Near means a small sum of squared differences of the ordering assay over the bin and `window` bins on either side;
    ties go to the globally nearer one.

    signal: a piece (margin + n + margin, n_columns) with margin ≥ window; `place` gives a store column's index in it
    rows: int (r,), indices of the bins asked for in `signal`, margin included
    Returns the signal, float32 (r, n_candidates), globally nearest first, and the order, int (r, at most `most`),
    columns of the former, locally nearest first.
    """
    own = signal[:, place[candidates.acting], None]
    ordering = signal[:, [place[column] for column in candidates.ordering]]
    distances = box_sums((ordering - own) ** 2, 2 * window + 1)[rows - window]
    target = signal[rows[:, None], [place[column] for column in candidates.target]]
    return target, np.argsort(distances, axis=1, kind="stable")[:, :most]


def running_means(target: np.ndarray, order: np.ndarray, count: int, without: int | None = None) -> np.ndarray:
    """Means of the target assay over the nearest 1, 2, ..., count candidates: local_1, global_1, local_2, global_2, ...

    target, order: of `nearest_cells`; without: a candidate to leave out, for which `order` must hold one more.
    Returns float32 (r, 2 × count), with count at most the number of candidates that are left.
    """
    chosen = np.arange(target.shape[1])
    if without is not None:
        chosen = np.delete(chosen, without)
        kept = order != without
        # every row must lose one entry: the last where the one left out is not among the nearest
        kept[kept.all(axis=1), -1] = False
        order = order[kept].reshape(len(order), -1)
    count = min(count, len(chosen))
    parts = np.arange(1, count + 1, dtype=np.float32)
    means = np.empty((len(target), 2 * count), dtype=np.float32)
    means[:, 0::2] = np.cumsum(np.take_along_axis(target, order[:, :count], axis=1), axis=1) / parts
    means[:, 1::2] = np.cumsum(target[:, chosen[:count]], axis=1) / parts
    return means
