"""What users get wrong: one line that names the file, track or key, a status other than 0, nothing half written."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pyBigWig
import pytest
import torch
from safetensors.torch import load_file, save_file

from avocado.data.store import open_store
from avocado.model.directory import FORMAT_VERSION

pytest_plugins = ["demo"]

INTERRUPTED = "interrupted; the same command goes on where it stopped"


def write_bigwig(path, sizes, value=1.0, step=25):
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(sizes.items()))
        for chrom in sizes:
            file.addEntries(chrom, 0, values=[value] * (sizes[chrom] // step), span=step, step=step)


@pytest.fixture
def table(demo, tmp_path):
    """A copy of the demo's table with absolute files, to be spoiled: `save(rows)` writes it to my.tsv."""
    rows = pd.read_csv(demo.table, sep="\t")
    rows["file"] = [str(demo.path / file) for file in rows["file"]]

    def save(changed: pd.DataFrame) -> str:
        changed.to_csv(tmp_path / "my.tsv", sep="\t", index=False)
        return "table=my.tsv"

    return rows, save


@pytest.fixture
def ingest(avocado, demo):
    """`ingest("table=...")` of chr20 into s."""
    return lambda *keys: avocado("ingest", *demo.source, "regions=chr20", "out=s", *keys)


# --- track files -----------------------------------------------------------------------------------------------------


def missing(path, good):
    return "no such file"


def truncated(path, good):
    path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    return "truncated"


def header_only(path, good):
    path.write_bytes(good.read_bytes()[:40])
    return "truncated"


def text(path, good):
    path.write_text("chr20\t0\t25\t1.5\n")
    return "not a bigWig but a text file"


def empty(path, good):
    path.write_bytes(b"")
    return "empty"


def other_chromosomes(path, good):
    write_bigwig(path, {"chr1": 1_000})
    return "no chromosome 'chr20'"


def without_chr(path, good):
    write_bigwig(path, {"20": 150_017})
    return "'20', not 'chr20'"


def other_assembly(path, good):
    write_bigwig(path, {"chr20": 150_042})
    return "not of assembly demo"


@pytest.mark.parametrize(
    "spoil", [missing, truncated, header_only, text, empty, other_chromosomes, without_chr, other_assembly]
)
def test_bad_bigwig(ingest, table, demo, tmp_path, unchanged, spoil):
    rows, save = table
    bad = tmp_path / "bad.bigWig"
    named = spoil(bad, demo.bigwig("stem2", "DNase"))
    rows.loc[3, "file"] = str(bad)
    key = save(rows)
    with unchanged():
        error = ingest(key).error
    assert "bad.bigWig" in error
    assert f"{rows.loc[3, 'cell']} {rows.loc[3, 'assay']}" in error
    assert "1 of 30 tracks" in error
    assert named in error


def test_all_bad_files_are_named_at_once(ingest, table, tmp_path, unchanged):
    rows, save = table
    for row in (1, 4, 7):
        rows.loc[row, "file"] = f"/nowhere/{row}.bigWig"
    key = save(rows)
    with unchanged():
        error = ingest(key).error
    assert "3 of 30 tracks" in error
    assert any(f"/nowhere/{row}.bigWig: no such file" in error for row in (1, 4, 7))  # and of the others the same
    assert all(f"{rows.loc[row, 'cell']} {rows.loc[row, 'assay']}" in error for row in (1, 4, 7))


def test_wrong_assembly(ingest, demo, unchanged):
    with unchanged():
        assert "not of assembly hg38" in ingest("assembly=hg38").error
        assert "unknown assembly 'hg17'" in ingest("assembly=hg17").error


def test_chromosome_that_no_file_has(ingest, tmp_path, demo, unchanged):
    (tmp_path / "more.chrom.sizes").write_text(demo.sizes.read_text() + "chr22\t51304566\n")
    with unchanged():
        assert "chr22" in ingest("regions=chr22", "assembly=more.chrom.sizes").error
        assert "did you mean 'chr20'?" in ingest("regions=20").error


def test_infinite_value_inside_a_bigwig(ingest, table, tmp_path, demo):
    rows, save = table
    write_bigwig(tmp_path / "bad.bigWig", {"chr20": 150_017, "chr21": 100_013}, float("inf"))
    rows.loc[3, "file"] = str(tmp_path / "bad.bigWig")
    key = save(rows)
    error = ingest(key).error
    assert "bad.bigWig has an infinite value at chr20:0" in error
    # found while reading: what was read before is kept for the next time, and not taken for a store
    assert not (tmp_path / "s").exists()
    assert "has not finished" in ingest_state(tmp_path / "s")
    shutil.copy(demo.bigwig("stem2", "DNase"), tmp_path / "bad.bigWig")
    assert ingest(key).status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.bigWig", "my.tsv", "s"]


