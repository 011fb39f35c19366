from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from toy import PAIRS, TEST, TRAIN

from avocado.errors import InputError
from avocado.evaluation.comparison import Lazy, compare, compare_strata, loci_of_tracks
from avocado.evaluation.scores import AVERAGE
from avocado.imputers.average import AverageActivity
from avocado.imputers.nearest import NearestCell
from avocado.plotting.held_out import column_groups, different_tracks, draw

HELD = [PAIRS[column] for column in TEST]


class Counted(NearestCell):
    """Remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def predict(self, pairs, region):
        self.asked += [(*pair, region) for pair in pairs]
        return super().predict(pairs, region)


@pytest.fixture
def imputers(tiny_store):
    found = {AVERAGE: AverageActivity(), "nearest": Counted()}
    for imputer in found.values():
        imputer.fit(tiny_store, TRAIN, "pilot")
    return found


def test_lazy_makes_nothing_until_it_is_asked_for_it():
    made = []
    lazy = Lazy([("a", "x"), ("b", "y")], lambda cell, assay: made.append(cell) or cell + assay)
    assert ("a", "x") in lazy
    assert ("a", "y") not in lazy
    assert list(lazy) == [("a", "x"), ("b", "y")]
    assert len(lazy) == 2
    assert made == []
    assert lazy["b", "y"] == "by"
    assert made == ["b"]
    with pytest.raises(KeyError):
        lazy["a", "y"]


@pytest.mark.parametrize("region", ["pilot", "chr20"])
def test_every_imputer_imputes_every_track_once(tiny_store, imputers, region):
    table = compare(tiny_store, region, HELD, imputers)
    assert imputers["nearest"].asked == [(*track, region) for track in HELD]
    rows = table.set_index(["cell", "assay", "method"])
    assert len(rows) == 2 * (len(HELD) + 1)
    for cell, assay in HELD:
        observed = tiny_store.read_track(cell, assay, region)
        for name, imputer in imputers.items():
            error = np.square(imputer.predict([(cell, assay)], region)[:, 0] - observed).mean()
            assert rows.loc[(cell, assay, name), "mse"] == pytest.approx(error, rel=1e-5)


def test_average_activity_is_required(tiny_store, imputers):
    with pytest.raises(ValueError, match="must include 'average activity'"):
        compare(tiny_store, "pilot", HELD, {"nearest": imputers["nearest"]})
    assert imputers["nearest"].asked == []


def test_what_an_imputer_refuses_is_said(tiny_store, imputers):
    with pytest.raises(InputError, match="no experiment NA H3K27ac"):
        compare(tiny_store, "pilot", [("NA", "H3K27ac")], imputers)


def test_places_and_strata_know_the_training_tracks_only(tiny_store, imputers):
    training = [PAIRS[column] for column in TRAIN]
    places = loci_of_tracks(tiny_store, "pilot", HELD, training)
    assert "mse_var" in compare(tiny_store, "pilot", HELD, imputers, places)
    for cell, assay in HELD:
        columns = [column for column in TRAIN if PAIRS[column][1] == assay]
        expected = tiny_store.read_tracks(columns, "pilot").var(axis=1)
        assert places[cell, assay].variance == pytest.approx(expected, abs=1e-5)
    strata = compare_strata(tiny_store, "pilot", HELD, imputers, training)
    assert set(strata["method"]) == set(imputers)
    assert strata[strata["cell"] != "mean"].groupby(["cell", "assay", "method"])["bins"].sum().eq(851).all()


@pytest.mark.parametrize("place", [None, ("chr20", 10_000, 20_000)])
def test_a_picture_has_a_row_for_each_imputer(tiny_store, imputers, place):
    figure = draw(tiny_store, "chr20", HELD, imputers, width=2_000, place=place)
    assert isinstance(figure, Figure)
    text = [t.get_text() for t in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    assert all(f"cell type {cell}, assay {assay}" in text for cell, assay in HELD)
    for name in ("observed", *imputers):
        assert text.count(name) == len(HELD)


def test_a_picture_shows_lineages_then_cell_types_then_assays(tiny_store):
    pairs = [("E003", "DNase"), ("E003", "RNA"), ("NA", "DNase"), ("NA", "RNA"), ("liver", "RNA")]
    assert different_tracks(tiny_store, pairs, 2) == [("E003", "DNase"), ("NA", "RNA")]
    assert different_tracks(tiny_store, pairs, 9)[:3] == [("E003", "DNase"), ("NA", "RNA"), ("liver", "RNA")]
    kin = {"E003": "stem", "NA": "stem", "liver": "gut", "B cell": "blood"}
    store = replace(tiny_store, tracks=tiny_store.tracks.assign(lineage=tiny_store.tracks["cell"].map(kin)))
    assert different_tracks(store, pairs, 2) == [("E003", "DNase"), ("liver", "RNA")]
    figure = draw(store, "chr20", [("liver", "RNA")], {}, width=2_000)
    assert figure.axes[0].get_title(loc="left") == "cell type liver (lineage gut), assay RNA"


def test_groups_are_columns_that_belong_to_a_cell_type_or_an_assay(tiny_store):
    table = tiny_store.tracks.assign(kin=tiny_store.tracks["cell"].str[0], kind=tiny_store.tracks["assay"].str[0])
    store = replace(tiny_store, tracks=table)
    assert column_groups(store, "cell", "kin") == {"B cell": "B", "E003": "E", "NA": "N", "liver": "l"}
    assert column_groups(store, "assay", "kind") == {"DNase": "D", "H3K27ac": "H", "H3K4me3": "H", "RNA": "R"}
    assert column_groups(store, "assay", "kin") is column_groups(store, "cell", "lineage") is None
