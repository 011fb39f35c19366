"""Cross-assay regression as an imputer; `avocado.regression` says how it works, Avocado takes it as an input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avocado.errors import InputError
from avocado.genome import BLOCK_BINS
from avocado.regression import Experiments, RegressionConfig, apply_weights, block_steps, moments_of, regress
from avocado.store import SignalStore


class Regression:
    """Imputes a track as a weighted sum of the training tracks and of their moving means.

    Exact, without randomness, and without what a bin's own factors could say. For a training track the weights are
    found without it, so this is an imputation too.
    """

    def __init__(self, config: RegressionConfig | None = None) -> None:
        self.config = config or RegressionConfig()

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        """One pass over the training tracks of a region."""
        tracks = store.tracks.iloc[list(experiments)]
        self._store = store
        self._train = Experiments(
            np.array(experiments, dtype=np.int64), tracks["cell"].tolist(), tracks["assay"].tolist()
        )
        self._moments = moments_of(store.signal(region), store.region(region), self._train.columns)

    def predict(self, cell: str, assay: str, region: str) -> np.ndarray:
        """Imputed arcsinh signal, float32 (n_bins,); one pass over the training tracks of the region.

        Raises InputError where no training track of the assay, or none of the cell type, is left without this one.
        """
        pairs = set(zip(self._train.cells, self._train.assays, strict=True)) - {(cell, assay)}
        for name, number, kind in ((cell, 0, "cell type"), (assay, 1, "assay")):
            if name not in {pair[number] for pair in pairs}:
                raise InputError(f"cannot regress {cell} {assay}: no other training track of {kind} {name}")
        weights = regress(self._moments, self._train, [(cell, assay)], self.config)
        signal, layout = self._store.signal(region), self._store.region(region)
        blocks = np.empty((layout.n_blocks, BLOCK_BINS), dtype=np.float32)
        for first, last in block_steps(layout, len(self._train.columns)):
            piece = apply_weights(signal, layout, self._train.columns, weights, first, last)
            blocks[first:last] = piece[:, :, 0]
        return layout.from_blocks(blocks)
