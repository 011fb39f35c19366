"""Cross-assay regression: what the other tracks say about one, in closed form.

A track of assay a in cell type c is imputed from the average of the assay's tracks in other cell types, at the bin and
over windows around it, and from the other assays of the same cell type. All tracks are standardised first: cell types
differ in how strong their tracks are throughout, and an average is too strong for one and too weak for the next. The
weights come from the assay's tracks in other cell types, each of which is regressed on the same inputs of its own cell
type (as ChromImpute trains its trees), in one ridge regression over bins drawn at random. Besides the inputs
themselves it has random features of them, max(0, a random combination + a random shift), with which it fits curves and
interactions (Rahimi and Recht 2008, "Weighted sums of random kitchen sinks"). Mean and standard deviation of a track
that was never measured come from those of its cell type's and its assay's other tracks; the imputed one has that mean.

Without a pair's own track: the weights of a training track's pair are found, and applied, as if it had not been
measured. So a model may be trained on regressions of its training tracks and meet the same kind in imputation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from avocado.data.compendium import Pair
from avocado.data.genome import BLOCK_BINS, Region
from avocado.data.store import SignalStore, Tracks
from avocado.model.config import RegressionConfig
from avocado.utils.progress import shown

WINDOWS = (1, 11, 41, 201, 801)  # bins of the moving means: the bin itself, 275 bp, 1 kb, 5 kb, 20 kb
OTHERS = (0, 2, 3, 4)  # windows in which a cell type's other assays are looked at
ROWS = 80_000  # bins × tracks at most that a pair's weights are learned from
PIECE, ACCELERATOR_PIECE = 64 << 20, 1 << 30  # bytes of moving means at a time
CHUNK, ACCELERATOR_CHUNK = 4_096, 1 << 18  # bins whose random features are computed at once, on a CPU in its cache

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Fitted:
    """What imputing pairs takes, besides the training tracks.

    Inputs of a pair are the averages of its assay, one for each of WINDOWS, and then, for each assay in order, the cell
    type's track of it in each of OTHERS. Those that a pair lacks have weight 0.
    """

    scales: np.ndarray  # mean and deviation of the training tracks, arcsinh (2, n_tracks)
    projection: np.ndarray  # from standardised inputs to random features; the last row is their shift (inputs + 1, F)
    weights: np.ndarray  # of inputs, features and 1 in the signal of each pair, arcsinh (..., inputs + F + 1), float32


def smoothed(
    signal: np.ndarray,
    layout: Region,
    columns: np.ndarray,
    scales: np.ndarray,
    first: int,
    last: int,
    device: torch.device = CPU,
) -> torch.Tensor:
    """Moving means of standardised tracks at the bins of blocks [first, last), float32 (n_columns, windows, bins).

    signal: (n_blocks, 200, n_tracks), arcsinh, of the region `layout`; scales: mean and deviation of the columns.
    Windows are cut off at the ends of a segment. Padding is no bin.
    """
    mean, deviation = (torch.from_numpy(row).to(device)[:, None] for row in scales)
    half, found = WINDOWS[-1] // 2, []
    for segment, _, block in layout.walk():
        start = max(0, first - block) * BLOCK_BINS
        end = min(segment.n_bins, (last - block) * BLOCK_BINS)
        if start >= end:
            continue
        low, high, n_bins = max(0, start - half), min(segment.n_bins, end + half), end - start
        values = signal[block + low // BLOCK_BINS : block - (-high // BLOCK_BINS)][:, :, columns]
        values = values.reshape(len(values) * BLOCK_BINS, len(columns))[low % BLOCK_BINS :][: high - low]
        # sums[:, k] is of all bins before start - half + k; beyond the ends of a segment there is 0 to be added
        sums = torch.zeros(len(columns), 1 + half + n_bins + half, dtype=torch.float64, device=device)
        known = sums[:, 1 + half + low - start :][:, : high - low]
        known.copy_(torch.from_numpy(values).to(device).T).sub_(mean).div_(deviation)
        means = torch.empty(len(columns), len(WINDOWS), n_bins, device=device)
        means[:, 0] = sums[:, 1 + half :][:, :n_bins]
        sums.cumsum_(dim=1)
        bins = torch.arange(start, end, device=device)
        for number, window in enumerate(WINDOWS[1:], 1):
            reach = window // 2
            count = (bins + reach + 1).clamp(max=segment.n_bins) - (bins - reach).clamp(min=0)
            after, before = sums[:, half + reach + 1 :][:, :n_bins], sums[:, half - reach :][:, :n_bins]
            means[:, number] = (after - before).div_(count)
        found.append(means)
    return found[0] if len(found) == 1 else torch.cat(found, dim=2)


def piece_blocks(n_tracks: int, device: torch.device = CPU) -> int:
    """Blocks at a time by which a region is gone through in bounded memory."""
    size = PIECE if device.type == "cpu" else ACCELERATOR_PIECE
    return max(1, size // (BLOCK_BINS * len(WINDOWS) * n_tracks * 4))


def drawn_bins(
    store: SignalStore, region: str, columns: np.ndarray, scales: np.ndarray, config: RegressionConfig
) -> np.ndarray:
    """Standardised moving means of some tracks at bins drawn at random, float32 (n_columns, windows, bins)."""
    signal, layout = store.signal(region), store.region(region)
    random = np.random.default_rng([config.seed, 0])
    chosen = np.sort(random.choice(layout.n_bins, min(config.bins, layout.n_bins), replace=False))
    # in one array from the start: small ones, kept between large ones that come and go, tear memory into pieces
    found, done = np.empty((len(columns), len(WINDOWS), len(chosen)), dtype=np.float32), 0
    for first, last in layout.pieces(piece_blocks(len(columns))):
        means = smoothed(signal, layout, columns, scales, first, last).numpy()
        part = slice(*np.searchsorted(chosen, [done, done + means.shape[2]]))
        found[:, :, part] = means[:, :, chosen[part] - done]
        done += means.shape[2]
    return found


def regress(
    means: np.ndarray,
    scales: np.ndarray,
    expected: np.ndarray,
    train: Tracks,
    assays: Sequence[str],
    pairs: Sequence[Pair],
    config: RegressionConfig,
    progress: bool = False,
) -> Fitted:
    """The weights of each pair, which take no notice of the pair's own track.

    means: of the training tracks, see `drawn_bins`; scales: of these, see `track_scales`; expected: of the pairs, see
    `expected_scales`; assays: all, in their order. Of a pair whose assay has one other training track, that is
    rescaled; of one without any, the expected mean is all. Up to scale and mean, weights depend on the donors and on
    which other assays the cell type has: what is the same for several pairs is regressed once.
    """
    projection = _drawn_projection(assays, config)
    n_inputs = len(projection) - 1
    weights = np.zeros((len(pairs), n_inputs + config.features + 1), dtype=np.float32)
    known: dict[tuple[bytes, bytes], np.ndarray] = {}  # many cell types have the same assays measured
    for number, pair in enumerate(shown(pairs, "fitting regressions", len(pairs), progress)):
        inputs = _inputs_of(pair, train, assays)
        if len(inputs.donors) > 1:
            used = np.concatenate([inputs.places, np.arange(n_inputs, weights.shape[1])])
            alike = inputs.donors.tobytes(), inputs.places.tobytes()
            if alike not in known:
                known[alike] = _standardised_weights(means, train, inputs, projection, config)
            found = known[alike].copy()
            found[-1] -= _imputed_mean(found, means, inputs, projection)
            weights[number, used] = found
        elif len(inputs.donors):
            weights[number, 0] = 1
        weights[number] *= expected[number, 1]
        weights[number, -1] += expected[number, 0]
    return Fitted(scales, projection, weights)


def unfitted(scales: np.ndarray, n_cells: int, assays: Sequence[str], config: RegressionConfig) -> Fitted:
    """What `regress` returns before any pair of some cell types and assays is regressed: NaN for its weights."""
    projection = _drawn_projection(assays, config)
    n_weights = len(projection) + config.features
    return Fitted(scales, projection, np.full((n_cells, len(assays), n_weights), np.nan, dtype=np.float32))


def _drawn_projection(assays: Sequence[str], config: RegressionConfig) -> np.ndarray:
    n_inputs = len(WINDOWS) + len(OTHERS) * len(assays)
    return np.random.default_rng([config.seed, 1]).normal(size=(n_inputs + 1, config.features)).astype(np.float32)


@dataclass(frozen=True)
class _Inputs:
    """The training tracks, by row, that a pair is imputed from, and the places of these inputs among all."""

    donors: np.ndarray  # of the assay, in other cell types
    others: np.ndarray  # of other assays, in the cell type
    places: np.ndarray


def _donors(train: Tracks, assay: str) -> list[int]:
    """Rows of the tracks of an assay that may speak for other cell types."""
    rows = [row for row, its in enumerate(train.assays) if its == assay]
    return rows if train.donors is None else [row for row in rows if train.donors[row]]


def _inputs_of(pair: Pair, train: Tracks, assays: Sequence[str]) -> _Inputs:
    cell, assay = pair
    donors = [row for row in _donors(train, assay) if train.cells[row] != cell]
    measured = [(number, train.rows.get((cell, a))) for number, a in enumerate(assays) if a != assay]
    others = {number: row for number, row in measured if row is not None}
    n_windows, n_others = len(WINDOWS), len(OTHERS)
    places = [np.arange(n_windows), *(n_windows + n_others * number + np.arange(n_others) for number in others)]
    return _Inputs(
        np.array(donors, dtype=np.int64), np.array([*others.values()], dtype=np.int64), np.concatenate(places)
    )


def _standardised_weights(
    means: np.ndarray, train: Tracks, inputs: _Inputs, projection: np.ndarray, config: RegressionConfig
) -> np.ndarray:
    """Weights of a pair's inputs, of random features of these and of 1 in its standardised track, from its donors."""
    donors, n_windows = inputs.donors, len(WINDOWS)
    means = means[:, :, :: -(-len(donors) * means.shape[2] // ROWS)]
    total = means[donors].sum(axis=0)
    # the same inputs of each donor's own cell type, without the donor; what it lacks is at its mean
    known = np.zeros((n_windows + len(OTHERS) * len(inputs.others), len(donors), means.shape[2]), dtype=np.float32)
    for number, donor in enumerate(donors):
        known[:n_windows, number] = (total - means[donor]) / (len(donors) - 1)
        for place, other in enumerate(inputs.others):
            row = train.rows.get((train.cells[donor], train.assays[other]))
            if row is not None:
                start = n_windows + len(OTHERS) * place
                known[start : start + len(OTHERS), number] = means[row, OTHERS]
    known, target = known.reshape(len(known), -1), means[donors, 0].reshape(-1)
    (directions, shifts), n_columns = _projected(projection, inputs), len(known) + config.features + 1
    # sums of products of all columns, the target among them, some bins at a time: what is passed over is in the cache
    sums, products = np.zeros(n_columns), np.zeros((n_columns, n_columns))
    for start in range(0, len(target), CHUNK):
        part = known[:, start : start + CHUNK]
        features = directions @ part
        features += shifts
        np.maximum(features, 0, out=features)
        columns = np.concatenate([part, features, target[None, start : start + CHUNK]])
        sums += columns.sum(axis=1)
        products += columns @ columns.T  # which NumPy computes once, not for both halves
    center = sums / len(target)
    covariance = products / len(target) - np.outer(center, center)
    penalty = np.repeat(
        [config.average_ridge, config.ridge, config.feature_ridge], [n_windows, len(known) - n_windows, config.features]
    )
    found = np.linalg.solve(covariance[:-1, :-1] + np.diag(penalty), covariance[:-1, -1])
    return np.append(found, center[-1] - center[:-1] @ found)


def _imputed_mean(weights: np.ndarray, means: np.ndarray, inputs: _Inputs, projection: np.ndarray) -> float:
    """Mean of a pair's own standardised track by its weights, over the drawn bins; that of its donors is 0."""
    means = means[:, :, :: -(-means.shape[2] // ROWS)]
    average = means[inputs.donors].mean(axis=0)
    known = np.concatenate([average, means[inputs.others][:, OTHERS].reshape(-1, means.shape[2])])
    directions, shifts = _projected(projection, inputs)
    imputed = np.empty(means.shape[2])
    for start in range(0, len(imputed), CHUNK):
        part = known[:, start : start + CHUNK]
        columns = np.concatenate([part, np.maximum(directions @ part + shifts, 0)])
        imputed[start : start + CHUNK] = weights[:-1] @ columns
    return float(imputed.mean() + weights[-1])


def _projected(projection: np.ndarray, inputs: _Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Directions of length 1 (F, inputs), and the shifts of random features (F, 1), for the inputs that a pair has."""
    directions = projection[inputs.places].T
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return directions, projection[-1][:, None]


def impute_blocks(
    signal: np.ndarray,
    layout: Region,
    train: Tracks,
    assays: Sequence[str],
    fitted: Fitted,
    pairs: Sequence[Pair],
    steps: Iterable[tuple[int, int]],
    device: torch.device = CPU,
) -> Iterator[torch.Tensor]:
    """Regressions of some pairs over blocks [first, last) for each of `steps`, arcsinh, 0 at padding.

    Yields float32 (blocks, 200, n_pairs) on `device`, where they are computed. signal: (n_blocks, 200, n_tracks) of the
    region `layout`; fitted: what `regress` returns, with weights of the pairs.
    """
    inputs = [_inputs_of(pair, train, assays) for pair in pairs]
    of_assay = {assay: _donors(train, assay) for assay in {assay for _, assay in pairs}}
    # of a thousand tracks one pair takes those of its assay and those of its cell type
    used = np.unique(np.concatenate([*of_assay.values(), *(its.others for its in inputs)]).astype(np.int64))
    place = {row: number for number, row in enumerate(used.tolist())}

    def places(rows: Iterable[int]) -> torch.Tensor:
        return torch.tensor([place[row] for row in rows], dtype=torch.int64, device=device)

    every = {assay: places(rows) for assay, rows in of_assay.items()}
    others = [places(its.others.tolist())[:, None] for its in inputs]
    windows = torch.tensor(OTHERS, device=device)
    projected = [[torch.from_numpy(x).to(device) for x in _projected(fitted.projection, its)] for its in inputs]
    weights = torch.from_numpy(fitted.weights).to(device)
    of_inputs = [weights[number, its.places] for number, its in enumerate(inputs)]
    of_features = weights[:, len(fitted.projection) - 1 : -1]
    chunk = CHUNK if device.type == "cpu" else ACCELERATOR_CHUNK
    for first, last in steps:
        means = smoothed(signal, layout, train.columns[used], fitted.scales[:, used], first, last, device)
        n_bins = means.shape[2]
        regressed = torch.empty(len(pairs), n_bins, device=device)
        for start, part in zip(range(0, n_bins, chunk), means.split(chunk, dim=2), strict=True):
            totals = {assay: part[rows].sum(dim=0) for assay, rows in every.items()}
            for number, (pair, its) in enumerate(zip(pairs, inputs, strict=True)):
                total, own = totals[pair[1]], train.rows.get(pair)
                if own is not None and own in of_assay[pair[1]]:
                    total = total - part[place[own]]
                average = total / max(1, len(its.donors))
                known = torch.cat([average, part[others[number], windows].flatten(0, 1)])
                imputed = torch.addmv(weights[number, -1], known.mT, of_inputs[number])
                if len(its.donors) > 1:
                    directions, shifts = projected[number]
                    imputed.addmv_(torch.addmm(shifts, directions, known).relu_().mT, of_features[number])
                regressed[number, start : start + chunk] = imputed
        real = torch.from_numpy(np.flatnonzero(layout.mask[first:last])).to(device)
        blocks = regressed.new_zeros((last - first) * BLOCK_BINS, len(pairs)).index_copy_(0, real, regressed.T)
        yield blocks.unflatten(0, (-1, BLOCK_BINS))
