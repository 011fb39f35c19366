"""Search of hyperparameters: the space, the study, several workers, and what a candidate is worth."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import sqlite3
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from toy import RUN, STATES, TEST, TINY, VAL, make_store, plain_model, with_fit
from toy_figures import draw_nothing
from toy_study import GRID, begin, judge, url, value_of, work

from avocado.errors import InputError
from avocado.runs.run import SplitConfig, train
from avocado.search import candidates as candidates_module
from avocado.search import storage as storage_module
from avocado.search import study as sweep_module
from avocado.search.candidates import Candidates, flops, parameters
from avocado.search.space import Unrepeated, read_space, space_size
from avocado.search.study import SweepConfig, best_trials, load_study, open_study, search, trials_table
from avocado.utils.hardware import Hardware

CPU = Hardware("cpu")
SPLIT = SplitConfig(fold=0, n_folds=4, validation=0.2)


def tried(study: optuna.Study) -> list[tuple]:
    """Combinations of the trials that were judged, in their order."""
    return [tuple(trial.params[key] for key in GRID) for trial in study.get_trials() if trial.state.name == "COMPLETE"]


@pytest.fixture
def tmp_path(tmp_path):
    """In memory where there is such a place: a database waits for the disk at every step."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toy_study"])
    return context


# --- the space -------------------------------------------------------------------------------------------------------


def test_distributions_from_plain_values():
    space = read_space(
        {
            "nodes": [64, 128],
            "layers": {"low": 0, "high": 4},
            "even": {"low": 2, "high": 8, "step": 2},
            "rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "share": {"low": 0, "high": 1, "type": "float"},
            "drop": {"low": 0.0, "high": 0.5, "step": 0.25},
        }
    )
    assert space == {
        "nodes": CategoricalDistribution([64, 128]),
        "layers": IntDistribution(0, 4),
        "even": IntDistribution(2, 8, step=2),
        "rate": FloatDistribution(1e-4, 1e-2, log=True),
        "share": FloatDistribution(0, 1),
        "drop": FloatDistribution(0, 0.5, step=0.25),
    }
    assert space_size(space) is None
    assert space_size({key: space[key] for key in ("nodes", "layers", "even", "drop")}) == 2 * 5 * 4 * 3
    assert space_size(read_space(GRID)) == 24


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (64, "expected a list"),
        ([], "expected a list of numbers"),
        ([[1], [2]], "expected a list of numbers"),
        ([64, 64], "a choice is there twice"),
        ({"low": 1}, "expected low and high"),
        ({"low": 1, "high": 3, "stride": 1}, "expected low and high"),
        ({"low": 1, "high": "3"}, "are numbers"),
        ({"low": 1.5, "high": 3, "type": "int"}, "type is int, with whole numbers"),
        ({"low": 3, "high": 1}, "sweep.space.k: "),
        ({"low": 0.0, "high": 1.0, "log": True}, "sweep.space.k: "),
    ],
)
def test_what_is_no_space(value, message):
    with pytest.raises(InputError, match=message):
        read_space({"k": value})


def test_high_is_a_whole_number_of_steps_away():
    with pytest.warns(UserWarning, match="divisible"), pytest.raises(InputError, match="whole number of steps"):
        read_space({"k": {"low": 1, "high": 8, "step": 2}})


