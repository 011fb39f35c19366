import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from avocado.errors import InputError
from avocado.evaluation.relationships import (
    BIVALENCY,
    BODY,
    PROMOTER,
    RELATIONSHIPS,
    Mark,
    Relationship,
    compare_relationships,
    gene_values,
    join_regions,
    summarise,
    whole_windows,
    window_correlations,
    window_means,
)
from avocado.evaluation.scores import AVERAGE
from avocado.evaluation.significance import compare_methods

K4, K27, K36 = Mark("H3K4me3", PROMOTER), Mark("H3K27me3", PROMOTER), Mark("H3K36me3", BODY)
PAIR = Relationship("difference", (K4, K27))
ASSAYS = ("H3K4me3", "H3K27me3", "H3K36me3", "H3K4me1", "RNA-seq", "DNase")


def random_windows(random, n_bins, n_genes, length=None):
    start = random.integers(0, n_bins - 90, n_genes)
    end = start + (length or random.integers(1, 90, n_genes))
    return np.stack([start, end], axis=1)


def compendium(seed=0, n_bins=3000, n_genes=40, cells=("E1", "E2", "E3")):
    random = np.random.default_rng(seed)
    tracks = {(cell, assay): random.gamma(0.7, 1, n_bins).astype(np.float32) for cell in cells for assay in ASSAYS}
    promoters, bodies = random_windows(random, n_bins, n_genes, 81), random_windows(random, n_bins, n_genes)
    imputed = {
        name: {track: signal * np.float32(0.8) + random.gamma(1, noise, n_bins) for track, signal in tracks.items()}
        for name, noise in (("Avocado", 0.1), (AVERAGE, 0.5))
    }
    return tracks, imputed, promoters, bodies


def scored(seed=0, **options):
    tracks, imputed, promoters, bodies = compendium(seed, **options)
    values = {name: gene_values(made, promoters, bodies) for name, made in imputed.items()}
    return compare_relationships(gene_values(tracks, promoters, bodies), values)


def row(table, relationship, cell, method):
    chosen = (table["relationship"] == str(relationship)) & (table["cell"] == cell) & (table["method"] == method)
    return table[chosen].squeeze(axis=0)


def test_window_means():
    signal = np.array([1, 2, 3, 4, 5], dtype=np.float16)
    windows = np.array([[0, 5], [1, 3], [4, 5], [3, 3], [1, 3], [5, 5]])
    np.testing.assert_allclose(window_means(signal, windows), [3, 2.5, 5, np.nan, 2.5, np.nan])
    random = np.random.default_rng(0)
    long = random.gamma(0.5, 1, 1_000_000).astype(np.float32)
    windows = random_windows(random, len(long), 500)
    expected = [long[start:end].mean(dtype=np.float64) for start, end in windows]
    np.testing.assert_allclose(window_means(long, windows), expected, atol=1e-9)


def test_window_correlations():
    random = np.random.default_rng(0)
    first, second = random.gamma(0.5, 1, (2, 2000)).astype(np.float32)
    second += first
    first[100:200] = 0.1  # constant, in a value that no float sums exactly
    windows = np.concatenate([random_windows(random, 2000, 60, 81), [[110, 190], [7, 7], [5, 6], [1950, 2000]]])
    found = window_correlations(first, second, windows)
    for (start, end), value in zip(windows, found, strict=True):
        if end - start < 2 or np.ptp(first[start:end]) == 0:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(np.corrcoef(first[start:end], second[start:end])[0, 1], abs=1e-6)
    assert np.isnan(found[-4:-1]).all()
    assert np.isfinite(found).sum() > 50
    assert np.isnan(window_correlations(first, second, np.array([[3, 3]]))).all()


def test_small_variance_on_a_high_level():
    bins = np.arange(20)
    signal = 1000 + 1e-7 * bins
    windows = np.array([[0, 20]])
    assert window_correlations(signal, -signal, windows) == pytest.approx(-1)


