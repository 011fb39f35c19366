"""Settings: fields of dataclasses that are keys of commands, nested values with dotted keys, and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, TypeVar

from avocado.errors import InputError

T = TypeVar("T")
Names = Any  # type of settings that are one name or several, as typed: names may have commas and brackets in them


def setting(default: T, meaning: str) -> T:
    """A field of a dataclass that is also a key of commands: its default, and what --help says of it."""
    fresh = isinstance(default, list | dict)
    given: dict[str, Any] = {"default_factory": default.copy} if fresh else {"default": default}
    return field(**given, metadata={"meaning": meaning})


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys."""
    found = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[prefix + key] = value
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """'key was 1, is 2' for every key in which flat settings differ; None where one of them lacks it."""
    return [
        f"{key} was {before.get(key)}, is {now.get(key)}"
        for key in {**before, **now}
        if before.get(key) != now.get(key)
    ]


def require(
    section: str, settings: Any, least: Mapping[str, float] | None = None, above: Mapping[str, float] | None = None
) -> None:
    """Raise InputError for a setting that is no number, below its least value, or not above another; None may pass."""
    types = {its.name: str(its.type) for its in fields(settings)}
    for name in {**(least or {}), **(above or {})}:
        value, whole = getattr(settings, name), types[name].startswith("int")
        if value is None and "None" in types[name]:
            continue
        right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        number = float(value) if right and value is not None else float("nan")
        kind = "a whole number" if whole else "a number"
        if least and name in least and not least[name] <= number < float("inf"):
            raise InputError(f"{section}: {name}={value!r}: expected {kind} of at least {least[name]}")
        if above and name in above and not above[name] < number < float("inf"):
            raise InputError(f"{section}: {name}={value!r}: expected {kind} above {above[name]}")
