"""Bootstrap intervals over stretches of the genome."""

from __future__ import annotations

import numpy as np
import pytest

from avocado.data.genome import Region, Segment
from avocado.evaluation.intervals import FEWEST, LONGEST, genome_intervals, stretch_sums, stretches
from avocado.evaluation.metrics import mse, pearson
from avocado.evaluation.scores import AVERAGE

REGION = Region("toy", (Segment("chr1", 100, 1100), Segment("chr2", 0, 600)))
TRACKS = [("E1", "DNase"), ("E2", "DNase")]


def sums_of(methods, observed):
    first = stretches(REGION)
    return {t: {m: stretch_sums(observed[t], signals[t], first) for m, signals in methods.items()} for t in observed}


def signals(seed=0):
    random = np.random.default_rng(seed)
    observed = {track: random.gamma(1, 1, REGION.n_bins) for track in TRACKS}
    methods = {
        name: {t: s + random.normal(0, noise, len(s)) for t, s in observed.items()}
        for name, noise in (("Avocado", 0.3), (AVERAGE, 0.5))
    }
    return observed, methods


def test_stretches_stay_inside_segments():
    first = stretches(REGION)
    assert first[0] == 0
    assert 1000 in first
    assert FEWEST <= len(first) <= FEWEST + 2
    assert (np.diff(first) > 0).all()
    long = Region("long", (Segment("chr1", 0, 50 * LONGEST + 7),))
    assert np.diff(stretches(long)).tolist() == [LONGEST] * 50


def test_values_are_those_of_the_metrics():
    observed, methods = signals()
    table = genome_intervals(sums_of(methods, observed), "Avocado")
    assert list(table.groupby("measure", sort=False).size()) == [3, 3]
    for measure, of in (("mse", mse), ("pearson", pearson)):
        rows = table[table["measure"] == measure].set_index(["cell", "assay"])
        for track in TRACKS:
            ours, average = (of(observed[track], methods[m][track]) for m in ("Avocado", AVERAGE))
            assert rows.loc[track, "value"] == pytest.approx(ours)
            assert rows.loc[track, "average"] == pytest.approx(average)
            assert rows.loc[track, "difference"] == pytest.approx(ours - average)
        assert rows.loc[("mean", "all"), "value"] == pytest.approx(rows["value"].iloc[:2].mean())
    assert (table["low"] <= table["difference"]).all()
    assert (table["difference"] <= table["high"]).all()
    # 1,600 bins of independent noise leave no doubt
    assert (table[table["measure"] == "mse"]["high"] < 0).all()
    assert (table[table["measure"] == "pearson"]["low"] > 0).all()
    assert table.equals(genome_intervals(sums_of(methods, observed), "Avocado"))


def test_the_interval_of_a_mean_of_stretches_is_that_of_theory():
    random = np.random.default_rng(1)
    first = stretches(REGION)
    error = np.repeat(random.normal(1, 0.4, len(first)), np.diff(np.append(first, REGION.n_bins)))  # one per stretch
    observed = {TRACKS[0]: np.zeros(REGION.n_bins)}
    methods = {"Avocado": {TRACKS[0]: np.sqrt(np.maximum(error, 0))}, AVERAGE: {TRACKS[0]: np.ones(REGION.n_bins)}}
    row = genome_intervals(sums_of(methods, observed), "Avocado").iloc[0]
    deviation = np.maximum(error[first], 0).std(ddof=1) / np.sqrt(len(first))
    assert (row["high"] - row["low"]) / (2 * 1.96 * deviation) == pytest.approx(1, abs=0.1)


def test_one_stretch_has_no_interval():
    observed, methods = signals()
    sums = {
        t: {m: stretch_sums(observed[t], signals[t], np.array([0])) for m, signals in methods.items()} for t in observed
    }
    table = genome_intervals(sums, "Avocado")
    assert table[["low", "high"]].isna().all(axis=None)
    assert table["difference"].notna().all()
