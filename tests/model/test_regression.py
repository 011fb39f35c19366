"""Cross-assay regression against naive versions, known answers, and tracks that must not matter."""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
import torch

import avocado.model.baseline as model_baseline
import avocado.model.regression as model_regression
from avocado.data.genome import Region, Segment
from avocado.data.store import Tracks
from avocado.errors import InputError
from avocado.imputers.regression import Regression
from avocado.model.baseline import RegressionBaseline, fit_regression
from avocado.model.config import RegressionConfig
from avocado.model.regression import (
    OTHERS,
    WINDOWS,
    drawn_bins,
    impute_blocks,
    piece_blocks,
    regress,
    smoothed,
)
from avocado.model.scales import expected_scales, track_scales
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


def experiments(rows) -> Tracks:
    cells, assays = ([PAIRS[row][place] for row in rows] for place in (0, 1))
    return Tracks(np.array(rows), cells, assays, *(np.unique(its, return_inverse=True)[1] for its in (cells, assays)))


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
        expected.append(np.stack([naive_means(part, window) for window in WINDOWS], axis=1))
    scales = np.array([[0.5, -1, 2], [2, 0.1, 1]])
    whole = LAYOUT.to_blocks(((np.concatenate(expected) - scales[0]) / scales[1]).reshape(LAYOUT.n_bins, -1))
    chosen = slice(*blocks)
    found = smoothed(signal, LAYOUT, columns, scales, *blocks).flatten(0, 1).T
    order = np.arange(15).reshape(len(WINDOWS), 3).T.reshape(-1)  # tracks first, windows then
    np.testing.assert_allclose(found, whole[chosen][LAYOUT.mask[chosen]][:, order], atol=1e-5)


@dataclass
class Made:
    """As much of a store as a regression reads."""

    values: np.ndarray

    def signal(self, region: str) -> np.ndarray:
        return self.values

    def region(self, region: str) -> Region:
        return LAYOUT


def regressed(signal: np.ndarray, rows: list[int], pairs, config=RegressionConfig(), blocks=(0, LAYOUT.n_blocks)):  # noqa: B008
    """The regressions of some pairs over some blocks, learned from the tracks `rows`."""
    store, train = Made(signal), experiments(rows)
    scales = track_scales(store, "some", train.columns)
    means = drawn_bins(store, "some", train.columns, scales, config)
    fitted = regress(
        means, scales, expected_scales(scales, train, pairs, config.scale_ridge), train, ASSAYS, pairs, config
    )
    return next(impute_blocks(signal, LAYOUT, train, ASSAYS, fitted, pairs, [blocks])).numpy()


def scales_of(signal: np.ndarray, rows: list[int]) -> np.ndarray:
    return track_scales(Made(signal), "some", np.array(rows))


def test_scales_are_mean_and_deviation_over_all_bins(monkeypatch):
    signal = made_signal()
    monkeypatch.setattr("avocado.model.regression.PIECE", 1)  # block by block
    flat = LAYOUT.from_blocks(signal)[:, [0, 5, 7]].astype(np.float64)
    np.testing.assert_allclose(scales_of(signal, [0, 5, 7]), [flat.mean(axis=0), flat.std(axis=0)], rtol=1e-6)


def test_drawn_bins_are_bins_of_the_region(monkeypatch):
    signal, rows = made_signal(), [2, 3]
    scales, config = scales_of(signal, rows), RegressionConfig(bins=100)
    whole = drawn_bins(Made(signal), "some", np.array(rows), scales, RegressionConfig(bins=10**6)).T
    assert whole.shape == (LAYOUT.n_bins, len(WINDOWS), 2)
    means = smoothed(signal, LAYOUT, np.array(rows), scales, 0, LAYOUT.n_blocks)
    np.testing.assert_allclose(whole, means.numpy().T, atol=1e-5)
    some = drawn_bins(Made(signal), "some", np.array(rows), scales, config).T
    assert len(some) == 100
    places = [np.flatnonzero((whole == row).all(axis=(1, 2)))[0] for row in some]
    assert places == sorted(set(places))  # each once, in order
    assert places[0] < 150
    assert places[-1] > LAYOUT.n_bins - 150
    monkeypatch.setattr("avocado.model.regression.PIECE", 1)
    again = drawn_bins(Made(signal), "some", np.array(rows), scales, config).T
    np.testing.assert_allclose(again, some, atol=1e-5)


