"""The network of the paper, whole: factors of three axes, concatenated and fed through a dense network.

A prediction for (cell type c, assay a, 25-bp bin i) is

    network( cell[c] , assay[a] , f25[i] , f250[i // 10] , f5k[i // 200] )        (Avocado paper, Network topology)

The genome factors of the 200 bins of a 5-kbp block, 200 × f25 + 20 × f250 + f5k numbers, are one row of a table
(n_blocks, width): no other block touches them, so they are gathered, updated, saved and sharded as one piece.

`reference` is the plain implementation: look up five vectors, concatenate, multiply. `Network.forward` computes the
same from whole blocks. Its first layer is split by axis, so that the cell-type and assay parts come from small tables
and the 250-bp and 5-kbp parts are computed once per 10 and 200 bins instead of once per bin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from avocado.data.genome import BINS_PER_250BP, BLOCK_BINS
from avocado.model.config import COARSE, ModelConfig

CACHED_ACTIVATIONS = 1 << 22  # numbers of a layer: 8 MB in 16 bit; a few such arrays stay in the third-level cache
ACCELERATOR_ACTIVATIONS = 1 << 28
LEAST_SAMPLES = 4000  # in a matrix product on a CPU


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
        self.compute: torch.dtype | None = None  # type of activations and matrix products; None: of the parameters

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
        """The parameters as the block implementation takes them.

        Where they are frozen they are worth keeping; where they are trained every step needs new ones.
        """
        c = self.config
        # a linear model has no matrix products to speed up
        dtype = self.compute if self.compute and self.hidden else self.cell_factors.dtype
        sizes = [c.cell_factors, c.assay_factors, c.factors_25bp, c.factors_250bp, c.factors_5kbp]
        w_cell, w_assay, w25, w250, w5k = self.first.weight.split(sizes, dim=1)
        # dropped nodes are made up for by the outgoing weights of the others
        scale = 1 / (1 - c.dropout) if self.training and c.dropout else None
        outgoing = [layer.weight if scale is None else layer.weight * scale for layer in self.dense[1:]]
        hidden = zip(outgoing[:-1], (layer.bias for layer in self.dense[1:-1]), strict=True)
        exact = SplitWeights(
            functional.linear(self.cell_factors, w_cell),
            functional.linear(self.assay_factors, w_assay, self.first.bias),
            w25,
            w250,
            w5k,
            outgoing[-1] if self.hidden else None,
            tuple(chain(*hidden)),
        )
        return Weights(exact, exact.mapped(lambda tensor: tensor.detach().to(dtype)))

    def forward(self, rows: Tensor, cell: Tensor, assay: Tensor, weights: Weights | None = None) -> Tensor:
        """Predicted arcsinh signal (blocks, 200, tracks), some tracks per bin.

        rows: genome factors (blocks, block_width); cell, assay: indices (blocks, 200, tracks), or (blocks, 1, tracks)
        where all bins of a block have the same tracks; weights: of a frozen network, or those that all parts of a batch
        share.
        """
        weights = weights or self.weights()
        if weights.cast.output is None:
            split = weights.exact
            genome = genome_part(factor_matrices(rows, self.config, rows.dtype), split).view(len(rows), BLOCK_BINS, 1)
            pairs = track_part(split.by_cell, split.by_assay)
            return genome + functional.embedding(cell * len(self.assay_factors) + assay, pairs).squeeze(-1)
        track = (cell.expand(-1, BLOCK_BINS, -1), assay.expand(-1, BLOCK_BINS, -1))
        off = self._dropped(len(rows), weights.cast.output)
        out = _Blocks.apply(rows, self.config, weights.cast, track, off, *weights.exact.tensors())
        return cast(Tensor, out) + self.output.bias

    def forward_reference(self, rows: Tensor, cell: Tensor, assay: Tensor) -> Tensor:
        """`forward` by the paper's implementation: to rounding the same, dropout included, and slow."""
        shape = (*rows.shape[:1], BLOCK_BINS, cell.shape[2])
        position = torch.arange(len(rows) * BLOCK_BINS, device=rows.device).view(len(rows), BLOCK_BINS, 1)
        off = self._dropped(len(rows), rows)
        out = reference(
            self,
            rows,
            position.expand(shape).flatten(),
            cell.expand(shape).flatten(),
            assay.expand(shape).flatten(),
            None if off is None else (off == 0).squeeze(2).to(rows.dtype) / (1 - self.config.dropout),
        )
        return out.view(shape)

    @torch.no_grad()
    def predict(self, rows: Tensor, cells: Tensor, assays: Tensor, weights: Weights | None = None) -> Tensor:
        """Predicted arcsinh signal (blocks, 200, pairs) of the pairs (cells[k], assays[k]) at every bin, no gradients.

        The genome part of the first layer is computed once for all pairs. Activations are bounded, whatever the number
        of blocks.
        """
        split = (weights or self.weights()).cast
        tracks = track_part(split.by_cell, split.by_assay)[cells * len(self.assay_factors) + assays]
        predicted = rows.new_empty(len(rows), BLOCK_BINS, len(cells))
        step = self.blocks_at_once(1, rows.device)
        for first in range(0, len(rows), step):
            piece = slice(first, first + step)
            genome = genome_part(factor_matrices(rows[piece], self.config, tracks.dtype), split)
            for number, track in enumerate(tracks):
                x = genome + track
                if split.output is None:
                    out = x.squeeze(-1)
                else:
                    out = _project(_activations(x, split.hidden, None)[-1], split.output) + self.output.bias
                predicted[piece, :, number] = out.view(-1, BLOCK_BINS)
        return predicted

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
        """−inf, which turns a node off, at those dropped in training, else 0: (hidden layers, blocks, 1, nodes)."""
        # the same nodes for all bins and tracks of a block: what lacks at single bins is averaged away along the genome
        rate = self.config.dropout if self.training else 0.0
        if not rate:
            return None
        off = like.new_zeros(len(self.hidden), n_blocks, 1, self.config.nodes)
        return off.masked_fill_(torch.rand(off.shape, device=off.device) < rate, -torch.inf)


