import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from avocado.errors import InputError
from avocado.evaluation.metrics import METRICS, AnnotationWindows, mse_1of, score_track
from avocado.evaluation.scores import (
    AVERAGE,
    combine_regions,
    format_scores,
    mean_rows,
    read_scores,
    score_table,
    stratified,
    track_rows,
    write_scores,
)
from avocado.model.scales import imputed_pval


@pytest.fixture
def table():
    observed = {("E1", "DNase"): np.array([0.0, 1, 2, 3]), ("E2", "[H2A.Z]"): np.array([0.0, 0, 4, 0])}
    average = {track: signal + 1 for track, signal in observed.items()}
    model = {("E1", "DNase"): observed["E1", "DNase"] + 0.5, ("E2", "[H2A.Z]"): observed["E2", "[H2A.Z]"] - 2}
    return score_table(observed, {"Avocado": model, AVERAGE: average})


def test_score_table_by_hand(table):
    assert table[["cell", "assay", "method"]].values.tolist() == [
        ["E1", "DNase", "Avocado"],
        ["E1", "DNase", AVERAGE],
        ["E2", "[H2A.Z]", "Avocado"],
        ["E2", "[H2A.Z]", AVERAGE],
        ["mean", "all", "Avocado"],
        ["mean", "all", AVERAGE],
    ]
    assert table["bins"].tolist() == [4] * 6
    assert table["mse"].tolist() == [0.25, 1, 4, 1, 2.125, 1]
    assert table["skill"].tolist() == [0.75, 0, -3, 0, -1.125, 0]
    assert table["pearson"].tolist() == pytest.approx([1] * 6)


def test_an_undefined_correlation_makes_the_mean_undefined():
    observed = {("E1", "A"): np.array([0.0, 1]), ("E2", "A"): np.array([0.0, 1])}
    flat = {("E1", "A"): np.array([0.0, 1]), ("E2", "A"): np.array([0.5, 0.5])}
    table = score_table(observed, {AVERAGE: observed, "flat": flat})
    mean = table[(table["cell"] == "mean")].set_index("method")
    assert mean.loc[AVERAGE, "pearson"] == 1
    assert math.isnan(mean.loc["flat", "pearson"])
    assert table["skill"].tolist() == [0, 0, 0, -math.inf, 0, -math.inf]


def test_no_scores_without_average_activity(table, tmp_path):
    observed = {("E1", "DNase"): np.arange(4.0)}
    with pytest.raises(ValueError, match="must include 'average activity'; got: Avocado"):
        score_table(observed, {"Avocado": observed})
    with pytest.raises(InputError, match="Avocado has not imputed E1 DNase"):
        score_table(observed, {"Avocado": {}, AVERAGE: observed})
    with pytest.raises(InputError, match="cannot score average activity on E1 DNase: 1 of 4 imputed"):
        score_table(observed, {AVERAGE: {("E1", "DNase"): np.array([0, 1, 2, np.nan])}})
    with pytest.raises(InputError, match="no tracks to score"):
        score_table({}, {AVERAGE: {}})
    for part in (table[table["method"] == "Avocado"], table.drop(index=3), table.iloc[:0]):
        with pytest.raises(ValueError, match=r"lack 'average activity'|empty table"):
            format_scores(part)
        with pytest.raises(ValueError, match=r"lack 'average activity'|empty table"):
            write_scores(part, tmp_path)
    assert not list(tmp_path.iterdir())