def test_an_empty_space():
    with pytest.raises(InputError, match="is empty"):
        read_space({})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "grid"}, "there is random, tpe"),
        ({"objectives": ("flops",)}, "expected mse"),
        ({"objectives": ("mse", "mse")}, "expected mse"),
        ({"objectives": ("mse", "size")}, "parameters, flops"),
        ({"objectives": ("mse", "flops"), "prune": True}, "needs a single objective"),
        ({"trials": 0}, "at least 1"),
        ({"stale_after": 0.0}, "above 0"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        SweepConfig(**{"trials": 3} | changes)


# --- one worker ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_whole_grid_without_a_combination_twice(tmp_path, sampler, caplog):
    config = SweepConfig(100, sampler)
    study = begin(tmp_path, config)
    with caplog.at_level(logging.INFO):
        search(study, read_space(GRID), config, judge)
    assert len(tried(study)) == len(set(tried(study))) == 24
    assert "all 24 combinations have been tried" in caplog.text
    best = best_trials(study, 3)
    assert best["mse"].tolist() == [0.5, 1.0, 1.0]
    assert best[["a", "b", "c"]].iloc[0].tolist() == [1, 0.5, "x"]


def test_whole_numbers_stay_whole_beside_trials_that_have_none_yet(tmp_path):
    config = SweepConfig(3)
    study = begin(tmp_path, config)
    search(study, read_space(GRID), config, judge)
    study.enqueue_trial({"a": 1, "b": 0.5, "c": "x"})  # as a trial that was interrupted
    assert len(trials_table(study)) == 4
    best = best_trials(study)
    assert len(best) == 3
    assert all(isinstance(value, int) for value in best["a"].tolist())


def test_the_same_seed_draws_the_same_however_often_it_is_stopped(tmp_path):
    whole, parts, other = (SweepConfig(12, seed=seed) for seed in (3, 3, 4))
    first, second, third = (begin(tmp_path, whole, name) for name in ("first", "second", "third"))
    search(first, read_space(GRID), whole, judge)
    for trials in (5, 6, 12):
        search(begin(tmp_path, parts, "second"), read_space(GRID), replace(parts, trials=trials), judge)
    search(third, read_space(GRID), other, judge)
    assert tried(first) == tried(second)
    assert tried(first) != tried(third)
    assert len(first.get_trials()) == 12  # none more than asked for


def test_draws_are_uniform():
    study, space = optuna.create_study(), read_space({"k": list(range(200)), "m": [0, 1]})
    for _ in range(150):
        study.sampler = Unrepeated(space, "random", 0)
        study.tell(study.ask(space), 0.0)
    drawn = pd.DataFrame([trial.params for trial in study.get_trials()])
    assert not drawn.duplicated().any()
    assert 80 < drawn["k"].mean() < 120  # 99.5 and a standard error of 4.7
    assert 0.3 < drawn["m"].mean() < 0.7


def test_failures_are_noted_do_not_count_and_are_not_repeated(tmp_path):
    config = SweepConfig(100)
    study = begin(tmp_path, config)
    seen = []

    def fragile(trial, report):
        seen.append(tuple(trial.params.values()))
        if trial.params["c"] == "y":
            raise InputError("needs 99 GB\nof memory")
        if trial.params["c"] == "z" and trial.params["a"] == 8:
            raise MemoryError
        return judge(trial)

    search(study, read_space(GRID), config, fragile)
    table = trials_table(study)
    assert table["state"].value_counts().to_dict() == {"complete": 14, "fail": 10}
    assert set(table[table["c"] == "y"]["failure"]) == {"needs 99 GB of memory"}
    assert set(table[(table["c"] == "z") & (table["a"] == 8)]["failure"]) == {"MemoryError"}
    assert len(seen) == len(set(seen)) == 24


def test_when_everything_fails_the_sweep_gives_up(tmp_path):
    config = SweepConfig(20, give_up_after=3)

    def broken(trial, report):
        raise InputError("out of memory")

    with pytest.raises(InputError, match="3 trials in a row have failed, the last one: out of memory"):
        search(begin(tmp_path, config), read_space(GRID), config, broken)


def test_an_error_of_the_program_is_not_swallowed(tmp_path):
    config = SweepConfig(3)
    study = begin(tmp_path, config)
    with pytest.raises(ZeroDivisionError):
        search(study, read_space(GRID), config, lambda trial, report: [1 / 0])
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL"]


def test_an_interrupted_trial_is_tried_again(tmp_path):
    config = SweepConfig(3)
    study = begin(tmp_path, config)
    seen = []

    def interrupted(trial, report):
        seen.append(trial.params)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return judge(trial)

    with pytest.raises(KeyboardInterrupt):
        search(study, read_space(GRID), config, interrupted)
    search(begin(tmp_path, config), read_space(GRID), config, interrupted)
    assert seen[1] == seen[2]
    assert len(tried(study)) == len(set(tried(study))) == 3


def test_pruning(tmp_path):
    config = SweepConfig(24, prune=True)
    study = begin(tmp_path, config)

    def epochs(trial, report):
        for epoch in range(5):
            report(epoch, value_of(trial.params) + 5 - epoch)
        return judge(trial)

    search(study, read_space(GRID), config, epochs)
    table = trials_table(study)
    pruned = table[table["state"] == "pruned"]
    assert 3 < len(pruned) < 19
    assert pruned["mse"].isna().all()
    assert {1, 0.5, "x"} <= set(best_trials(study, 1).iloc[0])  # the best is never pruned


def test_two_objectives_have_a_front(tmp_path):
    config = SweepConfig(24, objectives=("mse", "parameters"))
    study = begin(tmp_path, config)
    search(study, read_space(GRID), config, lambda trial, report: [value_of(trial.params), 10.0 / trial.params["a"]])
    front = best_trials(study)
    assert front[["mse", "parameters"]].values.tolist() == [[0.5, 10], [1, 5], [2, 2.5], [4, 1.25]]


# --- the study -------------------------------------------------------------------------------------------------------


def test_a_study_with_other_settings_is_refused(tmp_path):
    config = SweepConfig(3)
    begin(tmp_path, config, nodes=[1, 2], epochs=4)
    begin(tmp_path, config, nodes=[1, 2], epochs=4)
    with pytest.raises(InputError, match=r"other settings \(nodes was \[1, 2\], is \[1\]\).*another sweep.name"):
        begin(tmp_path, config, nodes=[1], epochs=4)
    with pytest.raises(InputError, match="epochs was 4, is None"):
        begin(tmp_path, config, nodes=[1, 2])


def test_storages_that_cannot_be_used(tmp_path, monkeypatch):
    config = SweepConfig(3)
    damaged = tmp_path / "damaged.db"
    damaged.write_text("no database" * 100)
    for storage, message in {
        f"sqlite:///{damaged}": "file is not a database",
        f"sqlite:///{damaged}/inside.db": "cannot write",
        "nonsense": "Could not parse",
        "oracle9://host/db": "Can't load plugin",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            open_study(storage, "toy", config, {})
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError) as caught:
        open_study("postgresql+pg8000://me:secret@nowhere.invalid/db", "toy", config, {})
    assert "secret" not in str(caught.value)


def test_a_locked_database_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(storage_module.OPTIONS, "pysqlite", {"timeout": 0.1})
    config = SweepConfig(3)
    study = begin(tmp_path, config)
    other = sqlite3.connect(tmp_path / "study.db")
    other.execute("BEGIN EXCLUSIVE")
    with (
        pytest.raises(InputError, match="database is locked"),
        storage_module.storage_errors(url(tmp_path)),
    ):
        search(study, read_space(GRID), config, judge)
    other.close()


def test_studies_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"no study at .*run avocado sweep first"):
        load_study(url(tmp_path), "toy")
    assert not (tmp_path / "study.db").exists()
    begin(tmp_path, SweepConfig(1))
    with pytest.raises(InputError, match=r"no study 'other' in .*there is: toy"):
        load_study(url(tmp_path), "other")


