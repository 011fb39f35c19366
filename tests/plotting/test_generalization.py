import numpy as np
import pandas as pd
import pytest
from toy_figures import drawn

from avocado.evaluation.scores import AVERAGE
from avocado.plotting.generalization import plot_groups, plot_numbers, plot_single_cells, plot_sizes

SCHEMES = ["cross-chromosome", "cross-cell-type", "hybrid"]
LINES = pd.DataFrame({"predictor": [AVERAGE, "base rate"], "ap": [0.9, 0.5]})


def models(inputs=("noise", "epigenome"), seeds=2):
    rows = [
        (scheme, name, size, seed, 0.5 + 0.1 * seed, "network")
        for scheme in SCHEMES for name in inputs for size in (10, 100) for seed in range(seeds)
    ]  # fmt: skip
    columns = ["scheme", "inputs", "size", "seed", "ap", "model"]
    return pd.DataFrame(rows, columns=columns).assign(layers=None, task="expression", target="E116")


def test_a_panel_for_each_scheme_with_a_dot_for_each_model():
    figure = drawn(plot_sizes(models(), LINES))
    assert [ax.get_title() for ax in figure.axes] == SCHEMES
    assert {len(dots.get_offsets()) for ax in figure.axes for dots in ax.collections} == {4}
    means = [line.get_ydata() for line in figure.axes[0].lines[:2]]
    np.testing.assert_allclose(means, 0.55)
    assert {ax.get_xlabel() for ax in figure.axes} == {"parameters"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["epigenome", "noise", AVERAGE, "base rate"]


def test_an_input_has_one_colour_whatever_came_first():
    colors = [
        {line.get_label(): line.get_color() for line in plot_sizes(models(names), LINES).legends[0].legend_handles}
        for names in (("noise", "epigenome"), ("epigenome", "noise"))
    ]
    assert colors[0] == colors[1]


def test_groups_and_numbers_have_a_line_for_each_predictor():
    groups = pd.DataFrame(
        [
            (group, 40, 0.3, name, 0.5, 0.4, 0.6)
            for group in ("all that vary", "high in none", "in all") for name in (AVERAGE, "model")
        ],
        columns=["group", "examples", "base_rate", "predictor", "value", "low", "high"],
    )  # fmt: skip
    figure = drawn(plot_groups(groups, "average precision"))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["base rate", AVERAGE, "model"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [
        "all that vary\n40", "high in none\n40", "in all\n40",
    ]  # fmt: skip
    numbers = groups.rename(columns={"value": "ap"}).assign(number=[0, 0, 1, 1, 2, 2])
    assert len(drawn(plot_numbers(numbers)).axes[0].lines) == 3


def test_single_cells_stand_below_the_average_of_all():
    table = pd.DataFrame({"cell": ["A", "B", f"{AVERAGE} of all", "base rate"], "ap": [0.8, 0.7, 0.95, 0.5]})
    ax = drawn(plot_single_cells(table, "C")).axes[0]
    assert [bar.get_height() for bar in ax.patches] == [0.8, 0.7]
    assert sorted(line.get_ydata()[0] for line in ax.lines) == [0.5, 0.95]


def test_networks_of_as_many_layers_are_joined():
    table = models(inputs=("noise",)).assign(model="network")
    table["layers"] = [1 + number % 2 for number in range(len(table))]
    figure = drawn(plot_sizes(table, LINES))
    joined = [line for line in figure.axes[0].lines if len(line.get_xdata()) and line.get_marker() == "None"]
    assert len(joined) == 2 + len(LINES)


def test_cell_types_are_named_as_far_as_they_differ():
    cells = ["H1_ESC_Dixon", "H1_neural_Dixon", "HUVEC_x_Lieberman", "average activity of all"]
    figure = drawn(plot_single_cells(pd.DataFrame({"cell": cells, "ap": [0.4, 0.3, 0.2, 0.5]}), "E003"))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["H1_ESC", "H1_neural", "HUVEC_x"]


@pytest.mark.parametrize("plot", [lambda t: plot_sizes(t, LINES), lambda t: plot_groups(t, "x"), plot_numbers])
def test_empty_tables_are_refused(plot):
    with pytest.raises(ValueError, match="the table is empty"):
        plot(pd.DataFrame())
