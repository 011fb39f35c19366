"""`avocado downstream`: what tracks, imputations and latent factors say about labels of your own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.cli import app
from avocado.config.values import as_list
from avocado.data.regions import bed_name
from avocado.data.store import open_store
from avocado.downstream.classifiers import Trees
from avocado.downstream.features import MODELS_OWN, NAMES
from avocado.downstream.study import study
from avocado.downstream.tasks import read_labels
from avocado.errors import InputError
from avocado.model.directory import load_model, store_of
from avocado.report.downstream_report import as_text, write_results

if TYPE_CHECKING:
    from omegaconf import DictConfig


def downstream(config: DictConfig) -> None:
    """Score all feature sets on the labels, and write tables, figure and report."""
    features, out = as_list(config.features), Path(config.out)
    if unknown := [name for name in features if name not in NAMES]:
        raise InputError(f"features={unknown[0]}: there is {', '.join(NAMES)}")
    if not config.model and not config.store:
        raise InputError("features come from somewhere: give model=, or store=")
    if config.flank < 0:
        raise InputError(f"flank={config.flank}: expected bp, a whole number from 0")
    missing = {"-1": -1.0, "nan": math.nan}.get(str(config.missing).lower())
    if missing is None:
        raise InputError(f"missing={config.missing}: there is -1, as in the paper, and nan")
    store = open_store(config.store) if config.store else None
    model = load_model(config.model, store) if config.model else None
    if model is not None and store is None and (not features or set(features) - MODELS_OWN):
        store = store_of(model)
    others = {Path(path).name: open_store(path) for path in as_list(config.imputed)}
    assembly = (store or model).assembly  # pyright: ignore[reportOptionalMemberAccess]
    labels = read_labels(config.labels, assembly, config.positive, config.threshold)
    for start, end in (("start", "end"), ("start2", "end2")):
        if start in labels:
            labels[start] = (labels[start] - config.flank).clip(lower=0)
            labels[end] = (labels[end] + config.flank).clip(upper=labels["chrom"].map(assembly.sizes))
    trees = Trees(folds=config.folds, threads=config.threads)
    name = bed_name(config.labels).removesuffix(".tsv").removesuffix(".csv")
    scored = study(
        labels, name, store, model, others=others, cells=as_list(config.cell), features=features, missing=missing,
        classifier=None if "start2" in labels else trees, seed=config.seed, progress=config.progress,
    )  # fmt: skip
    is_binary = bool(labels["label"].dropna().isin([0, 1]).all())
    measure = "average precision" if is_binary else "Pearson correlation"
    print(as_text(scored.summary))
    print(f"  {measure}: mean over folds ± its standard error; all: of all loci together, with a 95 % interval")
    about = {"labels": config.labels, "model": config.model or "none", "store": str(store.path) if store else "none",
             "missing assays": str(config.missing)}  # fmt: skip
    write_results(out, scored, about, name, measure)
    print(f"\ntables, figure and report.html in {out}")
    if config.model:
        embed = app.typed("embed", f"model={config.model}", "regions=places.bed", "out=features.parquet")
        app.say_next([(embed, "factors of any places, for a classifier of your own")])
