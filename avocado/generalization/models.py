"""The models of the study, of growing size: boosted trees and networks, whose job is to learn or to memorise."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from avocado.generalization.inputs import Inputs
from avocado.generalization.splits import Part
from avocado.utils.hardware import device_of


@dataclass(frozen=True)
class Sample:
    """Examples as models take them; some of one place and equal features may be one row."""

    x: np.ndarray  # float32 (n, n_features)
    y: np.ndarray  # float32 (n,): label, or the mean label of the examples of a row
    weight: float  # examples of a row
    offset: np.ndarray | None = None  # float32 (n,): log odds that a model starts from


@dataclass(frozen=True)
class TreeSettings:
    """Of gradient-boosted trees."""

    depth: int = 6
    rate: float = 0.3


@dataclass(frozen=True)
class NetworkSettings:
    """Of a fully connected network; 0 layers are logistic regression."""

    layers: int
    width: int
    rate: float = 1e-3
    batch: int = 256
    epochs: int = 60
    patience: int = 4  # epochs without a lower validation loss, after which training stops

    def parameters(self, n_features: int) -> int:
        """How many weights it has."""
        sizes = [n_features, *[self.width] * self.layers, 1]
        return sum((below + 1) * above for below, above in pairwise(sizes))


def sample_of(inputs: Inputs, part: Part, label: np.ndarray, average: np.ndarray | None = None) -> Sample:
    """The examples of a part, or, where the features are the same in all cell types, a row for each locus.

    These rows have the mean label, which has the same gradients as the examples have that it is the mean of.
    label: (n_loci, n_cells); average: (n_loci, n_cells), to start from.
    """
    if inputs.varying is None and average is None and len(part.cells):
        labels = label[np.ix_(part.loci, part.cells)]
        features = inputs.of(Part(part.loci, part.cells[:1]))
        return Sample(features, labels.mean(axis=1, dtype=np.float32), labels.shape[1])
    by_cell = label[np.ix_(part.loci, part.cells)].T.ravel().astype(np.float32)
    offset = None
    if average is not None:
        share = np.clip(average[np.ix_(part.loci, part.cells)].T.ravel(), 0.02, 0.98)  # log odds of 0 and 1 are endless
        offset = np.log(share / (1 - share)).astype(np.float32)
    return Sample(inputs.of(part), by_cell, 1, offset)


def boosted_trees(
    train: Sample, test: Sample, counts: Sequence[int], settings: TreeSettings, seed: int = 0, threads: int = 1
) -> np.ndarray:
    """Log odds of the test examples by the first trees of a model (XGBoost), float32 (n_counts, n_test)."""
    import xgboost

    x, y, weight, offset = train.x, train.y, np.full(len(train.y), train.weight, dtype=np.float32), train.offset
    if train.weight > 1:  # a row for each label, with as many examples as have it
        x, weight = np.concatenate([x, x]), np.concatenate([y, 1 - y]) * train.weight
        y = np.repeat(np.array([1, 0], dtype=np.float32), len(train.y))
    kept = weight > 0
    data = xgboost.DMatrix(x[kept], y[kept], weight=weight[kept], nthread=threads)
    tested = xgboost.DMatrix(test.x, nthread=threads)
    if offset is not None and test.offset is not None:
        data.set_base_margin(offset)
        tested.set_base_margin(test.offset)
    parameters = {
        "objective": "binary:logistic", "max_depth": settings.depth, "eta": settings.rate, "tree_method": "hist",
        "seed": seed, "nthread": threads, "subsample": 0.9, "colsample_bytree": 0.9,
    }  # fmt: skip
    booster = xgboost.train(parameters, data, num_boost_round=max(counts))
    found = [booster.predict(tested, iteration_range=(0, count), output_margin=True) for count in counts]
    return np.stack(found).astype(np.float32)


def network(
    train: Sample, validation: Sample, test: Sample, settings: NetworkSettings, seed: int = 0, device: str = "auto"
) -> tuple[np.ndarray, int]:
    """Log odds of the test examples (n_test,), and after how many epochs: those with the lowest validation loss.

    Adam at its defaults, features standardised by the training examples. The same seed gives the same network.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as loss_of

    where, generator = device_of(device), torch.Generator().manual_seed(seed)
    mean, spread = train.x.mean(axis=0), train.x.std(axis=0) + 1e-6

    def placed(sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.from_numpy((sample.x - mean) / spread)
        return x.to(where), torch.from_numpy(sample.y).to(where)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = [train.x.shape[1], *[settings.width] * settings.layers]
        layers = [
            layer for below, above in pairwise(sizes) for layer in (torch.nn.Linear(below, above), torch.nn.ReLU())
        ]
        model = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], 1)).to(where)
    (x, y), (held, labels), (tested, _) = placed(train), placed(validation), placed(test)
    optimizer = torch.optim.Adam(model.parameters(), settings.rate)
    best, kept, since = np.inf, copy.deepcopy(model.state_dict()), 0
    stopped = 0
    for epoch in range(1, settings.epochs + 1):
        for rows in torch.randperm(len(y), generator=generator).to(where).split(settings.batch):
            optimizer.zero_grad(set_to_none=True)
            loss_of(model(x[rows])[:, 0], y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = float(loss_of(_outputs(model, held), labels))
        if loss < best:
            best, kept, since, stopped = loss, copy.deepcopy(model.state_dict()), 0, epoch
        else:
            since += 1
        if since >= settings.patience:
            break
    model.load_state_dict(kept)
    with torch.no_grad():
        return _outputs(model, tested).cpu().numpy(), stopped


def _outputs(model, x):
    import torch

    return torch.cat([model(part)[:, 0] for part in x.split(8192)])
