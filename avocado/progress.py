"""A progress bar for what takes long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def shown(items: Iterable[Item], label: str, total: int | None, progress: bool) -> Iterator[Item]:
    """`items`, behind a progress bar on the error stream where `progress` is true.

    total: how many there are; None where that is not known.
    """
    if not progress:
        return iter(items)
    from rich.console import Console
    from rich.progress import track

    return iter(track(items, label, total, console=Console(stderr=True)))
