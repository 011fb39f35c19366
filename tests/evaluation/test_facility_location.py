"""Which experiments next: known answers of the greedy choice, and of the similarities that it is made of."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from toy import ASSAYS, CELLS, STATES
from toy_model import TRACKS, save

from avocado.cli.app import command
from avocado.errors import InputError
from avocado.evaluation.next import (
    Sample,
    coverage,
    lazy_greedy,
    next_experiments,
    random_coverage,
    sampled_windows,
    similarities,
)
from avocado.inference.impute import impute
from avocado.model.directory import load_model
from avocado.utils.hardware import Hardware

EXACT = Hardware("cpu", "float32")
EVERY = Sample(blocks=10_000)
PAIRS = list(product(CELLS, ASSAYS))


def some_similarity(n: int, seed: int) -> np.ndarray:
    return np.corrcoef(np.random.default_rng(seed).normal(size=(n, 6))) ** 2


def plain_greedy(similarity, covered, candidates, k):
    chosen, best = [], covered.copy()
    for _ in range(min(k, len(candidates))):
        gains = [np.maximum(similarity[:, c] - best, 0).sum() if c not in chosen else -1.0 for c in candidates]
        chosen.append(candidates[int(np.argmax(gains))])
        best = np.maximum(best, similarity[:, chosen[-1]])
    return chosen


# --- the choice ------------------------------------------------------------------------------------------------------


def test_known_answer():
    """Three groups of tracks that are alike, one of them measured: one of each other group, the larger one first."""
    groups = np.array([0, 0, 1, 1, 1, 1, 2, 2])
    similarity = np.where(groups[:, None] == groups, 0.8, 0.1) + 0.2 * np.eye(8) * (groups[:, None] == groups)
    covered = similarity[:, 0]
    chosen = lazy_greedy(similarity, covered, [1, 2, 3, 4, 5, 6, 7], 2)
    assert [number for number, _ in chosen] == [2, 6]
    assert chosen[0][1] == pytest.approx(0.9 + 3 * 0.7)
    assert chosen[1][1] == pytest.approx(0.9 + 0.7)
    assert coverage(similarity, covered, [2, 6]) * 8 == pytest.approx(1 + 0.8 + 1 + 3 * 0.8 + 1 + 0.8)


@pytest.mark.parametrize("seed", range(10))
def test_lazy_is_plain_greedy(seed):
    similarity = some_similarity(40, seed)
    candidates, covered = list(range(5, 40)), similarity[:, :5].max(axis=1)
    lazy = lazy_greedy(similarity, covered, candidates, 20)
    assert [number for number, _ in lazy] == plain_greedy(similarity, covered, candidates, 20)
    gains = [gain for _, gain in lazy]
    assert gains == sorted(gains, reverse=True)
    total = coverage(similarity, covered, [number for number, _ in lazy]) - coverage(similarity, covered, [])
    assert sum(gains) == pytest.approx(40 * total)


def test_lazy_is_plain_greedy_among_equals():
    similarity = np.eye(6)
    assert [number for number, _ in lazy_greedy(similarity, np.zeros(6), [3, 1, 5, 0], 4)] == [0, 1, 3, 5]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("k", [1, 2, 3])
def test_greedy_is_near_the_best_of_all_sets(seed, k):
    similarity = some_similarity(9, seed)
    greedy = sum(gain for _, gain in lazy_greedy(similarity, np.zeros(9), range(9), k))
    best = max(9 * coverage(similarity, np.zeros(9), its) for its in combinations(range(9), k))
    assert (1 - 1 / np.e) * best <= greedy <= best + 1e-9
    if k == 1:
        assert greedy == pytest.approx(best)


def test_copies_are_not_chosen_twice():
    similarity = some_similarity(6, 0)
    copied = np.block([[similarity, similarity], [similarity, similarity]])
    chosen = [number for number, _ in lazy_greedy(copied, np.zeros(12), range(12), 12)]
    assert len({number % 6 for number in chosen}) == len(chosen) == 6
    assert lazy_greedy(copied, copied[:, 0], [0, 6], 2) == []  # what is measured already


def test_more_than_there_are():
    similarity = some_similarity(8, 1)
    assert sorted(number for number, _ in lazy_greedy(similarity, np.zeros(8), [2, 5], 100)) == [2, 5]


def test_random_panels_are_worse_and_end_at_the_same_coverage():
    similarity, covered = some_similarity(30, 2), np.zeros(30)
    random = random_coverage(similarity, covered, range(30), 30, seed=0)
    chosen = [number for number, _ in lazy_greedy(similarity, covered, range(30), 30)]
    greedy = [coverage(similarity, covered, chosen[: size + 1]) for size in range(30)]
    assert (random[:10] < np.array(greedy[:10])).all()
    assert random[-1] == pytest.approx(greedy[-1]) == pytest.approx(1.0)


# --- the similarities ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("next")
    save(folder / "model")
    return load_model(folder / "model")


def test_similarities_are_squared_correlations_of_imputed_tracks(model):
    found = similarities(model, PAIRS, sampled_windows(model, ["chr20"], EVERY), EXACT)
    wanted = np.corrcoef(impute(model, PAIRS, "chr20", EXACT).T.astype(np.float64)) ** 2
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    assert (np.diag(found) == 1).all()
    assert np.allclose(found, found.T)


def test_they_do_not_depend_on_the_pieces(model, monkeypatch):
    windows = sampled_windows(model, ["pilot", "chr20"], EVERY)
    whole = similarities(model, PAIRS, windows, EXACT)
    monkeypatch.setattr("avocado.inference.impute.OUTPUT", 1)  # a block at a time
    np.testing.assert_allclose(similarities(model, PAIRS, windows, EXACT), whole, atol=1e-4)


def test_a_constant_track_is_like_no_other(model, monkeypatch):
    def chunks(model, pairs, window, hardware):
        random = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
        random[:, 1] = 0.7
        yield [], random

    monkeypatch.setattr("avocado.evaluation.next.impute_chunks", chunks)
    found = similarities(model, PAIRS[:3], sampled_windows(model, ["chr20"], Sample(1)))
    assert found[1].tolist() == [0, 1, 0]
    assert np.isfinite(found).all()


def test_the_sample_is_of_whole_blocks_of_all_regions(model):
    windows = sampled_windows(model, ["pilot", "chr20"], EVERY)
    assert [window.layout.n_bins for window in windows] == [model.regions[name].n_bins for name in ("pilot", "chr20")]
    few = sampled_windows(model, ["pilot", "chr20"], Sample(4, seed=3))
    assert sum(segment.n_blocks for window in few for segment in window.layout.segments) == 4
    assert few == sampled_windows(model, ["pilot", "chr20"], Sample(4, seed=3))
    assert few != sampled_windows(model, ["pilot", "chr20"], Sample(4, seed=4))
    for window in few:
        assert impute(model, PAIRS[:1], window.source, EXACT).shape  # a region of the model
        for segment in window.layout.segments:
            holder = next(
                s
                for s in model.regions[window.source].segments
                if s.chrom == segment.chrom and s.start <= segment.start < s.end
            )
            assert (segment.start - holder.start) % 200 == 0
            assert segment.end == min(segment.start + 200, holder.end)


def test_too_many_pairs_for_the_memory_are_said_before_any_work(model, monkeypatch):
    monkeypatch.setattr("avocado.evaluation.next.available_memory", lambda device: 100)
    with pytest.raises(InputError, match="similarities of 16 pairs take"):
        next_experiments(model, 1)


# --- both ------------------------------------------------------------------------------------------------------------


def test_next_experiments(model):
    panel = next_experiments(model, 10, sample=EVERY, hardware=EXACT)
    measured = set(zip(TRACKS["cell"], TRACKS["assay"], strict=True))
    chosen = list(zip(panel.table["cell"], panel.table["assay"], strict=True))
    assert len(chosen) == len(set(chosen)) == 3  # all that were never measured
    assert not measured & set(chosen)
    assert (panel.n_pairs, panel.n_measured, panel.n_candidates) == (16, 13, 3)
    assert panel.table["rank"].tolist() == [1, 2, 3]
    assert panel.table["coverage"].iloc[-1] == pytest.approx(1.0, abs=1e-6)
    assert panel.everything == pytest.approx(1.0, abs=1e-6)
    assert panel.measured + panel.table["gain"].sum() == pytest.approx(1.0, abs=1e-6)
    assert panel.table["gain"].is_monotonic_decreasing
    assert (panel.table["random"] <= panel.table["coverage"] + 1e-6).all()


def test_only_what_can_be_measured(model):
    panel = next_experiments(model, 10, cells=["liver", "NA"], sample=EVERY, hardware=EXACT)
    assert set(zip(panel.table["cell"], panel.table["assay"], strict=True)) == {("liver", "DNase"), ("NA", "H3K27ac")}
    panel = next_experiments(model, 10, assays=["RNA"], sample=EVERY, hardware=EXACT)
    assert panel.table[["cell", "assay"]].values.tolist() == [["B cell", "RNA"]]
    with pytest.raises(InputError, match="nothing to choose"):
        next_experiments(model, 10, cells=["E003"])
    with pytest.raises(InputError, match="knows no cell type 'lung'"):
        next_experiments(model, 10, cells=["lung"])
    with pytest.raises(InputError, match="k=0: expected"):
        next_experiments(model, 0)
    with pytest.raises(InputError, match="blocks=0: expected"):
        Sample(0)


def test_the_default_model_with_its_baseline(tiny_store, tmp_path):
    save(tmp_path, STATES, store=tiny_store)
    panels = [
        next_experiments(load_model(tmp_path, baseline=baseline), 2, sample=Sample(5), hardware=EXACT)
        for baseline in (True, False)
    ]
    assert [len(panel.table) for panel in panels] == [2, 2]
    assert panels[0].measured != panels[1].measured


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "model")
    typed = ["model=model", "k=2", "progress=false", "regions=chr20"]
    assert command("next", [*typed, "out=next.csv"]) == 0
    out = capsys.readouterr().out
    table = pd.read_csv("next.csv", keep_default_na=False)
    assert list(table) == ["rank", "cell", "assay", "gain", "coverage", "random"]
    assert "16 pairs of cell type and assay: 13 measured, 3 to choose" in out
    for row in table.itertuples():
        assert f"{row.cell} {row.assay}" in out
    assert (tmp_path / "next.png").read_bytes().startswith(b"\x89PNG")
    assert command("next", [*typed, "k=5"]) == 0
    assert "3 of 5: no further experiment adds anything" in capsys.readouterr().out
    for arguments, message in {
        ("out=next.csv",): "next.csv is there already",
        ("out=next.tsv",): "expected a name that ends in .csv",
        ("regions=chr2",): "has no factors of 'chr2'",
        ("assays=ATAC",): "knows no assay 'ATAC'",
    }.items():
        assert command("next", [*typed, *arguments]) == 2
        assert message in capsys.readouterr().err
