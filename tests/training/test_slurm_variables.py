"""Training where Slurm's variables are set: Lightning's own handling of such jobs stays out of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from toy import make_data, make_module, plain_fit

from avocado.training.fit import fit
from avocado.utils.hardware import Hardware

VARIABLES = {"JOB_ID": 7, "NTASKS": 1, "PROCID": 0, "LOCALID": 0, "NODEID": 0, "JOB_NAME": "avocado"}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """An empty working directory on a machine that has Slurm's commands."""
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}:{os.environ['PATH']}")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def job(cluster, monkeypatch):
    """What a job of Slurm's finds in its environment."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))


def trained(store, region: str = "pilot", checkpoint: Path | None = None, seed: int = 0, look: Look | None = None):
    config = plain_fit(epochs=2, batch_size=400)
    module, data = make_module(store, region, "joint", seed=seed), make_data(store, region)
    callbacks = [] if look is None else [look]
    fit(module, data, config, checkpoint, hardware=Hardware("cpu"), progress=False, callbacks=callbacks)
    return {name: tensor.detach().clone() for name, tensor in module.named_parameters()}


class Look(pl.Callback):
    """What a signal would call while a run trains, and what Lightning saves in its own way."""

    handler: object = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.handler = signal.getsignal(signal.SIGUSR1)
        trainer.save_checkpoint("hpc_ckpt_1.ckpt")


def test_a_signal_saves_nothing_and_queues_nothing(tiny_store, job):
    look = Look()
    trained(tiny_store, look=look)
    assert look.handler == signal.SIG_DFL


@pytest.mark.parametrize("region", ["pilot", "chr20"])
def test_another_runs_file_in_the_working_directory_is_not_loaded(tiny_store, job, tmp_path, region):
    alone = trained(tiny_store, region)
    trained(tiny_store, seed=1, look=Look())
    assert Path("hpc_ckpt_1.ckpt").is_file()
    for checkpoint in (None, tmp_path / "not there yet.ckpt"):
        again = trained(tiny_store, region, checkpoint)
        assert all(torch.equal(alone[name], again[name]) for name in alone)


def test_the_layout_of_a_job_is_not_that_of_the_processes(tiny_store, job, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "3")
    trained(tiny_store)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "3")
    trained(tiny_store)


def test_no_advice_on_srun_outside_of_jobs(tiny_store, cluster, capfd):
    trained(tiny_store)
    assert capfd.readouterr() == ("", "")
