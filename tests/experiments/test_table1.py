"""Table 1 and the two figures that share its imputed tracks, on the shrunken demo."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from avocado.cli import app
from avocado.evaluation.scores import AVERAGE, mean_rows, read_scores, score_table
from experiments import fig2_variable_loci, relationships, table1

pytest_plugins = ["demo"]

METHODS = [AVERAGE, "nearest", "similarity"]


@pytest.fixture(scope="module")
def settings(demo, store, tmp_path_factory) -> list[str]:
    """What the three have in common here: two folds of the demo, and a cache."""
    cache = tmp_path_factory.mktemp("cache")
    return [f"data.store={store}", f"data.simulate={demo.path}", f"data.assembly={demo.sizes}", f"cache={cache}",
            "threads=1", "only=[nearest,similarity]", "folds=[0,1]"]  # fmt: skip


@pytest.fixture(scope="module")
def results(settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("table1")
    assert app.run("table1", table1.table1, [*settings, f"out={out}", "loci=2"]) == 0
    return out


def toy_scores(errors: dict[str, list[float]]) -> pd.DataFrame:
    """Scores of methods that miss every bin of the tracks by these numbers."""
    tracks = [(f"c{number}", "a") for number in range(len(errors[AVERAGE]))]
    random = np.random.default_rng(0)
    observed = {track: random.random(300) for track in tracks}
    methods = {
        name: {track: observed[track] + error for track, error in zip(tracks, values, strict=True)}
        for name, values in errors.items()
    }
    return score_table(observed, methods)


def test_all_files_are_there(results):
    assert {path.name for path in results.iterdir()} == {
        "table1.csv", "assays.csv", "scores.csv", "scores.json", "significance.csv", "strata.csv", "costs.csv",
        "weights.csv", "scores.png", "strata.png", "comparisons.png", "report.html",
    }  # fmt: skip


def test_the_table_has_average_activity_first_and_the_means_of_the_tracks(results):
    table = pd.read_csv(results / "table1.csv")
    assert table["method"].tolist() == METHODS
    scores = read_scores(results)
    means = mean_rows(scores).set_index("method")
    for measure in ("mse", "mse_1obs", "pearson", "mse_raw", "pearson_raw", "skill"):
        np.testing.assert_allclose(table[measure], means.loc[METHODS, measure], rtol=1e-9)
    n_tracks = len(scores) // len(METHODS) - 1
    assert table["better"].fillna("").str.fullmatch(rf"\d+ of {n_tracks}").tolist() == [False, True, True]


def test_the_demos_places_are_scored(results):
    table = pd.read_csv(results / "table1.csv")
    assert {"mse_prom", "mse_gene", "mse_enh", "mse_var", "catch_peak_obs"} <= set(table)
    assert table[["mse_prom", "mse_gene", "mse_var"]].notna().all(axis=None)


def test_tests_are_paired_with_average_activity_and_the_best_method(results):
    tests = pd.read_csv(results / "significance.csv")
    best = pd.read_csv(results / "table1.csv").set_index("method")["mse"].idxmin()
    assert set(tests["reference"]) == {AVERAGE, best}
    assert set(tests["unit"]) == {"track", "cell"}
    assert (tests["reference"] != tests["method"]).all()


def test_strata_costs_and_report(results):
    strata = pd.read_csv(results / "strata.csv")
    assert set(strata["method"]) == set(METHODS)
    assert strata["stratum"].nunique() >= 4
    assert set(pd.read_csv(results / "costs.csv")["method"]) == set(METHODS)
    text = (results / "report.html").read_text()
    for title in ("Imputers side by side", "Significance", "Time and memory", "Where cell types agree"):
        assert title in text
    assert "Weights of ensembles" not in text


def test_done_again_it_imputes_nothing_and_gives_the_same(results, settings, tmp_path, monkeypatch):
    from avocado.imputers.average import AverageActivity
    from avocado.imputers.nearest import _Similarity

    def fail(*arguments):
        raise AssertionError("fitted again")

    for imputer in (AverageActivity, _Similarity):
        monkeypatch.setattr(imputer, "fit", fail)
    assert app.run("table1", table1.table1, [*settings, f"out={tmp_path}", "loci=2"]) == 0
    for name in ("scores.csv", "significance.csv", "strata.csv", "costs.csv"):
        assert (tmp_path / name).read_bytes() == (results / name).read_bytes()


def test_one_method_alone_is_a_table_too(settings, tmp_path):
    arguments = [each for each in settings if not each.startswith("only")]
    assert app.run("table1", table1.table1, [*arguments, "only=average", f"out={tmp_path}"]) == 0
    assert pd.read_csv(tmp_path / "table1.csv")["method"].tolist() == [AVERAGE]
    assert pd.read_csv(tmp_path / "significance.csv").empty


def test_a_missing_file_of_genes_costs_no_imputation(settings, tmp_path, capsys):
    arguments = [each for each in settings if not each.startswith("cache")]
    arguments += [f"cache={tmp_path / 'cache'}", "genes=nowhere.gtf"]
    assert app.run("table1", table1.table1, [*arguments, f"out={tmp_path}"]) == 2
    assert "nowhere.gtf: no such file" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.npy"))


def test_the_best_method_is_a_single_one():
    scores = toy_scores({AVERAGE: [0.5] * 4, "good": [0.2, 0.3, 0.2, 0.1], "ensemble": [0.1, 0.1, 0.2, 0.1]})
    tests = table1.compare(scores, ["ensemble"])
    assert set(tests["reference"]) == {AVERAGE, "good"}
    row = tests.set_index(["measure", "method", "reference", "unit"]).loc["mse", "ensemble", "good", "track"]
    assert row["difference"] == pytest.approx((0.07 - 0.18) / 4)


def test_summarise_counts_tracks():
    scores = toy_scores({"worse": [0.6, 0.4, 0.7], AVERAGE: [0.5, 0.5, 0.5]})
    table = table1.summarise(scores)
    assert table["method"].tolist() == [AVERAGE, "worse"]
    assert table["better"].tolist() == ["", "1 of 3"]


# --- the others that share the tracks --------------------------------------------------------------------------------


def test_variable_loci(results, settings, tmp_path):
    assert app.run("fig2_variable_loci", fig2_variable_loci.fig2, [*settings, f"out={tmp_path}"]) == 0
    table = pd.read_csv(tmp_path / "variable_loci.csv")
    assert set(table["method"]) == {*METHODS, "observed"}
    assert set(table["peaks"]) == {"peak calls"}
    assert (tmp_path / "variable_loci.png").read_bytes().startswith(b"\x89PNG")
    assert "Imputations at variable loci" in (tmp_path / "report.html").read_text()


def test_relationships(results, settings, tmp_path):
    # both tracks of a pair have to be held out, in whichever fold
    folds = [*settings, "folds=[0,1,2,3,4]", f"out={tmp_path}"]
    assert app.run("relationships", relationships.relationships, folds) == 0
    table = pd.read_csv(tmp_path / "relationships.csv")
    assert set(table["method"]) == set(METHODS)
    assert (table["error"] >= 0).all()
    tests = pd.read_csv(tmp_path / "significance.csv")
    assert set(tests["relationship"]) == set(table["relationship"])
    assert set(tests["reference"]) == {AVERAGE}
    assert "Relationships between assays" in (tmp_path / "report.html").read_text()


def test_relationships_need_genes(settings, tmp_path, capsys):
    arguments = [each for each in settings if not each.startswith("data.simulate")]
    assert app.run("relationships", relationships.relationships, [*arguments, "data.simulate=null"]) == 2
    assert "give genes= a GTF or BED6 file" in capsys.readouterr().err
