import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

import avocado.imputers.chromimpute_features as features
from avocado.data.genome import Assembly, Region, Segment
from avocado.data.store import SignalStore, open_store, write_metadata, write_region
from avocado.errors import InputError
from avocado.imputers.chromimpute import ChromImpute, grow_tree
from avocado.imputers.chromimpute_features import Candidates, box_sums, nearest_cells, running_means, signal_offsets
from avocado.imputers.config import ChromImputeConfig

CHR1 = Region("chr1", (Segment("chr1", 0, 1500),))
PART = Region("part", (Segment("chr1", 130, 1490),))
PILOT = Region("pilot", (Segment("chr1", 50, 503), Segment("chr1", 700, 890), Segment("chr2", 0, 657)))
CELLS, ASSAYS = "ABCDE", ["m1", "m2", "m3", "m4", "m5"]
# five by five with one track withheld per row and column
WITHHELD = [("A", "m1"), ("B", "m2"), ("C", "m3"), ("D", "m4"), ("E", "m5")]
PAIRS = [(cell, assay) for cell in CELLS for assay in ASSAYS]
TRAIN = [column for column, pair in enumerate(PAIRS) if pair not in WITHHELD]
SMALL = ChromImputeConfig(
    standardise=False,
    average=False,
    bags=1,
    positions=500,
    neighbours=2,
    distance_window=4,
    narrow_window=3,
    wide_window=40,
    wide_step=10,
    min_leaf=5,
)
Signals = dict[Region, np.ndarray]


A_M1 = [("A", "m1")]  # the pair that most tests ask for


def donors_of(imputer):
    """The donors of the one pair that was asked for last, with their trees."""
    (donors,) = imputer._grown.values()
    return donors


