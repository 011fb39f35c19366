"""Figure 3 of a model of the shrunken demo: the command, its tables and what it refuses."""

from __future__ import annotations

import pandas as pd
import pytest
from toy_figures import draw_nothing

from avocado.cli import app
from experiments import fig3_projections

pytest_plugins = ["demo"]


@pytest.fixture
def common(model, store, tmp_path, monkeypatch) -> list[str]:
    draw_nothing(monkeypatch)
    return [f"model={model}", f"store={store}", f"out={tmp_path}", "method=pca", "threads=1"]


def run(*settings):
    return app.run("fig3_projections", fig3_projections.fig3, settings)


def test_tables_and_figures(common, demo, tmp_path):
    places = [f"genes={demo.path / 'genes.gtf.gz'}", f"enhancers={demo.path / 'enhancers.bed.gz'}", "share=1"]
    assert run(*common, *places, "clusters=2") == 0
    table = pd.read_csv(tmp_path / "recovery.csv")
    assert set(table["source"]) == {"factors", "observed tracks"}
    assert {"promoters and enhancers", "cell types"} <= set(table["what"])
    assert table["accuracy"].between(0, 1).all()
    lineages = table[(table["what"] == "cell types") & (table["source"] == "observed tracks")]
    assert lineages["by"].tolist() == ["lineage"]
    points = pd.read_csv(tmp_path / "projections.csv")
    elements = points[points["what"] == "promoters and enhancers"]
    assert set(elements["kind"]) == {"promoter", "enhancer"}
    assert elements["kind"].value_counts()["enhancer"] <= elements["kind"].value_counts()["promoter"]
    assert set(elements["part"]) == {"A", "B"}
    for name in ("projections.png", "trees.png", "profiles.png", "report.html"):
        assert (tmp_path / name).is_file()


def test_cell_types_from_a_table(common, model, tmp_path):
    from avocado.model.directory import load_model

    cells = load_model(model, baseline=False).cells
    file, half = tmp_path / "cells.tsv", len(cells) // 2
    rows = [f"{cell}\t{'one' if number < half else 'two'}\t#aa0000" for number, cell in enumerate(cells)]
    file.write_text("id\tgroup\tcolor\n" + "\n".join(rows) + "\nE999\tthree\t#000000\n")
    assert run(*common, f"cell_table={file}", "cell_by=group", "colors=color") == 0
    table = pd.read_csv(tmp_path / "recovery.csv")
    assert set(table[table["what"] == "cell types"]["by"]) == {"group"}
    points = pd.read_csv(tmp_path / "projections.csv")
    assert points[points["what"] == "cell types"].set_index("name")["group"].to_dict() == {
        cell: "one" if number < half else "two" for number, cell in enumerate(cells)
    }


def test_what_is_refused(common, demo, tmp_path, capsys):
    table = tmp_path / "cells.csv"
    table.write_text("id,group\nE001,one\n")
    for settings, message in (
        (["genes=genes.gtf.gz"], "give both genes= and enhancers="),
        (["cell_by=anatomy"], "cell_by=anatomy: no such column; there is: lineage"),
        ([f"cell_table={table}"], "its first column has no "),
        (["cell_table=missing.tsv"], "missing.tsv cannot be read as a table"),
        (["method=tsne"], "method=tsne: there is umap, pca"),
        (["region=chr3"], "has no region 'chr3'"),
    ):
        assert run(*common, *settings) == 2
        assert message in capsys.readouterr().err