def test_known_answer():
    """Two genes of two promoter bins; the difference is right where both means are wrong by the same amount."""
    promoters, bodies = np.array([[0, 2], [2, 4], [4, 6]]), np.array([[0, 3], [3, 6], [0, 6]])
    observed = {
        ("E1", "H3K4me3"): np.array([3.0, 1, 0, 2, 1, 1]),
        ("E1", "H3K27me3"): np.array([0.0, 2, 1, 3, 1, 3]),
    }
    shrunk = {track: signal - 0.5 for track, signal in observed.items()}
    wrong = {**observed, ("E1", "H3K4me3"): np.array([1.0, 1, 2, 2, 1, 1])}
    truth, *imputed = (gene_values(t, promoters, bodies) for t in (observed, shrunk, wrong))
    np.testing.assert_allclose(truth["E1", K4], [2, 1, 1])
    np.testing.assert_allclose(truth["E1", K27], [1, 2, 2])
    # promoter by promoter: correlation −1 × the lower mean 1; 1 × 1; a constant signal
    np.testing.assert_allclose(truth["E1", BIVALENCY], [-1, 1, np.nan])
    methods = {AVERAGE: imputed[0], "wrong": imputed[1]}
    table = compare_relationships(truth, methods, [PAIR]).table
    assert row(table, PAIR, "E1", AVERAGE)[["error", "correlation_error"]].tolist() == pytest.approx([0, 0], abs=1e-12)
    # observed differences 1, −1, −1; with H3K4me3 means of 1, 2, 1 they are 0, 0, −1
    assert row(table, PAIR, "E1", "wrong")["error"] == pytest.approx(2 / 3)
    assert row(table, PAIR, "E1", "wrong")["observed_correlation"] == pytest.approx(-1)
    assert row(table, PAIR, "E1", "wrong")["imputed_correlation"] == pytest.approx(0.5)
    assert row(table, PAIR, "E1", "wrong")["correlation_error"] == pytest.approx(1.5)


@pytest.mark.parametrize("seed", range(2))
def test_agrees_with_the_definition(seed):
    tracks, imputed, promoters, bodies = compendium(seed)
    table = scored(seed).table

    def mean(source, cell, mark, gene):
        start, end = (promoters if mark.window == PROMOTER else bodies)[gene]
        return float(np.mean(source[cell, mark.assay][start:end], dtype=np.float64))

    def value(source, cell, relationship, gene):
        if relationship.kind == "difference":
            first, second = relationship.marks
            return mean(source, cell, first, gene) - mean(source, cell, second, gene)
        start, end = promoters[gene]
        bins = [source[cell, mark.assay][start:end].astype(float) for mark in (K4, K27)]
        bivalency = np.corrcoef(*bins)[0, 1] * min(mean(source, cell, mark, gene) for mark in (K4, K27))
        return bivalency * (mean(source, cell, K36, gene) if len(relationship.marks) == 2 else 1)

    for relationship in RELATIONSHIPS:
        for cell in ("E1", "E3"):
            for name, source in imputed.items():
                found = row(table, relationship, cell, name)
                errors = [
                    abs(value(tracks, cell, relationship, g) - value(source, cell, relationship, g)) for g in range(40)
                ]
                assert found["error"] == pytest.approx(np.mean(errors))
                assert found["n_genes"] == 40
                if relationship.kind == "difference":
                    marks = [[mean(source, cell, mark, g) for g in range(40)] for mark in relationship.marks]
                    assert found["imputed_correlation"] == pytest.approx(np.corrcoef(*marks)[0, 1])
                else:
                    assert np.isnan(found["correlation_error"])


