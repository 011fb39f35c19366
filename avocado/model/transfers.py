"""Cell types and assays that were added to a trained model, and the tracks that they were learned from.

A transferred model has everything of the model that it was made from, bit for bit, and behind it rows for what is new:
cell-type factors, or assay factors and the assay's weights of the last layer. Its genome factors are those of its
source, so files of these are of use to both. The new tracks lie in the model's own directory, as a small store for each
transfer: `given/1`, `given/2`, ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from avocado.data.compendium import Pair
from avocado.data.joined import JoinedStore, join
from avocado.data.store import SignalStore, Tracks, open_store, tracks_of
from avocado.errors import InputError
from avocado.model.baseline import RegressionBaseline
from avocado.model.regression import CPU, unfitted
from avocado.model.scales import RIDGE, expected_scales

GIVEN = "given"  # role of a track that something new was learned from
RECORD = "transfer"  # folder of a model's last transfer
VERDICT = "verdict.txt"  # there; of earlier transfers in the folders of their tracks


@dataclass(frozen=True)
class Transfer:
    """What was added to a model in one go, and of what."""

    source: str  # directory of the model that it was added to
    shared_sha256: str  # of that model's shared parameters
    region: str  # that it was learned on
    cells: list[str]  # new ones, in the order of their rows
    assays: list[str]
    store: str  # of the new tracks, within the directory of this model
    store_checksum: str
    arrays: str = "arcsinh"  # what .npy and .npz files of new tracks hold, or raw

    def __str__(self) -> str:
        new = [
            f"{kind} {', '.join(names)}" for kind, names in (("cell type", self.cells), ("assay", self.assays)) if names
        ]
        return f"added by transfer from {self.source}: {' and '.join(new)}"

    def plain(self) -> dict[str, Any]:
        """For model.yaml."""
        return asdict(self)


def transfers_in(meta: dict[str, Any]) -> tuple[Transfer, ...]:
    """What a model.yaml says was added."""
    return tuple(Transfer(**its) for its in meta.get("transfers", ()))


def n_known(cells: Sequence[str], assays: Sequence[str], transfers: Iterable[Transfer]) -> tuple[int, int]:
    """How many cell types and assays a model was trained with: the first ones of all."""
    added = list(transfers)
    return len(cells) - sum(len(its.cells) for its in added), len(assays) - sum(len(its.assays) for its in added)


def own_tracks(
    tracks: pd.DataFrame, cells: Sequence[str], assays: Sequence[str], transfers: Sequence[Transfer]
) -> pd.DataFrame:
    """The rows of a model's table of tracks that no transfer brought."""
    n_cells, n_assays = n_known(cells, assays, transfers)
    return tracks[tracks["cell"].isin(cells[:n_cells]) & tracks["assay"].isin(assays[:n_assays])]


def given_stores(directory: Path, transfers: Iterable[Transfer]) -> list[SignalStore]:
    """The stores of the tracks that were given. Raises InputError for one that is gone or holds other tracks."""
    found = []
    for its in transfers:
        store = open_store(directory / its.store)
        if store.tracks_checksum != its.store_checksum:
            raise InputError(f"store {store.path} holds other tracks than those that model {directory} was given")
        found.append(store)
    return found


@dataclass(frozen=True)
class TransferredBaseline:
    """The baseline of a transferred model: that of its source for known pairs, and one like it for those with new ones.

    A pair of a new cell type is regressed as any other: weights are learned from the assay's tracks in the cell types
    that the model was trained with, and applied to their average and to the tracks that the new cell type has. What is
    imputed of a known pair takes no notice of new tracks.
    """

    own: RegressionBaseline
    added: RegressionBaseline  # its store has the new tracks, too

    @property
    def store(self) -> SignalStore:
        """Of the tracks that the model was trained with."""
        return self.own.store

    @property
    def train(self):
        """All tracks that take part."""
        return self.added.train

    def is_known(self, pair: Pair) -> bool:
        """Whether both cell type and assay of a pair are those that the model was trained with."""
        return pair[0] in self.own.cells and pair[1] in self.own.assays

    def require(self, pairs: Iterable[Pair], progress: bool = False) -> None:
        """Regress those of the pairs that have not been, see `RegressionBaseline.require`."""
        asked = list(pairs)
        self.own.require([pair for pair in asked if self.is_known(pair)], progress)
        self.added.require([pair for pair in asked if not self.is_known(pair)], progress)

    def blocks(
        self,
        region: str,
        cells: np.ndarray,
        assays: np.ndarray,
        steps: Iterable[tuple[int, int]],
        device: torch.device = CPU,
    ) -> Iterator[torch.Tensor]:
        """Arcsinh signal of the pairs, see `RegressionBaseline.blocks`."""
        known = np.array([self.is_known((self.added.cells[c], self.added.assays[a]))
                          for c, a in zip(cells, assays, strict=True)], dtype=bool)  # fmt: skip
        if known.all():
            return self.own.blocks(region, cells, assays, steps, device)
        if isinstance(self.added.store, JoinedStore) and not self.added.store.has(region):
            raise InputError(
                f"{self.added.cells[cells[~known][0]]} was added to the model by tracks that were not read in "
                f"{region}: transfer it again with regions= and {region} in it, or use baseline=none"
            )
        return self._both(region, cells, assays, list(steps), known, device)

    def _both(self, region, cells, assays, steps, known, device) -> Iterator[torch.Tensor]:
        if not known.any():
            yield from self.added.blocks(region, cells, assays, steps, device)
            return
        parts = [its.blocks(region, cells[chosen], assays[chosen], steps, device)
                 for its, chosen in ((self.own, known), (self.added, ~known))]  # fmt: skip
        for old, new in zip(*parts, strict=True):
            found = old.new_empty(*old.shape[:2], len(cells))
            found[..., torch.from_numpy(known).to(device)] = old
            found[..., torch.from_numpy(~known).to(device)] = new
            yield found


