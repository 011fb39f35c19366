"""Scores whose answer is known: factors that are the label, labels that are place alone, labels that are chance."""

import numpy as np
import pandas as pd
import pytest

from avocado.downstream.classifiers import Logistic, Trees
from avocado.downstream.evaluation import IDENTITIES, MAJORITY, PLACE, RANDOM, compare, evaluate, score
from avocado.downstream.tasks import Task
from avocado.errors import InputError
from avocado.evaluation.scores import AVERAGE

WHOLE = "whole chromosomes"
FEW = Trees(folds=5)


def loci_of(n=600, chromosomes=10):
    per = n // chromosomes
    chrom = np.repeat([f"chr{number}" for number in range(chromosomes)], per)
    start = np.tile(np.arange(per) * 1_000, chromosomes)
    return pd.DataFrame({"chrom": chrom, "start": start, "end": start + 1_000})


def scores_of(scored, column="score"):
    return scored.summary.set_index(["held_out", "features"])[column]


def noise(n, k=5, seed=1):
    return np.random.default_rng(seed).normal(size=(n, k)).astype(np.float32)


def test_features_that_are_the_label():
    loci = loci_of()
    label = np.random.default_rng(0).random(600) < 0.3
    features = noise(600)
    features[:, 2] = label
    found = scores_of(evaluate(Task("toy", "E003", loci, label), {"factors": features}, FEW))
    assert found[RANDOM, "factors"] == found[WHOLE, "factors"] == 1
    for held_out in (RANDOM, WHOLE):
        assert found[held_out, MAJORITY] == pytest.approx(label.mean(), abs=0.02)
        assert found[held_out, PLACE] < 0.5


def test_a_label_that_is_place_alone_is_known_only_where_its_neighbours_are():
    loci = loci_of(1200)
    random = np.random.default_rng(0)
    label = np.repeat(random.random(120) < 0.4, 10)  # the same over 10 kb, anew from place to place
    scored = evaluate(Task("toy", "", loci, label), {"noise": noise(1200)}, FEW)
    found, low, high = (scores_of(scored, column) for column in ("all_loci", "low", "high"))
    assert found[RANDOM, PLACE] > 0.9
    assert low[WHOLE, PLACE] < label.mean() + 0.05 < high[WHOLE, PLACE] + 0.1
    assert found[WHOLE, PLACE] < 0.5
    assert found[RANDOM, "noise"] < 0.5


def test_permuted_labels_give_the_base_rate():
    loci = loci_of(2000)
    features = noise(2000)
    label = np.random.default_rng(3).permutation(features[:, 0] > 1)
    summary = evaluate(Task("toy", "", loci, label), {"factors": features}, FEW).summary
    trained = summary[summary["features"].isin(["factors", PLACE])]
    assert (trained["all_loci"] - label.mean()).abs().max() < 0.04
    assert (summary["base_rate"] == label.mean()).all()


def test_the_average_of_other_cell_types_is_a_baseline():
    loci = loci_of()
    label = np.random.default_rng(0).random(600) < 0.3
    others = label * 0.8 + 0.1
    others[:60] = np.nan  # which counts as the mean
    found = scores_of(evaluate(Task("toy", "E003", loci, label, others), {}, FEW))
    assert 0.85 < found[RANDOM, AVERAGE] < 1
    np.testing.assert_array_equal(
        scores_of(evaluate(Task("toy", "E003", loci, label, label * 1.0), {}, FEW))[:, AVERAGE], 1
    )


def test_numbers_are_predicted_too():
    loci, features = loci_of(), noise(600)
    label = features[:, 0] * 2.0 + 1
    found = scores_of(evaluate(Task("toy", "", loci, label.astype(float)), {"factors": features}, FEW))
    assert found[WHOLE, "factors"] > 0.95
    assert found[WHOLE, MAJORITY] == 0
    assert abs(found[WHOLE, PLACE]) < 0.3


