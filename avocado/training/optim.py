"""Adam for genome factors: whole rows of a table, touched only when their block is in the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer


class BlockAdam(Optimizer):
    """Lazy Adam over the rows of one table (n_blocks, width), with decoupled weight decay.

    A block is visited once per epoch, and here its moments decay and its bias correction counts once per visit. Dense
    Adam instead ages the moments of every row at every step: in an epoch of n steps a row's second moment fades
    between its visits, to about 0.001 g² / (1 − 0.999^n), and the first moment goes on moving it for some ten steps
    after each gradient. For a steady gradient one epoch of dense Adam so moves a row by lr / sqrt(that ratio), 10 lr
    for n = 100, where one lazy step moves it by lr: the same training needs a larger lazy learning rate.
    """

    def __init__(
        self,
        table: Tensor,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__([table], {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.table = table
        self.state[table] = {
            "visits": torch.zeros(len(table), dtype=torch.int32, device=table.device),
            "mean": torch.zeros_like(table, requires_grad=False),
            "square": torch.zeros_like(table, requires_grad=False),
        }

    @torch.no_grad()
    def step_rows(self, blocks: Tensor, rows: Tensor, grad: Tensor) -> None:
        """Update `table[blocks]`, whose values are `rows`, with their gradient. Blocks must not repeat."""
        group = self.param_groups[0]
        state, (beta1, beta2) = self.state[self.table], group["betas"]
        visits = state["visits"][blocks] + 1
        mean = state["mean"][blocks].lerp_(grad, 1 - beta1)
        square = state["square"][blocks].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        state["visits"][blocks], state["mean"][blocks], state["square"][blocks] = visits, mean, square
        correct1, correct2 = (1 - beta ** visits.to(grad.dtype)[:, None] for beta in (beta1, beta2))
        # the corrections as factors of a row: mean / correct1 / (sqrt(square / correct2) + eps) in fewer passes
        root = correct2.sqrt_()
        step = mean.div_(square.sqrt_().add_(group["eps"] * root))
        decayed = rows.detach() * (1 - group["lr"] * group["weight_decay"])
        self.table[blocks] = decayed.addcmul_(step, root * (-group["lr"] / correct1))
