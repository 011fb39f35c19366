"""Attributions by the number of cell types with a peak, counted by hand."""

import numpy as np
import pytest
from toy import PILOT

from avocado.data.windows import chosen_bins
from avocado.errors import InputError
from avocado.evaluation.attributed import drawn_blocks, stratified
from avocado.latent.attribution import PARTS

PEAKS = {
    ("a", "X"): np.array([True, True, False, False]),
    ("b", "X"): np.array([True, False, False, True]),
    ("c", "X"): np.array([False, True, False, False]),  # counts, and has no attributions
    ("a", "Y"): np.array([False, False, False, True]),
}


def test_means_by_number_of_cell_types_with_a_peak():
    parts = {pair: np.outer([1.0, 2, 3, 4], [1, 0, -1, 10, 0]) * (1 + (pair[0] == "b")) for pair in PEAKS}
    chosen = [(pair, parts[pair]) for pair in PEAKS if pair[0] != "c"]
    table = stratified(chosen, PEAKS).set_index(["assay", "k", "peak", "part"])
    # k of X is 2, 2, 0, 1
    assert table.loc[("X", 2, True, "cell"), "mean"] == pytest.approx((1 + 2 + 2) / 3)  # a: bins 0, 1; b: bin 0
    assert table.loc[("X", 2, True, "cell"), "n"] == 3
    assert table.loc[("X", 2, False, "250bp"), "mean"] == 40  # b: bin 1
    assert table.loc[("X", 1, True, "25bp"), "mean"] == -8  # b: bin 3
    assert table.loc[("X", 1, False, "25bp"), "mean"] == -4  # a: bin 3
    assert table.loc[("X", 0, False, "cell"), "mean"] == pytest.approx((3 + 6) / 2)
    assert ("X", 0, True, "cell") not in table.index
    assert table.loc[("Y", 1, True, "cell"), "n_cells"] == 1
    assert set(table.index.get_level_values("part")) == set(PARTS)


def test_pairs_without_peaks_or_of_another_length():
    with pytest.raises(InputError, match="no peaks of d X"):
        stratified([(("d", "X"), np.zeros((4, 5)))], PEAKS)
    with pytest.raises(InputError, match="3 bins with attributions, 4 with peaks"):
        stratified([(("a", "X"), np.zeros((3, 5)))], PEAKS)


def test_blocks_that_are_drawn():
    assert drawn_blocks(PILOT, 1000) is PILOT
    found = drawn_blocks(PILOT, 3, seed=2)
    assert len(set(found.segments)) == len(found.segments) == 3
    for its in found.segments:
        assert any(s.chrom == its.chrom and s.start <= its.start < its.end <= s.end for s in PILOT.segments)
    assert chosen_bins(PILOT, found) == sorted(chosen_bins(PILOT, found))
