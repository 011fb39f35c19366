"""How alike observed tracks make cell types and assays: what factors have to be compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avocado.data.compendium import Pair
from avocado.data.store import SignalStore
from avocado.imputers.chromimpute_features import correlations


def observed_distances(
    store: SignalStore, region: str, pairs: Sequence[Pair], names: Sequence[str], kind: str = "cell"
) -> np.ndarray:
    """Distances of cell types, or of assays, by the correlation of their observed tracks, float64 (n_names, n_names).

    pairs: the tracks that count, those of the training. kind: 'cell' or 'assay'. Two cell types are as alike as the
    Pearson correlations of their tracks of one assay over the bins of a region, averaged over the assays that both
    have; likewise two assays over the cell types. Assays whose tracks correlate everywhere say nothing about who is
    related, so each one's correlations are taken relative to their mean. Pairs of names that have nothing in common
    are at the mean distance. Distances are 1 − correlation, and at least 0.
    """
    place, own = {name: number for number, name in enumerate(names)}, 0 if kind == "cell" else 1
    shared: dict[str, list[Pair]] = {}
    for pair in pairs:
        shared.setdefault(pair[1 - own], []).append(pair)
    sums, counts, means = np.zeros((len(names), len(names))), np.zeros((len(names), len(names))), []
    for its in shared.values():
        if len(its) > 1:
            found = correlations(store, region, [store.track_index(*pair) for pair in its])
            means.append(found[~np.eye(len(its), dtype=bool)].mean())
            at = np.ix_(*[[place[pair[own]] for pair in its]] * 2)
            sums[at] += found - means[-1]
            counts[at] += 1
    alike = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0) + (np.mean(means) if means else 0)
    return np.where(np.eye(len(names), dtype=bool), 0, (1 - alike).clip(0))
