"""Cross-assay regression against naive versions, known answers, and tracks that must not matter."""

import numpy as np
import pytest

from avocado.errors import InputError
from avocado.genome import Region, Segment
from avocado.imputers.regression import Regression
from avocado.regression import (
    WINDOWS,
    Experiments,
    RegressionConfig,
    apply_weights,
    expected_scales,
    moments_of,
    regress,
    smoothed,
)
from tests.toy import make_store

LAYOUT = Region("some", (Segment("chr1", 0, 450), Segment("chr1", 1000, 1201), Segment("chr2", 0, 900)))
CELLS, ASSAYS = ("a", "b", "c", "d"), ("x", "y", "z")
PAIRS = [(cell, assay) for cell in CELLS for assay in ASSAYS]


def made_signal(seed: int = 0) -> np.ndarray:
    """Tracks of all PAIRS: an assay's pattern, one of the cell type that assays share, noise; cells differ in scale."""
    random = np.random.default_rng(seed)
    n = LAYOUT.n_bins
    common = random.gamma(1, 1, (len(ASSAYS), n))
    own = random.normal(0, 1, (len(CELLS), n))
    scale = np.array([0.5, 1.0, 1.5, 0.8])
    tracks = [
        scale[CELLS.index(cell)] * (2 + common[ASSAYS.index(assay)] + own[CELLS.index(cell)] + random.normal(0, 0.1, n))
        for cell, assay in PAIRS
    ]
    return LAYOUT.to_blocks(np.stack(tracks, axis=1)).astype(np.float32)


def experiments(rows) -> Experiments:
    return Experiments(np.array(rows), [PAIRS[row][0] for row in rows], [PAIRS[row][1] for row in rows])


def without(*pairs) -> list[int]:
    return [row for row, pair in enumerate(PAIRS) if pair not in pairs]


def naive_means(values: np.ndarray, window: int) -> np.ndarray:
    half = window // 2
    return np.array([values[max(0, i - half) : i + half + 1].mean(axis=0) for i in range(len(values))])


@pytest.mark.parametrize("blocks", [(0, 9), (0, 2), (1, 6), (3, 4), (5, 9)])
def test_moving_means_stay_within_their_segment(blocks):
    signal, columns = made_signal(), np.array([0, 5, 7])
    flat, expected = LAYOUT.from_blocks(signal)[:, columns], []
    for segment, rank, _ in LAYOUT.walk():
        part = flat[rank : rank + segment.n_bins]
        expected.append(np.concatenate([naive_means(part, window) for window in WINDOWS], axis=1))
    whole = LAYOUT.to_blocks(np.concatenate(expected))
    chosen = slice(*blocks)
    found = smoothed(signal, LAYOUT, columns, *blocks)
    np.testing.assert_allclose(found, whole[chosen][LAYOUT.mask[chosen]], atol=1e-5)


