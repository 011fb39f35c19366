"""How much the factorization of a cell type that was not trained with counts: `runs.verdict.NEW_SHARE`.

    python -m experiments.transfer_share data.folder=roadmap-pilot

after `python -m experiments.transfer`, of whose transfers it takes, for each cell type, the one from most tracks. Each
of those tracks is left out in turn and imputed from the others, on masked blocks, with the model's own weights of
factorization and baseline, the factorization's times a share. Tracks that are held out have no part in it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from avocado.cli import app
from avocado.data.compendium import pairs_in
from avocado.errors import InputError
from avocado.evaluation.trials import LEFT_OUT, averages
from avocado.model.directory import load_model
from avocado.model.states import StatesNetwork
from avocado.model.transfers import GIVEN, given_stores
from avocado.runs.verdict import carry_out, store_at_hand, training_columns
from avocado.training.frozen import assays_of
from avocado.training.newcomers import Newcomers, divided, samples
from avocado.training.transfer_config import TransferConfig

SHARES = (0.0, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)


def study(config: DictConfig) -> None:
    """Print, for each compendium, the mean of MSE / average activity's by share."""
    found = []
    for place in _largest(Path(config.out) / "models"):
        for row in shares(place, config.seed):
            found.append({"compendium": place.parent.parent.name, "cell": place.parent.name, **row})
    if not found:
        raise InputError(f"{config.out} has no transfers from two tracks or more: python -m experiments.transfer")
    table = pd.DataFrame(found)
    means = table.groupby(["compendium", "share"], sort=False)[["combined", "alone"]].mean().reset_index()
    print(means.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    print(f"means of {len(table) // len(SHARES)} trials, in {table['cell'].nunique()} cell types")


def _largest(models: Path) -> Iterator[Path]:
    """Of each cell type the transfer from most tracks."""
    for cell in sorted(models.glob("*/*/without")):
        made = [its for its in cell.parent.glob("from*-0") if (its / "model.yaml").is_file()]
        counts = {its: int(its.name.removeprefix("from").split("-")[0]) for its in made}
        if counts and max(counts.values()) > 1:
            yield max(counts, key=lambda its: counts[its])


def shares(place: Path, seed: int) -> Iterator[dict[str, float]]:
    """Of each trial and share: MSE / average activity's, of factorization and baseline and of the former alone."""
    made = load_model(place)
    added, source = made.transfers[-1], load_model(made.transfers[-1].source)
    given = given_stores(place, [added])[0]
    new = Newcomers(
        source, given, [pair for pair in pairs_in(made.tracks, GIVEN) if pair[0] in added.cells], added.region
    )
    config, own = TransferConfig(), store_at_hand(source, added.region)
    blocks = divided(source.regions[added.region].n_blocks, config, seed)
    drawn = samples(new, blocks, config, seed)
    trials = carry_out(new, assays_of(source.network), drawn, blocks[2], own, config, seed, None, False)
    average = averages(new, blocks[2], own, training_columns(source, own))
    assert isinstance(source.network, StatesNetwork)
    gate = source.network.gate.double().numpy()
    for its in trials.imputed:
        if its.trial.kind != LEFT_OUT:
            continue
        observed = trials.signal[:, its.trial.column].astype(np.float64)
        least = np.square(average[:, its.trial.column] - observed).mean()
        for share in SHARES:
            combined = its.signal(gate * [share, 1, share])
            alone = its.mean + its.deviation * share * gate[2] * its.factorization
            parts = (float(np.square(values - observed).mean() / least) for values in (combined, alone))
            yield {"share": share, **dict(zip(("combined", "alone"), parts, strict=True))}


if __name__ == "__main__":
    sys.exit(app.run("transfer", study, sys.argv[1:]))
