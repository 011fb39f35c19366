import subprocess
import sys

import numpy as np
import pytest
from toy_figures import drawn

from avocado.evaluation.scores import AVERAGE, score_table
from avocado.plotting.plots import (
    MAX_POINTS,
    peak_window,
    plot_factors,
    plot_learning_curve,
    plot_scores,
    plot_tracks,
)
from avocado.plotting.style import (
    COLORS,
    DARK_PAPER,
    MARKERS,
    OTHER_COLORS,
    OTHER_MARKERS,
    PAPER,
    SHAPES,
    contrast,
    on_dark,
)


def scores(n_tracks, methods=("Avocado", AVERAGE)):
    rng = np.random.default_rng(0)
    observed = {(f"E{i}", f"A{i % 3}"): rng.gamma(1, 1, 50) for i in range(n_tracks)}
    imputed = {m: {k: v + rng.normal(0, 0.3, 50) for k, v in observed.items()} for m in methods}
    return score_table(observed, imputed)


def test_plot_tracks_shares_the_height_within_an_experiment():
    ramp = np.linspace(0, 5, 400)
    experiments = {
        "E003 H3K4me3": {"observed": ramp, "Avocado": ramp / 2, AVERAGE: ramp / 4},
        "E017 DNase": {"observed": ramp / 10, "ensemble": -ramp / 100},
    }
    figure = drawn(plot_tracks(experiments, "chr20", 1_000_000))
    limits = [ax.get_ylim() for ax in figure.axes]
    assert limits[0] == limits[1] == limits[2] == (0, pytest.approx(5.5))
    assert limits[3] == limits[4] == (0, pytest.approx(0.55))
    assert all(ax.get_xlim() == pytest.approx((1.0, 1.01)) for ax in figure.axes)
    assert figure.axes[-1].get_xlabel() == "chr20 position (Mb)"
    words = {text.get_text() for text in figure.texts}
    assert words == {"chr20:1,000,000–1,010,000", "height: arcsinh(−log₁₀ p)"}
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["E003 H3K4me3", "", "", "E017 DNase", ""]


def test_plot_tracks_keeps_every_peak_of_a_long_region():
    signal = np.zeros(10 * MAX_POINTS + 3)
    signal[12_345] = 4
    figure = drawn(plot_tracks({"E1 DNase": {"observed": signal}}, "chr1", 0, title="one peak"))
    vertices = figure.axes[0].collections[0].get_paths()[0].vertices
    assert len(vertices) < 5 * MAX_POINTS
    peak = vertices[vertices[:, 1] == 4, 0]
    assert peak.min() <= 12_345 * 25 / 1e6 <= peak.max()


def test_plot_tracks_of_a_silent_region():
    drawn(plot_tracks({"E1 DNase": {"observed": np.zeros(10)}}, "chr1", 0))


def test_plot_tracks_refuses_what_it_cannot_draw():
    for wrong in ({}, {"E1": {}}, {"E1": {"observed": np.zeros(0)}}, {"E1": {"a": np.zeros(3), "b": np.zeros(4)}}):
        with pytest.raises(ValueError, match="signals of one length"):
            plot_tracks(wrong, "chr1", 0)


def test_peak_window_finds_the_peaks():
    signal = np.full((1000, 2), 0.1)
    signal[100:900:100, 0] = 3  # sparse peaks everywhere
    signal[402:440:4] = 3  # and many in both tracks here
    window = peak_window(signal, 40)
    assert window.stop - window.start == 40
    assert window.start <= 402 < 438 < window.stop
    assert peak_window(signal[:, 0], 40).start in range(399, 403)


def test_peak_window_wider_than_the_signal_or_silent():
    assert peak_window(np.arange(5.0), 10) == slice(0, 5)
    assert peak_window(np.zeros(50), 10) == slice(0, 10)


def test_plot_scores_shows_every_track_beside_average_activity():
    table = scores(4)
    figure = drawn(plot_scores(table))
    assert [ax.get_title() for ax in figure.axes] == ["MSE", "MSE1obs", "MSE1imp", "Pearson", "Spearman"]
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels == ["E0 A0", "E3 A0", "E1 A1", "E2 A2"]
    dots = {line.get_label(): line for line in figure.axes[0].lines if line.get_label() in COLORS}
    assert set(dots) == {AVERAGE, "Avocado"}
    expected = table[(table["method"] == "Avocado") & (table["cell"] == "E3")]["mse"].item()
    assert dots["Avocado"].get_xdata()[1] == expected
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [AVERAGE, "Avocado", "mean over tracks"]


