"""One update of the genome factors: every row of the table, as the original does, or only those of the batch.

    python -m experiments.benchmarks.optimizers

Compared are PyTorch's fused dense Adam, its SparseAdam, and our BlockAdam, on tables of the size of the pilot regions
and of chr1. The last two make the same updates where all blocks have been visited equally often; SparseAdam counts
steps of the table and not visits of a row, so that its bias correction is over before most rows were ever visited:
their first updates are up to three times as large (0.1 / sqrt(0.001)). It has no weight decay, and sorts its indices.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avocado.cli import app
from experiments.benchmarks.synthetic_run import model_of
from experiments.benchmarks.timing import report, seconds

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from avocado.model.config import ModelConfig


def benchmark(config: DictConfig) -> None:
    """Time the optimizers in turn, print the table and write it as CSV."""
    import pandas as pd
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    rows = []
    for region, n_blocks in config.blocks.items():
        for name, batch_bins in config.batch_size.items():
            model, batch = model_of(name), batch_bins // 200
            steps = make_steps(model, n_blocks, batch)
            times = {optimizer: [] for optimizer in steps}
            for _ in range(config.repeats + 1):  # the first one touches fresh memory
                for optimizer, step in steps.items():
                    times[optimizer].append(seconds(step))
            ours = np.array(times["BlockAdam"][1:])
            for optimizer, taken in times.items():
                ratio = float(np.median(np.array(taken[1:]) / ours))
                rows.append((region, name, optimizer, 1e3 * float(np.median(taken[1:])), ratio))
    table = pd.DataFrame(rows, columns=pd.Index(["region", "model", "optimizer", "ms per step", "times BlockAdam's"]))
    report("Update of the genome factors, gradients given", table, Path(config.folder) / "optimizers.csv")


def make_steps(model: ModelConfig, n_blocks: int, batch_blocks: int) -> dict[str, Callable[[], None]]:
    """One update by each optimizer, of tables of its own, with the gradient of a random batch of blocks."""
    import torch

    from avocado.training.optim import BlockAdam

    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(batch_blocks, model.block_width, generator=generator)

    def table() -> Tensor:
        return torch.zeros(n_blocks, model.block_width)

    def blocks() -> Tensor:
        return torch.randperm(n_blocks, generator=generator)[:batch_blocks]

    dense_table, sparse_table, block_table = table(), table(), table()
    dense = torch.optim.Adam([dense_table], fused=True)
    sparse = torch.optim.SparseAdam([sparse_table])
    lazy = BlockAdam(block_table, lr=0.001)
    dense_table.grad = table()

    def dense_step() -> None:
        chosen = blocks()
        assert dense_table.grad is not None
        dense_table.grad[chosen] = gradient
        dense.step()
        dense_table.grad[chosen] = 0

    def sparse_step() -> None:
        sparse_table.grad = torch.sparse_coo_tensor(
            blocks()[None], gradient, sparse_table.shape, check_invariants=False
        )
        sparse.step()

    def block_step() -> None:
        chosen = blocks()
        lazy.step_rows(chosen, block_table[chosen], gradient)

    return {"dense Adam": dense_step, "SparseAdam": sparse_step, "BlockAdam": block_step}


if __name__ == "__main__":
    sys.exit(app.run("benchmark_optimizers", benchmark, sys.argv[1:]))
