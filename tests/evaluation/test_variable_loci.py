from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from avocado.errors import InputError
from avocado.evaluation.scores import AVERAGE
from avocado.evaluation.variable_loci import CALLED, OBSERVED, PEAK_SIGNAL, THRESHOLDED, variable_loci

HIGH, LOW = 3.0, 0.5


def by_hand():
    """Four bins, three cell types: k = 0, 1, 2, 3 of them have a peak."""
    peaks = {("c1", "DNase"): [0, 1, 1, 1], ("c2", "DNase"): [0, 0, 1, 1], ("c3", "DNase"): [0, 0, 0, 1]}
    return {track: np.array(values, dtype=bool) for track, values in peaks.items()}


def row(table, method, k, assay="DNase"):
    chosen = table[(table["method"] == method) & (table["k"] == k) & (table["assay"] == assay)]
    return chosen.squeeze(axis=0)


def naive(observed, methods, peaks, assay):
    """One pair at a time, as the definition says."""
    cells = [cell for cell, other in peaks if other == assay]
    scored = [cell for cell, other in methods[AVERAGE] if other == assay]
    n_bins = len(peaks[cells[0], assay])
    rows = []
    for k in range(1, len(cells) + 1):
        loci = [b for b in range(n_bins) if sum(bool(peaks[c, assay][b]) for c in cells) == k]
        if not loci:
            continue
        for name, tracks in {**methods, OBSERVED: observed}.items():
            pairs = [
                (tracks[c, assay][b], observed[c, assay][b], bool(peaks[c, assay][b])) for c in scored for b in loci
            ]
            called = [peak for signal, _, peak in pairs if signal > np.arcsinh(2)]
            found = [signal > np.arcsinh(2) for signal, _, peak in pairs if peak]
            rows.append(
                {
                    "assay": assay,
                    "k": k,
                    "n_cells": len(cells),
                    "n_loci": len(loci),
                    "n_pairs": len(pairs),
                    "peaks": CALLED,
                    "method": name,
                    "mse": np.nan if name == OBSERVED else np.mean([(s - o) ** 2 for s, o, _ in pairs]),
                    "precision": np.mean(called) if called else np.nan,
                    "recall": np.mean(found) if found else np.nan,
                }
            )
    return pd.DataFrame(rows)


def random_compendium(seed=0, n_bins=300, n_cells=6):
    random = np.random.default_rng(seed)
    place = random.gamma(0.6, 1.2, n_bins)
    cells = [f"E{i}" for i in range(n_cells)]
    observed = {
        (cell, assay): np.arcsinh(place * random.gamma(1, 1.5, n_bins))
        for assay in ("DNase", "H3K4me3")
        for cell in cells
    }
    peaks = {track: signal + random.normal(0, 0.3, n_bins) > 1.5 for track, signal in observed.items()}
    held_out = [track for track in observed if track[0] in ("E1", "E2", "E5")]
    methods = {
        name: {track: observed[track] * 0.7 + random.gamma(1, noise, n_bins) for track in held_out}
        for name, noise in (("Avocado", 0.2), (AVERAGE, 0.4))
    }
    return observed, methods, peaks


def test_known_answer():
    peaks = by_hand()
    observed = {track: np.where(peak, HIGH, LOW) for track, peak in peaks.items()}
    observed["c1", "DNase"][1] = LOW  # a called peak that the thresholded signal misses
    always = {track: np.full(4, HIGH) for track in peaks}
    never = {track: np.zeros(4) for track in peaks}
    table = variable_loci(observed, {AVERAGE: never, "always": always}, peaks)
    assert table["k"].unique().tolist() == [1, 2, 3]
    assert (table["n_loci"] == 1).all()
    assert (table["n_pairs"] == 3).all()
    assert (table["n_cells"] == 3).all()
    assert (table["peaks"] == CALLED).all()
    # the locus with k = 1: no cell type has high signal, c1 has the peak
    assert row(table, "always", 1)[["mse", "precision", "recall"]].tolist() == pytest.approx([6.25, 1 / 3, 1])
    assert row(table, AVERAGE, 1)["mse"] == pytest.approx(0.25)
    assert np.isnan(row(table, AVERAGE, 1)["precision"])
    assert row(table, AVERAGE, 1)["recall"] == 0
    assert row(table, "always", 2)[["mse", "precision", "recall"]].tolist() == pytest.approx([6.25 / 3, 2 / 3, 1])
    assert row(table, "always", 3)[["mse", "precision", "recall"]].tolist() == [0, 1, 1]
    assert row(table, OBSERVED, 1)["recall"] == 0
    assert np.isnan(row(table, OBSERVED, 1)["precision"])
    assert row(table, OBSERVED, 2)[["precision", "recall"]].tolist() == [1, 1]
    assert table[table["method"] == OBSERVED]["mse"].isna().all()


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_definition(seed):
    observed, methods, peaks = random_compendium(seed)
    table = variable_loci(observed, methods, peaks)
    expected = pd.concat([naive(observed, methods, peaks, assay) for assay in ("DNase", "H3K4me3")], ignore_index=True)
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, rtol=1e-12)
    assert table["k"].max() >= 5