def test_moments_are_those_of_the_moving_means(monkeypatch):
    signal, columns = made_signal(), np.arange(4)
    means = smoothed(signal, LAYOUT, columns, 0, LAYOUT.n_blocks).astype(np.float64)
    monkeypatch.setattr("avocado.regression.PIECE", 1)  # block by block
    moments = moments_of(signal, LAYOUT, columns)
    np.testing.assert_allclose(moments.mean, means.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(moments.covariance, np.cov(means.T, bias=True), atol=1e-4)


def naive_regression(
    signal: np.ndarray, rows: list[int], pair: tuple[str, str], config: RegressionConfig
) -> np.ndarray:
    """The standardised regression, feature by feature and donor by donor."""
    flat = LAYOUT.from_blocks(signal).astype(np.float64)
    rows = [row for row in rows if PAIRS[row] != pair]
    means = {row: [smoothed(signal, LAYOUT, np.array([row]), 0, LAYOUT.n_blocks)[:, w] for w in range(len(WINDOWS))]
             for row in rows}  # fmt: skip
    deviation = {row: np.std(flat[:, row]) for row in rows}
    z = {row: [(m - m.mean()) / deviation[row] for m in means[row]] for row in rows}

    def features(cell: str, assay: str) -> dict:
        donors = [row for row in rows if PAIRS[row][1] == assay and PAIRS[row][0] != cell]
        found = {("average", w): np.mean([z[row][w] for row in donors], axis=0) for w in range(len(WINDOWS))}
        return found | {PAIRS[row][1]: z[row][0] for row in rows if PAIRS[row][0] == cell and PAIRS[row][1] != assay}

    names = list(features(*pair))
    donors = [row for row in rows if PAIRS[row][1] == pair[1]]
    gram, moment = np.zeros((len(names), len(names))), np.zeros(len(names))
    for donor in donors:
        its = features(*PAIRS[donor])
        x = np.stack([its.get(name, np.zeros(len(flat))) for name in names], axis=1)
        gram += x.T @ x / len(flat)
        moment += x.T @ z[donor][0] / len(flat)
    penalty = [config.average_ridge if isinstance(name, tuple) else config.ridge for name in names]
    weights = np.linalg.solve(gram + len(donors) * np.diag(penalty), moment)
    x = np.stack(list(features(*pair).values()), axis=1)
    train = experiments(rows)
    expected = expected_scales(moments_of(signal, LAYOUT, train.columns), train, [pair], config)[0]
    return expected[0] + expected[1] * (x @ weights)


@pytest.mark.parametrize("held", [[("b", "y")], [("b", "y"), ("c", "x"), ("a", "z")], []])
@pytest.mark.parametrize("pair", [("b", "y"), ("d", "x")])
def test_regression_is_the_naive_one(held, pair):
    signal, rows, config = made_signal(), without(*held), RegressionConfig(ridge=0.3, average_ridge=0.05)
    train = experiments(rows)
    weights = regress(moments_of(signal, LAYOUT, train.columns), train, [pair, ("a", "y")], config)
    found = LAYOUT.from_blocks(apply_weights(signal, LAYOUT, train.columns, weights, 0, LAYOUT.n_blocks))[:, 0]
    np.testing.assert_allclose(found, naive_regression(signal, rows, pair, config), atol=2e-3)


def test_it_learns_what_assays_of_a_cell_type_share_and_how_strong_its_tracks_are():
    signal = made_signal()
    train = experiments(without(("c", "y")))
    weights = regress(moments_of(signal, LAYOUT, train.columns), train, [("c", "y")], RegressionConfig(0.01, 0.01))
    found = LAYOUT.from_blocks(apply_weights(signal, LAYOUT, train.columns, weights, 0, LAYOUT.n_blocks))[:, 0]
    observed = LAYOUT.from_blocks(signal)[:, PAIRS.index(("c", "y"))]
    average = LAYOUT.from_blocks(signal)[:, [PAIRS.index((cell, "y")) for cell in "abd"]].mean(axis=1)
    assert np.corrcoef(found, observed)[0, 1] > np.corrcoef(average, observed)[0, 1] + 0.1
    assert np.square(found - observed).mean() < 0.5 * np.square(average - observed).mean()
    expected = expected_scales(moments_of(signal, LAYOUT, train.columns), train, [("c", "y")])[0]
    assert expected == pytest.approx([observed.mean(), observed.std()], rel=0.1)
    assert average.std() < 0.7 * observed.std()


def test_a_track_has_no_part_in_its_own_regression():
    signal, changed = made_signal(), made_signal()
    at = PAIRS.index(("b", "y"))
    changed[:, :, at] = np.random.default_rng(9).gamma(1, 5, changed.shape[:2]) * LAYOUT.mask
    train, found = experiments(without()), []
    for values in (signal, changed):
        weights = regress(moments_of(values, LAYOUT, train.columns), train, [("b", "y")])
        found.append(apply_weights(values, LAYOUT, train.columns, weights, 0, LAYOUT.n_blocks))
    np.testing.assert_allclose(*found, atol=1e-5)
    # and what others make of it does change
    other = [regress(moments_of(values, LAYOUT, train.columns), train, [("a", "y")]) for values in (signal, changed)]
    assert np.abs(other[0] - other[1]).max() > 0.01


def test_padding_is_zero_and_pieces_make_the_whole():
    signal, train = made_signal(), experiments(without(("a", "x")))
    weights = regress(moments_of(signal, LAYOUT, train.columns), train, [("a", "x"), ("b", "z")])
    whole = apply_weights(signal, LAYOUT, train.columns, weights, 0, LAYOUT.n_blocks)
    assert not whole[~LAYOUT.mask].any()
    pieces = [apply_weights(signal, LAYOUT, train.columns, weights, block, block + 1) for block in range(len(whole))]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)


def test_an_assay_with_few_tracks():
    signal = made_signal()
    one = experiments([row for row in without() if PAIRS[row][1] != "y" or PAIRS[row][0] == "a"])
    moments = moments_of(signal, LAYOUT, one.columns)
    weights = regress(moments, one, [("b", "y"), ("a", "y")])
    of_a = [*zip(one.cells, one.assays, strict=True)].index(("a", "y"))
    assert np.flatnonzero(weights[:-1, 0]).tolist() == [of_a]  # the only other track, rescaled
    assert not weights[:-1, 1].any()  # nothing is left: the expected mean
    assert np.isfinite(weights).all()
    assert weights[-1, 1] > 0
    alone = apply_weights(signal, LAYOUT, one.columns, weights[:, 1:], 0, LAYOUT.n_blocks)
    np.testing.assert_array_equal(alone[..., 0], weights[-1, 1] * LAYOUT.mask)  # no track has a part in it


def test_constant_tracks_do_no_harm():
    signal = made_signal()
    signal[:, :, PAIRS.index(("a", "x"))] = 0
    train = experiments(without(("b", "x")))
    weights = regress(moments_of(signal, LAYOUT, train.columns), train, [("b", "x"), ("a", "x")])
    assert np.isfinite(weights).all()


def test_as_an_imputer(tmp_path):
    store = make_store(tmp_path / "store")
    tracks = store.tracks
    imputer = Regression()
    imputer.fit(store, range(len(tracks)), "pilot")
    cell, assay = tracks["cell"].iloc[0], tracks["assay"].iloc[0]
    for region in ("pilot", "chr20"):
        imputed = imputer.predict(cell, assay, region)
        assert imputed.shape == (store.region(region).n_bins,)
        assert imputed.dtype == np.float32
        assert np.isfinite(imputed).all()
    with pytest.raises(InputError, match=f"cannot regress heart {assay}: no other training track of cell type heart"):
        imputer.predict("heart", assay, "pilot")
    with pytest.raises(InputError, match="no other training track of assay ATAC"):
        imputer.predict(cell, "ATAC", "pilot")


@pytest.mark.parametrize("wrong", [{"ridge": 0}, {"average_ridge": -1}, {"scale_ridge": True}])
def test_wrong_settings_are_named(wrong):
    with pytest.raises(InputError, match=f"regression: {next(iter(wrong))}="):
        RegressionConfig(**wrong)