def ingest_state(path):
    with pytest.raises(ValueError, match=r"\w") as refused:
        open_store(path)
    return str(refused.value)


@pytest.mark.parametrize("kind", [".npy", ".npz"])
@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda signal: signal[:-1], "wrong length: it holds 5,999 values, region chr20 has 6,000 bins"),
        (lambda signal: signal[None], "shape (1, 6000)"),
        (lambda signal: np.where(np.arange(6_000) == 7, np.nan, signal), "the first at bin 7"),
        (lambda signal: np.where(np.arange(6_000) == 7, -np.inf, signal), "the first at bin 7"),
        (lambda signal: signal * 1e6, "beyond float16"),
        (lambda signal: signal.astype("S5"), "not numbers"),
    ],
)
def test_bad_array(ingest, table, store, tmp_path, kind, spoil, named):
    rows, save = table
    signal = spoil(open_store(store).read_track("stem2", "DNase", "chr20") + 1)
    bad = tmp_path / f"bad{kind}"
    np.save(bad, signal) if kind == ".npy" else np.savez(bad, chr20=signal)
    rows.loc[3, "file"] = str(bad)
    error = ingest(save(rows)).error
    assert bad.name in error
    assert f"{rows.loc[3, 'cell']} {rows.loc[3, 'assay']}" in error
    assert named in error
    assert not (tmp_path / "s").exists()


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rows: pd.concat([rows, rows[3:4]]), ["twice", "lines 5 and 32"]),
        (lambda rows: rows[:0], ["no tracks"]),
        (lambda rows: rows.drop(columns="assay"), ["no column 'assay'"]),
        (lambda rows: rows.assign(cell=[""] + ["x"] * 29), ["line 2", "cell is empty"]),
        (lambda rows: rows[:3], ["none of the 3 tracks", "5 assays"]),
    ],
)
def test_bad_table(ingest, table, unchanged, change, named):
    rows, save = table
    key = save(change(rows))
    with unchanged():
        error = ingest(key).error
    for word in named:
        assert word in error


def test_no_table(ingest, tmp_path, unchanged):
    (tmp_path / "empty.tsv").write_text("")
    (tmp_path / "binary.tsv").write_bytes(bytes(range(256)) * 10)
    with unchanged():
        for file in ("none.tsv", "empty.tsv", "binary.tsv"):
            assert file in ingest(f"table={file}").error
        assert "nowhere" in ingest("folder=nowhere", "table=null").error


# --- splits and models -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "kind"), [("cell", "cell type"), ("assay", "assay")])
def test_nothing_left_to_train_on(avocado, store, quick, unchanged, column, kind):
    tracks = open_store(store).tracks
    alone = tracks[tracks[column] == tracks[column].iloc[0]]
    names = ",".join(f"{cell}:{assay}" for cell, assay in zip(alone["cell"], alone["assay"], strict=True))
    with unchanged():
        error = avocado("train", *quick, f"store={store}", "stage=pilot", "fold=all", f"split.hold_out=[{names}]").error
    assert f"{kind} {tracks[column].iloc[0]} has no training track left" in error


def remove_yaml(model):
    (model / "model.yaml").unlink()
    return "model.yaml"


def spoil_yaml(model):
    (model / "model.yaml").write_text("format_version: 1\nmodel: [")
    return "model.yaml is damaged"


def future_format(model):
    (model / "model.yaml").write_text(
        (model / "model.yaml").read_text().replace(f"format_version: {FORMAT_VERSION}", "format_version: 9")
    )
    return "model format 9"


def remove_shared(model):
    (model / "shared.safetensors").unlink()
    return "shared.safetensors is missing"


