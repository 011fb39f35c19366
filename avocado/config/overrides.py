"""What is typed behind a command: key=value as Hydra wants it, checked against the config before Hydra runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from avocado.config.values import config_directory, split_list
from avocado.errors import InputError, did_you_mean

# keys that take several names: a,b is a list for them, where for other keys it asks for several runs
LISTS = (
    "regions",
    "region",
    "cell",
    "assay",
    "assays",
    "chroms",
    "tracks",
    "average",
    "data.regions",
    "split.hold_out",
    "sweep.objectives",
)
WHOLE_OR_NULL = (
    "decimals",
    "workers",
    "trainer.threads",
    "threads",
    "fit.memory_limit",
    "fit.min_steps",
    "model.baseline_features",
    "cells",
    "lineages",
)
SHARE_OR_NUMBER = ("split.validation",)
NUMBER_OR_WORD = ("fold",)
TOPICS = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")  # of --info, which may have none
# options of Hydra itself, and whether a value follows
HYDRA_OPTIONS = {
    **dict.fromkeys(("--resolve", "--run", "-r", "--hydra-help", "--info", "-i"), False),
    **dict.fromkeys(("--cfg", "-c", "--package", "-p", "--config-dir", "-cd", "--shell-completion", "-sc"), True),
}


def separate_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's own options, with their values, and what else is typed. Raises InputError where a value is missing."""
    options, others, left = [], [], list(arguments)
    while left:
        argument = left.pop(0)
        name, equals, _ = argument.partition("=")
        if name not in HYDRA_OPTIONS:
            others.append(argument)
            continue
        options.append(argument)
        if equals:
            continue
        if HYDRA_OPTIONS[name] and not left:
            raise InputError(f"{name} needs a value; python train.py --hydra-help lists Hydra's options")
        if HYDRA_OPTIONS[name] or (name in ("--info", "-i") and left and left[0] in TOPICS):
            options.append(left.pop(0))
    return options, others


