"""Cross-assay regression: what the other tracks say about one, linearly and in closed form.

A track of assay a in cell type c is imputed from the average of the assay's tracks in other cell types, at the bin and
over windows around it, and from the other assays of the same cell type at the bin. All tracks are standardised first:
cell types differ in how strong their tracks are throughout, and an average is too strong for one and too weak for the
next. The weights come from the assay's tracks in other cell types, each of which is regressed on the same features of
its own cell type (as ChromImpute trains its trees), in one ridge regression. Mean and standard deviation of a track
that was never measured come from those of its cell type's and its assay's other tracks.

All of it is linear: an imputed track is a weighted sum of training tracks and of their moving means. The weights
follow from the second moments of these, which take one pass over the signal, whatever the number of pairs.

Without a pair's own track: the weights of a training track's pair are found, and applied, as if it had not been
measured. So a model may be trained on regressions of its training tracks and meet the same kind in imputation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path

import numpy as np

from avocado.errors import InputError
from avocado.genome import BLOCK_BINS, Region
from avocado.store import SignalStore, write_region

WINDOWS = (1, 11, 41, 201)  # bins of the moving means: the bin itself, 275 bp, 1 kb, 5 kb
PIECE = 64 << 20  # bytes of moving means at a time
SMALLEST = 1e-3  # arcsinh: means and standard deviations below are as good as this


@dataclass(frozen=True)
class RegressionConfig:
    """Penalties, each of a squared weight, in units of the variance of the (standardised) tracks that are fitted."""

    ridge: float = 0.4  # of the weights of other assays
    average_ridge: float = 0.01  # of the weights of averages
    scale_ridge: float = 0.1  # of the logarithms by which a cell type or assay differs in mean and deviation

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
                raise InputError(f"regression: {field.name}={value!r}: expected a number above 0")


@dataclass(frozen=True)
class Experiments:
    """Some columns of a store's arrays, and the cell type and assay of each."""

    columns: np.ndarray
    cells: Sequence[str]
    assays: Sequence[str]


@dataclass(frozen=True)
class Moments:
    """First and second moments of the moving means of some tracks over the bins of a region.

    Entry w × n_tracks + t is track t's mean over WINDOWS[w] bins.
    """

    mean: np.ndarray  # (entries,) float64
    covariance: np.ndarray  # (entries, entries) float64


