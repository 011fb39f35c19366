"""Loci where methods differ most: stretches of genome worth looking at beside the scores.

A mean over a million bins does not say where one method is right and another wrong. Here the squared error of every
method is averaged over windows, and the windows are chosen in which these averages lie furthest apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avocado.data.compendium import Pair
from avocado.data.genome import BIN_SIZE, Region
from avocado.errors import InputError

OBSERVED = "observed"


@dataclass(frozen=True)
class Locus:
    """Observed and imputed signal of some tracks over one stretch of a chromosome.

    `start` is in bp. `rows` maps a track's label ('E003 H3K4me1') to its signals ('observed', then each method), each
    arcsinh (n_bins,) of consecutive 25-bp bins. `why` says in one line what is to be seen.
    """

    chrom: str
    start: int
    rows: Mapping[str, Mapping[str, np.ndarray]]
    why: str


class Windows(NamedTuple):
    """Stretches of single segments, as arrays (n_windows,): chromosome, its bins [start, end), rank of the first."""

    chrom: np.ndarray
    start: np.ndarray
    end: np.ndarray
    rank: np.ndarray

    def bins(self, window: int) -> slice:
        """Ranks of a window's bins among those of the region."""
        return slice(self.rank[window], self.rank[window] + self.end[window] - self.start[window])


def differing_loci(
    observed: Mapping[Pair, np.ndarray],
    methods: Mapping[str, Mapping[Pair, np.ndarray]],
    region: Region,
    n: int = 8,
    width: int = 4000,
    n_tracks: int = 3,
) -> list[Locus]:
    """Up to `n` windows of `width` bins (4,000 are 100 kb) in which the errors of the methods differ most.

    `observed` and each of the `methods` map (cell, assay) to arcsinh signal (n_bins,); they may load it when asked, as
    one track is held at a time. Windows lie half a width apart inside single segments; a segment shorter than `width`
    is one window. How much methods differ in a window is the highest less the lowest of their mean squared errors, in
    units of the mean of that along the same track, so that no track with a wide range takes all places. Each next
    locus is the window that differs most in a track of the assay, then of the track, that has the fewest loci so far;
    between two loci lies at least one width. Under its track, a locus shows the `n_tracks` − 1 others that differ
    most there. There are fewer than `n` loci where the region is too short or methods agree everywhere.

    Raises InputError for fewer than two methods, a track that a method has not imputed, and signal of another length
    than the region or with NaN or infinite values; ValueError for a method called 'observed'.
    """
    if OBSERVED in methods:
        raise ValueError(f"a method cannot be called '{OBSERVED}'")
    if len(methods) < 2:
        raise InputError(f"methods differ only where there are two: got {', '.join(methods) or 'none'}")
    tracks, windows = list(observed), windows_of(region, width)
    spread = np.empty((len(tracks), len(windows.rank)))
    for row, track in enumerate(tracks):
        truth = _signal(OBSERVED, observed, track, region)
        spread[row] = relative_spread(
            [window_errors(truth, _signal(m, methods[m], track, region), windows) for m in methods]
        )

    def load(name: str, track: Pair, slices: Sequence[slice]) -> list[np.ndarray]:
        signal = _signal(name, (observed if name == OBSERVED else methods[name]), track, region)
        return [signal[its] for its in slices]

    return chosen_loci(spread, tracks, windows, [OBSERVED, *methods], load, n, width, n_tracks)


def chosen_loci(
    spread: np.ndarray,
    tracks: Sequence[Pair],
    windows: Windows,
    names: Sequence[str],
    load: Callable[[str, Pair, Sequence[slice]], list[np.ndarray]],
    n: int = 8,
    width: int = 4000,
    n_tracks: int = 3,
) -> list[Locus]:
    """`differing_loci` from how much methods differ in each window, `spread` (n_tracks, n_windows).

    windows: as `windows_of` makes them. names: 'observed' and the methods. load(name, track, slices): arcsinh signal in
    some slices of the region's bins.
    """
    chosen = _choose(spread, [assay for _, assay in tracks], windows, n, width)
    shown = [_companions(spread[:, window], row, n_tracks) for row, window in chosen]
    rows: list[dict[str, dict[str, np.ndarray]]] = [{" ".join(tracks[r]): {} for r in some} for some in shown]
    for row in sorted({r for some in shown for r in some}):  # once each: a track may be costly to make
        at = [(place, window) for place, some, (_, window) in zip(rows, shown, chosen, strict=True) if row in some]
        for name in names:
            for (place, _), signal in zip(at, load(name, tracks[row], [windows.bins(w) for _, w in at]), strict=True):
                place[" ".join(tracks[row])][name] = signal.astype(np.float32)
    return [
        Locus(
            str(windows.chrom[window]),
            int(windows.start[window]) * BIN_SIZE,
            place,
            _why(" ".join(tracks[row]), place[" ".join(tracks[row])], spread[row, window]),
        )
        for place, (row, window) in zip(rows, chosen, strict=True)
    ]


