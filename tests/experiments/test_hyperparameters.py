"""Figures, tables and the winner of a search."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from avocado.cli import app
from avocado.config.overrides import composed, read_arguments
from avocado.search.space import read_space
from avocado.search.study import SweepConfig, load_study, open_study, search, trials_table
from experiments import hyperparameters

pytest_plugins = ["demo"]

GRID = {
    "model.nodes": [16, 32, 64],
    "model.layers": [0, 1],
    "optimizer.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
}


def judge(trial, report=None):
    """Nodes decide, layers a little, the learning rate not at all."""
    return [1 / trial.params["model.nodes"] + 0.002 * trial.params["model.layers"]]


def make_study(folder, config, judge=judge, name="toy"):
    study = open_study(f"sqlite:///{folder}/runs/sweeps/{name}.db", name, config, {},
                       ["stage=pilot", "model=tiny", "split.validation=0.2", "fold=2"])  # fmt: skip
    search(study, read_space(GRID), config, judge)
    return study


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    make_study(folder, SweepConfig(24))
    return folder


def run(folder, *keys: str) -> int:
    return app.run("hyperparameters", hyperparameters.hyperparameters,
                   [f"runs={folder}/runs", f"out={folder}/out", "name=toy", *keys])  # fmt: skip


def test_what_it_leaves(searched, capsys):
    assert run(searched) == 0
    out = searched / "out" / "toy"
    assert {path.name for path in out.iterdir()} == {
        "trials.csv", "best.csv", "importance.csv", "importance.png", "hyperparameters.png", "best.yaml",
    }  # fmt: skip
    trials, best = pd.read_csv(out / "trials.csv"), pd.read_csv(out / "best.csv")
    assert len(trials) == 24
    assert best["mse"].tolist() == sorted(trials["mse"])[:10]
    importance = pd.read_csv(out / "importance.csv").set_index("hyperparameter")["importance"]
    assert importance.sum() == pytest.approx(1)
    assert importance.index[0] == "model.nodes"
    assert importance["model.nodes"] > 0.8
    assert importance["optimizer.learning_rate"] < 0.1
    said = capsys.readouterr().out
    assert "toy: 24 complete" in said
    assert f"model={out}/best.yaml" in said


def test_the_winner_is_a_model_that_train_loads(searched, capsys):
    assert run(searched) == 0
    file = searched / "out" / "toy" / "best.yaml"
    best = pd.read_csv(file.with_name("best.csv")).iloc[0]
    command = capsys.readouterr().out.splitlines()[-1].split()
    assert command[:2] == ["python", "train.py"]
    overrides, _ = read_arguments(command[2:])
    config, tiny = composed("train", overrides), composed("train", ["model=tiny"])
    assert (config.model.nodes, config.model.layers) == (64, best["model.layers"]) == (64, 0)
    assert config.model.cell_factors == tiny.model.cell_factors  # what the search kept fixed
    assert config.optimizer.learning_rate == pytest.approx(best["optimizer.learning_rate"])
    assert config.fold == 2
    assert config.split.validation == 0  # the validation tracks have done their work
    assert list(yaml.safe_load(file.read_text())) == list(config.model)
    assert "# per hidden layer" in file.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read mine.yaml"),
        ("nodes: [1, 2]", "form key: value"),
        ("a: {", "is not a YAML file"),
        ("node: 8", "unknown key 'model.node'"),
        ("nodes: many", "model.nodes=many: expected a whole number"),
    ],
)
def test_a_model_file_that_is_none(avocado, tmp_path, content, message):
    if content is not None:
        (tmp_path / "mine.yaml").write_text(content)
    assert message in avocado("train", "model=mine.yaml").error


def test_few_trials_have_no_importance(tmp_path, capsys):
    make_study(tmp_path, SweepConfig(2))
    assert run(tmp_path) == 0
    assert "cannot be said of 2 trials" in capsys.readouterr().out
    assert not (tmp_path / "out" / "toy" / "importance.csv").exists()


def test_two_objectives(tmp_path, capsys):
    config = SweepConfig(12, objectives=("mse", "flops"))
    make_study(tmp_path, config, lambda trial, report: [*judge(trial), float(trial.params["model.nodes"])])
    assert run(tmp_path) == 0
    best = pd.read_csv(tmp_path / "out" / "toy" / "best.csv")
    assert set(best["model.layers"]) == {0}
    assert best["mse"].is_monotonic_increasing
    assert best["flops"].is_monotonic_decreasing


def test_nothing_to_show(tmp_path, capsys):
    assert run(tmp_path) == 2
    assert "run avocado sweep first" in capsys.readouterr().err
    open_study(f"sqlite:///{tmp_path}/runs/sweeps/toy.db", "toy", SweepConfig(1), {})
    assert run(tmp_path) == 2
    assert "no trial of the study toy is completed" in capsys.readouterr().err


def test_panels_show_every_trial(searched):
    study = load_study(f"sqlite:///{searched}/runs/sweeps/toy.db", "toy")
    table = trials_table(study)
    figure = hyperparameters.plot_hyperparameters(table, list(GRID))
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_xlabel() for axes in panels] == ["nodes", "layers", "optimizer.learning_rate"]
    for axes in panels:
        points = axes.collections[-2].get_offsets()
        assert sorted(points[:, 1]) == pytest.approx(sorted(table["mse"]))
        ring = axes.collections[-1].get_offsets()
        assert ring[0, 1] == table["mse"].min()
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["16", "32", "64"]
    assert panels[2].get_xscale() == "log"
