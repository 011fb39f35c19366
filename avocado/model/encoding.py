"""What the encoder of a model sees of a region: standardised tracks, and how strong they are around each 250 bp.

A model with inferred factors (`states.StatesNetwork`) computes the genome factors of a 5-kbp block from the tracks of
the block and from means over windows of up to 20 kb around it. Windows are cut off at the ends of a segment; padding is
no bin. Everything goes through a region piece by piece, so that memory does not grow with it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from avocado.data.genome import BINS_PER_250BP, BLOCK_BINS, Region
from avocado.model.config import COARSE

WINDOWS = (1, 5, 21, 81)  # stretches of 250 bp in the moving means: 250 bp, 1.25 kb, 5 kb, 20 kb
AROUND = 2 * len(WINDOWS) / BINS_PER_250BP  # bytes per bin and track of these means, in float16
HALO = -(-(WINDOWS[-1] // 2) // COARSE)  # blocks on either side that the widest window reaches into
PIECE = 128 << 20  # bytes of float32 signal at a time


def piece_blocks(n_tracks: int) -> int:
    """Blocks at a time by which a region is gone through in bounded memory."""
    return max(1, PIECE // (BLOCK_BINS * n_tracks * 4))


def surroundings(
    signal: np.ndarray, layout: Region, columns: np.ndarray, scales: np.ndarray, first: int, last: int
) -> Tensor:
    """Moving means of standardised tracks in blocks [first, last), float16 (blocks, 20, n_columns, windows).

    signal: (n_blocks, 200, n_tracks), arcsinh, of the region `layout`; scales: mean and deviation (2, n_columns).
    """
    found = torch.zeros(last - first, COARSE, len(columns), len(WINDOWS), dtype=torch.float16)
    mean, deviation = (torch.from_numpy(row).float() for row in scales)
    for segment, _, block in layout.walk():
        start, end = max(first, block), min(last, block + segment.n_blocks)
        if start >= end:
            continue
        low, high = max(block, start - HALO), min(block + segment.n_blocks, end + HALO)
        values = torch.from_numpy(np.asarray(signal[low:high][:, :, columns])).float()
        real = torch.from_numpy(layout.mask[low:high]).float().unflatten(1, (COARSE, -1)).sum(2).flatten()
        sums = values.unflatten(1, (COARSE, -1)).sum(2).flatten(0, 1)  # padding is 0
        sums = (sums - real[:, None] * mean) / deviation
        # of all stretches before each one
        sums, counts = (_before(its) for its in (sums.double(), real[:, None].double()))
        at = torch.arange((start - low) * COARSE, (end - low) * COARSE)
        for number, window in enumerate(WINDOWS):
            before = (at - window // 2).clamp(min=0)
            after = (at + window // 2 + 1).clamp(max=len(real))
            means = (sums[after] - sums[before]) / (counts[after] - counts[before]).clamp(min=1)
            found[start - first : end - first, :, :, number] = means.unflatten(0, (-1, COARSE)).half()
    return found


def _before(values: Tensor) -> Tensor:
    """Sums of the rows before each row, and of all: (n + 1, ...)."""
    return torch.cat([values.new_zeros(1, *values.shape[1:]), values.cumsum(0)])


def pieces(
    signal: np.ndarray, layout: Region, columns: np.ndarray, scales: np.ndarray
) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """First and last block, standardised signal (blocks, 200, n_columns) and surroundings of consecutive pieces."""
    mean, deviation = (torch.from_numpy(row).float() for row in scales)
    for first, last in layout.pieces(piece_blocks(len(columns))):
        values = torch.from_numpy(np.asarray(signal[first:last][:, :, columns])).float().sub_(mean).div_(deviation)
        values *= torch.from_numpy(layout.mask[first:last])[..., None]
        yield first, last, values, surroundings(signal, layout, columns, scales, first, last)
