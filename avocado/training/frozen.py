"""The frozen network at some bins, as a function of the factors of cell types and assays alone.

What does not change while only cell-type or assay factors are learned is computed once: the first layer's part of every
program of a bin, or of its genome factors. Bins may lie anywhere, so few of them say much.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avocado.data.genome import BINS_PER_250BP
from avocado.model.network import Network, split_block
from avocado.model.states import StatesNetwork


@dataclass(frozen=True)
class Assays:
    """What the network has of some assays: factors (n, f), and of kind 'states' the last layer's weights and biases."""

    factors: Tensor
    output: Tensor | None = None  # (n, nodes)
    bias: Tensor | None = None  # (n,)

    def __getitem__(self, rows: Tensor) -> Assays:
        output, bias = (None if its is None else its[rows] for its in (self.output, self.bias))
        return Assays(self.factors[rows], output, bias)

    def flat(self) -> Tensor:
        """All of it side by side, (n, width)."""
        parts = [self.factors]
        if self.output is not None and self.bias is not None:
            parts += [self.output, self.bias[:, None]]
        return torch.cat(parts, dim=1)

    def like(self, flat: Tensor) -> Assays:
        """The inverse of `flat`."""
        n = self.factors.shape[1]
        if self.output is None:
            return Assays(flat)
        return Assays(flat[:, :n], flat[:, n:-1], flat[:, -1])


def assays_of(network: Network | StatesNetwork) -> Assays:
    """Those that a network has."""
    if isinstance(network, StatesNetwork):
        return Assays(*(its.detach() for its in (network.assay_factors, network.output, network.output_bias)))
    return Assays(network.assay_factors.detach())


@dataclass(frozen=True)
class Frozen:
    """A network at n bins. first: the first layer's parts, (n, programs, nodes) of kind 'states', else (n, nodes)."""

    network: Network | StatesNetwork
    first: Tensor
    shared: Tensor  # of kind 'states': what no cell type changes, (n, nodes)

    def __getitem__(self, bins: Tensor) -> Frozen:
        return Frozen(self.network, self.first[bins], self.shared[bins])

    def hidden(self, cells: Tensor, factors: Tensor) -> Tensor:
        """The last hidden layer (n, pairs, nodes) of pairs: factors of cell types (pairs, k) and assays (pairs, f)."""
        network = self.network
        if isinstance(network, StatesNetwork):
            x = torch.einsum("nkh,pk->nph", self.first, cells) + self.shared[:, None]
            x = torch.addcmul(network.first_assay(factors), x, 1 + network.first_gain(factors)).relu()
            if network.config.layers == 2:
                x = (network.second(x) + network.second_assay(factors)).relu()
            return x
        x = self.first[:, None] + self._tracks(cells, factors)
        for layer in network.dense[1:]:
            x = x.relu()
            if layer is not network.output:
                x = layer(x)
        return x

    def __call__(self, cells: Tensor, assays: Assays) -> Tensor:
        """Signal (n, pairs) of pairs, standardised of kind 'states', else arcsinh: cells (pairs, k), assays of each."""
        x = self.hidden(cells, assays.factors)
        if assays.output is not None and assays.bias is not None:
            return torch.einsum("nph,ph->np", x, assays.output) + assays.bias
        assert isinstance(self.network, Network)
        if not self.network.hidden:  # a linear model, whose first layer is its output
            return x[..., 0]
        return self.network.output(x)[..., 0]

    def _tracks(self, cells: Tensor, factors: Tensor) -> Tensor:
        """The first layer's part of cell types and assays, bias included (pairs, nodes)."""
        network = self.network
        assert isinstance(network, Network)
        c = network.config
        by_cell, by_assay, _ = network.first.weight.split([c.cell_factors, c.assay_factors, c.genome_factors], dim=1)
        return cells @ by_cell.mT + functional.linear(factors, by_assay, network.first.bias)


@torch.no_grad()
def frozen_at(network: Network | StatesNetwork, rows: Tensor, block: Tensor, offset: Tensor) -> Frozen:
    """The network at some bins. rows: genome factors (blocks, block_width); block, offset: of each bin (n,)."""
    bp25, bp250, bp5k = split_block(rows, network.config)
    parts = bp25[block, offset], bp250[block, offset // BINS_PER_250BP], bp5k[block, 0]
    if isinstance(network, Network):
        c = network.config
        weight = network.first.weight[:, c.cell_factors + c.assay_factors :]
        first = torch.cat(parts, dim=1) @ weight.mT
        return Frozen(network, first, first.new_zeros(len(first), 0))
    programs = torch.cat([its.unflatten(1, (network.config.cell_factors, -1)) for its in parts], dim=2)
    own, shared = network.first.weight.split(programs.shape[2], dim=1)
    last = functional.linear(programs[:, -1], shared, network.first.bias)
    return Frozen(network, programs @ own.mT, last)
