import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from avocado.errors import InputError
from avocado.evaluation.metrics import METRICS, mse, mse_1imp, mse_1obs, pearson, score_track, spearman, top_bins
from avocado.evaluation.scores import AVERAGE, format_scores, score_table, write_scores


@pytest.fixture
def tracks():
    rng = np.random.default_rng(0)
    observed = np.arcsinh(rng.gamma(0.3, 2, 5000)).round(2).astype(np.float32)  # rounded: many ties
    imputed = (0.7 * observed + rng.normal(0, 0.1, 5000)).astype(np.float32)
    return observed, imputed


def test_against_naive_versions(tracks):
    observed, imputed = (x.astype(float) for x in tracks)
    n, errors = 50, [(o - i) ** 2 for o, i in zip(observed, imputed, strict=True)]
    nth_observed, nth_imputed = sorted(observed)[-n], sorted(imputed)[-n]
    by_observed = [e for e, o in zip(errors, observed, strict=True) if o >= nth_observed]
    by_imputed = [e for e, i in zip(errors, imputed, strict=True) if i >= nth_imputed]
    expected = {
        "mse": math.fsum(errors) / 5000,
        "mse_1obs": math.fsum(by_observed) / len(by_observed),
        "mse_1imp": math.fsum(by_imputed) / len(by_imputed),
        "pearson": stats.pearsonr(observed, imputed).statistic,
        "spearman": stats.spearmanr(observed, imputed).statistic,
    }
    scores = score_track(*tracks)
    assert list(scores) == list(expected) == list(METRICS)
    assert scores == pytest.approx(expected, rel=1e-12)
    assert all(type(value) is float for value in scores.values())


def test_top_percent_of_200_bins_by_hand():
    observed, imputed = np.zeros(200), np.zeros(200)
    observed[[3, 5, 7]] = [9, 4, 4]  # n = 2, and the tie at 4 makes it three bins
    imputed[[3, 100]] = [7, 6]
    assert np.flatnonzero(top_bins(observed)).tolist() == [3, 5, 7]
    assert mse(observed, imputed) == (4 + 16 + 16 + 36) / 200
    assert mse_1obs(observed, imputed) == (4 + 16 + 16) / 3
    assert mse_1imp(observed, imputed) == (4 + 36) / 2


def test_at_least_one_bin_is_the_top():
    assert np.flatnonzero(top_bins(np.array([1.0, 3.0, 2.0]))).tolist() == [1]
    assert mse_1obs(np.array([1.0, 3.0]), np.array([1.0, 1.0])) == 4


def test_a_signal_with_too_few_positive_bins_is_all_top():
    signal = np.zeros(1000)
    signal[:5] = 1
    assert top_bins(signal).all()


def test_spearman_by_hand():
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5
    assert spearman(np.array([0, 1, 1, 5]), np.array([1, 2, 3, 4])) == pytest.approx(4.5 / math.sqrt(4.5 * 5))


@pytest.mark.parametrize("correlation", [pearson, spearman])
def test_constant_signal_has_no_correlation(correlation):
    constant, other = np.full(7, 0.1, dtype=np.float32), np.arange(7.0)
    assert math.isnan(correlation(constant, other))
    assert math.isnan(correlation(other, constant))
    assert correlation(other, other) == 1


def test_float16_is_computed_in_float64():
    observed = np.full(100_000, 100, dtype=np.float16)  # squares and sums overflow float16
    imputed = np.zeros(100_000, dtype=np.float16)
    assert mse(observed, imputed) == 10_000


@pytest.mark.parametrize("metric", METRICS.values())
def test_bad_vectors_are_refused(metric):
    good = np.arange(4.0)
    with pytest.raises(ValueError, match="1 of 4 imputed values are NaN"):
        metric(good, np.array([0, np.nan, 1, 2]))
    with pytest.raises(ValueError, match="2 of 4 observed values are NaN or infinite"):
        metric(np.array([0, np.nan, np.inf, 2]), good)
    for other in (np.arange(5.0), good[:, None]):
        with pytest.raises(ValueError, match="equal length"):
            metric(good, other)
    with pytest.raises(ValueError, match="equal length"):
        metric(good[:0], good[:0])


