"""What latent factors are worth to models of other things: expression, replication timing, FIREs, TADs, interactions.

    python -m experiments.fig5_downstream published=FOLDER
    python -m experiments.fig5_downstream labels=FOLDER model=runs/joint/pilot/foldall/seed0/model
    python -m experiments.fig5_downstream pairs=FOLDER

(Avocado paper, Fig. 5.) `published` has the features that came with the original program, `labels` the folders
expression, replication_timing, tads and targetfinder, `pairs` TargetFinder's pairs for the control by identity alone.
Each goes into a folder of its own in `out`, with tables, figure and report.html.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import avocado  # noqa: F401  before torch, whose threads it has settings for
from avocado.cli import app
from avocado.config.values import as_list
from avocado.errors import InputError
from experiments import downstream_labels as labels

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from avocado.data.store import SignalStore
    from avocado.downstream.classifiers import Trees
    from avocado.downstream.evaluation import Scored
    from avocado.model.directory import Model

IDENTITY_FOLDS = 10
FEWEST = 5  # positive pairs of a cell type, below which it is left out


def fig5(config: DictConfig) -> None:
    """Whatever the config has files of."""
    given = {name: config[name] for name in ("published", "pairs", "labels") if config[name]}
    if not given:
        raise InputError("nothing to evaluate: give published=, pairs= or labels=")
    if config.published:
        _write(config, "published", _published(config), "Published features")
    if config.pairs:
        _write(config, "pairs", _identities(config), "Interactions, by what pair it is alone")
    if config.labels:
        store, model = _opened(config)
        folder = Path(config.labels)
        tables = {
            "gene expression": labels.expression(folder / "expression"),
            "replication timing": labels.replication_timing(folder / "replication_timing"),
            "TAD boundaries": labels.tad_boundaries(folder / "tads"),
        }
        if config.fires or config.published:
            tables["FIREs"] = labels.fires(config.fires or config.published)
        parts = (part for name, table in tables.items() for part in _study(config, store, model, name, table))
        pairs = _interactions(config, store, model, labels.interactions(folder / "targetfinder"))
        _write(config, "labels", chain(parts, pairs), "Downstream tasks on real labels")
        rpkm = labels.expression(folder / "expression", numbers=True)
        parts = _study(config, store, model, "gene expression, arcsinh(RPKM)", rpkm)
        _write(config, "numbers", parts, "Expression as a number", "Pearson correlation")


def _published(config: DictConfig) -> Iterator[Scored]:
    from avocado.downstream.evaluation import evaluate

    for task, features in labels.published_features(config.published):
        yield evaluate(task, features, _trees(config), seed=config.seed, progress=config.progress)


def _identities(config: DictConfig) -> Iterator[Scored]:
    """TargetFinder's pairs as they are, and with every element in one pair, by identity of enhancer and promoter."""
    from avocado.downstream.classifiers import Trees
    from avocado.downstream.evaluation import evaluate
    from avocado.downstream.tasks import reduced_pairs, tasks_of

    for cell, table in labels.interactions(config.pairs).items():
        for name, pairs in (("interactions", table), ("interactions, reduced", reduced_pairs(table, config.seed))):
            (task,) = tasks_of(pairs, name, [cell])
            yield evaluate(task, {}, Trees(folds=IDENTITY_FOLDS), seed=config.seed)  # whose folds are needed, no tree


def _interactions(
    config: DictConfig, store: SignalStore, model: Model, tables: Mapping[str, pd.DataFrame]
) -> Iterator[Scored]:
    """The pairs of the model's cell types whose two elements lie in its regions, as they are and reduced."""
    from avocado.downstream.classifiers import Logistic
    from avocado.downstream.features import held
    from avocado.downstream.study import study
    from avocado.downstream.tasks import reduced_pairs

    for reduce in (False, True):
        name = "interactions, reduced" if reduce else "interactions"
        for cell, table in tables.items():
            if cell not in (as_list(config.cell) or model.cells):
                continue
            pairs = table[held(table, model.regions, model.assembly)]
            pairs = reduced_pairs(pairs, config.seed) if reduce else pairs
            positives = int(pairs["label"].sum())
            if positives < FEWEST:
                print(f"{name} {cell}: left out, {positives} of {len(pairs)} pairs in the regions are positive")
                continue
            logistic = Logistic(repeats=config.repeats)
            yield study(
                pairs, name, store, model, others=_imputed(config), cells=[cell], features=as_list(config.features),
                classifier=logistic, seed=config.seed, progress=config.progress,
            )  # fmt: skip


def _study(
    config: DictConfig, store: SignalStore, model: Model, name: str, table: tuple[pd.DataFrame, pd.DataFrame]
) -> Iterator[Scored]:
    """All feature sets on the loci that lie in the regions, in the cell types of the model that have labels."""
    from avocado.downstream.features import held
    from avocado.downstream.study import study

    loci, values = table
    inside = held(loci, model.regions, model.assembly)
    cells = [cell for cell in as_list(config.cell) or model.cells if cell in values]
    if not inside.any() or not cells:
        print(f"{name}: left out, no labels {'in the regions' if cells else 'of these cell types'}")
        return
    long = labels.long_table(loci[inside], values[inside])
    yield study(
        long, name, store, model, others=_imputed(config), cells=cells, features=as_list(config.features),
        classifier=_trees(config), seed=config.seed, progress=config.progress,
    )  # fmt: skip


def _imputed(config: DictConfig) -> dict[str, SignalStore]:
    """Stores of what other methods imputed, by their names."""
    from avocado.data.store import open_store

    return {Path(path).name: open_store(path) for path in as_list(config.imputed)}


def _trees(config: DictConfig) -> Trees:
    from avocado.downstream.classifiers import Trees

    return Trees(folds=config.folds, threads=config.threads)


def _opened(config: DictConfig) -> tuple[SignalStore, Model]:
    from avocado.data.store import open_store
    from avocado.model.directory import load_model, store_of

    if not config.model:
        raise InputError("labels= needs the factors of a model: give model=")
    model = load_model(config.model, open_store(config.store) if config.store else None)
    return store_of(model), model


def _write(
    config: DictConfig, name: str, parts: Iterable[Scored], title: str, measure: str = "average precision"
) -> None:
    from avocado.downstream.evaluation import joined
    from avocado.report.downstream_report import as_text, write_results

    found, out = list(parts), Path(config.out) / name
    if not found:
        return
    scored = joined(found)
    about = {key: str(config[key]) for key in ("published", "pairs", "labels", "model") if config[key]}
    write_results(out, scored, about, title, measure)
    print(f"{as_text(scored.summary)}\n\ntables, figure and report.html in {out}\n")


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    return app.run("fig5_downstream", fig5, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
