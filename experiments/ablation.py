"""Which training generalises to (cell type, assay) pairs that were never seen? The study behind the defaults.

    python -m experiments.ablation data=roadmap_pilot data.folder=roadmap-pilot

Every variant of `conf/ablation.yaml` is trained on every fold and seed and scored on the held-out tracks only,
compared with average activity. Runs that are done are not repeated, so the study can be interrupted, and extended by
adding variants. The folds are also the ones the defaults were chosen on: `split_seed=1` gives fresh ones.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.cli import app
from avocado.config.overrides import composed
from avocado.config.values import as_list

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

MEASURES = ["mse", "mse_1obs", "mse_1imp", "pearson", "spearman"]


def study(config: DictConfig) -> None:
    """Train what is missing, then print and write the table and the figure."""
    import pandas as pd

    from avocado.errors import InputError
    from avocado.evaluation.scores import TITLES
    from avocado.plotting.plots import plot_scores, save_png
    from avocado.utils.files import replacing

    names = as_list(config.only) or list(config.variants)
    unknown = [name for name in names if name not in config.variants]
    if unknown:
        raise InputError(f"unknown variant '{unknown[0]}'; there is: {', '.join(config.variants)}")
    out = Path(config.out) / f"split{config.split_seed}"
    tables = []
    for name, fold, seed in itertools.product(names, list[int](config.folds), list[int](config.seeds)):
        table = _run(config, name, fold, seed, out)
        tables.append(table.assign(variant=name, fold=fold, run_seed=seed))
        print(
            f"{name} fold {fold} seed {seed}: MSE {table[table['method'] == 'Avocado']['mse'].mean():.4f}", flush=True
        )
    scores = pd.concat(tables, ignore_index=True)
    scores["variant"] = scores["variant"].where(scores["method"] == "Avocado", "average activity")
    # plain means over held-out tracks; average activity is the same in every variant and seed
    order = ["average activity", *names]
    summary = scores.groupby("variant")[MEASURES].mean().loc[order]
    summary["tracks better in MSE"] = [_better(scores, name) for name in order]
    summary["seconds"] = scores.groupby("variant")["seconds"].median().loc[order]
    print(summary.rename(columns=TITLES).to_string(float_format=lambda value: f"{value:.4g}"))
    with replacing(out / "summary.csv") as temporary:
        summary.to_csv(temporary)
    with replacing(out / "tracks.csv") as temporary:
        scores.to_csv(temporary, index=False)
    best = scores[scores["variant"].isin(["average activity", names[0]])].drop_duplicates(["cell", "assay", "method"])
    save_png(plot_scores(best), out / "scores.png")
    print(f"tables and figure in {out}")


def _run(config: DictConfig, name: str, fold: int, seed: int, out: Path) -> pd.DataFrame:
    """Scores of the held-out tracks of one run, with its wall time."""
    import torch
    from omegaconf import OmegaConf

    from avocado.config.store import prepare_store
    from avocado.config.training import hardware_of, plan
    from avocado.evaluation.scores import track_rows
    from avocado.runs.run import train

    if config.threads:
        torch.set_num_threads(config.threads)
    train_config = composed(
        "train",
        [
            *config.variants[name],
            "stage=pilot",
            f"fold={fold}",
            f"seed={seed}",
            f"split.seed={config.split_seed}",
            "trainer=cpu",
        ],
    )
    OmegaConf.set_struct(train_config, False)
    train_config.data, train_config.store = config.data, config.data.store
    store = prepare_store(train_config)
    hardware = hardware_of(train_config, "pilot")
    start = time.perf_counter()
    outcome = train(plan(train_config, store, "pilot"), store, out / name, hardware=hardware, progress=False)
    seconds = time.perf_counter() - start
    note = outcome.directory / "seconds.txt"
    if not outcome.was_done:
        note.write_text(f"{seconds:.1f}")
    assert outcome.scores is not None
    return track_rows(outcome.scores).assign(seconds=float(note.read_text()) if note.is_file() else float("nan"))


def _better(scores: pd.DataFrame, name: str) -> str:
    """'17 of 20': on how many held-out tracks (mean over seeds) the variant has a lower MSE than average activity."""
    if name == "average activity":
        return ""
    mse = scores.groupby(["variant", "cell", "assay"])["mse"].mean().unstack(0)
    return f"{int((mse[name] < mse['average activity']).sum())} of {len(mse)}"


if __name__ == "__main__":
    sys.exit(app.run("ablation", study, sys.argv[1:]))
