"""The searches that W&B draws: the same as `avocado sweep`'s, with commands that train.py accepts and runs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import wandb
import yaml
from wandb import wandb_agent
from wandb_records import logged

from avocado.cli import app
from avocado.config.overrides import composed, read_arguments
from avocado.config.values import config_directory

pytest_plugins = ["demo"]
pytestmark = pytest.mark.usefixtures("wandb_home")

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
FILES = {"random7": "wandb_sweep.yaml", "small": "wandb_sweep_small.yaml"}


@pytest.fixture(params=FILES)
def name(request):
    return request.param


@pytest.fixture
def ours(name):
    return yaml.safe_load((config_directory() / "sweep" / f"{name}.yaml").read_text())


@pytest.fixture
def theirs(name):
    return yaml.safe_load((EXPERIMENTS / FILES[name]).read_text())


@pytest.fixture
def started(tmp_path, monkeypatch):
    """`started(config, {parameter: value}, run)`: command and environment of the process that W&B's agent starts."""
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    for variable in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(variable, "")  # the agent sets them, for good
        monkeypatch.delenv(variable)
    made = []

    class Process:
        def __init__(self, command, env, **options):
            made.append((command, env))

    monkeypatch.setattr(wandb_agent, "AgentProcess", Process)
    agents = {}

    def start(config, parameters, run):
        agent = agents.setdefault(id(config), wandb_agent.Agent(api=None, queue=None, sweep_id="sweep1"))
        agent._sweep_command = config["command"]
        values = {key: {"value": value} for key, value in parameters.items()}
        answer = agent._process_command({"type": "run", "run_id": run, "program": config["program"], "args": values})
        assert "exception" not in answer, answer
        return made[-1]

    return start


def test_the_grid_and_the_goal_are_the_same(ours, theirs):
    assert {key: its["values"] for key, its in theirs["parameters"].items()} == ours["space"]
    assert all(list(its) == ["values"] for its in theirs["parameters"].values())
    assert (theirs["method"], theirs["metric"]) == ("random", {"name": "val/mse", "goal": "minimize"})
    assert (ours["sampler"], ours["objectives"]) == ("random", ["mse"])
    assert (theirs["name"], theirs["run_cap"]) == (ours["name"], ours["trials"])
    assert set(ours["train"]) <= set(theirs["command"])
    # what W&B's schema of a sweep knows
    assert set(theirs) <= {"program", "project", "name", "method", "run_cap", "metric", "parameters", "command"}


def test_the_file_begins_with_its_command(name):
    file = EXPERIMENTS / FILES[name]
    assert file.read_text().startswith(f"# wandb sweep experiments/{file.name}\n")


def test_train_accepts_what_the_agent_starts(theirs, started):
    dice = random.Random(0)
    grid = {key: its["values"] for key, its in theirs["parameters"].items()}
    corners = [{key: values[place] for key, values in grid.items()} for place in (0, -1)]
    draws = [{key: dice.choice(values) for key, values in grid.items()} for _ in range(3)]
    folders = set()
    for number, parameters in enumerate(corners + draws):
        command, environment = started(theirs, parameters, f"run{number}")
        assert command[:3] == ["/usr/bin/env", "python", "train.py"]
        overrides, multirun = read_arguments(command[3:])
        assert not multirun
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WANDB_RUN_ID", environment["WANDB_RUN_ID"])
            config = composed("train", overrides)
            folders.add(config.runs)
        assert {key: config.model[key.removeprefix("model.")] for key in grid} == parameters
        assert list(config.stage.steps) == ["pilot"]
        assert config.split.validation > 0
    assert folders == {f"runs/wandb/sweep1/run{number}" for number in range(5)}


# W&B forgets to close the file of parameters
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning")
def test_a_trial_of_the_agent_is_the_run_that_it_prepared(tiny_store, quick, started, tmp_path, monkeypatch):
    config = yaml.safe_load((EXPERIMENTS / FILES["small"]).read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for run, nodes in (("aaa", 4), ("bbb", 8)):
        command, environment = started(config, {"model.nodes": nodes}, run)
        for variable in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
            monkeypatch.setenv(variable, environment[variable])
        wandb.teardown()  # a process of its own would look at its environment now
        kept = [its for its in command[3:] if not its.startswith(("data=", "split.", "model."))]
        searched = [its for its in command if its.startswith("model.")]
        split = ["split.validation=0.25", "split.folds=4"]
        try:
            assert app.command("train", [*kept, *quick, *searched, *split, f"store={tiny_store.path}"]) == 0
        finally:
            wandb.teardown()
    found = [logged(directory)[0] for directory in sorted(tmp_path.glob("runs/wandb/sweep1/*/pilot/pilot/fold0/seed0"))]
    assert [(its.run.run_id, its.run.sweep_id, its.run.run_group, its.run.job_type) for its in found] == [
        (run, "sweep1", "sweep1", "trial") for run in ("aaa", "bbb")
    ]
    assert [its.run.display_name for its in found] == ["", ""]  # W&B names the runs of its sweeps itself
    for its, nodes in zip(found, (4, 8), strict=True):
        assert its.config["model.nodes"] == its.config["run.model.nodes"] == nodes
        assert its.summary["val/mse"] == its.curve("val/mse")[-1][1]
        assert its.summary["cost/parameters"] > 0
        assert its.exit_code == 0


def test_why_the_folder_is_named_by_train(started):
    """W&B's agent replaces its own notation before it knows the run, and for all further runs."""
    config = {"program": "train.py", "command": ["${program}", "runs=${envvar:WANDB_RUN_ID}"]}
    commands = [started(config, {}, run)[0][-1] for run in ("aaa", "bbb")]
    assert commands == ["runs=WANDB_RUN_ID", "runs=WANDB_RUN_ID"]