def test_formatted_scores(table):
    lines = format_scores(table).splitlines()
    titles = ["MSE", "MSE1obs", "MSE1imp", "Pearson", "Spearman", "raw MSE", "raw Pearson", "skill"]
    assert re.split(r"\s{2,}", lines[0].strip()) == ["track", "method", *titles]
    shown = "\n".join(lines)
    assert all(f"{title} = " in shown for title in ("MSE1imp", "skill", "raw"))
    first = lines.index(next(line for line in lines if "E1 DNase" in line))
    assert "average activity  1.0000" in lines[first]  # average activity comes first
    assert lines[first + 1].split()[:2] == ["Avocado", "0.2500"]
    assert lines[first + 1].endswith("▲ +0.750")
    assert any("E2 [H2A.Z]" in line for line in lines)
    assert any("mean of 2 tracks" in line for line in lines)
    assert sum("▼ -" in line for line in lines) == 2
    assert "\x1b" not in format_scores(table)
    assert "\x1b[32m▲ +0.750" in format_scores(table, color=True)


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_formatted_scores_fit_the_terminal(table, width):
    whole, text = format_scores(table), format_scores(table, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "▲ +0.750" in text
    titles = re.split(r"\s{2,}", text.splitlines()[0].strip())
    assert titles[:3] == ["track", "method", "MSE"]
    assert titles[-1] == "skill"
    every = re.split(r"\s{2,}", whole.splitlines()[0].strip())
    missing = [title for title in every if title not in titles]
    assert (width < len(whole.splitlines()[1])) == bool(missing)
    words = " ".join(text.split())
    assert ("no room for" in words) == bool(missing)
    assert all(title in words.partition("no room for")[2] for title in missing)


def test_scores_of_an_earlier_version_are_printed(table):
    text = format_scores(table.drop(columns=["mse_raw", "pearson_raw"]))
    assert "Spearman" in text
    assert "raw MSE" not in text


def test_raw_scores_are_of_minus_log10_p_as_it_is_written():
    p, other = np.array([0.0, 1, 10, 100]), np.array([0.0, 2, 10, 70])
    track = ("E1", "DNase")
    signal = {track: np.arcsinh(other)}
    kept = AnnotationWindows(kept=np.array([True, True, True, True]))
    methods = {AVERAGE: signal, "file": signal, "below 0": {track: p - 200}}
    scores = score_table({track: np.arcsinh(p)}, methods, kept, files=["file"]).set_index("method").iloc[:3]
    written = imputed_pval(np.arcsinh(other))  # of a mean in arcsinh space
    assert scores.loc[AVERAGE, "mse_raw"] == pytest.approx(np.mean((p - written) ** 2))
    assert scores.loc[AVERAGE, "pearson_raw"] == pytest.approx(np.corrcoef(p, written)[0, 1])
    assert scores.loc["file", "mse_raw"] == pytest.approx(901 / 4)
    assert scores.loc["file", "pearson_raw"] == pytest.approx(np.corrcoef(p, other)[0, 1])
    assert scores.loc["below 0", "mse_raw"] == pytest.approx(np.mean(p**2))
    assert math.isnan(scores.loc["below 0", "pearson_raw"])


def test_written_scores(table, tmp_path):
    table.loc[0, "pearson"] = np.nan
    write_scores(table, tmp_path / "scores")
    assert sorted(p.name for p in (tmp_path / "scores").iterdir()) == ["scores.csv", "scores.json"]
    read = pd.read_csv(tmp_path / "scores" / "scores.csv")
    pd.testing.assert_frame_equal(read, table, check_exact=True, check_dtype=False)
    rows = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert len(rows) == 6
    assert rows[0]["pearson"] is None
    numbers = table.loc[2, ["bins", *METRICS, "mse_raw", "pearson_raw", "mse_1avg", "skill"]]
    assert rows[2] == {"cell": "E2", "assay": "[H2A.Z]", "method": "Avocado", **numbers}


def test_read_scores_gives_back_names_and_gaps(tmp_path):
    observed = {("NA", "01"): np.arange(300.0)}
    flat = {("NA", "01"): np.ones(300)}
    table = score_table(
        observed, {AVERAGE: flat}, AnnotationWindows(promoters=np.array([[0, 3]]), genes=np.zeros((0, 2), int))
    )
    write_scores(table, tmp_path)
    read = read_scores(tmp_path)
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    assert read.loc[0, ["cell", "assay"]].tolist() == ["NA", "01"]
    assert read.loc[0, ["pearson", "mse_gene"]].isna().all()


@pytest.fixture
def signals():
    rng = np.random.default_rng(0)
    observed = {("E1", "A"): rng.random(400), ("E2", "A"): rng.random(400)}
    average = {track: signal + rng.normal(0, 0.3, 400) for track, signal in observed.items()}
    model = {track: signal + rng.normal(0, 0.2, 400) for track, signal in observed.items()}
    return observed, {AVERAGE: average, "Avocado": model}


def test_table_of_all_measures(signals):
    observed, methods = signals
    loci = {
        track: AnnotationWindows(genes=np.array([[0, 9]]), peaks=signal > 0.8) for track, signal in observed.items()
    }
    table = score_table(observed, methods, loci).set_index(["cell", "assay", "method"])
    for (cell, assay), signal in observed.items():
        for method in methods:
            row, imputed = table.loc[(cell, assay, method)], methods[method][cell, assay]
            for name, value in score_track(signal, imputed, loci[cell, assay]).items():
                assert row[name] == value
            assert row["mse_1avg"] == mse_1of(signal, imputed, methods[AVERAGE][cell, assay])
    assert "mse_prom" not in table
    header = format_scores(table.reset_index()).splitlines()[0].split()
    titles = ["MSE", "MSE1obs", "MSE1imp", "MSEGene", "Pearson", "Spearman", "raw", "MSE", "raw", "Pearson", "skill"]
    assert header[2:] == titles


def test_bins_left_out_are_left_out_of_every_column(signals):
    observed, methods = signals
    kept = np.arange(400) % 3 > 0
    table = score_table(observed, methods, AnnotationWindows(kept=kept))
    cut = {name: {t: x[kept] for t, x in imputed.items()} for name, imputed in methods.items()}
    pd.testing.assert_frame_equal(table, score_table({t: x[kept] for t, x in observed.items()}, cut))
    assert set(table["bins"]) == {int(kept.sum())}


def test_regions_are_combined_by_their_bins(signals):
    observed, methods = signals

    def part(bins, loci=None):
        cut = {name: {t: x[bins] for t, x in imputed.items()} for name, imputed in methods.items()}
        return score_table({t: x[bins] for t, x in observed.items()}, cut, loci)

    windows, none = np.array([[0, 9]]), np.zeros((0, 2), dtype=int)
    long, short = (
        part(slice(0, 300), AnnotationWindows(windows, windows)),
        part(slice(300, 400), AnnotationWindows(none, windows)),
    )
    combined, whole = combine_regions([long, short]), part(slice(0, 400))
    assert combined.columns.tolist() == long.columns.tolist()
    assert combined[["cell", "assay", "method"]].equals(long[["cell", "assay", "method"]])
    assert set(combined["bins"]) == {400}
    for measure in ("mse", "skill"):  # means over bins are those of all bins together
        assert combined[measure].to_numpy() == pytest.approx(whole[measure].to_numpy(), rel=1e-12)
    for measure in ("pearson", "mse_1obs", "mse_gene", "mse_1avg"):
        expected = 0.75 * long[measure] + 0.25 * short[measure]
        assert combined[measure].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-12)
    # the short region has no promoters and no say about them
    assert combined["mse_prom"].to_numpy() == pytest.approx(long["mse_prom"].to_numpy(), rel=1e-12)
    # but an undefined correlation is not hidden by the other regions
    short.loc[0, "pearson"] = np.nan
    assert np.isnan(combine_regions([long, short]).loc[0, "pearson"])
    with pytest.raises(InputError, match="different tracks, methods or measures"):
        combine_regions([long, part(slice(300, 400))])


