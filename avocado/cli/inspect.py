"""`avocado inspect`: what is in this store, model, run or bigWig?"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.cli import app
from avocado.cli.describe import after_store, describe_store
from avocado.data.bigwig import chromosomes
from avocado.data.genome import same_sizes
from avocado.data.store import open_store
from avocado.errors import InputError
from avocado.evaluation.scores import format_scores, read_scores
from avocado.utils.terminal import terminal_width

if TYPE_CHECKING:
    from omegaconf import DictConfig


def inspect(config: DictConfig) -> None:
    """Print what lies at `path`, unless it is a model."""
    path = Path(str(config.path))
    if (path / "store.json").is_file():
        store = open_store(path)
        print(describe_store(store))
        app.say_next(after_store(store))
    elif (path / "settings.yaml").is_file():
        print(_describe_run(path))
        app.say_next(_after_run(path))
    elif path.suffix.lower() in (".bw", ".bigwig"):
        print(_describe_bigwig(path))
        app.say_next([(app.typed("view", str(path)), "look at it in the web browser")])
    elif path.exists():
        raise InputError(f"{path} is neither a store, nor a model, nor a run, nor a bigWig")
    else:
        raise InputError(f"{path}: no such file or folder")


def _describe_run(path: Path) -> str:
    state = "done" if (path / "done.json").is_file() else "not finished: the same command goes on"
    lines = [f"run {path}: {state}", (path / "settings.yaml").read_text().rstrip()]
    if (path / "scores.csv").is_file():
        lines += [""]
        lines.append(format_scores(read_scores(path), color=sys.stdout.isatty(), width=terminal_width()))
    if (path / "report.html").is_file():
        lines += ["", f"report   {path / 'report.html'}  (all of it on one page: open it in a browser)"]
    return "\n".join(lines)


def _after_run(path: Path) -> list[tuple[str, str]]:
    """What can be typed next, where there is a run: its models lie in it, or beside all of the stage's runs."""
    whole = path.resolve()
    beside = whole.parents[3] / "model" / whole.parent.name / whole.name
    if not path.is_absolute():
        beside = Path(os.path.relpath(beside))
    model = next((its for its in (path / "model", beside) if (its / "model.yaml").is_file()), None)
    return (
        []
        if model is None
        else [(app.typed("inspect", str(model)), "its model: which tracks trained, what is missing")]
    )


def _describe_bigwig(path: Path) -> str:
    sizes = chromosomes(path)
    known = same_sizes(sizes)
    lines = [f"bigWig {path}: {len(sizes)} chromosomes, assembly {known or 'unknown'}"]
    lines += [f"  {name:<12}{size:>14,} bp" for name, size in list(sizes.items())[:30]]
    return "\n".join(lines)