def test_all_of_the_papers_relationships():
    result = scored()
    assert result.left_out == {}
    assert result.table["relationship"].unique().tolist() == [
        "H3K36me3 gene body − RNA-seq gene body",
        "H3K4me3 promoter − H3K27me3 promoter",
        "H3K4me3 promoter − H3K36me3 gene body",
        "H3K27me3 promoter − H3K36me3 gene body",
        "H3K27me3 promoter − H3K4me1 promoter",
        "bivalency promoter",
        "bivalency promoter × H3K36me3 gene body",
    ]
    assert len(result.table) == 7 * 3 * 2


def without(tracks, *left_out):
    return {track: signal for track, signal in tracks.items() if track not in left_out and track[1] not in left_out}


def test_only_cell_types_with_both_tracks_everywhere():
    tracks, imputed, promoters, bodies = compendium()
    imputed["Avocado"] = without(imputed["Avocado"], ("E1", "H3K4me3"))
    observed = without(tracks, ("E2", "H3K27me3"), "RNA-seq")
    values = {name: gene_values(made, promoters, bodies) for name, made in imputed.items()}
    result = compare_relationships(gene_values(observed, promoters, bodies), values)
    cells = result.table.groupby("relationship")["cell"].unique().map(list)
    assert cells[str(PAIR)] == ["E3"]
    assert cells["H3K27me3 promoter − H3K36me3 gene body"] == ["E1", "E3"]
    assert cells["bivalency promoter"] == ["E3"]
    assert result.left_out == {
        "H3K36me3 gene body − RNA-seq gene body": "RNA-seq gene body: observed in no cell type",
    }


def test_what_is_left_out_says_why():
    tracks, imputed, promoters, bodies = compendium()
    observed = gene_values(tracks, promoters, bodies)
    both = {name: gene_values(made, promoters, bodies) for name, made in imputed.items()}
    lacking = both | {"Avocado": gene_values(without(imputed["Avocado"], "H3K27me3"), promoters, bodies)}
    assert compare_relationships(observed, lacking, [PAIR]).left_out == {
        str(PAIR): "H3K27me3 promoter: imputed by Avocado in no cell type"
    }
    parted = without(imputed["Avocado"], ("E1", "H3K27me3"), ("E2", "H3K4me3"), ("E3", "H3K4me3"))
    result = compare_relationships(observed, both | {"Avocado": gene_values(parted, promoters, bodies)}, [PAIR])
    assert "no cell type has all" in result.left_out[str(PAIR)]
    assert result.table.empty
    assert "correlation_error" in result.table
    empty = np.zeros_like(promoters)
    nothing = gene_values(tracks, empty, bodies)
    assert "no gene" in compare_relationships(nothing, {AVERAGE: nothing}, [PAIR]).left_out[str(PAIR)]


def test_genes_without_a_value_count_for_no_method():
    tracks, imputed, promoters, bodies = compendium()
    promoters[3] = 0  # no promoter
    start, end = promoters[5]
    imputed["Avocado"]["E2", "H3K4me3"][start:end] = 0.3  # no correlation within it
    values = {name: gene_values(made, promoters, bodies) for name, made in imputed.items()}
    table = compare_relationships(gene_values(tracks, promoters, bodies), values).table
    assert row(table, PAIR, "E2", AVERAGE)["n_genes"] == 39
    for cell, n_genes in (("E1", 39), ("E2", 38)):
        for method in imputed:
            assert row(table, "bivalency promoter", cell, method)["n_genes"] == n_genes
    assert np.isfinite(table["error"]).all()


