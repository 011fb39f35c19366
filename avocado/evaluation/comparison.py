"""Any imputers side by side: scores and strata of the same tracks, one track in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
import pandas as pd

from avocado.data.genome import BLOCK_BINS
from avocado.data.store import SignalStore, chunk_blocks
from avocado.evaluation.metrics import AnnotationWindows
from avocado.evaluation.scores import Track, score_table, stratified
from avocado.imputers import Imputer

Made = TypeVar("Made")
Peaks = Callable[[str, str], np.ndarray]  # of a cell type and an assay: bool (n_bins,), bins in its observed peaks


class Lazy(Mapping[Track, Made], Generic[Made]):
    """What belongs to a track, made when asked for and not kept, so that one track at a time is in memory."""

    def __init__(self, tracks: Sequence[Track], make: Callable[[str, str], Made]) -> None:
        self.tracks, self.make = tracks, make

    def __getitem__(self, track: Track) -> Made:
        if track not in self:
            raise KeyError(track)
        return self.make(*track)

    def __contains__(self, track: object) -> bool:
        return track in self.tracks  # Mapping's own would make what belongs to the track

    def __iter__(self) -> Iterator[Track]:
        return iter(self.tracks)

    def __len__(self) -> int:
        return len(self.tracks)


def compare(
    store: SignalStore,
    region: str,
    tracks: Sequence[Track],
    imputers: Mapping[str, Imputer],
    loci: AnnotationWindows | Mapping[Track, AnnotationWindows] | None = None,
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
    tracks: Sequence[Track],
    imputers: Mapping[str, Imputer],
    training: Sequence[Track],
) -> pd.DataFrame:
    """`scores.stratified` of fitted imputers, by variability over the `training` tracks of the assay."""
    spread = Lazy(tracks, lambda _, assay: variability(store, training, assay, region))
    return stratified(*_signals(store, region, tracks, imputers), spread)


def loci_of_tracks(
    store: SignalStore,
    region: str,
    tracks: Sequence[Track],
    training: Sequence[Track],
    loci: AnnotationWindows | None = None,
    peaks: Peaks | None = None,
) -> Mapping[Track, AnnotationWindows]:
    """The places of every track: `loci`, its own observed peaks, and for MSEvar its assay's variance in training."""

    def places(cell: str, assay: str) -> AnnotationWindows:
        variance = variability(store, training, assay, region) ** 2
        return replace(loci or AnnotationWindows(), variance=variance, peaks=peaks(cell, assay) if peaks else None)

    return Lazy(tracks, places)


def variability(store: SignalStore, training: Sequence[Track], assay: str, region: str) -> np.ndarray:
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
    store: SignalStore, region: str, tracks: Sequence[Track], imputers: Mapping[str, Imputer]
) -> tuple[Lazy[np.ndarray], dict[str, Lazy[np.ndarray]]]:
    """Observed signal of the tracks, and what each imputer says about them."""

    def of(imputer: Imputer) -> Lazy[np.ndarray]:
        return Lazy(tracks, lambda cell, assay: imputer.predict(cell, assay, region))

    observed = Lazy(tracks, lambda cell, assay: store.read_track(cell, assay, region))
    return observed, {name: of(imputer) for name, imputer in imputers.items()}
