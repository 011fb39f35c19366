import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from toy_figures import drawn

from avocado.evaluation.relationships import BODY, PROMOTER, Mark, Relationship, compare_relationships, summarise
from avocado.evaluation.scores import AVERAGE
from avocado.evaluation.significance import compare_methods
from avocado.evaluation.variable_loci import THRESHOLDED, variable_loci
from avocado.plotting.figures import plot_comparisons, plot_relationships, plot_variable_loci
from avocado.plotting.plots import COLORS, MUTED


def captions(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def loci_table(n_cells=5, called=True):
    random = np.random.default_rng(0)
    place = random.gamma(0.6, 2, 400)
    tracks = [(f"E{cell}", assay) for assay in ("DNase", "H3K4me3") for cell in range(n_cells)]
    observed = {track: np.arcsinh(place * random.gamma(1, 1, 400)) for track in tracks}
    methods = {name: {t: o * 0.8 + 0.1 for t, o in observed.items()} for name in ("Avocado", AVERAGE)}
    peaks = {track: signal > 1.2 for track, signal in observed.items()} if called else None
    return variable_loci(observed, methods, peaks)


def test_variable_loci_draws_three_panels_per_assay():
    table = loci_table()
    figure = drawn(plot_variable_loci(table))
    assert len(figure.axes) == 6
    assert captions(figure) == [AVERAGE, "Avocado", "experiment"]
    assert [ax.get_title(loc="left") for ax in figure.axes[::3]] == ["DNase, 5 cell types", "H3K4me3, 5 cell types"]
    assert [len(ax.lines) for ax in figure.axes[:3]] == [2, 3, 3], "no MSE of the experiment"
    expected = table[(table["assay"] == "H3K4me3") & (table["method"] == "Avocado")]
    for ax, measure in zip(figure.axes[3:], ("mse", "precision", "recall"), strict=True):
        (line,) = [line for line in ax.lines if line.get_color() == COLORS["Avocado"]]
        np.testing.assert_array_equal(line.get_xdata(), expected["k"])
        np.testing.assert_array_equal(line.get_ydata(), expected[measure])
    assert MUTED in {line.get_color() for line in figure.axes[1].lines}


def test_variable_loci_says_what_a_peak_is():
    figure = drawn(plot_variable_loci(loci_table(called=False)))
    assert captions(figure) == [AVERAGE, "Avocado"]
    assert THRESHOLDED in {text.get_text().removeprefix("peaks from ") for text in figure.texts}


def test_variable_loci_of_one_cell_type_and_of_none():
    drawn(plot_variable_loci(loci_table(n_cells=1)))
    with pytest.raises(ValueError, match="empty"):
        plot_variable_loci(loci_table().iloc[:0])


def relationship_summary(cells=("E1", "E2", "E3")):
    random = np.random.default_rng(0)
    marks = Mark("H3K4me3", PROMOTER), Mark("H3K36me3", BODY)
    values = {(cell, mark): random.gamma(1, 1, 30) for cell in cells for mark in marks}
    noise = {AVERAGE: 0.5, "Avocado": 0.2}
    methods = {name: {k: v + random.normal(0, n, 30) for k, v in values.items()} for name, n in noise.items()}
    kinds = [Relationship("difference", marks), Relationship("product", marks)]
    return summarise(compare_relationships(values, methods, kinds).table)


def test_relationships_draws_bars_and_intervals():
    summary = relationship_summary()
    figure = drawn(plot_relationships(summary))
    errors, correlations = figure.axes
    assert captions(figure) == [AVERAGE, "Avocado", "95 % interval over cell types"]
    assert [tick.get_text() for tick in errors.get_yticklabels()] == [
        "H3K4me3 promoter − H3K36me3 gene body\n3 cell types",
        "H3K4me3 promoter × H3K36me3 gene body\n3 cell types",
    ]
    assert (len(errors.patches), len(correlations.patches)) == (4, 2)
    assert [text.get_text() for text in correlations.texts] == ["a product has no correlation"]
    row = summary[(summary["method"] == "Avocado") & (summary["measure"] == "correlation_error")].squeeze(axis=0)
    assert to_hex(correlations.patches[1].get_facecolor()) == COLORS["Avocado"]
    assert correlations.patches[1].get_width() == row["mean"]
    assert correlations.lines[1].get_xdata().tolist() == [row["low"], row["high"]]


def test_relationships_of_one_cell_type_and_of_none():
    figure = drawn(plot_relationships(relationship_summary(["E1"])))
    assert figure.axes[0].get_yticklabels()[0].get_text().endswith("\n1 cell type")
    with pytest.raises(ValueError, match="empty"):
        plot_relationships(relationship_summary().iloc[:0])


def comparisons(n_tracks=12, measures=("mse", "mse_1obs", "mse_1imp", "pearson"), **options):
    random = np.random.default_rng(0)
    rows = []
    for number in range(n_tracks):
        for method, shift in ((AVERAGE, 0), ("Avocado", -0.1), ("PREDICTD", 0.001)):
            scores = {name: 0.5 + shift + random.normal(0, 0.02) for name in measures}
            rows.append({"cell": f"E{number % 4}", "assay": f"A{number}", "method": method, **scores})
    return compare_methods(pd.DataFrame(rows), measures, AVERAGE, **options)


def test_comparisons_is_a_forest():
    table = comparisons()
    figure = drawn(plot_comparisons(table))
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == ["MSE", "MSE1obs", "MSE1imp", "Pearson"]
    assert [ax.get_xlabel() for ax in shown] == ["← lower is better"] * 3 + ["higher is better →"]
    assert [tick.get_text() for tick in shown[0].get_yticklabels()] == ["Avocado", "PREDICTD"]
    row = table[(table["measure"] == "mse") & (table["method"] == "Avocado")].squeeze(axis=0)
    zero, interval, dot, _, other = shown[0].lines
    assert zero.get_xdata() == [0, 0]
    assert interval.get_xdata().tolist() == [row["low"], row["high"]]
    assert dot.get_xdata().tolist() == [row["difference"]]
    assert dot.get_markerfacecolor() == COLORS["Avocado"], "its interval is clear of 0"
    assert other.get_markerfacecolor() == "white"
    assert shown[0].texts[0].get_text() == (
        f"wins 12 of 12, t test p {row['p_t_holm']:.2g}, Wilcoxon p {row['p_wilcoxon_holm']:.2g}"
    )
    assert "average activity" in figure.get_suptitle()


def test_comparisons_of_few_or_no_tracks():
    figure = drawn(plot_comparisons(comparisons(n_tracks=3, measures=["mse"])))
    assert figure.axes[0].texts[0].get_text().endswith(", few")
    assert figure.axes[0].lines[2].get_markerfacecolor() == "white", "three tracks show nothing"
    drawn(plot_comparisons(comparisons(n_tracks=1, measures=["mse"])))
    assert "over cell types" in drawn(plot_comparisons(comparisons(measures=["mse"], unit="cell"))).get_suptitle()
    table = pd.DataFrame(
        [("E1", "A", AVERAGE, np.nan), ("E1", "A", "ours", 0.1)], columns=["cell", "assay", "method", "mse"]
    )
    figure = drawn(plot_comparisons(compare_methods(table, "mse", AVERAGE)))
    assert figure.axes[0].texts[0].get_text() == "wins no tracks, few"


def test_comparisons_need_one_reference():
    table = comparisons()
    with pytest.raises(ValueError, match="one reference"):
        plot_comparisons(table.iloc[:0])
    with pytest.raises(ValueError, match="one reference"):
        plot_comparisons(pd.concat([table, table.assign(reference="PREDICTD")]))


def test_figures_do_not_touch_pyplot():
    code = "import sys, avocado.plotting.figures; sys.exit(bool({'matplotlib.pyplot', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
