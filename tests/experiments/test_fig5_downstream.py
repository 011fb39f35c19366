"""Labels of the paper's tasks out of published files, and the study of Fig. 5 on small ones."""

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from avocado.errors import InputError
from avocado.generalization.tasks import loci_40kb
from experiments import downstream_labels as labels
from experiments.fig5_downstream import main


@pytest.fixture
def expression(tmp_path):
    """Two genes of 57 columns, each line with a field more than the header, as published."""
    names = ["E000", *(f"E{number:03}" for number in range(1, 57))]
    rows = [["gene1", *range(57)], ["gene2", *[0.2] * 57]]
    text = "\t".join(["gene_id", *names]) + "\n" + "".join("\t".join(map(str, row)) + "\t\n" for row in rows)
    (tmp_path / "57epigenomes.RPKM.pc.gz").write_bytes(gzip.compress(text.encode()))
    genes = pd.DataFrame(
        {"chrom": "chr1", "start": [5_000, 9_000], "end": [6_000, 9_500], "gene_id": ["gene2", "gene1"],
         "strand": ["+", "-"]}
    )  # fmt: skip
    genes.to_csv(tmp_path / "genes.gencode_v10.hg19.tsv.gz", sep="\t", index=False)
    return tmp_path


def test_expression_is_read_by_its_own_column(expression):
    loci, values = labels.expression(expression)
    assert loci.to_numpy().tolist() == [["chr1", 3_000, 5_001], ["chr1", 9_499, 11_500]]  # 2 kb upstream
    assert list(values.columns) == [f"E{number:03}" for number in range(1, 57)]
    assert values.iloc[0].sum() == 0
    assert values.iloc[1].tolist() == [1] * 56
    _, numbers = labels.expression(expression, numbers=True)
    np.testing.assert_allclose(numbers.iloc[1], np.arcsinh(np.arange(1, 57)))
    with pytest.raises(InputError, match="no such file; give the folder that holds it"):
        labels.expression(expression / "elsewhere")


def test_loci_of_40_kb_are_the_paper_s():
    loci = loci_40kb()
    assert len(loci) == 72_036
    assert loci.iloc[6_231].tolist() == ["chr1", 249_240_000, 249_250_621]


@pytest.fixture
def published(tmp_path):
    random = np.random.default_rng(0)
    for prefix, n in (("RNAseq.E017", 200), ("FIREs.E116", 300)):
        y = (random.random(n) < 0.4).astype(float)
        np.save(tmp_path / f"{prefix}.y.npy", y)
        for name in ("Roadmap", "AvocadoImp"):
            np.save(tmp_path / f"{prefix}.{name}.npy", random.normal(size=(n, 4)) + 3 * y[:, None])
    np.save(tmp_path / "FIREs.E116.AvocadoFac.npy", random.normal(size=(300, 142)))
    return tmp_path


def test_published_features(published, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([f"published={published}", "folds=4", "progress=false", "out=fig5"]) == 0
    scores = pd.read_csv(tmp_path / "fig5/published/scores.csv").set_index(["task", "held_out", "features"])["score"]
    assert scores["gene expression", "random loci", "Roadmap"] > 0.95
    assert scores["FIREs", "whole stretches", "Avocado, imputed"] > 0.95
    assert scores["FIREs", "random loci", "Avocado, latent factors"] < 0.7
    assert "FIREs E116: 300 loci" in capsys.readouterr().out
    assert main(["folds=4"]) == 2
    assert "give published=, pairs= or labels=" in capsys.readouterr().err


@pytest.mark.slow
def test_the_published_example_has_the_published_scores(monkeypatch, tmp_path):
    folder = os.environ.get("AVOCADO_ROADMAP_DOWNSTREAM")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set AVOCADO_ROADMAP_DOWNSTREAM to the folder with RNAseq.E017.*.npy and FIREs.E116.*.npy")
    monkeypatch.chdir(tmp_path)
    assert main([f"published={folder}", "progress=false", "out=fig5"]) == 0
    table = pd.read_csv(tmp_path / "fig5/published/scores.csv")
    scores = table[table["held_out"] == "random loci"].set_index(["task", "features"])["score"]
    expected = {
        "gene expression": {"Roadmap": 0.4535, "ChromImpute": 0.4423, "PREDICTD": 0.4163, "Avocado, imputed": 0.4518},
        "FIREs": {"Roadmap": 0.4226, "ChromImpute": 0.3826, "PREDICTD": 0.4029, "Avocado, imputed": 0.4325,
                  "Avocado, latent factors": 0.4681},
    }  # fmt: skip
    for task, of_set in expected.items():
        for name, value in of_set.items():
            assert scores[task, name] == pytest.approx(value, abs=0.01), (task, name)


def test_identity_of_a_promoter_under_random_folds_and_by_chromosome(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    promoter = random.integers(150, size=3_000)
    pairs = pd.DataFrame(
        {"chrom": [f"chr{its % 10 + 1}" for its in promoter], "enhancer_start": np.arange(3_000) * 10,
         "enhancer_end": np.arange(3_000) * 10 + 5, "promoter_start": promoter * 100,
         "promoter_end": promoter * 100 + 50, "label": (random.random(150) < 0.1)[promoter].astype(int), "distance": 1}
    )  # fmt: skip
    pairs.to_csv(tmp_path / "GM12878.E116.pairs.tsv.gz", sep="\t", index=False)
    monkeypatch.chdir(tmp_path)
    assert main([f"pairs={tmp_path}", "progress=false", "out=fig5"]) == 0
    table = pd.read_csv(tmp_path / "fig5/pairs/scores.csv").set_index(["task", "held_out", "features"])
    assert table.loc[("interactions", "random loci", "identity of the second"), "all_loci"] == pytest.approx(1)
    rate = pairs["label"].mean()
    held_out = table.loc[("interactions", "whole chromosomes", "identity of the second")]
    assert held_out["all_loci"] == pytest.approx(rate)
    reduced = table.loc[("interactions, reduced", "random loci", "identity of the second")]
    assert reduced["n_loci"] == 150
    assert reduced["all_loci"] == pytest.approx(reduced["base_rate"])
