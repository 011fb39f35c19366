"""Everything that can impute a track stands behind one small protocol, `Imputer`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from avocado.data.compendium import Pair
from avocado.data.genome import Region
from avocado.data.store import SignalStore
from avocado.data.windows import Window, chosen_bins
from avocado.errors import InputError

GROUP = 256 << 20  # bytes of imputed signal in memory at a time
FEW = 8  # tracks at a time of an imputer that learns for each anew: an interruption takes no more

log = logging.getLogger(__name__)


class Imputer(Protocol):
    """A method that learns from some tracks of a store and imputes any (cell type, assay) pair.

    Scoring, tables, plots and export are written once against these two functions.
    """

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        """Learn from the store's columns `experiments`, and from no other signal, on one region."""
        ...

    def predict(self, pairs: Sequence[Pair], region: str) -> np.ndarray:
        """Imputed arcsinh signal of some pairs over a region of the store, float32 (n_bins, n_pairs).

        One pass over the store serves all pairs; `groups` says how many of them fit into memory. Raises InputError,
        before any work, where one of them cannot be imputed.
        """
        ...


@runtime_checkable
class Foretelling(Protocol):
    """A fitted imputer that takes long, and can say how long."""

    def outlook(self, pairs: Sequence[Pair], region: str) -> str:
        """In a line, what imputing these pairs over a region will take, measured on a small part."""
        ...


@runtime_checkable
class Windowed(Protocol):
    """An imputer that need not impute all of a region where only a part of it is wanted."""

    def predict_window(self, pairs: Sequence[Pair], window: Window) -> np.ndarray:
        """`predict` of the bins of a window, float32 (n_bins, n_pairs)."""
        ...


def foretell(imputer: object, pairs: Sequence[Pair], region: str) -> None:
    """Log how long a fitted imputer will be at work, where it can say that."""
    if isinstance(imputer, Foretelling) and pairs and (line := imputer.outlook(pairs, region)):
        log.info(line)


def groups(pairs: Sequence[Pair], n_bins: int, imputer: object = None) -> Iterator[list[Pair]]:
    """The pairs in order, as many at a time as are to be in memory over a region of `n_bins` bins.

    Of an imputer that says `learns_for_each`, few, as one pass over the store is nothing beside what it learns.
    """
    most = FEW if getattr(imputer, "learns_for_each", False) else len(pairs)
    size = max(1, min(most, GROUP // (4 * n_bins)))
    for first in range(0, len(pairs), size):
        yield list(pairs[first : first + size])


def predict_window(imputer: Imputer, pairs: Sequence[Pair], window: Window, source: Region) -> np.ndarray:
    """Imputed arcsinh signal of a window of the region `source`, float32 (n_bins, n_pairs)."""
    if window.layout == source:
        return imputer.predict(pairs, source.name)
    if isinstance(imputer, Windowed):
        return imputer.predict_window(pairs, window)
    parts = chosen_bins(source, window.layout)
    imputed = imputer.predict(pairs, source.name)
    return np.concatenate([imputed[rank : rank + number] for _, number, rank in parts])


def possible(imputer: Imputer, pairs: Sequence[Pair], window: Window, source: Region) -> tuple[
    dict[Pair, np.ndarray], list[str]
]:  # fmt: skip
    """Signal (n_bins,) of the pairs that can be imputed, see `predict_window`, and why the others cannot."""
    if not pairs:
        return {}, []
    try:
        return dict(zip(pairs, predict_window(imputer, pairs, window, source).T, strict=True)), []
    except InputError as error:
        if len(pairs) < 2:
            return {}, [str(error)]
    found, refused = {}, []
    for pair in pairs:
        one, reasons = possible(imputer, [pair], window, source)
        found |= one
        refused += reasons
    return found, refused
