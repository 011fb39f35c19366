"""`python train.py stage=transfer`, and all that takes a transferred model; each bad input is one line."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from avocado.model.directory import load_model

pytest_plugins = ["demo"]

FAST = ("stage=transfer", "transfer.steps=40", "transfer.bins=500", "transfer.batch_bins=100", "transfer.masked=0.3",
        "transfer.workers=1", "trainer=cpu", "trainer.progress=false")  # fmt: skip


def write_table(folder: Path, demo, cell: str = "mine", like: str = "", **assays: str) -> Path:
    """A table of a new cell type, whose tracks are those of a known one; assays: their split."""
    assays = assays or {"H3K4me3": "train", "H3K27ac": "train"}
    like = like or next(name for name, its in measured(demo).items() if set(assays) <= set(its))
    rows = [(cell, assay, demo.bigwig(like, assay), split) for assay, split in assays.items()]
    table = pd.DataFrame(rows, columns=pd.Index(["cell", "assay", "file", "split"]))
    table.to_csv(folder / "new.tsv", sep="\t", index=False)
    return folder / "new.tsv"


@pytest.fixture
def source(model, tmp_path) -> Path:
    """The demo's model in a place of its own, as it may be completed."""
    return Path(shutil.copytree(model, tmp_path / "source"))


def measured(demo) -> dict[str, list[str]]:
    table = pd.read_csv(demo.table, sep="\t")
    return {str(cell): rows["assay"].tolist() for cell, rows in table.groupby("cell")}


@pytest.fixture
def like(demo) -> tuple[str, list[str]]:
    """A cell type with three assays at least."""
    cell, assays = max(measured(demo).items(), key=lambda item: len(item[1]))
    return cell, assays


def test_the_whole_road(avocado, demo, source, store, like, tmp_path):
    cell, assays = like
    table = write_table(tmp_path, demo, like=cell, **{assays[0]: "train", assays[1]: "train", assays[2]: "test"})
    arguments = [*FAST, f"model={source}", f"table={table}", "out=made"]
    answer = avocado("train", *arguments)
    assert answer.status == 0, answer
    assert "transfer done, 1 new cell type: mine" in answer.out
    assert "average activity" in answer.out
    assert "mine: one track is" in answer.out
    assert "avocado score model=made" in answer.out
    assert "new cell type mine" in Path("made/README.md").read_text()
    before, made = load_file(source / "shared.safetensors"), load_file("made/shared.safetensors")
    for name, tensor in before.items():
        rows = made[name][tuple(slice(n) for n in tensor.shape)].contiguous()
        assert rows.numpy().tobytes() == tensor.numpy().tobytes()
    assert "done before" in avocado("train", *arguments).out

    assert "+" in avocado("inspect", "path=made").out
    assert "added by transfer from" in avocado("inspect", "path=made").out
    answer = avocado("impute", "model=made", "cell=mine", f"assay={assays[2]}", "regions=chr20", "out=mine.bw",
                     "workers=1", "progress=false")  # fmt: skip
    assert answer.status == 0, answer
    answer = avocado("score", "model=made", f"store={store}", f"tracks=[mine:{assays[2]}]", "region=chr20")
    assert answer.status == 0, answer
    assert f"mine {assays[2]}" in answer.out
    scores = answer.out.partition("out=FOLDER")[0]
    answer = avocado("score", "model=made", f"tracks=[mine:{assays[2]}]", "region=chr20")  # it knows where its store is
    assert answer.out.partition("out=FOLDER")[0] == scores
    assert "used to train" in avocado("score", "model=made", f"store={store}", f"tracks=[mine:{assays[0]}]").error
    assert avocado("embed", "model=made", "what=cells", "out=cells.tsv", "progress=false").status == 0
    assert "mine" in set(pd.read_csv("cells.tsv", sep="\t")["cell"])
    place = "region=chr20:10,000-20,000"
    answer = avocado("attribute", "model=made", "cell=mine", f"assay={assays[2]}", place, "out={part}.bw", "threads=1",
                     "progress=false")  # fmt: skip
    assert answer.status == 0, answer


