"""What all commands share: --help from the config files, overrides checked before Hydra runs, one-line errors."""

from __future__ import annotations

import difflib
import logging
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from avocado.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")
WIDTH = 30  # column of --help in which the meanings start


def config_directory() -> Path:
    """`conf/`: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def run(verb: str, task: Callable[[DictConfig], None], arguments: Sequence[str]) -> int:
    """Run `task` on the config of `verb` with the overrides in `arguments`. Returns the exit status.

    0: done; 2: the user has to change something, which one line on the error stream says; 130: interrupted.
    """
    if any(argument in ("-h", "--help") for argument in arguments):
        print(help_text(verb))
        return 0
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    try:
        overrides, multirun = read_arguments(arguments)
        check(verb, overrides, multirun)
        _launch(verb, task, overrides, multirun)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


def read_arguments(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Overrides as Hydra wants them, and whether several runs are asked for (-m, or a range such as fold=0..4).

    File names, patterns with {cell}, and names with blanks need no quotes of their own.
    """
    overrides, multirun = [], False
    for argument in arguments:
        if argument in ("-m", "--multirun"):
            multirun = True
            continue
        key, equals, value = argument.partition("=")
        if not equals and not key.startswith("~"):
            raise InputError(f"'{argument}' is not of the form key=value; --help lists the keys")
        span = re.fullmatch(r"(\d+)\.\.(\d+)", value)
        if span:
            value = ",".join(str(number) for number in range(int(span[1]), int(span[2]) + 1))
            multirun = True
        overrides.append(f"{key}{equals}{_quoted(key, value)}")
    return overrides, multirun


def _quoted(key: str, value: str) -> str:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if "{cell}" not in value and "{assay}" not in value:
        try:
            OverridesParser.create().parse_override(f"{key}={value}")
            return value
        except HydraException:
            pass
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def check(verb: str, overrides: Sequence[str], multirun: bool) -> None:
    """Raise a one-line InputError, which lists what exists, for an override that Hydra would refuse at length."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    groups = _groups(verb)
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    chosen = []
    for override in parsed:
        key = override.key_or_group
        if override.is_sweep_override() and not multirun:
            raise InputError(f"{key} has several values: add -m to run them all, or write a list as {key}=[a,b]")
        values = list(override.sweep_string_iterator()) if override.is_sweep_override() else [override.value()]
        if key in groups:
            for value in values:
                if str(value) not in groups[key] and value is not None:
                    raise InputError(f"unknown {key} '{value}'; there is: {', '.join(groups[key])}")
            chosen.append(f"{key}={values[0] if values[0] is not None else 'null'}")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            known = _keys(OmegaConf.to_container(compose(verb, chosen), resolve=False))
            for override in parsed:
                key = override.key_or_group
                if key not in groups and key not in known and not key.startswith("hydra"):
                    close = difflib.get_close_matches(key, known, 3, 0.5)
                    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
                    top = [name for name in dict.fromkeys([*groups, *known]) if "." not in name]
                    raise InputError(f"unknown key '{key}'{hint}; there is: {', '.join(top)}")
            if not multirun:
                compose(verb, list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(str(error).splitlines()[0]) from None
    finally:
        GlobalHydra.instance().clear()


def _launch(verb: str, task: Callable[[DictConfig], None], overrides: Sequence[str], multirun: bool) -> None:
    import hydra
    from omegaconf.errors import OmegaConfBaseException

    failure: list[BaseException] = []

    def guarded(config: DictConfig) -> None:
        # Hydra prints tracebacks of exceptions but lets SystemExit through
        try:
            task(config)
        except OmegaConfBaseException as error:
            failure.append(InputError(str(error).splitlines()[0]))
            raise SystemExit from None
        except (InputError, KeyboardInterrupt) as error:
            failure.append(error)
            raise SystemExit from None

    before, sys.argv = sys.argv, [sys.argv[0], *overrides, *(["-m"] if multirun else [])]
    try:
        hydra.main(version_base="1.3", config_path=str(config_directory()), config_name=verb)(guarded)()
    except SystemExit:
        if not failure:
            raise
        raise failure[0] from None
    finally:
        sys.argv = before


def build(cls: type[T], node: DictConfig | dict[str, Any], name: str, **more: Any) -> T:
    """The dataclass `cls` from a config node, with values of the right type. Raises InputError naming the key."""
    hints, values = get_type_hints(cls), dict(more)
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    for key, value in node.items():
        key = str(key)
        where = f"{name}.{key}" if name else key
        if key not in known:
            raise InputError(f"unknown key '{where}'; there is: {', '.join(sorted(known))}")
        expected = hints[key]
        if expected is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if expected in (int, float, str, bool) and type(value) is not expected:
            kind = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[expected]
            raise InputError(f"{where}={value!r}: expected {kind}")
        values[key] = value
    return cls(**values)


def as_list(value: Any) -> list[str]:
    """A list of strings from one value, a list, or nothing; 'a,b' is two."""
    if value is None:
        return []
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [str(part) for part in value] if hasattr(value, "__iter__") else [str(value)]


def help_text(verb: str) -> str:
    """The keys of a command, their defaults and meanings, as the comments of its config files give them."""
    lines = (config_directory() / f"{verb}.yaml").read_text().splitlines()
    intro = [line.removeprefix("# ") for line in lines if line.startswith("#")]
    out = [intro[0], "", *intro[1:], "", "Keys (key=value; this is the default):"]
    groups, section = [], ""
    for line in lines:
        group = re.match(r"  - (\w+): (\w+)\s+# (.*)", line)
        top = re.match(r"(\w+):\s*(.*?)(?:\s+# (.*))?$", line)
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
        for line in (config_directory() / name / f"{default}.yaml").read_text().splitlines():
            key = re.match(r"(\w+):\s*(.*?)\s+# (.*)$", line)
            if key:
                out.append(_entry(f"{name}.{key[1]}={key[2]}", key[3]))
    return "\n".join(out)


def _entry(setting: str, meaning: str) -> str:
    return f"  {setting:<{WIDTH}}  {meaning}" if len(setting) <= WIDTH else f"  {setting}\n  {'':<{WIDTH}}  {meaning}"


def _groups(verb: str) -> dict[str, list[str]]:
    """Config groups of a command and their options."""
    text = (config_directory() / f"{verb}.yaml").read_text()
    names = re.findall(r"^  - (\w+): \w+", text, re.MULTILINE)
    return {name: sorted(path.stem for path in (config_directory() / name).glob("*.yaml")) for name in names}


def _keys(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    found = []
    for key, value in node.items():
        found += [f"{prefix}{key}", *_keys(value, f"{prefix}{key}.")]
    return found
