"""Commands in jobs of a real Slurm."""

from __future__ import annotations

import shutil
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
