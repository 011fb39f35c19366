"""Which factors an imputation comes from: integrated gradients, summed over the parts of the model.

Sundararajan et al. 2017, as the Avocado paper applies them (Fig. 6, Methods): the straight path from a reference to the
factors of a bin, and the signal's change along it, divided among cell-type factors, assay factors, and genome factors
at 25 bp, 250 bp and 5 kbp. Derivatives by these five parts are taken forward, block by block, so that what bins share
is computed once for all of them; per factor, as general programs give it, nothing is kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avocado.data.genome import BINS_PER_250BP, BLOCK_BINS, Segment
from avocado.data.windows import Window, pieces
from avocado.errors import InputError
from avocado.latent.embeddings import SCALES
from avocado.model.directory import Model
from avocado.model.network import Network, split_block
from avocado.model.states import StatesNetwork

PARTS = ("cell", "assay", *SCALES)
REFERENCES = ("zeros", "mean")
COMPLETE = 0.01  # error of the sum of parts, as a share of the change; both are sums over the bins of a piece
EXACT = 1e-4  # likewise: the network is linear, or of second degree, and one point says all
MOST = 500  # points of the path
PIECE = 64  # blocks at a time

Piece = tuple[int, int, list[Segment], np.ndarray]  # as `windows.pieces` has it
Decoder = Callable[[list[Tensor]], Tensor]  # five parts -> arcsinh signal (blocks, 200)


@dataclass(frozen=True)
class Attribution:
    """What the five parts add to the imputation of consecutive bins, arcsinh, float32 (n_bins, 5), in PARTS' order.

    Their sum is `signal` less `reference`, both (n_bins,): the factorization's imputation, and what it makes of the
    reference. points: of the path that were needed.
    """

    segments: list[Segment]
    parts: np.ndarray
    signal: np.ndarray
    reference: np.ndarray
    points: int


def attribute(
    model: Model,
    cell: str,
    assay: str,
    window: Window,
    reference: str = "zeros",
    means: Sequence[Tensor] | None = None,
) -> Iterator[Attribution]:
    """Attributions of one pair's imputation over a window, a piece at a time (Avocado paper, Fig. 6).

    window: one of `model.windows(region)`. reference: 'zeros', as in the paper, or 'mean', of all cell types, of all
    assays, and of the genome factors of the window's region. means: those of the genome factors, `genome_means` of
    that region, so that many pairs read it once; None: it is read. Of a model with a baseline it is the factorization
    alone that is attributed: the baseline is not made of factors. Raises InputError for names that the model does not
    know.
    """
    if reference not in REFERENCES:
        raise InputError(f"reference={reference}: there is {', '.join(REFERENCES)}")
    index, network = model.pair(cell, assay), model.network
    tables = (network.cell_factors.detach(), network.assay_factors.detach())
    own = [table[number].view(1, 1, -1) for table, number in zip(tables, index, strict=True)]
    if reference == "mean":
        genome = genome_means(model, window.source) if means is None else means
        base = [*(table.mean(0).view(1, 1, -1) for table in tables), *genome]
    else:
        base = [torch.zeros(1, 1, n) for n in (*(table.shape[1] for table in tables), *network.config.scales)]
    decoder, factors = _decoder(network, *index), model.rows(window.source)
    for batch in _batches(pieces(model.regions[window.source], window.layout, PIECE)):
        rows = torch.cat([factors[first:last] for first, last, _, _ in batch])
        wanted = np.concatenate([its for *_, its in batch])
        with warnings.catch_warnings():  # of torch's own forward differentiation
            warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
            parts, signal, start, points = integrate(
                decoder, [*own, *split_block(rows, network.config)], base, torch.from_numpy(wanted)
            )
        chosen = [its.numpy()[wanted] for its in (parts, signal, start)]
        yield Attribution([segment for *_, its, _ in batch for segment in its], chosen[0], chosen[1], chosen[2], points)


def _batches(found: Iterator[Piece]) -> Iterator[list[Piece]]:
    """Pieces of many small places together, PIECE blocks and more of them."""
    batch: list[Piece] = []
    for piece in found:
        batch.append(piece)
        if sum(last - first for first, last, _, _ in batch) >= PIECE:
            yield batch
            batch = []
    if batch:
        yield batch


def integrate(
    decoder: Decoder, factors: list[Tensor], base: list[Tensor], wanted: Tensor
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Integrated gradients by part (blocks, 200, 5); the signal and the reference's (blocks, 200); points of the path.

    decoder: what makes signal of the five parts; factors, base: these parts at the end and at the start of the path.
    wanted: bool (blocks, 200), the bins whose sums have to agree. Points are the middles of stretches, of which those
    are parted in three that sum up worst, as somewhere along them nodes of the network are switched on or off, until
    the sum is right and the parts no longer change. Where the network is linear, one point is exact.
    """
    change = [part - start for part, start in zip(factors, base, strict=True)]

    def along(shares: Tensor) -> Tensor:
        return decoder([start + share * part for share, start, part in zip(shares, base, change, strict=True)])

    def slope(share: float) -> Tensor:
        return torch.func.jacfwd(along)(torch.full((len(PARTS),), share))

    values = {share: along(torch.full((len(PARTS),), share)) for share in (0.0, 1.0)}
    whole = float((values[1.0] - values[0.0])[wanted].abs().sum())
    stretches, before = [(0.0, 1.0, slope(0.5))], None  # ends, and the slope in their middle
    while True:
        parts = torch.stack([(b - a) * its for a, b, its in stretches]).sum(0)
        gaps = [((b - a) * its.sum(-1) - (values[b] - values[a]))[wanted] for a, b, its in stretches]
        missing = float(torch.stack(gaps).sum(0).abs().sum())
        settled = before is not None and float((parts - before).abs().sum()) <= COMPLETE * float(parts.abs().sum())
        if missing <= EXACT * whole or (missing <= COMPLETE * whole and settled) or len(stretches) > MOST:
            return parts, values[1.0], values[0.0].expand_as(values[1.0]), len(stretches)
        before = parts
        sizes, finer = [float(gap.abs().sum()) for gap in gaps], []
        for (a, b, its), size in zip(stretches, sizes, strict=True):
            if size < sum(sizes) / len(sizes):
                finer.append((a, b, its))
                continue
            first, second = a + (b - a) / 3, b - (b - a) / 3
            values |= {share: along(torch.full((len(PARTS),), share)) for share in (first, second)}
            finer += [(a, first, slope((a + first) / 2)), (first, second, its), (second, b, slope((second + b) / 2))]
        stretches = finer


