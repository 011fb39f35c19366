import itertools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from avocado.evaluation.metrics import is_higher_better
from avocado.evaluation.scores import AVERAGE, score_table
from avocado.evaluation.significance import (
    bootstrap_interval,
    compare_methods,
    holm,
    paired_tests,
    sentence,
)


def table_of(measure="mse", cells=None, **scores):
    """A table in which each method has the given scores on tracks of one assay, or of the given cell types."""
    rows = []
    for method, values in scores.items():
        for number, value in enumerate(values):
            cell = f"E{number}" if cells is None else cells[number]
            rows.append({"cell": cell, "assay": f"A{number}", "method": method, measure: value})
    return pd.DataFrame(rows)


def only(comparisons):
    assert len(comparisons) == 1
    return comparisons.iloc[0]


def random_scores(n=20, seed=0, shift=-0.05):
    random = np.random.default_rng(seed)
    reference = random.gamma(2, 0.1, n)
    return reference, reference + random.normal(shift, 0.1, n)


def test_agrees_with_scipy():
    reference, method = random_scores()
    row = only(compare_methods(table_of(ours=method, base=reference), "mse", "base"))
    assert row["p_t"] == pytest.approx(stats.ttest_rel(method, reference).pvalue)
    assert row["p_wilcoxon"] == pytest.approx(stats.wilcoxon(method, reference, method="exact").pvalue)
    difference = method - reference
    assert row["difference"] == pytest.approx(difference.mean())
    assert row["effect_size"] == pytest.approx(difference.mean() / difference.std(ddof=1))
    assert row["mean"] - row["reference_mean"] == pytest.approx(row["difference"])
    assert row["won"] == (difference < 0).mean()
    expected = stats.bootstrap((difference,), np.mean, n_resamples=9999, method="percentile", rng=1)
    assert row["low"] == pytest.approx(expected.confidence_interval.low, abs=0.003)
    assert row["high"] == pytest.approx(expected.confidence_interval.high, abs=0.003)
    assert (row["n_tracks"], row["n_units"], row["n_left_out"]) == (20, 20, 0)
    assert row["note"] == ""


def test_pairs_are_matched_by_track_and_not_by_row():
    reference, method = random_scores()
    table = table_of(ours=method, base=reference)
    shuffled = table.sample(frac=1, random_state=1)
    a, b = (only(compare_methods(t, "mse", "base")) for t in (table, shuffled))
    assert a["p_t"] == pytest.approx(b["p_t"])
    assert a["won"] == b["won"]


@pytest.mark.parametrize(("measure", "won"), [("mse", 0.25), ("pearson", 0.5)])
def test_the_better_direction_depends_on_the_measure(measure, won):
    row = only(
        compare_methods(table_of(measure, ours=[0.1, 0.5, 0.6, 0.3], base=[0.2, 0.4, 0.5, 0.3]), measure, "base")
    )
    assert row["difference"] == pytest.approx(0.025)
    assert (row["won"], row["tied"]) == (won, 0.25)


def test_directions_of_measures():
    for name in ("pearson", "skill", "match1", "catch1obs", "auc_obs1", "catch_peak_obs"):
        assert is_higher_better(name)
    for name in ("mse", "mse_prom", "correlation_error", "error"):
        assert not is_higher_better(name)
    with pytest.raises(ValueError, match="higher_is_better"):
        is_higher_better("bins")
    table = table_of("speed", ours=[3, 1], base=[1, 2])
    with pytest.raises(ValueError, match="speed"):
        compare_methods(table, "speed", "base")
    assert only(compare_methods(table, "speed", "base", higher_is_better=False))["won"] == 0.5


def test_rows_of_means_are_not_tracks():
    random = np.random.default_rng(0)
    observed = {(f"E{i}", "DNase"): random.gamma(1, 1, 300) for i in range(7)}
    imputed = {
        m: {k: v + random.normal(0, s, 300) for k, v in observed.items()} for m, s in ((AVERAGE, 1), ("us", 0.5))
    }
    row = only(compare_methods(score_table(observed, imputed), "mse", AVERAGE))
    assert (row["n_tracks"], row["won"]) == (7, 1)
    assert row["p_wilcoxon"] == pytest.approx(2 / 2**7)


