"""Scores and pictures of a model on tracks that it was not trained on, beside average activity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from avocado.errors import InputError
from avocado.evaluation.scores import AVERAGE, Track, score_table
from avocado.genome import BIN_SIZE, Region
from avocado.hardware import Hardware
from avocado.impute import impute
from avocado.imputers.average import AverageActivity
from avocado.modeldir import Model
from avocado.plots import peak_window, plot_tracks
from avocado.store import SignalStore

MODEL = "Avocado"
SHOWN = 3  # tracks of a picture


class _Lazy(Mapping[Track, np.ndarray]):
    """Tracks made when asked for, so that one track at a time is in memory."""

    def __init__(self, tracks: Sequence[Track], make: Callable[[str, str], np.ndarray]) -> None:
        self.tracks, self.make = tracks, make

    def __getitem__(self, track: Track) -> np.ndarray:
        if track not in self.tracks:
            raise KeyError(track)
        return self.make(*track)

    def __iter__(self) -> Iterator[Track]:
        return iter(self.tracks)

    def __len__(self) -> int:
        return len(self.tracks)


def held_out(model: Model, role: str = "test") -> list[Track]:
    """The (cell, assay) pairs that the model was not trained on."""
    chosen = model.tracks[model.tracks["role"] == role]
    return list(zip(chosen["cell"], chosen["assay"], strict=True))


def score_model(
    model: Model,
    store: SignalStore,
    region: str,
    tracks: Sequence[Track],
    hardware: Hardware | None = None,
) -> pd.DataFrame:
    """`scores.score_table` of the model and of average activity over its training tracks, on one region.

    Raises InputError for a store of another layout or assembly than the model's, and for tracks that it was trained
    on: those scores would say nothing.
    """
    _require_same_layout(model, store, region)
    leaked = set(tracks) - set(held_out(model)) - set(held_out(model, "val"))
    leaked &= set(zip(model.tracks["cell"], model.tracks["assay"], strict=True))
    if leaked:
        raise InputError(
            f"{', '.join(' '.join(track) for track in sorted(leaked)[:3])}: used to train model {model.path}; "
            "a score on them would say nothing; leave out tracks= to score the held-out ones"
        )
    observed = _Lazy(tracks, lambda cell, assay: store.read_track(cell, assay, region))
    average = _average(model, store, region)
    return score_table(
        observed,
        {
            AVERAGE: _Lazy(tracks, lambda cell, assay: average.predict(cell, assay, region)),
            MODEL: _Lazy(tracks, lambda cell, assay: impute(model, [(cell, assay)], region, hardware)[:, 0]),
        },
    )


def picture(
    model: Model,
    store: SignalStore,
    region: str,
    tracks: Sequence[Track],
    hardware: Hardware | None = None,
    width: int = 100_000,
    place: tuple[str, int, int] | None = None,
) -> Figure:
    """Observed, imputed and average activity of up to three tracks, over `width` bp with peaks or over `place`.

    place: chromosome, start, end in bp.
    """
    _require_same_layout(model, store, region)
    chosen = list(tracks)[:SHOWN]
    observed = store.read_tracks([store.track_index(*track) for track in chosen], region)
    layout = store.region(region)
    bins = layout.locate(*place) if place else _peaks(layout, observed, width // BIN_SIZE)
    chrom, start = _address(layout, bins.start)
    imputed = impute(model, chosen, region, hardware)
    average = _average(model, store, region)
    rows = {
        " ".join(track): {
            "observed": observed[bins, column],
            MODEL: imputed[bins, column],
            AVERAGE: average.predict(*track, region)[bins],
        }
        for column, track in enumerate(chosen)
    }
    return plot_tracks(rows, chrom, start, title=f"Held-out tracks, {chrom} ({store.assembly.name})")


def _average(model: Model, store: SignalStore, region: str) -> AverageActivity:
    average = AverageActivity()
    average.fit(store, [store.track_index(*track) for track in held_out(model, "train")], region)
    return average


def _require_same_layout(model: Model, store: SignalStore, region: str) -> None:
    if region in model.regions and model.regions[region] != store.region(region):
        raise InputError(
            f"region {region} of store {store.path} has {store.region(region).n_bins:,} bins and of model "
            f"{model.path} {model.regions[region].n_bins:,}, or lies elsewhere: they are of two assemblies or BED files"
        )


def _peaks(layout: Region, observed: np.ndarray, width: int) -> slice:
    """The most telling window of any one segment."""
    best, highest = slice(0, min(width, layout.n_bins)), -1.0
    for segment, rank, _ in layout.walk():
        signal = observed[rank : rank + segment.n_bins]
        window = peak_window(signal, min(width, segment.n_bins))
        spread = float(signal[window].std(axis=0).mean())
        if spread > highest:
            best, highest = slice(rank + window.start, rank + window.stop), spread
    return best


def _address(layout: Region, rank: int) -> tuple[str, int]:
    """Chromosome and bp of the bin of that rank."""
    for segment, first, _ in layout.walk():
        if first <= rank < first + segment.n_bins:
            return segment.chrom, (segment.start + rank - first) * BIN_SIZE
    raise IndexError(rank)
