"""Where the config files lie, and from their values to plain ones: dataclasses, lists."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

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


def wants_baseline(config: DictConfig) -> bool:
    """Whether a model's baseline is to be combined with its factorization, by the key `baseline`."""
    if config.baseline not in ("model", "none"):
        raise InputError(f"baseline={config.baseline}: there is model, none")
    return config.baseline == "model"


def split_list(text: str) -> list[str]:
    """'a,b' as two; the commas of a place, chr20:1,000,000-1,200,000, are part of its numbers."""
    return re.findall(r"[^,:]+:\d+(?:,\d{3})*-\d+(?:,\d{3})*|[^,]+", text)


def as_list(value: Any) -> list[str]:
    """A list of strings from one value, a list, or nothing; 'a,b' is two."""
    if value is None:
        return []
    if isinstance(value, str):
        return [part.strip() for part in split_list(value) if part.strip()]
    return [str(part) for part in value] if hasattr(value, "__iter__") else [str(value)]
