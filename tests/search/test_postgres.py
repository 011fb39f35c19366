"""Studies in a real PostgreSQL: workers that start at once, and a server that goes away."""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time

import pytest
from toy_study import GRID, judge, work_at

from avocado.search.space import read_space
from avocado.search.study import SweepConfig, load_study, open_study, search

pytest_plugins = ["postgres_server"]
pytestmark = pytest.mark.postgres


def test_workers_that_start_at_once_on_an_empty_database(postgres):
    url = postgres.create("empty")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toy_study"])
    workers = [context.Process(target=work_at, args=(url, 12, 0.05)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 4
    states = [trial.state.name for trial in load_study(url, "toy").get_trials()]
    assert states.count("COMPLETE") == 12


def test_a_server_that_is_away_for_a_while_loses_no_trial(postgres, caplog):
    url = postgres.create("away")
    config, space = SweepConfig(4, stale_after=1), read_space(GRID)
    study, judged = open_study(url, "toy", config, {}), []

    def away(trial, report):
        judged.append(trial.number)
        if trial.number == 1:
            postgres.stop()
            threading.Timer(3, postgres.start).start()
        return judge(trial)

    with caplog.at_level(logging.WARNING):
        search(study, space, config, away)
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE"] * 4
    assert judged == [0, 1, 2, 3]
    assert "does not answer" in caplog.text
    assert "answers again" in caplog.text


def test_a_trial_that_was_told_in_an_answer_that_was_lost_is_ours(postgres, monkeypatch):
    url = postgres.create("told")
    config = SweepConfig(2)
    study, told = open_study(url, "toy", config, {}), []
    tell = study.tell

    def twice(*arguments, **options):
        tell(*arguments, **options)
        return tell(*arguments, **options)

    monkeypatch.setattr(study, "tell", twice)
    search(study, read_space(GRID), config, judge, told.append)
    assert [trial.values for trial in told] == [judge(trial) for trial in study.get_trials()]


def test_ctrl_c_while_the_server_is_away_ends_the_worker(postgres, monkeypatch):
    url = postgres.create("stopped")
    config = SweepConfig(2)
    study = open_study(url, "toy", config, {})
    monkeypatch.setattr(time, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))

    def away(trial, report):
        postgres.stop()
        return judge(trial)

    with pytest.raises(KeyboardInterrupt):
        search(study, read_space(GRID), config, away)