class SplitWeights(NamedTuple):
    """A network's parameters, the first layer split by axis."""

    by_cell: Tensor  # first layer of every cell type (n_cells, nodes)
    by_assay: Tensor  # first layer of every assay, bias included (n_assays, nodes)
    w25: Tensor  # columns of the first layer for the 25-bp, 250-bp and 5-kbp factors
    w250: Tensor
    w5k: Tensor
    output: Tensor | None  # (1, nodes); None in a linear model, whose first layer is its output
    hidden: tuple[Tensor, ...]  # weight and bias of each hidden layer after the first

    def tensors(self) -> list[Tensor]:
        """All that there are, in this order."""
        return [x for x in (*self[:-1], *self.hidden) if x is not None]

    def mapped(self, change: Callable[[Tensor], Tensor]) -> SplitWeights:
        """The same with every tensor changed."""
        return SplitWeights(
            change(self.by_cell),
            change(self.by_assay),
            change(self.w25),
            change(self.w250),
            change(self.w5k),
            None if self.output is None else change(self.output),
            tuple(map(change, self.hidden)),
        )


class Weights(NamedTuple):
    """The parameters twice: as they are, which is what gradients are of, and in the type that is computed in."""

    exact: SplitWeights
    cast: SplitWeights

    def leaves(self) -> Weights:
        """The same for all parts of a batch, whose gradients add up before they go on to the parameters."""
        return Weights(self.exact.mapped(lambda x: x.detach().requires_grad_()), self.cast)

    def pass_on(self, leaves: Weights) -> None:
        """The gradients that the parts of a batch left in `leaves`, to the parameters."""
        torch.autograd.backward(self.exact.tensors(), [leaf.grad for leaf in leaves.exact.tensors()])


