from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from toy import PAIRS, TEST, TRAIN, VAL, make_store
from toy_model import save

from avocado.data.compendium import pairs_in
from avocado.data.genome import Region, Segment
from avocado.errors import InputError
from avocado.evaluation.comparison import variability
from avocado.evaluation.held_out import score_model, stratify_model
from avocado.evaluation.metrics import AnnotationWindows, mse_var, mse_windows
from avocado.inference.impute import impute
from avocado.model import directory
from avocado.model.directory import load_model
from avocado.plotting.held_out import different_tracks, picture

HELD = [PAIRS[column] for column in TEST]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    save(path)
    return load_model(path)


def test_roles(model):
    assert pairs_in(model.tracks, "test") == HELD
    assert pairs_in(model.tracks, "val") == [PAIRS[column] for column in VAL]
    assert pairs_in(model.tracks, "train") == [PAIRS[column] for column in TRAIN]


@pytest.mark.parametrize("region", ["pilot", "chr20"])
def test_scores_stand_beside_average_activity(model, tiny_store, region):
    table = score_model(model, tiny_store, region, HELD)
    assert set(table["method"]) == {"Avocado", "average activity"}
    assert len(table) == 2 * (len(HELD) + 1)
    rows = table.set_index(["cell", "assay", "method"])
    for column, (cell, assay) in zip(TEST, HELD, strict=True):
        observed = tiny_store.read_track(cell, assay, region)
        others = [other for other in TRAIN if PAIRS[other][1] == assay]
        average = np.square(tiny_store.read_tracks(others, region).mean(axis=1) - observed).mean()
        mse = np.square(impute(model, [PAIRS[column]], region)[:, 0] - observed).mean()
        assert rows.loc[(cell, assay, "average activity"), "mse"] == pytest.approx(average, rel=1e-5)
        assert rows.loc[(cell, assay, "Avocado"), "mse"] == pytest.approx(mse, rel=1e-5)
        assert rows.loc[(cell, assay, "Avocado"), "skill"] == pytest.approx(1 - mse / average, rel=1e-4)


def test_scores_of_places(model, tiny_store):
    windows = np.array([[0, 40], [30, 90]])
    asked = []

    def peaks(cell, assay):
        asked.append((cell, assay))
        return tiny_store.read_track(cell, assay, "pilot") > 1

    table = score_model(model, tiny_store, "pilot", HELD, loci=AnnotationWindows(enhancers=windows), peaks=peaks)
    assert asked == HELD
    assert {"mse_enh", "mse_var", "catch_peak_obs"} <= set(table.columns)
    assert not {"mse_prom", "mse_gene"} & set(table.columns)
    rows = table.set_index(["cell", "assay", "method"])
    for cell, assay in HELD:
        observed = tiny_store.read_track(cell, assay, "pilot")
        imputed = impute(model, [(cell, assay)], "pilot")[:, 0]
        others = [other for other in TRAIN if PAIRS[other][1] == assay]
        variance = tiny_store.read_tracks(others, "pilot").var(axis=1)
        row = rows.loc[(cell, assay, "Avocado")]
        assert row["mse_enh"] == pytest.approx(mse_windows(observed, imputed, windows), rel=1e-9)
        assert row["mse_var"] == pytest.approx(mse_var(observed, imputed, variance), rel=1e-4)


def test_variability_is_of_training_tracks_only(model, tiny_store, tmp_path):
    training = pairs_in(model.tracks, "train")
    # the signal of every track that is held out, replaced
    spoiled = make_store(tmp_path / "spoiled", **{f"t{column}": 777.0 for column in [*TEST, *VAL]})
    for assay in {assay for _, assay in PAIRS}:
        columns = [column for column in TRAIN if PAIRS[column][1] == assay]
        expected = tiny_store.read_tracks(columns, "pilot").std(axis=1) if len(columns) > 1 else np.zeros(851)
        spread = variability(tiny_store, training, assay, "pilot")
        assert spread == pytest.approx(expected, abs=1e-5)
        assert np.array_equal(spread, variability(spoiled, training, assay, "pilot"))
    assert not variability(tiny_store, training[:1], training[0][1], "pilot").any()


