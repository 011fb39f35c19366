"""How much memory this process can have: of the machine, of its control groups, of a GPU; and what Linux says of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def available_memory(device: torch.device, root: Path = Path("/")) -> int | None:
    """Bytes that this process can have on `device`, with those it has already; None where that cannot be known.

    On a CPU the least of what the machine has free and what the limits of the process's control groups (Slurm jobs,
    containers) leave.
    """
    if device.type == "cuda":
        import torch

        gc.collect()  # earlier runs of this process: Lightning's objects refer to each other, and so to their tensors
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    if device.type != "cpu":
        return None
    free = entry(root / "proc/meminfo", "MemAvailable:", 1024)
    left = [room for room in (free, *_cgroups(root)) if room is not None]
    return min(left) + _own(root) if left else None


def _own(root: Path) -> int:
    """What this process has already, without files."""
    return entry(root / "proc/self/status", "RssAnon:", 1024) or 0


def _cgroups(root: Path) -> Iterator[int]:
    """Bytes left by each memory limit that the process is under: of its own group and of all above it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    tree = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if not controllers:  # version 2, whose page cache is listed as active and inactive
            top, limit, used, cached = tree, "memory.max", "memory.current", ("active_file", "inactive_file")
        elif "memory" in controllers.split(","):
            top, limit, used = tree / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cached = ("total_active_file", "total_inactive_file")
        else:
            continue
        group = Path(place.strip("/"))
        for folder in dict.fromkeys(top / step for step in (group, *group.parents)):
            most, now = entry(folder / limit), entry(folder / used)
            if most is not None and now is not None:
                cache = sum(entry(folder / "memory.stat", name) or 0 for name in cached)  # given back when needed
                yield max(0, most - max(0, now - cache))


def entry(file: Path, name: str = "", unit: int = 1) -> int | None:
    """The number behind `name` in a file of one entry a line; None where there is none, such as in 'max'."""
    try:
        for words in map(str.split, file.read_text().splitlines()):
            if words and (not name or words[0] == name):
                number = words[1 if name else 0]
                return int(number) * unit if number.isdigit() else None
    except (OSError, IndexError):
        return None
    return None
