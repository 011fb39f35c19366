"""Which cell types a model makes alike: by what it says of them along the genome.

Factors of a cell type are weights of programs (`model.states`), and say only which of them count. Programs may resemble
each other, and one that hardly varies along the genome says little however large its weight: distances of the factors
know of neither. Distances of the states do, and take no more than a table of the programs' products.
"""

from __future__ import annotations

import numpy as np
import torch

from avocado.errors import InputError
from avocado.model.config import COARSE
from avocado.model.directory import Model
from avocado.model.network import split_block

PIECE = 64  # blocks at a time


def program_products(model: Model, region: str) -> np.ndarray:
    """Covariance of every two programs over the bins of a region, float64 (programs, programs).

    Summed over the factors of all three scales. Raises InputError for a region without factors, and for a model of kind
    'paper', which has no programs.
    """
    config, layout = model.network.config, model.regions.get(region)
    factors = model.rows(region)
    if config.kind != "states" or layout is None:
        raise InputError(f"model {model.path} is of kind 'paper', which has no programs; model.kind=states has them")
    sums = [torch.zeros(n, dtype=torch.float64) for n in config.scales]
    products = torch.zeros(config.cell_factors, config.cell_factors, dtype=torch.float64)
    for first, last in layout.pieces(PIECE):
        real = torch.from_numpy(layout.mask[first:last]).double()
        counts = (real, real.unflatten(1, (COARSE, -1)).sum(2), real.sum(1, keepdim=True))
        for total, part, count in zip(sums, split_block(factors[first:last], config), counts, strict=True):
            weighted = part.double() * count[..., None]
            total += weighted.sum((0, 1))
            programs, its = (x.flatten(0, 1).unflatten(1, (config.cell_factors, -1)) for x in (part.double(), weighted))
            products += torch.einsum("nkd,nld->kl", programs, its)
    for total in sums:
        mean = total.view(config.cell_factors, -1) / layout.n_bins
        products -= layout.n_bins * mean @ mean.mT
    return (products / layout.n_bins).numpy()


def state_distances(model: Model, region: str) -> np.ndarray:
    """Distances of every two cell types by their states over the bins of a region, float64 (n_cells, n_cells).

    1 − the correlation of the two cell types' states, each less the mean state of all of them: so what all cell types
    have in common does not count, nor how strong the tracks of one are. From the programs' covariance G and factors c,
    less their mean, it is 1 − cᵀGc' / √(cᵀGc · c'ᵀGc'). Raises what `program_products` raises.
    """
    return centred_distances(model.cell_factors.to_numpy(dtype=np.float64), program_products(model, region))


def centred_distances(factors: np.ndarray, products: np.ndarray) -> np.ndarray:
    """`state_distances` from cell-type factors (n_cells, programs) and products of programs (programs, programs)."""
    centred = factors - factors.mean(axis=0)
    alike = centred @ products @ centred.T
    size = np.sqrt(np.maximum(np.diag(alike), np.finfo(float).tiny))
    return np.where(np.eye(len(alike), dtype=bool), 0, (1 - alike / np.outer(size, size)).clip(0))
