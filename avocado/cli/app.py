"""What all commands share: --help, a config that is composed once, Hydra for several runs, and one-line errors."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import avocado
from avocado.browser.needed import installed
from avocado.cli import launcher
from avocado.cli.arguments import split
from avocado.cli.hydra_main import by_hydra
from avocado.config.overrides import (
    combinations,
    composed,
    in_one_line,
    read_arguments,
    require_options,
    separate_options,
)
from avocado.config.schema import groups_of, help_text
from avocado.errors import InputError
from avocado.utils.addresses import hide_passwords
from avocado.utils.pipes import until_reader_leaves
from avocado.utils.terminal import terminal_width

if TYPE_CHECKING:
    from omegaconf import DictConfig

BROWSING = ("avocado hub ", "avocado view ")  # need the extra `browser`
SHOWING = ("--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--run", "-r")  # none of which goes with -m


def command(verb: str, arguments: Sequence[str], task: Callable[[DictConfig], None] | None = None) -> int:
    """Run a command of the console, whose module is imported when there is work to do: --help and mistakes are quick.

    The module has a function of the command's name, which takes its config and what `split` finds beside that. task:
    what is called in its place. Returns the exit status.
    """
    name = verb.replace("-", "_")
    own, more = split(verb, arguments)

    def carried(config: DictConfig) -> None:
        part = _part(name, config)
        getattr(module_of(part), part)(config, *more)

    carried.__module__ = f"avocado.cli.{name}"  # after which Hydra names a job

    def is_done(config: DictConfig) -> bool:
        return hasattr(module_of(name), "is_done") and module_of(name).is_done(config)

    return run(verb, task or carried, own, is_done)


def module_of(name: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(f"avocado.cli.{name}")


def _part(name: str, config: DictConfig) -> str:
    """The module that carries out a config: what takes seconds to import is apart, for those who do without."""
    if name in ("impute", "score") and config.imputer is not None and config.store is not None and config.model is None:
        return f"{name}_by_method"
    if name == "inspect":
        path = Path(str(config.path))
        if (path / "model.yaml").is_file() and not (path / "store.json").is_file():
            return "inspect_model"
    return name


def run(
    verb: str,
    task: Callable[[DictConfig], None],
    arguments: Sequence[str],
    is_done: Callable[[DictConfig], bool] | None = None,
) -> int:
    """Run `task` on the config of `verb` with the overrides in `arguments`. Returns the exit status.

    is_done: whether a config has nothing left to do, so that no job is queued for it.

    0: done; 2: the user has to change something, which one line on the error stream says; 130: interrupted; 141:
    nobody reads the output any more.
    """
    return until_reader_leaves(lambda: _run(verb, task, arguments, is_done))


class _Said(logging.Handler):
    """To the error stream as it is now: while a bar is shown it stands in for it, and lines go above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        print(self.format(record), file=sys.stderr, flush=True)


def _run(
    verb: str,
    task: Callable[[DictConfig], None],
    arguments: Sequence[str],
    is_done: Callable[[DictConfig], bool] | None,
) -> int:
    if any(argument in ("-h", "--help") for argument in arguments):
        print(help_text(verb, terminal_width()))
        return 0
    if "--version" in arguments:
        print(f"avocado {avocado.__version__}")
        return 0
    from omegaconf.errors import OmegaConfBaseException

    if not any(argument.startswith(("--info", "-i")) for argument in arguments):  # which Hydra logs and prints
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_Said()])
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    try:
        carry_out(verb, task, arguments, is_done)
    except InputError as error:
        return _refused(str(error))
    except OmegaConfBaseException as error:
        return _refused(in_one_line(error))
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


def _refused(why: str) -> int:
    print(f"error: {hide_passwords(' '.join(why.split()))}", file=sys.stderr)
    return 2


def carry_out(
    verb: str,
    task: Callable[[DictConfig], None],
    arguments: Sequence[str],
    is_done: Callable[[DictConfig], bool] | None = None,
) -> None:
    """`run`, with InputError and KeyboardInterrupt left to the caller."""
    options, typed = separate_options(arguments)
    overrides, multirun = read_arguments(typed, verb)
    shown = any(option.partition("=")[0] in SHOWING for option in options)
    if multirun and shown:
        raise InputError("Hydra shows the config of one run: leave out -m, and give every key one value")
    own_configs = _own_configs(options)
    if own_configs is None:
        require_options(verb, overrides, multirun)
    runs = list(combinations(overrides)) if multirun else [overrides]
    config = composed(verb, runs[0], own_configs)
    if shown:
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                by_hydra(verb, task, [*overrides, *options])
        finally:
            print(hide_passwords(printed.getvalue()), end="")
    elif "launcher" in groups_of(verb) and config.get("launcher", {}).get("name", "basic") != "basic":
        if is_done is not None and all(is_done(composed(verb, run, own_configs)) for run in runs):
            print(f"done before: all {len(runs)} runs")
            return
        launcher.launch(launcher.commands(verb, overrides, options), config, verb, [*overrides, *options])
    elif multirun:
        with tempfile.TemporaryDirectory() as folder:
            commands = launcher.commands(verb, overrides)
            # where Hydra leaves multirun.yaml
            place = [] if any(text.startswith("hydra.sweep") for text in overrides) else [f"hydra.sweep.dir={folder}"]
            by_hydra(verb, launcher.Job(commands, Path(folder), task), ["-m", *place, *overrides, *options])
            launcher.report(commands, Path(folder))
    elif options or any(text.startswith("hydra") for text in overrides):
        by_hydra(verb, task, [*overrides, *options])
    else:
        task(config)


def typed(*words: str) -> str:
    """A command as it can be typed, `avocado` before it."""
    return shlex.join(["avocado", *words])


def say_next(steps: Sequence[tuple[str, str]]) -> None:
    """Print commands to type next, each with what it does: beside it, or above where the terminal is too narrow.

    Those of genome browsers are left out where what they need is not installed.
    """
    steps = [step for step in steps if not step[0].startswith(BROWSING) or installed()]
    if steps:
        print("next:")
    for command, meaning in steps:
        line = f"  {command}    # {meaning}"
        print(line if len(line) <= shutil.get_terminal_size().columns else f"  # {meaning}\n  {command}")


def _own_configs(options: Sequence[str]) -> str | None:
    """The folder of --config-dir."""
    for number, option in enumerate(options):
        name, _, value = option.partition("=")
        if name in ("--config-dir", "-cd"):
            return value or options[number + 1]
    return None