@pytest.fixture
def table():
    observed = {("E1", "DNase"): np.array([0.0, 1, 2, 3]), ("E2", "[H2A.Z]"): np.array([0.0, 0, 4, 0])}
    average = {track: signal + 1 for track, signal in observed.items()}
    model = {("E1", "DNase"): observed["E1", "DNase"] + 0.5, ("E2", "[H2A.Z]"): observed["E2", "[H2A.Z]"] - 2}
    return score_table(observed, {"Avocado": model, AVERAGE: average})


def test_score_table_by_hand(table):
    assert table[["cell", "assay", "method"]].values.tolist() == [
        ["E1", "DNase", "Avocado"],
        ["E1", "DNase", AVERAGE],
        ["E2", "[H2A.Z]", "Avocado"],
        ["E2", "[H2A.Z]", AVERAGE],
        ["mean", "all", "Avocado"],
        ["mean", "all", AVERAGE],
    ]
    assert table["mse"].tolist() == [0.25, 1, 4, 1, 2.125, 1]
    assert table["skill"].tolist() == [0.75, 0, -3, 0, -1.125, 0]
    assert table["pearson"].tolist() == pytest.approx([1] * 6)


def test_an_undefined_correlation_makes_the_mean_undefined():
    observed = {("E1", "A"): np.array([0.0, 1]), ("E2", "A"): np.array([0.0, 1])}
    flat = {("E1", "A"): np.array([0.0, 1]), ("E2", "A"): np.array([0.5, 0.5])}
    table = score_table(observed, {AVERAGE: observed, "flat": flat})
    mean = table[(table["cell"] == "mean")].set_index("method")
    assert mean.loc[AVERAGE, "pearson"] == 1
    assert math.isnan(mean.loc["flat", "pearson"])
    assert table["skill"].tolist() == [0, 0, 0, -math.inf, 0, -math.inf]


def test_no_scores_without_average_activity(table, tmp_path):
    observed = {("E1", "DNase"): np.arange(4.0)}
    with pytest.raises(ValueError, match="must include 'average activity'; got: Avocado"):
        score_table(observed, {"Avocado": observed})
    with pytest.raises(InputError, match="Avocado has not imputed E1 DNase"):
        score_table(observed, {"Avocado": {}, AVERAGE: observed})
    with pytest.raises(InputError, match="cannot score average activity on E1 DNase: 1 of 4 imputed"):
        score_table(observed, {AVERAGE: {("E1", "DNase"): np.array([0, 1, 2, np.nan])}})
    with pytest.raises(InputError, match="no tracks to score"):
        score_table({}, {AVERAGE: {}})
    for part in (table[table["method"] == "Avocado"], table.drop(index=3), table.iloc[:0]):
        with pytest.raises(ValueError, match=r"lack 'average activity'|empty table"):
            format_scores(part)
        with pytest.raises(ValueError, match=r"lack 'average activity'|empty table"):
            write_scores(part, tmp_path)
    assert not list(tmp_path.iterdir())


def test_formatted_scores(table):
    lines = format_scores(table).splitlines()
    assert lines[0].split() == ["track", "method", "MSE", "MSE1obs", "MSE1imp", "Pearson", "Spearman", "skill"]
    first = lines.index(next(line for line in lines if "E1 DNase" in line))
    assert "average activity  1.0000" in lines[first]  # average activity comes first
    assert lines[first + 1].split()[:2] == ["Avocado", "0.2500"]
    assert lines[first + 1].endswith("▲ +0.750")
    assert any("E2 [H2A.Z]" in line for line in lines)
    assert any("mean of 2 tracks" in line for line in lines)
    assert sum("▼" in line for line in lines[:-1]) == 2
    assert "\x1b" not in format_scores(table)
    assert "\x1b[32m▲ +0.750" in format_scores(table, color=True)


def test_written_scores(table, tmp_path):
    table.loc[0, "pearson"] = np.nan
    write_scores(table, tmp_path / "scores")
    assert sorted(p.name for p in (tmp_path / "scores").iterdir()) == ["scores.csv", "scores.json"]
    read = pd.read_csv(tmp_path / "scores" / "scores.csv")
    pd.testing.assert_frame_equal(read, table, check_exact=True, check_dtype=False)
    rows = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert len(rows) == 6
    assert rows[0]["pearson"] is None
    assert rows[2] == {"cell": "E2", "assay": "[H2A.Z]", "method": "Avocado", **table.loc[2, [*METRICS, "skill"]]}
