"""Feature sets: what a classifier is told about a locus (Avocado paper, Fig. 4 and 5).

A feature is a mean over the bins that a window touches, of arcsinh signal or of a latent factor. A locus counts where
all of its windows lie in regions that store and model hold.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from avocado.data.compendium import Pair, pairs_in
from avocado.data.genome import BIN_SIZE, Assembly, Region, Segment
from avocado.data.regions import touched
from avocado.data.store import SignalStore
from avocado.data.windows import Window, holder
from avocado.downstream.tasks import Task, windows_of
from avocado.errors import InputError
from avocado.inference.impute import impute_chunks
from avocado.latent.embeddings import cell_code, cell_states, code_weights, embed_intervals
from avocado.model.directory import Model
from avocado.model.states import StatesNetwork
from avocado.utils.progress import shown

MISSING = -1.0  # in place of an assay that a cell type does not have, as in the paper
AT_ONCE = 256 << 20  # bytes of imputed signal that are held

OWN, ALL, IMPUTED = "own tracks", "all tracks", "own tracks, imputed"
FACTORS, STATES, CODE = "latent factors", "latent factors of the cell type", "latent code of the cell type"
# as they are typed, and as tables have them
NAMES = {"own": OWN, "imputed": IMPUTED, "all": ALL, "factors": FACTORS, "states": STATES, "code": CODE}
MODELS_OWN = {"factors", "states", "code"}  # that need no store


class FeatureReader:
    """Feature sets of tasks of many cell types, read once at all of their loci.

    loci: of all tasks, all held by store and model. store: of own and all tracks; model: of factors and imputations,
    which have seen the tracks that the model was trained on. others: stores of what other methods imputed, by the name
    of the method, whose tracks of the cell type are a feature set each. missing: see `own_tracks`.
    """

    def __init__(
        self,
        loci: pd.DataFrame,
        store: SignalStore | None = None,
        model: Model | None = None,
        others: Mapping[str, SignalStore] | None = None,
        missing: float = MISSING,
        progress: bool = False,
    ) -> None:
        self.loci = loci.drop_duplicates(ignore_index=True)
        self.store, self.model, self.others = store, model, dict(others or {})
        self.missing, self.progress = missing, progress

    def possible(self, cell: str) -> list[str]:
        """The feature sets, by their short names, that there are for a cell type."""
        found: set[str] = set()
        if self.store is not None:
            found |= {"all"} | ({"own"} if cell in self.store.cells else set())
        if self.model is not None:
            network, is_known = self.model.network, cell in self.model.cells
            found |= {"factors"} | ({"imputed"} if is_known else set())
            if isinstance(network, StatesNetwork) and is_known:
                found |= {"states"} | ({"code"} if cell in self.model.cells[: network.encoded_cells] else set())
        return [name for name in NAMES if name in found]

    def features(self, task: Task, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Of a task, feature sets by the names that tables have; float32 (n_loci, n_features).

        names: of NAMES; what other methods imputed of the cell type is always there, behind its own tracks. Raises
        InputError for one that there is none of.
        """
        possible = self.possible(task.cell)
        if self.model is not None and task.cell in self.model.cells:  # says why there are none
            if "states" in names:
                self.model.loading(task.cell)
            if "code" in names:
                code_weights(self.model, task.cell)
        if lacking := [name for name in names if name not in possible]:
            whose = f" of '{task.cell}'" if task.cell else ", where labels are of no cell type: give cell="
            raise InputError(f"features={lacking[0]}: there are none{whose}; there is: {', '.join(possible)}")
        rows = pd.MultiIndex.from_frame(self.loci).get_indexer(pd.MultiIndex.from_frame(task.loci))
        made = {"own": self._own, "all": self._all, "imputed": self._imputed, "factors": lambda _: self._factors,
                "states": lambda cell: self._of_cell(cell_states, cell),
                "code": lambda cell: self._of_cell(cell_code, cell)}  # fmt: skip
        found = {NAMES[name]: made[name](task.cell) for name in names}
        others = {
            f"{OWN}, {name}": own_tracks(tracks, task.cell, self.missing)
            for name, tracks in self._others.items()
            if task.cell in self.others[name].cells
        }
        own = {OWN: found[OWN]} if OWN in found else {}
        return {name: values[rows] for name, values in (own | others | found).items()}

    def _own(self, cell: str) -> np.ndarray:
        return own_tracks(self._tracks, cell, self.missing)

    def _all(self, cell: str) -> np.ndarray:
        return self._tracks.to_numpy()

    def _imputed(self, cell: str) -> np.ndarray:
        assert self.model is not None
        return imputed_at(self.model, [(cell, assay) for assay in self.model.assays], self.loci)

    def _of_cell(self, made: Callable[[Model, str, np.ndarray], np.ndarray], cell: str) -> np.ndarray:
        assert self.model is not None
        windows = np.split(self._factors, len(windows_of(self.loci)), axis=1)
        return np.concatenate([made(self.model, cell, its) for its in windows], axis=1)

    @cached_property
    def _tracks(self) -> pd.DataFrame:
        assert self.store is not None
        return tracks_at(self.store, self.loci, self.progress)

    @cached_property
    def _others(self) -> dict[str, pd.DataFrame]:
        return {name: tracks_at(store, self.loci, self.progress) for name, store in self.others.items()}

    @cached_property
    def _factors(self) -> np.ndarray:
        assert self.model is not None
        return factors_at(self.model, self.loci)


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


def imputed_at(model: Model, pairs: Sequence[Pair], loci: pd.DataFrame) -> np.ndarray:
    """Mean imputed arcsinh signal of some (cell, assay) pairs at loci, float32 (n_loci, n_pairs × n_windows).

    Only what windows touch is imputed, in groups of pairs, and held in memory.
    """
    windows = windows_of(loci)
    places = [_required(window, model.regions, model.assembly) for window in windows]
    means = [np.empty((len(loci), len(pairs)), dtype=np.float32) for _ in windows]
    for name in dict.fromkeys(place.region for its in places for place in its):
        here = [np.flatnonzero([place.region == name for place in its]) for its in places]
        intervals = [window.iloc[rows] for window, rows in zip(windows, here, strict=True)]
        segments = touched(model.assembly, (row for its in intervals for row in its.itertuples(index=False, name=None)))
        layout = Region(name, tuple(segments))
        step = max(1, AT_ONCE // (4 * layout.n_bins))
        for first in range(0, len(pairs), step):
            chosen = slice(first, first + step)
            pieces = [values for _, values in impute_chunks(model, pairs[chosen], Window(name, layout))]
            signal = np.concatenate(pieces)
            for its, rows, part in zip(means, here, intervals, strict=True):
                for row, bins in zip(rows, _ranks(layout, part), strict=True):
                    its[row, chosen] = signal[bins].mean(axis=0, dtype=np.float32)
    return np.concatenate(means, axis=1)


def _ranks(layout: Region, window: pd.DataFrame) -> list[slice]:
    """Ranks of the bins of windows that lie in single segments of a region."""
    of_chrom: dict[str, list[tuple[int, int, int]]] = {}
    for segment, rank, _ in layout.walk():
        of_chrom.setdefault(segment.chrom, []).append((segment.start, segment.end, rank))
    found = []
    for chrom, start, end in window.itertuples(index=False):
        segments = of_chrom[chrom]
        first, last, rank = segments[bisect_right(segments, start // BIN_SIZE, key=lambda its: its[0]) - 1]
        found.append(slice(rank + start // BIN_SIZE - first, rank + min(-(-end // BIN_SIZE), last) - first))
    return found


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
