"""The commands as a user types them: keys, lists, several runs, what is printed and what lies where afterwards."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from avocado.cli import VERBS, app
from avocado.config.values import as_list

pytest_plugins = ["demo"]

HEAVY = ("torch", "hydra", "omegaconf", "pyBigWig", "matplotlib", "pandas", "numpy")
CONSOLE = "from avocado.cli import main; main()"

# --- the command itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--help"], *([verb, "--help"] for verb in VERBS)])
def test_help_is_quick_and_imports_nothing_heavy(arguments):
    started = time.monotonic()
    code = f"import atexit, sys; atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules])); {CONSOLE}"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert time.monotonic() - started < 2
    assert done.returncode == 0, done.stderr
    *text, imported = done.stdout.splitlines()
    assert imported == "[]"
    if len(arguments) == 2:
        assert text == app.help_text(arguments[0]).splitlines()
    else:
        assert [line.split()[0] for line in text if line.startswith("  ")] == list(VERBS)


def test_unknown_command(shell):
    out, err = shell("imput").communicate(timeout=60)
    assert out == ""
    assert err == f"error: avocado has no command 'imput' (did you mean impute?); it has: {', '.join(VERBS)}\n"


def test_version(shell):
    import avocado

    assert shell("--version").communicate(timeout=60)[0] == f"avocado {avocado.__version__}\n"


def test_train_py_is_avocado_train(shell):
    out, _ = shell("train.py", "--help").communicate(timeout=60)
    assert out.rstrip("\n") == app.help_text("train")


def test_train_py_is_a_plain_hydra_app(shell):
    out, _ = shell("train.py", "--cfg", "job", "--package", "stage", "stage=pilot").communicate(timeout=60)
    assert out.splitlines()[-4:] == ["# @package stage", "steps:", "- pilot", "impute: false"]


# --- keys and values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["stage=foo"], ["stage", "'foo'", "all, genome, joint, pilot"]),
        (["model=huge"], ["'huge'", "default, medium, paper, small, tiny"]),
        (["-m", "model=tiny,huge"], ["'huge'"]),
        (["chorm=chr20"], ["unknown key 'chorm'", "did you mean chrom?", "fold", "epochs"]),
        (["model.nods=3"], ["unknown key 'model.nods'", "model.nodes"]),
        (["chrom"], ["'chrom'", "key=value"]),
        (["chrom=chr20,chr21"], ["chrom has several values", "-m"]),
        (["chrom=chr99"], ["unknown chrom 'chr99'", "pilot, chr20, chr21", "ingest"]),
        (["chrom=20"], ["unknown chrom '20'", "pilot, chr20, chr21"]),
        (["fold=9"], ["no fold 9", "0, 1, 2, 3, 4"]),
        (["fold=first"], ["fold=first", "all"]),
        (["seed=one"], ["seed=one", "whole number"]),
        (["seed=-1"], ["seed=-1"]),
        (["epochs.pilot=0"], ["epochs", "0"]),
        (["epochs.pilot=many"], ["epochs.pilot=many", "whole number"]),
        (["epochs=3"], ["epochs=3"]),
        (["optimizer.learning_rate=fast"], ["optimizer.learning_rate=fast", "a number"]),
        (["overwrite=maybe"], ["overwrite=maybe", "true or false"]),
        (["split.folds=x"], ["split.folds=x"]),
        (["split.validation=x"], ["split.validation=x"]),
        (["split.folds=1"], ["1 folds"]),
        (["split.hold_out=E003:DNase"], ["hold_out 'E003:DNase'"]),
        (["stage.steps=[]"], ["stage.steps", "pilot, genome, joint"]),
        (["stage.steps=[pilots]"], ["stage.steps", "pilots"]),
        (["trainer.threads=x"], ["trainer.threads=x"]),
        (["fit.memory_limit=x"], ["fit.memory_limit=x"]),
        (["trainer.device=tpu"], ["device 'tpu' cannot be used"]),
        (["trainer.precision=fp8"], ["'fp8'", "auto, bf16, tf32, float32"]),
        (["trainer.device=cpu", "trainer.precision=tf32"], ["tf32 is for CUDA"]),
        (["model.nodes=-1"], ["model.nodes=-1"]),
        (["model.kind=paper", "model.baseline=none", "model.nodes=0"], ["model.nodes=0"]),
        (["store=nowhere"], ["nowhere", "avocado ingest"]),
    ],
)
def test_train_refuses_in_one_line_and_writes_nothing(avocado, store, quick, unchanged, arguments, named):
    with unchanged():
        error = avocado("train", *quick, f"store={store}", "stage=genome", *arguments).error
    for word in named:
        assert word in error


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("cell=E003", "E003"),
        ("cell=E003,E004", ["E003", "E004"]),
        ("cell=[E003,E004]", ["E003", "E004"]),
        ("cell=CD8 naive (T)", "CD8 naive (T)"),
        ("cell=CD8 naive (T),E003", ["CD8 naive (T)", "E003"]),
        ("cell=[CD8 naive (T),it's {x}]", ["CD8 naive (T)", "it's {x}"]),
        ("cell=1.50", "1.50"),
        ("cell=007", "007"),
        ("out=2024", "2024"),
        ("out={cell} at {assay}.bw", "{cell} at {assay}.bw"),
        (r"out=C:\new\{cell}.bw", r"C:\new\{cell}.bw"),
        ("out=(x)/y=z.bw", "(x)/y=z.bw"),
        ("pairs=null", None),
    ],
)
def test_values_arrive_as_they_were_typed(monkeypatch, typed, meant):
    seen = []
    assert app.run("impute", seen.append, ["model=m", typed]) == 0
    value = seen[0][typed.partition("=")[0]]
    assert (as_list(value) if isinstance(meant, list) else value) == meant


@pytest.mark.parametrize(("typed", "meant"), [("no", False), ("yes", True), ("False", False), ("true", True)])
def test_yes_and_no_in_the_words_that_people_use(typed, meant):
    seen = []
    assert app.run("impute", seen.append, ["model=m", f"overwrite={typed}"]) == 0
    assert seen[0].overwrite is meant


@pytest.mark.parametrize(
    ("verb", "key", "value"),
    [("table1", "methods.nearest", "imputer=nearest"), ("sweep", "sweep.train", "split.validation=0.25")],
)
@pytest.mark.parametrize("quote", ["", "'"])
def test_a_list_of_keys_needs_no_quotes(verb, key, value, quote):
    seen = []
    assert app.run(verb, seen.append, [f"{key}=[{quote}{value}{quote}]"]) == 0
    assert list(OmegaConf.select(seen[0], key)) == [value]


def test_what_only_the_task_needs_is_asked_for(avocado, unchanged):
    with unchanged():
        assert "model" in avocado("impute").error
        assert "path" in avocado("inspect").error
        assert "table=" in avocado("ingest", "out=s", "assembly=hg19").error
        assert "observed=" in avocado("score").error


# --- simulate and ingest ---------------------------------------------------------------------------------------------


def test_simulate_then_the_commands_it_prints(avocado, tmp_path):
    small = ["out=d", "chromosomes={chr20: 80003}", "cells=5", "assays=DNase,H3K4me3,H3K4me1,H3K27ac,H3K36me3"]
    answer = avocado("simulate", *small)
    assert answer.status == 0
    assert (tmp_path / "d" / "compendium.tsv").is_file()
    typed = answer.out.partition("avocado ingest ")[2].replace("\\\n", " ").split()
    assert avocado("ingest", *typed, "workers=1").status == 0
    assert (tmp_path / "demo_store" / "chr20.npy").is_file()
    # the same seed finds its demo, another one does not overwrite it
    assert avocado("simulate", *small).status == 0
    assert "seed" in avocado("simulate", *small, "seed=1").error


def test_ingest_says_what_it_made_and_what_is_next(avocado, demo, tmp_path):
    answer = avocado("ingest", *demo.source, f"regions={demo.pilot}", "out=2024")
    assert answer.status == 0
    assert answer.err == ""
    assert "next:\n" in answer.out
    tracks = len(pd.read_csv(demo.table, sep="\t"))
    assert f"{tracks} tracks: 6 cell types, 6 assays" in answer.out
    assert "  python train.py store=2024 stage=pilot" in answer.out
    # more regions are added to what is there
    answer = avocado("ingest", *demo.source, f"regions={demo.pilot},chr21", "out=2024")
    assert "  python train.py store=2024 chrom=chr21" in answer.out
    assert sorted(path.name for path in (tmp_path / "2024").iterdir()) == ["chr21.npy", "pilot.npy", "store.json"]
    assert not (tmp_path / "2024.partial").exists()


def test_ingest_a_folder(avocado, demo, store):
    from avocado.data.store import open_store

    pattern = "{cell}-{assay}.pval.signal.bigwig"
    arguments = ["assembly=" + str(demo.sizes), "workers=1", "progress=false", "regions=chr21", "out=s"]
    answer = avocado("ingest", f"folder={demo.path / 'bigwig'}", f"pattern={pattern}", *arguments)
    assert answer.status == 0, answer
    assert "stage=joint chrom=chr21" in answer.out
    mine, other = open_store("s"), open_store(store)
    np.testing.assert_array_equal(
        mine.read_track("stem2", "DNase", "chr21"), other.read_track("stem2", "DNase", "chr21")
    )


# --- train -----------------------------------------------------------------------------------------------------------


def test_genome_trains_the_missing_pilot_first_and_a_rerun_finds_all_done(avocado, store, quick, tmp_path):
    arguments = [*quick, f"store={store}", "stage=genome", "chrom=chr21"]
    first = avocado("train", *arguments)
    assert first.status == 0, first
    assert "no pilot model for fold 0 and seed 0 yet: training it first" in first.out
    assert first.out.index("\npilot: done,") < first.out.index("genome chr21: done,")
    files = sorted(path.name for path in (tmp_path / "runs" / "model" / "fold0" / "seed0").iterdir())
    assert files == ["README.md", "chr21.safetensors", "model.yaml", "pilot.safetensors", "shared.safetensors"]
    again = avocado("train", *arguments)
    assert "genome chr21: done before," in again.out
    assert "pilot" not in again.out.partition("genome chr21")[0]
    # the same table of scores, and the same advice
    assert first.out.partition("genome chr21: done")[2].partition("\n")[2] in again.out


def test_other_settings_are_no_rerun(avocado, store, quick, unchanged):
    arguments = [*quick, f"store={store}", "stage=pilot"]
    assert avocado("train", *arguments).status == 0
    with unchanged():
        error = avocado("train", *arguments, "model.nodes=9").error
    assert "model.nodes was 8, is 9" in error
    assert "overwrite=true" in error
    assert "runs=" in error
    answer = avocado("train", *arguments, "model.nodes=9", "overwrite=true")
    assert "pilot: done, " in answer.out


def test_several_chromosomes_and_folds_in_turn(avocado, store, quick, tmp_path):
    answer = avocado("train", *quick, f"store={store}", "stage=genome", "-m", "chrom=chr20,chr21", "fold=0..1")
    assert answer.status == 0, answer
    done = sorted(path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("done.json"))
    assert done == [
        *(f"runs/genome/{chrom}/fold{fold}/seed0" for chrom in ("chr20", "chr21") for fold in (0, 1)),
        *(f"runs/pilot/pilot/fold{fold}/seed0" for fold in (0, 1)),
    ]
    # Hydra leaves nothing of its own
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
    splits = [pd.read_csv(tmp_path / f"runs/pilot/pilot/fold{fold}/seed0/split.tsv", sep="\t") for fold in (0, 1)]
    first, second = (set(map(tuple, s[s["role"] == "test"][["cell", "assay"]].to_numpy())) for s in splits)
    assert first
    assert second
    assert not first & second


def test_a_range_needs_no_m(avocado, store, quick, tmp_path):
    assert avocado("train", *quick, f"store={store}", "stage=pilot", "seed=0..1").status == 0
    assert sorted(path.name for path in (tmp_path / "runs/pilot/pilot/fold0").iterdir()) == ["seed0", "seed1"]


def test_one_of_several_runs_that_fails_leaves_the_others_alone(avocado, store, quick, tmp_path):
    answer = avocado("train", *quick, f"store={store}", "stage=joint", "-m", "chrom=chr99,chr20")
    assert answer.status == 2
    assert "chrom=chr99: failed: unknown chrom 'chr99'" in answer.out
    assert "joint chr20: done" in answer.out
    *_, why, last = answer.err.splitlines()
    assert why.startswith("failed: chrom=chr99: unknown chrom 'chr99'; store ")
    assert last == "error: 1 of 2 runs failed (chrom=chr99); the same command does what is missing"
    assert "Traceback" not in answer.err


def test_what_is_wrong_with_all_of_several_runs_is_said_once(avocado, quick, unchanged):
    with unchanged():
        answer = avocado("train", *quick, "store=nowhere", "stage=joint", "-m", "chrom=chr20,chr21")
    assert answer.status == 2
    assert [line for line in answer.err.splitlines() if "nowhere" in line] == [answer.err.splitlines()[-1]]


def test_hold_out_instead_of_a_fold(avocado, store, quick, tmp_path):
    arguments = [*quick, f"store={store}", "stage=pilot", "fold=all"]
    answer = avocado("train", *arguments, "split.hold_out=[stem1:H3K4me3]")
    assert answer.status == 0, answer
    split = pd.read_csv(tmp_path / "runs/pilot/pilot/foldall/seed0/split.tsv", sep="\t")
    assert split[split["role"] == "test"][["cell", "assay"]].to_numpy().tolist() == [["stem1", "H3K4me3"]]
    assert "stem1 H3K4me3" in answer.out
    assert "average activity" in answer.out


def test_without_held_out_tracks_there_are_no_scores(avocado, store, quick, unchanged, tmp_path):
    answer = avocado("train", *quick, f"store={store}", "stage=joint", "chrom=chr21", "fold=all")
    assert answer.status == 0, answer
    assert "nothing to score" in answer.out
    run = tmp_path / "runs/joint/chr21/foldall/seed0"
    assert not (run / "scores.csv").exists()
    with unchanged():
        assert "hold some out" in avocado("score", f"model={run / 'model'}", f"store={store}").error


def test_wandb_offline(avocado, store, quick, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    arguments = [*quick, f"store={store}", "stage=pilot", "logger=wandb", "logger.mode=offline"]
    process = subprocess.run(
        [sys.executable, "-c", CONSOLE, "train", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    (folder,) = (tmp_path / "runs/pilot/pilot/fold0/seed0/wandb").glob("offline-run-*")
    (record,) = folder.glob("*.wandb")
    content = record.read_bytes()
    for logged in (b"train/mse", b"genome_optimizer", b"pilot-pilot-fold0-seed0"):
        assert logged in content
    # an exit record: the run is finished, and not marked as failed
    assert (tmp_path / "runs/pilot/pilot/fold0/seed0/done.json").is_file()


@pytest.mark.slow
def test_wandb_without_a_key(store, quick, tmp_path, monkeypatch):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    environment |= {"HOME": str(tmp_path / "home"), "NETRC": str(tmp_path / "netrc"), "OMP_NUM_THREADS": "1"}
    environment |= {"WANDB_BASE_URL": "http://127.0.0.1:9"}  # nobody answers there
    process = subprocess.run(
        [sys.executable, "-c", CONSOLE, "train", *quick, f"store={store}", "stage=pilot", "logger=wandb"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    assert "not logged in" in process.stderr
    assert "wandb sync" in process.stderr
    assert "Traceback" not in process.stderr
    assert len(list(tmp_path.glob("runs/pilot/pilot/fold0/seed0/wandb/offline-run-*"))) == 1


# --- impute ----------------------------------------------------------------------------------------------------------


def test_impute_one_pair_and_skip_what_is_there(avocado, model, tmp_path):
    from avocado.data.bigwig import chromosomes

    arguments = [f"model={model}", "progress=false", "cell=stem1", "assay=DNase", "out=o/x.bigWig"]
    answer = avocado("impute", *arguments)
    assert answer.status == 0, answer
    assert answer.out.startswith("1 track over chr20 as −log10 p: o/x.bigWig\nnext:\n")
    file = tmp_path / "o" / "x.bigWig"
    assert chromosomes(file) == {"chr20": 150_017, "chr21": 100_013}
    before = file.stat().st_mtime_ns
    assert "1 of 1 files are there already" in avocado("impute", *arguments).out
    assert file.stat().st_mtime_ns == before
    assert avocado("impute", *arguments, "overwrite=true").status == 0
    assert file.stat().st_mtime_ns > before


def test_what_another_run_made_is_never_there_already(avocado, model, store, quick, tmp_path, unchanged):
    joint = [*quick, f"store={store}", "stage=joint", "chrom=chr20", "seed=1"]
    assert avocado("train", *joint).status == 0
    keys = ["progress=false", "cell=stem1", "assay=DNase", "out=x.bw"]
    assert avocado("impute", f"model={model}", *keys).status == 0
    other = ["model=runs/joint/chr20/fold0/seed1/model", *keys]
    remedy = "overwrite=true writes it again, or choose another out="
    with unchanged():
        for typed, said in (
            (other, "model was "),
            ([f"model={model}", *keys, "scale=arcsinh"], "scale was pval, is arcsinh"),
            ([f"model={model}", *keys, "regions=chr20:1-5,000"], "regions.chr20 was "),
            ([f"model={model}", *keys, "decimals=null"], "decimals was 2, is None"),
            ([f"model={model}", *keys, "cell=stem2"], "cell was stem1, is stem2"),
            (["imputer=average", f"store={store}", *keys], ", is average; "),
        ):
            error = avocado("impute", *typed).error
            assert error.startswith("x.bw is there and was made otherwise (")
            assert said in error
            assert error.endswith(remedy)
    before = (tmp_path / "x.bw").read_bytes()
    assert avocado("impute", *other, "overwrite=true").status == 0
    assert (tmp_path / "x.bw").read_bytes() != before
    assert "1 of 1 files are there already" in avocado("impute", *other).out
    (tmp_path / "x.bw").write_bytes(before)
    with unchanged():
        assert f"nothing says that it was made by this command: {remedy}" in avocado("impute", *other).error


def test_impute_removes_what_a_killed_process_left(avocado, model, tmp_path):
    from avocado.utils.files import temporary_name

    ended = subprocess.Popen(["true"])
    ended.wait()
    keys = [f"model={model}", "progress=false", "cell=stem1", "assay=DNase", "out=o/x.bw"]
    assert avocado("impute", *keys).status == 0
    for name in ("x.bw", "y.bw"):
        temporary_name(tmp_path / "o" / name, ended.pid).write_text("half")
    assert "1 of 1 files are there already" in avocado("impute", *keys).out
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"x.bw", ".x.bw.json"}


@pytest.mark.parametrize(("cells", "assays", "n"), [("stem1,stem2", "[DNase,H3K4me1]", 4), ("stem1", "null", 6)])
def test_impute_lists(avocado, model, tmp_path, cells, assays, n):
    answer = avocado("impute", f"model={model}", "progress=false", f"cell={cells}", f"assay={assays}",
                     "out=my tracks/{assay} of {cell} (a).bw")  # fmt: skip
    assert answer.status == 0, answer
    names = {path.name for path in (tmp_path / "my tracks").glob("[!.]*")}
    assert len(names) == n
    assert {"DNase of stem1 (a).bw", "H3K4me1 of stem1 (a).bw"} <= names


@pytest.mark.parametrize("named", ["unmeasured", "held_out", None])
def test_impute_named_pairs(avocado, model, tmp_path, named):
    tracks = pd.read_csv(model.parents[2] / "pilot/pilot/fold0/seed0/split.tsv", sep="\t")
    measured = {f"{cell}-{assay}.bw" for cell, assay in zip(tracks["cell"], tracks["assay"], strict=True)}
    test = tracks[tracks["role"] == "test"]
    held_out = {f"{cell}-{assay}.bw" for cell, assay in zip(test["cell"], test["assay"], strict=True)}
    answer = avocado("impute", f"model={model}", "progress=false", *([f"pairs={named}"] if named else []))
    assert answer.status == 0, answer
    written = {path.name for path in (tmp_path / "imputed").glob("[!.]*")}
    if named == "held_out":
        assert written == held_out
    else:
        assert len(written) == 36 - len(measured) > 0
        assert not written & measured


def test_impute_arrays_agree_with_the_bigwig(avocado, model, tmp_path):
    from avocado.data.bigwig import read_bins
    from avocado.data.genome import Segment
    from avocado.model.scales import imputed_pval

    arguments = [f"model={model}", "progress=false", "cell=stem1", "assay=DNase"]
    assert avocado("impute", *arguments, "out=x.npz", "regions=chr20,pilot", "scale=arcsinh").status == 0
    assert avocado("impute", *arguments, "out=x.bigWig", "decimals=null").status == 0
    with np.load("x.npz") as arrays:
        assert sorted(arrays) == ["chr20", "pilot"]
        signal = arrays["chr20"]
    assert signal.shape == (6_000,)
    assert signal.dtype == np.float32
    from_bigwig = read_bins("x.bigWig", [Segment("chr20", 0, 6_000)])
    np.testing.assert_allclose(from_bigwig, imputed_pval(signal), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["cell=E003", "assay=DNase"], ["cell type 'E003'", "blood1"]),
        (["cell=stem1", "assay=CTCF"], ["assay 'CTCF'", "DNase"]),
        (["pairs=everything"], ["'everything'", "unmeasured, held_out, all"]),
        (["cell=stem1", "assay=DNase", "regions=chr21"], ["'chr21'", "pilot, chr20", "stage=genome chrom=chr21"]),
        (["cell=stem1", "assay=DNase", "regions=pilot,chr20"], ["chr20", "pilot", "overlap"]),
        (["cell=stem1", "assay=DNase", "scale=log"], ["'log'", "pval, arcsinh"]),
        (["cell=stem1", "assay=DNase", "device=abacus"], ["abacus"]),
        (["cell=stem1", "assay=DNase", "out=x.txt"], ["x.txt", ".bw or .npz"]),
        (["cell=stem1", "assay=DNase", "out=."], ["folder"]),
        (["cell=stem1", "out={assay}.bigWig"], ["{cell}"]),
        (["cell=stem1", "overwrite=maybe"], ["overwrite=maybe", "true or false"]),
    ],
)
def test_impute_refuses_in_one_line_and_writes_nothing(avocado, model, unchanged, arguments, named):
    with unchanged():
        error = avocado("impute", f"model={model}", "progress=false", *arguments).error
    for word in named:
        assert word in error


# --- score -----------------------------------------------------------------------------------------------------------


def test_score_a_model(avocado, model, store, trained, tmp_path):
    answer = avocado("score", f"model={model}", f"store={store}", "out=scores")
    assert answer.status == 0, answer
    assert answer.out.startswith("pilot:\n")
    assert "\nchr20:\n" in answer.out
    table = pd.read_csv(tmp_path / "scores/chr20/scores.csv")
    assert {"average activity", "Avocado"} == set(table["method"])
    assert json.loads((tmp_path / "scores/chr20/scores.json").read_text())
    assert (tmp_path / "scores/chr20/tracks.png").stat().st_size > 1_000
    # the very scores of the training run
    pd.testing.assert_frame_equal(table, pd.read_csv(trained / "genome/chr20/fold0/seed0/scores.csv"), rtol=1e-5)


def test_score_one_track_of_a_model(avocado, model, store, trained, unchanged):
    split = pd.read_csv(trained / "pilot/pilot/fold0/seed0/split.tsv", sep="\t").set_index("role")
    cell, assay = split.loc["test", ["cell", "assay"]].iloc[0]
    keys = [f"model={model}", f"store={store}", "region=chr20"]
    with unchanged():
        by_colon = avocado("score", *keys, f"tracks={cell}:{assay}")
        by_blank = avocado("score", *keys, f"tracks=[{cell} {assay}]")
        assert by_colon.status == 0, by_colon
        assert by_colon.out == by_blank.out
        assert f"{cell} {assay}" in by_colon.out
        cell, assay = split.loc["train", ["cell", "assay"]].iloc[0]
        assert f"{cell} {assay}" in avocado("score", *keys, f"tracks={cell}:{assay}").error
        assert "E003" in avocado("score", *keys, "tracks=E003:DNase").error
        assert "CELL:ASSAY" in avocado("score", *keys, "tracks=stem1").error
        assert "chr22" in avocado("score", *keys, "region=chr22").error


def test_score_names_with_blanks_and_colons():
    from types import SimpleNamespace

    from avocado.cli.score import pair_of

    model = SimpleNamespace(cells=["CD8 naive (T)", "CD8"], assays=["H3K4me3", "eGFP: X"], pair=lambda *pair: pair)
    assert pair_of(model, "CD8 naive (T):H3K4me3") == ("CD8 naive (T)", "H3K4me3")
    assert pair_of(model, "CD8 naive (T) eGFP: X") == ("CD8 naive (T)", "eGFP: X")
    assert pair_of(model, "CD8 H3K4me3") == ("CD8", "H3K4me3")


def test_score_two_files(avocado, demo, unchanged, tmp_path):
    from avocado.data.bigwig import read_bins
    from avocado.data.genome import Segment

    keys = [f"observed={demo.bigwig('stem2', 'DNase')}", f"imputed={demo.bigwig('brain1', 'DNase')}"]
    keys += [f"assembly={demo.sizes}", "region=chr20"]
    with unchanged():
        assert "average=" in avocado("score", *keys).error
    average = f"average={demo.bigwig('blood1', 'DNase')},{demo.bigwig('blood2', 'DNase')}"
    answer = avocado("score", *keys, average, "out=s")
    assert answer.status == 0, answer
    table = pd.read_csv(tmp_path / "s" / "scores.csv").set_index("method")
    assert set(table.index) == {"average activity", "brain1-DNase.pval.signal.bigwig"}
    seen, given = (read_bins(demo.bigwig(cell, "DNase"), [Segment("chr20", 0, 6_000)]) for cell in ("stem2", "brain1"))
    raw = table["mse_raw"]["brain1-DNase.pval.signal.bigwig"].iloc[0]
    assert raw == pytest.approx(np.mean((seen - given) ** 2), rel=1e-4)  # as the file says
    with unchanged():
        assert "one region" in avocado("score", *keys, average, "region=all").error
        assert "chr99" in avocado("score", *keys, average, "region=chr99").error
        assert "hg19" in avocado("score", *keys, average, "assembly=hg19").error
        assert "region=" in avocado("score", *keys[:3], average).error


def places(demo) -> list[str]:
    return [f"genes={demo.path / 'genes.gtf.gz'}", f"enhancers={demo.path / 'enhancers.bed.gz'}"]


def test_score_places_of_a_model(avocado, demo, model, store, tmp_path):
    peaks, blacklist = demo.path / "peaks/{cell}-{assay}.narrowPeak.gz", demo.path / "blacklist.bed.gz"
    keys = [f"model={model}", f"store={store}", "region=chr20"]
    plain = avocado("score", *keys, "out=plain")
    assert plain.status == 0, plain
    answer = avocado("score", *keys, *places(demo), f"peaks={peaks}", f"blacklist={blacklist}", "strata=true", "out=s")
    assert answer.status == 0, answer
    assert answer.out.splitlines()[1].split()[2:8] == ["MSE", "MSE1obs", "MSE1imp", "MSEProm", "MSEGene", "MSEEnh"]
    table, other = (pd.read_csv(tmp_path / name / "chr20/scores.csv") for name in ("s", "plain"))
    assert table[["mse_prom", "mse_gene", "mse_enh", "mse_var"]].notna().all(axis=None)
    assert "catch_peak_obs" in table
    assert "mse_prom" not in other
    assert set(other["bins"]) == {6000}
    assert table["bins"].max() < 6000
    strata = pd.read_csv(tmp_path / "s/chr20/strata.csv")
    assert {"average activity", "Avocado"} == set(strata["method"])
    # the challenge's promoters have one bin less
    assert avocado("score", *keys, *places(demo), "windows=challenge", "out=c").status == 0
    theirs = pd.read_csv(tmp_path / "c/chr20/scores.csv")
    assert avocado("score", *keys, *places(demo), "out=a").status == 0
    ours = pd.read_csv(tmp_path / "a/chr20/scores.csv")
    assert (theirs["mse_prom"] != ours["mse_prom"]).any()
    assert theirs["mse_gene"].equals(ours["mse_gene"])


def test_score_chromosomes_together(avocado, store, trained, quick, tmp_path):
    import shutil

    runs = tmp_path / "runs"
    shutil.copytree(trained, runs)
    assert avocado("train", *quick, f"store={store}", f"runs={runs}", "stage=genome", "chrom=chr21").status == 0
    answer = avocado("score", f"model={runs / 'model/fold0/seed0'}", f"store={store}", "out=s")
    assert answer.status == 0, answer
    for region in ("pilot", "chr20", "chr21", "chromosomes"):
        assert f"{region}:\n" in answer.out
    chr20, chr21, both = (pd.read_csv(tmp_path / f"s/{name}/scores.csv") for name in ("chr20", "chr21", "chromosomes"))
    assert set(both["bins"]) == {10_000}
    assert both["mse"].to_numpy() == pytest.approx((0.6 * chr20["mse"] + 0.4 * chr21["mse"]).to_numpy())


def test_score_places_of_two_files(avocado, demo, tmp_path):
    files = {name: demo.bigwig(cell, "DNase") for name, cell in (("observed", "stem2"), ("imputed", "brain1"))}
    keys = [*(f"{name}={file}" for name, file in files.items()), f"assembly={demo.sizes}", "region=chr20"]
    keys.append(f"average={demo.bigwig('blood1', 'DNase')},{demo.bigwig('blood2', 'DNase')}")
    peaks = demo.path / "peaks/stem2-DNase.narrowPeak.gz"
    answer = avocado("score", *keys, *places(demo), f"peaks={peaks}", "out=s")
    assert answer.status == 0, answer
    table = pd.read_csv(tmp_path / "s/scores.csv")
    measures = ["mse_prom", "mse_gene", "mse_enh", "mse_var", "catch_peak_obs"]
    assert table[measures].notna().all(axis=None)


def test_score_places_that_cannot_be_used(avocado, demo, model, store, unchanged):
    keys = [f"model={model}", f"store={store}", "region=chr20"]
    elsewhere = demo.path.parent / "elsewhere.bed"
    elsewhere.write_text("20\t100\t200\n")
    with unchanged():
        assert "did you mean 'chr20'" in avocado("score", *keys, f"enhancers={elsewhere}").error
        assert "no such file" in avocado("score", *keys, "genes=nowhere.gtf").error
        assert "{cell} and {assay}" in avocado("score", *keys, "peaks=peaks.bed").error
        assert "no such file of peaks of" in avocado("score", *keys, "peaks={cell}.{assay}.bed").error
        assert "there is: avocado, challenge" in avocado("score", *keys, "windows=mine").error
        assert "give out=" in avocado("score", *keys, "strata=true").error


# --- inspect ---------------------------------------------------------------------------------------------------------


def test_inspect(avocado, demo, store, model, trained, unchanged):
    with unchanged():
        answers = {
            path: avocado("inspect", f"path={path}")
            for path in (store, model, trained / "genome/chr20/fold0/seed0", demo.bigwig("stem2", "DNase"))
        }
        assert "neither a store" in avocado("inspect", f"path={demo.path}").error
        assert "no such file" in avocado("inspect", "path=nowhere").error
    assert [answer.status for answer in answers.values()] == [0] * 4
    said = [answer.out for answer in answers.values()]
    assert "signal store" in said[0]
    assert "6,000 bins" in said[0]
    assert "□ held out" in said[1]
    assert "no factors of chr21" in said[1]
    assert "done" in said[2].splitlines()[0]
    assert "average activity" in said[2]
    assert f"report   {trained}/genome/chr20/fold0/seed0/report.html" in said[2]
    assert f"avocado inspect {model}" in said[2].partition("next:")[2]
    assert f"avocado view {demo.bigwig('stem2', 'DNase')}" in said[3].partition("next:")[2]
    assert "2 chromosomes" in said[3]
    assert "150,017 bp" in said[3]


@pytest.mark.parametrize(("columns", "above"), [(60, True), (90, False)])
def test_what_is_next_keeps_to_the_terminals_width(capsys, monkeypatch, columns, above):
    monkeypatch.setenv("COLUMNS", str(columns))
    command, meaning = "avocado impute model=runs/model/fold0/seed0", "every pair that was never measured"
    app.say_next([(command, meaning)])
    expected = ["next:", f"  # {meaning}", f"  {command}"] if above else ["next:", f"  {command}    # {meaning}"]
    assert capsys.readouterr().out.splitlines() == expected
    app.say_next([])
    assert capsys.readouterr().out == ""


def test_nothing_is_next_that_is_not_installed(capsys, monkeypatch):
    monkeypatch.setattr("avocado.cli.app.installed", lambda: False)
    app.say_next([("avocado hub model=m", "tracks in a genome browser"), ("avocado view a.bw", "look at it")])
    assert capsys.readouterr().out == ""
    app.say_next([("avocado hub model=m", "tracks in a genome browser"), ("avocado inspect m", "what it is")])
    assert capsys.readouterr().out.split("\n")[:2] == ["next:", "  avocado inspect m    # what it is"]


def test_inspect_names_a_store_by_one_checksum(avocado, store, model):
    of_store = re.search(r"checksum (\w{16})\b", avocado("inspect", f"path={store}").out)
    of_model = re.search(r"store_checksum (\w{16})\b", avocado("inspect", f"path={model}").out)
    assert of_store is not None
    assert of_model is not None
    assert of_store[1] == of_model[1]


@pytest.mark.parametrize("imputer", ["avocado", "average"])
def test_nothing_is_left_to_impute_where_all_pairs_are_measured(avocado, demo, quick, tmp_path, imputer):
    table = pd.read_csv(demo.table, sep="\t")
    table["file"] = [str(demo.path / file) for file in table["file"]]
    assays = table["assay"].value_counts().index[:2]
    cells = [cell for cell, rows in table.groupby("cell") if set(assays) <= set(rows["assay"])]
    assert len(cells) > 1
    chosen = table[table["cell"].isin(cells) & table["assay"].isin(assays)]
    chosen.to_csv(tmp_path / "all.tsv", sep="\t", index=False)
    keys = [f"assembly={demo.sizes}", "workers=1", "progress=false", "min_assays=1", "min_cells=1"]
    answer = avocado("ingest", "table=all.tsv", "regions=chr21", "out=all", *keys)
    assert answer.status == 0, answer
    answer = avocado("train", *quick, f"imputer={imputer}", "store=all", "stage=joint", "chrom=chr21")
    assert answer.status == 0, answer
    assert "scores   " in answer.out
    assert "avocado impute" not in answer.out