def spoil_shared(model):
    content = (model / "shared.safetensors").read_bytes()
    (model / "shared.safetensors").write_bytes(content[: len(content) // 2])
    return "shared.safetensors"


def change_shared(model):
    tensors = load_file(model / "shared.safetensors")
    tensors["cell_factors"] += 1
    save_file(tensors, model / "shared.safetensors")
    return "shared.safetensors is not the file that model.yaml describes"


def spoil_genome(model):
    content = (model / "chr20.safetensors").read_bytes()
    (model / "chr20.safetensors").write_bytes(content[:-100])
    return "chr20.safetensors"


def other_genome(model):
    save_file({"genome": torch.zeros(3, 3)}, model / "chr20.safetensors")
    return "chr20.safetensors"


def other_shape(model):
    from safetensors import safe_open

    with safe_open(model / "chr20.safetensors", framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(model / "chr20.safetensors")
    tensors["genome"] = tensors["genome"][:, :-1].contiguous()
    save_file(tensors, model / "chr20.safetensors", metadata=metadata)
    return "chr20.safetensors holds factors of shape"


def other_cells(model):
    text = (model / "model.yaml").read_text()
    (model / "model.yaml").write_text(text.replace("cells: [", "cells: [new1, "))
    return "cell_factors has shape"


@pytest.mark.parametrize(
    "spoil",
    [remove_yaml, spoil_yaml, future_format, remove_shared, spoil_shared, change_shared, spoil_genome, other_genome,
     other_shape, other_cells],
)  # fmt: skip
def test_bad_model(avocado, model, tmp_path, unchanged, spoil):
    mine = tmp_path / "my_model"
    shutil.copytree(model, mine)
    named = spoil(mine)
    with unchanged():
        error = avocado("impute", "model=my_model", "cell=stem1", "assay=DNase", "progress=false").error
    assert "my_model" in error
    assert named in error


def test_bad_store(avocado, store, model, quick, tmp_path, unchanged):
    mine = tmp_path / "my_store"
    shutil.copytree(store, mine)
    (mine / "chr20.npy").unlink()
    content = (mine / "chr21.npy").read_bytes()
    (mine / "chr21.npy").write_bytes(content[:-1_000])
    with unchanged():
        assert "chr20.npy is missing" in avocado("score", f"model={model}", "store=my_store", "region=chr20").error
    for chrom in ("chr20", "chr21"):
        assert f"{chrom}.npy" in avocado("train", *quick, "store=my_store", "stage=joint", f"chrom={chrom}").error
    (mine / "store.json").write_text("{}")
    assert "store.json is damaged" in avocado("inspect", "path=my_store").error


# --- places that cannot be written ------------------------------------------------------------------------------------


def test_no_permission(avocado, demo, model, store, quick, tmp_path, unchanged):
    # below a regular file nobody may write, root included
    (tmp_path / "file").write_text("")
    with unchanged():
        assert "file/x" in avocado("simulate", "out=file/x").error
        assert "file/x" in avocado("ingest", *demo.source, "regions=chr20", "out=file/x").error
        assert "file/x" in avocado("train", *quick, f"store={store}", "stage=pilot", "runs=file/x").error
        assert "file/x" in avocado(
            "train", *quick, f"store={store}", "stage=pilot", "runs=file/x", "logger=wandb", "logger.mode=offline"
        ).error  # fmt: skip
        for name in ("x.bigWig", "x.npz"):
            error = avocado("impute", f"model={model}", "cell=stem1", "assay=DNase", f"out=file/{name}").err
            assert f"error: cannot write file/{name}" in error
        assert "file/s" in avocado("score", f"model={model}", f"store={store}", "region=chr20", "out=file/s").error


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("there is no command mount here")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_full_disk(avocado, demo, model, store, quick, small_disk):
    error = avocado("ingest", *demo.source, f"regions={demo.pilot},chr20,chr21", f"out={small_disk}/s").error
    assert "No space left on device" in error
    assert not (small_disk / "s").exists()
    assert not list(small_disk.rglob("*.tmp"))
    shutil.rmtree(small_disk / "s.partial")
    error = avocado("train", *quick, f"store={store}", "stage=pilot", f"runs={small_disk}/r").error
    assert "No space left on device" in error
    assert not list(small_disk.rglob("done.json"))
    assert not list(small_disk.rglob("*.tmp"))
    shutil.rmtree(small_disk / "r")
    for name in ("x.bigWig", "x.npz"):
        answer = avocado(
            "impute", f"model={model}", "cell=stem1", "assay=DNase", "progress=false", f"out={small_disk}/{name}"
        )
        if name == "x.bigWig":
            assert name in answer.error
            assert not list(small_disk.iterdir())
    error = avocado("simulate", f"out={small_disk}/d").error
    assert f"{small_disk}/d" in error
    assert {path.name for path in small_disk.iterdir()} == {"x.npz", ".x.npz.json"}


def test_full_disk_in_a_sweep(avocado, store, quick, small_disk):
    """Too little room for the study; trials themselves write nothing."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes(250_000))
    keys = [*quick, f"store={store}", f"runs={small_disk}/r", "sweep=small", "sweep.trials=1"]
    error = avocado("sweep", *keys).err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "No space left on device" in error or "disk is full" in error
    assert not list(small_disk.rglob(".worker*"))
    # the study is whole, and the same command goes on with it where there is room
    subprocess.run(["mount", "-o", "remount,size=5m", str(small_disk)], check=True)
    assert avocado("sweep", *keys).status == 0


def test_full_disk_in_a_whole_genome(avocado, store, quick, small_disk):
    answer = avocado("genome", *quick, f"store={store}", f"runs={small_disk}/r")
    assert answer.status == 2
    assert "No space left on device" in answer.err
    assert answer.err.splitlines()[-1].startswith("error: ")
    assert not list(small_disk.rglob("*.tmp"))
    assert "not complete" in avocado("inspect", f"path={small_disk}/r/model/foldall/seed0").out


def test_full_disk_while_writing_arrays_and_tables(avocado, demo, model, store, tmp_path, monkeypatch, unchanged):
    import errno
    import os

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))

    monkeypatch.setattr("avocado.utils.files.os.replace", full)
    with unchanged():
        keys = [f"model={model}", "cell=stem1", "assay=DNase", "progress=false"]
        for name in ("x.npz", "x.bigWig"):
            error = avocado("impute", *keys, f"out={name}").error
            assert f"cannot write {name}: No space left on device" in error
    error = avocado("score", f"model={model}", f"store={store}", "region=chr20", "out=o").error
    assert "cannot write o/chr20/" in error
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def interrupt(process: subprocess.Popen, started, seconds: float = 60) -> str:
    """Send Ctrl-C as soon as `started()`; returns the error stream."""
    end = time.monotonic() + seconds
    while not started():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=seconds)
    assert process.returncode == 130, (process.returncode, err)
    assert "Traceback" not in err
    assert err.splitlines()[-1] == INTERRUPTED
    return err


def test_interrupted_ingest_goes_on(shell, avocado, demo, table, tmp_path):
    rows, save = table
    rows = pd.concat([rows.assign(cell=rows["cell"] + f" {copy}") for copy in range(30)])
    keys = [*demo.source, save(rows), "regions=chr20,chr21", "out=s"]
    interrupt(shell("ingest", *keys), lambda: len(list(tmp_path.glob("s.partial/parts/*/part.json"))) > 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.tsv", "s.partial"]
    assert not list(tmp_path.rglob("*.tmp"))
    done = len(list(tmp_path.glob("s.partial/parts/*/part.json")))
    assert 0 < done < len(rows)
    assert avocado("ingest", *keys).status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.tsv", "s"]
    assert len(open_store(tmp_path / "s").tracks) == len(rows)


def test_interrupted_training_goes_on(shell, avocado, store, quick, tmp_path):
    keys = [*quick, f"store={store}", "stage=joint", "chrom=chr21", "epochs.joint=150"]
    run = tmp_path / "runs/joint/chr21/fold0/seed0"
    process = shell("train.py", *keys, "fit.checkpoint_every=0")
    interrupt(process, (run / "checkpoint.ckpt").is_file)
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (run / "done.json").exists()
    assert not (run / "model").exists()
    answer = avocado("train", *keys)
    assert answer.status == 0, answer
    assert len(pd.read_csv(run / "history.csv")) == 150
    assert not (run / "checkpoint.ckpt").exists()
    # the model of a run that was never interrupted
    assert avocado("train", *keys, "runs=whole").status == 0
    mine, whole = (
        load_file(tmp_path / runs / "joint/chr21/fold0/seed0/model/chr21.safetensors") for runs in ("runs", "whole")
    )
    torch.testing.assert_close(mine["genome"], whole["genome"], rtol=0, atol=0)


def test_interrupted_impute_goes_on(shell, avocado, store, quick, tmp_path):
    wide = ["model.layers=2", "model.nodes=512"]
    assert avocado("train", *quick, f"store={store}", "stage=joint", "chrom=chr21", *wide).status == 0
    keys = ["model=runs/joint/chr21/fold0/seed0/model", "pairs=all", "progress=false"]
    interrupt(shell("impute", *keys), lambda: len(list(tmp_path.glob("imputed/.*.tmp"))) == 36)
    assert not list(tmp_path.glob("imputed/*"))
    assert avocado("impute", *keys).status == 0
    assert len(list(tmp_path.glob("imputed/*.bw"))) == 36
