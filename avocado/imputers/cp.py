"""Learning cell and assay factors: a rank-L CP decomposition with biases, several models side by side.

    signal[c, a, i] = mean + cell_bias[c] + assay_bias[a] + genome_bias[i] + Σ_l cells[c, l] assays[a, l] genome[i, l]

as in PREDICTD (Durham et al. 2018, "PREDICTD PaRallel Epigenomics Data Imputation with Cloud-based Tensor
Decomposition"). Genome factors have a closed form once the others are known: a ridge regression per bin, whose matrix
is the same at every bin, as every bin has the same tracks. So they are never stored: see `track_weights`.

Arrays have the models in front: K models, P sampled bins, E tracks, L factors.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from avocado.errors import InputError


@dataclass(frozen=True)
class Sample:
    """What the models learn from: the signal of all tracks at each model's own bins, and who trains on what."""

    signal: Tensor  # (K, P, E)
    cell_of: Tensor  # one-hot (E, cells); as a matrix, so that gradients are products, the same on every run
    assay_of: Tensor  # one-hot (E, assays)
    training: Tensor  # 1 where the model trains on the track, 0 where it validates on it (K, E)
    floor: Tensor  # the least that is imputed for each track (E,)


@dataclass(frozen=True)
class Factors:
    """What is learned, of K models."""

    cells: Tensor  # (K, cells, L)
    assays: Tensor  # (K, assays, L)
    cell_bias: Tensor  # (K, cells)
    assay_bias: Tensor  # (K, assays)
    mean: Tensor  # of the training signal, fixed (K,)

    def each(self, change: Callable[[Tensor], Tensor]) -> Factors:
        """The same factors with every array changed."""
        return Factors(**{name: change(value) for name, value in vars(self).items()})

    def of(self, cell_of: Tensor, assay_of: Tensor) -> tuple[Tensor, Tensor]:
        """Of n one-hot pairs: products of factors, and a 1 for the genome bias (K, n, L + 1), and offsets (K, n)."""
        products = (cell_of @ self.cells) * (assay_of @ self.assays)
        offsets = self.mean[:, None] + self.cell_bias @ cell_of.T + self.assay_bias @ assay_of.T
        return torch.cat([products, products.new_ones(*offsets.shape, 1)], -1), offsets


@dataclass(frozen=True)
class Penalties:
    """Of squared factors, against squared errors; see `loss`."""

    cells: float  # divided by L × number of cell types
    assays: float  # divided by L × number of assays
    genome: float  # against the sum over a bin's tracks, as in the ridge regression that follows
    cell_start: float  # cell factors are drawn to this value


@dataclass(frozen=True)
class Schedule:
    """How long to learn."""

    learning_rate: float
    max_steps: int
    check_every: int  # steps between validations
    patience: int  # validations without improvement before the rate is halved, and at last learning ends
    halvings: int


@dataclass(frozen=True)
class Learned:
    """The factors at the step, and the ridge, of the lowest validation error."""

    factors: Factors
    ridge: float
    error: float  # mean squared error of all tracks, each by the model that validates on it
    step: int


def initial(
    sample: Sample, rank: int, cell_start: float, spread: float, generator: torch.Generator
) -> tuple[Factors, Tensor, Tensor]:
    """Where learning starts: factors, genome factors (K, P, L) and genome biases (K, P).

    Biases are means over the training tracks: of cell types, of what these leave over for assays, then for bins.
    Factors are uniform within ± `spread` around 0, those of cell types around `cell_start` (0 in PREDICTD).
    """
    used, cell_of, assay_of = sample.training, sample.cell_of, sample.assay_of
    means = sample.signal.mean(1)
    mean = (means * used).sum(1) / used.sum(1)
    cell_bias = ((means - mean[:, None]) * used) @ cell_of / (used @ cell_of)
    rest = means - mean[:, None] - cell_bias @ cell_of.T
    assay_bias = (rest * used) @ assay_of / (used @ assay_of)
    share = used / used.sum(1, keepdim=True)
    offsets = mean + ((cell_bias @ cell_of.T + assay_bias @ assay_of.T) * share).sum(1)
    genome_bias = (sample.signal @ share[..., None])[..., 0] - offsets[:, None]

    def uniform(rows: int) -> Tensor:
        return ((torch.rand(len(used), rows, rank, generator=generator) * 2 - 1) * spread).to(means.device)

    cells, assays, genome = (uniform(n) for n in (cell_of.shape[1], assay_of.shape[1], sample.signal.shape[1]))
    return Factors(cells + cell_start, assays, cell_bias, assay_bias, mean), genome, genome_bias


def loss(sample: Sample, factors: Factors, genome: Tensor, genome_bias: Tensor, penalties: Penalties) -> Tensor:
    """Half the mean over training tracks of squared error and penalties, summed over bins and models; a scalar.

    A penalty counts once for each bin and track that uses the factor, as where single points are visited in turn.
    """
    products, offsets = factors.of(sample.cell_of, sample.assay_of)
    rank = genome.shape[-1]
    left = torch.cat([genome, genome_bias[..., None], torch.ones_like(genome_bias[..., None])], -1)
    right = torch.cat([products, offsets[..., None]], -1)
    share = sample.training / sample.training.sum(1, keepdim=True)  # of each track in the mean
    errors = torch.baddbmm(sample.signal, left, right.transpose(1, 2), beta=-1)
    total = (errors.square() * share[:, None]).sum()
    if rank:
        n_bins, (n_cells, n_assays) = genome.shape[1], (factors.cells.shape[1], factors.assays.shape[1])
        distance = (sample.cell_of @ (factors.cells - penalties.cell_start)).square().sum(-1)
        size = (sample.assay_of @ factors.assays).square().sum(-1)
        total = total + penalties.cells / (rank * n_cells) * n_bins * (distance * share).sum()
        total = total + penalties.assays / (rank * n_assays) * n_bins * (size * share).sum()
        total = total + (penalties.genome / sample.training.sum(1) * genome.square().sum((1, 2))).sum()
    return total / 2


