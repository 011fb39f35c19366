"""What is typed behind a command, as Hydra wants it, and the config that comes of it, or one line that says why not."""

from __future__ import annotations

import itertools
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import yaml

from avocado.config.schema import OPTIONS, default_of, groups_of, hydra_config, kinds, option
from avocado.config.values import as_list
from avocado.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

TOPICS = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")  # of --info, which may have none
# options of Hydra itself, and whether a value follows
HYDRA_OPTIONS = {
    **dict.fromkeys(("--resolve", "--run", "-r", "--hydra-help", "--info", "-i"), False),
    **dict.fromkeys(("--cfg", "-c", "--package", "-p", "--config-dir", "-cd", "--shell-completion", "-sc"), True),
}
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", list: "a list"}


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


def read_arguments(arguments: Sequence[str], verb: str = "train") -> tuple[list[str], bool]:
    """Overrides as Hydra wants them, and whether several runs are asked for (-m, or a range such as fold=0..4).

    Texts stay as they are typed: file names, patterns with {cell}, names with blanks or that look like numbers. A
    file, `model=mine.yaml`, becomes the keys in it.
    """
    spans = [re.fullmatch(r"([^=]+=)(\d+)\.\.(\d+)", argument) for argument in arguments]
    multirun = any(spans) or any(argument in ("-m", "--multirun") for argument in arguments)
    overrides = []
    for argument, span in zip(arguments, spans, strict=True):
        key, equals, value = argument.partition("=")
        if argument in ("-m", "--multirun"):
            continue
        if not equals and key.startswith("-"):
            hint = did_you_mean(key, [*HYDRA_OPTIONS, "--multirun", "--help", "--version"])
            raise InputError(f"unknown option '{argument}'{hint}")
        if not equals and not key.startswith("~"):
            raise InputError(f"'{argument}' is not of the form key=value; --help lists the keys")
        if span:
            overrides.append(span[1] + ",".join(map(str, range(int(span[2]), int(span[3]) + 1))))
        elif key in groups_of(verb) and "," not in value and value.strip("'").endswith((".yaml", ".yml")):
            overrides += read_arguments(_keys_of_file(key, Path(value.strip("'"))), verb)[0]
        else:
            overrides.append(key + equals + _value(key, value, kinds(verb).get(key.lstrip("+"), object), multirun))
    return overrides, multirun


def parsed(overrides: Sequence[str]) -> list[Override]:
    """As Hydra reads them. Raises InputError."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise InputError(str(error).splitlines()[0]) from None


def combinations(overrides: Sequence[str]) -> Iterator[list[str]]:
    """The overrides of each run, as -m means it."""
    values = [
        [f"{text.partition('=')[0]}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [text]
        for override, text in zip(parsed(overrides), overrides, strict=True)
    ]
    return map(list, itertools.product(*values))


def composed(verb: str, overrides: Sequence[str], own_configs: str | None = None) -> DictConfig:
    """The config of a command. own_configs: a further folder of options (--config-dir).

    Raises a one-line InputError, which lists what exists, for a key, an option or a value that there is not.
    """
    from hydra import compose, initialize, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    folder, name = hydra_config(verb)
    searched = [] if own_configs is None else [f"hydra.searchpath=[{quoted(f'file://{Path(own_configs).resolve()}')}]"]
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(folder, version_base="1.3") if folder else initialize(None, version_base="1.3"):
            return compose(name, [*overrides, *searched])
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(_one_line(verb, overrides, error)) from None
    finally:
        GlobalHydra.instance().hydra = outer


def require_options(verb: str, overrides: Sequence[str], multirun: bool) -> None:
    """Raise InputError for several values without -m, and for one of them that is no option of its group."""
    for override in parsed(overrides):
        key, groups = override.key_or_group, groups_of(verb)
        if override.is_sweep_override() and not multirun:
            raise InputError(f"{key} has several values: add -m to run them all, one after the other")
        for value in override.sweep_string_iterator() if override.is_sweep_override() and key in groups else ():
            if value not in groups[key]:
                raise InputError(f"unknown {key} '{value}'; there is: {', '.join(groups[key])}")


def in_one_line(error: OmegaConfBaseException) -> str:
    """What a value of a config lacks, found out when it is used."""
    from omegaconf.errors import MissingMandatoryValue

    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}= is missing; --help says what it is"
    return str(error).splitlines()[0]


def quoted(value: str) -> str:
    """A text that Hydra reads as such, whatever is in it."""
    # Hydra's rule: a backslash is itself, but before a quote it has to be doubled
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"


def _value(key: str, value: str, kind: Any, multirun: bool) -> str:
    """What is typed for a key of that kind, with quotes where Hydra would take it for something else."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    listed = get_origin(kind) is list or kind is list
    if listed and "," in value and not value.startswith("[") and not multirun:
        value = f"[{value}]"
    try:
        override = OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException:
        if listed:
            return f"[{','.join(map(quoted, as_list(value)))}]"
        return quoted(value) if value or kind in (str, Any) else value
    its = None if override.is_sweep_override() else override.value()
    in_quotes = isinstance(its, str) and value[:1] in ("'", '"') and value[:1] == value[-1:]
    if in_quotes or its == value or value.startswith("${"):
        return value
    if kind is Any:  # names
        return value if override.is_sweep_override() and multirun else quoted(value)
    if str not in _parts(kind) or override.is_sweep_override() or (its is None and type(None) in _parts(kind)):
        return quoted(value) if any(name in value for name in ("{cell}", "{assay}", "{part}")) else value
    return value if int in _parts(kind) and isinstance(its, int) else quoted(value)


