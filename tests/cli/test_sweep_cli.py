"""`avocado sweep` on the toy store: keys, resumption, refusals, and what it prints."""

from __future__ import annotations

import pandas as pd
import pytest

from avocado.cli import sweep as sweep_cli
from avocado.cli.arguments import split
from avocado.errors import InputError
from avocado.search.study import load_study, trials_table

pytest_plugins = ["demo"]

SPACE = ["model.cell_factors", "model.assay_factors", "model.factors_25bp", "model.factors_250bp", "model.factors_5kbp"]
# two hyperparameters, small; the others are fixed by model=tiny
FIXED = [f"sweep.space.{key}=null" for key in SPACE]
TWO = [*FIXED, "sweep.space.model.nodes=[4,8]", "sweep.space.model.layers={low:0,high:2}"]


@pytest.fixture
def keys(tiny_store, quick) -> list[str]:
    return ["sweep=small", *TWO, *quick, f"store={tiny_store.path}", "fold=0", "split.folds=4"]


def table_of(folder, name: str = "small") -> pd.DataFrame:
    return trials_table(load_study(f"sqlite:///{folder}/runs/sweeps/{name}.db", name))


def test_a_search_and_going_on_with_it(avocado, keys, tmp_path):
    answer = avocado("sweep", *keys, "sweep.trials=2")
    assert answer.status == 0, answer.err
    lines = answer.out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["trial", "0"], ["trial", "1"]]
    assert "the best" in lines
    table = table_of(tmp_path)
    best = table.sort_values("mse").iloc[0]
    command = next(line for line in lines if "python train.py" in line)
    assert {f"model.nodes={best['model.nodes']}", f"model.layers={best['model.layers']}"} <= set(command.split())
    assert "split.validation" not in command
    assert f"MSE {best['mse']:.5f}" in answer.out
    # more of the same study; it ends with the grid
    answer = avocado("sweep", *keys, "sweep.trials=50")
    assert answer.status == 0, answer.err
    table = table_of(tmp_path)
    assert list(table["state"]) == ["complete"] * 6
    assert not table.duplicated(["model.nodes", "model.layers"]).any()
    # no models, no scores, nothing of workers that are done
    assert {path.name for path in (tmp_path / "runs").rglob("*")} == {"sweeps", "small.db"}


def test_any_key_of_the_training_can_be_searched(avocado, keys, tmp_path):
    more = ["sweep.space.optimizer.learning_rate={low:1e-4,high:1e-2,log:true}", "sweep.space.fit.masked=[0,0.3]",
            "sweep.space.model.factor_init=[0.05,0.1]", "sweep.space.optimizer.schedule=[cosine,constant]",
            "sweep.space.epochs.pilot=[1,2]"]  # fmt: skip
    keys = [key for key in keys if not key.startswith("epochs.pilot")]
    assert avocado("sweep", *keys, *more, "sweep.trials=3", "sweep.name=wide").status == 0
    table = table_of(tmp_path, "wide")
    assert table["optimizer.learning_rate"].between(1e-4, 1e-2).all()
    assert set(table["optimizer.schedule"]) <= {"cosine", "constant"}
    assert set(table["epochs.pilot"]) <= {1, 2}
    assert table["mse"].notna().all()


def test_two_objectives_print_the_front(avocado, keys, tmp_path):
    answer = avocado("sweep", *keys, "sweep.objectives=mse,parameters", "sweep.sampler=tpe", "sweep.trials=4")
    assert answer.status == 0, answer.err
    assert "the Pareto front" in answer.out
    table = table_of(tmp_path)
    # a network of more nodes has more parameters; a linear one has the fewest
    assert table["parameters"].nunique() > 1
    assert table.groupby("model.layers")["parameters"].min().is_monotonic_increasing


def test_a_trial_that_fails_does_not_end_the_search(avocado, keys, tmp_path):
    answer = avocado("sweep", *keys, "sweep.space.optimizer.genome_learning_rate=[1e30,0.01]", "sweep.trials=3")
    assert answer.status == 0, answer.err
    table = table_of(tmp_path)
    failed = table[table["state"] == "fail"]
    assert len(failed)
    assert failed["failure"].str.contains("diverged").all()
    assert (failed["optimizer.genome_learning_rate"] > 1).all()
    assert "failed: training diverged" in answer.out or "failed: the validation MSE" in answer.out


