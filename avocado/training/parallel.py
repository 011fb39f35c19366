"""Several processes of one machine that share a training run.

Process r of n has every n-th block of the genome from block r on: the factors of these blocks, their moments and their
signal. Nobody else reads or writes them, so they are never exchanged during training. The network and the two small
tables are the same everywhere; their gradients are summed over the processes at every step.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, distributed

from avocado.utils.hardware import Hardware


def quiet() -> None:
    """Lightning without its reports of the hardware found, advertisements, and advice on loaders."""
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # ours gather whole batches and need no workers; the others are Lightning's own deprecations
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message="The `srun` command is available")  # on the login node of a cluster


class BlockParallel(DDPStrategy):
    """Lightning's processes without its DistributedDataParallel, which would exchange genome factors too."""

    def __init__(self, hardware: Hardware, **options: Any) -> None:
        super().__init__(start_method="spawn", **options)
        self.hardware = hardware

    def setup_environment(self) -> None:
        """Called first in every process."""
        quiet()
        self.hardware.use()
        super().setup_environment()

    def configure_ddp(self) -> None:
        """The training step sums the gradients itself."""


def devices(hardware: Hardware) -> dict[str, Any]:
    """What a Trainer gets to know of the hardware, which is used from now on."""
    device = hardware.use()
    if hardware.processes == 1:
        one = [device.index or 0] if device.type == "cuda" else 1
        return {"accelerator": device.type, "devices": one}
    return {"accelerator": device.type, "devices": hardware.processes, "strategy": BlockParallel(hardware)}


def world() -> tuple[int, int]:
    """Rank of this process, and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def disconnect() -> None:
    """Close the connections between the processes: one that ends with them open aborts now and then."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def sum_over_processes(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its sum over all processes; one exchange for all of them."""
    if world()[1] == 1:
        return
    tensors = list(tensors)
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))


def shard(table: Tensor) -> Tensor:
    """This process's rows of a table with one row per block; the table itself where there is one process."""
    rank, n = world()
    return table if n == 1 else table[rank::n].clone()


def gather(rows: Tensor, n_blocks: int) -> Tensor:
    """The whole table (n_blocks, ...) on the first process, from the rows of all; the others get their own back."""
    rank, n = world()
    if n == 1:
        return rows
    device = torch.device("cuda", torch.cuda.current_device()) if distributed.get_backend() == "nccl" else "cpu"
    if rank:
        distributed.send(rows.to(device).contiguous(), 0)
        return rows
    whole = torch.empty(n_blocks, *rows.shape[1:], dtype=rows.dtype)  # on the CPU: a GPU may have room for its own only
    whole[::n] = rows
    for other in range(1, n):
        part = torch.empty_like(whole[other::n], device=device)
        distributed.recv(part, other)
        whole[other::n] = part
    return whole