def smoothed(signal: np.ndarray, layout: Region, columns: np.ndarray, first: int, last: int) -> np.ndarray:
    """Moving means of some tracks over the bins of blocks [first, last), float32 (bins, windows × tracks).

    signal: (n_blocks, 200, n_tracks), arcsinh, of the region `layout`. Windows are cut off at the ends of a segment.
    Padding has no rows.
    """
    half, found = WINDOWS[-1] // 2, []
    for segment, _, block in layout.walk():
        start = max(0, first - block) * BLOCK_BINS
        end = min(segment.n_bins, (last - block) * BLOCK_BINS)
        if start >= end:
            continue
        low, high = max(0, start - half), min(segment.n_bins, end + half)
        blocks = slice(block + low // BLOCK_BINS, block - (-high // BLOCK_BINS))
        values = signal[blocks][:, :, columns]
        values = values.reshape(len(values) * BLOCK_BINS, len(columns))
        skip = low // BLOCK_BINS * BLOCK_BINS
        sums = np.zeros((high - low + 1, len(columns)))
        np.cumsum(values[low - skip : high - skip], axis=0, dtype=np.float64, out=sums[1:])
        bins = np.arange(start, end)
        means = np.empty((end - start, len(WINDOWS), len(columns)), dtype=np.float32)
        means[:, 0] = values[start - skip : end - skip]
        for number, window in enumerate(WINDOWS[1:], 1):
            left, right = np.maximum(bins - window // 2, 0), np.minimum(bins + window // 2 + 1, segment.n_bins)
            means[:, number] = (sums[right - low] - sums[left - low]) / (right - left)[:, None]
        found.append(means.reshape(end - start, len(WINDOWS) * len(columns)))
    return np.concatenate(found)


def block_steps(layout: Region, n_tracks: int) -> Iterator[tuple[int, int]]:
    """Blocks [first, last) by which a region is gone through in bounded memory."""
    step = max(1, PIECE // (BLOCK_BINS * len(WINDOWS) * n_tracks * 4))
    for first in range(0, layout.n_blocks, step):
        yield first, min(first + step, layout.n_blocks)


def moments_of(signal: np.ndarray, layout: Region, columns: np.ndarray) -> Moments:
    """Moments of some tracks of a region, in one pass."""
    size = len(WINDOWS) * len(columns)
    total, products = np.zeros(size), np.zeros((size, size))
    for first, last in block_steps(layout, len(columns)):
        means = smoothed(signal, layout, columns, first, last)
        total += means.sum(axis=0, dtype=np.float64)
        products += means.T @ means
    mean = total / layout.n_bins
    return Moments(mean, products / layout.n_bins - np.outer(mean, mean))


def regress(
    moments: Moments, train: Experiments, pairs: Sequence[tuple[str, str]], config: RegressionConfig | None = None
) -> np.ndarray:
    """Weights of the training tracks' moving means in the signal of each pair, float32 (entries + 1, n_pairs).

    The last row is a constant. moments: of the training tracks, in the same order. Of a pair whose assay has no
    other training track it is all: the pair's expected mean.
    """
    config, n_tracks = config or RegressionConfig(), len(train.columns)
    deviation = np.sqrt(np.maximum(np.diag(moments.covariance)[:n_tracks], SMALLEST**2))
    scale = np.tile(deviation, len(WINDOWS))
    correlation = moments.covariance / np.outer(scale, scale)
    expected = expected_scales(moments, train, pairs, config)
    weights = np.zeros((len(scale) + 1, len(pairs)), dtype=np.float32)
    for number, pair in enumerate(pairs):
        standardised = _standardised_weights(correlation, train, pair, config)
        weights[:-1, number] = expected[number, 1] * standardised / scale
        weights[-1, number] = expected[number, 0] - weights[:-1, number] @ moments.mean
    return weights


def expected_scales(
    moments: Moments, train: Experiments, pairs: Sequence[tuple[str, str]], config: RegressionConfig | None = None
) -> np.ndarray:
    """Expected mean and standard deviation (arcsinh) of each pair's track, (n_pairs, 2), its own track left out.

    Logarithms of both are a sum of a cell type's and an assay's part.
    """
    config, n_tracks = config or RegressionConfig(), len(train.columns)
    found = np.stack([moments.mean[:n_tracks], np.sqrt(np.diag(moments.covariance)[:n_tracks].clip(0))], axis=1)
    logs = np.log(np.maximum(found, SMALLEST))
    cells, assays = (sorted({*known, *asked}) for known, asked in
                     zip((train.cells, train.assays), zip(*pairs, strict=True), strict=True))  # fmt: skip
    columns = {
        name: number for number, name in enumerate([("cell", c) for c in cells] + [("assay", a) for a in assays])
    }
    # one row per track: 1 for its cell type, its assay, and for all
    design = np.zeros((n_tracks, len(columns) + 1))
    for row, (cell, assay) in enumerate(zip(train.cells, train.assays, strict=True)):
        design[row, [columns["cell", cell], columns["assay", assay], -1]] = 1
    penalty = np.diag([config.scale_ridge] * len(columns) + [1e-6])
    index = {pair: row for row, pair in enumerate(zip(train.cells, train.assays, strict=True))}
    every = np.ones(n_tracks)
    expected, shared = np.empty((len(pairs), 2)), None
    for number, pair in enumerate(pairs):
        if pair in index:
            used = every.copy()
            used[index[pair]] = 0
            parts = _ridge(design * used[:, None], logs, penalty)
        else:
            shared = _ridge(design, logs, penalty) if shared is None else shared
            parts = shared
        rows = [columns["cell", pair[0]], columns["assay", pair[1]], -1]
        expected[number] = np.exp(parts[rows].sum(axis=0))
    return expected


def _ridge(design: np.ndarray, values: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    return np.linalg.solve(design.T @ design + penalty, design.T @ values)


def _standardised_weights(
    correlation: np.ndarray, train: Experiments, pair: tuple[str, str], config: RegressionConfig
) -> np.ndarray:
    """Weights (entries,) of standardised moving means in the standardised track of a pair."""
    cell, assay = pair
    n_tracks, n_windows = len(train.columns), len(WINDOWS)
    track = {pair: number for number, pair in enumerate(zip(train.cells, train.assays, strict=True))}
    donors = [number for (c, a), number in track.items() if a == assay and c != cell]
    others = [a for (c, a) in track if c == cell and a != assay]
    weights = np.zeros(len(correlation))
    if not donors:
        return weights
    windows = np.arange(n_windows) * n_tracks
    members = (windows[:, None] + donors).ravel()
    # of the sum over all donors with every entry, window by window
    sums = correlation[members].reshape(n_windows, len(donors), -1).sum(axis=1)
    size = n_windows + len(others)
    gram, moment = np.zeros((size, size)), np.zeros(size)
    for donor in donors if len(donors) > 1 else []:
        have = [number for number, a in enumerate(others) if (train.cells[donor], a) in track]
        own = np.array([track[train.cells[donor], others[number]] for number in have], dtype=np.int64)
        at, n = windows + donor, len(donors) - 1
        # averages are over the donors without this one
        rest = (sums - correlation[at]) / n
        average = (rest.reshape(n_windows, -1)[:, members].reshape(n_windows, n_windows, -1).sum(axis=2)
                   - rest[:, at]) / n  # fmt: skip
        used = np.array([*range(n_windows), *(n_windows + number for number in have)])
        gram[np.ix_(used, used)] += np.block([[average, rest[:, own]], [rest[:, own].T, correlation[np.ix_(own, own)]]])
        moment[used] += np.concatenate([rest[:, donor], correlation[own, donor]])
    if len(donors) > 1:
        penalty = np.repeat([config.average_ridge, config.ridge], [n_windows, len(others)]) * len(donors)
        found = np.linalg.solve(gram + np.diag(penalty), moment)
    else:  # nothing to learn from: the only other track, as it is
        found = np.zeros(size)
        found[0] = 1
    weights[members] = np.repeat(found[:n_windows] / len(donors), len(donors))
    for number, other in enumerate(others):
        weights[track[cell, other]] = found[n_windows + number]
    return weights


def apply_weights(
    signal: np.ndarray, layout: Region, columns: np.ndarray, weights: np.ndarray, first: int, last: int
) -> np.ndarray:
    """Regressions of some pairs over blocks [first, last), arcsinh, float32 (blocks, 200, n_pairs), 0 at padding.

    weights: (entries + 1, n_pairs), columns of what `regress` returns for the training tracks in `columns`.
    """
    by_track = weights[:-1].reshape(len(WINDOWS), len(columns), weights.shape[1])
    # of a thousand tracks one pair takes those of its assay and those of its cell type
    used = np.flatnonzero(by_track.any(axis=(0, 2)))
    means = smoothed(signal, layout, columns[used], first, last)
    regressed = means @ by_track[:, used].reshape(means.shape[1], weights.shape[1]) + weights[-1]
    mask = layout.mask[first:last]
    if mask.all():
        return regressed.reshape(*mask.shape, -1)
    blocks = np.zeros((*mask.shape, weights.shape[1]), dtype=np.float32)
    blocks[mask] = regressed
    return blocks


@dataclass(frozen=True)
class Prior:
    """Regressions of every pair of some cell types and assays, made of a store's training tracks when asked for."""

    store: SignalStore
    columns: np.ndarray  # the training tracks (n_train,)
    weights: np.ndarray  # (entries + 1, n_cells, n_assays), see `regress`

    def blocks(self, region: str, cells: np.ndarray, assays: np.ndarray, first: int, last: int) -> np.ndarray:
        """Arcsinh signal of the pairs (cells[k], assays[k]) in blocks [first, last), float32 (blocks, 200, n_pairs)."""
        signal, layout = self.store.signal(region), self.store.region(region)
        return apply_weights(signal, layout, self.columns, self.weights[:, cells, assays], first, last)

    def write(self, directory: Path, region: str, cells: np.ndarray, assays: np.ndarray) -> Path:
        """Write the pairs' signal over a region as the store has its own, and return the file's name."""
        layout = self.store.region(region)
        steps = block_steps(layout, len(self.columns))
        directory.mkdir(parents=True, exist_ok=True)
        pieces = (self.blocks(region, cells, assays, first, last) for first, last in steps)
        write_region(directory, layout, len(cells), "float16", pieces)
        return directory / f"{region}.npy"


def fit_prior(
    store: SignalStore, region: str, columns: np.ndarray, cells: Sequence[str], assays: Sequence[str]
) -> tuple[Prior, np.ndarray]:
    """The prior that a region's training tracks make, and every pair's expected deviation, arcsinh (n_cells, n_assays).

    A training track's own signal has no part in what its pair gets.
    """
    tracks = store.tracks.iloc[columns]
    train = Experiments(columns, tracks["cell"].tolist(), tracks["assay"].tolist())
    moments = moments_of(store.signal(region), store.region(region), columns)
    pairs = list(product(cells, assays))
    weights = regress(moments, train, pairs).reshape(-1, len(cells), len(assays))
    scale = expected_scales(moments, train, pairs)[:, 1].astype(np.float32)
    return Prior(store, columns, weights), scale.reshape(len(cells), len(assays))
