"""Where the config files lie, and from their values to plain ones: dataclasses, lists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from avocado.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")


def config_directory() -> Path:
    """`conf/`: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def build(cls: type[T], node: DictConfig | dict[str, Any], name: str, **more: Any) -> T:
    """The dataclass `cls` from a config node, whose keys are its own. Raises InputError naming a key that is not."""
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    for key in node:
        if key not in known:
            raise InputError(f"unknown key '{name}.{key}'; there is: {', '.join(sorted(known))}")
    return cls(**{str(key): value for key, value in node.items()}, **more)


def wants_baseline(config: DictConfig) -> bool:
    """Whether a model's baseline is to be combined with its factorization, by the key `baseline`."""
    if config.baseline not in ("model", "none"):
        raise InputError(f"baseline={config.baseline}: there is model, none")
    return config.baseline == "model"


def as_list(value: Any, known: Iterable[str] = ()) -> list[str]:
    """A list of strings from a text as it was typed, a list, or nothing; 'a,b' and '[a,b]' are two, 'null' none.

    The commas of a place, chr20:1,000,000-1,200,000, are part of its numbers; parts in quotes may have others. known:
    names that are one each, whatever is in them.
    """
    if value is None:
        return []
    if not isinstance(value, str):
        return [str(part) for part in value] if hasattr(value, "__iter__") else [str(value)]
    if value in set(known):
        return [value]
    if value == "null":
        return []
    listed = re.fullmatch(r"\s*\[(.*)\]\s*", value, re.DOTALL)
    parts = re.findall(
        r"""\s*(?:'([^']*)'|"([^"]*)"|([^,:]+:\d+(?:,\d{3})*-\d+(?:,\d{3})*|[^,]+))""", listed[1] if listed else value
    )
    return [part for quoted in parts if (part := "".join(quoted).strip())]
