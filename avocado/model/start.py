"""Where the cell types of a large compendium start, before anything was learned."""

from __future__ import annotations

import numpy as np

from avocado.data.store import SignalStore, Tracks

SAMPLED = 200  # blocks in which tracks are compared, at most


def spectral_start(
    store: SignalStore, region: str, train: Tracks, scales: np.ndarray, rows: np.ndarray, n: int
) -> np.ndarray:
    """Unit vectors of cell types, float64 (n_cells, n), along the `n` directions in which they differ most.

    Two cell types are as alike as what their tracks of an assay have above the mean of that assay's tracks, a mean of
    correlations over the assays that they share. The vectors are this similarity's main eigenvectors. A cell type that
    shares no assay with another one is at 0.

    scales: mean and deviation of the training tracks (2, n_tracks); rows: which of these are looked at.
    """
    layout, n_cells = store.region(region), len(store.cells)
    blocks = np.unique(np.linspace(0, layout.n_blocks - 1, SAMPLED).astype(np.int64))
    signal = store.signal(region)[blocks][:, :, train.columns[rows]][layout.mask[blocks]].astype(np.float32)
    signal = (signal - scales[0, rows].astype(np.float32)) / scales[1, rows].astype(np.float32)
    products = (signal.T @ signal).astype(np.float64) / len(signal)
    total, shared = np.zeros((2, n_cells, n_cells))
    for assay in np.unique(train.assay[rows]):
        places = np.flatnonzero(train.assay[rows] == assay)
        if len(places) < 2:
            continue
        centre = np.eye(len(places)) - 1 / len(places)
        covariance = centre @ products[np.ix_(places, places)] @ centre
        deviation = np.sqrt(covariance.diagonal().clip(min=1e-6))
        cells = train.cell[rows][places]
        total[np.ix_(cells, cells)] += covariance / np.outer(deviation, deviation)
        shared[np.ix_(cells, cells)] += 1
    values, vectors = np.linalg.eigh(total / shared.clip(min=1))
    main = vectors[:, ::-1][:, :n] * np.sqrt(values[::-1][:n].clip(min=0))
    main *= np.where(main[np.abs(main).argmax(0), np.arange(main.shape[1])] < 0, -1, 1)  # which sign is arbitrary
    return main / np.linalg.norm(main, axis=1, keepdims=True).clip(min=1e-6)
