"""Settings as plain nested values: with dotted keys, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
