"""A progress bar for what takes long, and how long that is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
    track,
)

Item = TypeVar("Item")


def shown(items: Iterable[Item], label: str, total: int | None, progress: bool) -> Iterator[Item]:
    """`items`, behind a progress bar on the error stream where `progress` is true.

    total: how many there are; None where that is not known.
    """
    if not progress:
        return iter(items)
    return iter(track(items, label, total, console=Console(stderr=True)))


def duration(seconds: float) -> str:
    """'about 4 minutes': a time to be expected, as people say it."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} seconds" if seconds >= 1.5 else "about a second"
    return f"about {round(seconds / 60)} minutes" if seconds < 90 * 60 else f"about {seconds / 3600:.1f} hours"


@contextlib.contextmanager
def bytes_shown(label: str, total: int, progress: bool) -> Iterator[Callable[[int], None]]:
    """Yields `advance(n_bytes)`, for any thread, which moves a bar with size, rate and time left where `progress`."""
    if not progress:
        yield lambda n_bytes: None
        return
    columns = (TextColumn(label), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda n_bytes: bar.advance(task, n_bytes)
