"""From the dataclasses of `commands` and `sections` to Hydra: typed configs, kinds of keys, and the text of --help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, field, fields, make_dataclass
from functools import cache
from inspect import cleandoc
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from avocado.config.commands import COMMANDS, Train
from avocado.config.sections import IMPUTERS, LAUNCHERS, Data
from avocado.config.values import config_directory
from avocado.utils.terminal import wrapped

OPTIONS = {"imputer": IMPUTERS, "launcher": LAUNCHERS}  # groups whose options have keys of their own
WIDTH = 30  # column of --help in which the meanings start
# Hydra's own folders and logs, which runs do not need: they have theirs
HYDRA = {"output_subdir": None, "run": {"dir": "."}, "sweep": {"dir": ".", "subdir": "."}, "job": {"chdir": False}}
QUIET = [{"override /hydra/job_logging": "none"}, {"override /hydra/hydra_logging": "none"}]


@cache
def shape(cls: type, **more: str) -> type:
    """The settings of a dataclass as another one that OmegaConf can fill: nothing frozen, nothing checked, no more.

    more: further texts, with their values.
    """
    hints = get_type_hints(cls)
    made: list[tuple[str, Any, Any]] = [(name, str, field(default=value)) for name, value in more.items()]
    for its in _settings(cls):
        inner = its.metadata.get("section")
        if inner is not None:
            inside = shape(inner)
            made.append((its.name, inside, field(default_factory=inside)))
        elif "option" in its.metadata:  # what is in it, its option decides
            made.append((its.name, Any, field(default=None)))
        else:
            fresh = its.default_factory is not MISSING
            given: dict[str, Any] = {"default_factory": its.default_factory} if fresh else {"default": its.default}
            # OmegaConf merges no mapping into null
            mapping = any(get_origin(part) is dict for part in get_args(hints[its.name]))
            made.append((its.name, Any if mapping else hints[its.name], field(**given)))
    return make_dataclass(cls.__name__, made)


@cache
def register(verb: str) -> None:
    """Tell Hydra of a command: `settings_<command>`, and `settings_<name>` of options with keys of their own."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    hydra, groups = ConfigStore.instance(), groups_of(verb)
    for group in OPTIONS.keys() & groups.keys():
        for name, cls in OPTIONS[group].items():
            # in no group: else imputer= of impute, which is a name, would be taken for the choice of an option
            hydra.store(f"settings_{name}", OmegaConf.structured(shape(cls, name=name)))
    if verb in COMMANDS:
        hydra.store(f"settings_{verb}", OmegaConf.structured(shape(COMMANDS[verb])))
        defaults, node = [f"settings_{verb}", "_self_"], {}
    else:
        node = _file(verb)
        defaults = node.pop("defaults", ["_self_"])
        if "data" in groups:
            hydra.store("settings_data", OmegaConf.structured(shape(Data)), package="data")
            defaults.insert(0, "settings_data")
        for group, chosen in _chosen(verb).items():
            if group not in _sections():  # its options are files alone, which say what is a number
                values = _file(f"{group}/{chosen}") or {}
                numbers = {key: its for key, its in values.items() if isinstance(its, bool | int | float)}
                hydra.store(f"settings_{group}", _typed(numbers), package=group)
                defaults.insert(0, f"settings_{group}")
    hydra.store(f"avocado_{verb}", {"defaults": [*defaults, *QUIET], "hydra": HYDRA, **_typed(node)})


def hydra_config(verb: str) -> tuple[str | None, str]:
    """Folder and name of a command's config; without groups of its own there is no folder.

    In `conf/` Hydra would take `avocado impute model=...` for a choice out of the group `model` of train.
    """
    register(verb)
    folder = str(config_directory()) if groups_of(verb) else None
    return folder, verb if verb == "train" else f"avocado_{verb}"


@cache
def groups_of(verb: str) -> dict[str, list[str]]:
    """Config groups of a command and their options."""
    if verb in COMMANDS:
        names = [its.name for its in _settings(COMMANDS[verb]) if "option" in its.metadata]
    else:
        names = list(_chosen(verb))
    return {name: options_of(name) for name in names}


def default_of(verb: str, group: str) -> str:
    """The option of a group that a command takes where none is typed."""
    return next(its.metadata["option"] for its in _settings(COMMANDS[verb]) if its.name == group)


def options_of(group: str) -> list[str]:
    """The options of a group, as `conf/` has them."""
    return sorted(path.stem for path in (config_directory() / group).glob("*.yaml"))


def option(group: str, name: str) -> dict[str, Any]:
    """The values of an option: those of its dataclass, and what its file says otherwise."""
    node = _file(f"{group}/{name}") or {}
    base = next((its for its in node.pop("defaults", []) if isinstance(its, str)), "").removeprefix("/settings_")
    cls = OPTIONS[group][base] if group in OPTIONS else _sections().get(group)
    defaults = {its.name: _default(its) for its in _settings(cls)} if cls else {}
    return {**({"name": base} if base else {}), **defaults, **node}


@cache
def kinds(verb: str) -> dict[str, Any]:
    """The type of every key that a command may have: str, int | None, Any for `Names`, dict for sections."""
    if verb in COMMANDS:
        found = _hints(COMMANDS[verb])
        for group in OPTIONS.keys() & found.keys():
            inner = {"name": str, **{key: hint for cls in OPTIONS[group].values() for key, hint in _hints(cls).items()}}
            found |= {f"{group}.{key}": hint for key, hint in inner.items()}
            if verb != "train":  # impute and score, for which it is a name
                found[group] = get_type_hints(COMMANDS[verb])[group]
        return found
    found = _kinds_in(_file(verb))
    for group, chosen in _chosen(verb).items():
        inner = _hints(_sections()[group]) if group in _sections() else _kinds_in(_file(f"{group}/{chosen}"))
        found |= {group: dict, **{f"{group}.{key}": kind for key, kind in inner.items()}}
    return found


