"""What fraction of the machine's speed does training reach? FLOP/s of the step over those of a large matrix product.

    python -m experiments.benchmarks.limit models=[small,paper]

Epochs run through `avocado.training.fit.fit` on a synthetic region in memory, as a user's do; between them the
product is timed, in the same precision on the same device, so that both meet the same clock and the same neighbours.
Counted is the network of the paper's implementation (`synthetic_run.operations`); the step itself needs fewer
operations, as it computes the first layer's coarse parts once per 10 and 200 bins.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avocado.cli import app
from avocado.config.values import as_list

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig

    from avocado.data.store import SignalStore
    from experiments.benchmarks.synthetic_run import Setting

TARGETS = {"cpu": 0.75, "cuda": 0.55}  # of the model paper in bf16


def benchmark(config: DictConfig) -> None:
    """Measure every model in every stage, print the table and write it as CSV."""
    import pandas as pd

    from avocado.training.config import FitConfig
    from avocado.utils.hardware import Hardware
    from experiments.benchmarks.synthetic_run import Setting, epoch_bins, model_of, scratch, synthetic_store
    from experiments.benchmarks.timing import report

    rows = []
    for name in as_list(config.models):
        model, batch_size = model_of(name), config.batch_size.get(name, config.batch_size.other)
        for stage in as_list(config.stages):
            fit = FitConfig(epochs=1, batch_size=batch_size, tracks_per_bin=1, masked=0.0)
            setting = Setting(model, stage, fit, Hardware(config.device, config.precision))
            with scratch(config.folder) as folder:
                store = synthetic_store(folder, epoch_bins(setting, config.bins), config.tracks)
                row = measure(setting, store, config.epochs, list(config.product), config.product_seconds)
            rows.append({"model": name, **row, "target": verdict(name, setting, row["fraction"])})
            print(f"{name} {stage}: {row['fraction']:.0%}", flush=True)
    shape = " × ".join(map(str, config.product))
    title = f"training step over a matrix product of {shape}, medians of {config.epochs} epochs"
    report(title, pd.DataFrame(rows), Path(config.folder) / "limit.csv")


def measure(setting: Setting, store: SignalStore, epochs: int, product: list[int], at_least: float) -> dict[str, Any]:
    """Rates of training step and product, and their ratio: each epoch over the products before and after it."""
    import numpy as np

    from experiments.benchmarks.synthetic_run import REGION, operations, timed_epochs

    products: list[float] = []
    device, dtype = setting.device, setting.dtype
    times = timed_epochs(
        setting, store, epochs, lambda: products.append(product_rate(device, dtype, product, at_least))
    )
    n_bins = store.region(REGION).n_bins
    rates = n_bins / np.array(times)  # samples/s
    achieved = rates * operations(setting.model, setting.stage)
    around = (np.array(products[:-1]) + products[1:]) / 2
    fractions = achieved / around
    return {
        "stage": setting.stage,
        "type": str(setting.dtype).removeprefix("torch."),
        "batch": setting.fit.batch_size,
        "ms per step": 1e3 * setting.fit.batch_size / np.median(rates),
        "samples/s": np.median(rates),
        "step GFLOP/s": np.median(achieved) / 1e9,
        "product GFLOP/s": np.median(around) / 1e9,
        "fraction": np.median(fractions),
        "range": f"{fractions.min():.0%} to {fractions.max():.0%}",
    }


def product_rate(device: torch.device, dtype: torch.dtype, shape: list[int], at_least: float) -> float:
    """FLOP/s of the product of an m × k and a k × n matrix, shape (m, k, n), repeated for `at_least` seconds."""
    import torch

    from experiments.benchmarks.synthetic_run import wait_for

    m, k, n = shape
    left, right = torch.randn(m, k, device=device, dtype=dtype), torch.randn(k, n, device=device, dtype=dtype)
    out = left @ right  # warms up
    wait_for(device)
    done, burst, start = 0, 1, time.perf_counter()
    while time.perf_counter() - start < at_least:
        for _ in range(burst):
            torch.mm(left, right, out=out)
        wait_for(device)
        done += burst
        burst = min(done, 64)  # waiting for an accelerator takes as long as a product
    elapsed = time.perf_counter() - start
    return 2 * m * k * n * done / elapsed


def verdict(name: str, setting: Setting, fraction: float) -> str:
    """Whether the target was met, for what has one."""
    import torch

    if name != "paper" or setting.dtype != torch.bfloat16 or setting.device.type not in TARGETS:
        return ""
    target = TARGETS[setting.device.type]
    return f"{target:.0%}: {'met' if fraction >= target else 'missed'}"


if __name__ == "__main__":
    sys.exit(app.run("benchmark_limit", benchmark, sys.argv[1:]))