def read_arguments(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Overrides as Hydra wants them, and whether several runs are asked for (-m, or a range such as fold=0..4).

    File names, patterns with {cell}, and names with blanks need no quotes of their own.
    """
    multirun = any(argument in ("-m", "--multirun") for argument in arguments)
    multirun |= any(re.fullmatch(r"[^=]+=\d+\.\.\d+", argument) is not None for argument in arguments)
    overrides = []
    for argument in arguments:
        if argument in ("-m", "--multirun"):
            continue
        key, equals, value = argument.partition("=")
        if not equals and key.startswith("-"):
            hint = did_you_mean(key, [*HYDRA_OPTIONS, "--multirun", "--help", "--version"])
            raise InputError(f"unknown option '{argument}'{hint}")
        if not equals and not key.startswith("~"):
            raise InputError(f"'{argument}' is not of the form key=value; --help lists the keys")
        span = re.fullmatch(r"(\d+)\.\.(\d+)", value)
        if span:
            value = ",".join(str(number) for number in range(int(span[1]), int(span[2]) + 1))
        if equals and not _parses(key, value, multirun):
            several = key in LISTS and ("," in value or value.startswith("["))
            parts = [part.strip() for part in split_list(value.removeprefix("[").removesuffix("]"))]
            value = f"[{','.join(map(_quoted, parts))}]" if several else _quoted(value)
        overrides.append(f"{key}{equals}{value}")
    return overrides, multirun


def _parses(key: str, value: str, multirun: bool) -> bool:
    """Whether Hydra reads `value` as it is meant: no syntax of its own in it, no list taken for several runs."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if any(name in value for name in ("{cell}", "{assay}", "{part}")):
        return False
    try:
        override = OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException:
        return False
    return multirun or key not in LISTS or not override.is_sweep_override()


def _quoted(value: str) -> str:
    # Hydra's rule: a backslash is itself, but before a quote it has to be doubled
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"


def check(verb: str, overrides: Sequence[str], multirun: bool, own_configs: bool = False) -> list[str]:
    """The overrides, with names that look like numbers as texts, and a file, `model=mine.yaml`, as the keys in it.

    own_configs: there are more options of groups than those in conf/ (--config-dir), which Hydra looks for itself.
    Raises a one-line InputError, which lists what exists, for an override that Hydra would refuse at length, and for
    a value of the wrong kind.
    """
    from hydra import compose, initialize, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    groups = groups_of(verb)
    checked = [inner for override in overrides for inner in _from_file(override, groups)]
    chosen = []
    GlobalHydra.instance().clear()
    try:
        parsed = OverridesParser.create().parse_overrides(checked)
        for override in parsed:
            key = override.key_or_group
            if key in groups and override.is_delete():
                chosen.append(f"~{key}")
                continue
            if override.is_sweep_override() and not multirun:
                raise InputError(f"{key} has several values: add -m to run them all, one after the other")
            values = list(override.sweep_string_iterator()) if override.is_sweep_override() else [override.value()]
            if key in groups:
                for value in values:
                    if str(value) not in groups[key] and not own_configs:
                        raise InputError(f"unknown {key} '{value}'; there is: {', '.join(groups[key])}")
                if str(values[0]) in groups[key]:
                    chosen.append(f"{key}={values[0]}")
        folder, name = hydra_config(verb)
        with initialize_config_dir(folder, version_base="1.3") if folder else initialize(None, version_base="1.3"):
            known = _keys(OmegaConf.to_container(compose(name, chosen), resolve=False))
            for number, override in enumerate(parsed):
                key = override.key_or_group
                if key in groups or key.startswith("hydra") or override.is_add() or override.is_force_add():
                    continue
                if key not in known:
                    hint = did_you_mean(key, known, 3)
                    top = [name for name in dict.fromkeys([*groups, *known]) if "." not in name]
                    raise InputError(f"unknown key '{key}'{hint}; there is: {', '.join(top)}")
                if not override.is_sweep_override() and not override.is_delete():
                    value = override.value()
                    _require_kind(key, value, known[key])
                    if _is_text(key, known[key]) and isinstance(value, bool | int | float):
                        left, _, right = checked[number].partition("=")
                        checked[number] = f"{left}={_quoted(right)}"
            if not multirun and not own_configs:
                compose(name, checked)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(str(error).splitlines()[0]) from None
    finally:
        GlobalHydra.instance().clear()
    return checked


def _from_file(override: str, groups: Iterable[str]) -> list[str]:
    """`model=mine.yaml` as model.nodes=64 and so on: an option of a group in a file of the user's own."""
    import yaml

    group, _, value = override.partition("=")
    file = value.strip("'")
    if group not in groups or "," in file or not file.endswith((".yaml", ".yml")):
        return [override]
    try:
        node = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{file} is not a YAML file") from None
    if not isinstance(node, dict) or any(isinstance(its, dict | list) for its in node.values()):
        raise InputError(f"{file}: expected lines of the form key: value, as the files in conf/{group} have them")
    words = {True: "true", False: "false", None: "null"}
    typed = [
        f"{group}.{key}={words[its] if its is None or isinstance(its, bool) else its}" for key, its in node.items()
    ]
    return read_arguments(typed)[0]


def _require_kind(key: str, value: Any, default: Any) -> None:
    """Raise InputError where a number, true or false, or a list is expected and `value` is something else."""
    if key in NUMBER_OR_WORD or (key in WHOLE_OR_NULL and value is None):
        return
    if isinstance(default, bool):
        expected, fits = "true or false", isinstance(value, bool)
    elif isinstance(default, float) or key in SHARE_OR_NUMBER:
        expected, fits = "a number", isinstance(value, int | float) and not isinstance(value, bool)
    elif isinstance(default, int) or key in WHOLE_OR_NULL:
        expected, fits = "a whole number", isinstance(value, int) and not isinstance(value, bool)
    elif isinstance(default, dict):
        expected, fits = f"{key}.<key>=<value>", isinstance(value, dict)
    elif isinstance(default, list) and str(value).startswith("["):  # one that Hydra could not read
        expected = f"a list, with quotes around parts that are more than a word: \"{key}=['a=b','c']\""
        fits = not isinstance(value, str)
    else:
        return
    if not fits:
        raise InputError(f"{key}={value}: expected {expected}")


def _is_text(key: str, default: Any) -> bool:
    """Whether the values of a key are texts, names of files most of them; a folder may be called 2024."""
    return isinstance(default, str) or (default is None and key not in WHOLE_OR_NULL)


def hydra_config(verb: str) -> tuple[str | None, str]:
    """Folder and name of a command's config: in `conf/`, or, without groups of its own, handed to Hydra by name.

    In `conf/` Hydra would take `avocado impute model=...` for a choice out of the group `model` of train.
    """
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    if groups_of(verb):
        return str(config_directory()), verb
    name = f"avocado_{verb}"
    ConfigStore.instance().store(name, OmegaConf.load(config_directory() / f"{verb}.yaml"))
    return None, name


def groups_of(verb: str) -> dict[str, list[str]]:
    """Config groups of a command and their options."""
    text = (config_directory() / f"{verb}.yaml").read_text(encoding="utf-8")
    names = re.findall(r"^  - (\w+): \w+", text, re.MULTILINE)
    return {name: sorted(path.stem for path in (config_directory() / name).glob("*.yaml")) for name in names}


def _keys(node: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a config and their defaults, sections among them."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        found[f"{prefix}{key}"] = value
        if isinstance(value, dict):
            found.update(_keys(value, f"{prefix}{key}."))
    return found
