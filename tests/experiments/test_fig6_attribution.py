"""Figure 6 of a model of the shrunken demo: the command, its table and what it refuses."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from toy_figures import draw_nothing

from avocado.cli import app
from avocado.latent.attribution import PARTS
from experiments import fig6_attribution

pytest_plugins = ["demo"]


@pytest.fixture
def common(model, store, tmp_path, monkeypatch) -> list[str]:
    draw_nothing(monkeypatch)
    settings = ["region=chr20", "blocks=2", "width=5000", "progress=false", "threads=1"]
    return [f"model={model}", f"store={store}", f"out={tmp_path}", *settings]


def run(*settings):
    return app.run("fig6_attribution", fig6_attribution.fig6, settings)


@pytest.mark.parametrize("called", [True, False])
def test_table_and_figures(common, demo, tmp_path, called):
    peaks = [f"peaks={demo.path}/peaks/{{cell}}-{{assay}}.narrowPeak.gz"] if called else ["reference=mean"]
    assert run(*common, *peaks) == 0
    table = pd.read_csv(tmp_path / "stratified.csv")
    assert list(dict.fromkeys(table["part"])) == list(PARTS)
    assert (table["k"] <= table["n_cells"]).all()
    assert not table[(table["k"] == 0) & table["peak"]].size
    # every bin of every track is in one row of each part
    tracks = pd.read_csv(demo.table, sep="\t")
    assert table.groupby("part")["n"].sum().unique().tolist() == [len(tracks) * 400]
    assert (tmp_path / "report.html").is_file()


def test_blocks_are_as_many_as_the_tracks_with_peaks_allow(common, demo, tmp_path, monkeypatch):
    tracks = pd.read_csv(demo.table, sep="\t")
    name = f"{tracks['cell'][0]}-{tracks['assay'][0]}.narrowPeak.gz"
    (tmp_path / "peaks").mkdir()
    shutil.copy(demo.path / "peaks" / name, tmp_path / "peaks" / name)
    monkeypatch.setattr(fig6_attribution, "BINS", 2 * fig6_attribution.FEWEST * 200)
    assert run(*common, "blocks=null", f"peaks={tmp_path}/peaks/{{cell}}-{{assay}}.narrowPeak.gz") == 0
    table = pd.read_csv(tmp_path / "stratified.csv")
    assert table.groupby("part")["n"].sum().unique().tolist() == [fig6_attribution.BINS]


def test_a_place_and_cell_types_that_are_typed(common, model, tmp_path, capsys):
    from avocado.model.directory import load_model

    cell, other = load_model(model, baseline=False).cells[:2]
    assert run(*common, "blocks=0", "place=chr20:100001-110000", f"cells=[{cell},{other}]", "assay=H3K4me3") == 0
    assert not (tmp_path / "stratified.csv").exists()
    for settings, message in (
        (["cells=nobody"], "knows no cell type 'nobody'"),
        (["region=chr9"], "no factors of 'chr9'"),
        (["peaks=nowhere/{cell}.bed"], "no such file for any of the model's tracks"),
        (["reference=ones"], "reference=ones"),
    ):
        assert run(*common, *settings) == 2
        assert message in capsys.readouterr().err
