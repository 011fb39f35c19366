"""`avocado convert`, as typed, and what the other commands make of a converted model."""

from __future__ import annotations

import pandas as pd
import pyBigWig
import pytest
from toy import ASSEMBLY
from toy_model import TRACKS, save

from avocado.cli.app import command

pytest.importorskip("h5py")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """chr20 of a model of kind paper, as the original program has it."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "ours")
    (tmp_path / "toy.chrom.sizes").write_text("".join(f"{name}\t{size}\n" for name, size in ASSEMBLY.sizes.items()))
    TRACKS.to_csv("tracks.tsv", sep="\t", index=False)
    assert command("convert", ["model=ours", "region=chr20", "keras=avocado-chr20.h5"]) == 0
    return ["keras=avocado-chr20.h5", "assembly=toy.chrom.sizes", "out=theirs"]


def test_there_and_back(published, capsys):
    assert command("convert", ["model=ours", "region=chr20", "keras=again.h5"]) == 0
    assert 'Avocado.load("again")' in capsys.readouterr().out
    assert command("convert", published) == 0
    out = capsys.readouterr().out
    assert "4 cell types × 4 assays (9 train)" in out
    assert "avocado impute model=theirs cell='B cell' assay=DNase regions=chr20 out=imputed.bw" in out
    keys = ["cell=liver", "assay=RNA", "regions=chr20", "precision=float32", "decimals=null", "progress=false"]
    for model in ("ours", "theirs"):
        assert command("impute", [f"model={model}", *keys, f"out={model}.bw"]) == 0
    with pyBigWig.open("ours.bw") as one, pyBigWig.open("theirs.bw") as other:
        assert one.intervals("chr20") == other.intervals("chr20")


def test_other_commands_take_it(published, tiny_store, capsys):
    assert command("convert", [*published, "tracks=tracks.tsv"]) == 0
    assert command("inspect", ["theirs"]) == 0
    assert "stage published, file avocado-chr20.h5" in capsys.readouterr().out
    assert command("embed", ["model=theirs", "regions=chr20", "window=1000", "out=theirs.tsv", "progress=false"]) == 0
    assert command("embed", ["model=ours", "regions=chr20", "window=1000", "out=ours.tsv", "progress=false"]) == 0
    assert pd.read_csv("ours.tsv", sep="\t").equals(pd.read_csv("theirs.tsv", sep="\t"))
    place = "region=chr20:10,001-10,100"
    assert (
        command("attribute", ["model=theirs", "cell=liver", "assay=RNA", place, "out={part}.bw", "progress=false"]) == 0
    )
    assert command("score", ["model=theirs", f"store={tiny_store.path}", "region=chr20", "out=scores"]) == 0
    assert command("score", ["model=ours", f"store={tiny_store.path}", "region=chr20", "out=before"]) == 0
    theirs, ours = (pd.read_csv(f"{name}/chr20/scores.csv") for name in ("scores", "before"))
    pd.testing.assert_frame_equal(theirs, ours, rtol=1e-5)
    assert len(theirs) == 2 * (2 + 1)


def test_a_model_that_does_not_say_what_it_was_trained_on(published, tiny_store, capsys):
    TRACKS.assign(role="test").to_csv("tracks.tsv", sep="\t", index=False)
    assert command("convert", [*published, "tracks=tracks.tsv"]) == 0
    typed = ["model=theirs", f"store={tiny_store.path}", "region=chr20"]
    assert command("score", typed) == 2
    assert "does not say which experiments it was trained on" in capsys.readouterr().err


def test_scores_use_the_training_tracks_that_the_store_has(published, tiny_store, capsys):
    """A user of a published model has a few of its thousand tracks."""
    table = TRACKS.copy()
    table.loc[table["role"] == "val", "role"] = "train"
    table.loc[len(table)] = ["liver", "DNase", "train"]  # never in the store
    table.to_csv("tracks.tsv", sep="\t", index=False)
    assert command("convert", [*published, "tracks=tracks.tsv"]) == 0
    assert command("score", ["model=theirs", f"store={tiny_store.path}", "region=chr20"]) == 0
    assert "average activity" in capsys.readouterr().out


def test_what_cannot_be_done_is_one_line(published, capsys):
    assert command("convert", published) == 0
    capsys.readouterr()
    for arguments, message in {
        (): "give keras= and out= to read a model",
        ("keras=avocado-chr20.h5",): "give keras= and out= to read a model",
        ("keras=avocado-chr20.h5", "out=x", "model=ours"): "give keras= and out= to read a model",
        ("keras=avocado-chr20.h5", "out=x", "region=chr20"): "region= goes with model=",
        ("keras=avocado-chr20.h5", "out=x"): "has 1,892 bins, chr20 has 2,521,020 in hg19",
        ("keras=other-chr20.h5", "out=x"): "other-chr20.json: no such file",
        ("keras=x.h5", "model=ours"): "Give region=",
        ("keras=x.h5", "model=ours", "region=chr20", "chrom=chr20"): "chrom= goes with out=",
        ("keras=avocado-chr20.h5", "model=ours", "region=chr20"): "avocado-chr20.h5 is there already",
        tuple(published): "theirs has factors of chr20 already",
    }.items():
        assert command("convert", list(arguments)) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