def learn(
    sample: Sample,
    start: tuple[Factors, Tensor, Tensor],
    penalties: Penalties,
    schedule: Schedule,
    ridges: tuple[float, ...],
    report: Callable[[int, float], None] = lambda step, error: None,
) -> Learned:
    """Learn the factors of all models by Adam, on all their bins and tracks in every step.

    Validation imputes, as in the end, by ridge regression on the training tracks alone, with each of `ridges`. The
    step and the ridge are those of the lowest error over all models, so that every track has its say and not only the
    few of one model. Each time it stops falling, learning goes back there and on with half the rate. `report` is
    called with (step, lowest error so far) at every validation. Raises InputError for signal that is not finite.
    """
    if not bool(sample.signal.isfinite().all()):
        raise InputError("PREDICTD cannot learn: the signal of training tracks is NaN or infinite in places")
    factors, genome, genome_bias = (
        start[0].each(lambda value: value.clone().requires_grad_()),
        *(value.clone().requires_grad_() for value in start[1:]),
    )
    factors.mean.requires_grad_(False)
    parameters = [factors.cells, factors.assays, factors.cell_bias, factors.assay_bias, genome, genome_bias]
    optimizer = torch.optim.Adam(parameters, lr=schedule.learning_rate)
    best, state = Learned(start[0], ridges[0], float("inf"), 0), (parameters, optimizer.state_dict())
    waited = halvings = 0
    for step in range(schedule.max_steps + 1):
        if step % schedule.check_every == 0:
            errors = validation_errors(sample, factors, ridges).nan_to_num(nan=float("inf"))
            waited += 1
            if errors.min() < best.error:
                lowest = int(errors.argmin())
                kept = factors.each(lambda value: value.detach().clone())
                best = Learned(kept, ridges[lowest], float(errors[lowest]), step)
                state = [value.detach().clone() for value in parameters], copy.deepcopy(optimizer.state_dict())
                waited = 0
            report(step, best.error)
            if waited > schedule.patience:
                if halvings == schedule.halvings:
                    break
                halvings, waited = halvings + 1, 0
                with torch.no_grad():
                    for value, earlier in zip(parameters, state[0], strict=True):
                        value.copy_(earlier)
                optimizer.load_state_dict(copy.deepcopy(state[1]))
                for group in optimizer.param_groups:
                    group["lr"] = schedule.learning_rate / 2**halvings
        if step == schedule.max_steps:
            break
        optimizer.zero_grad()
        loss(sample, factors, genome, genome_bias, penalties).backward()
        optimizer.step()
    return best


def track_weights(
    factors: Factors, cell_of: Tensor, assay_of: Tensor, used: Tensor, wanted: tuple[Tensor, Tensor], ridges: Tensor
) -> tuple[Tensor, Tensor]:
    """How the imputation of a track is put together from the tracks that are used, the same way at every bin.

    At a bin with signal y, the genome factors g and the bias minimise Σ_e (y_e − ŷ_e)² + ridge |g|² over the used
    tracks e; the bias is free. They are linear in y, and so is the imputation that follows from them:
    constant + Σ_e weight_e y_e. The weights are all that a genome takes.

    cell_of, assay_of: the one-hot pairs of the tracks. used: 1 where the model uses the track, 0 where not (K, E).
    wanted: one-hot cell types and assays of the T imputed tracks. ridges: (R,).
    Returns weights (K, R, E, T), 0 for tracks not used, and constants (K, R, T), in float64.
    """
    factors = factors.each(Tensor.double)
    known, offsets = factors.of(cell_of.double(), assay_of.double())
    asked, constants = factors.of(wanted[0].double(), wanted[1].double())
    known = known * used[..., None]
    penalty = torch.eye(known.shape[-1], dtype=torch.float64, device=known.device)
    penalty[-1, -1] = 0
    gram = (known.transpose(1, 2) @ known)[:, None] + ridges.double()[:, None, None] * penalty
    weights = known[:, None] @ torch.linalg.solve(gram, asked.transpose(1, 2)[:, None])
    return weights, constants[:, None] - torch.einsum("ke,kret->krt", offsets, weights)


@torch.no_grad()
def validation_errors(sample: Sample, factors: Factors, ridges: tuple[float, ...]) -> Tensor:
    """Mean squared error of the imputed validation tracks of all models, of each ridge (R,), on each model's bins."""
    total = torch.zeros(len(ridges), dtype=torch.float64, device=sample.signal.device)
    penalties = torch.tensor(ridges, device=total.device)
    for model, signal in enumerate(sample.signal):
        one = slice(model, model + 1)
        used, left_out = sample.training[one], sample.training[model] == 0
        own = factors.each(lambda value, one=one: value[one])
        wanted = sample.cell_of[left_out], sample.assay_of[left_out]
        weights, constants = track_weights(own, sample.cell_of, sample.assay_of, used, wanted, penalties)
        observed = signal[:, left_out]
        for number in range(len(ridges)):  # one after another, as all at once are gigabytes for a thousand tracks
            imputed = signal @ weights[0, number].float() + constants[0, number].float()
            imputed.clamp_(min=sample.floor[left_out])
            total[number] += (imputed - observed).square_().mean(0, dtype=torch.float64).sum()
    return total / (sample.training == 0).sum()
