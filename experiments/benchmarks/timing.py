"""What all benchmarks share: timing a call, naming the machine, printing a table and writing it as CSV."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avocado.utils.files import replacing

if TYPE_CHECKING:
    import pandas as pd


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def milliseconds(times: list[float]) -> str:
    """Median and range of wall times given in seconds."""
    low, middle, high = np.quantile(times, [0, 0.5, 1]) * 1e3
    return f"{middle:.2f} ms ({low:.2f} to {high:.2f})"


def machine() -> str:
    """Processor, cores, memory, PyTorch and the GPU where there is one, in one line."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB", f"PyTorch {torch.__version__}"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return "; ".join(parts)


def report(title: str, table: pd.DataFrame, file: Path) -> None:
    """Print an aligned table under its title and the machine's name; write it, with the machine, as CSV."""
    print(f"\n{title}\n{machine()}\n")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        table.assign(machine=machine()).to_csv(temporary, index=False)
    print(f"\nwritten to {file}")


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()
