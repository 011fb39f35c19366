"""Linear read-outs, on features of which it is known what they say."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.readout import bin_factors, expression_score, group_folds, r2, readout_r2, state_scores, transfer_r2

N_BLOCKS, LENGTH = 40, 25
GROUPS = np.repeat(np.arange(N_BLOCKS), LENGTH)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_what_is_in_the_factors_is_read_out_and_noise_is_not(rng):
    features = rng.standard_normal((len(GROUPS), 6))
    linear = features @ rng.standard_normal(6) * 3 + 5
    half = features[:, 0] + rng.standard_normal(len(GROUPS))  # half of its variance
    noise = rng.standard_normal(len(GROUPS))
    scores = readout_r2(features, np.stack([linear, half, noise], axis=1), GROUPS)
    assert scores[0] > 0.9999
    assert scores[1] == pytest.approx(0.5, abs=0.06)
    assert -0.05 < scores[2] < 0.01


def test_what_only_names_the_block_is_not_read_out(rng):
    """Folds by block: a target that is constant in each block cannot be looked up from the block's neighbours."""
    of_block = rng.standard_normal((N_BLOCKS, 1))
    features = np.eye(N_BLOCKS)[GROUPS]
    assert readout_r2(features, of_block[GROUPS], GROUPS)[0] < 0.05
    # with folds by bin it would be
    assert readout_r2(features, of_block[GROUPS], np.arange(len(GROUPS)))[0] > 0.9


def test_features_of_any_size_and_without_variance(rng):
    features = np.stack([rng.standard_normal(len(GROUPS)) * 1e-4, np.full(len(GROUPS), 7.0)], axis=1)
    assert readout_r2(features, features[:, :1], GROUPS)[0] > 0.9999
    assert np.isnan(readout_r2(features, np.ones((len(GROUPS), 1)), GROUPS)[0])


def test_r2_by_hand():
    observed = np.array([[1.0, 5.0], [3.0, 5.0]])
    np.testing.assert_array_equal(r2(observed, np.array([[2.0, 5.0], [2.0, 5.0]])), [0.0, np.nan])
    assert r2(observed[:, :1], np.array([[1.0], [2.0]]))[0] == 0.5


def test_transfer_works_where_factors_mean_the_same_and_fails_where_not(rng):
    here, there = rng.standard_normal((2, len(GROUPS), 4))
    weights = np.array([[1.0], [2.0], [0.0], [-1.0]])
    targets, elsewhere = here @ weights, there @ weights
    assert transfer_r2(here, targets, GROUPS, there, elsewhere)[0] > 0.9999
    assert transfer_r2(here, targets, GROUPS, -there, elsewhere)[0] == pytest.approx(-3, abs=0.01)  # 1 − (2y)² / y²


def test_groups_stay_together_in_folds_of_equal_size():
    fold = group_folds(GROUPS, 5)
    assert np.unique(fold, return_counts=True)[1].tolist() == [len(GROUPS) // 5] * 5
    assert all(len(set(fold[group == GROUPS])) == 1 for group in range(N_BLOCKS))
    assert (fold == group_folds(GROUPS, 5)).all()
    assert (fold != group_folds(GROUPS, 5, seed=1)).any()
    with pytest.raises(ValueError, match="2 groups for 5 folds"):
        group_folds(np.array([0, 1, 1]), 5)


def test_states(rng):
    states = rng.choice(4, len(GROUPS), p=[0.7, 0.15, 0.1, 0.05])
    clear = np.eye(4)[states] + rng.standard_normal((len(GROUPS), 4)) * 0.01
    assert state_scores(clear, states, GROUPS) == pytest.approx((1, 1))
    accuracy, precision = state_scores(rng.standard_normal((len(GROUPS), 4)), states, GROUPS)
    assert accuracy == pytest.approx(0.25, abs=0.08)  # by chance, however common a state is
    assert precision == pytest.approx(0.25, abs=0.08)
    # a rare state counts for nothing; one state alone cannot be told apart
    with_rare = np.where(np.arange(len(GROUPS)) < 5, 9, states)
    assert state_scores(clear, with_rare, GROUPS) == pytest.approx((1, 1))
    in_one_place = np.where(GROUPS < 4, 9, states)  # a hundred bins, of which some folds know nothing
    assert state_scores(clear, in_one_place, GROUPS) == pytest.approx((1, 1))
    assert np.isnan(state_scores(clear, np.zeros(len(GROUPS)), GROUPS)).all()


def test_expression(rng):
    expressed = rng.random(200) < 0.4
    clear = np.stack([expressed + rng.standard_normal(200) * 0.05, rng.standard_normal(200)], axis=1)
    assert expression_score(clear, expressed) > 0.99
    assert expression_score(rng.standard_normal((200, 5)), expressed) == pytest.approx(expressed.mean(), abs=0.12)
    assert np.isnan(expression_score(clear, np.arange(200) < 3))


def test_bins_see_their_own_factors():
    f25 = np.arange(200.0).reshape(1, 200, 1)
    factors = bin_factors(f25, np.arange(20.0).reshape(1, 20, 1) * 10, np.full((1, 1, 2), -1.0))
    assert factors.shape == (1, 200, 4)
    assert factors[0, 57].tolist() == [57, 50, -1, -1]
    assert bin_factors(f25[:, :, :0], np.ones((1, 20, 3)), np.ones((1, 1, 2))).shape == (1, 200, 5)
