"""Commands in jobs of a real Slurm."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest_plugins = ["demo", "slurm_cluster"]
pytestmark = pytest.mark.slurm
TRAIN = (sys.executable, str(Path(__file__).resolve().parents[2] / "train.py"))


def test_a_signal_leaves_no_file_that_later_runs_would_load(slurm, store, quick, tmp_path, monkeypatch):
    """What Lightning does at SIGUSR1 in a job: hpc_ckpt_1.ckpt, which every later run in this folder goes on from."""
    monkeypatch.chdir(tmp_path)
    srun = ["srun", "-n1", "-c1", "--mem=1000", *TRAIN, *quick, f"store={store}", "stage=joint"]
    job = subprocess.Popen([*srun, "chrom=chr21", "epochs.joint=100000", "fit.checkpoint_every=0"])
    checkpoint = tmp_path / "runs/joint/chr21/fold0/seed0/checkpoint.ckpt"
    while not checkpoint.is_file():
        assert job.poll() is None
        time.sleep(0.1)
    slurm("scancel", "--signal=USR1", slurm("squeue", "-h", "-o", "%A"))
    assert job.wait(30) != 0
    assert not list(tmp_path.glob("*.ckpt"))

    shutil.copy(checkpoint, "hpc_ckpt_1.ckpt")
    subprocess.run([*srun, "chrom=chr20"], check=True)
    assert Path("runs/joint/chr20/fold0/seed0/done.json").is_file()


def waiting_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.2)


LONG = ("epochs.joint=100000", "fit.checkpoint_every=0")
JOBS = ("launcher=slurm", "launcher.memory=1", "launcher.cpus=1")


def test_jobs_that_left_no_result_have_failed_and_the_others_are_waited_for(slurm, shell, store, quick, tmp_path):
    """Without accounting. The first is ended while it runs, the second while it waits; the third is well."""
    keys = [*quick, f"store={store}", "stage=joint", "chrom=chr20", "-m", "seed=0,1,2", "epochs.joint=1"]
    process = shell("train.py", *keys, *JOBS, "launcher.parallel=1", "launcher.setup='sleep 5'")
    waiting_for(lambda: "RUNNING" in slurm("squeue", "-h", "-o", "%T"), process)
    (job,) = set(slurm("squeue", "-h", "-o", "%F").split())
    slurm("scancel", f"{job}_1")
    slurm("scancel", f"{job}_0")
    out, err = process.communicate(timeout=400)
    assert process.returncode == 2, (out, err)
    failed = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2, (out, err)
    for number, what in enumerate(("ended as cancelled", "is in no queue any more")):  # Slurm forgets what waited
        line = failed[number]
        assert line.startswith(f"failed: seed={number}: its job {job}_{number} {what} and left no result"), line
        assert line.endswith(f"its log: runs/logs/stage=joint,chrom=chr20,seed={number}.log")
    assert "sacct" not in out + err
    assert (tmp_path / "runs/joint/chr20/fold0/seed2/done.json").is_file()


def test_a_job_that_slurm_queues_again_goes_on(slurm, shell, store, quick, tmp_path):
    """As after preemption: SIGCONT and SIGTERM, and a start later on."""
    keys = [*quick, f"store={store}", "stage=joint", "chrom=chr21", "epochs.joint=1000", "fit.checkpoint_every=1"]
    process = shell("train.py", *keys, *JOBS)
    directory = tmp_path / "runs/joint/chr21/fold0/seed0"
    waiting_for(lambda: (directory / "checkpoint.ckpt").is_file(), process)
    (job,) = set(slurm("squeue", "-h", "-o", "%F").split())
    slurm("scontrol", "requeue", job)
    waiting_for(lambda: "PENDING" in slurm("squeue", "-h", "-o", "%T"), process)
    slurm("scontrol", "update", f"jobid={job}", "StartTime=now")
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, (out, err)
    said = (tmp_path / "runs/logs/stage=joint,chrom=chr21.log").read_text()
    assert said.count("--- ") == 2, said  # started twice
    assert (directory / "done.json").is_file()


def test_a_job_that_a_more_urgent_one_preempts_goes_on(slurm, shell, store, quick, tmp_path):
    keys = [*quick, f"store={store}", "stage=joint", "chrom=chr21", "epochs.joint=1000", "fit.checkpoint_every=1"]
    process = shell("train.py", *keys, *JOBS, "launcher.partition=cpu", "seed=1")
    directory = tmp_path / "runs/joint/chr21/fold0/seed1"
    waiting_for(lambda: (directory / "checkpoint.ckpt").is_file(), process)
    (job,) = set(slurm("squeue", "-h", "-p", "cpu", "-o", "%F").split())
    slurm("sbatch", "-p", "urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 5")
    waiting_for(lambda: "PENDING" in slurm("squeue", "-h", "-p", "cpu", "-o", "%T"), process)
    waiting_for(lambda: not slurm("squeue", "-h", "-p", "urgent"), process)
    slurm("scontrol", "update", f"jobid={job}", "StartTime=now")
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, (out, err)
    assert "failed" not in out + err
    said = (tmp_path / "runs/logs/stage=joint,chrom=chr21,seed=1.log").read_text()
    assert said.count("--- ") == 2, said
    assert (directory / "done.json").is_file()


def test_a_job_that_is_killed_for_its_memory_has_failed(slurm, shell, store, quick, tmp_path):
    keys = [*quick, f"store={store}", "stage=joint", "chrom=chr20", "seed=2", *LONG]
    process = shell("train.py", *keys, *JOBS, "launcher.sbatch=--mem=200M")
    out, err = process.communicate(timeout=400)
    assert process.returncode == 2, (out, err)
    (error,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "left no result (Exceeded job memory limit); more memory: launcher.memory=" in error
    assert error.endswith("its log: runs/logs/stage=joint,chrom=chr20,seed=2.log")


def test_jobs_that_an_ended_command_left_in_the_queue_are_not_queued_again(slurm, shell, store, quick, tmp_path):
    keys = [*quick, f"store={store}", "stage=joint", "chrom=chr20", "-m", "seed=3,4", *LONG, *JOBS]
    process = shell("train.py", *keys)
    waiting_for(lambda: slurm("squeue", "-h", "--array", "-o", "%T").split() == ["RUNNING"] * 2, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    (job,) = set(slurm("squeue", "-h", "-o", "%F").split())

    again = shell("train.py", *keys)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 2
    said = f"error: seed=3: job {job}_0 of an earlier command (and 1 more) is in the queue still"
    assert err.splitlines()[-1].startswith(said), err
    assert set(slurm("squeue", "-h", "-o", "%F").split()) == {job}
