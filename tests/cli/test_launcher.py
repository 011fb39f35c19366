"""Several runs through Hydra's launchers: what is started where, what comes back, and what goes wrong."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from avocado.cli import launcher
from avocado.cli.launcher import Command, commands, launch, place_of, reason, run_command
from avocado.config.overrides import composed
from avocado.errors import InputError

pytest_plugins = ["demo"]


def inspections(*paths: object) -> list[Command]:
    """The quickest commands there are."""
    return [Command(f"path={path}", Path(str(path)).name, ("inspect", f"path={path}")) for path in paths]


def chosen(tmp_path: Path, *keys: str):
    return composed("train", [*keys, f"runs={tmp_path}/runs"])


def launch_inspections(paths: list[Path], config) -> None:
    """Through Hydra's launcher, of the command inspect."""
    launch(inspections(*paths), config, "inspect", [f"path={','.join(map(str, paths))}"])


# --- which commands --------------------------------------------------------------------------------------------------


def test_a_command_for_each_combination():
    overrides = ["stage=genome", "chrom=chr20,chr21", "model=tiny", "fold=0,1", "launcher=slurm", "launcher.time=5"]
    found = commands("train", overrides)
    assert [its.name for its in found] == [
        f"chrom={chrom} fold={fold}" for chrom in ("chr20", "chr21") for fold in (0, 1)
    ]
    assert found[1].arguments == ("train", "stage=genome", "chrom=chr20", "model=tiny", "fold=1")
    assert found[1].log == "stage=genome,chrom=chr20,fold=1"
    assert len({its.log for its in found}) == 4


def test_a_single_command_and_names_that_are_no_file_names():
    (only,) = commands("train", ["stage=pilot", "runs='my runs'"])
    assert only == Command("stage=pilot", "stage=pilot", ("train", "stage=pilot", "runs='my runs'"))
    assert commands("train", [])[0].log == "train"
    assert [its.log for its in commands("train", ["store=a/b,c"])] == ["store=a_b", "store=c"]


# --- one command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "said", "why"),
    [
        (0, "error: no", ""),
        (2, "a\nerror: too bad\n", "too bad"),
        (1, "Traceback\nValueError: x\n\nSet the environment variable HYDRA_FULL_ERROR=1 for more.\n", "ValueError: x"),
        (3, "", "exit status 3"),
        (-signal.SIGKILL, "error: old", "ended by signal SIGKILL, perhaps for want of memory"),
        (-signal.SIGTERM, "", "ended by signal SIGTERM"),
    ],
)
def test_why_a_command_failed(status, said, why):
    assert reason(status, said) == why


def test_a_killed_command_and_one_that_fails_keep_their_log(tmp_path, monkeypatch):
    log = tmp_path / "x.log"
    log.write_text("error: of last time\n")
    monkeypatch.setattr(launcher, "CONSOLE", "import os, sys; print(sys.argv[1], flush=True); os.kill(os.getpid(), 9)")
    assert "SIGKILL" in run_command(["train"], log, tmp_path, {}, False).reason
    monkeypatch.setattr(launcher, "CONSOLE", "import os, sys; print('error: full', os.environ['GPU']); sys.exit(2)")
    assert run_command(["train", "runs=a b"], log, tmp_path, {"GPU": "7"}, True).reason == "full 7"
    monkeypatch.setattr(launcher, "CONSOLE", "pass")
    assert run_command(["train"], log, tmp_path, {}, False).reason == ""
    lines = [re.sub(r"--- \S+ \S+", "---", line) for line in log.read_text().splitlines()]
    assert lines == [
        "error: of last time", "--- avocado train", "train", "--- avocado train 'runs=a b'", "error: full 7",
        "--- avocado train",
    ]  # fmt: skip


def test_runs_at_a_time_have_a_gpu_each(tmp_path):
    with place_of(["0", "1"], tmp_path) as first:
        with place_of(["0", "1"], tmp_path) as second:
            assert {first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]} == {"0", "1"}
        with place_of(["0", "1"], tmp_path) as third:
            assert third == second
    with place_of([], tmp_path) as none:
        assert none == {}