def test_training_tracks_count_towards_k_but_are_not_scored():
    observed, methods, peaks = random_compendium()
    changed = {track: signal + 5 if track[0] == "E0" else signal for track, signal in observed.items()}
    table, same = variable_loci(observed, methods, peaks), variable_loci(changed, methods, peaks)
    pd.testing.assert_frame_equal(table, same)
    fewer = variable_loci(observed, methods, {track: peak for track, peak in peaks.items() if track[0] != "E0"})
    assert fewer["n_cells"].unique().tolist() == [5]
    assert (table["n_pairs"] == 3 * table["n_loci"]).all()


def test_without_peak_calls_observed_peaks_are_used_and_said_so():
    observed, methods, _ = random_compendium()
    table = variable_loci(observed, methods)
    peaks = {track: signal > np.arcsinh(2) for track, signal in observed.items()}
    expected = variable_loci(observed, methods, peaks)
    assert (table["peaks"] == THRESHOLDED).all()
    assert OBSERVED not in set(table["method"])
    assert (expected.loc[expected["method"] == OBSERVED, ["precision", "recall"]].dropna() == 1).all(axis=None)
    columns = [name for name in table if name != "peaks"]
    kept = expected[expected["method"] != OBSERVED].reset_index(drop=True)
    pd.testing.assert_frame_equal(table[columns], kept[columns])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_threshold_itself_is_not_a_peak(dtype):
    exactly, above = dtype(np.arcsinh(2)), np.nextafter(dtype(np.arcsinh(2)), dtype(9))
    peaks = {("c1", "DNase"): np.array([True, True])}
    imputed = {("c1", "DNase"): np.array([exactly, above], dtype=dtype)}
    table = variable_loci(imputed, {AVERAGE: imputed}, peaks)
    assert pytest.approx(1.4436, abs=1e-4) == PEAK_SIGNAL
    assert row(table, AVERAGE, 1)["recall"] == 0.5
    assert variable_loci(imputed, {AVERAGE: imputed})["n_loci"].tolist() == [1]


class Counting(Mapping):
    """Makes tracks when asked for, and remembers how often."""

    def __init__(self, tracks):
        self.tracks, self.asked = tracks, []

    def __getitem__(self, track):
        self.asked.append(track)
        return self.tracks[track].copy()

    def __iter__(self):
        return iter(self.tracks)

    def __len__(self):
        return len(self.tracks)


def test_imputations_are_asked_for_once():
    observed, methods, peaks = random_compendium()
    imputed = {name: Counting(tracks) for name, tracks in methods.items()}
    signal = Counting(observed)
    variable_loci(signal, imputed, peaks)
    for tracks in imputed.values():
        assert sorted(tracks.asked) == sorted(tracks.tracks)
    assert sorted(signal.asked) == sorted(methods[AVERAGE]), "no observed track that is not scored is read"


def test_an_assay_without_any_peak_has_no_rows():
    silent = {("c1", "DNase"): np.zeros(5), ("c2", "DNase"): np.zeros(5)}
    table = variable_loci(silent, {AVERAGE: silent})
    assert table.empty
    assert {"assay", "k", "mse", "precision", "recall"} <= set(table)


def test_bad_input_is_named():
    observed, methods, peaks = random_compendium()
    with pytest.raises(ValueError, match="must include 'average activity'"):
        variable_loci(observed, {"Avocado": methods["Avocado"]}, peaks)
    with pytest.raises(InputError, match="no imputed tracks"):
        variable_loci(observed, {AVERAGE: {}}, peaks)

    def without(tracks, track=("E2", "DNase")):
        return {name: values for name, values in tracks.items() if name != track}

    with pytest.raises(InputError, match="the peaks: no E2 DNase"):
        variable_loci(observed, methods, without(peaks))
    with pytest.raises(InputError, match="the observed signal: no E2 DNase"):
        variable_loci(without(observed), methods, peaks)
    with pytest.raises(InputError, match="Avocado: no E2 DNase"):
        variable_loci(observed, {**methods, "Avocado": without(methods["Avocado"])}, peaks)
    with pytest.raises(InputError, match="average activity: no E2 DNase, which Avocado imputed"):
        variable_loci(observed, {**methods, AVERAGE: without(methods[AVERAGE])}, peaks)

    def with_value(tracks, values):
        return {**tracks, ("E2", "DNase"): values}

    broken = methods["Avocado"]["E2", "DNase"].copy()
    broken[7] = np.nan
    with pytest.raises(InputError, match="Avocado's E2 DNase has NaN"):
        variable_loci(observed, {**methods, "Avocado": with_value(methods["Avocado"], broken)}, peaks)
    with pytest.raises(InputError, match="the peaks of E2 DNase: shape"):
        variable_loci(observed, methods, with_value(peaks, np.zeros(299, dtype=bool)))
    with pytest.raises(InputError, match="Avocado's E2 DNase: shape"):
        variable_loci(observed, {**methods, "Avocado": with_value(methods["Avocado"], broken[:-1])}, peaks)
