"""The whole model in one file: factors of three axes, concatenated and fed through a dense network.

A prediction for (cell type c, assay a, 25-bp bin i) is

    network( cell[c] , assay[a] , f25[i] , f250[i // 10] , f5k[i // 200] )        (Avocado paper, Network topology)

The genome factors of the 200 bins of a 5-kbp block, 200 × f25 + 20 × f250 + f5k numbers, are one row of a table
(n_blocks, width): no other block touches them, so they are gathered, updated, saved and sharded as one piece.

`reference` is the plain formulation: look up five vectors, concatenate, multiply. `Network.forward` computes the same
from whole blocks. Its first layer is split by axis, so that the cell-type and assay parts come from small tables and
the 250-bp and 5-kbp parts are computed once per 10 and 200 bins instead of once per bin.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from avocado.errors import InputError
from avocado.genome import BINS_PER_250BP, BLOCK_BINS

COARSE = BLOCK_BINS // BINS_PER_250BP  # 20 stretches of 250 bp in a block


@dataclass(frozen=True)
class ModelConfig:
    """The seven structural hyperparameters of the paper, and what the paper leaves open."""

    cell_factors: int = 32
    assay_factors: int = 256
    factors_25bp: int = 25
    factors_250bp: int = 40
    factors_5kbp: int = 45
    layers: int = 2  # hidden layers; 0 is a linear model on the concatenated factors
    nodes: int = 2048  # per hidden layer
    dropout: float = 0.0  # on the hidden layers
    factor_init: float = 0.05  # factors start uniform in ± this
    average_input: bool = False  # average activity of the assay at the bin is an input too; the paper has none

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.type == "int"
            if field.type == "bool":
                if not isinstance(value, bool):
                    raise InputError(f"model.{field.name}={value!r}: expected true or false")
                continue
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                kind = "a whole number" if whole else "a number"
                raise InputError(f"model.{field.name}={value!r}: expected {kind}")
            least = 1 if field.name in ("cell_factors", "assay_factors", "nodes") else 0
            if value < least or ("dropout" in field.name and value >= 1):
                top = " and below 1" if "dropout" in field.name else ""
                raise InputError(f"model.{field.name}={value!r}: expected at least {least}{top}")
        if self.genome_factors == 0:
            raise InputError("a model needs genome factors: one of model.factors_25bp, _250bp, _5kbp above 0")

    @property
    def genome_factors(self) -> int:
        """Genome factors that one bin sees."""
        return self.factors_25bp + self.factors_250bp + self.factors_5kbp

    @property
    def inputs(self) -> int:
        """Length of the concatenated factors of one sample."""
        return self.cell_factors + self.assay_factors + self.genome_factors

    @property
    def block_width(self) -> int:
        """Genome factors of one 5-kbp block."""
        return BLOCK_BINS * self.factors_25bp + COARSE * self.factors_250bp + self.factors_5kbp


class Network(nn.Module):
    """The shared part of a model: cell-type factors, assay factors, dense layers.

    Genome factors are passed in, block by block: they belong to a chromosome, not to the model.
    """

    def __init__(self, config: ModelConfig, n_cells: int, n_assays: int) -> None:
        super().__init__()
        self.config = config
        self.cell_factors = nn.Parameter(torch.empty(n_cells, config.cell_factors))
        self.assay_factors = nn.Parameter(torch.empty(n_assays, config.assay_factors))
        widths = [config.inputs] + [config.nodes] * config.layers
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.output = nn.Linear(widths[-1], 1)
        if config.average_input:
            self.average_in = nn.Parameter(torch.zeros(self.first.out_features))
            self.average_out = nn.Parameter(torch.ones(n_assays))

    def initialise(self, generator: torch.Generator, mean_signal: float = 0.0) -> Network:
        """Uniform factors, Glorot-uniform layers, zero biases; the output starts at `mean_signal` (arcsinh)."""
        with torch.no_grad():
            for factors in (self.cell_factors, self.assay_factors):
                factors.uniform_(-self.config.factor_init, self.config.factor_init, generator=generator)
            for layer in self.dense:
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)
            self.output.bias.fill_(mean_signal)
        return self

    @property
    def dense(self) -> list[nn.Linear]:
        """All layers: the hidden ones, then the output."""
        return [*cast(list[nn.Linear], list(self.hidden)), self.output]

    @property
    def first(self) -> nn.Linear:
        """The layer that meets the factors: the first hidden one, or the output of a linear model."""
        return self.dense[0]

    def first_by_axis(self) -> tuple[Tensor, ...]:
        """Columns of the first layer's weight for the cell type, assay, 25-bp, 250-bp and 5-kbp factors."""
        c = self.config
        sizes = [c.cell_factors, c.assay_factors, c.factors_25bp, c.factors_250bp, c.factors_5kbp]
        return self.first.weight.split(sizes, dim=1)

    def forward(self, rows: Tensor, cell: Tensor, assay: Tensor, average: Tensor | None = None) -> Tensor:
        """Predicted arcsinh signal (blocks, 200, tracks), some tracks per bin.

        rows: genome factors (blocks, block_width); cell, assay: indices (blocks, 200, tracks), or (blocks, 1, tracks)
        where all bins of a block have the same tracks; average: with `average_input`, average activity without the
        predicted track itself, arcsinh (blocks, 200, tracks).
        """
        average = average if self.config.average_input else None
        track = functional.embedding(cell * len(self.assay_factors) + assay, self.track_part())
        return self._finish(self.genome_part(rows)[:, :, None] + track, assay, average)

    def predict(self, rows: Tensor, cells: Tensor, assays: Tensor, averages: Tensor | None = None) -> Tensor:
        """Predicted arcsinh signal (blocks, 200, pairs) of the pairs (cells[k], assays[k]) at every bin.

        averages: with `average_input`, average activity of every assay, (blocks, 200, n_assays). The genome part of
        the first layer is computed once for all pairs.
        """
        averages = averages if self.config.average_input else None
        genome = self.genome_part(rows)
        tracks = self.track_part()[cells * len(self.assay_factors) + assays]
        return torch.stack(
            [
                self._finish(genome + track, assay, None if averages is None else averages[..., assay])
                for track, assay in zip(tracks, assays, strict=True)
            ],
            dim=-1,
        )

    def track_part(self) -> Tensor:
        """First layer of every (cell type, assay) pair, bias included: (n_cells × n_assays, nodes)."""
        w_cell, w_assay, *_ = self.first_by_axis()
        by_cell = functional.linear(self.cell_factors, w_cell)
        by_assay = functional.linear(self.assay_factors, w_assay, self.first.bias)
        return (by_cell[:, None] + by_assay[None]).flatten(0, 1)

    def genome_part(self, rows: Tensor) -> Tensor:
        """First layer of whole blocks: (blocks, block_width) -> (blocks, 200, nodes)."""
        _, _, w25, w250, w5k = self.first_by_axis()
        f25, f250, f5k = split_block(rows, self.config)
        coarse = functional.linear(f250, w250) + functional.linear(f5k, w5k)
        fine = functional.linear(f25, w25)
        return (fine.unflatten(1, (COARSE, BINS_PER_250BP)) + coarse[:, :, None]).flatten(1, 2)

    def _finish(self, first: Tensor, assay: Tensor, average: Tensor | None) -> Tensor:
        """From the first layer's pre-activation (blocks, ..., nodes) to predictions (blocks, ...).

        Average activity enters twice: into the first layer, where it can gate, and straight into the output, of which
        the network then is the departure from it, in this cell type.
        """
        if average is not None:
            first = torch.addcmul(first, average[..., None], self.average_in)
        rate = self.config.dropout if self.training else 0.0
        for layer in self.dense[1:]:
            hidden = functional.relu(first)
            if not rate:
                first = layer(hidden)
                continue
            # Dropped are whole nodes of a block, the same ones for its bins and tracks: nodes that are missing at
            # single bins can be averaged away along the genome. Dropping a node is dropping its outgoing weights.
            keep = functional.dropout(first.new_ones(len(first), 1, first.shape[-1]), rate)
            first = torch.baddbmm(layer.bias, hidden.flatten(1, -2), (layer.weight * keep).mT).unflatten(
                1, hidden.shape[1:-1]
            )
        out = first.squeeze(-1)
        return out if average is None else out + self.average_out[assay] * average