def make_signals(n_tracks: int = len(PAIRS), regions: Sequence[Region] = (PILOT,), seed: int = 0) -> Signals:
    """Smooth positive signal on a coarse grid, so that every kind of tie occurs; float32 (n_bins, n_tracks)."""
    random = np.random.default_rng(seed)
    signals = {}
    for region in regions:
        common = np.repeat(random.gamma(0.4, 1, (region.n_bins // 15 + 1, 1)), 15, axis=0)[: region.n_bins]
        own = np.repeat(random.gamma(0.4, 1, (region.n_bins // 6 + 1, n_tracks)), 6, axis=0)[: region.n_bins]
        signals[region] = (np.round(4 * np.minimum(common + 0.5 * own, 6)) / 4).astype(np.float32)
    return signals


def make_store(path, signals: Signals, pairs: Sequence[tuple[str, str]] = PAIRS) -> SignalStore:
    path.mkdir(exist_ok=True)
    for region, signal in signals.items():
        write_region(path, region, len(pairs), "float32", [region.to_blocks(signal)])
    table = pd.DataFrame(pairs, columns=pd.Index(["cell", "assay"]))
    write_metadata(path, Assembly("toy", {"chr1": 37_500, "chr2": 20_000}), signals, table, "float32")
    return open_store(path)


def fitted(store: SignalStore, experiments: Sequence[int] = TRAIN, config=SMALL, region="pilot", seed=0) -> ChromImpute:
    imputer = ChromImpute(config, seed)
    imputer.fit(store, experiments, region)
    return imputer


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("chromimpute") / "store", make_signals())


def naive_features(
    store: SignalStore,
    experiments: Sequence[int],
    acting: str,
    cell: str,
    donor: str,
    assay: str,
    ranks: np.ndarray,
    average: bool = False,
) -> np.ndarray:
    """The method's description written down bin by bin, for the settings SMALL; and the average, if it is asked for."""
    tracks = {
        (store.tracks["cell"][e], store.tracks["assay"][e]): store.read_tracks([e], "pilot")[:, 0].astype(float)
        for e in experiments
    }
    cells, assays = sorted({c for c, _ in tracks}), sorted({a for _, a in tracks})
    shared = [a for a in assays if a != assay and (cell, a) in tracks and (donor, a) in tracks]
    starts = {rank: rank + segment.n_bins for segment, rank, _ in PILOT.walk()}
    rows = []
    for i in ranks:
        start = max(rank for rank in starts if rank <= i)

        def at(c, a, offsets, first=start, bin_=i):
            return tracks[c, a][np.clip(bin_ + np.asarray(offsets), first, starts[first] - 1)]

        row = []
        for a in shared:
            usable = [c for c in cells if (c, a) in tracks and (c, assay) in tracks and c not in (cell, donor)]
            near = {c: ((at(acting, a, range(-4, 5)) - at(c, a, range(-4, 5))) ** 2).sum() for c in usable}
            far = {c: 1 - np.corrcoef(tracks[acting, a], tracks[c, a])[0, 1] for c in usable}
            by_far = sorted(usable, key=lambda c: far[c])
            by_near = sorted(by_far, key=lambda c: near[c])
            for r in range(1, min(2, len(usable)) + 1):
                row += [np.mean([tracks[c, assay][i] for c in order[:r]]) for order in (by_near, by_far)]
        for a in shared:
            row += at(acting, a, [0, -1, 1, -2, 2, -3, 3, -13, 13, -23, 23, -33, 33]).tolist()
        if average:
            others = [c for c in cells if (c, assay) in tracks and c not in (cell, donor)]
            row += [np.mean([tracks[c, assay][i] for c in others])] if others else []
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("cell", ["A", "B"])  # m1 of A is held out, m1 of B is a training track
@pytest.mark.parametrize("piece", [60, 10_000])
@pytest.mark.parametrize("average", [False, True])
def test_features_and_imputation_are_those_of_the_description(store, monkeypatch, cell, piece, average):
    monkeypatch.setattr(features, "SMALLEST_PIECE", piece)
    monkeypatch.setattr(features, "PIECE_BYTES", 1)
    imputer = fitted(store, config=replace(SMALL, average=average))
    imputed = imputer.predict([(cell, "m1")], "pilot")[:, 0]
    assert imputed.dtype == np.float32
    ranks = np.array([0, 1, 59, 60, 200, 452, 453, 460, 600, 642, 643, 1000, 1299])
    expected = np.zeros(len(ranks))
    assert [donor.cell for donor in donors_of(imputer)] == [c for c in "BCDE" if c != cell]
    for donor in donors_of(imputer):
        rows, targets = imputer.training_rows(donor.cell, donor.assays, cell, "m1", ranks)
        naive = naive_features(store, TRAIN, donor.cell, cell, donor.cell, "m1", ranks, average)
        np.testing.assert_allclose(rows, naive, atol=1e-6)
        assert targets.tolist() == store.read_track(donor.cell, "m1", "pilot")[ranks].tolist()
        applied = naive_features(store, TRAIN, cell, cell, donor.cell, "m1", ranks, average)
        assert applied.shape == naive.shape
        (tree,) = donor.trees
        # means of float32 must not fall on the other side of a threshold than those of the trees
        expected += tree.predict(applied.astype(np.float32).astype(float)) / len(donors_of(imputer))
    np.testing.assert_allclose(imputed[ranks], expected, atol=1e-5)


def test_feature_count_with_the_default_settings(store):
    imputer = fitted(store, config=ChromImputeConfig(bags=1, min_leaf=20, standardise=False, average=False))
    for donor in "BCDE":
        assays = tuple(a for a in ASSAYS[1:] if (donor, a) not in WITHHELD)
        rows, _ = imputer.training_rows(donor, assays, "A", "m1", np.arange(10))
        assert rows.shape == (10, 249)
    offsets = signal_offsets(20, 400, 20)
    assert offsets[:5].tolist() == [0, -1, 1, -2, 2]
    assert offsets[39:45].tolist() == [-20, 20, -40, 40, -60, 60]
    assert (len(offsets), offsets[-1]) == (79, 400)


def test_the_average_is_of_cell_types_that_share_no_assay_too(tmp_path):
    """A has m2 alone, which of all cell types with m1 only B has: its tree knows m1 of the others by their average."""
    pairs = [("A", "m2"), ("B", "m1"), ("B", "m2"), ("C", "m1"), ("C", "m3"), ("D", "m1"), ("D", "m3")]
    store = make_store(tmp_path, make_signals(len(pairs)), pairs)
    everything = range(len(pairs))
    plain, averaging = (fitted(store, everything, replace(SMALL, average=average)) for average in (False, True))
    ranks = np.arange(200)
    (rows, _), (more, _) = (its.training_rows("B", ("m2",), "A", "m1", ranks) for its in (plain, averaging))
    np.testing.assert_array_equal(more[:, :-1], rows)
    expected = store.read_tracks([3, 5], "pilot")[ranks].mean(axis=1)
    np.testing.assert_allclose(more[:, -1], expected, atol=1e-6)
    assert np.abs(averaging.predict(A_M1, "pilot")[:, 0] - plain.predict(A_M1, "pilot")[:, 0]).max() > 0.1


def test_the_order_of_the_tracks_changes_nothing(store, tmp_path):
    order = np.random.default_rng(1).permutation(len(PAIRS))
    shuffled = make_store(tmp_path, {PILOT: make_signals()[PILOT][:, order]}, [PAIRS[i] for i in order])
    columns = [int(np.flatnonzero(order == column)[0]) for column in TRAIN]
    expected = fitted(store).predict(A_M1, "pilot")[:, 0]
    np.testing.assert_allclose(fitted(shuffled, columns).predict(A_M1, "pilot")[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("cell", ["A", "B"])
def test_the_imputed_track_and_the_other_held_out_ones_are_never_looked_at(store, tmp_path, cell):
    signals = make_signals()
    for track in [*WITHHELD, (cell, "m1")]:
        signals[PILOT][:, PAIRS.index(track)] = np.nan
    spoilt = make_store(tmp_path, signals)
    # a training track is part of fit's comparisons, which its own imputation does not use
    with np.errstate(invalid="ignore"):
        imputer = fitted(spoilt)
    assert (
        imputer.predict([(cell, "m1")], "pilot")[:, 0].tolist()
        == fitted(store).predict([(cell, "m1")], "pilot")[:, 0].tolist()
    )


def test_no_feature_of_a_donors_tree_depends_on_its_target(store, tmp_path):
    signals = make_signals()
    signals[PILOT][:, PAIRS.index(("C", "m1"))] = 7
    changed = make_store(tmp_path, signals)
    bins = np.arange(0, 1300, 7)
    before, after = (fitted(s).training_rows("C", ("m2", "m4", "m5"), "A", "m1", bins) for s in (store, changed))
    assert (before[0] == after[0]).all()
    assert (after[1] == 7).all()
    assert not (before[1] == 7).any()
    # whereas the other donors' features do
    before, after = (fitted(s).training_rows("D", ("m2", "m3", "m5"), "A", "m1", bins) for s in (store, changed))
    assert (before[0] != after[0]).any()


def test_an_assay_that_the_target_cell_type_lacks_is_no_feature(store):
    imputer = fitted(store, [column for column in TRAIN if PAIRS[column] != ("A", "m3")])
    imputer.predict(A_M1, "pilot")
    assert {donor.cell: donor.assays for donor in donors_of(imputer)} == {
        "B": ("m4", "m5"),
        "C": ("m2", "m4", "m5"),
        "D": ("m2", "m5"),
        "E": ("m2", "m4"),
    }


def test_all_neighbours_together_have_one_mean():
    random = np.random.default_rng(0)
    target, distances = random.random((50, 4), dtype=np.float32), random.random((50, 4))
    order = np.argsort(distances, axis=1)
    means = running_means(target, order, 10)
    assert means.shape == (50, 8)
    np.testing.assert_allclose(means[:, -2], means[:, -1], atol=1e-6)
    np.testing.assert_allclose(means[:, -1], target.mean(axis=1), atol=1e-6)
    assert means[:, 0].tolist() == target[np.arange(50), order[:, 0]].tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 10])
@pytest.mark.parametrize("without", [0, 2, 4])
def test_leaving_a_candidate_out_is_never_having_had_it(count, without):
    random = np.random.default_rng(0)
    target, distances = random.random((50, 5), dtype=np.float32), random.random((50, 5))
    left = [column for column in range(5) if column != without]
    order = np.argsort(distances, axis=1)[:, : count + 1]
    expected = running_means(target[:, left], np.argsort(distances[:, left], axis=1)[:, :count], count)
    np.testing.assert_array_equal(running_means(target, order, count, without), expected)


def test_worked_example_of_the_neighbours():
    # acting A (column 0); assay X of D, B, C (1, 2, 3, globally nearest first), target of D, B, C (4, 5, 6)
    candidates = Candidates(0, (1, 2, 3), (4, 5, 6))
    signal = np.tile(np.array([0, 3, 5**0.5, 1, 9, 2, 4], dtype=np.float32), (3, 1))
    signal[[0, 2], 1:4] = 0  # distances 9, 5, 1 come from the bin itself
    place = {column: column for column in range(7)}
    target, order = nearest_cells(candidates, signal, place, np.array([1]), 1, 3)
    assert order.tolist() == [[2, 1, 0]]
    assert running_means(target, order, 10, without=1).tolist() == [[4, 9, 6.5, 6.5]]


def test_local_ties_go_to_the_globally_nearer():
    candidates = Candidates(0, (1, 2, 3), (4, 5, 6))
    signal = np.tile(np.array([1, 0, 2, 0, 7, 8, 9], dtype=np.float32), (9, 1))
    _, order = nearest_cells(candidates, signal, dict(enumerate(range(7))), np.arange(2, 7), 2, 3)
    assert order.tolist() == [[0, 1, 2]] * 5


def test_no_candidate_leaves_the_signal_of_the_other_assays(tmp_path):
    pairs = [("A", "m2"), ("B", "m1"), ("B", "m2")]
    store = make_store(tmp_path, make_signals(3), pairs)
    imputer = fitted(store, range(3))
    rows, targets = imputer.training_rows("B", ("m2",), "A", "m1", np.arange(1300))
    assert rows.shape == (1300, len(signal_offsets(3, 40, 10)))
    assert rows[:, 0].tolist() == store.read_track("B", "m2", "pilot").tolist()
    imputed = imputer.predict(A_M1, "pilot")[:, 0]
    assert targets.min() - 1e-6 <= imputed.min() < imputed.max() <= targets.max() + 1e-6  # float32 means


def test_identical_cell_types_are_reproduced(tmp_path):
    random = np.random.default_rng(0)
    common = np.repeat(random.integers(0, 5, (434, len(ASSAYS))), 3, axis=0)[: PILOT.n_bins].astype(np.float32)
    signal = np.stack([common[:, ASSAYS.index(assay)] for _, assay in PAIRS], axis=1)
    store = make_store(tmp_path, {PILOT: signal})
    imputer = fitted(store)
    rows, targets = imputer.training_rows("B", ("m3", "m4", "m5"), "A", "m1", np.arange(1300))
    np.testing.assert_array_equal(rows[:, :12], np.repeat(targets[:, None], 12, axis=1))
    np.testing.assert_allclose(imputer.predict(A_M1, "pilot")[:, 0], common[:, 0], atol=1e-5)


def test_imputations_lie_within_the_training_targets(store):
    imputed = fitted(store).predict(A_M1, "pilot")[:, 0]
    donors = store.read_tracks([PAIRS.index((donor, "m1")) for donor in "BCDE"], "pilot")
    assert donors.min(axis=0).mean() <= imputed.min() + 1e-6
    assert imputed.max() - 1e-6 <= donors.max(axis=0).mean()
    assert imputed.std() > 0.1


def test_a_tree_is_scikit_learns_exact_tree_with_leaves_of_means():
    random = np.random.default_rng(0)
    rows = random.integers(0, 40, (3000, 8)) / 10
    targets = rows[:, 0] * (rows[:, 1] > 2) + random.normal(0, 0.3, 3000)
    fit = grow_tree(rows, targets, 20).predict(rows)
    exact = DecisionTreeRegressor(min_samples_leaf=20, random_state=0).fit(rows, targets).predict(rows)
    assert np.mean((fit - targets) ** 2) == pytest.approx(np.mean((exact - targets) ** 2), rel=1e-3)
    assert np.mean(np.abs(fit - exact) > 1e-4) < 0.05  # where splits tie
    leaves, members, counts = np.unique(fit, return_inverse=True, return_counts=True)
    assert counts.min() >= 20
    assert len(leaves) > 50
    np.testing.assert_allclose(leaves, np.bincount(members, weights=targets) / counts, atol=1e-5)


def test_worked_example_of_the_split():
    rows, targets = np.array([[0.0], [0], [1], [1], [2], [2]]), np.array([0.0, 0, 0, 0, 6, 6])
    tree = grow_tree(rows, targets, 2)
    assert tree.predict(rows).tolist() == pytest.approx([0, 0, 0, 0, 6, 6], abs=1e-6)
    assert tree.predict(np.array([[1.4], [1.6]])).tolist() == pytest.approx([0, 6], abs=1e-6)


def test_a_tree_of_too_few_rows_is_their_mean():
    assert grow_tree(np.arange(39.0)[:, None], np.arange(39.0), 20).predict(np.array([[3.0]])) == pytest.approx([19])


def test_a_constant_added_to_the_assay_is_added_to_the_imputation(store, tmp_path):
    signals = make_signals()
    for cell in CELLS:
        signals[PILOT][:, PAIRS.index((cell, "m1"))] += 2
    raised = make_store(tmp_path, signals)
    expected = fitted(store).predict(A_M1, "pilot")[:, 0] + 2
    np.testing.assert_allclose(fitted(raised).predict(A_M1, "pilot")[:, 0], expected, atol=1e-4)


def test_the_same_signal_elsewhere_is_imputed_the_same(tmp_path):
    signal = make_signals(regions=(CHR1,))[CHR1]
    store = make_store(tmp_path, {CHR1: signal, PART: signal[130:1490], **make_signals()})
    imputer = fitted(store)
    whole, part = (imputer.predict(A_M1, region)[:, 0] for region in ("chr1", "part"))
    assert part.shape == (1360,)
    np.testing.assert_array_equal(part[40:-40], whole[170:1450])
    # within 10 kbp (here 40 bins) of an end the end's signal is repeated instead
    assert (part != whole[130:1490]).any()


def test_seed_and_bags(store):
    few = replace(SMALL, positions=200)
    first, again, other = (fitted(store, config=few, seed=seed).predict(A_M1, "pilot")[:, 0] for seed in (0, 0, 1))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    imputer = fitted(store, config=replace(few, bags=2))
    imputed = imputer.predict(A_M1, "pilot")[:, 0]
    assert [len(donor.trees) for donor in donors_of(imputer)] == [2] * 4
    # the first bag is the sample of a single one
    imputer._grown = {("A", "m1"): [replace(donor, trees=donor.trees[:1]) for donor in donors_of(imputer)]}
    assert imputer.predict(A_M1, "pilot")[:, 0].tolist() == first.tolist()
    assert imputed.tolist() != first.tolist()


def test_trees_are_kept_for_other_regions_of_the_track(tmp_path, monkeypatch):
    store = make_store(tmp_path, make_signals(regions=(PILOT, CHR1)))
    imputer = fitted(store)
    expected = imputer.predict(A_M1, "chr1")[:, 0]
    with monkeypatch.context() as without_trees:
        without_trees.setattr("avocado.imputers.chromimpute.grow_tree", None)
        assert imputer.predict(A_M1, "chr1")[:, 0].tolist() == expected.tolist()
        assert imputer.predict(A_M1, "pilot")[:, 0].shape == (PILOT.n_bins,)
        with pytest.raises(TypeError):
            imputer.predict([("B", "m2")], "chr1")
    assert imputer.predict(A_M1, "chr1")[:, 0].tolist() == expected.tolist()


def test_it_beats_the_plain_mean_where_another_assay_tells_the_cell_types_apart(tmp_path):
    random = np.random.default_rng(0)
    peaks = np.repeat(random.random((130, 6)) < 0.3, 10, axis=0)  # of every cell type its own
    pairs = [(cell, assay) for cell in "ABCDEF" for assay in ("m1", "m2")]
    signal = np.stack([peaks[:, "ABCDEF".index(c)] * (1 if a == "m2" else 3) for c, a in pairs], axis=1)
    store = make_store(tmp_path, {PILOT: (signal + random.random(signal.shape) * 0.2).astype(np.float32)}, pairs)
    observed = store.read_track("A", "m1", "pilot")
    imputed = fitted(store, range(1, 12)).predict(A_M1, "pilot")[:, 0]
    mean = store.read_tracks(range(2, 12, 2), "pilot").mean(axis=1)
    assert np.mean((imputed - observed) ** 2) < 0.1 * np.mean((mean - observed) ** 2)


def test_correlations_of_tracks(store):
    signal = make_signals()[PILOT][:, [3, 5, 1]]
    signal_correlations = np.corrcoef(signal.T.astype(float))
    np.testing.assert_allclose(features.correlations(store, "pilot", [3, 5, 1]), signal_correlations, atol=1e-9)


def test_correlation_with_a_constant_track_is_0(tmp_path):
    signals = make_signals(2)
    signals[PILOT][:, 1] = 0
    store = make_store(tmp_path, signals, PAIRS[:2])
    np.testing.assert_allclose(features.correlations(store, "pilot", [0, 1]), [[1, 0], [0, 0]], atol=1e-9)


@pytest.mark.parametrize("width", [1, 2, 3, 9, 41])
def test_box_sums(width):
    values = np.random.default_rng(0).random((60, 2))
    expected = np.lib.stride_tricks.sliding_window_view(values, width, axis=0).sum(axis=-1)
    np.testing.assert_allclose(box_sums(values, width), expected)


def test_progress_is_shown_on_request_only(store, capsys):
    fitted(store).predict(A_M1, "pilot")
    assert capsys.readouterr().err == ""
    imputer = ChromImpute(SMALL, progress=True)
    imputer.fit(store, TRAIN, "pilot")
    imputer.predict(A_M1, "pilot")
    said = capsys.readouterr()
    assert said.out == ""
    assert "trees of A m1" in said.err


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([("B", "m1"), ("B", "m2")], "A has no training track of another assay"),
        ([("A", "m1"), ("A", "m2"), ("B", "m2")], "m1 has no training track in another cell type"),
        ([("A", "m2"), ("B", "m1"), ("B", "m3")], "no other cell type with m1 has one of its assays (m2)"),
    ],
)
def test_tracks_that_cannot_be_imputed(store, pairs, reason):
    imputer = fitted(store, [PAIRS.index(pair) for pair in pairs])
    with pytest.raises(InputError, match=re.escape(f"ChromImpute cannot impute A m1: {reason}")):
        imputer.predict(A_M1, "pilot")


def test_wrong_settings_and_regions(store):
    for name, value in (("positions", 0), ("min_leaf", 1.5), ("wide_step", None), ("bags", True), ("wide_window", -1)):
        expected = f"chromimpute: {name}={value}: expected a whole number of at least {0 if value == -1 else 1}"
        with pytest.raises(InputError, match=expected):
            ChromImputeConfig(**{name: value})  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="no region 'chr9'"):
        fitted(store, region="chr9")
    with pytest.raises(InputError, match="no region 'chr9'"):
        fitted(store).predict(A_M1, "chr9")


def test_standardised_it_is_the_same_on_tracks_of_any_strength(tmp_path):
    """What is imputed moves with the target's expected mean and deviation, and its shape with nothing."""
    signals = make_signals()
    stores = [make_store(tmp_path / name, {region: signal * factor for region, signal in signals.items()})
              for name, factor in (("once", 1.0), ("twice", 2.0))]  # fmt: skip
    imputed = [fitted(store, config=replace(SMALL, standardise=True)).predict(A_M1, "pilot")[:, 0] for store in stores]
    np.testing.assert_allclose(imputed[1], 2 * imputed[0], rtol=1e-2, atol=1e-2)
    plain = fitted(stores[0]).predict(A_M1, "pilot")[:, 0]
    assert not np.allclose(plain, imputed[0], atol=0.01)


# --- bounded work ---


def wide_store(path) -> SignalStore:
    """Twelve cell types × three assays, in pairs that resemble each other: c0 and c1, c2 and c3, ..."""
    pairs = [(f"c{number:02}", assay) for number in range(12) for assay in ("m1", "m2", "m3")]
    random, signals = np.random.default_rng(5), {}
    kinds = np.repeat(random.gamma(0.4, 1, (PILOT.n_bins // 10 + 1, 6)), 10, axis=0)[: PILOT.n_bins]
    own = np.repeat(random.gamma(0.4, 1, (PILOT.n_bins // 5 + 1, len(pairs))), 5, axis=0)[: PILOT.n_bins]
    kind = [int(cell[1:]) // 2 for cell, _ in pairs]
    signals[PILOT] = (kinds[:, kind] + 0.3 * own).astype(np.float32)
    return make_store(path, signals, pairs)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return wide_store(tmp_path_factory.mktemp("wide") / "store")


HELD_OUT = 0  # c00 m1


def others(store: SignalStore) -> list[int]:
    return [column for column in range(len(store.tracks)) if column != HELD_OUT]


def similarity_by_hand(store: SignalStore, cell: str, other: str) -> float:
    found = [
        np.corrcoef(store.read_track(cell, assay, "pilot"), store.read_track(other, assay, "pilot"))[0, 1]
        for assay in ("m2", "m3")
    ]
    return float(np.mean(found))


def test_donors_are_the_most_similar_cell_types(wide):
    ranked = sorted(
        (f"c{number:02}" for number in range(1, 12)), key=lambda other: -similarity_by_hand(wide, "c00", other)
    )
    assert ranked[0] == "c01"
    for limit in (1, 3, 10):
        imputer = fitted(wide, others(wide), replace(SMALL, donors=limit))
        assert imputer.donors("c00", "m1") == {donor: ("m2", "m3") for donor in sorted(ranked[:limit])}
        imputer.predict([("c00", "m1")], "pilot")
        assert [donor.cell for donor in donors_of(imputer)] == sorted(ranked[:limit])
    assert len(fitted(wide, others(wide), replace(SMALL, donors=None)).donors("c00", "m1")) == 11


def test_the_target_has_no_say_in_who_its_donors_are(wide, tmp_path):
    signal = wide.read_tracks(range(len(wide.tracks)), "pilot")
    signal[:, HELD_OUT] = signal[:, wide.track_index("c07", "m1")]
    changed = make_store(tmp_path / "store", {PILOT: signal}, list(wide.tracks.itertuples(index=False, name=None)))
    every = range(len(wide.tracks))
    found = [fitted(s, every, replace(SMALL, donors=2)).donors("c00", "m1") for s in (wide, changed)]
    assert found[0] == found[1]


def test_limits_that_do_not_bite_change_nothing(store, wide):
    for its, columns, pair in ((store, TRAIN, ("A", "m1")), (wide, others(wide), ("c00", "m1"))):
        imputed = {}
        for name, changes in {
            "none": {"donors": None, "candidates": None, "trees": 100},
            "wide": {"donors": 11, "candidates": 11, "trees": 100},
            "narrow": {"donors": 2, "candidates": 3},
        }.items():
            imputer = fitted(its, columns, replace(SMALL, bags=2, **changes))
            imputed[name] = imputer.predict([pair], "pilot")[:, 0]
        np.testing.assert_array_equal(imputed["none"], imputed["wide"])
        assert not np.array_equal(imputed["none"], imputed["narrow"])


def test_many_donors_have_fewer_bags(wide):
    for trees, bags in ((100, 4), (16, 4), (8, 2), (7, 1), (1, 1)):
        imputer = fitted(wide, others(wide), replace(SMALL, bags=4, donors=4, trees=trees))
        imputer.predict([("c00", "m1")], "pilot")
        assert [len(donor.trees) for donor in donors_of(imputer)] == [bags] * 4


def test_features_are_as_many_where_candidates_are_cut(wide):
    """A donor that is, and one that isn't among the candidates of the target, with the fewest candidates allowed."""
    imputer = fitted(wide, others(wide), replace(SMALL, donors=None, candidates=3))
    imputed = imputer.predict([("c00", "m1")], "pilot")[:, 0]
    assert np.isfinite(imputed).all()
    among = [
        imputer._candidates("c00", "m2", "m1", "c00").index(wide.track_index(d.cell, "m2")) for d in donors_of(imputer)
    ]
    assert sum(place is not None for place in among) == 3
    assert len(among) == 11


def test_trees_of_one_target_serve_another_that_shares_the_same_assays(wide, monkeypatch):
    held_out = [wide.track_index(cell, "m1") for cell in ("c00", "c01")]
    columns = [column for column in range(len(wide.tracks)) if column not in held_out]
    grown = []

    def growing(features, targets, min_leaf):
        grown.append(targets)
        return grow_tree(features, targets, min_leaf)

    monkeypatch.setattr("avocado.imputers.chromimpute.grow_tree", growing)
    both, alone = (fitted(wide, columns, replace(SMALL, donors=3)) for _ in range(2))
    both.predict([("c00", "m1")], "pilot")
    first, donors = len(grown), set(both.donors("c00", "m1"))
    shared = both.predict([("c01", "m1")], "pilot")[:, 0]
    assert len(grown) - first == len(set(both.donors("c01", "m1")) - donors) < 3
    np.testing.assert_array_equal(shared, alone.predict([("c01", "m1")], "pilot")[:, 0])
    # for a training track, its own cell type is left out of what the trees see: they are others
    before = len(grown)
    both.predict([("c02", "m1")], "pilot")
    assert len(grown) - before == 3


def test_earlier_trees_are_let_go(wide, monkeypatch):
    monkeypatch.setattr("avocado.imputers.chromimpute.KEPT_TREES", 4)
    imputer = fitted(wide, others(wide), replace(SMALL, donors=3))
    for cell in ("c00", "c02", "c04"):
        imputer.predict([(cell, "m1")], "pilot")
        assert len(imputer._kept) <= 4


def test_outlook_counts_trees_and_measures(wide, store):
    imputer = fitted(wide, others(wide), replace(SMALL, donors=3))
    line = imputer.outlook([("c00", "m1"), ("c02", "m1"), ("c00", "m9")], "pilot")
    assert re.fullmatch(r"ChromImpute: 2 tracks × up to 3 donors, 6 different trees, about .* seconds?", line), line
    assert imputer.outlook([("c00", "m9")], "pilot") == "ChromImpute: no track can be imputed"
    # and leaves no trace in what is imputed
    expected = fitted(wide, others(wide), replace(SMALL, donors=3)).predict([("c00", "m1")], "pilot")[:, 0]
    np.testing.assert_array_equal(imputer.predict([("c00", "m1")], "pilot")[:, 0], expected)


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_trees_are_those_of_scikit_learn(few, dtype):
    from sklearn.ensemble import HistGradientBoostingRegressor

    random = np.random.default_rng(1)
    features = random.normal(size=(3_000, 6)).astype(dtype)
    features[:, 1] = np.round(features[:, 1], 1)  # negative zeros among them
    features[:, 2] = np.maximum(features[:, 2], 0)
    features[:, 3] = 7
    if few:
        features = np.round(features * 4) / 4
    targets = (features[:, 0] > 0) * features[:, 1] + random.normal(size=3_000) / 4
    theirs = HistGradientBoostingRegressor(
        learning_rate=1, max_iter=1, max_leaf_nodes=None, min_samples_leaf=20, early_stopping=False
    ).fit(features, targets)
    ours = grow_tree(np.asfortranarray(features), targets, 20)
    np.testing.assert_array_equal(ours.predict(features), theirs.predict(features))
    assert len(np.unique(ours.predict(features))) > 20


def test_candidates_must_be_more_than_neighbours():
    with pytest.raises(InputError, match="candidates=10: more than neighbours=10 are needed"):
        ChromImputeConfig(candidates=10)
