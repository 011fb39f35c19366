"""The store that a model was made with: found again, and told from others by the checksums of its tracks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from avocado.data.compendium import pairs_in
from avocado.data.store import SignalStore, open_store
from avocado.errors import InputError


def find_store(model: Path, tracks: pd.DataFrame, training: Mapping[str, Any], combined: bool) -> SignalStore:
    """The store that a model learned from. Raises InputError where it is gone, or holds other tracks now.

    tracks, training: of the model. combined: whether it has a baseline, which takes the store.
    """
    path = training.get("store")
    wanted, remedy = f"model {model} learned from tracks in the store {path}", "say where it is with store="
    if combined:
        wanted = f"model {model} has a baseline that is made of its training tracks, which were in the store {path}"
        remedy += ", or do without, baseline=none"
    trouble = "there is no store now"
    try:
        store = open_store(str(path))
        trouble = "it holds other tracks now"
        require_tracks(store, model, tracks, training)
    except InputError:
        raise InputError(f"{wanted}: {trouble}; {remedy}") from None
    return store


def require_tracks(store: SignalStore, model: Path, tracks: pd.DataFrame, training: Mapping[str, Any]) -> None:
    """Raise InputError for a store without the tracks that the model was made with, by their files' checksums.

    Their order does not matter, nor do further tracks. A model that does not say what it was made with passes.
    """
    checksum = training.get("store_checksum")
    if checksum is not None and store.checksum_of(pairs_in(tracks)) != checksum:
        raise InputError(
            f"store {store.path} holds other signal of the tracks that model {model} was trained on: "
            f"give store= with those of {training.get('store')}"
        )