def split_block(rows: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Views of block rows (blocks, block_width): 25 bp (b, 200, f25), 250 bp (b, 20, f250), 5 kbp (b, 1, f5k)."""
    n25, n250 = BLOCK_BINS * config.factors_25bp, COARSE * config.factors_250bp
    f25, f250, f5k = rows.split([n25, n250, config.factors_5kbp], dim=-1)
    return (
        f25.unflatten(-1, (BLOCK_BINS, config.factors_25bp)),
        f250.unflatten(-1, (COARSE, config.factors_250bp)),
        f5k.unsqueeze(-2),
    )


def genome_factors(config: ModelConfig, n_blocks: int, generator: torch.Generator) -> Tensor:
    """Fresh genome factors (n_blocks, block_width), uniform in ± factor_init."""
    return torch.empty(n_blocks, config.block_width).uniform_(
        -config.factor_init, config.factor_init, generator=generator
    )


def reference(
    network: Network, genome: Tensor, position: Tensor, cell: Tensor, assay: Tensor, average: Tensor | None = None
) -> Tensor:
    """The paper's formulation, for any positions in any order: three tables, concatenate, dense layers.

    position: padded bin addresses (block × 200 + offset), shape (n,), like cell, assay and (with `average_input`)
    average. Returns (n,) arcsinh.
    Slow and simple: what the block formulation is tested against. Without dropout.
    """
    f25, f250, f5k = split_block(genome, network.config)
    x = torch.cat(
        [
            network.cell_factors[cell],
            network.assay_factors[assay],
            f25.flatten(0, 1)[position],
            f250.flatten(0, 1)[position // BINS_PER_250BP],
            f5k.flatten(0, 1)[position // BLOCK_BINS],
        ],
        dim=-1,
    )
    x = network.first(x)
    if average is not None:
        x = x + average[:, None] * network.average_in
    for layer in network.dense[1:]:
        x = layer(functional.relu(x))
    return x.squeeze(-1) if average is None else x.squeeze(-1) + network.average_out[assay] * average
