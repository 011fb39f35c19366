import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from test_modeldir import save
from toy import PAIRS, TEST, TRAIN, VAL

from avocado.errors import InputError
from avocado.evaluation.held_out import held_out, picture, score_model
from avocado.genome import Region, Segment
from avocado.impute import impute
from avocado.modeldir import load_model

HELD = [PAIRS[column] for column in TEST]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    save(path)
    return load_model(path)


def test_roles(model):
    assert held_out(model) == HELD
    assert held_out(model, "val") == [PAIRS[column] for column in VAL]
    assert held_out(model, "train") == [PAIRS[column] for column in TRAIN]


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


def test_validation_tracks_may_be_scored(model, tiny_store):
    assert len(score_model(model, tiny_store, "pilot", held_out(model, "val"))) == 2 * (len(VAL) + 1)


def test_training_tracks_are_refused(model, tiny_store):
    leaked = [PAIRS[TRAIN[0]], PAIRS[TRAIN[1]]]
    with pytest.raises(InputError, match=r"B cell DNase.* used to train model .*leave out tracks="):
        score_model(model, tiny_store, "pilot", [*HELD, *leaked])


def test_no_tracks_are_refused(model, tiny_store):
    with pytest.raises(InputError, match=r"no tracks to score"):
        score_model(model, tiny_store, "pilot", [])


def test_another_layout_is_refused(model, tiny_store):
    shifted = Region("pilot", (Segment("chr1", 1, 451), *model.regions["pilot"].segments[1:]))
    other = type(model)(**{**vars(model), "regions": {"pilot": shifted}})
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
    assert all(" ".join(track) in text for track in HELD)
    pyplot.close(figure)


def test_a_picture_of_a_place(model, tiny_store):
    figure = picture(model, tiny_store, "chr20", HELD, place=("chr20", 10_000, 20_000))
    assert isinstance(figure, Figure)
    pyplot.close(figure)
    with pytest.raises(InputError, match=r"chr20:90000-95000 is not in region chr20"):
        picture(model, tiny_store, "chr20", HELD, place=("chr20", 90_000, 95_000))
