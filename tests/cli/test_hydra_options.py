"""What users of Hydra type: options, additions, deletions, config folders of their own."""

import logging
import re
import subprocess
import sys
from dataclasses import asdict

import pytest
import yaml

from avocado import __version__
from avocado.cli.app import command
from avocado.config.overrides import composed, separate_options
from avocado.errors import InputError
from avocado.model.config import ModelConfig


@pytest.fixture(autouse=True)
def logging_as_before():
    """Hydra's --info leaves a handler, which would write to this test's stream when that is closed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def shown(capsys, *arguments):
    assert command("train", list(arguments)) == 0
    return capsys.readouterr().out


def test_cfg_shows_the_config_and_trains_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load(shown(capsys, "--cfg", "job", "fold=3", "model=tiny"))
    assert (config["fold"], config["split"]["folds"]) == (3, 5)
    assert "hydra" not in config
    assert not list(tmp_path.iterdir())


def test_resolve_and_package(capsys):
    assert "${data.store}" in shown(capsys, "--cfg", "job")
    assert "store: mine\n" in shown(capsys, "data.store=mine", "--cfg", "job", "--resolve")
    assert yaml.safe_load(shown(capsys, "-c", "job", "-p", "fit", "fit.masked=0.4"))["masked"] == 0.4
    assert "launcher" in yaml.safe_load(shown(capsys, "--cfg=hydra", "--package=hydra"))


def test_info_says_where_defaults_come_from(capsys):
    assert "model/tiny" in shown(capsys, "--info", "defaults", "model=tiny")
    assert "Hydra" in shown(capsys, "--info")


def test_keys_are_added_and_groups_left_out(capsys):
    assert yaml.safe_load(shown(capsys, "+note.who=me", "--cfg", "job", "-p", "note")) == {"who": "me"}
    # left out is its choice: what remains are the defaults, with which a run can do
    assert yaml.safe_load(shown(capsys, "~logger", "logger.entity=lab", "--cfg", "job", "-p", "logger")) == {
        "mode": "disabled", "project": "avocado", "entity": "lab", "group": None, "upload_factors": False
    }  # fmt: skip


def test_a_config_folder_of_ones_own(capsys, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("nodes: 7\n")
    said = shown(capsys, "--config-dir", str(tmp_path), "model=mine", "--cfg", "job", "-p", "model")
    assert yaml.safe_load(said) == {**asdict(ModelConfig()), "nodes": 7}
    assert command("train", ["model=mine", "--cfg", "job"]) == 2


def test_shell_completion(capsys):
    assert "hydra_bash_completion" in shown(capsys, "--shell-completion", "install=bash")


def test_version(capsys):
    assert shown(capsys, "--version") == f"avocado {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cgf", "job"], r"unknown option '--cgf' \(did you mean --cfg\?\)"),
        (["--cfg"], "--cfg needs a value"),
        (["-m", "--cfg", "job", "fold=0,1"], "leave out -m"),
        (["fold=0..3", "--info", "defaults"], "leave out -m"),
    ],
)
def test_one_line_says_what_is_wrong(capsys, arguments, message):
    assert command("train", arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert re.search(message, said)


def test_a_group_that_does_not_exist_cannot_be_left_out():
    with pytest.raises(InputError, match="unknown key 'nonsense'"):
        composed("train", ["~nonsense"])


def test_options_and_what_else_is_typed():
    typed = ["fold=1", "--info", "fold=2", "--cfg", "job", "-m", "--resolve"]
    assert separate_options(typed) == (["--info", "--cfg", "job", "--resolve"], ["fold=1", "fold=2", "-m"])
    assert separate_options(["--info", "plugins", "a=b"]) == (["--info", "plugins"], ["a=b"])
    with pytest.raises(InputError, match="--package needs a value"):
        separate_options(["--package"])


def avocado(*arguments):
    console = "from avocado.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", console, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_misspelt_command():
    run = avocado("impue")
    assert run.returncode == 2
    assert "no command 'impue' (did you mean impute?)" in run.stderr


def test_inspect_takes_a_path_without_its_key(tiny_store):
    assert avocado("inspect", tiny_store.path).stdout == avocado("inspect", f"path={tiny_store.path}").stdout != ""
