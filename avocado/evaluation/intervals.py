"""How much a score hangs on the places that were scored: bootstrap intervals over stretches of the genome.

Neighbouring bins resemble each other, so whole stretches are drawn, with replacement, and the same ones for all tracks
and methods: what comes out is the interval of a difference on these tracks, and says nothing of other tracks (for
which see `significance`). A stretch is kept as six sums, from which MSE and Pearson of any drawn genome follow.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from avocado.data.compendium import Pair
from avocado.data.genome import BLOCK_BINS, Region
from avocado.evaluation.scores import AVERAGE

LONGEST = 100 * BLOCK_BINS  # bins of a stretch: 500 kb
FEWEST = 40  # stretches that a region is cut into at least
MEAN_ROW = ("mean", "all")


def stretches(region: Region) -> np.ndarray:
    """Rank of the first bin of every stretch, int (n_stretches,): of up to 500 kb, inside single segments."""
    width = int(np.clip(region.n_bins // FEWEST, 1, LONGEST))
    return np.concatenate([np.arange(rank, rank + segment.n_bins, width) for segment, rank, _ in region.walk()])


def stretch_sums(observed: np.ndarray, imputed: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Bins, Σx, Σy, Σx², Σy² and Σxy of every stretch, float64 (n_stretches, 6), of two arcsinh signals (n_bins,)."""
    x, y = np.asarray(observed, dtype=np.float64), np.asarray(imputed, dtype=np.float64)
    return np.stack([np.add.reduceat(part, first) for part in (np.ones_like(x), x, y, x * x, y * y, x * y)], axis=1)


def genome_intervals(
    sums: Mapping[Pair, Mapping[str, np.ndarray]], method: str, seed: int = 0, resamples: int = 2000
) -> pd.DataFrame:
    """A method beside average activity, on every track and on their mean, with 95 % intervals of the difference.

    sums: `stretch_sums` of each track by method, average activity among them. For 'mse' and 'pearson' (the measure)
    there is a row for each track, and one for ('mean', 'all') at the end. Columns: cell, assay, measure, value,
    average, difference (value − average), low and high; these two are NaN where there are fewer than two stretches.
    """
    tracks = list(sums)
    table = np.stack([np.stack([sums[track][name] for track in tracks]) for name in (method, AVERAGE)])
    n = table.shape[2]
    # how often each stretch is drawn; first of all, the genome as it is
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    drawn = np.einsum("rs,mtsk->mtrk", np.concatenate([np.ones((1, n)), counts]), table, optimize=True)
    rows = []
    for measure, of in (("mse", _mse), ("pearson", _pearson)):
        values = of(drawn)  # (method, track, resample)
        values = np.concatenate([values, values.mean(axis=1, keepdims=True)], axis=1)
        difference = values[0] - values[1]
        low, high = (
            np.quantile(difference[:, 1:], [0.025, 0.975], axis=1) if n > 1 else np.full((2, len(difference)), np.nan)
        )
        for row, (cell, assay) in enumerate([*tracks, MEAN_ROW]):
            rows.append(
                (cell, assay, measure, values[0, row, 0], values[1, row, 0], difference[row, 0], low[row], high[row])
            )
    columns = ["cell", "assay", "measure", "value", "average", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def _mse(sums: np.ndarray) -> np.ndarray:
    n, _, _, xx, yy, xy = np.moveaxis(sums, -1, 0)
    return (xx - 2 * xy + yy) / n


def _pearson(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (n * xy - x * y) / np.sqrt((n * xx - x**2) * (n * yy - y**2))