def test_cores_and_gpus_are_divided(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "_cores", lambda: 16)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,5")
    for keys, jobs, threads in (([], 3, 5), (["launcher.jobs=2"], 2, 8), (["launcher.jobs=9"], 4, 4),
                                (["trainer.device=cpu"], 2, 8)):  # fmt: skip
        _, settings, elsewhere = launcher._joblib(composed("train", ["launcher=joblib", *keys]), 4)
        assert settings["n_jobs"] == jobs
        assert elsewhere.own[0] == f"trainer.threads={threads}"
    assert launcher._gpus(composed("train", ["launcher=joblib"])) == ["2", "3", "5"]


# --- the launchers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [["launcher=joblib"], ["launcher=slurm", "launcher.cluster=local"]], ids=" ".join)
def test_one_that_fails_leaves_the_others_alone(tmp_path, store, keys, capfd):
    with pytest.raises(InputError, match=r"^1 of 2 runs failed \(path=\S*nowhere\); the same command"):
        launch_inspections([tmp_path / "nowhere", store], chosen(tmp_path, *keys))
    err = capfd.readouterr().err
    assert "no such file or folder; its log: " in err
    assert "Traceback" not in err
    logs = tmp_path / "runs" / "logs"
    assert "signal store" in (logs / "store.log").read_text()
    assert "error: " in (logs / "nowhere.log").read_text()
    assert not list(logs.glob(".launched*"))


def test_trainings_side_by_side(avocado, store, quick, tmp_path):
    keys = [*quick, f"store={store}", "-m", "stage=joint", "chrom=chr20,chr21", "launcher=joblib"]
    assert avocado("train", *keys).status == 0
    assert len(list(tmp_path.glob("runs/joint/*/fold0/seed0/done.json"))) == 2
    said = (tmp_path / "runs/logs/stage=joint,chrom=chr20.log").read_text()
    assert re.search(r"^--- \S+ \S+ avocado train trainer\.threads=\d+ ", said, re.MULTILINE)
    assert "joint chr20: done" in said


@pytest.mark.slow
def test_out_of_time_queued_again_and_on_from_the_checkpoint(shell, store, quick, tmp_path):
    keys = [*quick, f"store={store}", "stage=joint", "chrom=chr21", "epochs.joint=300", "fit.checkpoint_every=0"]
    process = shell("train.py", *keys, "launcher=slurm", "launcher.cluster=local")
    checkpoint = tmp_path / "runs/joint/chr21/fold0/seed0/checkpoint.ckpt"
    end = time.monotonic() + 60
    while not checkpoint.is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    (job,) = (number for number, line in _processes() if "submitit.core._submit" in line and str(tmp_path) in line)
    os.kill(job, signal.SIGUSR2)  # what Slurm sends some time before the end
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, (out, err)
    said = (tmp_path / "runs/logs/stage=joint,chrom=chr21.log").read_text()
    assert said.count("--- ") == 2  # started twice
    assert len(pd.read_csv(checkpoint.with_name("history.csv"))) == 300
    assert json.loads(checkpoint.with_name("done.json").read_text())["region"] == "chr21"
    (queued,) = (tmp_path / "runs/logs/submitit").glob("*_log.err")
    assert "Requeued job" in "".join(path.read_text() for path in queued.parent.glob("*_log.*"))


def _processes() -> Iterator[tuple[int, str]]:
    """Number and command line of all processes."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(folder.name), (folder / "cmdline").read_text().replace("\0", " ")


SBATCH = """#!/bin/bash
script="${@: -1}"
cp "$script" "$(dirname "$0")/submitted.sh"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$script")
for task in $(seq 0 "$last"); do
  SLURM_JOB_ID=$((77 + task)) SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID=$task SLURM_NTASKS=1 SLURM_PROCID=0 \
    bash "$script" > "$(dirname "$0")/$task.txt" 2>&1 &
