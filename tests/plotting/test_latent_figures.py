"""Pictures of the latent representation are drawn, with the text that belongs to them."""

import numpy as np
import pandas as pd
import pytest
from toy_figures import drawn

from avocado.latent.projections import distances, project
from avocado.plotting.latent import (
    Panel,
    group_colors,
    plot_attribution,
    plot_profiles,
    plot_projections,
    plot_stratified,
    plot_trees,
)

RANDOM = np.random.default_rng(0)


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda its: hasattr(its, "get_text"))).replace("\n", " ")


@pytest.mark.parametrize("n", [5, 30, 500])
def test_projections(n):
    rows = RANDOM.normal(size=(n, 4))
    groups = [f"group{i % 9}" for i in range(n)]
    names = [f"E{i:03}" for i in range(n)] if n < 100 else []
    panel = Panel("cell types", project(rows, "pca"), groups, "Recovered: 0.5", names, {"group1": "#123456"})
    figure = drawn(plot_projections([panel, panel]))
    assert "Principal components. Recovered: 0.5" in texts(figure)
    assert ("E003" in texts(figure)) == (n < 100)
    with pytest.raises(ValueError, match="a projection at least"):
        plot_projections([])


def test_colours_of_groups():
    found = group_colors(["a", "b", "a", "c"], {"b": "#00ff00"})
    assert found["b"] == "#00ff00"
    assert len({found[name] for name in "abc"}) == 3


def test_trees_are_in_the_order_of_their_leaves():
    apart = distances(np.array([[0.0], [10], [1], [12]]))
    figure = drawn(plot_trees({"factors": (apart, "one"), "observed": (apart, "two")}, list("abcd"), list("xyxy")))
    labels = [[tick.get_text() for tick in ax.get_yticklabels()] for part in figure.subfigs for ax in part.axes]
    shown = [its for its in labels if len(its) == 4 and "a" in its]
    assert len(shown) == 2
    for its in shown:
        assert {*its[:2]} in ({"a", "c"}, {"b", "d"})


def test_profiles():
    means = {name: {"promoter (3)": RANDOM.random((161, 2)), "enhancer (2)": RANDOM.random((161, 2))} for name in "AB"}
    figure = drawn(plot_profiles(means, ["H3K4me3", "H3K27ac"], 2000, "from 5 tracks"))
    assert "A: promoter (3)" in texts(figure)


def test_attribution_has_a_row_for_each_part():
    rows = {name: RANDOM.normal(size=400) for name in ("imputed", "cell", "assay", "25bp", "250bp", "5kbp")}
    figure = drawn(plot_attribution({"a X": {"observed": RANDOM.random(400), **rows}, "b X": rows}, "chr1", 5000, "it"))
    assert len(figure.axes) == 14
    for text in ("cell type", "250 bp", "observed", "b X"):
        assert text in texts(figure)
    with pytest.raises(ValueError, match="a track at least"):
        plot_attribution({}, "chr1", 0, "")


def test_stratified():
    table = pd.DataFrame(
        [("X", k, 3, peak, 5, part, 0.1 * k) for k in range(4) for peak in (True, False) for part in ("cell", "5kbp")],
        columns=["assay", "k", "n_cells", "peak", "n", "part", "mean"],
    )
    flat = table[table["k"] == 0].assign(assay="without a peak")
    figure = drawn(plot_stratified(pd.concat([table, flat]), "of 3 tracks"))
    assert "without a peak" not in [ax.get_ylabel() for ax in figure.axes]
    assert "of 3 tracks" in texts(figure)
    with pytest.raises(ValueError, match="there is no peak"):
        plot_stratified(table.iloc[:0], "")
