"""How strong tracks are: mean and deviation of measured ones, and those that are expected of any pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avocado.data.compendium import Pair
from avocado.data.store import SignalStore, Tracks, chunk_blocks

RIDGE = 0.1  # penalty of the logarithms by which a cell type or assay differs in mean and deviation
GAIN, STRONG = 0.25, 10.0  # see `imputed_pval`; measured in docs/accuracy.md
SMALLEST = 1e-3  # arcsinh: means and standard deviations below are as good as this


def pval(signal: np.ndarray) -> np.ndarray:
    """−log10 p of arcsinh signal: its sinh, floored at 0, of the same type and shape."""
    return np.sinh(np.maximum(signal, 0))


def imputed_pval(signal: np.ndarray) -> np.ndarray:
    """−log10 p of imputed arcsinh signal, of the same type and shape.

    What is imputed is a mean in arcsinh space, and the sinh of a mean is less than the mean of the sinh (Duan's
    retransformation bias, 1983): a typical track would come out a fifth too weak. Raised by up to e^GAIN, and hardly
    where −log10 p is far above STRONG, which is where a track is rather imputed too strong.
    """
    plain = pval(signal)
    return plain * np.exp(GAIN / (1 + plain / STRONG))


def track_scales(store: SignalStore, region: str, columns: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of some tracks over a region, arcsinh, float64 (2, n_columns)."""
    signal, layout, sums = store.signal(region), store.region(region), np.zeros((2, len(columns)))
    for first, last in layout.pieces(chunk_blocks(len(columns))):
        values = signal[first:last][:, :, columns].astype(np.float64)  # padding is 0
        sums += [values.sum(axis=(0, 1)), np.square(values).sum(axis=(0, 1))]
    mean, square = sums / layout.n_bins
    return np.stack([mean, np.sqrt(np.maximum(square - mean**2, SMALLEST**2))])


def expected_scales(
    scales: np.ndarray, train: Tracks, pairs: Sequence[Pair], ridge: float = RIDGE, *, leave_out: bool = True
) -> np.ndarray:
    """Expected mean and standard deviation (arcsinh) of each pair's track, (n_pairs, 2), its own track left out.

    scales: (2, n_tracks), see `track_scales`. Logarithms of both are a sum of a cell type's and an assay's part, of
    which `ridge` is the penalty. leave_out: False takes a pair's own track into account.
    """
    n_tracks = len(train.columns)
    logs = np.log(np.maximum(scales.T, SMALLEST))
    cells, assays = (sorted({*known, *asked}) for known, asked in
                     zip((train.cells, train.assays), zip(*pairs, strict=True), strict=True))  # fmt: skip
    columns = {
        name: number for number, name in enumerate([("cell", c) for c in cells] + [("assay", a) for a in assays])
    }
    # one row per track: 1 for its cell type, its assay, and for all
    design = np.zeros((n_tracks, len(columns) + 1))
    for row, (cell, assay) in enumerate(zip(train.cells, train.assays, strict=True)):
        design[row, [columns["cell", cell], columns["assay", assay], -1]] = 1
    penalty = np.diag([ridge] * len(columns) + [1e-6])
    every = np.ones(n_tracks)
    expected, shared = np.empty((len(pairs), 2)), None
    for number, pair in enumerate(pairs):
        if leave_out and pair in train.rows:
            used = every.copy()
            used[train.rows[pair]] = 0
            parts = _ridge(design * used[:, None], logs, penalty)
        else:
            shared = _ridge(design, logs, penalty) if shared is None else shared
            parts = shared
        rows = [columns["cell", pair[0]], columns["assay", pair[1]], -1]
        expected[number] = np.exp(parts[rows].sum(axis=0))
    return expected


def _ridge(design: np.ndarray, values: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    return np.linalg.solve(design.T @ design + penalty, design.T @ values)