def test_strata_by_hand():
    observed = {("E1", "A"): np.arange(12.0), ("E2", "A"): np.arange(12.0)}
    average = {track: signal + 1 for track, signal in observed.items()}
    model = {track: signal + np.arange(12) / 10 for track, signal in observed.items()}
    spread = {("E1", "A"): np.array([0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10.0]), ("E2", "A"): np.zeros(12)}
    table = stratified(observed, {"Avocado": model, AVERAGE: average}, spread, quantiles=(0.5,))
    assert table.groupby(["cell", "assay"], sort=False)["stratum"].unique().map(list).to_dict() == {
        ("E1", "A"): ["0", "0–50 %", "50–100 %"],
        ("E2", "A"): ["0"],
        ("mean", "all"): ["0", "0–50 %", "50–100 %"],
    }
    rows = table.set_index(["cell", "method", "stratum"])
    assert [rows.loc[("E1", "Avocado", name), "bins"] for name in ("0", "0–50 %", "50–100 %")] == [2, 5, 5]
    low, high = rows.loc[("E1", "Avocado", "0–50 %")], rows.loc[("E1", "Avocado", "50–100 %")]
    assert low["mse"] == pytest.approx(np.mean(np.arange(2, 7) ** 2) / 100)
    assert high["mse"] == pytest.approx(np.mean(np.arange(7, 12) ** 2) / 100)
    assert (low["variability"], high["variability"]) == (3, 8)
    assert high["skill"] == pytest.approx(1 - high["mse"])
    assert rows.loc[("E1", AVERAGE, "0"), "mse"] == 1
    # a mean over the tracks that have the stratum
    assert rows.loc[("mean", "Avocado", "50–100 %"), "mse"] == high["mse"]
    both = [rows.loc[(cell, "Avocado", "0"), "mse"] for cell in ("E1", "E2")]
    assert rows.loc[("mean", "Avocado", "0"), "mse"] == pytest.approx(np.mean(both))


def test_equal_variability_stays_in_one_stratum(signals):
    observed, methods = signals
    table = stratified(observed, methods, {track: np.full(400, 0.5) for track in observed})
    assert track_rows(table)["bins"].tolist() == [400] * 4
    whole = mean_rows(score_table(observed, methods))
    assert mean_rows(table)["mse"].tolist() == pytest.approx(whole["mse"].tolist(), rel=1e-12)


def test_strata_stand_beside_average_activity(signals):
    observed, methods = signals
    spread = {track: np.ones(400) for track in observed}
    with pytest.raises(ValueError, match="must include 'average activity'"):
        stratified(observed, {"Avocado": methods["Avocado"]}, spread)
    with pytest.raises(ValueError, match="expected 400 standard deviations for E1 A"):
        stratified(observed, methods, {track: np.full(400, np.nan) for track in observed})
