"""Feature sets: what a classifier is told about a locus (Avocado paper, Fig. 4 and 5).

A feature is a mean over the bins that a window touches, of arcsinh signal or of a latent factor. A locus counts where
all of its windows lie in regions that store and model hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from avocado.data.compendium import Pair, pairs_in
from avocado.data.genome import BIN_SIZE, Assembly, Region, Segment
from avocado.data.store import SignalStore
from avocado.data.windows import holder
from avocado.downstream.tasks import windows_of
from avocado.errors import InputError
from avocado.latent.embeddings import embed_intervals
from avocado.model.directory import Model
from avocado.utils.progress import shown

MISSING = -1.0  # in place of an assay that a cell type does not have, as in the paper
AT_ONCE = 256 << 20  # bytes of imputed signal that are held

Predict = Callable[[Sequence[Pair], str], np.ndarray]  # as `Imputer.predict`


class Place(NamedTuple):
    """Where a window lies."""

    region: str
    address: int  # its first padded bin
    n: int  # bins


def held(loci: pd.DataFrame, regions: Mapping[str, Region], assembly: Assembly) -> np.ndarray:
    """Bool (n_loci,): whether every window of a locus lies in one of the regions."""
    places = [_placed(window, regions, assembly) for window in windows_of(loci)]
    return np.array([None not in its for its in zip(*places, strict=True)], dtype=bool)


def tracks_at(store: SignalStore, loci: pd.DataFrame, progress: bool = False) -> pd.DataFrame:
    """Mean arcsinh signal of every track at loci that the store holds, float32 (n_loci, n_tracks × n_windows).

    Columns are (window, cell, assay), in the order of the store. Read locus by locus.
    """
    parts = []
    for window in windows_of(loci):
        places = _required(window, store.regions, store.assembly)
        signal = {name: store.signal(name).reshape(-1, len(store.tracks)) for name in {its.region for its in places}}
        shown_places = shown(places, "signal", len(places), progress)
        parts.append(np.stack([_mean(signal[place.region], place) for place in shown_places]))
    names = [(str(number), *pair) for number in range(len(parts)) for pair in pairs_in(store.tracks)]
    columns = pd.MultiIndex.from_tuples(names, names=["window", "cell", "assay"])
    return pd.DataFrame(np.concatenate(parts, axis=1), columns=columns)


def own_tracks(tracks: pd.DataFrame, cell: str, missing: float = MISSING) -> np.ndarray:
    """Of `tracks_at`, a column for every assay of the compendium, as `cell` has it; `missing` where it has not.

    missing: −1 as in the paper; NaN leaves it to XGBoost. float32 (n_loci, n_assays × n_windows). Raises InputError
    for a cell type without tracks.
    """
    numbers, assays = (pd.unique(tracks.columns.get_level_values(name)) for name in ("window", "assay"))
    own = tracks.loc[:, tracks.columns.get_level_values("cell") == cell]
    if own.shape[1] == 0:
        cells = pd.unique(tracks.columns.get_level_values("cell"))
        raise InputError(f"the store has no tracks of {cell}; it has: {', '.join(cells)}")
    wanted = pd.MultiIndex.from_product([numbers, [cell], sorted(assays)])
    return own.reindex(columns=wanted, fill_value=missing).to_numpy(np.float32)


def factors_at(model: Model, loci: pd.DataFrame, scale: str = "all") -> np.ndarray:
    """Mean genome factors at loci that the model holds, float32 (n_loci, n_factors × n_windows)."""
    found = []
    for window in windows_of(loci):
        embedding, _ = embed_intervals(model, window, scale=scale)
        found.append(np.concatenate([part.factors for part in embedding.parts()]))
    return np.concatenate(found, axis=1)


def imputed_at(
    predict: Predict,
    regions: Mapping[str, Region],
    assembly: Assembly,
    pairs: Sequence[Pair],
    loci: pd.DataFrame,
) -> np.ndarray:
    """Mean imputed arcsinh signal of some (cell, assay) pairs at loci, float32 (n_loci, n_pairs × n_windows).

    predict: of an imputer, or of a model as `predicted_by` makes it; asked for whole regions, in groups of pairs.
    regions: where it imputes, which have to hold the loci.
    """
    windows = [_required(window, regions, assembly) for window in windows_of(loci)]
    means = [np.empty((len(loci), len(pairs)), dtype=np.float32) for _ in windows]
    for name in dict.fromkeys(place.region for places in windows for place in places):
        layout = regions[name]
        step = max(1, AT_ONCE // (4 * layout.n_bins))
        for first in range(0, len(pairs), step):
            chosen = slice(first, first + step)
            signal = layout.to_blocks(predict(pairs[chosen], name)).reshape(-1, len(pairs[chosen]))
            for places, its in zip(windows, means, strict=True):
                for row in (row for row, place in enumerate(places) if place.region == name):
                    its[row, chosen] = _mean(signal, places[row])
    return np.concatenate(means, axis=1)


def predicted_by(model: Model) -> Predict:
    """`predict` of a model, for `imputed_at`."""
    from avocado.inference.impute import impute

    return lambda pairs, region: impute(model, list(pairs), region)


def _placed(window: pd.DataFrame, regions: Mapping[str, Region], assembly: Assembly) -> list[Place | None]:
    """Of every window its place, None where no region holds all of it."""
    found: list[Place | None] = []
    for chrom, start, end in window.itertuples(index=False):
        first, last = int(start) // BIN_SIZE, min(-(-int(end) // BIN_SIZE), assembly.n_bins(chrom))
        where = holder(regions, Segment(chrom, first, last)) if first < last else None
        found.append(where and Place(*where, last - first))
    return found


def _required(window: pd.DataFrame, regions: Mapping[str, Region], assembly: Assembly) -> list[Place]:
    """The places of windows that are all held. Raises ValueError for one that is not."""
    found = [place for place in _placed(window, regions, assembly) if place is not None]
    if len(found) < len(window):
        raise ValueError(f"{len(window) - len(found)} of {len(window)} windows lie outside of the regions: see `held`")
    return found


def _mean(signal: np.ndarray, place: Place) -> np.ndarray:
    """Mean (n_columns,) over a place's bins of padded signal (n_padded_bins, n_columns)."""
    return signal[place.address : place.address + place.n].mean(axis=0, dtype=np.float32)
