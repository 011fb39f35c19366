"""What W&B is told of the trials of a sweep, read back from the records that they leave offline."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pandas as pd
import pytest
import wandb
from toy import PILOT, RUN, plain_model
from vanishing_wandb import vanishing_wandb
from wandb_records import logged

from avocado.search.candidates import costs
from avocado.search.study import load_study, trials_table
from avocado.tracking.session import Tracking, sync_command
from avocado.tracking.trials import TrialTracker

pytest_plugins = ["demo"]
pytestmark = pytest.mark.usefixtures("wandb_home")

SPACE = ["model.cell_factors", "model.assay_factors", "model.factors_25bp", "model.factors_250bp", "model.factors_5kbp"]
ONE = [*(f"sweep.space.{key}=null" for key in [*SPACE, "model.layers"]), "sweep.space.model.nodes=[4,8,12,16]"]
OFFLINE = ("logger=wandb", "logger.mode=offline")
WILD = "sweep.space.optimizer.genome_learning_rate=[1e30,0.01]"  # half of the trials diverge


@pytest.fixture
def keys(tiny_store, quick) -> list[str]:
    short = [key for key in quick if not key.startswith("epochs.pilot")]
    return ["sweep=small", *ONE, *short, "epochs.pilot=3", f"store={tiny_store.path}", "fold=0", "split.folds=4"]


def study_of(folder, name: str = "small") -> pd.DataFrame:
    table = trials_table(load_study(f"sqlite:///{folder}/runs/sweeps/{name}.db", name))
    return table.set_index("trial")


def test_every_trial_is_a_run_in_the_group_of_its_sweep(avocado, keys, tiny_store, tmp_path):
    answer = avocado("sweep", *keys, WILD, *OFFLINE, "sweep.trials=2")
    assert answer.status == 0, answer.err
    table = study_of(tmp_path)
    found = {int(run.run.display_name.partition("-")[2]): run for run in logged(tmp_path / "runs" / "sweeps" / "small")}
    assert set(found) == set(table.index)
    assert set(table["state"]) == {"complete", "fail"}, "the seed no longer draws both kinds"
    for number, run in found.items():
        trial, head = table.loc[number], run.run
        assert (head.display_name, head.run_group, head.job_type) == (f"small-{number}", "small", "trial")
        assert list(head.tags) == ["pilot", "fold0-seed0"]
        # what the trial searched, among all that it was told
        assert run.config["model.nodes"] == trial["model.nodes"]
        assert run.config["optimizer.genome_learning_rate"] == trial["optimizer.genome_learning_rate"]
        assert (run.config["trial.study"], run.config["trial.number"]) == ("small", number)
        assert run.config["split.validation"] == 0.25
        assert run.config["run.fit.epochs"] == 3
        assert run.config["input.store_checksum"] == tiny_store.tracks_checksum
        assert not run.artifacts
        assert not list(run.folder.glob("files/media/*"))
        if trial["state"] == "fail":
            assert (run.exit_code, run.summary["trial/state"]) == (1, "failed")
            assert trial["failure"] in run.summary["error"]
            continue
        assert (run.exit_code, run.summary["trial/state"]) == (0, "complete")
        assert run.summary["val/mse"] == trial["mse"]
        assert [bins for bins, _ in run.curve("train/mse")] == [PILOT.n_bins * epoch for epoch in (1, 2, 3)]
        assert [bins for bins, _ in run.curve("val/mse")] == [PILOT.n_bins * 3]
        assert run.curve("val/mse")[0][1] == pytest.approx(trial["mse"], rel=1e-5)
        assert len(run.curve("bins_per_second")) == len(run.curve("memory/peak_gib")) == 3
        assert run.summary["memory/predicted_gib"] > 0
        assert run.summary["cost/parameters"] > run.summary["cost/flops"] > 0
    assert len({run.run.run_id for run in found.values()}) == len(found)
    assert f"wandb sync {tmp_path}/runs/sweeps/small/wandb/offline-run-*" in answer.out
    # no models, no worker's leftovers
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"sweeps"}
    assert {path.name for path in (tmp_path / "runs" / "sweeps").iterdir()} == {"small", "small.db"}


def test_tracking_changes_nothing(avocado, keys, tmp_path):
    assert avocado("sweep", *keys, "sweep.trials=1", "sweep.name=silent").status == 0
    assert avocado("sweep", *keys, "sweep.trials=1", "sweep.name=told", *OFFLINE, "logger.group=widths").status == 0
    silent, told = study_of(tmp_path, "silent"), study_of(tmp_path, "told")
    pd.testing.assert_frame_equal(silent.drop(columns="seconds"), told.drop(columns="seconds"))
    runs = logged(tmp_path / "runs" / "sweeps" / "told")
    assert [run.run.run_group for run in runs] == ["widths"]
    # a study that was begun without tracking goes on with it
    assert avocado("sweep", *keys, "sweep.trials=2", "sweep.name=silent", *OFFLINE).status == 0
    (second,) = logged(tmp_path / "runs" / "sweeps" / "silent")
    assert second.run.display_name == "silent-1"


def test_with_pruning_every_look_is_in_the_curve(avocado, keys, tmp_path):
    assert avocado("sweep", *keys, *OFFLINE, "sweep.trials=1", "sweep.prune=true").status == 0
    (run,) = logged(tmp_path / "runs" / "sweeps" / "small")
    assert [bins for bins, _ in run.curve("val/mse")] == [PILOT.n_bins * epoch for epoch in (1, 2, 3)]


def trial_of(number: int, started: str = "2024-01-01 12:00:00") -> optuna.Trial:
    return SimpleNamespace(number=number, datetime_start=started)  # type: ignore[return-value]


def track(tiny_store, folder, trial=None, storage="sqlite:///study.db", study="widths", error=None) -> TrialTracker:
    tracker = TrialTracker(Tracking("offline"), study, storage, tiny_store, folder)
    with contextlib.suppress(BaseException), tracker.trial(trial or trial_of(3), RUN, {}):
        if error is not None:
            raise error
    return tracker


def test_a_pruned_trial_has_not_failed(tiny_store, tmp_path):
    track(tiny_store, tmp_path, error=optuna.TrialPruned())
    (run,) = logged(tmp_path)
    assert (run.exit_code, run.summary["trial/state"], "error" in run.summary) == (0, "pruned", False)
    track(tiny_store, tmp_path / "other", error=KeyboardInterrupt())
    (run,) = logged(tmp_path / "other")
    assert (run.exit_code, run.summary["trial/state"]) == (1, "failed")
    assert run.summary["error"].startswith("KeyboardInterrupt")


def test_ids_are_of_the_study_and_the_trial(tiny_store, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(TrialTracker, "begin", lambda tracker, subject: begun.append(subject))

    def id_of(*about, **more):
        track(tiny_store, tmp_path, *about, **more)
        return begun[-1].id

    first = id_of(trial_of(1))
    assert id_of(trial_of(1)) == first
    others = {id_of(trial_of(2)), id_of(trial_of(1), study="depths"), id_of(trial_of(1), storage="sqlite:///else.db"),
              id_of(trial_of(1, "2025"))}  # fmt: skip
    assert len(others | {first}) == 5
    shared = [id_of(trial_of(1), storage=f"postgresql://{user}:hunter2@host/db") for user in ("me", "you")]
    assert shared[0] == shared[1]
    assert begun[-1].config["trial.storage"] == "postgresql://host/db"
    assert "hunter2" not in str(begun[-1])


def test_an_empty_mode_is_none(avocado, tiny_store, quick, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    wandb.teardown()
    answer = avocado("train", *quick, f"store={tiny_store.path}", "stage=pilot", "logger=wandb", "split.folds=4")
    assert answer.status == 0, answer.err
    assert len(logged(tmp_path / "runs/pilot/pilot/fold0/seed0")) == 1


def test_a_lost_network_is_waited_for_once(avocado, keys, tmp_path, monkeypatch, caplog):
    tried, init = [], wandb.init

    def unreachable(mode, **options):
        tried.append(mode)
        if mode == "online":
            raise TimeoutError("no network")
        return init(mode=mode, **{name: value for name, value in options.items() if name != "resume"})

    monkeypatch.setattr("wandb.login", lambda **options: True)
    monkeypatch.setattr("avocado.tracking.session._silent", lambda address: "")
    monkeypatch.setattr("wandb.init", unreachable)
    answer = avocado("sweep", *keys, "logger=wandb", "logger.mode=online", "sweep.trials=2")
    assert answer.status == 0, answer.err
    assert tried == ["online", "offline", "offline"]
    assert caplog.text.count("W&B: not reached (no network)") == 1
    assert [run.exit_code for run in logged(tmp_path / "runs" / "sweeps" / "small")] == [0] * 2
    assert "wandb sync" in answer.out


@pytest.mark.slow
def test_a_network_that_is_lost_during_a_trial(shell, keys, tmp_path, monkeypatch):
    """In a process of its own, which also has to end."""
    with vanishing_wandb() as (address, begun):
        monkeypatch.setitem(os.environ, "WANDB_API_KEY", "0" * 40)
        monkeypatch.setitem(os.environ, "WANDB_BASE_URL", address)
        out, err = shell("sweep", *keys, "logger=wandb", "sweep.trials=3").communicate(timeout=120)
    assert len(begun) == 1, out + err
    assert list(study_of(tmp_path)["state"]) == ["complete"] * 3
    place = tmp_path / "runs" / "sweeps" / "small" / "wandb"
    (online,) = place.glob(f"run-*-{begun[0]}")
    assert f"wandb sync {online} {place}/offline-run-*" in out
    assert len(list(place.glob("offline-run-*"))) == 2


def test_an_upload_that_does_not_end_is_waited_for_once(tiny_store, tmp_path, monkeypatch):
    tried, init = [], wandb.init

    class Stuck:
        offline, url = False, "https://wandb.example/run"

        def __init__(self, run):
            self.run = run

        def __getattr__(self, name):
            return getattr(self.run, name)

        def finish(self, exit_code):
            self.run.finish(exit_code=exit_code)
            raise TimeoutError

    def begin(mode, resume=None, **options):
        tried.append(mode)
        run = init(mode="offline", **options)
        return Stuck(run) if mode == "online" else run

    monkeypatch.setattr("wandb.login", lambda **options: True)
    monkeypatch.setattr("avocado.tracking.session._silent", lambda address: "")
    monkeypatch.setattr("wandb.init", begin)
    tracker = TrialTracker(Tracking("online"), "widths", "sqlite:///study.db", tiny_store, tmp_path)
    for number in range(3):
        with tracker.trial(trial_of(number), RUN, {}):
            pass
    assert tried == ["online", "offline", "offline"]
    assert len(tracker.kept) == 3


def test_a_broken_wandb_stops_no_sweep(avocado, keys, tmp_path, monkeypatch, caplog):
    def broken(*args, **options):
        raise RuntimeError("no such luck")

    monkeypatch.setattr("wandb.init", broken)
    answer = avocado("sweep", *keys, *OFFLINE, "sweep.trials=2")
    assert answer.status == 0, answer.err
    assert list(study_of(tmp_path)["state"]) == ["complete"] * 2
    assert caplog.text.count("no such luck") == 1


def test_the_command_that_uploads(tmp_path):
    place = tmp_path / "wandb"
    assert sync_command([place / "offline-run-1-a"]) == f"wandb sync {place}/offline-run-1-a"
    kept = [place / "run-1-a", place / "offline-run-2-b", place / "offline-run-3-c"]
    assert sync_command(kept) == f"wandb sync {place}/run-1-a {place}/offline-run-*"


def test_costs_have_the_names_of_objectives():
    assert list(costs(RUN.model, 2, 3, 5, 4)) == ["parameters", "flops"]


def test_costs_are_of_the_sizes_that_a_compendium_gets():
    open_ = plain_model(kind="states", cell_factors=0, nodes=0)
    decided = replace(open_, cell_factors=10, nodes=128)
    assert costs(open_, 9, 7, 150, 4) == costs(decided, 9, 7, 150, 4) != costs(open_, 9, 7, 50, 4)


@pytest.mark.slow
def test_two_workers(shell, keys, tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "WANDB_MODE", "offline")
    workers = [shell("sweep", *keys, "logger=wandb", "sweep.trials=4") for _ in range(2)]
    for worker in workers:
        out, err = worker.communicate(timeout=120)
        assert worker.returncode == 0, out + err
    table, runs = study_of(tmp_path), logged(tmp_path / "runs" / "sweeps" / "small")
    assert sorted(run.run.display_name for run in runs) == [f"small-{n}" for n in table.index[table["state"] != "fail"]]
    assert {run.exit_code for run in runs} == {0}