def test_tracks_without_both_scores_are_left_out_and_counted():
    table = table_of("pearson", ours=[0.5, np.nan, 0.7, 0.4], base=[0.4, 0.5, np.nan, 0.6])
    table = table[~((table["method"] == "base") & (table["cell"] == "E3"))]
    row = only(compare_methods(table, "pearson", "base"))
    assert (row["n_tracks"], row["n_left_out"]) == (1, 3)
    assert row["difference"] == pytest.approx(0.1)
    assert np.isnan(row["p_t"])
    assert row["p_wilcoxon"] == 1
    assert "3 tracks without both scores left out" in sentence(row)
    table.loc[table["cell"] == "E1", "pearson"] = np.nan  # of both
    assert only(compare_methods(table, "pearson", "base"))["n_left_out"] == 3


def test_no_track_in_common():
    row = only(compare_methods(table_of(ours=[np.nan, 0.3], base=[0.3, np.nan]), "mse", "base"))
    assert row["n_tracks"] == 0
    assert np.isnan(row[["difference", "p_t", "p_wilcoxon", "low", "effect_size"]].astype(float)).all()
    assert "nothing can be concluded" in sentence(row)


def test_equal_methods():
    row = only(compare_methods(table_of(ours=[0.1] * 8, base=[0.1] * 8), "mse", "base"))
    assert (row["p_t"], row["p_wilcoxon"], row["effect_size"], row["tied"], row["won"]) == (1, 1, 0, 1, 0)
    assert (row["low"], row["high"]) == (0, 0)
    assert "no difference anywhere" in sentence(row)


def test_ties_and_zeros_are_permuted_exactly():
    differences = np.array([0.0, 1, 1, -1, 2, 2, 2, 0])
    _, p, _ = paired_tests(differences)
    ranks = stats.rankdata(np.abs(differences[differences != 0]))
    seen = ranks[differences[differences != 0] > 0].sum()
    sums = np.array([np.dot(signs, ranks) for signs in itertools.product([0, 1], repeat=6)])
    both = min(1, 2 * min((sums >= seen).mean(), (sums <= seen).mean()))
    assert p == pytest.approx(both)


def test_a_constant_difference_has_no_t():
    row = only(compare_methods(table_of(ours=np.arange(8) + 0.3, base=np.arange(8)), "mse", "base"))
    assert np.isnan(row["p_t"])
    assert np.isnan(row["effect_size"])
    assert row["p_wilcoxon"] == pytest.approx(2 / 2**8)
    assert "t test p undefined" in sentence(row)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_tracks_say_what_cannot_be_concluded(n):
    row = only(compare_methods(table_of(ours=np.arange(n) * 0.1, base=np.arange(n) + 1), "mse", "base"))
    assert row["p_wilcoxon"] == pytest.approx(2 / 2**n)
    assert f"only {n} tracks differ" in row["note"]
    assert f"cannot fall below {2 / 2**n:.3g}" in sentence(row)
    assert np.isnan(row["low"]) == (n == 1)
    assert only(compare_methods(table_of(ours=np.arange(6) * 0.1, base=np.arange(6) + 1), "mse", "base"))["note"] == ""


def test_cell_types_as_units():
    """Ten tracks, but all that differs is two cell types."""
    cells = ["E1"] * 5 + ["E2"] * 5
    random = np.random.default_rng(0)
    base = random.random(10)
    difference = np.repeat([-0.2, 0.05], 5) + random.normal(0, 0.01, 10)
    table = table_of(cells=cells, ours=base + difference, base=base)
    by_track = only(compare_methods(table, "mse", "base"))
    by_cell = only(compare_methods(table, "mse", "base", unit="cell"))
    assert by_cell["difference"] == by_track["difference"]
    assert (by_cell["n_units"], by_cell["n_tracks"], by_cell["won"]) == (2, 10, 0.5)
    means = [difference[:5].mean(), difference[5:].mean()]
    assert by_cell["p_t"] == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert by_cell["p_t"] > by_track["p_t"]
    # whole cell types are drawn, so the interval reaches from one of them to the other
    assert (by_cell["low"], by_cell["high"]) == pytest.approx(sorted(means))
    assert by_track["low"] > by_cell["low"]
    assert "only 2 cell types differ" in by_cell["note"]
    assert "10 tracks in 2 cell types" in sentence(by_cell)