def track_part(by_cell: Tensor, by_assay: Tensor) -> Tensor:
    """First layer of every (cell type, assay) pair, bias included: (n_cells × n_assays, nodes)."""
    return (by_cell[:, None] + by_assay).flatten(0, 1)


def factor_matrices(rows: Tensor, config: ModelConfig, dtype: torch.dtype) -> list[Tensor]:
    """The 25-bp, 250-bp and 5-kbp factors of block rows (blocks, block_width), each as a plain matrix.

    Factors that lie apart from block to block would be multiplied bin by bin.
    """
    return [part.to(dtype).flatten(0, 1) for part in split_block(rows, config)]


def genome_part(factors: Sequence[Tensor], weights: SplitWeights, onto: Tensor | None = None) -> Tensor:
    """First layer of whole blocks, from `factor_matrices`: (bins, nodes), added in place to `onto` where given."""
    f25, f250, f5k = factors
    coarse = f250 @ weights.w250.mT
    coarse.unflatten(0, (-1, COARSE)).add_((f5k @ weights.w5k.mT)[:, None])
    fine = f25 @ weights.w25.mT if onto is None else onto.addmm_(f25, weights.w25.mT)
    fine.unflatten(0, (-1, BINS_PER_250BP)).add_(coarse[:, None])
    return fine


def _activations(x: Tensor, hidden: Sequence[Tensor], off: Tensor | None) -> list[Tensor]:
    """Activations (samples, nodes) of all hidden layers, from the input of the first one, which is overwritten."""
    found = [x.relu_()]
    for number, (weight, bias) in enumerate(zip(hidden[::2], hidden[1::2], strict=True), 1):
        x = torch.addmm(bias, x, weight.mT)
        if off is not None:
            x.unflatten(0, (off.shape[1], -1)).add_(off[number])
        found.append(x.relu_())
    return found


def _project(hidden: Tensor, weight: Tensor) -> Tensor:
    """Output layer without its bias: (samples, nodes) -> (samples,), float32 or better."""
    out = hidden @ weight.mT
    if hidden.dtype == torch.bfloat16:  # the rounding error of a 16-bit product is itself a product, and added
        out = out.float() + torch.addmm(-out, hidden, weight.mT)
    return out.squeeze(1)


