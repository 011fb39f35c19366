"""From a table of labels to tables, figure and page."""

import numpy as np
import pandas as pd
import pytest
from toy import STATES, TINY
from toy_model import save

from avocado.downstream.classifiers import Trees
from avocado.downstream.evaluation import MAJORITY, PLACE, RANDOM
from avocado.downstream.study import study
from avocado.errors import InputError
from avocado.evaluation.scores import AVERAGE
from avocado.model.directory import load_model
from avocado.plotting.downstream import plot_downstream
from avocado.report.downstream_report import as_text, write_results

FEW = Trees(folds=4)


@pytest.fixture(scope="module")
def model(tiny_store, tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "model"
    save(path, STATES, store=tiny_store)
    return load_model(path, tiny_store)


@pytest.fixture(scope="module")
def labels(tiny_store):
    """Of chr20 in 500-bp loci, whether E003's DNase is high there; of liver noise; the last loci lie nowhere."""
    signal = tiny_store.read_track("E003", "DNase", "chr20")
    start = np.arange(0, 47_000, 500)
    mean = np.array([signal[its // 25 : its // 25 + 20].mean() for its in start])
    loci = pd.DataFrame({"chrom": "chr20", "start": start, "end": start + 500})
    noise = np.random.default_rng(0).integers(2, size=len(loci))
    outside = pd.DataFrame({"chrom": "chr1", "start": [12_000, 15_000], "end": [12_100, 15_100]})
    parts = [loci.assign(cell="E003", label=(mean > np.median(mean)) * 1), loci.assign(cell="liver", label=noise)]
    return pd.concat([*parts, outside.assign(cell="E003", label=1), loci.assign(cell="K562", label=noise)])


@pytest.fixture(scope="module")
def scored(labels, tiny_store, model):
    return study(labels, "toy", tiny_store, model, classifier=FEW)


def test_every_feature_set_beside_the_baselines(scored):
    found = scored.summary.set_index(["cell", "held_out", "features"]).sort_index()
    assert set(scored.summary["cell"]) == {"E003", "liver"}  # of K562 nothing is known
    assert (scored.summary["n_loci"] == 94).all()
    sets = {MAJORITY, PLACE, AVERAGE, "own tracks", "all tracks", "own tracks, imputed", "latent factors",
            "latent factors of the cell type", "latent code of the cell type"}  # fmt: skip
    assert set(found.loc["E003", RANDOM].index) == sets
    assert set(found.loc["liver", "whole stretches"].index) == sets
    # the label is a threshold of one of its own tracks
    assert found.loc[("E003", RANDOM, "own tracks"), "score"] > 0.95
    assert found.loc[("liver", RANDOM, "own tracks"), "all_loci"] < 0.75


def test_what_is_asked_for(labels, tiny_store, model):
    only = study(labels, "toy", tiny_store, cells=["K562"], classifier=FEW)
    assert set(only.summary["features"]) == {MAJORITY, PLACE, AVERAGE, "all tracks"}
    only = study(labels, "toy", None, model, cells=["liver"], features=["factors"], classifier=FEW)
    assert set(only.summary["features"]) == {MAJORITY, PLACE, AVERAGE, "latent factors"}
    only = study(labels, "toy", None, model, cells=["liver"], features=["states"], classifier=FEW)
    assert set(only.summary["features"]) == {MAJORITY, PLACE, AVERAGE, "latent factors of the cell type"}
    other = study(labels, "toy", others={"PREDICTD": tiny_store}, cells=["liver"], classifier=FEW)
    assert set(other.summary["features"]) == {MAJORITY, PLACE, AVERAGE, "own tracks, PREDICTD"}
    missing = study(labels, "toy", tiny_store, cells=["liver"], features=["own"], missing=np.nan, classifier=FEW)
    assert "own tracks" in set(missing.summary["features"])


def test_files(scored, tmp_path):
    paths = write_results(tmp_path, scored, {"labels": "toy.tsv"}, "Toy labels")
    assert sorted(path.name for path in paths) == [
        "comparisons.csv", "downstream.png", "folds.csv", "report.html", "scores.csv",
    ]  # fmt: skip
    assert all(path.is_file() for path in paths)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "scores.csv"), scored.summary, check_dtype=False)
    assert set(pd.read_csv(tmp_path / "comparisons.csv")["reference"]) == {
        "latent factors", "latent factors of the cell type", "latent code of the cell type",
    }  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    assert "Few loci: toy (94)" in page
    text = as_text(scored.summary)
    assert "toy E003: 94 loci, mean label 0.5" in text
    assert max(map(len, text.splitlines())) <= 120


def test_the_figure_has_a_panel_for_each_task_and_way_of_holding_out(scored):
    figure = plot_downstream(scored.summary)
    assert len(figure.axes) == 2
    assert figure.axes[1].get_title(loc="left") == "toy: whole stretches held out"
    one = scored.summary[scored.summary["cell"] == "E003"]
    many = [one.assign(cell=f"E{number:03}") for number in range(10)]  # lines in place of bars
    assert len(plot_downstream(pd.concat(many)).axes[0].lines) == 9
    with pytest.raises(ValueError, match="no scores to draw"):
        plot_downstream(scored.summary[:0])


def test_states_are_asked_of_a_model_that_has_none(labels, tiny_store, tmp_path):
    save(tmp_path / "paper", TINY, store=tiny_store)
    paper = load_model(tmp_path / "paper", tiny_store)
    found = study(labels, "toy", None, paper, cells=["liver"], features=["factors"], classifier=FEW)
    assert "latent factors of the cell type" not in set(found.summary["features"])
    with pytest.raises(InputError, match="is of kind 'paper'"):
        study(labels, "toy", None, paper, cells=["liver"], features=["states"], classifier=FEW)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda t: t[t["chrom"] == "chr1"], {}, "toy: none of the 2 loci lies in the regions of"),
        (
            lambda t: t,
            {"features": ["own"], "cells": ["K562"]},
            "features=own: there are none of 'K562'; there is: all",
        ),
        (lambda t: t.drop(columns="cell").iloc[:20], {"features": ["imputed"]}, "where labels are of no cell type"),
        (lambda t: t[t["cell"] == "E003"].iloc[:3], {}, "3 loci are fewer than folds=4"),
    ],
)
def test_what_is_refused(labels, tiny_store, model, change, options, message):
    with pytest.raises(InputError) as error:
        study(change(labels), "toy", tiny_store, model, classifier=FEW, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