def test_cell_types_weigh_by_their_tracks_in_the_difference():
    table = table_of(cells=["E1", "E1", "E1", "E2"], ours=[1, 1, 1, 5], base=[0, 0, 0, 0])
    row = only(compare_methods(table, "mse", "base", unit="cell"))
    assert row["difference"] == 2
    low, high = bootstrap_interval(np.array([3.0, 5]), np.array([3, 1]), seed=0)
    assert (row["low"], row["high"]) == (low, high) == (1, 5)


def test_bootstrap_is_seeded_and_covers():
    random = np.random.default_rng(0)
    values, ones = random.normal(1, 1, 40), np.ones(40)
    assert bootstrap_interval(values, ones, seed=3) == bootstrap_interval(values, ones, seed=3)
    assert bootstrap_interval(values, ones, seed=3) != bootstrap_interval(values, ones, seed=4)
    trials = [bootstrap_interval(random.normal(0, 1, 40), ones, seed=i, resamples=400) for i in range(300)]
    assert 0.88 < np.mean([low < 0 < high for low, high in trials]) < 0.98
    many = bootstrap_interval(random.normal(0, 1, 1014), np.ones(1014), seed=0)
    assert many[1] - many[0] == pytest.approx(2 * 1.96 / np.sqrt(1014), rel=0.1)


def test_holm():
    # the step-down by hand: 4 × 0.01, 3 × 0.02, then 2 × 0.03 = 0.06 ties with 0.06, and 1 × 0.04 is lifted to it
    assert holm(np.array([0.02, 0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.06, 0.04, 0.06])
    assert holm(np.array([0.6, 0.9])) == pytest.approx([1, 1])
    np.testing.assert_allclose(holm(np.array([np.nan, 0.01, 0.04])), [np.nan, 0.02, 0.04])


def test_holm_counts_every_method_and_measure():
    reference, method = random_scores(shift=-0.1)
    table = table_of(ours=method, theirs=method + 0.02, base=reference)
    table["pearson"] = 1 - table["mse"]
    one = compare_methods(table, "mse", "base")
    both = compare_methods(table, ["mse", "pearson"], "base")
    assert one[["measure", "method"]].to_numpy().tolist() == [["mse", "ours"], ["mse", "theirs"]]
    assert one["p_t_holm"].min() == pytest.approx(2 * one["p_t"].min())
    assert len(both) == 4
    assert both["p_t_holm"].min() == pytest.approx(4 * both["p_t"].min())
    assert both.columns[-1] == "note"


def test_sentence():
    reference, method = random_scores()
    row = only(compare_methods(table_of(Avocado=method, base=reference), "mse", "base"))
    text = sentence(row)
    assert "\n" not in text
    assert text.startswith("mse: Avocado ")
    assert f"{row['difference']:+.3g}".replace("-", "−") in text
    assert f"p = {row['p_t']:.2g} (Holm {row['p_t_holm']:.2g})" in text
    assert f"p = {row['p_wilcoxon']:.2g}" in text
    for part in ("95 % interval", "lower is better", "of 20 tracks", "d = "):
        assert part in text
    assert f"lower on {int((method < reference).sum())} of 20" in text


def test_refuses_what_it_cannot_compare():
    table = table_of(ours=[0.1, 0.2], base=[0.2, 0.3])
    with pytest.raises(ValueError, match="nothing to compare with 'theirs'"):
        compare_methods(table, "mse", "theirs")
    with pytest.raises(ValueError, match="nothing to compare with 'base'"):
        compare_methods(table[table["method"] == "base"], "mse", "base")
    with pytest.raises(ValueError, match="no measure 'mse_gene'"):
        compare_methods(table, "mse_gene", "base")
    with pytest.raises(ValueError, match="unknown unit"):
        compare_methods(table, "mse", "base", unit="assay")
    with pytest.raises(ValueError, match="ours has several scores on E0 A0"):
        compare_methods(pd.concat([table, table.iloc[:1]]), "mse", "base")


def test_import_is_light():
    code = (
        "import sys, avocado.evaluation.significance; sys.exit('scipy.stats' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
