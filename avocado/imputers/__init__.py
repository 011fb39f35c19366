"""Imputers: everything that can impute a track stands behind one small protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from avocado.store import SignalStore


class Imputer(Protocol):
    """A method that learns from some tracks of a store and imputes any (cell, assay) pair.

    Scoring, tables, plots and export are written once against these two functions.
    """

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        """Learn from the store's columns `experiments`, and from no other signal, on one region."""
        ...

    def predict(self, cell: str, assay: str, region: str) -> np.ndarray:
        """Imputed arcsinh signal of one track, float32 (n_bins,). Raises InputError where it cannot be imputed."""
        ...