class _Blocks(torch.autograd.Function):
    """The network on all samples of some blocks, with the backward pass written out.

    Most time of small and medium networks goes into reading and writing activations. Automatic differentiation
    does that three times as often as is needed: here every layer has one array forward and one backward, and both are
    worked on in place. Gradients of the two small tables are matrix products with the samples' indicator rows.
    """

    @staticmethod
    def forward(ctx, rows, config, weights, track, off, *exact):
        """From rows (blocks, block_width) and track, two indices (blocks, 200, tracks), to (blocks, 200, tracks).

        weights: cast; exact: the same as `SplitWeights.tensors` has them, which is where gradients go.
        """
        cell, assay = track
        n_blocks, _, n_tracks = cell.shape
        factors = factor_matrices(rows, config, weights.by_cell.dtype)
        x = functional.embedding(cell * len(weights.by_assay) + assay, track_part(weights.by_cell, weights.by_assay))
        x = x.flatten(0, -2)
        genome = genome_part(factors, weights, x if n_tracks == 1 else None)
        if off is not None:
            genome.unflatten(0, (n_blocks, -1)).add_(off[0])
        if n_tracks > 1:
            x.unflatten(0, (-1, n_tracks)).add_(genome[:, None])
        activations = _activations(x, weights.hidden, off)
        ctx.config, ctx.weights, ctx.dtype = config, weights, rows.dtype
        ctx.save_for_backward(cell, assay, *factors, *activations)
        return _project(activations[-1], weights.output).view(cell.shape)

    @staticmethod
    def backward(ctx, *grad_outputs):
        cell, assay, *saved = ctx.saved_tensors
        factors, activations = saved[:3], saved[3:]
        weights: SplitWeights = ctx.weights
        assert weights.output is not None
        need_rows, need_weights = ctx.needs_input_grad[0], any(ctx.needs_input_grad[5:])
        out = grad_outputs[0].reshape(-1, 1).to(activations[0].dtype)
        layers = [out.mT @ activations[-1]] if need_weights else []
        # the gradient takes the place of the last activations, which are in the cache, where a new array is not, and
        # its columns are multiplied by the output's weights only when they have been summed
        g, up = _masked(out.expand_as(activations[-1]), activations[-1], onto=activations[-1]), weights.output.mT
        for number in range(len(activations) - 1, 0, -1):
            if need_weights:
                layers += [g.sum(0) * up[:, 0], (g.mT @ activations[number - 1]) * up]
            g = torch.mm(g, weights.hidden[2 * (number - 1)] * up)
            g, up = _masked(g, activations[number - 1], onto=g), torch.ones_like(up)
        n_blocks, _, n_tracks = cell.shape
        # of the first layer, per bin, per 250 bp and per 5 kbp
        fine = g if n_tracks == 1 else g.unflatten(0, (-1, n_tracks)).sum(1)
        coarse = fine.unflatten(0, (-1, BINS_PER_250BP)).sum(1)
        at = (fine, coarse, coarse.unflatten(0, (-1, COARSE)).sum(1))
        rows = None
        if need_rows:
            rows = g.new_empty(n_blocks, ctx.config.block_width, dtype=ctx.dtype)
            for part, grad, weight in zip(split_block(rows, ctx.config), at, weights[2:5], strict=True):
                part.copy_((grad @ (weight * up)).view(part.shape))
        if not need_weights:
            return (rows, *[None] * (len(ctx.needs_input_grad) - 1))
        tables = _table_gradients(g, up, cell, assay, (len(weights.by_cell), len(weights.by_assay)))
        genome = [(grad.mT @ factor) * up for grad, factor in zip(at, factors, strict=True)]
        found = [*tables, *genome, layers[0], *reversed(layers[1:])]
        return (rows, None, None, None, None, *found)


def _table_gradients(grad: Tensor, up: Tensor, cell: Tensor, assay: Tensor, sizes: tuple[int, int]) -> list[Tensor]:
    """Gradients of `by_cell` and `by_assay` from the samples' (samples, nodes), which lack each node's factor, up."""
    rows = grad.new_zeros(sum(sizes), len(grad))
    rows.scatter_(0, torch.stack([cell.reshape(-1), assay.reshape(-1) + sizes[0]]), 1)
    return list(((rows @ grad) * up.mT).split(sizes))


def _masked(grad: Tensor, activation: Tensor, onto: Tensor) -> Tensor:
    """Gradient through a ReLU, written onto one of the two."""
    torch.ops.aten.threshold_backward.grad_input(grad, activation, 0, grad_input=onto)
    return onto


def split_block(rows: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Views of block rows (blocks, block_width): 25 bp (b, 200, f25), 250 bp (b, 20, f250), 5 kbp (b, 1, f5k)."""
    n25, n250, n5k = config.scales
    f25, f250, f5k = rows.split([BLOCK_BINS * n25, COARSE * n250, n5k], dim=-1)
    return f25.unflatten(-1, (BLOCK_BINS, n25)), f250.unflatten(-1, (COARSE, n250)), f5k.unsqueeze(-2)


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
    keep: Tensor | None = None,
) -> Tensor:
    """The paper's implementation, for any positions in any order: three tables, concatenate, dense layers.

    position: padded bin addresses (block × 200 + offset), shape (n,), like cell and assay. keep: what
    the nodes of every block are multiplied by in dropout, (hidden layers, blocks, nodes).
    Returns (n,) arcsinh. Slow and simple: what the block implementation is tested against.
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
    for number, layer in enumerate(network.dense[1:]):
        x = functional.relu(x)
        if keep is not None:
            x = x * keep[number, position // BLOCK_BINS]
        x = layer(x)
    return x.squeeze(-1)
