"""Projections and recovery of groups, where the answer is known by construction."""

import sys

import numpy as np
import pytest

from avocado.errors import InputError
from avocado.latent.projections import (
    NEAREST,
    distances,
    nearest,
    neighbour_accuracy,
    parted,
    project,
    recovery,
    tree,
)


def blobs(*sizes, apart=50.0, seed=0):
    """Rows around points that are far from each other, and the blob of each."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(len(sizes)), sizes)
    return apart * np.eye(len(sizes), 5)[of] + rng.normal(size=(len(of), 5)), [f"group{i}" for i in of]


def test_principal_components_of_a_line():
    line = np.outer([0.0, 1, 2, 3, 10, 4, 5], [3.0, 4.0])
    found = project(line, "pca")
    np.testing.assert_allclose(found.places[:, 1], 0, atol=1e-9)
    np.testing.assert_allclose(np.diff(found.places[:4, 0]), 5)
    assert found.axes == ("first component, 100% of the variance", "second component, 0% of the variance")


@pytest.mark.slow  # numba compiles umap-learn
def test_umap_keeps_blobs_apart_and_repeats_itself():
    pytest.importorskip("umap")
    rows, of = blobs(20, 20, 20)
    found = project(rows, seed=3)
    assert neighbour_accuracy(nearest(found.places), np.array(of)) == 1
    np.testing.assert_array_equal(project(rows, seed=3).places, found.places)
    assert found.how == "UMAP of Euclidean distances, 15 neighbours, minimal distance 0.1, seed 3"


def test_few_rows_are_principal_components():
    found = project(blobs(3, 2)[0])
    assert found.how == "Principal components, as 5 rows are too few for UMAP"
    assert found.places.shape == (5, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "tsne"}, "method=tsne: there is umap, pca"),
        ({"neighbours": 1}, "neighbours=1, min_distance=0.1: expected 2 at least"),
        ({"min_distance": 2.0}, "min_distance=2.0"),
    ],
)
def test_settings_that_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        project(blobs(5, 5)[0], **arguments)


def test_no_rows_and_no_umap(monkeypatch):
    with pytest.raises(InputError, match="no factors to project"):
        project(np.zeros((0, 3)))
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InputError, match=r"pip install \"avocado-imputation\[latent\]\", or method=pca"):
        project(blobs(5, 5)[0])


def test_groups_that_are_blobs_are_recovered():
    rows, of = blobs(6, 5, 4)
    found = recovery(distances(rows), of)
    assert (found.rows, found.groups, found.neighbours, found.rand, found.accuracy) == (15, 3, 3, 1.0, 1.0)
    assert found.rand_by_chance < 0.5
    assert found.accuracy_by_chance < 0.9


def test_groups_that_have_nothing_to_do_with_distances_are_not():
    rng = np.random.default_rng(1)
    of = rng.permutation(np.repeat(["a", "b", "c"], 40))
    found = recovery(distances(rng.normal(size=(120, 4))), of)
    assert abs(found.rand) < 0.05
    assert found.accuracy < 0.5
    assert 1 / 3 < found.accuracy_by_chance < 0.5


def test_rows_without_a_relative_are_left_out():
    rows, of = blobs(4, 1, 4, 1)
    found = recovery(distances(rows), of)
    assert (found.rows, found.groups, found.rand, found.accuracy) == (8, 2, 1.0, 1.0)
    assert recovery(distances(rows), ["one"] * 9 + ["other"]) is None


def test_of_groups_of_two_one_neighbour_votes():
    rows, of = blobs(2, 2, 5)
    found = recovery(distances(rows), of)
    assert (found.neighbours, found.rand, found.accuracy) == (1, 1.0, 1.0)


def test_neighbours_vote_and_the_nearest_decides():
    groups = np.array(["a", "b", "b", "a", "c"])
    assert neighbour_accuracy(np.array([[1, 2, 3]] * 5), groups) == 2 / 5  # b for all
    assert neighbour_accuracy(np.array([[3, 1, 4]] * 5), groups) == 2 / 5  # a, b and c: the nearest
    assert neighbour_accuracy(np.array([[4, 1, 2]] * 5), groups) == 2 / 5  # two bs outvote a nearer c


def test_nearest_are_others():
    line = np.array([[0.0], [1], [3], [7]])
    for rows, options in ((line, {}), (distances(line), {"precomputed": True})):
        assert nearest(rows, 2, **options).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert nearest(line, 10).shape == (4, 3)
    assert NEAREST == 3


def test_a_tree_joins_the_closest_first():
    joined = tree(distances(np.array([[0.0], [10], [1], [12]])))
    assert set(joined[0, :2]) == {0, 2}
    assert set(joined[1, :2]) == {1, 3}
    np.testing.assert_allclose(joined[:, 2], [1, 2, 10.5])  # average linkage


def test_parts_of_a_projection():
    rows, of = blobs(10, 6, 8)
    parts = parted(rows, 3)
    assert [len(set(parts[[its == name for its in of]])) for name in dict.fromkeys(of)] == [1, 1, 1]
    with pytest.raises(InputError, match="clusters=30: there are 24 rows"):
        parted(rows, 30)