def genome_means(model: Model, source: str) -> list[Tensor]:
    """Mean genome factors over the bins of a region at each scale, (1, 1, n). Reads all of it."""
    layout, factors = model.regions[source], model.rows(source)
    sums = [torch.zeros(n, dtype=torch.float64) for n in model.network.config.scales]
    for first, last in layout.pieces(PIECE):
        real = torch.from_numpy(layout.mask[first:last]).double()
        for total, part in zip(sums, split_block(factors[first:last], model.network.config), strict=True):
            # bins of padding do not count, nor do the 250 bp and 5 kbp for them
            total += (part.double() * real.unflatten(1, (part.shape[1], -1)).sum(2, keepdim=True)).sum((0, 1))
    return [(total / layout.n_bins).float().view(1, 1, -1) for total in sums]


def _decoder(network: Network | StatesNetwork, cell: int, assay: int) -> Decoder:
    """A pair's signal, arcsinh (blocks, 200), from its factors and those of blocks, each (blocks or 1, n, factors)."""
    if isinstance(network, StatesNetwork):
        number = torch.tensor([[assay]])
        mean, deviation = network.expected[cell, assay]
        alone = network.gates(torch.tensor([cell]))[0, 2]
        scale = float(alone * network.limits[cell, assay] * deviation)

        def imputed(parts: list[Tensor]) -> Tensor:
            own, its, fine, middle, coarse = parts
            return network.decode(own, its, number, fine, middle, coarse)[..., 0] * scale + float(mean)

        return imputed
    weights = network.first.weight.split([part.shape[-1] for part in (network.cell_factors, network.assay_factors)]
                                         + list(network.config.scales), dim=1)  # fmt: skip

    def decode(parts: list[Tensor]) -> Tensor:
        own, assays, fine, middle, coarse = (part @ weight.mT for part, weight in zip(parts, weights, strict=True))
        middle = middle.repeat_interleave(BINS_PER_250BP, dim=1) if middle.shape[1] > 1 else middle
        x = own + assays + fine + middle + coarse + network.first.bias
        for layer in network.dense[1:]:
            x = layer(functional.relu(x))
        return x[..., 0].expand(-1, BLOCK_BINS)

    return decode