done
echo "Submitted batch job 77"
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do [[ $1 == --output || $1 == --error ]] && shift; shift; done
exec "$@"
"""


SQUEUE = "#!/bin/bash\necho 'squeue: error: the controller is away' >&2\nexit 1\n"


@pytest.fixture
def pretended_slurm(tmp_path, monkeypatch):
    """Commands of Slurm's names that carry out an array job here."""
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "squeue": SQUEUE}.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "bin"


def test_what_slurm_is_asked_for(tmp_path, store, pretended_slurm, capfd):
    keys = ["partition=gpu", "account=lab", "time=90", "memory=24", "cpus=3", "gpus=1", "parallel=5",
            "sbatch='--constraint=a100 --exclusive'", "setup='export READY=yes'"]  # fmt: skip
    with pytest.raises(InputError, match="1 of 2 runs failed"):
        launch_inspections([store, tmp_path], chosen(tmp_path, "launcher=slurm", *(f"launcher.{k}" for k in keys)))
    submitted = (pretended_slurm / "submitted.sh").read_text()
    asked = set(re.findall(r"^#SBATCH --(\S+)$", submitted, re.MULTILINE))
    expected = {"partition=gpu", "account=lab", "time=90", "mem=24GB", "cpus-per-task=3", "gpus-per-node=1",
                "array=0-1%2", "constraint=a100", "exclusive", "signal=USR2@120", "open-mode=append"}  # fmt: skip
    assert expected <= asked
    assert "\nexport READY=yes\n" in submitted
    said = capfd.readouterr()
    assert "scancel" in said.out
    assert said.err.count("the controller is away") <= 1  # and no reason to give up
    assert "signal store" in (tmp_path / "runs/logs/store.log").read_text()


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["launcher=ray"], "unknown launcher 'ray'; there is: basic, joblib, slurm"),
        (["launcher=joblib", "launcher.jobs=0"], "launcher.jobs=0"),
        (["launcher=joblib", "launcher.partition=gpu"], "unknown key 'launcher.partition'"),
        (["launcher=joblib", "trainer=ddp"], "trainer.processes=2"),
        (["launcher=slurm"], "there is no sbatch on this machine"),
        (["launcher=slurm", "launcher.cluster=local", "launcher.time=2"], "launcher.time=2: expected at least 3"),
        (["launcher=slurm", "launcher.cluster=cloud"], "launcher.cluster=cloud"),
        (["launcher=slurm", "launcher.time=soon"], "launcher.time=soon: expected a whole number"),
        (["launcher=joblib", "runs=file"], "cannot write file/logs"),
    ],
)
def test_what_is_refused(avocado, quick, keys, message, tmp_path, unchanged, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)  # no Slurm
    (tmp_path / "file").write_text("")
    with unchanged():
        assert message in avocado("train", *quick, "stage=pilot", *keys).error


def test_options_of_sbatch(tmp_path, pretended_slurm):
    with pytest.raises(InputError, match=r"launcher\.sbatch=gpu: expected"):
        launch_inspections([tmp_path], chosen(tmp_path, "launcher=slurm", "launcher.sbatch=gpu"))


@pytest.mark.parametrize(("key", "package"), [("joblib", "joblib"), ("slurm", "submitit")])
def test_without_the_extra(avocado, quick, monkeypatch, key, package, unchanged):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if "hydra_plugins." in name else found(name)
    )
    with unchanged():
        error = avocado("train", *quick, "stage=pilot", f"launcher={key}").error
    assert f"hydra-{package}-launcher" in error
    assert 'pip install "avocado-imputation[launch]"' in error


def test_a_launcher_that_breaks_is_one_line(tmp_path, pretended_slurm):
    (pretended_slurm / "sbatch").write_text(
        "#!/bin/bash\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n"
    )
    with pytest.raises(InputError, match=r"could not be started or watched: .*invalid partition specified") as caught:
        launch_inspections([tmp_path, tmp_path / "x"], chosen(tmp_path, "launcher=slurm"))
    assert "\n" not in str(caught.value)