# --- several workers -------------------------------------------------------------------------------------------------


def test_two_workers_share_a_study_without_duplicates_and_stop_at_the_number(tmp_path, processes):
    workers = [processes.Process(target=work, args=(tmp_path, 12, 0.05)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    study = load_study(url(tmp_path), "toy")
    assert len(tried(study)) == len(set(tried(study))) == 12
    hosts = {trial.user_attrs["worker"] for trial in study.get_trials() if trial.state.name == "COMPLETE"}
    assert len(hosts) == 2
    assert not {trial.state.name for trial in study.get_trials()} & {"RUNNING", "WAITING"}


def test_of_two_that_draw_the_same_the_higher_number_gives_way(tmp_path):
    config = SweepConfig(5)
    study, space = begin(tmp_path, config), read_space(GRID)
    watch = sweep_module._Watch(60)
    first = sweep_module._claim(study, space, config, watch)
    assert first is not None
    # the other looked before the first had written its choice
    study.enqueue_trial(first.params)
    assert sweep_module._claim(study, space, config, watch) is None
    assert study.get_trials()[1].user_attrs["dropped"] == "the same as trial 0"
    assert study.get_trials()[0].state.name == "RUNNING"


def test_a_killed_workers_trial_is_taken_over_with_its_combination(tmp_path, processes):
    note = tmp_path / "note"
    worker = processes.Process(target=work, args=(tmp_path, 4, 0, note))
    worker.start()
    deadline = time.monotonic() + 30
    while not note.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    study = load_study(url(tmp_path), "toy")
    (left,) = [trial for trial in study.get_trials() if trial.state.name == "RUNNING"]
    work(tmp_path, 4, 0)
    states = [trial.state.name for trial in study.get_trials()]
    assert states.count("COMPLETE") == 4
    assert states[left.number] == "FAIL"
    assert tuple(left.params[key] for key in GRID) in tried(study)
    assert len(set(tried(study))) == 4


def test_a_silent_worker_on_another_machine_is_taken_over_after_some_time(tmp_path, monkeypatch):
    config = SweepConfig(1, stale_after=0.6)
    study, space = begin(tmp_path, config), read_space(GRID)
    monkeypatch.setattr(sweep_module.socket, "gethostname", lambda: "elsewhere")
    lost = sweep_module._claim(study, space, config, sweep_module._Watch(60))
    monkeypatch.undo()
    start = time.monotonic()
    search(study, space, config, judge)
    assert time.monotonic() - start > 0.6
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "COMPLETE"]
    assert study.get_trials()[1].params == lost.params


def test_a_worker_that_gives_signs_of_life_keeps_its_trial(tmp_path, monkeypatch):
    config = SweepConfig(1, stale_after=0.5)
    study, space = begin(tmp_path, config), read_space(GRID)
    watch = sweep_module._Watch(0.5)
    monkeypatch.setattr(sweep_module.socket, "gethostname", lambda: "elsewhere")
    trial = sweep_module._claim(study, space, config, watch)
    monkeypatch.undo()
    with sweep_module._signs_of_life(trial, 0.1):
        for _ in range(12):
            sweep_module._take_over(study, space, watch)
            time.sleep(0.1)
    assert study.get_trials()[0].state.name == "RUNNING"


def test_a_trial_that_was_taken_over_meanwhile_is_left_to_the_other(tmp_path):
    config = SweepConfig(2)
    study = begin(tmp_path, config)
    told = []

    def suspended(trial, report):
        if not told:
            told.append(None)
            study.tell(0, state=optuna.trial.TrialState.FAIL)  # what another worker does
        return judge(trial)

    search(study, read_space(GRID), config, suspended, told.append)
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert [trial.number for trial in told[1:]] == [1, 2]


# --- candidates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [TINY, STATES], ids=["paper", "states"])
def test_a_candidate_is_worth_what_a_run_of_train_measures(tiny_store, tmp_path, model, monkeypatch):
    draw_nothing(monkeypatch)
    run = replace(with_fit(RUN, epochs=3, tracks_per_bin=2), model=model, split=SPLIT)
    outcome = train(run, tiny_store, tmp_path / "runs", hardware=CPU, progress=False)
    measured = pd.read_csv(outcome.directory / "history.csv")["val_mse"].iloc[-1]
    candidates = Candidates(tiny_store, "pilot", SPLIT)
    assert candidates.mse(run, CPU) == pytest.approx(measured, rel=1e-6)
    assert candidates.mse(run, CPU) == pytest.approx(measured, rel=1e-6)
    assert candidates.mse(replace(run, seed=1), CPU) != pytest.approx(measured, rel=1e-4)


def test_held_out_tracks_are_not_touched(tiny_store, tmp_path):
    run = replace(RUN, model=STATES, split=SPLIT)
    values = {}
    columns = tuple(" ".join(tiny_store.tracks.iloc[c][["cell", "assay"]]) for c in TEST)
    split = SplitConfig(fold=None, hold_out=columns, validation=0.2)
    for name, replaced in {"true": {}, "test": {f"t{c}": 777 for c in TEST}, "val": {f"t{VAL[0]}": 7}}.items():
        store = make_store(tmp_path / name, **replaced)
        candidates = Candidates(store, "pilot", split)
        assert not set(TEST) & {*candidates.train.columns, *candidates.val.columns}
        values[name] = candidates.mse(run, CPU)
    assert values["true"] == values["test"]
    assert values["true"] != values["val"]


def test_reports_of_a_candidate(tiny_store, tmp_path):
    run = with_fit(RUN, epochs=4, validate_every=2)
    reported = []
    candidates = Candidates(tiny_store, "pilot", SPLIT)
    mse = candidates.mse(run, CPU, lambda *its: reported.append(its))
    assert [epoch for epoch, _ in reported] == [1, 3]
    assert reported[-1][1] == mse
    best = candidates.mse(with_fit(run, epochs=6, patience=5), CPU)
    assert math.isfinite(best)

    def stop(epoch, mse):
        raise optuna.TrialPruned

    with pytest.raises(optuna.TrialPruned):
        candidates.mse(run, CPU, stop)


def test_candidates_that_fail(tiny_store, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"set split\.validation"):
        Candidates(tiny_store, "pilot", replace(SPLIT, validation=0))
    candidates = Candidates(tiny_store, "pilot", SPLIT)
    wild = replace(RUN, optimizer=replace(RUN.optimizer, learning_rate=1e30, genome_learning_rate=1e30))
    with pytest.raises(InputError, match="diverged"):
        candidates.mse(wild, CPU)

    def no_room(memory, device):
        raise InputError("needs 99 GB")

    monkeypatch.setattr(candidates_module, "require_memory", no_room)
    with pytest.raises(InputError, match="99 GB"):
        candidates.mse(RUN, CPU)


def test_costs_of_the_papers_model():
    paper = plain_model()
    blocks = 576_207  # of 200 bins, hg19 chr1 to chr22 and their last ones
    small = 127 * 32 + 24 * 256
    assert parameters(paper, 127, 24, 0) == 5_015_553 + small
    assert parameters(paper, 127, 24, blocks) - parameters(paper, 127, 24, 0) == blocks * (200 * 25 + 20 * 40 + 45)
    assert flops(paper) == 2 * (398 * 2048 + 2048 * 2048 + 2048)
    assert flops(replace(paper, layers=0)) == 2 * 398