def test_summary_is_the_mean_over_genes_and_cell_types():
    table = scored().table
    table.loc[(table["cell"] == "E1") & (table["relationship"] == str(PAIR)), "n_genes"] = 80
    summary = summarise(table).set_index(["relationship", "method", "measure"])
    rows = table[(table["relationship"] == str(PAIR)) & (table["method"] == AVERAGE)]
    line = summary.loc[(str(PAIR), AVERAGE, "error")]
    assert line["mean"] == pytest.approx(np.average(rows["error"], weights=[80, 40, 40]))
    assert rows["error"].min() - 1e-9 < line["low"] < line["mean"] < line["high"] < rows["error"].max() + 1e-9
    line = summary.loc[(str(PAIR), AVERAGE, "correlation_error")]
    assert line["mean"] == pytest.approx(rows["correlation_error"].mean())
    assert line["n_cells"] == 3
    assert ("bivalency promoter", AVERAGE, "correlation_error") not in summary.index
    pd.testing.assert_frame_equal(summarise(table), summarise(table))
    assert summarise(table[table["cell"] == "E1"])[["low", "high"]].isna().all(axis=None)


def test_rows_are_scores_that_significance_can_compare():
    table = scored(cells=[f"E{i}" for i in range(8)]).table
    pairs = table[table["relationship"] == str(PAIR)].assign(assay=str(PAIR))
    comparison = compare_methods(pairs, ["error", "correlation_error"], AVERAGE)
    assert comparison["n_tracks"].tolist() == [8, 8]
    assert comparison["won"].iloc[0] == 1


def test_regions_are_joined():
    tracks, _, promoters, bodies = compendium()
    whole = gene_values(tracks, promoters, bodies)
    parts = [gene_values(tracks, promoters[p], bodies[p]) for p in (slice(0, 15), slice(15, None))]
    joined = join_regions(parts)
    assert set(joined) == set(whole)
    for key, values in whole.items():
        np.testing.assert_array_equal(joined[key], values)
    with pytest.raises(InputError, match="different tracks"):
        join_regions([whole, gene_values(without(tracks, "DNase", "H3K4me1"), promoters, bodies)])


def test_whole_windows():
    bins = np.array([[100, 110], [100, 110], [300, 305], [900, 999]])
    # the first is whole, the second is cut in two, the third is cut at its end, the last is elsewhere
    ranks, source = np.array([[0, 10], [0, 6], [20, 24], [7, 10]]), np.array([0, 1, 1, 2])
    assert whole_windows(bins, ranks, source).tolist() == [[0, 10], [0, 0], [0, 0], [0, 0]]
    assert whole_windows(bins, ranks[:0], source[:0]).tolist() == [[0, 0]] * 4


class Counting(Mapping):
    def __init__(self, tracks):
        self.tracks, self.asked = tracks, []

    def __getitem__(self, track):
        self.asked.append(track)
        return self.tracks[track]

    def __iter__(self):
        return iter(self.tracks)

    def __len__(self):
        return len(self.tracks)


def test_each_track_is_asked_for_once_and_others_never():
    tracks, _, promoters, bodies = compendium()
    counting = Counting(tracks)
    gene_values(counting, promoters, bodies)
    assert sorted(counting.asked) == sorted(without(tracks, "DNase"))


def test_refuses_what_does_not_fit():
    tracks, _, promoters, bodies = compendium()
    values = gene_values(tracks, promoters, bodies)
    with pytest.raises(ValueError, match="must include 'average activity'"):
        compare_relationships(values, {"Avocado": values})
    with pytest.raises(ValueError, match="one of each per gene"):
        gene_values(tracks, promoters[1:], bodies)
    with pytest.raises(ValueError, match="different numbers of genes"):
        compare_relationships(values, {AVERAGE: gene_values(tracks, promoters[1:], bodies[1:])})
    for wrong in ([[0, 3001]], [[-1, 4]], [[5, 4]]):
        with pytest.raises(ValueError, match="ranks"):
            window_means(np.zeros(3000), np.array(wrong))
    with pytest.raises(ValueError, match="int"):
        window_means(np.zeros(3000), np.array([[0.0, 1.0]]))
    with pytest.raises(ValueError, match="NaN"):
        window_means(np.array([0, np.nan, 1]), np.array([[2, 3]]))


def test_import_is_light():
    code = (
        "import sys, avocado.evaluation.relationships; sys.exit('scipy.stats' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