def naive_regression(
    signal: np.ndarray, rows: list[int], pair: tuple[str, str], config: RegressionConfig
) -> np.ndarray:
    """The standardised regression, input by input and donor by donor, over all bins."""
    flat = LAYOUT.from_blocks(signal).astype(np.float64)
    rows = [row for row in rows if PAIRS[row] != pair]
    scales = {row: np.array([[flat[:, row].mean()], [flat[:, row].std()]]) for row in rows}
    means = {row: smoothed(signal, LAYOUT, np.array([row]), scales[row], 0, LAYOUT.n_blocks)[0] for row in rows}
    z = {row: means[row].numpy().T.astype(np.float64) for row in rows}

    def inputs(cell: str, assay: str) -> dict:
        donors = [row for row in rows if PAIRS[row][1] == assay and PAIRS[row][0] != cell]
        found = {("average", w): np.mean([z[row][:, w] for row in donors], axis=0) for w in range(len(WINDOWS))}
        own = [row for row in rows if PAIRS[row][0] == cell and PAIRS[row][1] != assay]
        return found | {(PAIRS[row][1], w): z[row][:, w] for row in own for w in OTHERS}

    names = list(inputs(*pair))
    size = len(WINDOWS) + len(OTHERS) * len(ASSAYS)
    projection = np.random.default_rng([config.seed, 1]).normal(size=(size + 1, config.features))
    order = [("average", w) for w in range(len(WINDOWS))] + [(assay, w) for assay in ASSAYS for w in OTHERS]
    directions = projection[[order.index(name) for name in names]]
    directions /= np.sqrt(np.square(directions).sum(axis=0))

    def columns(its: dict) -> np.ndarray:
        x = np.stack([its.get(name, np.zeros(len(flat))) for name in names], axis=1)
        return np.concatenate([x, np.maximum(0, x @ directions + projection[-1])], axis=1)

    donors = [row for row in rows if PAIRS[row][1] == pair[1]]
    x = np.concatenate([columns(inputs(*PAIRS[donor])) for donor in donors])
    y = np.concatenate([z[donor][:, 0] for donor in donors])
    penalty = [config.average_ridge if name[0] == "average" else config.ridge for name in names]
    penalty += [config.feature_ridge] * config.features
    center = x.mean(axis=0)
    gram = (x - center).T @ (x - center) / len(y) + np.diag(penalty)
    weights = np.linalg.solve(gram, (x - center).T @ (y - y.mean()) / len(y))
    train = experiments(rows)
    expected = expected_scales(scales_of(signal, rows), train, [pair], config.scale_ridge)[0]
    imputed = columns(inputs(*pair)) @ weights
    return expected[0] + expected[1] * (imputed - imputed.mean())


@pytest.mark.parametrize("features", [0, 20])
@pytest.mark.parametrize("held", [[("b", "y")], [("b", "y"), ("c", "x"), ("a", "z")], []])
@pytest.mark.parametrize("pair", [("b", "y"), ("d", "x")])
def test_regression_is_the_naive_one(held, pair, features):
    signal, rows = made_signal(), without(*held)
    config = RegressionConfig(features=features, ridge=0.3, average_ridge=0.05, feature_ridge=0.2, seed=4)
    found = LAYOUT.from_blocks(regressed(signal, rows, [pair, ("a", "y")], config))[:, 0]
    np.testing.assert_allclose(found, naive_regression(signal, rows, pair, config), atol=2e-3)


