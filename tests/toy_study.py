"""A study whose answer is known by hand, and a worker on it; without torch, so that further processes start fast."""

from __future__ import annotations

import time
from pathlib import Path

import optuna

from avocado.search.space import read_space
from avocado.search.study import SweepConfig, open_study, search

GRID = {"a": [1, 2, 4, 8], "b": [0.5, 1.0], "c": ["x", "y", "z"]}  # 24 combinations


def value_of(params: dict) -> float:
    return params["a"] * params["b"] + "xyz".index(params["c"])


def judge(trial: optuna.Trial, report=None) -> list[float]:
    return [value_of(trial.params)]


def url(path: Path) -> str:
    return f"sqlite:///{path / 'study.db'}"


def begin(path: Path, config: SweepConfig, name: str = "toy", **settings) -> optuna.Study:
    return open_study(url(path), name, config, settings)


def work(path: Path, trials: int, seconds: float, note: Path | None = None) -> None:
    """A worker on the study; with `note` it writes that file in its second trial, and waits there to be killed."""
    count = 0

    def slow(trial, report):
        nonlocal count
        count += 1
        if note is not None and count == 2:
            note.write_text("here")
            time.sleep(60)
        time.sleep(seconds)
        return judge(trial)

    config = SweepConfig(trials, stale_after=5)
    search(begin(path, config), read_space(GRID), config, slow)


def work_at(storage: str, trials: int, seconds: float) -> None:
    """A worker on the study in a database."""

    def slow(trial, report):
        time.sleep(seconds)
        return judge(trial)

    config = SweepConfig(trials, stale_after=60)
    search(open_study(storage, "toy", config, {}), read_space(GRID), config, slow)
