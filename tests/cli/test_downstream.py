"""`avocado downstream` on the demo."""

import pandas as pd
import pytest

pytest_plugins = ["demo"]


@pytest.fixture
def labels(tmp_path, store):
    """chr20 in 2-kb loci, with labels of two cell types: whether H3K4me3 of stem1 is high, and the other way round."""
    from avocado.data.store import open_store

    signal = open_store(store).read_track("stem1", "H3K4me3", "chr20")
    mean = signal[:5_920].reshape(-1, 80).mean(axis=1)
    high = (mean > sorted(mean)[len(mean) // 2]).astype(int)
    loci = pd.DataFrame({"chrom": "chr20", "start": range(0, 148_000, 2_000), "end": range(2_000, 150_000, 2_000)})
    parts = [loci.assign(cell="stem1", label=high), loci.assign(cell="blood1", label=1 - high)]
    path = tmp_path / "labels.tsv"
    pd.concat(parts).to_csv(path, sep="\t", index=False)
    return path


def test_scores_beside_baselines(avocado, labels, model, tmp_path):
    said = avocado("downstream", f"labels={labels}", f"model={model}", "folds=4", "out=scores", "progress=false")
    assert said.status == 0, said
    assert "labels stem1: 74 loci" in said.out
    assert {path.name for path in (tmp_path / "scores").iterdir()} == {
        "comparisons.csv", "downstream.png", "folds.csv", "report.html", "scores.csv",
    }  # fmt: skip
    scores = pd.read_csv(tmp_path / "scores/scores.csv").set_index(["cell", "held_out", "features"])["score"]
    assert scores["stem1", "random loci", "own tracks"] > 0.9
    assert scores["stem1", "whole stretches", "average activity"] < 0.5  # the other cell type is its contrary
    assert ("blood1", "random loci", "latent factors") in scores


def test_words_thresholds_and_a_store_alone(avocado, labels, store, tmp_path):
    table = pd.read_csv(labels, sep="\t")
    table = table[table["cell"] == "stem1"].drop(columns="cell")
    table.assign(label=table["label"].map({0: "neutral", 1: "activating"})).to_csv(tmp_path / "words.csv", index=False)
    common = (f"store={store}", "folds=4", "progress=false")
    said = avocado("downstream", "labels=words.csv", "positive=activating", "cell=stem1", "missing=nan", *common)
    assert "words stem1: 74 loci" in said.out
    assert "own tracks " in said.out
    assert "latent factors" not in said.out
    table.assign(label=table["label"] + 0.3).to_csv(tmp_path / "numbers.csv", index=False)
    said = avocado("downstream", "labels=numbers.csv", "flank=100", "features=all", *common)
    assert "numbers: 74 loci, mean label 0.78" in said.out
    assert "own tracks" not in said.out
    assert "0.000 ± 0.000; all 0.00 " in said.out  # the majority has no interval


def test_bad_input_is_one_line(avocado, labels, model, store, tmp_path):
    def error(*arguments):
        return avocado("downstream", *arguments, "progress=false").error

    assert "labels" in error(f"model={model}")
    assert error(f"labels={labels}") == "features come from somewhere: give model=, or store="
    assert "no such table of labels" in error("labels=none.tsv", f"store={store}")
    common = (f"labels={labels}", f"store={store}")
    assert "features=mine: there is own, imputed, all, factors, states, code" in error(*common, "features=mine")
    assert "no labels of K562; there are some of: blood1, stem1" in error(*common, "cell=K562")
    assert "74 loci are fewer than folds=80" in error(*common, "folds=80")
    assert "trees: folds=1: expected a whole number of at least 3" in error(*common, "folds=1")
    assert "missing=0: there is -1, as in the paper, and nan" in error(*common, "missing=0")
    assert "flank=-5: expected bp" in error(*common, "flank=-5")
    header = "chrom\tstart\tend\tlabel\n"
    (tmp_path / "elsewhere.tsv").write_text(header + "chr22\t0\t100\t1\nchr22\t200\t300\t0\n")
    assert "no chromosome" in error("labels=elsewhere.tsv", f"store={store}")
    (tmp_path / "outside.tsv").write_text(header + "chr21\t0\t100\t1\nchr21\t200\t300\t0\n")
    assert "none of the 2 loci lies in the regions of" in error("labels=outside.tsv", f"model={model}")
    (tmp_path / "assembly.tsv").write_text(header + "chr20\t0\t9000000\t1\n")
    assert "the file is of another assembly" in error("labels=assembly.tsv", f"store={store}")
    (tmp_path / "one.tsv").write_text(header + "chr20\t0\t100\t1\nchr20\t200\t300\t1\n")
    assert "all 2 labels are 1; there is nothing to learn" in error("labels=one.tsv", f"store={store}")
    assert not (tmp_path / "downstream").exists()
