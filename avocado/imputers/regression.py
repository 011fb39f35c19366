"""Cross-assay regression as an imputer; `avocado.model.regression` says how it works, Avocado takes it as an input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avocado.data.compendium import Pair
from avocado.data.store import SignalStore, tracks_of
from avocado.errors import InputError
from avocado.model.config import RegressionConfig
from avocado.model.regression import drawn_bins, impute_blocks, piece_blocks, regress
from avocado.model.scales import expected_scales, track_scales
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
        self._train = tracks_of(store, columns)
        self._scales = track_scales(store, region, columns)
        self._means = drawn_bins(store, region, columns, self._scales, self.config)

    def predict(self, pairs: Sequence[Pair], region: str) -> np.ndarray:
        """Imputed arcsinh signal, float32 (n_bins, n_pairs); one pass over the training tracks of the region.

        Raises InputError where no training track of an assay, or none of a cell type, is left without the pair's own.
        """
        train, assays, layout = self._train, self._store.assays, self._store.region(region)
        for pair in pairs:
            others = set(train.rows) - {pair}
            for number, kind in enumerate(("cell type", "assay")):
                if pair[number] not in {other[number] for other in others}:
                    raise InputError(
                        f"cannot regress {' '.join(pair)}: no other training track of {kind} {pair[number]}"
                    )
        expected = expected_scales(self._scales, train, pairs, self.config.scale_ridge)
        fitted = regress(self._means, self._scales, expected, train, assays, pairs, self.config)
        steps = layout.pieces(piece_blocks(len(train.columns), self._device))
        blocks = impute_blocks(self._store.signal(region), layout, train, assays, fitted, pairs, steps, self._device)
        imputed, done = np.empty((layout.n_bins, len(pairs)), dtype=np.float32), 0
        for (first, last), piece in zip(steps, blocks, strict=True):
            real = piece.cpu().numpy()[layout.mask[first:last]]
            imputed[done : done + len(real)] = real
            done += len(real)
        return imputed
