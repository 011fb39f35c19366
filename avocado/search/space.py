"""What a search of hyperparameters draws from: the space in plain values, and draws that never come twice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from avocado.errors import InputError

JUDGED = (TrialState.COMPLETE, TrialState.PRUNED)
OPEN = (TrialState.RUNNING, TrialState.WAITING)
TPE_DRAWS = 20  # after which TPE, which likes to come back to the best, is not asked again

Space = dict[str, BaseDistribution]
Combination = tuple[tuple[str, Any], ...]


def read_space(node: Mapping[str, Any]) -> Space:
    """Distributions from plain values: a list of choices, or a mapping low, high and, if wanted, step, log, type.

    type is int or float; without it whole bounds make whole numbers. Raises InputError naming the key.
    """
    if not node:
        raise InputError("sweep.space is empty: give some key to search, sweep.space.model.nodes=[64,128]")
    return {key: _distribution(f"sweep.space.{key}", value) for key, value in node.items()}


def _distribution(where: str, value: Any) -> BaseDistribution:
    if isinstance(value, list):
        if not value or any(not isinstance(choice, bool | int | float | str | None) for choice in value):
            raise InputError(f"{where}={value}: expected a list of numbers, texts or true and false, [64,128]")
        if len(set(map(repr, value))) < len(value):
            raise InputError(f"{where}={value}: a choice is there twice")
        return CategoricalDistribution(value)
    if not isinstance(value, dict):
        raise InputError(f"{where}={value}: expected a list, [64,128], or {{low:1,high:8}} with step, log, type")
    unknown = set(value) - {"low", "high", "step", "log", "type"}
    if unknown or not {"low", "high"} <= set(value):
        raise InputError(f"{where}={value}: expected low and high and, if wanted, step, log, type")
    low, high, step, logarithmic = value["low"], value["high"], value.get("step"), value.get("log", False)
    numbers = [low, high] if step is None else [low, high, step]
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        raise InputError(f"{where}={value}: low, high and step are numbers")
    whole = all(isinstance(number, int) for number in numbers)
    kind = value.get("type", "int" if whole else "float")
    if kind not in ("int", "float") or (kind == "int" and not whole) or not isinstance(logarithmic, bool):
        raise InputError(f"{where}={value}: type is int, with whole numbers, or float; log is true or false")
    try:
        if kind == "int":
            distribution = IntDistribution(low, high, logarithmic, 1 if step is None else step)
        else:
            distribution = FloatDistribution(low, high, logarithmic, step)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if distribution.high != high:  # what Optuna does instead it only warns of
        raise InputError(f"{where}={value}: high is not low and a whole number of steps")
    return distribution


def space_size(space: Space) -> int | None:
    """Number of combinations; None where a float without step makes them endless."""
    sizes = []
    for distribution in space.values():
        if isinstance(distribution, CategoricalDistribution):
            sizes.append(len(distribution.choices))
        elif isinstance(distribution, IntDistribution | FloatDistribution) and distribution.step:
            sizes.append(round((distribution.high - distribution.low) / distribution.step) + 1)
        else:
            return None
    return math.prod(sizes)


class Unrepeated(BaseSampler):
    """Draws whole combinations that no other trial of the study has, seeded by the number of the trial."""

    def __init__(self, space: Space, kind: str, seed: int) -> None:
        self.space, self.kind, self.seed = space, kind, seed

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        """All of it: Optuna is to ask for all parameters at once."""
        return self.space

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """A combination; one that was taken only where there is no other."""
        seed = int(np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0])
        trials = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        taken = taken_by(trials, self.space)
        if self.kind == "tpe":
            tpe = TPESampler(seed=seed, multivariate=True, constant_liar=True)
            for _ in range(TPE_DRAWS):
                drawn = tpe.sample_relative(study, trial, search_space)
                if drawn and _key(drawn) not in taken:
                    return drawn
        random = RandomSampler(seed)
        size = space_size(self.space)
        while True:
            drawn = {name: random.sample_independent(study, trial, name, its) for name, its in self.space.items()}
            if _key(drawn) not in taken or len(taken) == size:
                return drawn

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Nothing is left to be drawn one by one."""
        raise AssertionError(f"{param_name} is not in the space")


def _key(params: Mapping[str, Any]) -> Combination:
    return tuple(sorted(params.items()))


def combination_of(trial: FrozenTrial, space: Space) -> Combination | None:
    """What a trial tries; None as long as it has not chosen."""
    if "again" in trial.user_attrs:
        return _key(trial.user_attrs["again"])
    return _key(trial.params) if len(trial.params) == len(space) else None


def taken_by(trials: Sequence[FrozenTrial], space: Space) -> dict[Combination, int]:
    """Combinations that are not to be tried again, each with its first trial.

    They are judged, being judged, or have failed and would fail again. A trial that gave way, or whose worker was
    killed, holds nothing.
    """
    found: dict[Combination, int] = {}
    for trial in trials:
        held = trial.state in (*JUDGED, *OPEN) or "failure" in trial.user_attrs
        combination = combination_of(trial, space) if held else None
        if combination is not None:
            found.setdefault(combination, trial.number)
    return found
