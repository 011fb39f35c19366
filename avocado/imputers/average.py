"""Average activity: the mean signal of an assay over the cell types it was measured in.

The baseline that every imputation must be held against: it knows where an assay usually has peaks and nothing about
the cell type, and many methods do not beat it (Schreiber et al. 2020, "A pitfall for machine learning methods aiming
to predict across cell types"; ENCODE Imputation Challenge 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avocado.data.compendium import Pair
from avocado.data.store import SignalStore
from avocado.errors import InputError

AVERAGE = "average activity"  # its name in every table
CHUNK_BLOCKS = 256  # blocks read at a time: 100 MB for 1,000 float16 tracks


class AverageActivity:
    """Imputes a track as the mean of the training tracks of its assay, without the very track that is asked for.

    Leaving the asked track out makes a prediction for a training track an imputation too, and not a copy of itself.
    """

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        """Remember which columns of the store may be used; the means are taken when asked for, on any region."""
        store.region(region)
        self._store = store
        self._columns: dict[str, dict[int, str]] = {}  # of every assay: the cell type of each training column
        for column in experiments:
            cell, assay = store.tracks["cell"].iloc[column], store.tracks["assay"].iloc[column]
            self._columns.setdefault(assay, {})[column] = cell

    def predict(self, pairs: Sequence[Pair], region: str) -> np.ndarray:
        """Mean arcsinh signal of each assay's training tracks, the pair's own left out; float32 (n_bins, n_pairs).

        Raises InputError where no training track of an assay is left. A cell type without any track is fine.
        """
        return mean_tracks(self._store, [(self._donors(*pair), None) for pair in pairs], region)

    def _donors(self, cell: str, assay: str) -> list[int]:
        columns = [column for column, other in self._columns.get(assay, {}).items() if other != cell]
        if not columns:
            raise InputError(
                f"no average activity for {cell} {assay}: {assay} has no training track in another cell type; "
                f"assays with training tracks: {', '.join(self._columns) or 'none'}"
            )
        return columns


def mean_tracks(
    store: SignalStore, means: Sequence[tuple[Sequence[int], np.ndarray | None]], region: str
) -> np.ndarray:
    """Mean arcsinh signals, each of some columns of a store, in one pass over them; float32 (n_bins, n_means).

    means: columns, and their weights (n_columns,), which sum to 1; None: all count the same. The signal is read in
    chunks, as one chromosome of an assay's hundred tracks would be gigabytes.
    """
    signal, layout, done = store.signal(region), store.region(region), 0
    used = np.unique(np.concatenate([np.asarray(columns) for columns, _ in means]))
    chosen = [(np.searchsorted(used, columns), weights) for columns, weights in means]
    found = np.empty((layout.n_bins, len(means)), dtype=np.float32)
    for first in range(0, layout.n_blocks, CHUNK_BLOCKS):
        part = slice(first, first + CHUNK_BLOCKS)
        values = signal[part][:, :, used][layout.mask[part]]
        rows = found[done : done + len(values)]
        for number, (columns, weights) in enumerate(chosen):
            its = values[:, columns]
            rows[:, number] = its.mean(axis=1, dtype=np.float64) if weights is None else its @ weights
        done += len(values)
    return found
