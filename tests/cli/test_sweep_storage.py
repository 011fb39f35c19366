"""`avocado sweep` with a database server: what is said before any work, and a password that is shown nowhere."""

from __future__ import annotations

import os
import sys

import pytest

from avocado.utils.addresses import STORAGE_PASSWORD

pytest_plugins = ["demo", "postgres_server"]


PASSWORD = "s3cret-never-shown"


@pytest.fixture(autouse=True)
def no_password_is_left(monkeypatch):
    monkeypatch.setenv(STORAGE_PASSWORD, "")


def test_a_missing_driver_is_named_before_data_are_made(avocado, unchanged, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with unchanged():
        error = avocado("sweep", "sweep=small", f"sweep.storage=postgresql://av:{PASSWORD}@host/db").error
    assert 'the package psycopg, which is not here: pip install "avocado-imputation[postgres]"' in error


def test_a_server_that_is_not_there_is_said_before_data_are_made(avocado, unchanged):
    pytest.importorskip("psycopg")
    with unchanged():
        error = avocado("sweep", "sweep=small", f"sweep.storage=postgresql://av:{PASSWORD}@127.0.0.1:9/db").error
    assert "cannot use the study storage postgresql://av@127.0.0.1:9/db: " in error


def test_a_password_in_a_config_file_of_ones_own_is_not_dumped(avocado, tmp_path):
    folder = tmp_path / "own" / "sweep"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(f"name: mine\nstorage: postgresql://av:{PASSWORD}@host/db\n")
    answer = avocado("sweep", "sweep=mine", f"--config-dir={folder.parent}", "--cfg", "job", "--resolve")
    assert answer.status == 0, answer.err
    assert "storage: postgresql://av@host/db" in answer.out


@pytest.mark.postgres
def test_the_password_is_shown_nowhere(avocado, postgres, tiny_store, quick, tmp_path, monkeypatch, wandb_home):
    url = postgres.create("sweep")
    assert PASSWORD in url
    monkeypatch.setitem(os.environ, "WANDB_MODE", "offline")
    keys = ["sweep=small", *quick, f"store={tiny_store.path}", "split.folds=4", "logger=wandb", "sweep.trials=2"]
    dumped = ["hydra.output_subdir=.hydra", "hydra.run.dir=dump"]
    answer = avocado("sweep", *keys, f"sweep.storage={url}", *dumped)
    assert answer.status == 0, answer.err
    public = url.replace(f":{PASSWORD}", "")
    (figures,) = [line for line in answer.out.splitlines() if "experiments.hyperparameters" in line]
    assert f"storage={public}" in figures
    assert "storage: postgresql://av@" in (tmp_path / "dump" / ".hydra" / "config.yaml").read_text()
    shown = [answer, avocado("sweep", f"sweep.storage={url}", "--cfg", "job"), avocado("sweep", f"sweep.storag={url}")]
    assert not any(PASSWORD in each.out + each.err for each in shown)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]
    # the same study without the password, which is in the environment
    monkeypatch.setenv(STORAGE_PASSWORD, PASSWORD)
    assert avocado("sweep", *keys, f"sweep.storage={public}").status == 0