def test_further_chromosomes_of_a_transferred_model(avocado, demo, source, quick, tmp_path):
    table = write_table(tmp_path, demo)
    assert avocado("train", *FAST, f"model={source}", f"table={table}", "out=made", "verdict=false").status == 0
    keys = [key for key in quick if not key.startswith("model=")]
    answer = avocado("train", *keys, "stage=genome", "model=made", "chrom=chr21")
    assert answer.status == 0, answer
    assert "genome chr21: done, made/genome/chr21" in answer.out
    assert "done before" in avocado("train", *keys, "stage=genome", "model=made", "chrom=chr21").out
    model = load_model("made")
    assert list(model.regions) == ["pilot", "chr20", "chr21"]
    assert "chr21" in {path.stem for path in Path("made/given/1").glob("*.npy")}
    # and it can be added to in its turn
    other = write_table(tmp_path, demo, "another")
    answer = avocado("train", *FAST, "model=made", f"table={other}", "out=both", "verdict=false")
    assert answer.status == 0, answer
    assert list(load_model("both").regions) == ["pilot", "chr20", "chr21"]
    assert load_model("both").cells[-2:] == ["mine", "another"]
    error = avocado("train", *keys, "stage=pilot", "model=made").error
    assert "stage=transfer, or with stage=genome" in error


def test_it_survives_kill_9(shell, avocado, demo, source, tmp_path):
    table = write_table(tmp_path, demo)
    steps = ("transfer.steps=4000", "transfer.patience=1000", "transfer.checkpoint_every=0", "verdict=false")
    arguments = [*FAST, *steps, f"model={source}", f"table={table}"]
    process = shell("train.py", *arguments, "out=killed")
    checkpoint = tmp_path / "killed" / "transfer" / "cells.ckpt"
    end = time.monotonic() + 120
    while not checkpoint.is_file() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert checkpoint.is_file(), process.communicate()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / "model.yaml").exists()
    assert torch.load(checkpoint, weights_only=True)["step"] >= 20
    for out in ("killed", "whole"):
        answer = avocado("train", *arguments, f"out={out}")
        assert answer.status == 0, answer
    for name in ("shared.safetensors", "transfer/history.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_each_bad_input_is_one_line(avocado, demo, source, tmp_path, unchanged):
    table = write_table(tmp_path, demo)
    text = table.read_text()

    def error(*more: str, content: str = text) -> str:
        table.write_text(content)
        with unchanged():
            return avocado("train", *FAST, f"model={source}", f"table={table}", "out=made", *more).error

    assert "give table=" in avocado("train", *FAST, f"model={source}").error
    assert "give its directory, model=" in avocado("train", *FAST, f"table={table}").error
    assert "no model here" in avocado("train", *FAST, "model=nowhere", f"table={table}").error
    assert "knows no assay 'H3K27bc' (did you mean H3K27ac?)" in error(content=text.replace("H3K27ac\t", "H3K27bc\t"))
    assert "stem1 is a cell type that model" in error(content=text.replace("mine\t", "stem1\t"))
    assert "no such table" in avocado("train", *FAST, f"model={source}", "table=missing.tsv", "out=made").error
    assert "goes alone" in error("stage.steps=[transfer,genome]")
    assert "has no factors of 'chr9'" in error("regions=chr9")
    assert "transfer: penalty=-1" in error("transfer.penalty=-1")
    assert "unknown key 'transfer.step'" in error("transfer.step=3")
    damaged = tmp_path / "damaged.bigwig"
    damaged.write_bytes(next(demo.table.parent.glob("bigwig/*")).read_bytes()[:2_000])
    damaged_error = error_of_file(avocado, source, table, text, damaged)
    assert "1 of 2 tracks cannot be used" in damaged_error
    assert "damaged.bigwig" in damaged_error


def error_of_file(avocado, source: Path, table: Path, text: str, file: Path) -> str:
    lines = text.splitlines()
    fields = lines[-1].split("\t")
    fields[2] = str(file)
    table.write_text("\n".join([*lines[:-1], "\t".join(fields)]) + "\n")
    return avocado("train", *FAST, f"model={source}", f"table={table}", "out=made").error


def test_tracks_of_another_assembly_and_a_model_of_another_shape(avocado, demo, source, tmp_path):
    import pyBigWig

    other = tmp_path / "other.bw"
    with pyBigWig.open(str(other), "w") as file:
        file.addHeader([("chr20", 99_000)])
        file.addEntries("chr20", 0, values=np.ones(100).tolist(), span=25, step=25)
    table = write_table(tmp_path, demo)
    error = error_of_file(avocado, source, table, table.read_text(), other)
    assert "other.bw" in error
    assert "chr20" in error or "chr21" in error
    tensors = load_file(source / "shared.safetensors")
    tensors["cell_factors"] = tensors["cell_factors"][:, :-1].contiguous()
    save_file(tensors, source / "shared.safetensors")
    table = write_table(tmp_path, demo)
    assert "shared.safetensors" in avocado("train", *FAST, f"model={source}", f"table={table}").error
    meta = yaml.safe_load((source / "model.yaml").read_text())
    meta["transfers"] = [{"source": "x"}]
    (source / "model.yaml").write_text(yaml.safe_dump(meta))
    assert "is damaged" in avocado("train", *FAST, f"model={source}", f"table={table}").error
