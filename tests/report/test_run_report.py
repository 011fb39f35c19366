"""The report of one training run, from the toy model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from toy import PAIRS, TEST
from toy_model import save

from avocado.data.genome import BIN_SIZE
from avocado.evaluation.comparison import Lazy
from avocado.evaluation.held_out import MODEL, imputers_of, score_model
from avocado.evaluation.scores import AVERAGE, mean_rows
from avocado.model.directory import load_model
from avocado.report.panels import differing_loci
from avocado.report.report import render
from avocado.report.run_report import ScoredTracks, attributed, run_report, verdict

HELD = [PAIRS[column] for column in TEST]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    save(path)
    return load_model(path)


@pytest.fixture
def scored(model, tiny_store):
    record = ScoredTracks(tiny_store, "pilot")
    return record, score_model(model, tiny_store, "pilot", HELD, seen=record)


def test_what_is_gathered_agrees_with_the_scores(scored):
    record, scores = scored
    intervals = record.intervals()
    means = mean_rows(scores).set_index("method")
    for measure in ("mse", "pearson"):
        row = intervals[(intervals["measure"] == measure) & (intervals["cell"] == "mean")].iloc[0]
        assert row["value"] == pytest.approx(means.loc[MODEL, measure], rel=1e-5)
        assert row["average"] == pytest.approx(means.loc[AVERAGE, measure], rel=1e-5)


def test_loci_are_those_of_all_imputed_tracks(scored, model, tiny_store):
    record, _ = scored
    imputers = imputers_of(model, tiny_store, "pilot", None)
    observed = Lazy(HELD, lambda cell, assay: tiny_store.read_track(cell, assay, "pilot"))

    def of(name):
        return Lazy(HELD, lambda cell, assay: imputers[name].predict([(cell, assay)], "pilot")[:, 0])

    expected = differing_loci(observed, {AVERAGE: of(AVERAGE), MODEL: of(MODEL)}, tiny_store.region("pilot"), 3)
    found = record.loci(model, None, 3)
    assert len(found) == len(expected) > 0
    for mine, its in zip(found, expected, strict=True):
        assert (mine.chrom, mine.start, mine.why) == (its.chrom, its.start, its.why)
        assert list(mine.rows) == list(its.rows)
        for label, rows in mine.rows.items():
            assert list(rows) == list(its.rows[label])
            for name, signal in rows.items():
                np.testing.assert_allclose(signal, its.rows[label][name], atol=1e-5)


def test_the_page_says_what_was_trained_on_what(scored, model, tiny_store):
    record, scores = scored
    facts = {"stage": "pilot: everything was learned here", "split": "fold0, seed 0"}
    costs = pd.DataFrame({"what": ["training"], "measured": ["1.5 s"]})
    page = render(run_report(model, tiny_store, "pilot", scores, record, facts, costs, []))
    n_bins = tiny_store.region("pilot").n_bins
    for expected in (
        "Avocado: pilot run on pilot", "seed 0", f"{n_bins:,} bins, {n_bins * BIN_SIZE / 1e6:.4g} Mb in 3 pieces",
        f"{len(HELD)} were held out", str(tiny_store.path), "How sure is that?", "Which tracks trained", "1.5 s",
        f"Where {MODEL} and {AVERAGE} differ most", verdict(scores, record.intervals()), "■", "□", "·",
        "What each part of the model adds, at the first of the places above",
    ):  # fmt: skip
        assert expected in page, expected


def test_the_verdict_is_not_surer_than_the_interval(scored):
    record, scores = scored
    intervals = record.intervals()
    means = mean_rows(scores).set_index("method")["mse"]

    def given(low, high):
        table = intervals.copy()
        row = (table["measure"] == "mse") & (table["cell"] == "mean")
        table.loc[row, ["average", "difference", "low", "high"]] = [0.2, (low + high) / 2, low, high]
        return verdict(scores, table)

    lower = f"is {means[MODEL]:.4f}, 15 % lower than {means[AVERAGE]:.4f} (95 % interval over the genome: 10 to 20 %)"
    assert lower in given(-0.04, -0.02)
    assert "15 % higher" in given(0.02, 0.04)
    assert "may be chance" in given(-0.04, 0.02)
    assert "may be chance" in given(np.nan, np.nan)


def test_attributions_are_of_the_place(scored, model):
    record, _ = scored
    locus = record.loci(model, None, 1)[0]
    figure = attributed(model, "pilot", locus).figure
    assert len(figure.axes) == 7
    (label, rows), *_ = locus.rows.items()
    assert figure.axes[0].get_title(loc="left") == label
    low, high = figure.axes[-1].get_xlim()
    assert (high - low) * 1e6 == pytest.approx(len(rows["observed"]) * BIN_SIZE)
    assert low * 1e6 == pytest.approx(locus.start)