def _parts(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _keys_of_file(group: str, file: Path) -> list[str]:
    """The lines of a file of the user's own, as they would be typed."""
    try:
        node = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{file} is not a YAML file") from None
    if not isinstance(node, dict) or any(isinstance(its, dict | list) for its in node.values()):
        raise InputError(f"{file}: expected lines of the form key: value, as the files in conf/{group} have them")
    return as_typed({f"{group}.{key}": its for key, its in node.items()})


def as_typed(values: Mapping[str, Any]) -> list[str]:
    """Keys and plain values as they would be typed."""
    words = {True: "true", False: "false", None: "null"}
    return [f"{key}={words[its] if its is None or isinstance(its, bool) else its}" for key, its in values.items()]


def _one_line(verb: str, overrides: Sequence[str], error: Exception) -> str:
    """What Hydra says at length."""
    from hydra.errors import MissingConfigException

    text, known = str(error), kinds(verb)
    missing = re.match(r"In '.*': Could not find '(\w+)/(.*)'", text)
    if isinstance(error, MissingConfigException) and missing and missing[1] in groups_of(verb):
        return f"unknown {missing[1]} '{missing[2]}'; there is: {', '.join(groups_of(verb)[missing[1]])}"
    unknown = re.match(r"(?:Could not (?:override|delete from config\.|delete\.?) |Key )'([^']+)'", text)
    if unknown:
        key = unknown[1]
        group = key.partition(".")[0]
        if "." in key and group in OPTIONS:  # an option has keys of its own
            name = next((text.partition("=")[2] for text in reversed(overrides) if text.startswith(f"{group}=")), None)
            its = option(group, name or default_of(verb, group))
            if key == "imputer.seed":
                return f"unknown key '{key}': what is random in an imputer follows seed=, the run's own"
            hint = did_you_mean(key.partition(".")[2], its).replace("did you mean ", f"did you mean {group}.")
            return f"unknown key '{key}'{hint}; {group}={name or its['name']} has: {', '.join(its)}"
        top = [name for name in dict.fromkeys([*groups_of(verb), *known]) if "." not in name]
        return f"unknown key '{key}'{did_you_mean(key, known, 3)}; there is: {', '.join(top)}"
    wrong = re.match(r"Error merging override \+*([^=]+)=(.*)", text)
    if wrong:
        parts = _parts(known.get(wrong[1], object))
        names = [WORDS[get_origin(part) or part] for part in parts if (get_origin(part) or part) in WORDS]
        expected = " or ".join(names) + (", or null" if type(None) in parts else "")
        if dict in parts or not names:
            expected = f"{wrong[1]}.<key>=<value>"
        return f"{wrong[1]}={wrong[2]}: expected {expected}"
    return text.splitlines()[0]
