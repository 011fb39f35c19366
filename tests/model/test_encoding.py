"""What the encoder sees of a region, beside a plain computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avocado.data.genome import BINS_PER_250BP, BLOCK_BINS, Region, Segment
from avocado.model import encoding
from avocado.model.encoding import COARSE, HALO, WINDOWS, pieces, surroundings

# 3, 8, 1 and 2 blocks: ends within a stretch of 250 bp, on one, after a single bin, and on a block
LAYOUT = Region("some", tuple(Segment("chr1", start, end) for start, end in
                              ((0, 457), (1000, 2420), (3000, 3001), (4000, 4400))))  # fmt: skip
COLUMNS = np.array([4, 0, 2])
SCALES = np.array([[0.7, 1.3, 0.2], [0.5, 2.0, 1.1]])


@pytest.fixture(scope="module")
def signal() -> np.ndarray:
    random = np.random.default_rng(0)
    return LAYOUT.to_blocks(random.gamma(0.5, 1.0, (LAYOUT.n_bins, 5)).astype(np.float32))


def plain(signal: np.ndarray) -> np.ndarray:
    """Means of the standardised bins of each window, bin by bin, (blocks, 20, columns, windows)."""
    found = np.zeros((LAYOUT.n_blocks, COARSE, len(COLUMNS), len(WINDOWS)))
    values = (LAYOUT.from_blocks(signal)[:, COLUMNS] - SCALES[0]) / SCALES[1]
    for segment, rank, block in LAYOUT.walk():
        own = values[rank : rank + segment.n_bins]
        for stretch in range(segment.n_blocks * COARSE):
            for number, window in enumerate(WINDOWS):
                low = max(0, (stretch - window // 2) * BINS_PER_250BP)
                inside = own[low : (stretch + window // 2 + 1) * BINS_PER_250BP]
                if len(inside):
                    found[block + stretch // COARSE, stretch % COARSE, :, number] = inside.mean(axis=0)
    return found


def test_surroundings_are_means_over_windows_cut_off_at_the_ends_of_segments(signal):
    assert [segment.n_blocks for segment in LAYOUT.segments] == [3, 8, 1, 2]
    found = surroundings(signal, LAYOUT, COLUMNS, SCALES, 0, LAYOUT.n_blocks)
    assert found.shape == (14, COARSE, 3, len(WINDOWS))
    assert found.dtype == torch.float16
    np.testing.assert_allclose(found.numpy(), plain(signal), rtol=1e-3, atol=1e-3)


def test_windows_are_centred_250_bp_to_20_kb():
    assert [window * 250 for window in WINDOWS] == [250, 1250, 5250, 20250]
    assert all(window % 2 for window in WINDOWS)
    assert (HALO - 1) * COARSE < WINDOWS[-1] // 2 <= HALO * COARSE


def test_any_piece_is_a_part_of_the_whole(signal):
    whole = surroundings(signal, LAYOUT, COLUMNS, SCALES, 0, LAYOUT.n_blocks)
    for first in range(LAYOUT.n_blocks):
        for last in range(first + 1, LAYOUT.n_blocks + 1):
            part = surroundings(signal, LAYOUT, COLUMNS, SCALES, first, last)
            assert torch.equal(part, whole[first:last]), (first, last)


def test_what_is_further_away_than_the_halo_is_not_seen(signal):
    for changed in (3, 6, 10):  # blocks of the second segment, 3 to 10
        other = signal.copy()
        other[changed, :, 4] += 5
        before, after = (surroundings(its, LAYOUT, COLUMNS, SCALES, 0, LAYOUT.n_blocks) for its in (signal, other))
        differs = (before != after).flatten(1).any(1).nonzero().flatten().tolist()
        assert differs == [block for block in range(3, 11) if abs(block - changed) <= HALO]
        assert torch.equal(before[:, :, 1:], after[:, :, 1:])  # of the other tracks


@pytest.mark.parametrize("blocks", [1, 3, 100])
def test_pieces_cover_every_block_once(signal, monkeypatch, blocks):
    monkeypatch.setattr(encoding, "PIECE", blocks * BLOCK_BINS * len(COLUMNS) * 4)
    assert encoding.piece_blocks(len(COLUMNS)) == blocks
    found = list(pieces(signal, LAYOUT, COLUMNS, SCALES))
    assert [block for first, last, *_ in found for block in range(first, last)] == list(range(LAYOUT.n_blocks))
    assert all(last - first <= blocks for first, last, *_ in found)
    standardised = (signal[:, :, COLUMNS] - SCALES[0]) / SCALES[1] * LAYOUT.mask[..., None]
    np.testing.assert_allclose(torch.cat([its[2] for its in found]), standardised, atol=1e-5)
    assert (torch.cat([its[2] for its in found])[~torch.from_numpy(LAYOUT.mask)] == 0).all()
    whole = surroundings(signal, LAYOUT, COLUMNS, SCALES, 0, LAYOUT.n_blocks)
    assert torch.equal(torch.cat([its[3] for its in found]), whole)


def test_memory_of_a_piece_does_not_grow_with_the_number_of_tracks():
    for n_tracks in (1, 20, 1014):
        assert encoding.piece_blocks(n_tracks) * BLOCK_BINS * n_tracks * 4 <= encoding.PIECE
    assert encoding.piece_blocks(10**9) == 1
