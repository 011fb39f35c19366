import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from avocado.evaluation.metrics import (
    LOCI_METRICS,
    METRICS,
    AnnotationWindows,
    auc_imp1,
    auc_obs1,
    catch1imp,
    catch1obs,
    catch_peak_obs,
    coverage,
    match1,
    mse,
    mse_1imp,
    mse_1obs,
    mse_1of,
    mse_var,
    mse_windows,
    pearson,
    score_track,
    spearman,
    top_bins,
)

NAN = pytest.approx(math.nan, nan_ok=True)


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
    # sorted is stable: of the bins that tie at the cut, the first ones are in
    top = {
        (name, percent): set(sorted(range(5000), key=lambda i, x=x: -x[i])[: 50 * percent])
        for name, x in (("obs", observed), ("imp", imputed))
        for percent in (1, 5)
    }
    expected = {
        "mse": math.fsum(errors) / 5000,
        "mse_1obs": math.fsum(by_observed) / len(by_observed),
        "mse_1imp": math.fsum(by_imputed) / len(by_imputed),
        "pearson": stats.pearsonr(observed, imputed).statistic,
        "spearman": stats.spearmanr(observed, imputed).statistic,
        "match1": 2 * len(top["obs", 1] & top["imp", 1]),
        "catch1obs": 2 * len(top["obs", 1] & top["imp", 5]),
        "catch1imp": 2 * len(top["imp", 1] & top["obs", 5]),
        "auc_obs1": roc_auc_score([i in top["obs", 1] for i in range(5000)], imputed),
        "auc_imp1": roc_auc_score([i in top["imp", 1] for i in range(5000)], observed),
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


def test_the_worked_example():
    # 200 bins, 0 to 199; the imputation misses the highest
    observed = np.arange(200.0)
    imputed = observed.copy()
    imputed[199] = 0.5
    assert match1(observed, imputed) == 50
    assert catch1obs(observed, imputed) == 50
    assert catch1imp(observed, imputed) == 100
    assert auc_obs1(observed, imputed) == pytest.approx(199 / 396, rel=1e-12)
    assert auc_imp1(observed, imputed) == pytest.approx(394 / 396, rel=1e-12)
    assert mse(observed, imputed) == 197.01125
    assert mse_1obs(observed, imputed) == 19701.125
    assert mse_1imp(observed, imputed) == 0


def test_ties_at_the_cut():
    observed, imputed = np.zeros(200), np.arange(200.0, 0, -1)
    observed[[9, 50, 150]] = 1
    assert np.flatnonzero(top_bins(observed)).tolist() == [9, 50, 150]
    assert np.flatnonzero(top_bins(observed, ties=False)).tolist() == [9, 50]
    assert np.flatnonzero(top_bins(observed, 2, ties=False)).tolist() == [0, 9, 50, 150]
    assert top_bins(observed, 2).all()
    assert match1(observed, observed) == 100
    assert catch1obs(observed, imputed) == 50  # bin 9 is among the ten highest, 50 is not
    assert catch1imp(observed, imputed) == 100  # 0 and 1 are among the first of the zeros


def test_the_top_of_a_constant_is_undefined():
    flat, slope = np.ones(300), np.arange(300.0)
    for measure in (match1, catch1obs, catch1imp):
        assert measure(flat, slope) == NAN
        assert measure(slope, flat) == NAN
    assert auc_obs1(flat, slope) == NAN
    assert auc_imp1(slope, flat) == NAN
    # but a constant score is worth a coin
    assert auc_obs1(slope, flat) == 0.5
    assert auc_imp1(flat, slope) == 0.5


def test_the_top_of_another_imputation(tracks):
    observed, imputed = tracks
    other = np.zeros(5000)
    other[100:150] = np.arange(1, 51)
    error = (observed.astype(float) - imputed)[100:150]
    assert mse_1of(observed, imputed, other) == pytest.approx(np.mean(error**2), rel=1e-12)
    assert mse_1of(observed, imputed, imputed) == mse_1imp(observed, imputed)
    with pytest.raises(ValueError, match="equal length"):
        mse_1of(observed, imputed, other[1:])


def test_windows_count_as_often_as_they_cover():
    observed, imputed = np.arange(6.0), np.zeros(6)
    windows = np.array([[0, 3], [2, 6], [2, 3], [4, 4]])
    assert coverage(windows, 6).tolist() == [1, 1, 3, 1, 1, 1]
    errors = [observed[i] ** 2 for start, end in windows for i in range(start, end)]
    assert mse_windows(observed, imputed, windows) == sum(errors) / len(errors) == (1 + 3 * 4 + 9 + 16 + 25) / 8
    assert mse_windows(observed, imputed, windows[:0]) == NAN
    for wrong in ([[-1, 2]], [[3, 7]], [[4, 2]]):
        with pytest.raises(ValueError, match="ranks"):
            mse_windows(observed, imputed, np.array(wrong))


def test_error_weighted_by_variance():
    observed, imputed = np.array([1.0, 2, 3]), np.zeros(3)
    assert mse_var(observed, imputed, np.array([0, 1, 3])) == (4 + 27) / 4
    assert mse_var(observed, imputed, np.full(3, 7.0)) == pytest.approx(mse(observed, imputed))
    assert mse_var(observed, imputed, np.zeros(3)) == NAN
    for wrong in (np.array([1.0, -1, 0]), np.array([1.0, np.nan, 0]), np.ones(2)):
        with pytest.raises(ValueError, match="3 variances"):
            mse_var(observed, imputed, wrong)


def test_peaks_as_labels(tracks):
    observed, imputed = tracks
    peaks = np.random.default_rng(1).random(5000) < observed / 4
    assert catch_peak_obs(observed, imputed, peaks) == pytest.approx(roc_auc_score(peaks, imputed), rel=1e-12)
    assert catch_peak_obs(observed[:4], np.array([0, 1, 1, 2]), np.array([False, False, True, True])) == 3.5 / 4
    assert catch_peak_obs(observed, imputed, np.zeros(5000, dtype=bool)) == NAN
    assert catch_peak_obs(observed, imputed, np.ones(5000, dtype=bool)) == NAN
    for wrong in (peaks[1:], peaks.astype(int)):
        with pytest.raises(ValueError, match="peaks as bool"):
            catch_peak_obs(observed, imputed, wrong)


def test_places_are_scored_where_given(tracks):
    windows, variance = np.array([[0, 40], [30, 90]]), np.random.default_rng(2).random(5000)
    peaks = tracks[0] > 1
    scores = score_track(*tracks, AnnotationWindows(windows, windows + 5, windows + 9, peaks, variance))
    assert list(scores) == [*METRICS, *LOCI_METRICS]
    assert scores["mse_prom"] == mse_windows(*tracks, windows)
    assert scores["mse_gene"] == mse_windows(*tracks, windows + 5)
    assert scores["mse_enh"] == mse_windows(*tracks, windows + 9)
    assert scores["mse_var"] == mse_var(*tracks, variance)
    assert scores["catch_peak_obs"] == catch_peak_obs(*tracks, peaks)
    assert list(score_track(*tracks, AnnotationWindows(enhancers=windows))) == [*METRICS, "mse_enh"]


def test_only_kept_bins_are_scored(tracks):
    observed, imputed = tracks
    kept = np.random.default_rng(3).random(5000) < 0.7
    windows, variance = np.array([[0, 40], [30, 90], [4990, 5000]]), np.random.default_rng(2).random(5000)
    peaks = observed > 1
    scores = score_track(observed, imputed, AnnotationWindows(windows, peaks=peaks, variance=variance, kept=kept))
    alone = score_track(observed[kept], imputed[kept], AnnotationWindows(peaks=peaks[kept], variance=variance[kept]))
    assert scores == {**alone, "mse_prom": scores["mse_prom"]}
    errors = [float(observed[i] - imputed[i]) ** 2 for a, b in windows for i in range(a, b) if kept[i]]
    assert scores["mse_prom"] == pytest.approx(np.mean(errors), rel=1e-6)
    # what happens in the other bins changes nothing
    observed, imputed = observed.copy(), imputed.copy()
    observed[~kept], imputed[~kept] = 99, -99
    assert (
        score_track(observed, imputed, AnnotationWindows(windows, peaks=peaks, variance=variance, kept=kept)) == scores
    )
    with pytest.raises(ValueError, match="kept bins of shape"):
        score_track(observed, imputed, AnnotationWindows(kept=kept[1:]))


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