def _chosen(verb: str) -> dict[str, str]:
    """The options that the file of a command chooses."""
    entries = [entry for entry in _file(verb).get("defaults", []) if isinstance(entry, dict)]
    return {name: its for entry in entries for name, its in entry.items() if not name.startswith("override ")}


def help_text(verb: str, width: int | None = None) -> str:
    """The keys of a command, their defaults and meanings: from its dataclass, or the comments in its file.

    width: of the terminal; a meaning goes on in the column in which it starts.
    """
    if verb in COMMANDS:
        intro = cleandoc(COMMANDS[verb].__doc__ or "").splitlines()
        keys = list(_lines(COMMANDS[verb]))
        groups = {its.name: its.metadata for its in _settings(COMMANDS[verb]) if "option" in its.metadata}
        chosen = {name: (told["option"], told["meaning"]) for name, told in groups.items()}
    else:
        text = (config_directory() / f"{verb}.yaml").read_text(encoding="utf-8")
        intro = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("#")]
        intro.insert(1, "")
        keys = list(_commented(text))
        chosen = {name: told for name, *told in re.findall(r"^  - (\w+): (\w+)\s+# (.*)", text, re.MULTILINE)}
    out = [*intro, "", "Keys (key=value; this is the default):", *keys]
    for name, (default, meaning) in chosen.items():
        out += ["", f"{name}={default}: {meaning} ({', '.join(options_of(name))})", *_option_lines(name, default)]
    lines = (line for entry in out for line in entry.splitlines() or [""])
    return "\n".join(wrapped(line, width, WIDTH + 4 if line.startswith("  ") else 0) for line in lines)


def _option_lines(group: str, name: str) -> Iterator[str]:
    cls = OPTIONS[group][name] if group in OPTIONS else _sections().get(group)
    if group in OPTIONS:
        yield _entry(f"{group}.name={name}", "of the option, on which the other keys depend")
    if cls is not None:
        yield from _lines(cls, f"{group}.", option(group, name))
    else:
        yield from _commented((config_directory() / group / f"{name}.yaml").read_text(encoding="utf-8"), f"{group}.")


def _lines(cls: type, prefix: str = "", values: dict[str, Any] | None = None) -> Iterator[str]:
    """Of a dataclass. values: other ones than its defaults."""
    for its in _settings(cls):
        key, meaning, inner = f"{prefix}{its.name}", its.metadata["meaning"], its.metadata.get("section")
        if "option" in its.metadata:
            continue
        if inner is not None:
            yield f"{key}: {meaning}"
            yield from _lines(inner, f"{key}.")
        else:
            yield _entry(f"{key}={_shown((values or {}).get(its.name, _default(its)))}", meaning)


def _commented(text: str, prefix: str = "") -> Iterator[str]:
    """Of a file, from the comments behind its keys, two levels deep."""
    section = ""
    for line in text.partition("\nhydra:")[0].splitlines():
        found = re.match(r"(  )?([\w.]+):\s*(.*?)(?:\s*# (.*))?$", line)
        if not found or found[2] == "defaults":
            continue
        section = section if found[1] else f"{found[2]}." * (not found[3])
        key = f"{prefix}{section if found[1] else ''}{found[2]}"
        if found[4]:
            yield _entry(f"{key}={found[3]}", found[4]) if found[3] else f"{key}: {found[4]}"


def _entry(setting: str, meaning: str) -> str:
    return f"  {setting:<{WIDTH}}  {meaning}" if len(setting) <= WIDTH else f"  {setting}\n  {'':<{WIDTH}}  {meaning}"


def _shown(value: Any) -> str:
    """A default as it would be typed."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _settings(cls: type) -> list[Field[Any]]:
    return [its for its in fields(cls) if "meaning" in its.metadata]


def _sections() -> dict[str, type]:
    """The dataclasses of the groups whose options all have the same keys."""
    return {its.name: its.metadata["section"] for its in _settings(Train) if its.metadata.get("section")}


def _default(its: Field[Any]) -> Any:
    return its.default if its.default_factory is MISSING else its.default_factory()


def _hints(cls: type) -> dict[str, Any]:
    """Dotted keys of a dataclass and their types."""
    found, hints = {}, get_type_hints(cls)
    for its in _settings(cls):
        inner = its.metadata.get("section")
        found[its.name] = dict if inner or "option" in its.metadata else hints[its.name]
        found |= {f"{its.name}.{key}": hint for key, hint in _hints(inner).items()} if inner else {}
    return found


def _kinds_in(node: dict[str, Any]) -> dict[str, Any]:
    """The same of values of a file. Where one is null anything may be typed."""
    found = {}
    for key, value in node.items():
        found[key] = object if value is None else type(value)
        found |= {f"{key}.{inner}": kind for inner, kind in _kinds_in(value).items()} if isinstance(value, dict) else {}
    return found


def _typed(node: dict[str, Any]) -> dict[str, Any]:
    """Values that refuse others of another kind, as OmegaConf's nodes."""
    from omegaconf import BooleanNode, FloatNode, IntegerNode, StringNode

    nodes = {bool: BooleanNode, int: IntegerNode, float: FloatNode, str: StringNode}
    typed: dict[str, Any] = {}
    for key, value in node.items():
        kind = nodes.get(type(value))
        typed[key] = _typed(value) if isinstance(value, dict) else kind(value, is_optional=False) if kind else value
    return typed


def _file(verb: str) -> dict[str, Any]:
    return yaml.safe_load((config_directory() / f"{verb}.yaml").read_text(encoding="utf-8"))
