"""Average activity: the mean signal of an assay over the cell types it was measured in.

The baseline that every imputation must be held against: it knows where an assay usually has peaks and nothing about
the cell type, and many methods do not beat it (Schreiber et al. 2020, "A pitfall for machine learning methods aiming
to predict across cell types"; ENCODE Imputation Challenge 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avocado.data.genome import BLOCK_BINS
from avocado.data.store import SignalStore
from avocado.errors import InputError

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

    def predict(self, cell: str, assay: str, region: str) -> np.ndarray:
        """Mean arcsinh signal of the assay's training tracks, (cell, assay) itself left out; float32 (n_bins,).

        Raises InputError where no training track of the assay is left. A cell type without any track is fine.
        """
        columns = [column for column, other in self._columns.get(assay, {}).items() if other != cell]
        if not columns:
            raise InputError(
                f"no average activity for {cell} {assay}: {assay} has no training track in another cell type; "
                f"assays with training tracks: {', '.join(self._columns) or 'none'}"
            )
        return mean_track(self._store, columns, region)


def mean_track(
    store: SignalStore, columns: Sequence[int], region: str, weights: np.ndarray | None = None
) -> np.ndarray:
    """Mean arcsinh signal of some columns of a store, float32 (n_bins,).

    weights (n_columns,) sum to 1; None: all count the same. The signal is read in chunks, as one chromosome of an
    assay's hundred tracks would be gigabytes.
    """
    signal, layout, chosen = store.signal(region), store.region(region), list(columns)
    means = np.empty((layout.n_blocks, BLOCK_BINS), dtype=np.float32)
    for first in range(0, layout.n_blocks, CHUNK_BLOCKS):
        part = slice(first, first + CHUNK_BLOCKS)
        values = signal[part][:, :, chosen]
        means[part] = values.mean(axis=2, dtype=np.float64) if weights is None else values @ weights
    return layout.from_blocks(means)
