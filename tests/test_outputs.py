"""What the page of commands shows of each."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from avocado.cli import VERBS

DOCS = Path(__file__).resolve().parents[1] / "docs"


def loaded(name: str):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RENDER, HOOKS = loaded("render_outputs"), loaded("hooks")


def test_every_command_is_shown_with_its_output_or_where_that_is():
    assert set(VERBS) == {*RENDER.COMMANDS, *HOOKS.ELSEWHERE, "completion"}  # which prints a program
    assert {path.stem for path in RENDER.OUT.iterdir()} == set(RENDER.COMMANDS)


@pytest.mark.parametrize("verb", RENDER.COMMANDS)
def test_the_output_is_of_the_command_that_is_run(verb):
    first, *said = (RENDER.OUT / f"{verb}.txt").read_text(encoding="utf-8").splitlines()
    assert first == f"$ {RENDER.COMMANDS[verb]}", f"python docs/render_outputs.py FOLDER {verb}"
    assert 0 < len(said) <= RENDER.LINES + 1
    assert first.split()[:3] == ["$", "avocado", verb]


def test_long_outputs_keep_their_beginning_and_their_end():
    text = "\n".join(map(str, range(100)))
    lines = RENDER.shortened(text).splitlines()
    assert len(lines) == RENDER.LINES + 1
    assert (lines[0], lines[-1], lines[RENDER.LINES // 2]) == ("0", "99", "...")
    assert RENDER.shortened("a \n\nb\n\n") == "a\n\nb"