def test_with_many_tracks_fewer_bins_of_each_are_learned_from(monkeypatch):
    signal, rows, pair = made_signal(), without(("b", "y")), ("b", "y")
    whole = regressed(signal, rows, [pair])
    monkeypatch.setattr("avocado.model.regression.ROWS", 3 * LAYOUT.n_bins // 2)
    half = regressed(signal, rows, [pair])
    assert np.abs(half - whole).max() > 0.001
    assert np.square(half - whole).mean() < 0.05 * whole[LAYOUT.mask].var()


def test_it_learns_what_assays_of_a_cell_type_share_and_how_strong_its_tracks_are():
    signal, rows, pair = made_signal(), without(("c", "y")), ("c", "y")
    found = LAYOUT.from_blocks(regressed(signal, rows, [pair], RegressionConfig(ridge=0.01)))[:, 0]
    observed = LAYOUT.from_blocks(signal)[:, PAIRS.index(pair)]
    average = LAYOUT.from_blocks(signal)[:, [PAIRS.index((cell, "y")) for cell in "abd"]].mean(axis=1)
    assert np.corrcoef(found, observed)[0, 1] > np.corrcoef(average, observed)[0, 1] + 0.1
    assert np.square(found - observed).mean() < 0.5 * np.square(average - observed).mean()
    expected = expected_scales(scales_of(signal, rows), experiments(rows), [pair])[0]
    assert expected == pytest.approx([observed.mean(), observed.std()], rel=0.1)
    assert average.std() < 0.7 * observed.std()


def test_random_features_learn_what_no_weighted_sum_can_say():
    random, signal = np.random.default_rng(0), made_signal()
    x, y = (random.normal(2, 1, (*signal.shape[:2], len(CELLS))) for _ in "xy")
    # assay z is where either x or y is high, and not both
    signal[:] = np.stack([x, y, np.abs(x - y)], axis=3).reshape(signal.shape) * LAYOUT.mask[..., None]
    pair = ("c", "z")
    observed = LAYOUT.from_blocks(signal)[:, PAIRS.index(pair)]
    linear, curved = (
        LAYOUT.from_blocks(regressed(signal, without(pair), [pair], config))[:, 0]
        for config in (RegressionConfig(features=0), RegressionConfig())
    )
    assert abs(np.corrcoef(linear, observed)[0, 1]) < 0.2
    assert np.corrcoef(curved, observed)[0, 1] > 0.7


def test_a_track_has_no_part_in_its_own_regression():
    signal, changed = made_signal(), made_signal()
    at = PAIRS.index(("b", "y"))
    changed[:, :, at] = np.random.default_rng(9).gamma(1, 5, changed.shape[:2]) * LAYOUT.mask
    found = [regressed(values, without(), [("b", "y"), ("a", "y")]) for values in (signal, changed)]
    np.testing.assert_allclose(found[0][..., 0], found[1][..., 0], atol=1e-4)
    # and what others make of it does change
    assert np.abs(found[0][..., 1] - found[1][..., 1]).max() > 0.1


def test_padding_is_zero_and_pieces_make_the_whole(monkeypatch):
    signal, rows, pairs = made_signal(), without(("a", "x")), [("a", "x"), ("b", "z")]
    whole = regressed(signal, rows, pairs)
    assert not whole[~LAYOUT.mask].any()
    monkeypatch.setattr("avocado.model.regression.CHUNK", 150)
    pieces = [regressed(signal, rows, pairs, blocks=(block, block + 1)) for block in range(len(whole))]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)


def test_it_is_computed_on_the_device_it_is_told():
    # meta tensors can neither be read on the way nor be added to those of another device
    signal, rows, pairs = made_signal(), without(("a", "x")), [("a", "x"), ("b", "z")]
    train, config, meta = experiments(rows), RegressionConfig(), torch.device("meta")
    scales = scales_of(signal, rows)
    means = drawn_bins(Made(signal), "some", train.columns, scales, config)
    fitted = regress(
        means, scales, expected_scales(scales, train, pairs, config.scale_ridge), train, ASSAYS, pairs, config
    )
    steps = LAYOUT.pieces(piece_blocks(len(rows), meta))
    (blocks,) = impute_blocks(signal, LAYOUT, train, ASSAYS, fitted, pairs, steps, meta)
    assert blocks.is_meta
    assert blocks.shape == (*LAYOUT.mask.shape, 2)


def test_an_assay_with_few_tracks():
    signal = made_signal()
    rows = [row for row in without() if PAIRS[row][1] != "y" or PAIRS[row][0] == "a"]
    expected = expected_scales(scales_of(signal, rows), experiments(rows), [("b", "y"), ("a", "y")])
    found = LAYOUT.from_blocks(regressed(signal, rows, [("b", "y"), ("a", "y")]))
    only = LAYOUT.from_blocks(signal)[:, PAIRS.index(("a", "y"))]
    rescaled = expected[0, 0] + expected[0, 1] * (only - only.mean()) / only.std()
    np.testing.assert_allclose(found[:, 0], rescaled, atol=1e-4)  # the only other track
    np.testing.assert_allclose(found[:, 1], expected[1, 0], rtol=1e-6)  # nothing is left: the expected mean


def test_constant_tracks_do_no_harm():
    signal = made_signal()
    signal[:, :, PAIRS.index(("a", "x"))] = 0
    assert np.isfinite(regressed(signal, without(("b", "x")), [("b", "x"), ("a", "x")])).all()


def test_the_baseline_is_the_same_regression(tmp_path):
    store = make_store(tmp_path / "store")
    columns = np.arange(len(store.tracks) - 1)  # the last track is held out
    baseline = fit_regression(store, "pilot", columns, store.cells, store.assays)
    assert isinstance(baseline, RegressionBaseline)
    imputer = Regression()
    imputer.fit(store, columns.tolist(), "pilot")
    layout = store.region("chr20")
    for column in (0, len(columns)):
        cell, assay = store.tracks[["cell", "assay"]].iloc[column]
        index = np.array([store.cells.index(cell)]), np.array([store.assays.index(assay)])
        blocks = next(baseline.blocks("chr20", *index, [(0, layout.n_blocks)])).numpy()
        np.testing.assert_allclose(
            layout.from_blocks(blocks)[:, 0], imputer.predict([(cell, assay)], "chr20")[:, 0], atol=1e-5
        )
        file = baseline.write(tmp_path / f"written{column}", "chr20", *index)
        np.testing.assert_allclose(np.load(file), blocks, rtol=1e-3, atol=1e-3)


