"""Any imputers side by side: scores and strata of the same tracks, some of them in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
import pandas as pd

from avocado.data.compendium import Pair
from avocado.data.genome import BLOCK_BINS
from avocado.data.store import SignalStore, chunk_blocks
from avocado.evaluation.metrics import AnnotationWindows
from avocado.evaluation.scores import score_table, stratified
from avocado.imputers.protocol import Imputer, groups

Made = TypeVar("Made")
Peaks = Callable[[str, str], np.ndarray]  # of a cell type and an assay: bool (n_bins,), bins in its observed peaks


class Lazy(Mapping[Pair, Made], Generic[Made]):
    """What belongs to a track, made when asked for and not kept, so that one track at a time is in memory."""

    def __init__(self, tracks: Sequence[Pair], make: Callable[[str, str], Made]) -> None:
        self.tracks, self.make = tracks, make

    def __getitem__(self, track: Pair) -> Made:
        if track not in self:
            raise KeyError(track)
        return self.make(*track)

    def __contains__(self, track: object) -> bool:
        return track in self.tracks  # Mapping's own would make what belongs to the track

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.tracks)

    def __len__(self) -> int:
        return len(self.tracks)


class Imputed(Lazy[np.ndarray]):
    """What an imputer says of the tracks, arcsinh (n_bins,), imputed with those that follow as memory allows."""

    def __init__(self, tracks: Sequence[Pair], imputer: Imputer, region: str, n_bins: int) -> None:
        super().__init__(tracks, self._of)
        self._imputer, self._region, self._n_bins = imputer, region, n_bins
        self._held: tuple[list[Pair], np.ndarray] | None = None

    def _of(self, cell: str, assay: str) -> np.ndarray:
        pair = cell, assay
        if self._held is None or pair not in self._held[0]:
            self._held = None  # two groups are never in memory
            group = next(groups(self.tracks[self.tracks.index(pair) :], self._n_bins))
            self._held = group, self._imputer.predict(group, self._region)
        return np.ascontiguousarray(self._held[1][:, self._held[0].index(pair)])


def compare(
    store: SignalStore,
    region: str,
    tracks: Sequence[Pair],
    imputers: Mapping[str, Imputer],
    loci: AnnotationWindows | Mapping[Pair, AnnotationWindows] | None = None,
) -> pd.DataFrame:
    """`scores.score_table` of fitted imputers, by the name of the method, on tracks of a store over one region.

    'average activity' has to be among the imputers, and none of them may have learned from the `tracks`: what they
    were fitted to is the caller's to know. Every imputer imputes every track once. Raises InputError for a track that
    the store does not have or an imputer cannot impute.
    """
    return score_table(*_signals(store, region, tracks, imputers), loci)


def compare_strata(
    store: SignalStore,
    region: str,
    tracks: Sequence[Pair],
    imputers: Mapping[str, Imputer],
    training: Sequence[Pair],
) -> pd.DataFrame:
    """`scores.stratified` of fitted imputers, by variability over the `training` tracks of the assay."""
    spread = Lazy(tracks, lambda _, assay: variability(store, training, assay, region))
    return stratified(*_signals(store, region, tracks, imputers), spread)


def loci_of_tracks(
    store: SignalStore,
    region: str,
    tracks: Sequence[Pair],
    training: Sequence[Pair],
    loci: AnnotationWindows | None = None,
    peaks: Peaks | None = None,
) -> Mapping[Pair, AnnotationWindows]:
    """The places of every track: `loci`, its own observed peaks, and for MSEvar its assay's variance in training."""

    def places(cell: str, assay: str) -> AnnotationWindows:
        variance = variability(store, training, assay, region) ** 2
        return replace(loci or AnnotationWindows(), variance=variance, peaks=peaks(cell, assay) if peaks else None)

    return Lazy(tracks, places)


def variability(store: SignalStore, training: Sequence[Pair], assay: str, region: str) -> np.ndarray:
    """Standard deviation of an assay's arcsinh signal over its `training` tracks, float32 (n_bins,).

    0 where there is one such track or none. No other track is read.
    """
    columns = [store.track_index(*track) for track in training if track[1] == assay]
    signal, layout = store.signal(region), store.region(region)
    spread = np.zeros((layout.n_blocks, BLOCK_BINS), dtype=np.float32)
    step = chunk_blocks(len(store.tracks))  # in chunks, as in average activity
    for first in range(0, layout.n_blocks if len(columns) > 1 else 0, step):
        spread[first : first + step] = signal[first : first + step][:, :, columns].std(axis=2, dtype=np.float64)
    return layout.from_blocks(spread)


def _signals(
    store: SignalStore, region: str, tracks: Sequence[Pair], imputers: Mapping[str, Imputer]
) -> tuple[Lazy[np.ndarray], dict[str, Imputed]]:
    """Observed signal of the tracks, and what each imputer says about them."""

    n_bins = store.region(region).n_bins
    observed = Lazy(tracks, lambda cell, assay: store.read_track(cell, assay, region))
    return observed, {name: Imputed(tracks, imputer, region, n_bins) for name, imputer in imputers.items()}