def relative_spread(errors: Sequence[np.ndarray]) -> np.ndarray:
    """Highest less lowest of the methods' `window_errors`, in units of its mean along the track, (n_windows,)."""
    spread = np.ptp(errors, axis=0)
    return spread / max(spread.mean(), np.finfo(float).tiny)


def windows_of(region: Region, width: int = 4000) -> Windows:
    """Stretches of `width` bins, half a width apart, inside single segments; a shorter segment is one of them."""
    found = []
    for segment, rank, _ in region.walk():
        last = max(segment.n_bins - width, 0)
        for first in sorted({*range(0, last, max(width // 2, 1)), last}):
            end = min(first + width, segment.n_bins)
            found.append((segment.chrom, segment.start + first, segment.start + end, rank + first))
    return Windows(*map(np.array, zip(*found, strict=True)))


def _signal(name: str, signals: Mapping[Pair, np.ndarray], track: Pair, region: Region) -> np.ndarray:
    if track not in signals:
        raise InputError(f"{name} has not imputed {' '.join(track)}: every method must impute every scored track")
    signal = np.asarray(signals[track])
    if signal.shape != (region.n_bins,):
        raise InputError(
            f"{name} of {' '.join(track)} has shape {signal.shape}, region {region.name} has {region.n_bins:,} bins"
        )
    if not np.isfinite(signal).all():
        raise InputError(f"{name} of {' '.join(track)} has NaN or infinite values: impute it again")
    return signal


def window_errors(observed: np.ndarray, imputed: np.ndarray, windows: Windows) -> np.ndarray:
    """Mean squared error in every window, float64 (n_windows,)."""
    squares = np.append(np.subtract(observed, imputed, dtype=np.float64) ** 2, 0.0)  # reduceat wants a bin at the end
    n_bins = windows.end - windows.start
    # every other sum is of what lies between two windows; differences of running sums would never be exactly equal
    return np.add.reduceat(squares, np.stack([windows.rank, windows.rank + n_bins], axis=1).ravel())[::2] / n_bins


def _choose(spread: np.ndarray, assays: Sequence[str], windows: Windows, n: int, width: int) -> list[tuple[int, int]]:
    """(track, window) of each locus; `spread` is (n_tracks, n_windows)."""
    free = np.ones(len(windows.rank), dtype=bool)
    chosen: list[tuple[int, int]] = []
    of_assay: Counter[str] = Counter()
    of_track: Counter[int] = Counter()
    while len(chosen) < n:
        best = np.where(free, spread, 0).argmax(axis=1)
        highest = np.where(free, spread, 0).max(axis=1)
        candidates = np.flatnonzero(highest > 0).tolist()
        if not candidates:
            break
        row = min(candidates, key=lambda r: (of_assay[assays[r]], of_track[r], -highest[r]))
        window = int(best[row])
        chosen.append((row, window))
        of_assay[assays[row]] += 1
        of_track[row] += 1
        free &= (
            (windows.chrom != windows.chrom[window])
            | (windows.start >= windows.end[window] + width)
            | (windows.end <= windows.start[window] - width)
        )
    return chosen


def _companions(spread: np.ndarray, row: int, n_tracks: int) -> list[int]:
    """The track itself and the others that differ most in this window; `spread` is (n_tracks,)."""
    others = [int(other) for other in np.argsort(-spread, kind="stable") if other != row]
    return [row, *others[: n_tracks - 1]]


def _why(label: str, signals: Mapping[str, np.ndarray], spread: float) -> str:
    errors = {m: float(np.mean((s - signals[OBSERVED]) ** 2)) for m, s in signals.items() if m != OBSERVED}
    best, worst = min(errors, key=errors.__getitem__), max(errors, key=errors.__getitem__)
    return (
        f"{label}: MSE here from {errors[best]:.3g} ({best}) to {errors[worst]:.3g} ({worst}); "
        f"methods differ {spread:.1f} times as much as on average along this track"
    )
