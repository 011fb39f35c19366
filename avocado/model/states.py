"""The default model, whole: genome factors inferred from the training tracks, multiplied with the cell type's factors.

Encoder. Each cell type's tracks at a bin, with what surrounds them (`encoding`), become a few numbers, its state there,
by the same weights for all cell types, so that what one teaches holds for all. The states of all cell types are mixed
into `cell_factors` programs, and these are the genome factors, at 25 bp, 250 bp and 5 kbp: programs × factors of each
scale. Nothing else of the tracks is kept: imputation, transfer and every use of the factors work without the store.

Decoder. A cell type's state at a bin is the sum of the programs, weighted by its factors c:

    state[c, i] = Σ_k c[k] · program_k[i]                       (a Tucker decomposition: cell type × position × state)
    imputed[c, a, i] = network( state[c, i] , shared program[i] , assay factors a )

In training, tracks are hidden at random from the encoder, block by block, and what is asked for are the hidden ones: so
the factors learn to impute and cannot copy. (Masked training as in eDICE, Hawkins-Hooker et al. 2023; factors at three
scales and a network that meets the assay factors as in the Avocado paper.)

Signal is standardised by track; an imputation comes back in arcsinh by the mean and deviation that are expected of the
pair (`regression.expected_scales`), shrunk and combined with a baseline as `gate` says.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import torch
from torch import Tensor, nn

from avocado.data.genome import BINS_PER_250BP, BLOCK_BINS
from avocado.model.config import COARSE, ModelConfig
from avocado.model.encoding import WINDOWS
from avocado.model.network import split_block
from avocado.model.written_out import decoded, fine_states

NEAR = 11  # bins of the moving mean within a block
MOST_PROGRAMS = 32
LARGE = 100  # training tracks from which a compendium is large
SAMPLES = 1 << 16  # bins × pairs that are decoded at once on a CPU
ACCELERATOR_SAMPLES = 1 << 22
STRONGEST = 0.9  # deviation that a standardised imputation has at most
MOST = 2.0  # by which an imputation is multiplied: of what hardly varies nothing is made
LIMIT_BLOCKS, FEW_BLOCKS, LIMIT_SAMPLES = 400, 64, 1 << 25  # to find that out: the most, the least, bins × pairs
# what the factorization and the baseline count, and the factorization alone, before anything was measured
GATE, WITHOUT_BASELINE = (0.42, 0.6, 0.8), (0.8, 0.0, 0.8)


def sized(config: ModelConfig, n_cells: int, n_tracks: int) -> ModelConfig:
    """The config with what it leaves open decided by the size of the compendium.

    Cell-type factors: one for each cell type and a shared one, and no more than 32. Nodes of the decoder and random
    features of the baseline: twice as many from 100 training tracks on; of 20 tracks the larger ones say no more.
    """
    large, found = n_tracks >= LARGE, {}
    if config.kind == "states" and not config.cell_factors:
        found["cell_factors"] = min(n_cells + 1, MOST_PROGRAMS)
    if config.kind == "states" and not config.nodes:
        found["nodes"] = 128 if large else 64
    if config.baseline == "regression" and config.baseline_features is None:
        found["baseline_features"] = 512 if large else 256
    return replace(config, **found)


def states_of(programs: Tensor, loading: Tensor) -> Tensor:
    """A cell type's states (..., 2 × d) of genome factors of one scale (..., programs × d): own first, then shared.

    loading: the cell type's factors (programs,). What the decoder is given, and so all that it knows of cell type and
    position; sums and means over bins go through it.
    """
    programs = programs.unflatten(-1, (len(loading), -1))
    return torch.cat([(loading[:, None] * programs).sum(-2), programs[..., -1, :]], dim=-1)


class StatesNetwork(nn.Module):
    """Encoder, cell-type factors, assay factors and decoder. config: with its cell_factors decided.

    expected: mean and deviation, arcsinh, that a track of each pair should have (n_cells, n_assays, 2). cell, assay,
    scales: of the training tracks, in the order in which the encoder takes them, (n_tracks,) and, mean and deviation of
    each, (2, n_tracks). encoded: numbers of cell types and assays that the encoder takes, the first ones of all; None:
    all. Those that were added to a trained network come behind them, and what is encoded stays what it was.
    """

    def __init__(
        self,
        config: ModelConfig,
        n_cells: int,
        n_assays: int,
        n_tracks: int,
        encoded: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.n_cells, self.n_assays = config, n_cells, n_assays
        self.encoded_cells, self.encoded_assays = encoded or (n_cells, n_assays)
        sizes = (config.factors_25bp, config.factors_250bp, config.factors_5kbp)
        around, nodes, total = self.encoded_assays * (len(WINDOWS) + 1), config.nodes, 2 * sum(sizes)
        self.cell_factors = nn.Parameter(torch.empty(n_cells, config.cell_factors))
        self.cell_mixing = nn.Parameter(torch.empty(self.encoded_cells, config.cell_factors))
        self.assay_factors = nn.Parameter(torch.empty(n_assays, config.assay_factors))
        self.near = nn.Linear(2 * self.encoded_assays, config.encoder_nodes)
        self.around = nn.Linear(around, config.encoder_nodes, bias=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element")  # a scale may have no factors
            self.to_factors = nn.ModuleList(map(nn.Linear, (config.encoder_nodes, around, around), sizes))
        self.first = nn.Linear(total, nodes)
        self.first_assay = nn.Linear(config.assay_factors, nodes, bias=False)
        self.first_gain = nn.Linear(config.assay_factors, nodes, bias=False)
        if config.layers == 2:
            self.second = nn.Linear(nodes, nodes)
            self.second_assay = nn.Linear(config.assay_factors, nodes, bias=False)
        self.output = nn.Parameter(torch.empty(n_assays, nodes))
        self.output_bias = nn.Parameter(torch.empty(n_assays))
        self.compute: torch.dtype | None = None  # type of matrix products; None: of the parameters
        self.expected: Tensor
        self.cell: Tensor
        self.assay: Tensor
        self.scales: Tensor
        self.limits: Tensor  # what the factorization imputes of each pair is multiplied by, see `set_limits`
        self.gate: Tensor  # weights of factorization and baseline, and of the factorization where it stands alone
        self.register_buffer("expected", torch.zeros(n_cells, n_assays, 2))
        self.register_buffer("cell", torch.zeros(n_tracks, dtype=torch.int64))
        self.register_buffer("assay", torch.zeros(n_tracks, dtype=torch.int64))
        self.register_buffer("scales", torch.ones(2, n_tracks))
        # the same of each cell type that was added to a trained network, (n_added, 3)
        self.added_gate: Tensor | None
        self.register_buffer("added_gate", None, persistent=False)
        self.register_buffer("limits", torch.ones(n_cells, n_assays))
        self.register_buffer("gate", torch.tensor(GATE if config.baseline != "none" else WITHOUT_BASELINE))
        self.averaging: Tensor  # a moving mean over the bins of a block, as a product
        bins = torch.arange(BLOCK_BINS)
        within = ((bins[:, None] - bins).abs() <= NEAR // 2).float()
        self.register_buffer("averaging", within / within.sum(dim=1, keepdim=True), persistent=False)

    def initialise(self, generator: torch.Generator, start: Tensor | None = None) -> StatesNetwork:
        """Each program starts with a cell type of its own, and the last with all of them.

        start: in place of that, what cell types have of the programs but the last (n_cells, cell_factors − 1).
        """
        with torch.no_grad():
            for layer in [its for its in self.modules() if isinstance(its, nn.Linear)]:
                bound = 1 / math.sqrt(layer.in_features) if layer.in_features else 0
                layer.weight.uniform_(-bound, bound, generator=generator)
                if layer.bias is not None:
                    layer.bias.uniform_(-bound, bound, generator=generator)
            self.first_gain.weight.zero_()
            self.assay_factors.normal_(0, 0.3, generator=generator)
            self.output.normal_(0, 0.05, generator=generator)
            self.output_bias.zero_()
            for factors in (self.cell_factors, self.cell_mixing):
                own = torch.eye(len(factors), self.config.cell_factors)
                if start is not None:
                    own[:, :-1] = start
                own[:, -1] = 1
                factors.normal_(0, 0.1, generator=generator).add_(own)
        return self

    def standardised(self, signal: Tensor) -> Tensor:
        """Training tracks (..., n_tracks), arcsinh, to mean 0 and deviation 1."""
        return (signal - self.scales[0]) / self.scales[1]

    def encode(self, signal: Tensor, around: Tensor, visible: Tensor) -> Tensor:
        """Genome factors (blocks, block_width) of some blocks.

        signal: standardised training tracks (blocks, 200, n_tracks), 0 at padding; around: `encoding.surroundings`
        (blocks, 20, n_tracks, windows); visible: (blocks, n_tracks), 0 for the tracks that are hidden from a block.
        """
        n_blocks, shown = len(signal), (signal * visible[:, None]).contiguous()
        with torch.autocast(signal.device.type, enabled=False):
            near = torch.cat([shown, self.averaging @ shown]).unsqueeze(-1)
        near = torch.cat(self._by_cell(near).split(n_blocks), dim=-1)
        seen = self._by_cell(visible[:, None, :, None]).expand(-1, COARSE, -1, -1)
        around = self._by_cell(around.to(signal.dtype) * visible[:, None, :, None])
        around = torch.cat([around, seen], dim=-1)
        mixing, to_fine = self.cell_mixing / math.sqrt(self.encoded_cells), self.to_factors[0]
        assert isinstance(to_fine, nn.Linear)
        fine = fine_states(near, self.around(around), self.near.weight, self.near.bias, to_fine.weight)
        fine = (fine + to_fine.bias.to(fine.dtype)[:, None, None]) @ mixing.to(fine.dtype)
        fine = fine.view(-1, n_blocks, BLOCK_BINS, mixing.shape[1])
        coarse = (self.to_factors[1](around), self.to_factors[2](around.mean(1, True)))
        mixed = [torch.einsum("bncd,ck->bnkd", state, mixing) for state in coarse]
        return torch.cat([its.reshape(n_blocks, -1) for its in (fine.permute(1, 2, 3, 0), *mixed)], dim=1)

    def _by_cell(self, tracks: Tensor) -> Tensor:
        """Values of the tracks (blocks, n, n_tracks, w) at their places: (blocks, n, n_cells, n_assays × w)."""
        blocks, n, _, w = tracks.shape
        n_cells, n_assays = self.encoded_cells, self.encoded_assays
        grid = tracks.new_zeros(blocks, n, n_cells * n_assays, w)
        grid.index_copy_(2, self.cell * n_assays + self.assay, tracks)
        return grid.view(blocks, n, n_cells, n_assays * w)

    def forward(self, rows: Tensor, cell: Tensor, assay: Tensor) -> Tensor:
        """Standardised signal (blocks, 200, pairs) from genome factors (blocks, block_width).

        cell, assay: indices (blocks, pairs), of each block's own pairs, or (1, pairs).
        """
        loading, factors = self.cell_factors[cell], self.assay_factors[assay]
        fine, bp250, bp5k = split_block(rows, self.config)
        (own, *owns), (shared, *shares) = self._first_weights()
        coarse, coarsest = (
            self._first(*its) for its in zip((bp250, bp5k), (loading, loading), owns, shares, strict=True)
        )
        coarse = coarse + (coarsest + self.first.bias.to(coarsest.dtype))
        kept = self._kept(len(rows), coarse)
        gain, shift = (1 + self.first_gain(factors)) * kept, self.first_assay(factors) * kept
        # as in `decode`, but what belongs to an assay is multiplied into the weights, once per pair
        programs = fine.unflatten(-1, (self.config.cell_factors, -1)).permute(0, 2, 3, 1).contiguous()
        state = (loading @ programs.flatten(2)).unflatten(-1, programs.shape[2:])
        state = torch.cat([state, programs[:, -1:].to(state.dtype).expand(-1, state.shape[1], -1, -1)], dim=2)
        weight = torch.cat([own, shared], dim=1).mT * gain[:, :, None]
        coarse, second, bias = torch.addcmul(shift[:, :, None], coarse, gain[:, :, None]), None, None
        output = self.output[assay]
        if self.config.layers == 2:
            output = output * self._kept(len(rows), coarse)
            second, bias = self.second.weight, self._each(self.second.bias + self.second_assay(factors), rows)
        state, weight, coarse, output = (self._each(its, rows) for its in (state, weight, coarse, output))
        found = decoded(state, weight, coarse, second, bias, output)
        return (found.unflatten(0, (len(rows), -1)) + self.output_bias[assay][:, :, None]).mT

    def decode(
        self,
        loading: Tensor,
        factors: Tensor,
        assay: Tensor,
        bp25: Tensor,
        bp250: Tensor,
        bp5k: Tensor,
        last: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """`forward` from the factors themselves: of cell types and assays (blocks, pairs, n), and `split_block`'s.

        assay: indices (blocks, pairs); the weights of the last layer are the assay's own. last: other weights and
        biases of it, (blocks, pairs, nodes) and (blocks, pairs), in place of theirs.
        """
        # the first layer is computed once per 5 kbp, 250 bp and 25 bp; arrays are (blocks, pairs, bins, nodes)
        parts = zip((bp25, bp250, bp5k), *self._first_weights(), strict=True)
        fine, coarse, coarsest = (self._first(part, loading, *its) for part, *its in parts)
        coarse += coarsest + self.first.bias.to(coarsest.dtype)
        fine = (fine.unflatten(2, (COARSE, BINS_PER_250BP)) + coarse[:, :, :, None]).flatten(2, 3)
        kept = self._kept(len(bp25), fine)
        # what is dropped after a ReLU can as well be 0 before it
        gain, shift = (1 + self.first_gain(factors)) * kept, self.first_assay(factors) * kept
        x = torch.addcmul(shift[:, :, None], fine, gain[:, :, None]).relu_()
        output, bias = (self.output[assay], self.output_bias[assay]) if last is None else last
        output = output.to(x.dtype)
        if self.config.layers == 2:
            x = self.second(x).add_(self.second_assay(factors)[:, :, None]).relu_()
            output = output * self._kept(len(bp25), x)
        found = (x @ output[..., None])[..., 0] + bias[:, :, None]
        return found.mT

    def _each(self, of_pairs: Tensor, rows: Tensor) -> Tensor:
        """Of every block's pairs in turn, (blocks × pairs, ...), where pairs may be given once for all blocks."""
        return of_pairs.expand(len(rows), *of_pairs.shape[1:]).flatten(0, 1)

    def _first_weights(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Those of the first layer for a cell type's state and for the shared program, of 25 bp, 250 bp and 5 kbp."""
        sizes = [self.config.factors_25bp, self.config.factors_250bp, self.config.factors_5kbp]
        own, shared = self.first.weight.split(sum(sizes), dim=1)
        return own.split(sizes, 1), shared.split(sizes, 1)

    def _first(self, factors: Tensor, loading: Tensor, own: Tensor, shared: Tensor) -> Tensor:
        """One scale's part of the first layer (blocks, pairs, n, nodes); factors: its own (blocks, n, programs × d)."""
        programs = factors.unflatten(-1, (self.config.cell_factors, -1)).transpose(1, 2)
        state = (loading @ programs.flatten(2)).unflatten(-1, programs.shape[2:])
        return (state @ own.mT).add_((programs[:, -1] @ shared.mT)[:, None])

    def _kept(self, n_blocks: int, like: Tensor) -> Tensor:
        """Dropout of whole nodes of a block (blocks, 1, nodes): nodes missing at single bins can be averaged away."""
        rate, nodes = self.config.dropout if self.training else 0.0, like.shape[-1]
        if not rate:
            return like.new_ones(1, 1, nodes)
        return (torch.rand(n_blocks, 1, nodes, device=like.device) >= rate).to(like.dtype) / (1 - rate)

    @torch.no_grad()
    def predict(self, rows: Tensor, cells: Tensor, assays: Tensor, baseline: Tensor | None = None) -> Tensor:
        """Imputed arcsinh signal (blocks, 200, pairs) of the pairs (cells[k], assays[k]), no gradients.

        baseline: arcsinh, of the same shape; without it the factorization stands alone.
        """
        found = rows.new_empty(len(rows), BLOCK_BINS, len(cells))
        most = SAMPLES if rows.device.type == "cpu" else ACCELERATOR_SAMPLES
        step = max(1, most // (BLOCK_BINS * len(cells)))
        for first in range(0, len(rows), step):
            found[first : first + step] = self(rows[first : first + step], cells[None], assays[None])
        return self.combined(found, cells, assays, baseline)

    @torch.no_grad()
    def set_limits(self, genome: Tensor, mask: Tensor) -> None:
        """Find out by what each pair's imputation is multiplied, so that deviations differ half as much between pairs.

        An imputation whose correlation with the track is r should vary r times as much. What r is nobody knows, but it
        differs less between pairs than the deviations do that the network gives to those it was never asked for.
        Halved are differences of logarithms, from their mean over all pairs; and r is hardly ever above `STRONGEST`.
        genome: factors of a region (n_blocks, block_width); mask: bool (n_blocks, 200), False at padding.
        """
        n_pairs = self.n_cells * self.n_assays
        n_blocks = min(len(genome), LIMIT_BLOCKS, max(FEW_BLOCKS, LIMIT_SAMPLES // (BLOCK_BINS * n_pairs)))
        chosen = torch.linspace(0, len(genome) - 1, n_blocks).long()
        cells = torch.arange(self.n_cells, device=genome.device).repeat_interleave(self.n_assays)
        assays = torch.arange(self.n_assays, device=genome.device).repeat(self.n_cells)
        sums, count = torch.zeros(2, n_pairs, dtype=torch.float64, device=genome.device), 0
        for blocks in chosen.split(max(1, SAMPLES // (BLOCK_BINS * n_pairs))):
            found = self(genome[blocks], cells[None], assays[None])[mask[blocks]].double()
            sums += torch.stack([found.sum(0), found.square().sum(0)])
            count += len(found)
        mean, square = sums / count
        deviation = (square - mean.square()).clamp(min=1e-12).sqrt()
        typical = deviation.log().mean().exp()
        limits = torch.minimum((typical / deviation).sqrt().clamp(max=MOST), STRONGEST / deviation)
        self.limits.copy_(limits.view_as(self.limits))

    def gates(self, cells: Tensor) -> Tensor:
        """`gate` of cell types (n, 3): an added one has its own."""
        if self.added_gate is None:
            return self.gate.expand(len(cells), 3)
        return torch.cat([self.gate.expand(self.encoded_cells, 3), self.added_gate])[cells]

    def combined(self, found: Tensor, cells: Tensor, assays: Tensor, baseline: Tensor | None) -> Tensor:
        """From standardised signal to arcsinh, shrunk and joined with the baseline by the weights of the gate."""
        mean, deviation = self.expected[cells, assays].unbind(-1)
        found = found * (self.limits[cells, assays] * deviation)
        factorization, regression, alone = self.gates(cells).unbind(-1)
        if baseline is None:
            return found * alone + mean
        return mean + factorization * found + regression * (baseline - mean)
