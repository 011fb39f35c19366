import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from avocado.generalization.scoring import AVERAGE_PRECISION, PEARSON, intervals, within_loci


def drawn(n, levels=None, seed=0):
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.3).astype(float)
    score = label + rng.normal(0, 1, n)
    return label, np.round(score * levels) / levels if levels else score


@pytest.mark.parametrize("levels", [None, 1, 4])
def test_average_precision_is_scikit_learns(levels):
    label, score = drawn(500, levels)
    assert AVERAGE_PRECISION(label, score) == pytest.approx(average_precision_score(label, score))


def test_constants():
    label, _ = drawn(100)
    assert AVERAGE_PRECISION(label, np.zeros(100)) == pytest.approx(label.mean())
    assert np.isnan(AVERAGE_PRECISION(np.zeros(100), label))
    assert np.isnan(PEARSON(label, np.full(100, 0.1)))


def test_correlation():
    label, score = drawn(100)
    assert PEARSON(label * 1e-6, score + 1e3) == pytest.approx(np.corrcoef(label, score)[0, 1])


@pytest.mark.parametrize("measure", [AVERAGE_PRECISION, PEARSON])
def test_sums_of_units_make_any_resample(measure):
    label, score = drawn(300, 10)
    unit = np.arange(300) % 7
    counts = np.array([0, 2, 1, 0, 3, 1, 0])
    sums = np.tensordot(counts, measure.sums(label, score, unit, 7, None), axes=1)
    rows = np.repeat(np.arange(300), counts[unit])
    assert float(measure.value(sums[None])[0]) == pytest.approx(measure(label[rows], score[rows]))


def test_intervals_hold_the_score_and_pair_the_draws():
    label, score = drawn(20_000)  # more ranks than are told apart
    noisy = score + np.random.default_rng(1).normal(0, 0.5, len(score))
    found, differences = intervals(AVERAGE_PRECISION, label, {"a": score, "b": noisy}, np.arange(len(label)) // 1000)
    assert found["a"].value == pytest.approx(average_precision_score(label, score))
    assert found["a"].low < found["a"].value < found["a"].high
    wide, paired = found["a"].high - found["a"].low, differences["a", "b"].high - differences["a", "b"].low
    assert 0.005 < wide < 0.1
    assert paired < wide  # both have the same easy and the same hard places
    assert differences["a", "b"].value == pytest.approx(found["a"].value - found["b"].value)
    assert differences["a", "b"].low > 0 > differences["b", "a"].high


def test_one_unit_has_no_interval():
    label, score = drawn(100)
    found, _ = intervals(AVERAGE_PRECISION, label, {"a": score}, np.zeros(100, dtype=int))
    assert np.isnan([found["a"].low, found["a"].high]).all()


def test_pairs_within_loci():
    rng = np.random.default_rng(0)
    locus, label = rng.integers(0, 30, 400), rng.integers(0, 2, 400).astype(float)
    score = np.round(rng.normal(label, 1), 1)
    won = [
        (score[i] > score[j]) + 0.5 * (score[i] == score[j])
        for i in range(400)
        for j in range(400)
        if locus[i] == locus[j] and label[i] > label[j]
    ]
    assert within_loci(label, score, locus) == pytest.approx(np.mean(won))
    assert within_loci(label, locus.astype(float), locus) == 0.5
    assert np.isnan(within_loci(label, score, np.arange(400)))
