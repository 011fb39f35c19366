"""The model card: what it says, and that nobody's own words are lost."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
import yaml
from toy import ASSEMBLY, CELLS, CHR20, RUN, genome_run, make_network
from toy_model import TRACKS, save

from avocado.data.genome import Assembly
from avocado.evaluation.scores import read_scores
from avocado.model.directory import save_region, save_shared
from avocado.model.network import genome_factors
from avocado.runs.card import CARD, shown, update_card
from avocado.runs.run import train
from avocado.utils.hardware import Hardware


def front_matter(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


@pytest.fixture(scope="module")
def trained(tiny_store, tmp_path_factory):
    """A pilot run, and the card after it and after a chromosome."""
    runs, cards = tmp_path_factory.mktemp("runs"), []
    for run in (RUN, genome_run()):
        result = train(run, tiny_store, runs, hardware=Hardware("cpu"), progress=False)
        cards.append((result.model / CARD).read_text())
    return runs, result.model, cards


def test_a_run_writes_its_scores_beside_those_of_earlier_ones(trained, tiny_store):
    runs, model, (first, second) = trained
    assert [its["dataset"]["name"] for its in front_matter(first)["model-index"][0]["results"]] == [
        "4 held-out tracks, pilot of toy"
    ]
    results = front_matter(second)["model-index"][0]["results"]
    assert [its["dataset"]["name"] for its in results] == [
        "4 held-out tracks, pilot of toy",
        "4 held-out tracks, chr20 of toy",
    ]
    means = read_scores(RUN.directory(runs)).query("cell == 'mean'").set_index("method")
    told = {its["name"]: its["value"] for its in results[0]["metrics"]}
    assert told["MSE of Avocado"] == pytest.approx(means.loc["Avocado", "mse"], abs=1e-5)
    assert told["MSE of average activity"] == pytest.approx(means.loc["average activity", "mse"], abs=1e-5)
    assert f"| pilot | Avocado | {means.loc['Avocado', 'mse']:.3f} |" in second
    assert str(tiny_store.path) not in second  # whose folder that is is nobody's business
    assert not list(model.glob(".*lock"))


def test_hub_takes_the_front_matter(trained):
    front = front_matter(trained[2][1])
    assert front["library_name"] == "avocado"
    assert "license" not in front  # for whoever shares the model to choose
    for result in front["model-index"][0]["results"]:
        assert {"task", "dataset", "metrics"} <= set(result)
        for metric in result["metrics"]:
            assert {"type", "value"} <= set(metric)
            assert isinstance(metric["value"], float)


def test_assays_are_sorted_by_what_they_gain(trained):
    runs, _, (_, text) = trained
    table = read_scores(genome_run().directory(runs)).query("cell != 'mean'")
    mse = table.pivot_table(index="assay", columns="method", values="mse")
    skill = (1 - mse["Avocado"] / mse["average activity"]).sort_values(ascending=False)
    rows = text.split("By assay, on chr20:")[1].split("\n\n")[1].splitlines()[2:]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == list(skill.index)
    assert [row.split(" | ")[2] for row in rows] == [f"{value:.3f}" for value in skill]


def test_a_changed_card_is_left_alone_and_a_lost_one_is_made_again(tmp_path, caplog):
    save(tmp_path)
    assert update_card(tmp_path)
    made = (tmp_path / CARD).read_text()
    assert update_card(tmp_path)  # unchanged: made again
    assert (tmp_path / CARD).read_text() == made
    for changed in (
        made.replace("# license: yours", "license: mit  # yours"),
        "mine\n",
        "",
        made + "\nPS: good luck\n",
    ):
        (tmp_path / CARD).write_text(changed)
        with caplog.at_level("INFO"):
            assert not update_card(tmp_path)
        assert (tmp_path / CARD).read_text() == changed
        assert "left as it is" in caplog.text
    (tmp_path / CARD).unlink()
    assert update_card(tmp_path)
    assert (tmp_path / CARD).read_text() == made


def test_what_is_shown_has_neither_head_nor_checksum(tmp_path):
    save(tmp_path)
    update_card(tmp_path)
    text = shown((tmp_path / CARD).read_text())
    assert text.startswith("# Epigenome imputation: 4 assays in 4 cell types (toy)\n")
    assert "<!--" not in text
    assert "model-index" not in text
    assert "No scores" in text


def test_a_model_of_which_little_is_known(tmp_path):
    network = make_network()
    nobody = pd.DataFrame(columns=pd.Index(["cell", "assay", "role"]))
    made = {"stage": "published", "file": "avocado-chr20.h5", "backend": "theano", "keras_version": "2.1.6"}
    assays = ["DNase", "a|b", "H3K4me3", "RNA"]
    save_shared(tmp_path, network, CELLS, assays, Assembly("hg19", ASSEMBLY.sizes), nobody, made)
    save_region(tmp_path, CHR20, genome_factors(network.config, CHR20.n_blocks, torch.Generator()))
    assert update_card(tmp_path)
    text = (tmp_path / CARD).read_text()
    assert "Which experiments it was trained on is not known" in text
    assert "`avocado-chr20.h5` (theano 2.1.6)" in text
    assert "chr20 (1,892 bins)" in text


def test_the_grid_has_a_sign_for_every_pair(tmp_path):
    save(tmp_path)
    update_card(tmp_path)
    rows = (tmp_path / CARD).read_text().split("</summary>\n\n")[1].split("\n\n")[0].splitlines()
    assert rows[0] == "| cell type | DNase | H3K27ac | H3K4me3 | RNA |"
    signs = {"train": "■", "val": "v", "test": "□"}
    role = {(row.cell, row.assay): signs[row.role] for row in TRACKS.itertuples()}
    for cell, row in zip(CELLS, rows[2:], strict=True):
        assert row.split(" | ")[1:] == [
            *(role.get((cell, assay), "·") for assay in ("DNase", "H3K27ac", "H3K4me3")),
            role.get((cell, "RNA"), "·") + " |",
        ]
