"""Observed tracks of a store as bigWig files in −log10 p, to be looked at beside imputed ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

import avocado
from avocado.data.compendium import Pair
from avocado.data.genome import BLOCK_BINS
from avocado.data.store import SignalStore
from avocado.data.windows import Window, pieces
from avocado.inference.impute import DECIMALS, distinct, regions_in_order
from avocado.inference.track_files import track_files
from avocado.utils.provenance import Made

PIECE = 64 << 20  # bytes of the store that are read at a time


def observed_places(store: SignalStore, regions: Sequence[str | Path]) -> list[Window]:
    """The places as the store has them, in the order of the genome.

    Raises InputError for a place that is not in the store, and for two that overlap.
    """
    found = distinct(window for region in regions for window in store.windows(region))
    by_name = {window.layout.name: window for window in found}
    ordered = regions_in_order(store.assembly, [window.layout for window in found], disjoint=True)
    return [by_name[layout.name] for layout in ordered]


def made_from(
    store: SignalStore, files: Mapping[Pair, Path], windows: Sequence[Window], decimals: int | None = DECIMALS
) -> dict[Path, Made]:
    """What decides the content of each file: the track, the places, and how it is rounded (`utils.provenance`)."""
    common = {
        "avocado": avocado.__version__,
        "observed": True,
        "scale": "pval",
        "decimals": decimals,
        "regions": {window.layout.name: window.layout.checksum for window in windows},
    }
    return {
        path: Made({"cell": cell, "assay": assay, "track": store.checksum_of([(cell, assay)])} | common, store.path)
        for (cell, assay), path in files.items()
    }


def write_observed(
    store: SignalStore,
    files: Mapping[Pair, Path],
    windows: Sequence[Window],
    workers: int = 1,
    decimals: int | None = DECIMALS,
    progress: Callable[[int], None] = lambda blocks: None,
) -> None:
    """Write measured tracks over `windows`, as `observed_places` gives them, to bigWig files.

    The values are what the store holds, means over 25 bp, as −log10 p. `progress` is called with (blocks × tracks) of
    each piece. workers: processes that write. A file appears under its name when it is complete.
    """
    columns = [store.track_index(*pair) for pair in files]
    paths = list(files.values())
    made = made_from(store, files, windows, decimals)
    step = max(1, PIECE // (BLOCK_BINS * 4 * max(1, len(store.tracks))))
    with track_files(paths, store.assembly, workers, decimals, [made[path] for path in paths]) as add:
        for window in windows:
            signal = store.signal(window.source)
            for first, last, segments, wanted in pieces(store.region(window.source), window.layout, step):
                values = signal[first:last][:, :, columns][wanted].astype(np.float32)
                add(window.layout.name, segments, np.sinh(values))
                progress(sum(segment.n_blocks for segment in segments) * len(columns))
