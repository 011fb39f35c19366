"""Promoters and enhancers: bases, draws, and signal around them."""

import numpy as np
import pandas as pd
import pytest
from toy import CHR20

from avocado.data.intervals import Intervals
from avocado.errors import InputError
from avocado.latent.elements import ENHANCER, PROMOTER, drawn, elements, observed_around, profiles, windows_around


def intervals(*rows):
    chrom, start, end, name, forward = (np.array(column) for column in zip(*rows, strict=True))
    return Intervals(chrom, start, end, name, forward)


GENES = intervals(("chr20", 10_000, 20_000, "up", True), ("chr20", 10_000, 20_010, "down", False))
ENHANCERS = intervals(("chr20", 30_000, 30_101, "e1", True), ("chr1", 5, 105, "far", True))


def test_bases_of_elements():
    found = elements(GENES, ENHANCERS)
    assert found["start"].tolist() == [10_000, 20_009, 30_050, 55]
    assert found["end"].tolist() == [10_001, 20_010, 30_051, 56]
    assert found["kind"].tolist() == [PROMOTER, PROMOTER, ENHANCER, ENHANCER]
    assert found["forward"].tolist() == [True, False, True, True]


def test_half_of_the_promoters_and_as_many_enhancers():
    rows = pd.DataFrame({"kind": [PROMOTER] * 10 + [ENHANCER] * 30})
    chosen = drawn(rows, 0.5, seed=1)
    assert rows["kind"].iloc[chosen].value_counts().to_dict() == {PROMOTER: 5, ENHANCER: 5}
    np.testing.assert_array_equal(chosen, drawn(rows, 0.5, seed=1))
    assert not np.array_equal(chosen, drawn(rows, 0.5, seed=2))
    assert len(drawn(rows.iloc[:12], 1.0)) == 12  # all that there are
    with pytest.raises(InputError, match="no enhancer lies where the model has factors"):
        drawn(rows.iloc[:10])
    with pytest.raises(InputError, match="share=2"):
        drawn(rows, 2)


def test_signal_around_elements(tiny_store):
    rows = elements(GENES, ENHANCERS)
    signal = tiny_store.read_tracks(range(13), CHR20.name)
    found = list(windows_around(tiny_store, rows, 100))
    np.testing.assert_array_equal(found[0], signal[396:405])
    np.testing.assert_array_equal(found[1], signal[796:805][::-1])
    assert found[3] is None  # the window begins before chr1 does
    means = observed_around(tiny_store, rows, [2, 5], 100)
    np.testing.assert_allclose(means[0], signal[396:405][:, [2, 5]].mean(axis=0), rtol=1e-5)
    assert np.isnan(means[3]).all()
    shapes = profiles(tiny_store, rows, {"DNase": [0, 1], "RNA": [4]}, 100)
    assert shapes.shape == (4, 9, 2)
    np.testing.assert_allclose(shapes[1, :, 0], signal[796:805][::-1, [0, 1]].mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(shapes[2, :, 1], signal[1198:1207, 4], rtol=1e-5)
