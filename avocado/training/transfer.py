"""Factors of new cell types and assays, learned from their tracks while everything else is frozen.

A new cell type is a row of cell-type factors, c = m + B z: m and B are the mean and the directions in which the known
ones differ, and z, of which the penalty is, starts where the nearest known cell type is. With one track, some ten free
numbers would fit its strength; shrunk so, a new cell type is what the known ones say unless its tracks say otherwise.
A new assay is a row of assay factors and, in a network of kind 'states', the weights of its last layer, which start at
their least-squares solution. (Avocado for ENCODE3, Schreiber et al. 2020b: new rows, all else frozen.)

Bins are drawn at random; those of masked runs of blocks are not learned from, and say when to stop.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avocado.errors import InputError
from avocado.model.network import Network
from avocado.model.states import StatesNetwork
from avocado.training.frozen import Assays, Frozen
from avocado.training.transfer_config import TransferConfig
from avocado.utils.files import replacing
from avocado.utils.progress import shown

log = logging.getLogger(__name__)

FLOOR = 0.1  # how far directions in which known ones do not differ are open to a new one, against the others
EVERY = 20  # steps between two looks at the masked bins
SCANNED = 2_000  # bins on which the nearest known one is looked for
OUTPUT_RIDGE = 1e-3  # of the last layer's weights of a new assay, towards those of a known one
PIECE = 256  # bins that are computed at once where no gradient is asked for
Curve = list[tuple[int, float, float]]  # step, error of learned bins before it, error of masked bins


@dataclass(frozen=True)
class Sample:
    """Some bins: the frozen network there, and the new tracks (n, n_tracks), arcsinh."""

    frozen: Frozen
    signal: Tensor

    def some(self, bins: Tensor) -> Sample:
        """At some of them."""
        return Sample(self.frozen[bins], self.signal[bins])


@dataclass(frozen=True)
class Row:
    """A new row: the tracks it is learned from, by column, the known index of what each is paired with, and scales.

    scales: mean and deviation by which each track is standardised (n_tracks, 2).
    """

    columns: Sequence[int]
    partners: Sequence[int]  # assays of a new cell type's tracks, or cell types of a new assay's
    scales: np.ndarray


@dataclass(frozen=True)
class Prior:
    """Where rows of known ones lie: z = 0 at their mean, and of variance 1 in each direction."""

    mean: Tensor
    basis: Tensor  # (width, width)

    def rows(self, z: Tensor) -> Tensor:
        """(n, width) from z."""
        return self.mean + z @ self.basis.mT

    def inverse(self, rows: Tensor) -> Tensor:
        """z of rows."""
        return torch.linalg.solve(self.basis, (rows - self.mean).mT).mT


def prior_of(known: Tensor) -> Prior:
    """From rows of known cell types or assays (n, width)."""
    known = known.double()
    mean = known.mean(0)
    _, found, directions = torch.linalg.svd((known - mean) / max(1, len(known) - 1) ** 0.5, full_matrices=True)
    spread = known.new_zeros(known.shape[1])
    spread[: len(found)] = found
    typical = found[found > 1e-6 * found.max().clamp(min=1e-12)].mean() if len(known) > 1 else known.abs().mean()
    spread = (spread.square() + (FLOOR * typical).square()).sqrt().clamp(min=1e-6)
    return Prior(mean.float(), (directions.mT * spread).float())


def learn_cells(
    assays: Assays,
    known: Tensor,
    rows: Sequence[Row],
    samples: tuple[Sample, Sample],
    config: TransferConfig,
    seed: int,
    checkpoint: Path | None = None,
    progress: str = "",
) -> tuple[Tensor, list[int], Curve]:
    """Cell-type factors (n_rows, k) of new rows, the nearest known cell type of each, and the curve of learning.

    assays: of the network and new ones; known: factors of the cell types that it was trained with; samples: to learn
    from, and to stop by; checkpoint: file from which learning goes on; progress: what the bar is called. Every row is
    learned by itself, all of them in one go: leaving tracks out costs little.
    """
    jobs = _jobs(rows)
    partner = assays[jobs.partner]

    def pairs(values: Tensor) -> tuple[Tensor, Assays]:
        return values[jobs.row], partner

    tried = _scanned(samples[0], seed)
    nearest = torch.stack([jobs.of_rows(tried, *pairs(its.expand(len(rows), -1))) for its in known]).argmin(0)
    prior = prior_of(known)
    start = prior.inverse(known[nearest])
    z, curve = _descend(jobs, lambda z: pairs(prior.rows(z)), start, samples, config, seed, checkpoint, progress)
    return prior.rows(z), nearest.tolist(), curve


def learn_assays(
    cells: Tensor,
    known: Assays,
    rows: Sequence[Row],
    samples: tuple[Sample, Sample],
    config: TransferConfig,
    seed: int,
    checkpoint: Path | None = None,
    progress: str = "",
) -> tuple[Assays, list[int], Curve]:
    """What the network has of new assays (n_rows), the nearest known assay of each, and the curve of learning.

    cells: cell-type factors, of which `Row.partners` are indices; otherwise as `learn_cells`.
    """
    jobs = _jobs(rows)
    loading = cells[jobs.partner]

    def pairs(values: Tensor) -> tuple[Tensor, Assays]:
        return loading, known.like(values)[jobs.row]

    flat, tried = known.flat(), _scanned(samples[0], seed)
    starts = [its.expand(len(rows), -1) for its in flat]
    if known.output is not None:
        starts = [_least_squares(jobs, tried, loading, known.like(its)) for its in starts]
    nearest = torch.stack([jobs.of_rows(tried, *pairs(its)) for its in starts]).argmin(0)
    prior = prior_of(flat)
    start = prior.inverse(torch.stack(starts)[nearest, torch.arange(len(rows))])
    z, curve = _descend(jobs, lambda z: pairs(prior.rows(z)), start, samples, config, seed, checkpoint, progress)
    return known.like(prior.rows(z)), nearest.tolist(), curve


@dataclass(frozen=True)
class _Jobs:
    """All tracks of all rows, side by side."""

    row: Tensor
    partner: Tensor
    column: Tensor
    mean: Tensor
    deviation: Tensor
    n_rows: int

    def errors(self, sample: Sample, cells: Tensor, assays: Assays) -> Tensor:
        """Mean squared error (jobs,), standardised."""
        found = sample.frozen(cells, assays)
        wanted = sample.signal[:, self.column]
        if isinstance(sample.frozen.network, StatesNetwork):
            return (found - (wanted - self.mean) / self.deviation).square().mean(0)
        return ((found - wanted) / self.deviation).square().mean(0)

    @torch.no_grad()
    def of_rows(self, sample: Sample, cells: Tensor, assays: Assays) -> Tensor:
        """The same, summed over the tracks of each row (n_rows,), in pieces."""
        parts = torch.arange(len(sample.signal)).split(PIECE)
        total = sum(self.errors(sample.some(part), cells, assays) * len(part) for part in parts)
        return self.summed(total / len(sample.signal))  # type: ignore[operator]

    def summed(self, values: Tensor) -> Tensor:
        """Of each row (n_rows,), from values of its tracks (jobs,)."""
        return torch.zeros(self.n_rows).index_add_(0, self.row, values)


def _jobs(rows: Sequence[Row]) -> _Jobs:
    number = [row for row, its in enumerate(rows) for _ in its.columns]
    scales = torch.from_numpy(np.concatenate([its.scales for its in rows])).float()
    partner, column = ([value for its in rows for value in getattr(its, name)] for name in ("partners", "columns"))
    row, other, track = (torch.tensor(its, dtype=torch.int64) for its in (number, partner, column))
    return _Jobs(row, other, track, scales[:, 0], scales[:, 1], len(rows))


def _scanned(sample: Sample, seed: int) -> Sample:
    """Bins on which known ones are tried."""
    return sample.some(torch.randperm(len(sample.signal), generator=torch.Generator().manual_seed(seed))[:SCANNED])


@torch.no_grad()
def _least_squares(jobs: _Jobs, sample: Sample, loading: Tensor, known: Assays) -> Tensor:
    """Rows that begin as one known assay (each a copy of it), with the weights of the last layer that fit best."""
    assert known.output is not None
    assert known.bias is not None
    n, width = jobs.n_rows, known.output.shape[1] + 1
    products, wanted = torch.zeros(n, width, width, dtype=torch.float64), torch.zeros(n, width, dtype=torch.float64)
    factors = known[jobs.row].factors
    for part in torch.arange(len(sample.signal)).split(PIECE):
        its = sample.some(part)
        x = its.frozen.hidden(loading, factors)
        x = torch.cat([x, x.new_ones(*x.shape[:2], 1)], dim=2).double()
        target = ((its.signal[:, jobs.column] - jobs.mean) / jobs.deviation).double()
        products.index_add_(0, jobs.row, torch.einsum("npi,npj->pij", x, x) / len(sample.signal))
        wanted.index_add_(0, jobs.row, torch.einsum("npi,np->pi", x, target) / len(sample.signal))
    before = torch.cat([known.output, known.bias[:, None]], dim=1).double()
    scale = products.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-6)
    ridge = torch.eye(width, dtype=torch.float64) * (OUTPUT_RIDGE * scale)[:, None, None]
    found = torch.linalg.solve(products + ridge, wanted + (ridge @ before[..., None])[..., 0]).float()
    return Assays(known.factors, found[:, :-1], found[:, -1]).flat()


def _descend(
    jobs: _Jobs,
    pairs: Callable[[Tensor], tuple[Tensor, Assays]],
    start: Tensor,
    samples: tuple[Sample, Sample],
    config: TransferConfig,
    seed: int,
    checkpoint: Path | None,
    progress: str,
) -> tuple[Tensor, Curve]:
    """z (n_rows, width) of the least error on masked bins, by Adam; or in closed form, where the network is linear."""
    learned, masked = samples
    network = learned.frozen.network
    if isinstance(network, Network) and not network.hidden:
        z = _linear(jobs, pairs, start, learned, config.penalty)
        before, after = (float(jobs.of_rows(its, *pairs(z)).mean()) for its in samples)
        return z, [(0, before, after)]
    z = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], config.learning_rate)
    best, least, waited = start.clone(), jobs.of_rows(masked, *pairs(start)), 0
    first, curve, recent = 0, [(0, float("nan"), float(least.mean()))], []
    if checkpoint is not None and checkpoint.is_file():
        state = _read(checkpoint)
        first, curve, recent, waited = state["step"], state["curve"], state["recent"], state["waited"]
        best, least = state["best"], state["least"]
        with torch.no_grad():
            z.copy_(state["z"])
        optimizer.load_state_dict(state["optimizer"])
        log.info("going on at step %d of %d", first, config.steps)
    saved = time.monotonic()
    for step in shown(range(first, config.steps), progress, config.steps - first, bool(progress)):
        if waited >= config.patience:
            break
        generator = torch.Generator().manual_seed((seed << 32) + step)
        bins = torch.randint(len(learned.signal), (config.batch_bins,), generator=generator)
        optimizer.param_groups[0]["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        errors = jobs.summed(jobs.errors(learned.some(bins), *pairs(z)))
        (errors.sum() + config.penalty * z.square().sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
        recent.append(float(errors.detach().mean()))
        if (step + 1) % EVERY and step + 1 < config.steps:
            continue
        now = jobs.of_rows(masked, *pairs(z.detach()))
        better = now < least
        best, least = torch.where(better[:, None], z.detach(), best), torch.where(better, now, least)
        waited = 0 if better.any() else waited + 1
        curve.append((step + 1, sum(recent) / len(recent), float(now.mean())))
        recent = []
        if checkpoint is not None and time.monotonic() - saved >= config.checkpoint_every:
            saved = time.monotonic()
            with replacing(checkpoint) as temporary:
                torch.save({"step": step + 1, "z": z.detach(), "optimizer": optimizer.state_dict(), "best": best,
                            "least": least, "waited": waited, "curve": curve, "recent": recent}, temporary)  # fmt: skip
    if not torch.isfinite(best).all():
        raise InputError("learning diverged: set transfer.learning_rate lower")
    return best, curve


@torch.no_grad()
def _linear(
    jobs: _Jobs, pairs: Callable[[Tensor], tuple[Tensor, Assays]], like: Tensor, sample: Sample, penalty: float
) -> Tensor:
    """z of least squares and penalty, where what is imputed is a constant and a linear function of z."""
    origin, one = torch.zeros_like(like), sample.some(torch.zeros(1, dtype=torch.int64))
    base = torch.cat(
        [sample.some(part).frozen(*pairs(origin)) for part in torch.arange(len(sample.signal)).split(PIECE)]
    )
    at_one, slopes = one.frozen(*pairs(origin))[0], []
    for number in range(like.shape[1]):  # a new row adds the same at every bin
        unit = origin.clone()
        unit[:, number] = 1
        slopes.append(one.frozen(*pairs(unit))[0] - at_one)
    slope = torch.stack(slopes, dim=1) / jobs.deviation[:, None]
    left = (sample.signal[:, jobs.column] - base).mean(0) / jobs.deviation
    n, width = jobs.n_rows, slope.shape[1]
    products = slope.new_zeros(n, width, width).index_add_(0, jobs.row, slope[:, :, None] * slope[:, None])
    wanted = slope.new_zeros(n, width).index_add_(0, jobs.row, slope * left[:, None])
    return torch.linalg.solve(products + max(penalty, 1e-6) * torch.eye(width), wanted)


def _read(checkpoint: Path) -> dict[str, Any]:
    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception:
        raise InputError(f"{checkpoint} is damaged: start again with resume=false") from None
