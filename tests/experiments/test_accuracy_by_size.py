"""Accuracy by the size of a compendium: rows that are kept, the table, the figure, and the command on a small one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from avocado.cli import app
from avocado.evaluation.scores import AVERAGE
from experiments import accuracy_by_size
from experiments.accuracy_by_size import MEASURES, append, format_table, plot_accuracy, read_rows, summarise


def row(method: str, n_tracks: int, mse: float, pearson: float, seed: int = 0, kind: str = "simulated") -> dict:
    scores = dict.fromkeys(MEASURES, mse) | {"pearson": pearson}
    average = dict.fromkeys((f"{measure}_average" for measure in MEASURES), 0.2) | {"pearson_average": 0.5}
    named = {"compendium": kind, "n_tracks": n_tracks, "method": method, "seed": seed}
    return {
        **named,
        **scores,
        **average,
        "seconds": 3.0,
        "peak_gb": 0.5 + seed,
        "settings": f"{method}{n_tracks}{seed}",
    }


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        [
            row("good", 225, 0.1, 0.7),
            row("good", 20, 0.1, 0.6, kind="real"),
            row("good", 20, 0.2, 0.8, seed=1, kind="real"),
            row(AVERAGE, 225, 0.2, 0.5),
            row(AVERAGE, 20, 0.2, 0.5, kind="real"),
        ]
    )


def test_rows_are_added_whole_and_digests_stay_texts(tmp_path):
    file = tmp_path / "a" / "rows.csv"
    assert read_rows(file).empty
    for settings in ("0012", "1e5"):
        append(file, row("good", 20, 0.1, 0.6) | {"settings": settings})
    assert read_rows(file)["settings"].tolist() == ["0012", "1e5"]
    assert read_rows(file)["mse"].tolist() == [0.1, 0.1]


def test_means_over_seeds_beside_average_activity(table):
    means = summarise(table)
    assert means["n_tracks"].tolist() == [20, 20, 225, 225]
    assert means["method"].tolist() == [AVERAGE, "good", AVERAGE, "good"]
    np.testing.assert_allclose(means["relative_mse"], [1, 0.75, 1, 0.5])
    np.testing.assert_allclose(means["pearson_gain"], [0, 0.2, 0, 0.2])
    assert means["peak_gb"].tolist() == [0.5, 1.5, 0.5, 0.5]
    text = format_table(table)
    assert len({len(line) for line in text.splitlines()}) == 1
    assert text.count(AVERAGE) == 2


def test_the_figure_has_a_line_for_each_method(table):
    figure = plot_accuracy(table)
    for ax, values in zip(figure.axes, ([0.75, 0.5], [0.2, 0.2]), strict=True):
        assert ax.get_xscale() == "log"
        average, good = ax.get_lines()
        assert (average.get_label(), good.get_label()) == (AVERAGE, "good")
        np.testing.assert_array_equal(good.get_xdata(), [20, 225])
        np.testing.assert_allclose(good.get_ydata(), values)


def arguments(out) -> list[str]:
    return ["sizes=[20,45]", "only=regression", "bp=60000", "threads=1", f"out={out}", f"data.store={out}/none"]


def test_the_command_and_that_it_goes_on(tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("AVOCADO_ROADMAP_PILOT", raising=False)
    assert accuracy_by_size.main(arguments(tmp_path)) == 0
    said = capfd.readouterr().out
    assert "20 real tracks: left out, give data.folder=" in said
    table = pd.read_csv(tmp_path / "accuracy_by_size.csv")
    assert table["method"].tolist() == [AVERAGE, "regression"]
    assert set(table["n_tracks"]) == {45}
    assert (table["mse_average"] == table["mse"][0]).all()
    assert (table[["seconds", "peak_gb"]] > 0).all(axis=None)
    assert (tmp_path / "accuracy_by_size.png").read_bytes().startswith(b"\x89PNG")

    # done again, nothing is started; what is asked for beyond it fails alone
    def fail(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(accuracy_by_size, "_carry_out", fail)
    assert accuracy_by_size.main(arguments(tmp_path)) == 0
    assert capfd.readouterr().out.count("done before") == 2
    more = [each for each in arguments(tmp_path) if not each.startswith("only")]
    broken = [*more, "only=[regression,factorization]", "methods.factorization=['model.no_such_key=1']"]
    assert accuracy_by_size.main(broken) == 2
    said = capfd.readouterr()
    assert "factorization" in said.err
    assert "regression" in said.out
    assert len(pd.read_csv(tmp_path / "accuracy_by_size.csv")) == 2


def test_wrong_sizes_and_settings_are_refused(tmp_path, capsys):
    assert app.run("accuracy_by_size", accuracy_by_size.study, ["sizes=[46]", f"out={tmp_path}"]) == 2
    assert "sizes=46: there is: 20, 45, 225, 1014" in capsys.readouterr().err
    wrong = ["sizes=[45]", "compendia.tracks45=['no_key=1']", f"out={tmp_path}"]
    assert app.run("accuracy_by_size", accuracy_by_size.study, wrong) == 2
    assert "no_key" in capsys.readouterr().err


def test_a_table_of_pairs_decides_about_the_largest_one(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("experiments.compendia.simulated", lambda settings, *_: asked.extend(settings) or _stop())
    command = ["sizes=[1014]", "pairs=my tracks.tsv", "bp=3000000", f"out={tmp_path}"]
    with pytest.raises(SystemExit):
        app.run("accuracy_by_size", accuracy_by_size.study, command)
    assert "measured_pairs='my tracks.tsv'" in asked
    assert asked[-1] == "chromosomes={chr20: 3000000}"
    assert not [key for key in asked if key.startswith(("cells=", "assays=", "measured="))]


def _stop():
    raise SystemExit(0)
