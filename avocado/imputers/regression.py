"""Cross-assay regression as an imputer; `avocado.model.regression` says how it works, Avocado takes it as an input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from avocado.data.store import SignalStore
from avocado.errors import InputError
from avocado.model.regression import RegressionConfig, drawn_bins, impute_blocks, piece_blocks, regress
from avocado.model.scales import expected_scales, experiments_of, track_scales
from avocado.utils.hardware import device_of


class Regression:
    """Imputes a track from the assay's average around the bin and from the other assays of the cell type.

    In closed form, without what a bin's own factors could say. For a training track the weights are found without it,
    so this is an imputation too. `config.seed` says which bins it learns from and which random features it has: the
    same seed gives the same result.
    """

    def __init__(self, config: RegressionConfig | None = None, device: str = "cpu") -> None:
        self.config, self._device = config or RegressionConfig(), device_of(device)

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        """Two passes over the training tracks of a region: how strong they are, and their signal at random bins."""
        self._store, columns = store, np.array(list(experiments), dtype=np.int64)
        self._train = experiments_of(store, columns)
        self._scales = track_scales(store, region, columns)
        self._means = drawn_bins(store, region, columns, self._scales, self.config)

    def predict(self, cell: str, assay: str, region: str) -> np.ndarray:
        """Imputed arcsinh signal, float32 (n_bins,); one pass over the training tracks of the region.

        Raises InputError where no training track of the assay, or none of the cell type, is left without this one.
        """
        train, pair, assays = self._train, (cell, assay), self._store.assays
        pairs = set(train.rows) - {pair}
        for name, number, kind in ((cell, 0, "cell type"), (assay, 1, "assay")):
            if name not in {pair[number] for pair in pairs}:
                raise InputError(f"cannot regress {cell} {assay}: no other training track of {kind} {name}")
        expected = expected_scales(self._scales, train, [pair], self.config.scale_ridge)
        fitted = regress(self._means, self._scales, expected, train, assays, [pair], self.config)
        signal, layout = self._store.signal(region), self._store.region(region)
        steps = layout.pieces(piece_blocks(len(train.columns), self._device))
        pieces = impute_blocks(signal, layout, train, assays, fitted, [pair], steps, self._device)
        return layout.from_blocks(torch.cat([piece[:, :, 0] for piece in pieces]).cpu().numpy())