@dataclass(frozen=True)
class AddedRegressions(RegressionBaseline):
    """Regressions of pairs with a new cell type or a new assay; known: how many of the tracks are the model's own."""

    known: int = 0

    def expected(self, pairs: Sequence[Pair], ridge: float) -> np.ndarray:
        """Mean and deviation that are expected of pairs (n_pairs, 2)."""
        return expected_beside(self.fitted.scales, self.train, self.known, pairs, ridge)


def expected_beside(
    scales: np.ndarray,
    tracks: Tracks,
    known: int,
    pairs: Sequence[Pair],
    ridge: float = RIDGE,
    leave_out: bool = True,
) -> np.ndarray:
    """`scales.expected_scales` of pairs with something new, each from the known tracks and those that it is about.

    known: how many of the tracks, the first ones, are those that the model was trained with. Of the others, tracks of
    the pair's cell type count where it is new, and those of its assay where that is: so that nothing depends on what
    else is added.
    """
    cells, assays = set(tracks.cells[:known]), set(tracks.assays[:known])
    groups: dict[tuple[str | None, str | None], list[int]] = {}
    for number, (cell, assay) in enumerate(pairs):
        key = (None if cell in cells else cell), (None if assay in assays else assay)
        groups.setdefault(key, []).append(number)
    found = np.empty((len(pairs), 2))
    for (cell, assay), numbers in groups.items():
        rows = [row for row, (its, other) in enumerate(zip(tracks.cells, tracks.assays, strict=True))
                if row < known or its == cell or other == assay]  # fmt: skip
        some = Tracks(
            tracks.columns[rows], [tracks.cells[row] for row in rows], [tracks.assays[row] for row in rows],
            tracks.cell[rows], tracks.assay[rows],
        )  # fmt: skip
        asked = [pairs[number] for number in numbers]
        found[numbers] = expected_scales(scales[:, rows], some, asked, ridge, leave_out=leave_out)
    return found


def added_baseline(
    own: RegressionBaseline,
    given: Sequence[SignalStore],
    names: tuple[list[str], list[str]],
    chosen: Sequence[Pair],
    scales: np.ndarray,
    regions: Sequence[str],
    kept: Path | None = None,
) -> RegressionBaseline:
    """Regressions of pairs with a new cell type or a new assay; none is regressed yet.

    own: the baseline of the known pairs; given: stores of new tracks; names: cell types and assays, known and new;
    chosen: the new tracks that may be used, with the mean and deviation of each in `scales` (2, n_chosen); regions:
    that they were learned from, where new tracks lack the region of the model's training. Those of a known assay say
    something about their own cell type alone, so that what is imputed of a new cell type does not depend on which
    others are added with it.
    """
    store = join([own.store, *given])
    train = own.train
    columns = [*train.columns.tolist(), *(store.track_index(*pair) for pair in chosen)]
    donors = [True] * len(train.columns) + [assay not in own.assays for _, assay in chosen]
    both = replace(tracks_of(store, columns, names), donors=np.array(donors))
    assert own.config is not None
    fitted = unfitted(np.concatenate([own.fitted.scales, scales], axis=1), len(names[0]), names[1], own.config)
    has = store.has if isinstance(store, JoinedStore) else store.regions.__contains__
    region = next((its for its in (own.region, *regions) if its is not None and has(its)), own.region)
    made = AddedRegressions(store, both, *names, fitted, own.config, region, kept, len(train.columns))
    return made if kept is None else made.with_kept()