def test_a_study_goes_on_with_its_settings_only(avocado, keys, tmp_path):
    assert avocado("sweep", *keys, "sweep.trials=1").status == 0
    for changed, told in {
        "sweep.space.model.nodes=[4,8,16]": "sweep.space.model.nodes was [4, 8], is [4, 8, 16]",
        "seed=5": "seed was 0, is 5",
        "sweep.sampler=tpe": "sweep.sampler was random, is tpe",
    }.items():
        error = avocado("sweep", *keys, changed, "sweep.trials=1").error
        assert told in error
        assert "another sweep.name=" in error
    # where and how it is computed is no such setting
    assert avocado("sweep", *keys, "sweep.trials=1", "trainer.threads=1", "sweep.stale_after=9").status == 0


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (["model.nodes=8"], "model.nodes is searched"),
        (["sweep.space.fold=[0,1]"], "sweep.space.fold cannot be searched"),
        (["sweep.space.split.validation=[0.1,0.2]"], "cannot be searched"),
        (["sweep.space.model.node=[4,8]"], "unknown key 'model.node' (did you mean model.nodes"),
        (["sweep.space.model.nodes=[4,many]"], "model.nodes=many: expected a whole number"),
        (["sweep.space.model.nodes=[4"], "expected a list"),
        (["sweep.space.model.nodes=4"], "expected a list"),
        (["sweep.trails=3"], "unknown key 'sweep.trails' (did you mean sweep.trials"),
        (["sweep.trials=many"], "expected a whole number"),
        (["sweep=large"], "unknown sweep 'large'; there is: random7, small, tradeoff"),
        (["fold=0..3"], "takes one value for each key"),
        (["stage=all"], "a single stage"),
        (["imputer=nearest"], "leave imputer= out"),
        (["launcher=joblib"], "typing it several times, on any machine: leave launcher= out"),
        (["overwrite=true"], "choose another sweep.name="),
        (["split.validation=0"], "set split.validation"),
        (["epoch.pilot=3"], "unknown key 'epoch.pilot'"),
        (["sweep.objectives=[flops]"], "expected mse"),
        (["sweep.storage=nonsense"], "cannot use the study storage nonsense"),
        (["sweep.prune=true", "sweep.objectives=[mse,flops]"], "single objective"),
    ],
)
def test_what_is_refused(avocado, keys, added, message, tmp_path):
    assert message in avocado("sweep", *keys, *added).error
    assert not list(tmp_path.rglob("*.db"))


def test_a_study_of_another_version_is_refused(avocado, keys, monkeypatch):
    assert avocado("sweep", *keys, "sweep.trials=1").status == 0
    monkeypatch.setattr("avocado.__version__", "99")
    assert "is 99" in avocado("sweep", *keys, "sweep.trials=2").error


def test_another_place_for_the_study(avocado, keys, tmp_path):
    storage = f"sqlite:///{tmp_path}/elsewhere.db"
    answer = avocado("sweep", *keys, f"sweep.storage={storage}", "sweep.name=2024", "sweep.trials=1")
    assert answer.status == 0, answer.err
    assert len(trials_table(load_study(storage, "2024"))) == 1
    assert f"name=2024 storage={storage}" in answer.out


def test_overrides_of_values():
    assert sweep_cli.as_overrides({"a": True, "b": None, "c": 1e-5, "d": 8, "e": "cosine"}) == [
        "a=true", "b=null", "c=1e-05", "d=8", "e=cosine",
    ]  # fmt: skip


def test_a_folder_that_cannot_be_written(avocado, keys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot write" in avocado("sweep", *keys, "runs=file").error


def test_the_stage_on_a_chromosome(avocado, keys, tmp_path):
    answer = avocado("sweep", *keys, "stage=joint", "chrom=chr20", "sweep.trials=1")
    assert answer.status == 0, answer.err
    assert "validation tracks, chr20," in answer.out


def test_separating_what_is_typed():
    typed = ["sweep=small", "sweep.trials=3", "sweep.space.model.nodes=[1]", "data=demo"]
    assert split("sweep", typed) == (
        ["sweep=small", "sweep.trials=3"],
        (["sweep.space.model.nodes=[1]"], ["data=demo"]),
    )


def test_storages_without_a_driver_are_said():
    with pytest.raises(InputError, match="cannot use the study storage"):
        load_study("oracle9://me@host/db", "small")
