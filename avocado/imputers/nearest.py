"""Average activity's nearest relatives: they also ask which cell types resemble the one that is imputed.

How similar two cell types are is the mean Pearson correlation of their training tracks, over the assays that were
measured in both. `NearestCell` copies the track of the most similar cell type; `SimilarityAverage` is average activity
in which similar cell types count for more. Where nothing is known about similarity, both are average activity.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from avocado.data.compendium import Pair
from avocado.data.store import SignalStore
from avocado.errors import InputError
from avocado.imputers.average import mean_tracks
from avocado.imputers.chromimpute_features import correlations
from avocado.imputers.config import SimilarityConfig

log = logging.getLogger(__name__)


class _Similarity(ABC):
    """What both imputers learn: which tracks may be used, and how similar the cell types are in each assay."""

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        """Correlate the training tracks of every assay over the bins of `region`: a pass over it for each assay.

        Signal is read piece by piece; what is kept is a number for every two tracks of an assay. Raises InputError
        where the training tracks are of fewer than two cell types.
        """
        cells, assays = (store.tracks[name].iloc[list(experiments)] for name in ("cell", "assay"))
        if cells.nunique() < 2:
            raise InputError(
                f"similarity of cell types needs training tracks in at least two of them; there is: "
                f"{', '.join(cells.unique()) or 'none'}"
            )
        self._store = store
        # of every assay: cell types by name, which is what decides between equally similar ones, and their columns
        self._columns: dict[str, dict[str, int]] = {}
        for cell, assay, column in sorted(zip(cells, assays, experiments, strict=True)):
            self._columns.setdefault(assay, {})[cell] = int(column)
        self._correlations = {
            assay: correlations(store, region, list(columns.values())) for assay, columns in self._columns.items()
        }

    def predict(self, pairs: Sequence[Pair], region: str) -> np.ndarray:
        """Arcsinh signal of some pairs on any region of the store, float32 (n_bins, n_pairs).

        Raises InputError where no other cell type has a training track of an assay.
        """
        return mean_tracks(self._store, [self._mean(*pair) for pair in pairs], region)

    @abstractmethod
    def _mean(self, cell: str, assay: str) -> tuple[list[int], np.ndarray | None]:
        """The columns of which a pair's imputation is the mean, and their weights; None: all count the same."""

    def _donors(self, cell: str, assay: str) -> tuple[list[int], np.ndarray]:
        """Columns of the assay's training tracks in other cell types, and how similar these are to `cell`."""
        donors = {other: column for other, column in self._columns.get(assay, {}).items() if other != cell}
        if not donors:
            raise InputError(
                f"cannot impute {cell} {assay}: {assay} has no training track in another cell type; "
                f"assays with training tracks: {', '.join(self._columns)}"
            )
        similar = self.similarities(cell, list(donors), without=assay)
        if not (similar > 0).any():
            log.info("%s %s is imputed as average activity: no cell type is known to be similar", cell, assay)
        return list(donors.values()), similar

    def similarities(self, cell: str, others: Sequence[str], without: str) -> np.ndarray:
        """Similarity of `cell` to each of the others, float64 (n_others,), from −1 to 1; NaN without a common assay.

        The assay `without` has no say, so that a training track does not help to choose its own imputation.
        """
        return similarities(self._columns, self._correlations, cell, others, without)


def similarities(
    columns: Mapping[str, Mapping[str, int]],
    correlated: Mapping[str, np.ndarray],
    cell: str,
    others: Sequence[str],
    without: str,
) -> np.ndarray:
    """Mean correlation of a cell type's tracks with those of each of the others, float64 (n_others,).

    columns: of every assay, its cell types by name; correlated: of every assay, the correlation of every two of these
    (n, n). The assay `without` has no say. NaN without a common assay.
    """
    found = np.full((len(columns), len(others)), np.nan)
    for row, (assay, cells) in enumerate(columns.items()):
        if assay == without or cell not in cells:
            continue
        place = {name: index for index, name in enumerate(cells)}
        known = [number for number, other in enumerate(others) if other in place]
        found[row, known] = correlated[assay][place[cell], [place[others[number]] for number in known]]
    counts = np.count_nonzero(~np.isnan(found), axis=0)
    return np.divide(np.nansum(found, axis=0), counts, out=np.full(len(others), np.nan), where=counts > 0)


class NearestCell(_Similarity):
    """Imputes a track as the training track of its assay in the most similar cell type.

    A training track that is asked for has no part in its own imputation. Of equally similar cell types the first by
    name is taken; cell types that share no assay with the target's are never the nearest. Where no cell type has a
    similarity above 0, the imputation is average activity, and a line of the log says so.
    """

    def _mean(self, cell: str, assay: str) -> tuple[list[int], np.ndarray | None]:
        columns, similar = self._donors(cell, assay)
        return [columns[int(np.nanargmax(similar))]] if (similar > 0).any() else columns, None


class SimilarityAverage(_Similarity):
    """Imputes a track as the mean of its assay's training tracks, weighted by similarity to the power `sharpness`.

    Similarities below 0, and unknown ones, count as 0. A training track that is asked for has no part in its own
    imputation. Where no cell type has a similarity above 0, this is average activity, and a line of the log says so.
    """

    def __init__(self, config: SimilarityConfig | None = None) -> None:
        self.config = config or SimilarityConfig()

    def _mean(self, cell: str, assay: str) -> tuple[list[int], np.ndarray | None]:
        columns, similar = self._donors(cell, assay)
        known = np.clip(np.nan_to_num(similar), 0, None)
        if not known.any():
            return columns, None
        weights = (known / known.max()) ** self.config.sharpness  # relative, so that no power of them vanishes
        return columns, weights / weights.sum()