@pytest.mark.parametrize("n_tracks", [4, 60])
def test_no_method_hides_another_in_a_plot_of_scores(n_tracks):
    methods = ["Avocado", AVERAGE, *(f"m{number}" for number in range(12))]
    table = scores(n_tracks, methods)
    table["mse"] = 0.5  # all of them at one place
    figure = drawn(plot_scores(table))
    dots = [line for line in figure.axes[0].lines if line.get_label() in methods]
    assert len(dots) == len(methods)
    assert len({(line.get_marker(), line.get_color()) for line in dots}) == len(methods)
    assert len({line.get_marker() for line in dots}) == 13
    heights = np.sort(np.concatenate([np.unique(line.get_ydata()) for line in dots]))
    points = figure.axes[0].transData.transform(np.column_stack([heights * 0 + 0.5, heights]))[:, 1]
    assert np.abs(np.diff(points)).min() * 72 / figure.dpi > 0.8 * dots[0].get_markersize()


def test_every_colour_can_be_seen_on_white_and_on_dark():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for color in (*COLORS.values(), *OTHER_COLORS):
        assert contrast(color, PAPER) >= 3
        assert contrast(on_dark(color), DARK_PAPER) >= 3
    assert on_dark("#e69f00") == "#e69f00"
    assert on_dark("#332288") != "#332288"
    assert set(MARKERS.values()) | set(OTHER_MARKERS) == set(SHAPES)


def test_plot_scores_of_many_tracks_is_by_assay():
    figure = drawn(plot_scores(scores(60, ("PREDICTD", "Avocado", AVERAGE, "ensemble"))))
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["A0", "A1", "A2"]
    assert figure.get_size_inches()[1] < 4


def test_plot_scores_refuses_a_table_without_average_activity():
    table = scores(2)
    with pytest.raises(ValueError, match="average activity"):
        plot_scores(table[table["method"] == "Avocado"])


def test_learning_curve_marks_the_best_epoch():
    figure = drawn(plot_learning_curve([0.3, 0.2, 0.1], [0.4, np.nan, 0.2], average_activity=0.25))
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == ["0.2000 at epoch 3"]
    assert ax.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert ax.lines[1].get_xdata().tolist() == [1, 3]
    drawn(plot_learning_curve([0.3]))
    drawn(plot_learning_curve([0.3, 0.2], [np.nan, np.nan]))


def test_plots_do_not_touch_pyplot():
    code = "import sys, avocado.plotting.plots; sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_plot_factors_is_a_projection():
    # three cell types on a line, one of them far out; four assays at the corners of a rectangle, in three dimensions
    line = np.outer([0, 1, 5], [0.6, 0.8, 0, 0])
    corners = np.array([[0, 0, 0], [4, 0, 0], [0, 2, 0], [4, 2, 0]]) + 7
    figure = drawn(plot_factors({"cell types": (line, ["a", "b", "far"]), "assays": (corners, list("wxyz"))}))
    cells, assays = figure.axes
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["factors of cell types", "factors of assays"]
    places = np.column_stack(cells.lines[0].get_data())
    np.testing.assert_allclose(places, [[-2, 0], [-1, 0], [3, 0]], atol=1e-9)
    assert [text.get_text() for text in cells.texts] == ["a", "b", "far"]
    assert "100% of the variance" in cells.get_xlabel()
    places = np.abs(np.column_stack(assays.lines[0].get_data()))
    np.testing.assert_allclose(places, [[2, 1]] * 4, atol=1e-9)
    assert "80% of the variance" in assays.get_xlabel()
    assert "20%" in assays.get_ylabel()


@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (2, 5), (50, 4)])
def test_plot_factors_of_few_and_many(shape):
    factors = np.random.default_rng(0).normal(size=shape)
    figure = drawn(plot_factors({"cell types": (factors, [f"E{i}" for i in range(shape[0])])}))
    assert len(figure.axes[0].texts) == shape[0]
    drawn(plot_factors({"assays": (np.zeros(shape), ["same"] * shape[0])}))


def test_plot_factors_shows_groups():
    factors = np.random.default_rng(0).normal(size=(4, 3))
    groups = {"cell types": ("lineage", ["blood", "stem", "blood", "gut"])}
    figure = drawn(plot_factors({"cell types": (factors, list("abcd")), "assays": (factors, list("wxyz"))}, groups))
    cells, assays = figure.axes
    legend = cells.get_legend()
    assert legend.get_title().get_text() == "lineage"
    assert [text.get_text() for text in legend.get_texts()] == ["blood", "stem", "gut"]
    assert [len(line.get_xdata()) for line in cells.lines] == [2, 1, 1]
    assert len({(line.get_color(), line.get_marker()) for line in cells.lines}) == 3
    assert assays.get_legend() is None
    assert len(assays.lines) == 1


def test_plot_factors_of_nothing():
    with pytest.raises(ValueError, match="at least one row"):
        plot_factors({})
