"""How factors of new cell types and assays are learned."""

from __future__ import annotations

from dataclasses import dataclass

from avocado.utils.settings import require, setting


@dataclass(frozen=True)
class TransferConfig:
    """Adam on the factors of what is new, with everything else frozen."""

    penalty: float = setting(
        0.01, "of how far new factors lie from the mean of known ones, in units of how much these differ"
    )
    learning_rate: float = setting(0.05, "of the new factors, in the same units")
    steps: int = setting(400, "at most; it ends earlier where masked blocks do not get better")
    patience: int = setting(5, "looks at the masked blocks, one every 20 steps, without improvement before it ends")
    batch_bins: int = setting(400, "bins of a step")
    bins: int = setting(20_000, "drawn at random to learn from")
    masked: float = setting(0.2, "share of the blocks that is not learned from, and that the verdict is given on")
    checkpoint_every: float = setting(20.0, "seconds between checkpoints")

    def __post_init__(self) -> None:
        whole = {"steps": 0, "patience": 1, "batch_bins": 1, "bins": 1}
        require("transfer", self, {**whole, "penalty": 0, "checkpoint_every": 0}, {"learning_rate": 0})
        require("transfer", self, above={"masked": 0})
