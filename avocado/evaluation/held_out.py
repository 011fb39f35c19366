"""Scores of a model on tracks that it was not trained on, compared with average activity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from avocado.data.compendium import Pair, pairs_in
from avocado.data.store import SignalStore
from avocado.data.windows import Window
from avocado.errors import InputError
from avocado.evaluation.comparison import Peaks, compare, compare_strata, loci_of_tracks
from avocado.evaluation.metrics import AnnotationWindows
from avocado.evaluation.scores import AVERAGE
from avocado.imputers.average import AverageActivity
from avocado.imputers.protocol import Imputer
from avocado.inference.impute import impute, impute_chunks
from avocado.model.directory import Model
from avocado.model.own_store import require_tracks
from avocado.model.transfers import GIVEN
from avocado.utils.hardware import Hardware

MODEL = "Avocado"
Seen = Callable[[str, Pair, np.ndarray], None]  # takes a method, a track and what the method imputes, (n_bins,)


@dataclass(frozen=True)
class _Trained:
    """A trained model as an imputer."""

    model: Model
    hardware: Hardware | None

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        """Nothing is left to learn."""

    def predict(self, pairs: Sequence[Pair], region: str) -> np.ndarray:
        """Imputed arcsinh signal, float32 (n_bins, n_pairs)."""
        return impute(self.model, list(pairs), region, self.hardware)

    def predict_window(self, pairs: Sequence[Pair], window: Window) -> np.ndarray:
        """The same of a window, of which only the blocks that it touches are computed."""
        return np.concatenate([values for _, values in impute_chunks(self.model, pairs, window, self.hardware)])


@dataclass(frozen=True)
class _Watched:
    """An imputer whose imputations somebody else sees, too."""

    imputer: Imputer
    name: str
    seen: Seen

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        self.imputer.fit(store, experiments, region)

    def predict(self, pairs: Sequence[Pair], region: str) -> np.ndarray:
        signal = self.imputer.predict(pairs, region)
        for column, pair in enumerate(pairs):
            self.seen(self.name, pair, signal[:, column])
        return signal


def score_model(
    model: Model,
    store: SignalStore,
    region: str,
    tracks: Sequence[Pair],
    hardware: Hardware | None = None,
    loci: AnnotationWindows | None = None,
    peaks: Peaks | None = None,
    seen: Seen | None = None,
) -> pd.DataFrame:
    """`scores.score_table` of the model and of average activity over its training tracks, on one region.

    `loci`: genes, enhancers and the like; `peaks(cell, assay)`: bool (n_bins,), the bins in the track's observed
    peaks. The variance of each assay, for MSEvar, is taken over the training tracks. `seen` gets every
    imputed track, so that what else is to be known of it needs no second pass. Raises InputError for a store of
    another layout or assembly than the model's, and for tracks that it was trained on: those scores would say nothing.
    """
    _require_held_out(model, store, region, tracks)
    places = loci_of_tracks(store, region, tracks, training_tracks(model, store), loci, peaks)
    imputers = imputers_of(model, store, region, hardware)
    if seen is not None:
        imputers = {name: _Watched(imputer, name, seen) for name, imputer in imputers.items()}
    return compare(store, region, tracks, imputers, places)


def stratify_model(
    model: Model, store: SignalStore, region: str, tracks: Sequence[Pair], hardware: Hardware | None = None
) -> pd.DataFrame:
    """`scores.stratified` of the model and average activity, by variability over the training tracks of the assay.

    Raises InputError as `score_model` does.
    """
    _require_held_out(model, store, region, tracks)
    return compare_strata(
        store, region, tracks, imputers_of(model, store, region, hardware), training_tracks(model, store)
    )


def imputers_of(model: Model, store: SignalStore, region: str, hardware: Hardware | None) -> dict[str, Imputer]:
    """Average activity over the model's training tracks, and the model."""
    average = AverageActivity()
    average.fit(store, [store.track_index(*track) for track in training_tracks(model, store)], region)
    return {AVERAGE: average, MODEL: _Trained(model, hardware)}


def training_tracks(model: Model, store: SignalStore) -> list[Pair]:
    """The training tracks of a model, from a store; of a published model those of them that the store has.

    Tracks that a transfer learned a new assay from are among them: there are no others of it. Raises InputError for a
    model that does not know what it was trained on.
    """
    tracks = pairs_in(model.tracks, "train")
    if not tracks:
        raise InputError(
            f"model {model.path} does not say which experiments it was trained on, so that no score would say "
            "anything: convert it again with tracks="
        )
    added = model.assays[model.n_known[1] :]
    tracks += [track for track in pairs_in(model.tracks, GIVEN) if track[1] in added]
    if model.training.get("store_checksum") is None:
        known = set(zip(store.tracks["cell"], store.tracks["assay"], strict=True))
        return [track for track in tracks if track in known]
    return tracks


def _require_held_out(model: Model, store: SignalStore, region: str, tracks: Sequence[Pair]) -> None:
    require_tracks(store, model.path, model.own_tracks, model.training)
    require_same_layout(model, store, region)
    leaked = set(tracks) & {*pairs_in(model.tracks, "train"), *pairs_in(model.tracks, GIVEN)}
    if leaked:
        raise InputError(
            f"{', '.join(' '.join(track) for track in sorted(leaked)[:3])}: used to train model {model.path}; "
            "a score on them would say nothing; leave out tracks= to score the held-out ones"
        )


def require_same_layout(model: Model, store: SignalStore, region: str) -> None:
    """Raise InputError where a region of the model lies elsewhere in the store."""
    if region in model.regions and model.regions[region] != store.region(region):
        raise InputError(
            f"region {region} of store {store.path} has {store.region(region).n_bins:,} bins and of model "
            f"{model.path} {model.regions[region].n_bins:,}, or lies elsewhere: they are of two assemblies or BED files"
        )
