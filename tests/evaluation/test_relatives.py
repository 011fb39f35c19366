"""Distances of cell types and assays by their observed tracks, as they are worked out by hand."""

import numpy as np
from toy import ASSAYS, CELLS, CHR20, PAIRS

from avocado.evaluation.relatives import observed_distances


def test_distances_are_relative_to_the_assay(tiny_store):
    signal = dict(zip(PAIRS, tiny_store.read_tracks(range(13), CHR20.name).T.astype(float), strict=True))
    pairs = [("E003", "DNase"), ("NA", "DNase"), ("B cell", "DNase"), ("E003", "RNA"), ("liver", "RNA")]
    found = observed_distances(tiny_store, "chr20", pairs, CELLS)
    names = [("E003", "NA", "DNase"), ("E003", "B cell", "DNase"), ("NA", "B cell", "DNase"), ("E003", "liver", "RNA")]
    r = {k: np.corrcoef(signal[k[0], k[2]], signal[k[1], k[2]])[0, 1] for k in names}
    dnase = np.mean(list(r.values())[:3])
    overall = (dnase + r["E003", "liver", "RNA"]) / 2
    at = CELLS.index
    np.testing.assert_allclose(found[at("E003"), at("NA")], 1 - (r["E003", "NA", "DNase"] - dnase + overall), rtol=1e-6)
    np.testing.assert_allclose(found[at("E003"), at("liver")], 1 - overall, rtol=1e-6)  # the only ones: at the mean
    np.testing.assert_allclose(found[at("NA"), at("liver")], 1 - overall, rtol=1e-6)  # nothing in common
    np.testing.assert_array_equal(found, found.T)
    assert (found.diagonal() == 0).all()


def test_assays_are_compared_within_cell_types(tiny_store):
    signal = dict(zip(PAIRS, tiny_store.read_tracks(range(13), CHR20.name).T.astype(float), strict=True))
    pairs = [("E003", "DNase"), ("E003", "RNA"), ("E003", "H3K27ac"), ("liver", "RNA")]
    found = observed_distances(tiny_store, "chr20", pairs, ASSAYS, "assay")
    expected = 1 - np.corrcoef(signal["E003", "DNase"], signal["E003", "RNA"])[0, 1]
    np.testing.assert_allclose(found[ASSAYS.index("DNase"), ASSAYS.index("RNA")], expected, rtol=1e-6)
