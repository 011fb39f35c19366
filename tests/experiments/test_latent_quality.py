"""Read-outs of a model of the shrunken demo: the command, its tables and its figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from toy import STATES as STATES_MODEL
from toy_model import save

from avocado.cli import app
from avocado.latent.embeddings import embed_region
from avocado.model.directory import load_model
from experiments import latent_quality
from experiments.latent_quality import (
    CODE,
    COLUMNS,
    ELSEWHERE,
    FACTORS,
    OWN,
    STATES,
    TRACKS,
    Asked,
    _of_cell,
    plot_latent_quality,
    summarise,
)

pytest_plugins = ["demo"]


@pytest.fixture
def common(model, store, tmp_path) -> list[str]:
    return [f"model={model}", f"store={store}", f"out={tmp_path}", "blocks=20", "tracks=2", "cells=1", "folds=2",
            "threads=1"]  # fmt: skip


def test_with_the_truth(common, demo, tmp_path, capsys):
    assert app.run("latent_quality", latent_quality.study, [*common, f"truth={demo.path}", "regions=chr20"]) == 0
    table = pd.read_csv(tmp_path / "latent_quality.csv")
    assert set(table["question"]) == {"held-out tracks", "chromatin states", "expression"}
    assert set(table["source"]) == {FACTORS, TRACKS, OWN, "by chance"}  # the demo's model has no states
    scores = table[table["question"] == "chromatin states"]
    assert scores["value"].between(0, 1).all()
    # the demo's tracks say much about each other, factors of a model that was trained for a second do not
    tracks = table[table["question"] == "held-out tracks"].groupby("source")["value"].mean()
    assert tracks[TRACKS] > max(0.2, tracks[FACTORS])
    assert "standard deviation of the factors" in capsys.readouterr().out
    deviations = pd.read_csv(tmp_path / "deviations.csv")
    assert deviations["factors"].tolist() == ["cell factors", "assay factors", "25 bp", "250 bp", "5 kbp"]
    assert (tmp_path / "latent_quality.png").read_bytes().startswith(b"\x89PNG")


def test_without_the_truth_tracks_alone_and_from_one_region_to_another(common, tmp_path):
    regions = [*(key for key in common if not key.startswith("folds")), "folds=2", "regions=[chr20,pilot]"]
    assert app.run("latent_quality", latent_quality.study, regions) == 0
    table = pd.read_csv(tmp_path / "latent_quality.csv")
    assert set(table["question"]) == {"held-out tracks", "other chromosome"}
    across = table[table["question"] == "other chromosome"]
    assert set(across["source"]) == {FACTORS, ELSEWHERE}
    assert set(across["region"]) == {"chr20 → pilot"}


def test_states_and_own_tracks_are_those_of_the_cell_type(tiny_store, tmp_path):
    save(tmp_path / "model", STATES_MODEL, store=tiny_store)
    model = load_model(tmp_path / "model", tiny_store)
    asked = Asked(model, tiny_store, None, ["chr20"], [("liver", "RNA"), ("E003", "RNA")], [], ["liver"], 2, 0)
    factors, tracks = embed_region(model, "chr20:10,001-10,100"), np.arange(8.0).reshape(4, 2)
    (part,) = factors.parts()
    found = dict(_of_cell(asked, "liver", part.factors, tracks))
    np.testing.assert_array_equal(found[OWN], tracks[:, :1])
    (wanted,) = embed_region(model, "chr20:10,001-10,100", cell="liver").parts()
    np.testing.assert_array_equal(found[STATES], wanted.factors)
    (wanted,) = embed_region(model, "chr20:10,001-10,100", cell="liver", code=True).parts()
    np.testing.assert_array_equal(found[CODE], wanted.factors)
    assert OWN not in dict(_of_cell(asked, "NA", part.factors, tracks))  # no track of it trained


def test_what_is_missing_is_said(common, tmp_path, capsys):
    assert app.run("latent_quality", latent_quality.study, [*common, "regions=chr21"]) == 2
    assert "has no factors of 'chr21'" in capsys.readouterr().err
    assert app.run("latent_quality", latent_quality.study, [*common, "regions=chr20", f"truth={tmp_path}"]) == 2
    assert "truth.npz: no such file" in capsys.readouterr().err


def test_means_ratio_and_bars():
    values = {FACTORS: [0.2, 0.4], TRACKS: [0.5, 0.7], OWN: [0.1, 0.1]}
    rows = [("held-out tracks", "R²", "chr20", unit, source, value) for source, found in values.items()
            for unit, value in zip("ab", found, strict=True)]  # fmt: skip
    rows += [("expression", "average precision", "all", "a", FACTORS, float("nan"))]  # too few genes: no panel
    table = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    means, _ = summarise(table).to_dict(orient="records")
    assert means[FACTORS] == pytest.approx(0.3)
    assert means["factors / tracks"] == pytest.approx(0.5)
    assert means["n"] == 2
    (ax,) = plot_latent_quality(table).axes
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([0.3, 0.6, 0.1])
    assert ax.get_title() == "held-out tracks"
