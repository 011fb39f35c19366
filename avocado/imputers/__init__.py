"""Imputers: everything that can impute a track stands behind one small protocol."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from avocado.data.store import SignalStore

log = logging.getLogger(__name__)


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


@runtime_checkable
class Foretelling(Protocol):
    """A fitted imputer that takes long, and can say how long."""

    def outlook(self, pairs: Sequence[tuple[str, str]], region: str) -> str:
        """In a line, what imputing these (cell, assay) pairs over a region will take, measured on a small part."""
        ...


def foretell(imputer: object, pairs: Sequence[tuple[str, str]], region: str) -> None:
    """Log how long a fitted imputer will be at work, where it can say that."""
    if isinstance(imputer, Foretelling) and pairs and (line := imputer.outlook(pairs, region)):
        log.info(line)
