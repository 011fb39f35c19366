"""`avocado embed` and `avocado attribute`, as typed."""

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from toy import STATES
from toy_model import save

from avocado.cli.app import command


@pytest.fixture
def model(tiny_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "model")
    return "model=model"


def test_embed(model, capsys):
    assert command("embed", [model, "regions=chr20", "window=1000", "out=windows.tsv", "progress=false"]) == 0
    assert pd.read_csv("windows.tsv", sep="\t").shape == (48, 3 + 7)
    with open("some.bed", "w") as bed:
        bed.write("chr20\t1000\t1100\tone\nchr1\t50000\t50100\ttwo\n")
    assert command("embed", [model, "regions=some.bed", "flank=250", "out=some.tsv", "progress=false"]) == 0
    assert pd.read_csv("some.tsv", sep="\t")["name"].tolist() == ["one"]
    assert "left out: 1 of 2 intervals" in capsys.readouterr().out
    assert command("embed", [model, "what=cells", "out=cells.tsv"]) == 0
    assert len(pd.read_csv("cells.tsv", sep="\t", keep_default_na=False)) == 4
    capsys.readouterr()
    for arguments, message in {
        ("what=cells", "out=cells.tsv"): "cells.tsv is there already: give another out=, or overwrite=true",
        ("out=factors.doc",): "expected a name that ends in .parquet",
        ("what=genes", "out=g.tsv"): "what=genes: there is genome, cells, assays",
        ("out=x.tsv",): "the model has several regions, and a table is of one: give regions=pilot or regions=chr20",
        ("regions=chr2", "out=x.tsv"): "has no factors of 'chr2'",
        ("regions=some.bed", "window=50", "out=x.tsv"): "window= goes with a chromosome",
        ("regions=chr20", "flank=5", "out=x.tsv"): "flank= goes with a BED file",
        ("regions=chr20", "cell=liver", "out=x.tsv"): "is of kind 'paper', whose genome factors are the same for all",
        ("what=cells", "cell=liver", "out=x.tsv"): "cell=liver goes with positions of the genome",
    }.items():
        assert command("embed", [model, *arguments]) == 2
        assert message in capsys.readouterr().err


def test_embed_states_of_a_cell_type(tiny_store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "model", STATES, store=tiny_store)
    common = ["model=model", "regions=chr20", "window=1000", "progress=false"]
    assert command("embed", [*common, "cell=liver", "out=liver.tsv"]) == 0
    assert "48 rows, " in (said := capsys.readouterr().out)
    assert "states of liver" in said
    assert command("embed", [*common, "cell=E003", "out=E003.tsv"]) == 0
    assert command("embed", [*common, "cell=liver", "code=true", "out=code.tsv"]) == 0
    assert "3 numbers of the code of liver" in capsys.readouterr().out
    assert list(pd.read_csv("code.tsv", sep="\t").columns[3:]) == ["25bp_0", "250bp_0", "5kbp_0"]
    assert command("embed", [*common, "code=true", "out=none.tsv"]) == 2
    assert "code=true goes with cell=, whose code it is" in capsys.readouterr().err
    liver, other = (pd.read_csv(f"{name}.tsv", sep="\t") for name in ("liver", "E003"))
    assert "25bp_shared_0" in liver
    own = [name for name in liver if "bp_" in name and "shared" not in name]
    shared = [name for name in liver if "shared" in name]
    assert len(own) == len(shared)
    pd.testing.assert_frame_equal(liver[shared], other[shared])
    assert not np.allclose(liver[own], other[own])


def test_attribute(model, capsys):
    place = "region=chr20:10,001-10,100"
    assert command("attribute", [model, "cell=liver", "assay=RNA", place, "out=part.{part}.bw", "progress=false"]) == 0
    assert "4 bins" in capsys.readouterr().out
    assert command("attribute", [model, "cell=liver,NA", "assay=RNA", place, "out=x.{part}.bw"]) == 2
    assert "cell=liver,NA: give one" in capsys.readouterr().err
    typed = [model, "cell=liver", "assay=RNA", "region=chr20", "out=att/{cell}.{part}.bw", "progress=false"]
    assert command("attribute", typed) == 0
    said = capsys.readouterr().out
    assert "1,892 bins" in said
    total = np.zeros(1892 * 25)
    for part in ("cell", "assay", "25bp", "250bp", "5kbp"):
        with pyBigWig.open(f"att/liver.{part}.bw") as bigwig:
            total += np.nan_to_num(bigwig.values("chr20", 0, len(total), numpy=True))
    assert total.any()
    assert command("attribute", typed) == 2
    assert "is there already" in capsys.readouterr().err
    assert command("attribute", [*typed[:4], "out=all.bw"]) == 2
    assert "5 files need {part} in the name" in capsys.readouterr().err