def test_strata_of_a_model(model, tiny_store):
    strata = stratify_model(model, tiny_store, "pilot", HELD)
    assert set(strata["method"]) == {"Avocado", "average activity"}
    table = score_model(model, tiny_store, "pilot", HELD).set_index(["cell", "assay", "method"])
    for track in HELD:
        for method in ("Avocado", "average activity"):
            rows = strata[(strata[["cell", "assay", "method"]] == [*track, method]).all(axis=1)]
            assert rows["bins"].sum() == 851
            assert np.average(rows["mse"], weights=rows["bins"]) == pytest.approx(table.loc[(*track, method), "mse"])
    with pytest.raises(InputError, match="used to train model"):
        stratify_model(model, tiny_store, "pilot", [PAIRS[TRAIN[0]]])


def test_validation_tracks_may_be_scored(model, tiny_store):
    assert len(score_model(model, tiny_store, "pilot", pairs_in(model.tracks, "val"))) == 2 * (len(VAL) + 1)


def test_training_tracks_are_refused(model, tiny_store):
    leaked = [PAIRS[TRAIN[0]], PAIRS[TRAIN[1]]]
    with pytest.raises(InputError, match=r"B cell DNase.* used to train model .*leave out tracks="):
        score_model(model, tiny_store, "pilot", [*HELD, *leaked])


def test_no_tracks_are_refused(model, tiny_store):
    with pytest.raises(InputError, match=r"no tracks to score"):
        score_model(model, tiny_store, "pilot", [])


def test_another_layout_is_refused(model, tiny_store):
    shifted = Region("pilot", (Segment("chr1", 1, 451), *model.regions["pilot"].segments[1:]))
    other = replace(model, regions={"pilot": shifted})
    for measure in (score_model, picture):
        with pytest.raises(InputError, match=r"has 851 bins and of model .* 851, or lies elsewhere"):
            measure(other, tiny_store, "pilot", HELD)


def test_an_unknown_track_is_named(model, tiny_store):
    with pytest.raises(InputError, match=r"no experiment NA H3K27ac: unknown pair"):
        score_model(model, tiny_store, "pilot", [("NA", "H3K27ac")])


@pytest.mark.parametrize("region", ["pilot", "chr20"])
def test_a_picture(model, tiny_store, region):
    figure = picture(model, tiny_store, region, HELD, width=2_000)
    assert isinstance(figure, Figure)
    text = " ".join(t.get_text() for t in figure.findobj(lambda artist: hasattr(artist, "get_text")))
    assert all(f"cell type {cell}, assay {assay}" in text for cell, assay in HELD)
    pyplot.close(figure)


def test_the_factors_of_a_region_are_opened_once_for_all_scores_and_once_for_the_picture(
    model, tiny_store, monkeypatch
):
    asked, read = [], directory.opened
    monkeypatch.setattr(directory, "opened", lambda path: asked.append(path.name) or read(path))
    score_model(model, tiny_store, "chr20", HELD)
    assert asked.count("chr20.safetensors") == 1
    pyplot.close(picture(model, tiny_store, "chr20", HELD, width=2_000))
    assert asked.count("chr20.safetensors") == 2


def test_scores_do_not_depend_on_how_many_tracks_are_in_memory(model, tiny_store, monkeypatch):
    whole = score_model(model, tiny_store, "chr20", HELD)
    monkeypatch.setattr("avocado.imputers.protocol.GROUP", 1)
    pd.testing.assert_frame_equal(score_model(model, tiny_store, "chr20", HELD), whole, atol=1e-6)


def test_a_picture_shows_the_imputation_of_its_place(model, tiny_store, monkeypatch):
    shown = {}
    monkeypatch.setattr("avocado.plotting.held_out.plot_tracks", lambda rows, *place, title: shown.update(rows))
    picture(model, tiny_store, "chr20", HELD, place=("chr20", 10_000, 20_000))
    for pair, rows in zip(different_tracks(tiny_store, HELD), shown.values(), strict=True):
        expected = impute(model, [pair], "chr20")[400:800, 0]
        np.testing.assert_allclose(rows["Avocado"], expected, atol=1e-6)
        assert rows["average activity"].shape == (400,)


def test_a_picture_of_a_place(model, tiny_store):
    figure = picture(model, tiny_store, "chr20", HELD, place=("chr20", 10_000, 20_000))
    assert isinstance(figure, Figure)
    pyplot.close(figure)
    with pytest.raises(InputError, match=r"chr20:90000-95000 is not in region chr20"):
        picture(model, tiny_store, "chr20", HELD, place=("chr20", 90_000, 95_000))
