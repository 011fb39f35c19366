import pandas as pd
import pytest

from avocado.cli import app
from avocado.generalization import tasks
from avocado.imputers.average import AVERAGE
from experiments import pitfall


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A tenth of the simulated genome, and few trees."""
    out, simulated = tmp_path_factory.mktemp("pitfall"), tasks.simulated_task
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "simulated_task", lambda: simulated(n_cells=6, size=1_500_000))
        arguments = ["small=true", "trees=[1,50]", f"out={out}", f"cache={out}/models", "progress=false"]
        assert app.run("pitfall", pitfall.pitfall, arguments) == 0
        before = {file: file.stat().st_mtime_ns for file in (out / "models").iterdir()}
        assert app.run("pitfall", pitfall.pitfall, arguments) == 0  # nothing is trained again
    assert before == {file: file.stat().st_mtime_ns for file in (out / "models").iterdir()}
    return out


def of_task(table, name="simulated expression"):
    return table[table["task"] == name]


@pytest.mark.slow
def test_places_are_memorised_across_cell_types_alone(results):
    models = of_task(pd.read_csv(results / "models.csv", keep_default_na=False))
    trees = models[(models["model"] == "trees") & (models["remedy"] == "") & (models["inputs"] == "Gaussian")]
    ap = trees.pivot(index="scheme", columns="size", values="ap")
    gain = ap[50] - ap[1]
    assert gain["cross-cell-type"] > 0.1 > gain["hybrid"]
    networks = models[models["model"] == "network"]
    assert len(networks) == 3 * 3 * 4  # schemes, inputs, and three widths besides logistic regression
    baselines = of_task(pd.read_csv(results / "baselines.csv")).set_index("predictor")["ap"]
    assert ap.loc["cross-cell-type", 50] == pytest.approx(baselines[AVERAGE], abs=0.05)


@pytest.mark.slow
def test_everything_is_written(results):
    names = {file.name for file in results.iterdir()}
    assert {"groups.csv", "cell_types.csv", "remedies.csv", "report.html"} <= names
    assert {f"simulated_expression_{what}.png" for what in ("trees", "network", "cell_types")} <= names
    remedies = pd.read_csv(results / "remedies.csv", keep_default_na=False)
    assert set(remedies["remedy"]) >= {"average as a feature", "difference from the average"}
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "Cross-cell-type split" in page
    assert "<h2>Remedies</h2>" in page


def test_real_labels_have_to_be_named(tmp_path, capsys):
    assert app.run("pitfall", pitfall.pitfall, []) == 2
    assert "labels=" in capsys.readouterr().err
    assert app.run("pitfall", pitfall.pitfall, [f"labels={tmp_path}"]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "words"),
    [("tasks=[tad]", "there is states, expression, tads"), ("widths=[0]", "from 1 on"), ("hours=0", "more than 0"),
     ("trees=[]", "from 1 on")],
)  # fmt: skip
def test_what_makes_no_sense_is_said_in_one_line(argument, words, tmp_path, capsys):
    assert app.run("pitfall", pitfall.pitfall, [f"labels={tmp_path}", argument]) == 2
    told = capsys.readouterr().err.strip()
    assert words in told
    assert len(told.splitlines()) == 1
