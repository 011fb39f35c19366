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

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from avocado.errors import InputError
from avocado.genome import BINS_PER_250BP, BLOCK_BINS

COARSE = BLOCK_BINS // BINS_PER_250BP  # 20 stretches of 250 bp in a block
CACHED_ACTIVATIONS = 1 << 20  # numbers: 2 MB in 16 bit, about the second-level cache of two cores
ACCELERATOR_ACTIVATIONS = 1 << 28
LEAST_SAMPLES = 4000  # in a matrix product on a CPU


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
    prior_input: bool = False  # what cross-assay regression imputes is an input too; the paper has none
    prior_features: int = 256  # random features of that regression

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
        self.scale: Tensor  # with `prior_input`, the expected deviation of each track, arcsinh (n_cells, n_assays)
        self.compute: torch.dtype | None = None  # type of activations and matrix products; None: of the parameters
        if config.prior_input:
            self.prior_in = nn.Parameter(torch.zeros(self.first.out_features))
            self.prior_out = nn.Parameter(torch.ones(n_assays))
            self.register_buffer("scale", torch.ones(n_cells, n_assays))

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

    def weights(self) -> Weights:
        """The parameters as the block formulation takes them, in the type that is computed in.

        Where they are frozen they are worth keeping; where they are trained every backward pass needs new ones.
        """
        c, dtype = self.config, self.compute or self.cell_factors.dtype
        if not self.hidden:
            dtype = self.cell_factors.dtype  # a linear model has no matrix products to speed up
        sizes = [c.cell_factors, c.assay_factors, c.factors_25bp, c.factors_250bp, c.factors_5kbp]
        w_cell, w_assay, w25, w250, w5k = self.first.weight.split(sizes, dim=1)
        by_cell = functional.linear(self.cell_factors, w_cell)
        by_assay = functional.linear(self.assay_factors, w_assay, self.first.bias)
        # dropped nodes are made up for by the outgoing weights of the others
        scale = 1 / (1 - c.dropout) if self.training else 1.0
        return Weights(
            by_cell.to(dtype),
            by_assay.to(dtype),
            w25.to(dtype),
            w250.to(dtype),
            w5k.to(dtype),
            [((layer.weight * scale).to(dtype), layer.bias.to(dtype)) for layer in self.dense[1:-1]],
            (self.output.weight * scale).to(dtype) if self.hidden else None,
            self.prior_in.to(dtype) if c.prior_input else None,
        )

    def forward(
        self, rows: Tensor, cell: Tensor, assay: Tensor, prior: Tensor | None = None, weights: Weights | None = None
    ) -> Tensor:
        """Predicted arcsinh signal (blocks, 200, tracks), some tracks per bin.

        rows: genome factors (blocks, block_width); cell, assay: indices (blocks, 200, tracks), or (blocks, 1, tracks)
        where all bins of a block have the same tracks; prior: with `prior_input`, what regression imputes, arcsinh
        (blocks, 200, tracks); weights: kept ones, of a frozen network.
        """
        scale, prior = self.standardised(cell, assay, prior)
        weights = weights or self.weights()
        genome = genome_part(rows, self.config, weights)
        if weights.output is None:
            track = functional.embedding(
                cell * len(self.assay_factors) + assay, track_part(weights.by_cell, weights.by_assay)
            )
            out = (genome[:, :, None] + track).squeeze(-1)
            if prior is not None:
                out = out + prior * self.prior_in
        else:
            off = self._dropped(len(rows), genome)
            out = _HiddenLayers.apply(
                genome if off is None else genome + off[0],
                weights.by_cell,
                weights.by_assay,
                weights.prior_in,
                weights.output,
                (cell.expand(-1, BLOCK_BINS, -1), assay.expand(-1, BLOCK_BINS, -1)),
                prior,
                off,
                *(tensor for layer in weights.hidden for tensor in layer),
            )
            out = cast(Tensor, out) + self.output.bias
        if prior is None or scale is None:
            return out
        return (out + self.prior_out[assay] * prior) * scale

    def standardised(self, cell: Tensor, assay: Tensor, prior: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """With `prior_input`, the expected deviation of each track, and the prior in units of it."""
        if not self.config.prior_input:
            return None, None
        if prior is None:
            raise ValueError("a model with prior_input needs the prior")
        scale = self.scale[cell, assay]
        return scale, prior / scale

    def forward_reference(self, rows: Tensor, cell: Tensor, assay: Tensor, prior: Tensor | None = None) -> Tensor:
        """`forward` by the paper's formulation: to rounding the same, dropout included, and slow."""
        shape = (*rows.shape[:1], BLOCK_BINS, cell.shape[2])
        position = torch.arange(len(rows) * BLOCK_BINS, device=rows.device).view(len(rows), BLOCK_BINS, 1)
        off = self._dropped(len(rows), rows)
        out = reference(
            self,
            rows,
            position.expand(shape).flatten(),
            cell.expand(shape).flatten(),
            assay.expand(shape).flatten(),
            prior.flatten() if prior is not None else None,
            None if off is None else (off == 0).squeeze(2).to(rows.dtype) / (1 - self.config.dropout),
        )
        return out.view(shape)

    @torch.no_grad()
    def predict(
        self,
        rows: Tensor,
        cells: Tensor,
        assays: Tensor,
        prior: Tensor | None = None,
        weights: Weights | None = None,
    ) -> Tensor:
        """Predicted arcsinh signal (blocks, 200, pairs) of the pairs (cells[k], assays[k]) at every bin, no gradients.

        prior: with `prior_input`, what regression imputes for each pair, arcsinh (blocks, 200, pairs). The genome part
        of the first layer is computed once for all pairs. Activations are bounded, whatever the number of blocks.
        """
        scale, prior = self.standardised(cells, assays, prior)
        weights = weights or self.weights()
        tracks = track_part(weights.by_cell, weights.by_assay)[cells * len(self.assay_factors) + assays]
        predicted = rows.new_empty(len(rows), BLOCK_BINS, len(cells))
        step = self.blocks_at_once(1, rows.device)
        columns = list(zip(assays.tolist(), tracks, strict=True))
        for first in range(0, len(rows), step):
            piece = slice(first, first + step)
            genome = genome_part(rows[piece], self.config, weights)
            for number, (assay, track) in enumerate(columns):
                at_bin = None if prior is None else prior[piece, :, number]
                x = genome + track
                if weights.output is None:
                    out = x.squeeze(-1)
                    if at_bin is not None:
                        out = out + at_bin * self.prior_in
                else:
                    if at_bin is not None:
                        _add_prior(x, at_bin, weights.prior_in)
                    out = _project(_activations(x, weights.hidden, None)[-1], weights.output) + self.output.bias
                predicted[piece, :, number] = out if at_bin is None else out + self.prior_out[assay] * at_bin
        return predicted if scale is None else predicted.mul_(scale)

    def blocks_at_once(self, tracks: int, device: torch.device) -> int:
        """Blocks whose samples, `tracks` per bin, are best computed together.

        On a CPU so many that one layer's activations stay in the cache, but not so few that its matrix products
        suffer; on an accelerator as many as fit well into its memory.
        """
        samples = BLOCK_BINS * tracks
        if device.type != "cpu":
            return max(1, ACCELERATOR_ACTIVATIONS // (samples * self.config.nodes))
        return max(1, CACHED_ACTIVATIONS // (samples * self.config.nodes), LEAST_SAMPLES // samples)

    def _dropped(self, n_blocks: int, like: Tensor) -> Tensor | None:
        """−inf at the nodes that are dropped in training, else 0: (hidden layers, blocks, 1, nodes).

        Dropped are whole nodes of a block, the same ones for its bins and tracks: nodes that are missing at single
        bins can be averaged away along the genome. A node whose input is −inf is off.
        """
        rate = self.config.dropout if self.training else 0.0
        if not rate:
            return None
        off = like.new_zeros(len(self.hidden), n_blocks, 1, self.config.nodes)
        return off.masked_fill_(torch.rand(off.shape, device=off.device) < rate, -torch.inf)


class Weights(NamedTuple):
    """A network's parameters, split and cast for the block formulation."""

    by_cell: Tensor  # first layer of every cell type (n_cells, nodes)
    by_assay: Tensor  # first layer of every assay, bias included (n_assays, nodes)
    w25: Tensor  # columns of the first layer for the 25-bp, 250-bp and 5-kbp factors
    w250: Tensor
    w5k: Tensor
    hidden: list[tuple[Tensor, Tensor]]  # weight and bias of the hidden layers after the first
    output: Tensor | None  # (1, nodes); None in a linear model, whose first layer is its output
    prior_in: Tensor | None  # (nodes,)


def track_part(by_cell: Tensor, by_assay: Tensor) -> Tensor:
    """First layer of every (cell type, assay) pair, bias included: (n_cells × n_assays, nodes)."""
    return (by_cell[:, None] + by_assay).flatten(0, 1)


def genome_part(rows: Tensor, config: ModelConfig, weights: Weights) -> Tensor:
    """First layer of whole blocks: (blocks, block_width) -> (blocks, 200, nodes)."""
    # as plain matrices: factors that lie apart from block to block would be multiplied bin by bin
    f25, f250, f5k = (part.flatten(0, 1) for part in split_block(rows.to(weights.w25.dtype), config))
    coarse = functional.linear(f250, weights.w250).unflatten(0, (-1, COARSE))
    coarse = coarse + functional.linear(f5k, weights.w5k)[:, None]
    fine = functional.linear(f25, weights.w25).unflatten(0, (-1, BINS_PER_250BP))
    return (fine + coarse.view(-1, 1, fine.shape[-1])).view(len(rows), BLOCK_BINS, -1)


def _add_prior(x: Tensor, prior: Tensor, weight: Tensor | None) -> None:
    """The prior into the first layer, in place: a matrix product is the fastest way to add an outer product."""
    assert weight is not None
    x.view(-1, x.shape[-1]).addmm_(prior.reshape(-1, 1).to(x.dtype), weight[None])


def _activations(x: Tensor, hidden: Sequence[tuple[Tensor, Tensor]], off: Tensor | None) -> list[Tensor]:
    """Activations of all hidden layers, each the shape of `x`, the first one's input, which is overwritten."""
    found = [x.relu_()]
    for number, (weight, bias) in enumerate(hidden, 1):
        x = functional.linear(x, weight, bias)
        if off is not None:
            x.flatten(1, -2).add_(off[number])
        found.append(x.relu_())
    return found


def _project(hidden: Tensor, weight: Tensor) -> Tensor:
    """Output layer without its bias: (..., nodes) -> (...), float32 or better.

    The rounding error of a 16-bit product is itself a product, and added.
    """
    flat = hidden.view(-1, hidden.shape[-1])
    out = flat @ weight.mT
    if hidden.dtype == torch.bfloat16:
        out = out.float() + torch.addmm(-out, flat, weight.mT)
    return out.view(hidden.shape[:-1])


class _HiddenLayers(torch.autograd.Function):
    """Hidden layers and output of all samples of some blocks, with the backward pass written out.

    Most time of small and medium networks goes into reading and writing activations. Automatic differentiation
    does that three times as often as is needed: here every layer has one array forward and one backward, and both are
    worked on in place. Gradients of the two small tables are matrix products with the samples' indicator rows.
    """

    @staticmethod
    def forward(ctx, genome, by_cell, by_assay, prior_in, output, track, prior, off, *layers):
        """From genome (blocks, 200, nodes) and track, two indices (blocks, 200, tracks), to (blocks, 200, tracks)."""
        cell, assay = track
        x = functional.embedding(cell * len(by_assay) + assay, track_part(by_cell, by_assay))
        x.add_(genome[:, :, None])
        if prior is not None:
            _add_prior(x, prior, prior_in)
        hidden = list(zip(layers[::2], layers[1::2], strict=True))
        activations = _activations(x, hidden, off)
        ctx.sizes = (len(by_cell), len(by_assay))
        ctx.save_for_backward(cell, assay, prior, output, *layers, *activations)
        return _project(activations[-1], output)

    @staticmethod
    def backward(ctx, *grad_outputs):
        cell, assay, prior, output, *others = ctx.saved_tensors
        n_layers = (len(others) - 1) // 3
        layers, activations = others[: 2 * n_layers], [a.view(-1, a.shape[-1]) for a in others[2 * n_layers :]]
        need_genome, *need_tables, need_output = ctx.needs_input_grad[:5]
        need_layers = ctx.needs_input_grad[8:]
        found: list[Tensor | None] = [None] * len(layers)
        out = grad_outputs[0].reshape(-1, 1).to(output.dtype)
        grad_output = out.mT @ activations[-1] if need_output else None
        g = out @ output
        for number in range(n_layers, 0, -1):
            weight = 2 * (number - 1)
            _mask(g, activations[number])
            if need_layers[weight]:
                found[weight], found[weight + 1] = g.mT @ activations[number - 1], g.sum(0)
            g = g @ layers[weight]
        _mask(g, activations[0])
        grad_cell = grad_assay = grad_prior = None
        if any(need_tables):
            n_cells, n_assays = ctx.sizes
            rows = torch.zeros(n_cells + n_assays + (prior is not None), len(g), dtype=g.dtype, device=g.device)
            rows.scatter_(0, torch.stack([cell.reshape(-1), assay.reshape(-1) + n_cells]), 1)
            if prior is not None:
                rows[-1] = prior.reshape(-1)
            sums = rows @ g
            grad_cell, grad_assay = sums[:n_cells], sums[n_cells : n_cells + n_assays]
            grad_prior = sums[-1] if prior is not None else None
        g = g.view(*cell.shape, -1)
        grad_genome = (g.squeeze(2) if g.shape[2] == 1 else g.sum(2)) if need_genome else None
        return grad_genome, grad_cell, grad_assay, grad_prior, grad_output, None, None, None, *found


def _mask(grad: Tensor, activation: Tensor) -> None:
    """Gradient through a ReLU, in place."""
    torch.ops.aten.threshold_backward.grad_input(grad, activation, 0, grad_input=grad)


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
    network: Network,
    genome: Tensor,
    position: Tensor,
    cell: Tensor,
    assay: Tensor,
    prior: Tensor | None = None,
    keep: Tensor | None = None,
) -> Tensor:
    """The paper's formulation, for any positions in any order: three tables, concatenate, dense layers.

    position: padded bin addresses (block × 200 + offset), shape (n,), like cell, assay and (with `prior_input`)
    prior. keep: what the nodes of every block are multiplied by in dropout, (hidden layers, blocks, nodes).
    Returns (n,) arcsinh. Slow and simple: what the block formulation is tested against.
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
    scale, prior = network.standardised(cell, assay, prior)
    if prior is not None:
        x = x + prior[:, None] * network.prior_in
    for number, layer in enumerate(network.dense[1:]):
        x = functional.relu(x)
        if keep is not None:
            x = x * keep[number, position // BLOCK_BINS]
        x = layer(x)
    return x.squeeze(-1) if prior is None else (x.squeeze(-1) + network.prior_out[assay] * prior) * scale
