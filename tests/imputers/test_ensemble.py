"""Ensembles: weights that are known by hand, and held-out tracks that nobody reads."""

from __future__ import annotations

import numpy as np
import pytest
from toy import PAIRS, make_store

from avocado.errors import InputError
from avocado.imputers.average import AverageActivity
from avocado.imputers.config import EnsembleConfig
from avocado.imputers.ensemble import Ensemble, solve_weights

TRAINING = [0, 1, 2, 4, 5, 7, 8, 9, 11, 12]
HELD_OUT = [3, 6, 10]


class Scaled:
    """Knows the truth, and says it times `scale` plus `noise`; it remembers what it was fitted to."""

    def __init__(self, scale: float, noise: float = 0.0, seed: int = 0) -> None:
        self.scale, self.noise, self.seed, self.fits, self.asked = scale, noise, seed, [], []

    def fit(self, store, experiments, region):
        self.store = store
        self.fits.append(sorted(experiments))

    def predict(self, pairs, region):
        self.asked += pairs
        return np.stack([self.made(pair, region) for pair in pairs], axis=1)

    def made(self, pair, region):
        truth = self.store.read_track(*pair, region)
        random = np.random.default_rng([self.seed, PAIRS.index(pair)])
        return (self.scale * truth + self.noise * random.standard_normal(len(truth))).astype(np.float32)


def fitted(store, members, training=TRAINING, **config) -> Ensemble:
    ensemble = Ensemble(members, EnsembleConfig(**{"rounds": 1, **config}))
    ensemble.fit(store, training, "pilot")
    return ensemble


def test_the_plain_mean(tiny_store):
    members = {"low": Scaled(0.5), "high": Scaled(2.0), "true": Scaled(1.0)}
    ensemble = fitted(tiny_store, members)
    assert ensemble.member_weights == pytest.approx({"low": 1 / 3, "high": 1 / 3, "true": 1 / 3})
    truth = tiny_store.read_track(*PAIRS[3], "chr20")
    signal = ensemble.predict([PAIRS[3]], "chr20")[:, 0]
    assert signal.dtype == np.float32
    np.testing.assert_allclose(signal, truth * 3.5 / 3, rtol=1e-6)
    assert all(member.fits == [TRAINING] for member in members.values())


def test_fitted_weights_find_the_better_member(tiny_store):
    members = {"true": Scaled(1.0), "noise": Scaled(0.0, 3.0)}
    ensemble = fitted(tiny_store, members, weights="fitted", validation=4)
    # the optimum is (1, 0); the plain mean counts as a fifth track
    assert ensemble.member_weights["true"] == pytest.approx((4 * 1 + 0.5) / 5, abs=0.03)
    assert ensemble.member_weights["noise"] == pytest.approx(0.5 / 5, abs=0.03)


def test_weights_sum_to_1_even_where_all_members_overshoot(tiny_store):
    ensemble = fitted(tiny_store, {"twice": Scaled(2.0), "thrice": Scaled(3.0)}, weights="fitted", validation=4)
    assert ensemble.member_weights == {"twice": 1.0, "thrice": 0.0}
    assert fitted(tiny_store, {"twice": Scaled(2.0)}, weights="fitted", validation=4).member_weights == {"twice": 1.0}


def test_members_learn_from_the_rest_first_and_from_all_training_tracks_in_the_end(tiny_store):
    members = {"a": Scaled(1.0), "b": Scaled(0.7, 0.5)}
    fitted(tiny_store, members, weights="fitted", validation=0.3, seed=1)
    for member in members.values():
        rest, everything = member.fits
        assert everything == TRAINING
        apart = set(TRAINING) - set(rest)
        assert len(apart) == 3
        assert set(rest) < set(TRAINING)
        assert {PAIRS.index(pair) for pair in member.asked} == apart


def test_held_out_tracks_are_never_read(tmp_path, tiny_store):
    """Whatever they hold, weights and imputations are the same."""
    poisoned = make_store(tmp_path / "store", **{f"t{column}": float("nan") for column in HELD_OUT})
    members = [{"average": AverageActivity(), "again": AverageActivity()} for _ in range(2)]
    ensembles = [
        fitted(store, chosen, weights="fitted", validation=3)
        for store, chosen in zip((tiny_store, poisoned), members, strict=True)
    ]
    assert ensembles[0].member_weights == ensembles[1].member_weights
    first, second = (ensemble.predict([PAIRS[3]], "pilot")[:, 0] for ensemble in ensembles)
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all()


def test_a_member_without_weight_is_neither_fitted_again_nor_asked(tiny_store):
    # of two that err in the same places, the one that errs more gets nothing
    members = {"near": Scaled(1.2), "far": Scaled(2.0)}
    ensemble = fitted(tiny_store, members, weights="fitted", validation=4)
    assert ensemble.member_weights["far"] == 0
    assert len(members["far"].fits) == 1
    asked = len(members["far"].asked)
    ensemble.predict([PAIRS[3]], "pilot")
    assert len(members["far"].asked) == asked
    assert len(members["near"].fits) == 2


def test_a_fitted_ensemble_beats_its_members_and_the_mean(tiny_store):
    def make():
        return {"a": Scaled(1.2, 0.3, 1), "b": Scaled(0.9, 0.5, 2), "c": Scaled(0.0, 2.0, 3)}

    truth = tiny_store.read_track(*PAIRS[6], "chr20")

    def error(ensemble):
        return float(np.mean((ensemble.predict([PAIRS[6]], "chr20")[:, 0] - truth) ** 2))

    best = error(fitted(tiny_store, make(), weights="fitted", validation=5))
    assert best < error(fitted(tiny_store, make()))
    assert best < min(error(fitted(tiny_store, {name: member})) for name, member in make().items())


