"""What all commands share: --help from the config files, overrides checked before Hydra runs, one-line errors."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import avocado
from avocado.cli import launcher
from avocado.config.overrides import check, groups_of, hydra_config, read_arguments, separate_options
from avocado.config.values import config_directory
from avocado.errors import InputError
from avocado.utils.addresses import hide_passwords
from avocado.utils.pipes import until_reader_leaves

if TYPE_CHECKING:
    from omegaconf import DictConfig

SHOWING = ("--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--run", "-r")  # none of which goes with -m
WIDTH = 30  # column of --help in which the meanings start


def run(verb: str, task: Callable[[DictConfig], None], arguments: Sequence[str]) -> int:
    """Run `task` on the config of `verb` with the overrides in `arguments`. Returns the exit status.

    0: done; 2: the user has to change something, which one line on the error stream says; 130: interrupted; 141:
    nobody reads the output any more.
    """
    return until_reader_leaves(lambda: _run(verb, task, arguments))


def _run(verb: str, task: Callable[[DictConfig], None], arguments: Sequence[str]) -> int:
    if any(argument in ("-h", "--help") for argument in arguments):
        print(help_text(verb))
        return 0
    if "--version" in arguments:
        print(f"avocado {avocado.__version__}")
        return 0
    if not any(argument.startswith(("--info", "-i")) for argument in arguments):  # which Hydra logs and prints
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    try:
        carry_out(verb, task, arguments)
    except InputError as error:
        print(f"error: {hide_passwords(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


def carry_out(verb: str, task: Callable[[DictConfig], None], arguments: Sequence[str]) -> None:
    """`run`, with InputError and KeyboardInterrupt left to the caller."""
    options, typed = separate_options(arguments)
    overrides, multirun = read_arguments(typed)
    if multirun and any(option in SHOWING for option in options):
        raise InputError("Hydra shows the config of one run: leave out -m, and give every key one value")
    own_configs = any(option.startswith(("--config-dir", "-cd")) for option in options)
    overrides = check(verb, overrides, multirun, own_configs)
    if "launcher" in groups_of(verb) and not options:
        node = launcher.chosen(verb, overrides)
        if node.name != "basic":
            launcher.launch(launcher.commands(verb, overrides), node)
            return
    _run_here(verb, task, overrides, multirun, options)


def _run_here(
    verb: str, task: Callable[[DictConfig], None], overrides: Sequence[str], multirun: bool, options: Sequence[str]
) -> None:
    """Run the task in this process; of several runs, one that fails leaves the others alone.

    options: of Hydra, some of which show the config in place of the task.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf.errors import OmegaConfBaseException

    names = [command.name for command in launcher.commands(verb, overrides)] if multirun else [verb]
    failures: dict[str, str] = {}
    ended: BaseException | None = None

    def guarded(config: DictConfig) -> None:
        # Hydra prints tracebacks of exceptions but lets SystemExit through
        nonlocal ended
        try:
            task(config)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            ended = error
            raise SystemExit from None
        except (InputError, OmegaConfBaseException) as error:
            name = names[HydraConfig.get().job.num if multirun else 0]
            failures[name] = str(error) if isinstance(error, InputError) else str(error).splitlines()[0]
            if len(names) > 1:
                print(f"{name}: failed: {failures[name]}", flush=True)

    folder, name = hydra_config(verb)
    before, scratch = sys.argv, tempfile.TemporaryDirectory()
    options = [*options, *(["-m"] if multirun else [])]
    if multirun and not any(override.startswith("hydra") for override in overrides):
        options.insert(0, f"hydra.sweep.dir={scratch.name}")  # for the multirun.yaml that Hydra leaves otherwise
    sys.argv = [sys.argv[0], *overrides, *options]
    shown = io.StringIO() if any(option in SHOWING for option in options) else None
    try:
        with contextlib.redirect_stdout(shown or sys.stdout):
            hydra.main(version_base="1.3", config_path=folder, config_name=name)(guarded)()
    except SystemExit:
        if ended is not None:
            raise ended from None
        raise
    finally:
        if shown:
            print(hide_passwords(shown.getvalue()), end="")
        sys.argv = before
        scratch.cleanup()
    same = set(failures.values())
    if len(same) == 1 and len(failures) == len(names):
        raise InputError(same.pop())
    launcher.report_failures(failures, len(names))


def say_next(steps: Sequence[tuple[str, str]]) -> None:
    """Print commands to type next, each with what it does: beside it, or above where the terminal is too narrow."""
    if steps:
        print("next:")
    for command, meaning in steps:
        line = f"  {command}    # {meaning}"
        print(line if len(line) <= shutil.get_terminal_size().columns else f"  # {meaning}\n  {command}")


def help_text(verb: str) -> str:
    """The keys of a command, their defaults and meanings, as the comments of its config files give them."""
    lines = (config_directory() / f"{verb}.yaml").read_text(encoding="utf-8").splitlines()
    intro = [line.removeprefix("# ") for line in lines if line.startswith("#")]
    out = [intro[0], "", *intro[1:], "", "Keys (key=value; this is the default):"]
    groups, section = [], ""
    for line in lines:
        group = re.match(r"  - (\w+): (\w+)\s+# (.*)", line)
        top = re.match(r"(\w+):(?: +([^#\s].*?))?(?: +# (.*))?$", line)
        inner = re.match(r"  (\w+):\s*(.*?)\s+# (.*)$", line)
        if group:
            groups.append(group.groups())
        elif line.startswith(("defaults:", "hydra:")):
            section = ""
        elif top and top[3]:
            out.append(_entry(f"{top[1]}={top[2]}", top[3]) if top[2] else f"{top[1]}: {top[3]}")
            section = "" if top[2] else f"{top[1]}."
        elif inner and section:
            out.append(_entry(f"{section}{inner[1]}={inner[2]}", inner[3]))
    for name, default, meaning in groups:
        options = sorted(path.stem for path in (config_directory() / name).glob("*.yaml"))
        out += ["", f"{name}={default}: {meaning} ({', '.join(options)})"]
        section = ""
        for line in (config_directory() / name / f"{default}.yaml").read_text(encoding="utf-8").splitlines():
            key = re.match(r"(  )?([\w.]+):\s*(.*?)\s*# (.*)$", line)
            if key and not key[1] and not key[3]:
                section = f"{key[2]}."
                out.append(f"{name}.{key[2]}: {key[4]}")
            elif key:
                out.append(_entry(f"{name}.{section if key[1] else ''}{key[2]}={key[3]}", key[4]))
    return "\n".join(out)


def _entry(setting: str, meaning: str) -> str:
    return f"  {setting:<{WIDTH}}  {meaning}" if len(setting) <= WIDTH else f"  {setting}\n  {'':<{WIDTH}}  {meaning}"