def pairs(n=600, promoters=60, seed=0):
    """Pairs of which a promoter's own nature decides, on ten chromosomes."""
    random = np.random.default_rng(seed)
    promoter = np.arange(n) % promoters
    chrom = np.array([f"chr{number % 10}" for number in promoter])
    enhancer = np.arange(n) * 100
    loci = pd.DataFrame(
        {"chrom": chrom, "start": enhancer, "end": enhancer + 50,
         "start2": 1_000_000 + promoter * 100, "end2": 1_000_050 + promoter * 100}
    )  # fmt: skip
    return loci, (random.random(promoters) < 0.3)[promoter]


def test_identity_of_a_promoter_is_worth_nothing_on_other_chromosomes():
    loci, label = pairs()
    scored = evaluate(Task("toy", "", loci, label), {"noise": noise(600)}, Logistic(repeats=1, strengths=3))
    found = scores_of(scored, "all_loci")
    assert found[RANDOM, IDENTITIES[1]] == pytest.approx(1)
    assert found[RANDOM, IDENTITIES[0]] == pytest.approx(label.mean())  # each enhancer is there once
    assert found[WHOLE, IDENTITIES[1]] == pytest.approx(label.mean())
    assert found[WHOLE, "noise"] < label.mean() + 0.15


def test_logistic_regression_chooses_its_strength():
    loci, label = pairs()
    features = noise(600)
    features[:, 1] += 4 * label
    scored = evaluate(Task("toy", "", loci, label), {"factors": features}, Logistic(repeats=1, strengths=3))
    assert (scores_of(scored)[:, "factors"] > 0.95).all()
    assert (scored.folds.groupby(["held_out", "features"]).size() == 5).all()
    with pytest.raises(InputError, match="missing=-1"):
        evaluate(Task("toy", "", loci, label), {"own tracks": np.full((600, 2), np.nan, np.float32)})


def test_the_same_seed_gives_the_same_scores():
    task = Task("toy", "", loci_of(), np.random.default_rng(0).random(600) < 0.3)
    one, same = (evaluate(task, {"factors": noise(600)}, FEW, seed=4).folds for _ in range(2))
    pd.testing.assert_frame_equal(one, same)
    assert not one.equals(evaluate(task, {"factors": noise(600)}, FEW, seed=5).folds)


def test_paired_tests_over_folds():
    rows = [
        ("toy", cell, RANDOM, features, fold, 10, 0.5, value + fold / 100 + shift * fold / 1000)
        for cell in ("a", "b")
        for features, value, shift in (("factors", 0.8, 0), ("own tracks", 0.7, 1), (MAJORITY, 0.5, 2))
        for fold in range(20)
    ]
    columns = ["task", "cell", "held_out", "features", "fold", "n", "base_rate", "score"]
    table = compare(pd.DataFrame(rows, columns=columns), "factors").set_index("features")
    assert table["n"].tolist() == [40, 40]
    assert table.loc["own tracks", "difference"] == pytest.approx(-0.1 + 0.0095)
    assert (table["p_t_holm"] >= table["p_t"]).all()
    assert (table["p_t_holm"] < 1e-10).all()
    assert compare(pd.DataFrame(rows, columns=columns), "absent").empty
    both = compare(pd.DataFrame(rows, columns=columns), "factors", "own tracks", "absent")
    assert list(zip(both["features"], both["reference"], strict=True)) == [
        ("own tracks", "factors"), (MAJORITY, "factors"), (MAJORITY, "own tracks"),
    ]  # fmt: skip


def test_scores():
    label = np.array([True, False, True, False])
    assert score(label, np.array([4, 1, 3, 2])) == 1
    assert score(label, np.zeros(4)) == 0.5
    assert np.isnan(score(label[::2], np.zeros(2)))
    assert score(np.arange(4.0), np.arange(4.0)) == pytest.approx(1)
    assert score(np.arange(4.0), np.zeros(4)) == 0
