"""`avocado genome`: one command from a store to a whole genome's imputed tracks, in any state of the work."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from avocado.cli import launcher
from avocado.cli.app import command
from avocado.cli.impute import missing_of
from avocado.model.directory import load_model

pytest_plugins = ["demo"]

MODEL = Path("runs/model/foldall/seed0")
IMPUTED = Path("runs/imputed/foldall/seed0")


@pytest.fixture
def keys(quick, store) -> list[str]:
    return [*quick, f"store={store}", "trainer.threads=1"]  # and as many processes that write bigWig files


@pytest.fixture(scope="module")
def whole(quick, store, tmp_path_factory) -> Path:
    """A folder in which the command has done all its work; to be copied."""
    folder = tmp_path_factory.mktemp("whole")
    out = f"out={folder}/{IMPUTED}/{{cell}}-{{assay}}.bw"
    assert command("genome", [*quick, f"store={store}", "trainer.threads=1", f"runs={folder}/runs", out]) == 0
    return folder


@pytest.fixture
def done(avocado, whole, tmp_path) -> Path:
    """The same in the working directory, as old as it is there."""
    shutil.copytree(whole / "runs", tmp_path / "runs")
    return tmp_path


def times(folder: Path) -> dict[str, int]:
    """When each file of the models and of the imputed tracks was written."""
    places = [*(folder / MODEL).iterdir(), *(folder / IMPUTED).glob("*.bw")]
    return {path.name: path.stat().st_mtime_ns for path in places}


def plan(answer) -> dict[str, str]:
    """The table of an answer: region -> state."""
    rows = [line.split(maxsplit=2) for line in answer.out.splitlines() if line.startswith(("  pilot", "  genome"))]
    found = {region: state for _, region, state in rows}
    (impute,) = [line for line in answer.out.splitlines() if line.startswith("  impute")] or [""]
    return {**found, "impute": impute.partition("tracks")[2].strip()}


def changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {name for name in {**before, **after} if before.get(name) != after.get(name)}


def test_the_whole_road_and_nothing_twice(avocado, keys, tmp_path):
    answer = avocado("genome", *keys, "dry=true")
    assert set(plan(answer).values()) == {"to do"}
    assert list(plan(answer)) == ["pilot", "chr20", "chr21", "impute"]
    assert not list(tmp_path.iterdir())
    answer = avocado("genome", *keys)
    assert answer.status == 0, answer
    assert "complete: model runs/model/foldall/seed0, 6 bigWig files in runs/imputed/foldall/seed0" in answer.out
    model = load_model(MODEL)
    assert list(model.regions) == ["pilot", "chr20", "chr21"]
    names = {f"{cell}-{assay}.bw" for cell, assay in model.unmeasured()}
    assert {path.name for path in IMPUTED.iterdir()} == names | {f".{name}.json" for name in names}  # and no locks
    before = times(tmp_path)
    answer = avocado("genome", *keys)
    assert answer.status == 0
    assert set(plan(answer).values()) == {"done"}
    assert times(tmp_path) == before


def test_what_is_deleted_is_made_again(avocado, keys, done):
    before = times(done)
    (done / MODEL / "chr21.safetensors").unlink()
    assert plan(avocado("genome", *keys, "dry=true")) == {
        "pilot": "done", "chr20": "done", "chr21": "to do", "impute": "to do",
    }  # fmt: skip
    assert avocado("genome", *keys).status == 0
    # the factors came out the same, and the tracks still hold them
    assert changed(before, times(done)) == {"chr21.safetensors", "README.md"}  # the card says what there is
    before = times(done)
    one = next((done / IMPUTED).glob("*.bw"))
    one.unlink()
    assert plan(avocado("genome", *keys, "dry=true"))["impute"] == "5 of 6 files done"
    assert avocado("genome", *keys).status == 0
    assert changed(before, times(done)) == {one.name}


@pytest.mark.parametrize("name", ["chr20", "pilot"])
def test_a_truncated_file_is_made_again(avocado, keys, done, name):
    file = done / MODEL / f"{name}.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    answer = avocado("inspect", f"path={MODEL}")
    assert f"{name}.safetensors is damaged" in answer.out
    assert "not complete" in answer.out
    assert plan(avocado("genome", *keys, "dry=true"))[name] == "to do"
    answer = avocado("genome", *keys)
    assert answer.status == 0, answer
    assert file.read_bytes() == whole
    # other factors fit the pilot's parameters, which came out the same
    assert "genome chr21" not in answer.out
    assert "  complete: factors of all chromosomes of its store" in avocado("inspect", f"path={MODEL}").out


def test_chromosomes_may_follow_later(avocado, keys, done, tmp_path):
    few = [*keys, "runs=few", "out=few/{cell}-{assay}.bw", "chroms=chr20"]
    assert avocado("genome", *few).status == 0
    answer = avocado("inspect", "path=few/model/foldall/seed0")
    assert "no factors of chr21" in answer.out
    assert avocado("genome", *few[:-1], "chroms=[chr21]").status == 0
    model = load_model("few/model/foldall/seed0")
    files = {pair: tmp_path / "few" / "{}-{}.bw".format(*pair) for pair in model.unmeasured()}
    for regions, wanted in ((["chr20", "chr21"], False), (["chr20"], True)):
        is_missing = missing_of(model, files, regions, 2)
        assert [is_missing(path) for path in files.values()] == [wanted] * 6


def test_files_are_renewed_with_the_model_and_others_are_refused(avocado, keys, done, unchanged):
    folder = done / IMPUTED
    before = {path.name: path.read_bytes() for path in folder.glob("*.bw")}
    assert avocado("genome", *keys, "overwrite=true", "seed=0", "epochs.pilot=2").status == 0
    after = {path.name: path.read_bytes() for path in folder.glob("*.bw")}
    assert set(after) == set(before)
    assert all(after[name] != content for name, content in before.items())
    again = [*keys, "epochs.pilot=2"]
    assert set(plan(avocado("genome", *again)).values()) == {"done"}
    first, second = sorted(folder.glob("*.bw"))[:2]
    shutil.copy(first, second)  # somebody's own, or another model's, under this name
    with unchanged():
        error = avocado("genome", *again).error
    assert error.startswith(f"{second.relative_to(done)} is there, and nothing says that it was made by this command")
    with unchanged():  # of a model elsewhere
        error = avocado("genome", *again, "runs=others", f"out={IMPUTED}/{{cell}}-{{assay}}.bw").error
    assert "made from ../../../model/foldall/seed0" in error


def test_a_chromosome_that_fails_leaves_the_others_alone(avocado, keys, tmp_path):
    (tmp_path / "runs/genome").mkdir(parents=True)
    (tmp_path / "runs/genome/chr20").write_text("in the way")
    answer = avocado("genome", *keys)
    assert answer.status == 2
    assert answer.err.splitlines()[-1].startswith("error: 1 of 2 runs failed (chrom=chr20)")
    assert "cannot write runs/genome/chr20" in answer.err
    assert (tmp_path / MODEL / "chr21.safetensors").is_file()
    assert not (tmp_path / IMPUTED).exists()  # of an incomplete model
    (tmp_path / "runs/genome/chr20").unlink()
    answer = avocado("genome", *keys)
    assert answer.status == 0, answer
    assert plan(answer)["chr21"] == "done"


def test_other_settings_are_refused_before_any_work(avocado, keys, done, unchanged):
    with unchanged():
        assert "epochs was 1, is 2" in avocado("genome", *keys, "epochs.genome=2").error
        assert "model.nodes was 8, is 9" in avocado("genome", *keys, "model.nodes=9").error


@pytest.mark.slow
def test_held_out_tracks_of_a_fold(avocado, keys, tmp_path):
    answer = avocado("genome", *keys, "fold=0", "pairs=held_out", "chroms=chr21", "out=o/{cell}/{assay}.bw")
    assert answer.status == 0, answer
    split = (tmp_path / "runs/pilot/pilot/fold0/seed0/split.tsv").read_text()
    assert len(list(tmp_path.glob("o/*/*.bw"))) == split.count("\ttest")


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (["chroms=chr99"], "unknown chromosome 'chr99' in chroms"),
        (["stage=pilot"], "stage= is not for avocado genome"),
        (["chrom=chr20"], "give chroms="),
        (["imputer=nearest"], "imputer= is not for avocado genome"),
        (["fold=0..3"], "one value for each key"),
        (["model.nods=9"], "unknown key 'model.nods'"),
        (["chromosomes=chr20"], "unknown key 'chromosomes'"),
        (["out=x.npz"], "name them {cell}-{assay}.bw"),
        (["out=x.bw"], "need {cell} and {assay}"),
        (["pairs=some"], "unknown pairs 'some'"),
        (["dry=perhaps"], "dry=perhaps: expected true or false"),
        (["launcher=ray"], "unknown launcher 'ray'"),
        (["store=nowhere"], "nowhere"),
    ],
)
def test_what_is_refused(avocado, keys, added, message, unchanged):
    with unchanged():
        assert message in avocado("genome", *keys, *added).error


def test_on_a_cluster_every_step_is_a_job(avocado, keys, tmp_path, monkeypatch):
    launched = []

    def launch(commands, *_):
        launched.append([command.arguments for command in commands])
        for verb, *typed in launched[-1]:
            assert avocado(verb, *typed).status == 0

    monkeypatch.setattr(launcher, "launch", launch)
    assert avocado("genome", *keys, "overwrite=true", "launcher=slurm", "launcher.cluster=local").status == 0
    pilot, chroms, (imputation,) = launched
    assert [its[:2] for its in pilot] == [("train", "stage=pilot")]
    assert [its[:3] for its in chroms] == [("train", "stage=genome", f"chrom={name}") for name in ("chr20", "chr21")]
    assert imputation[0] == "genome"
    assert not any(text.startswith(("launcher", "overwrite")) for text in imputation)
    assert len(list((tmp_path / IMPUTED).glob("*.bw"))) == 6


def test_side_by_side_the_pilot_regions_are_trained_here(avocado, keys, monkeypatch):
    launched = []
    monkeypatch.setattr(launcher, "launch", lambda commands, *_: launched.extend(commands))
    # nothing was launched in truth
    answer = avocado("genome", *keys, "launcher=joblib", "trainer.processes=1")
    assert "is not complete: no factors of chr20, chr21" in answer.err
    assert "\npilot: done" in f"\n{answer.out}"
    assert [command.name for command in launched] == ["chrom=chr20", "chrom=chr21"]


# --- several processes -----------------------------------------------------------------------------------------------


def test_two_at_once(shell, keys, tmp_path):
    processes = [shell("genome", *keys) for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert all("complete: model" in out for out, _ in answers)
    trained = sum(out.count(": done, ") for out, _ in answers)
    assert trained == 3  # each region by one of them
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list((tmp_path / IMPUTED).glob(".*.lock"))


@pytest.mark.slow
@pytest.mark.parametrize("moment", [f"{MODEL}/model.yaml", f"{MODEL}/chr20.safetensors", f"{IMPUTED}/.*.tmp"])
def test_killed_in_the_middle_and_typed_again(shell, avocado, keys, tmp_path, moment):
    process = shell("genome", *keys)
    end = time.monotonic() + 60
    while not list(tmp_path.glob(moment)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    answer = avocado("genome", *keys)
    assert answer.status == 0, answer
    assert len(list((tmp_path / IMPUTED).glob("*.bw"))) == 6
    assert "  complete: " in avocado("inspect", f"path={MODEL}").out
