"""Promoters and enhancers: where they are, their factors, and the signal around them (Avocado paper, Fig. 3a and b)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from avocado.data.genome import BIN_SIZE, Segment
from avocado.data.intervals import Intervals
from avocado.data.store import SignalStore
from avocado.data.windows import holder
from avocado.errors import InputError

PROMOTER, ENHANCER = "promoter", "enhancer"
FLANK = 250  # bp on both sides of a transcription start site, or of the middle of an enhancer
AROUND = 2_000  # bp on both sides, of profiles


def elements(genes: Intervals, enhancers: Intervals) -> pd.DataFrame:
    """The base that every promoter and enhancer lies around: chrom, start, end (start + 1), name, kind, forward.

    Of a gene it is the first transcribed base, of an enhancer the one in its middle.
    """
    tables = []
    for kind, its in ((PROMOTER, genes), (ENHANCER, enhancers)):
        at = np.where(its.forward, its.start, its.end - 1) if kind == PROMOTER else (its.start + its.end) // 2
        forward = its.forward if kind == PROMOTER else np.ones(len(its), dtype=bool)
        columns = {"chrom": its.chrom, "start": at, "end": at + 1, "name": its.name, "kind": kind, "forward": forward}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def drawn(rows: pd.DataFrame, share: float = 0.5, seed: int = 0) -> np.ndarray:
    """Which rows are shown, sorted: a share of the promoters, and as many enhancers or all that there are.

    Raises InputError where one kind has none, and for a share that is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise InputError(f"share={share}: expected more than 0, and 1 at most")
    rng = np.random.default_rng(seed)
    promoters, enhancers = (np.flatnonzero(rows["kind"] == kind) for kind in (PROMOTER, ENHANCER))
    for kind, found in ((PROMOTER, promoters), (ENHANCER, enhancers)):
        if not len(found):
            raise InputError(f"no {kind} lies where the model has factors: give files of its assembly and regions")
    n = max(1, round(share * len(promoters)))
    chosen = [rng.choice(found, min(n, len(found)), replace=False) for found in (promoters, enhancers)]
    return np.sort(np.concatenate(chosen))


def windows_around(store: SignalStore, rows: pd.DataFrame, around: int) -> Iterator[np.ndarray | None]:
    """Signal of all tracks around each row, arcsinh (2 × around / 25 + 1, n_tracks), against its strand turned round.

    The bin of the row's base is in the middle. None where the window is not in one segment of the store.
    """
    n = around // BIN_SIZE
    signal = {name: store.signal(name).reshape(-1, len(store.tracks)) for name in store.regions}
    for chrom, start, forward in zip(rows["chrom"], rows["start"], rows["forward"], strict=True):
        at = int(start) // BIN_SIZE
        held = holder(store.regions, Segment(chrom, at - n, at + n + 1))
        if held is None:
            yield None
            continue
        window = signal[held[0]][held[1] : held[1] + 2 * n + 1]
        yield window if forward else window[::-1]


def observed_around(
    store: SignalStore, rows: pd.DataFrame, columns: Sequence[int], flank: int = FLANK
) -> np.ndarray:  # fmt: skip
    """Mean signal of tracks, columns of the store, around each row, float32 (n_rows, n_columns); NaN outside of it."""
    found = np.full((len(rows), len(columns)), np.nan, dtype=np.float32)
    for number, window in enumerate(windows_around(store, rows, flank)):
        if window is not None:
            found[number] = window[:, columns].mean(axis=0, dtype=np.float32)
    return found


def profiles(
    store: SignalStore, rows: pd.DataFrame, tracks: Mapping[str, Sequence[int]], around: int = AROUND
) -> np.ndarray:  # fmt: skip
    """Signal of assays around each row, the mean over cell types, float32 (n_rows, bins, n_assays); NaN outside.

    tracks: columns of the store, by assay.
    """
    found = np.full((len(rows), 2 * (around // BIN_SIZE) + 1, len(tracks)), np.nan, dtype=np.float32)
    for number, window in enumerate(windows_around(store, rows, around)):
        if window is not None:
            for place, columns in enumerate(tracks.values()):
                found[number, :, place] = window[:, columns].mean(axis=1, dtype=np.float32)
    return found