def test_a_pair_is_regressed_when_it_is_asked_for_and_alike_whatever_else_is(tmp_path, monkeypatch):
    store = make_store(tmp_path / "store")
    everything = list(product(store.cells, store.assays))
    whole, some = (fit_regression(store, "pilot", np.arange(9), store.cells, store.assays) for _ in range(2))
    some = replace(some, kept=tmp_path / "kept.npy")
    whole.require(everything)
    assert np.isfinite(whole.fitted.weights).all()
    passes, drawn = [], model_baseline.drawn_bins
    monkeypatch.setattr(model_baseline, "drawn_bins", lambda *args: passes.append(1) or drawn(*args))
    some.require(everything[3:5])
    some.require(everything[4:5])
    assert len(passes) == 1
    known = np.isfinite(some.fitted.weights).all(axis=2)
    assert [everything[i] for i in np.flatnonzero(known.reshape(-1))] == everything[3:5]
    np.testing.assert_array_equal(some.fitted.weights[known], whole.fitted.weights[known])
    # what is asked for later is kept, and lies where the next one looks
    index = np.zeros(1, dtype=np.int64)
    blocks = [next(its.blocks("chr20", index, index, [(0, 2)])) for its in (some, whole)]
    assert torch.equal(*blocks)
    assert len(passes) == 2
    fresh = fit_regression(store, "pilot", np.arange(9), store.cells, store.assays)
    again = RegressionBaseline.of(
        store, fresh.train, store.cells, store.assays, fresh.fitted, "pilot", fresh.config.seed, some.kept
    )
    again.require([everything[0], everything[3]])
    assert len(passes) == 2
    np.testing.assert_array_equal(again.fitted.weights, some.fitted.weights)
    elsewhere = replace(again, region="chr9")
    with pytest.raises(InputError, match=r"lacks region chr9, on which the baseline of .* is to learn"):
        elsewhere.require(everything)


def test_what_pairs_share_is_regressed_once(monkeypatch):
    """Where donors and other assays agree, weights differ by a pair's scale and mean, and are those found alone."""
    kept = without(("a", "z"), ("b", "z"), ("c", "x"))
    asked = [("a", "z"), ("b", "z"), ("c", "x"), ("d", "z")]
    fits = []
    solve = model_regression._standardised_weights
    monkeypatch.setattr(model_regression, "_standardised_weights", lambda *its: fits.append(its[2]) or solve(*its))
    together = regressed(made_signal(), kept, asked)
    assert len(fits) == 2  # one of ("a", "z") and ("b", "z"), one of ("c", "x"); ("d", "z") has one donor
    for number, pair in enumerate(asked):
        alone = regressed(made_signal(), kept, [pair])[..., 0]
        np.testing.assert_allclose(together[..., number], alone, rtol=1e-5, atol=1e-5)
    assert not np.array_equal(together[..., 0], together[..., 1])


def test_progress(tmp_path, capsys):
    store = make_store(tmp_path / "store")
    for progress in (False, True):
        baseline = fit_regression(store, "pilot", np.arange(4), store.cells, store.assays)
        baseline.require([(store.cells[0], store.assays[0])], progress)
        index = np.zeros(1, dtype=np.int64)
        baseline.write(tmp_path / f"written{progress}", "chr20", index, index, progress=progress)
        said = capsys.readouterr()
        assert said.out == ""
        assert ("fitting regressions" in said.err) == ("regressing over chr20" in said.err) == progress
        assert progress or not said.err


def test_as_an_imputer(tmp_path):
    store = make_store(tmp_path / "store")
    tracks = store.tracks
    imputer = Regression()
    imputer.fit(store, range(len(tracks)), "pilot")
    cell, assay = tracks["cell"].iloc[0], tracks["assay"].iloc[0]
    for region in ("pilot", "chr20"):
        imputed = imputer.predict([(cell, assay)], region)[:, 0]
        assert imputed.shape == (store.region(region).n_bins,)
        assert imputed.dtype == np.float32
        assert np.isfinite(imputed).all()
    with pytest.raises(InputError, match=f"cannot regress heart {assay}: no other training track of cell type heart"):
        imputer.predict([("heart", assay)], "pilot")
    with pytest.raises(InputError, match="no other training track of assay ATAC"):
        imputer.predict([(cell, "ATAC")], "pilot")


@pytest.mark.parametrize(
    "wrong",
    [{"ridge": 0}, {"average_ridge": -1}, {"scale_ridge": True}, {"features": -1}, {"bins": 0}, {"features": 1.5}],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(InputError, match=f"regression: {next(iter(wrong))}="):
        RegressionConfig(**wrong)
