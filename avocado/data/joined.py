"""Several stores as one: the tracks of a compendium, and those that were measured later and lie in stores of their own.

Nothing is copied: a chromosome of a thousand tracks need not be written again for the sake of one more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from avocado.data.compendium import pairs_in
from avocado.data.store import SignalStore
from avocado.errors import InputError


@dataclass(frozen=True)
class JoinedSignal:
    """Signal (n_blocks, 200, n_tracks) of several stores, side by side; read where it is indexed by blocks."""

    parts: tuple[np.ndarray, ...]

    def __getitem__(self, blocks: Any) -> np.ndarray:
        return np.concatenate([part[blocks] for part in self.parts], axis=-1)

    def __len__(self) -> int:
        return len(self.parts[0])


@dataclass(frozen=True)
class JoinedStore(SignalStore):
    """The columns of several stores, one store after the other. Regions are those of the first one."""

    parts: tuple[SignalStore, ...] = ()

    def signal(self, region: str) -> Any:
        """Arcsinh signal, see `JoinedSignal`. Raises InputError where a part lacks the region or has another one."""
        layout = self.region(region)
        for part in self.parts:
            if part.region(region) != layout:
                raise InputError(f"region {region} of store {part.path} lies elsewhere than that of {self.path}")
        return JoinedSignal(tuple(part.signal(region) for part in self.parts))

    def has(self, region: str) -> bool:
        """Whether all parts have a region."""
        layout = self.regions.get(region)
        return layout is not None and all(part.regions.get(region) == layout for part in self.parts)


def join(stores: list[SignalStore]) -> SignalStore:
    """One store with the tracks of several; of tracks that are there twice, the first one.

    Raises InputError for stores of different assemblies.
    """
    first, *others = stores
    known, kept = set(pairs_in(first.tracks)), [first]
    for store in others:
        if store.assembly != first.assembly:
            raise InputError(
                f"store {store.path} is of assembly {store.assembly.name} and {first.path} of {first.assembly.name}, "
                "or their chromosomes have other sizes"
            )
        if not set(pairs_in(store.tracks)) <= known:
            kept.append(store)
            known |= set(pairs_in(store.tracks))
    if len(kept) == 1:
        return first
    tracks = pd.concat([its.tracks for its in kept], ignore_index=True)
    return JoinedStore(first.path, first.assembly, dict(first.regions), tracks, first.dtype, tuple(kept))
