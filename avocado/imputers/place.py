"""A control that knows only the place (Schreiber et al. 2020, "A pitfall"; imputation is a cross-cell-type task).

One number for each bin, the mean of all training tracks of all assays and of other cell types, brought to the assay's
average activity by a straight line. What a method's score has above this comes from the assay, and what it has above
average activity from the cell type.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avocado.data.compendium import Pair
from avocado.data.store import SignalStore
from avocado.errors import InputError
from avocado.imputers.average import mean_tracks


class PlaceOnly:
    """Imputes every assay from one and the same signal."""

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        """Remember which columns of the store may be used."""
        store.region(region)
        self._store = store
        tracks = store.tracks.iloc[list(experiments)]
        self._columns = list(zip(experiments, tracks["cell"], tracks["assay"], strict=True))

    def predict(self, pairs: Sequence[Pair], region: str) -> np.ndarray:
        """Arcsinh signal, float32 (n_bins, n_pairs). Raises InputError for an assay without another cell type."""
        means = []
        for cell, assay in pairs:
            others = [column for column, its, _ in self._columns if its != cell]
            same = [column for column, its, measured in self._columns if its != cell and measured == assay]
            if not same:
                raise InputError(f"nothing is known of {assay} but in {cell}: it has no training track elsewhere")
            means += [(others, None), (same, None)]
        signals = mean_tracks(self._store, means, region)
        imputed = np.empty((len(signals), len(pairs)), dtype=np.float32)
        for number in range(len(pairs)):
            place, average = signals[:, 2 * number : 2 * number + 2].T.astype(np.float64)
            spread = place.var()
            slope = ((place - place.mean()) * (average - average.mean())).mean() / spread if spread > 0 else 0.0
            imputed[:, number] = average.mean() + slope * (place - place.mean())
        return imputed