def test_the_same_seed_sets_the_same_tracks_apart(tiny_store):
    def apart(seed):
        member = Scaled(1.0)
        fitted(tiny_store, {"a": member}, weights="fitted", validation=3, seed=seed)
        return set(TRAINING) - set(member.fits[0])

    assert apart(0) == apart(0)
    assert len({frozenset(apart(seed)) for seed in range(6)}) > 1


# --- weights ---------------------------------------------------------------------------------------------------------


def errors_of(members: np.ndarray, observed: np.ndarray) -> np.ndarray:
    return (members - observed) @ (members - observed).T


def test_weights_are_those_of_least_squares_with_one_more_track():
    random = np.random.default_rng(0)
    members = random.gamma(1.0, 1.0, (3, 500))
    observed = np.array([0.3, 0.5, 0.2]) @ members + 0.01 * random.standard_normal(500)
    grid = np.array([(a, b, 1000 - a - b) for a in range(1001) for b in range(1001 - a)]) / 1000
    errors = errors_of(members, observed)
    apart = grid - 1 / 3

    def best(n_tracks):
        squared = np.einsum("ki,ij,kj->k", grid, errors, grid)
        one_more = np.einsum("ki,ij,kj->k", apart, errors, apart) / n_tracks
        return grid[(squared + one_more).argmin()]

    np.testing.assert_allclose(solve_weights(errors, 10**9), [0.3, 0.5, 0.2], atol=0.005)
    for n_tracks in (2, 4, 10**9):
        weights = solve_weights(errors, n_tracks)
        assert weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(weights, best(n_tracks), atol=1e-3)


def test_weights_are_at_least_0_and_best_among_these():
    random = np.random.default_rng(1)
    members = random.gamma(1.0, 1.0, (2, 400))
    observed = 1.5 * members[0] - 0.5 * members[1]
    np.testing.assert_array_equal(solve_weights(errors_of(members, observed), 10**9), [1, 0])


def test_equal_members_and_those_without_error_are_no_trouble():
    signal = np.random.default_rng(2).gamma(1.0, 1.0, 300)
    weights = solve_weights(errors_of(np.stack([signal, signal, 0 * signal]), 1.1 * signal), 10**9)
    np.testing.assert_allclose(weights, [0.5, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(solve_weights(np.zeros((2, 2)), 3), [0.5, 0.5])


# --- what is refused -------------------------------------------------------------------------------------------------


def test_too_few_tracks(tiny_store):
    with pytest.raises(
        InputError, match=r"weights=fitted: validation=0\.1 of 10 training tracks sets 1 apart, at least"
    ):
        fitted(tiny_store, {"a": Scaled(1.0)}, weights="fitted", validation=0.1)
    with pytest.raises(InputError, match=r"weights=fitted: .* can be spared .*; or take weights=mean"):
        fitted(tiny_store, {"a": Scaled(1.0)}, weights="fitted", validation=9)


def test_a_member_that_cannot_impute_from_the_rest(tiny_store):
    class Refusing(Scaled):
        def predict(self, pairs, region):
            raise InputError(f"cannot impute {pairs}")

    message = r"of the tracks set apart 0 can be imputed by all members, .*cannot impute .*; lower validation, or take"
    with pytest.raises(InputError, match=message):
        fitted(tiny_store, {"a": Refusing(1.0)}, weights="fitted", validation=3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"weights": "best"}, "there is mean and fitted"),
        ({"validation": 0}, "give a share"),
        ({"validation": -1}, "give"),
        ({"rounds": 0}, "rounds=0"),
    ],
)
def test_wrong_settings(config, message):
    with pytest.raises(InputError, match=message):
        EnsembleConfig(**config)


def test_an_ensemble_needs_members():
    with pytest.raises(InputError, match="without members"):
        Ensemble({})


def test_rounds_set_other_tracks_apart_and_all_count(tiny_store):
    members = {"true": Scaled(1.0), "noise": Scaled(0.0, 3.0)}
    ensemble = fitted(tiny_store, members, weights="fitted", validation=4, rounds=3)
    apart = [frozenset(TRAINING) - set(fit) for fit in members["true"].fits[:3]]
    assert len(set(apart)) > 1
    # twelve tracks now stand against the plain mean
    assert ensemble.member_weights["true"] == pytest.approx((12 * 1 + 0.5) / 13, abs=0.03)


def test_tracks_that_a_member_cannot_impute_are_passed_over(tiny_store):
    class Choosy(Scaled):
        def predict(self, pairs, region):
            if refused & set(pairs):
                raise InputError(f"cannot impute one of {pairs}")
            return super().predict(pairs, region)

    probe = Scaled(1.0)
    fitted(tiny_store, {"a": probe}, weights="fitted", validation=4)
    refused = {PAIRS[column] for column in sorted(set(TRAINING) - set(probe.fits[0]))[:1]}
    ensemble = fitted(tiny_store, {"true": Choosy(1.0), "noise": Scaled(0.0, 3.0)}, weights="fitted", validation=4)
    assert ensemble.member_weights["true"] == pytest.approx((3 * 1 + 0.5) / 4, abs=0.03)
