"""Tab in bash, zsh and fish."""

import shutil
import subprocess
import sys

import pytest

from avocado.cli import VERBS
from avocado.cli.completion import candidates
from avocado.config.schema import options_of

pytest_plugins = ["demo"]
CONSOLE = "from avocado.cli import main; main()"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("avocado in", ["ingest ", "inspect "]),
        ("avocado check", ["check-split "]),
        ("avocado train st", ["stage=", "stage.", "store="]),
        ("avocado train store=s sta", ["stage=", "stage."]),
        ("avocado train stage=joint sto", ["store="]),
        ("avocado sweep sweep=s", ["sweep=small "]),
        ("avocado genome launcher=sl", ["launcher=slurm "]),
        ("avocado ingest progress=", ["progress=true ", "progress=false "]),
        ("avocado completion z", ["zsh "]),
        ("avocado impute model=", []),  # a file
        ("avocado inspect ", []),
        ("avocado nonsense ", []),
    ],
)
def test_candidates(line, expected):
    assert candidates(line) == expected


def test_all_commands_and_options():
    assert candidates("avocado ") == [f"{verb} " for verb in VERBS]
    assert candidates("avocado train imputer=") == [f"imputer={name} " for name in options_of("imputer")]
    assert "trainer.device=" in candidates("avocado train trainer.")
    for verb in VERBS:
        assert all(its.endswith((" ", "=", ".")) for its in candidates(f"avocado {verb} "))


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """What a shell prints of a script; `avocado` is a program there, and my_store a folder."""
    program = tmp_path / "bin" / "avocado"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{CONSOLE}' \"$@\"\n")
    program.chmod(0o755)
    (tmp_path / "my_store").mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(shell: str, script: str) -> list[str]:
        if shutil.which(shell) is None:
            pytest.skip(f"no {shell} here")
        done = subprocess.run([shell, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("avocado in", ["ingest ", "inspect "]),
        ("avocado train stage=jo", ["joint "]),
        ("avocado train model.no", ["model.nodes="]),
    ],
)
def test_bash(ask, line, expected):
    """Behind = the shell wants the rest alone."""
    script = f"""
        eval "$(avocado completion bash)"
        complete -p avocado >&2
        COMP_LINE='{line}' COMP_POINT={len(line)}; _avocado; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert ask("bash", script) == expected


def test_fish(ask):
    said = ask(
        "fish", "avocado completion fish | source; complete -C 'avocado train stage=jo'; complete -C 'avocado in'"
    )
    assert said == ["stage=joint", "ingest", "inspect"]  # without blanks behind them, which fish would quote
    assert ask("fish", "avocado completion fish | source; complete -C 'avocado impute store=my'") == ["store=my_store/"]
    assert ask("fish", "avocado completion fish | source; complete -C 'avocado inspect my'") == ["my_store/"]


def test_zsh(ask):
    """Typed into a terminal of its own."""
    script = r"""
        zmodload zsh/zpty
        zpty z 'TERM=dumb zsh -f -i'
        zpty -w z 'PROMPT= ; eval "$(avocado completion zsh)"; print -r READY'
        zpty -r -m z line '*READY*READY*'
        zpty -w -n z $'print -r -- avocado train stage=jo\t END\n'
        zpty -w -n z $'avocado train stage=jo\t'
        sleep 4
        zpty -w -n z $'\C-a: \n'
        sleep 0.5
        while zpty -r -t z line; do print -r -- $line; done
        zpty -d z
    """
    assert any("stage=joint" in line for line in ask("zsh", script))


def test_an_unknown_shell(avocado):
    assert "there is bash, zsh, fish" in avocado("completion", "shell=tcsh").error
    assert avocado("completion", "zsh").out.startswith("(( $+functions[compdef]")
