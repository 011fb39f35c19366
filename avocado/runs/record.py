"""What a finished training run leaves to look at: curves, scores, pictures, and all of it as a page for a browser."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from avocado.data.compendium import pairs_in
from avocado.data.genome import file_stem
from avocado.data.store import SignalStore
from avocado.evaluation.held_out import score_model
from avocado.evaluation.scores import write_scores
from avocado.latent.cell_distances import state_distances
from avocado.latent.projections import FEW, distances, recovery
from avocado.model.directory import Model
from avocado.plotting.held_out import column_groups, picture
from avocado.plotting.plots import plot_factors, plot_learning_curve, plot_scores, save_png
from avocado.report.report import Picture, write_report
from avocado.report.run_report import ScoredTracks, run_report
from avocado.training.loop import TrainingSpec
from avocado.training.memory import GIB
from avocado.training.module import History
from avocado.training.stages import stage_named
from avocado.utils.files import replacing
from avocado.utils.hardware import Hardware, device_of

REPORT = "report.html"
CAPTIONS = {
    "curve": (
        "Learning curve",
        "Mean squared error after each pass over the bins of the region, of training tracks, and of validation tracks "
        "where some were set apart. It should fall and then be level.",
    ),
    "factors": (
        "Latent factors",
        "Each cell type and each assay as the network knows it, in the two directions in which they differ most: "
        "neighbours are alike to the model.",
    ),
}


def write_record(
    run: TrainingSpec,
    fold: str,
    history: History,
    model: Model,
    store: SignalStore,
    directory: Path,
    hardware: Hardware,
    color_by: str,
    seconds: float,
) -> pd.DataFrame | None:
    """Write curves, scores, pictures and, where tracks were held out, report.html. Returns these tracks' scores.

    fold: as folders call it. color_by: column of the store's table that colours cell types and assays. seconds: that
    training took.
    """
    curve = pd.DataFrame({"epoch": range(1, len(history.train_mse) + 1), "train_mse": history.train_mse})
    validation = dict(zip(history.val_epoch, history.val_mse, strict=True))
    curve["val_mse"] = [validation.get(epoch - 1, math.nan) for epoch in curve["epoch"]]
    with replacing(directory / "history.csv") as temporary:
        curve.to_csv(temporary, index=False)
    figures = {}
    if len(curve):
        figures["curve"] = _learning_curve(curve, run.stage)
    network = model.network
    factors = {"cell types": (network.cell_factors, model.cells), "assays": (network.assay_factors, model.assays)}
    groups = {
        title: (color_by, [of.get(name, "added") for name in names])  # of which the store knows nothing
        for title, kind, names in (("cell types", "cell", model.cells), ("assays", "assay", model.assays))
        if (of := column_groups(store, kind, color_by))
    }
    figures["factors"] = plot_factors(
        {title: (table.detach().cpu().numpy(), names) for title, (table, names) in factors.items()}, groups
    )
    tracks, table = pairs_in(model.own_tracks, "test"), None
    if tracks:
        begun, scored = time.monotonic(), ScoredTracks(store, run.region)
        table = score_model(model, store, run.region, tracks, hardware, seen=scored)
        write_scores(table, directory)
        shown = figures
        if "curve" not in figures and (learned := _curve_of_network(model, directory)) is not None:
            shown = {"curve": _learning_curve(learned, model.training["stage"]), **figures}
        stage = stage_named(run.stage)
        work = "training" if stage.trains_network else "making the factors of this place"
        costs = _costs((work, seconds), time.monotonic() - begun, device_of(hardware.device))
        learned_here = (
            "everything was learned here" if stage.trains_network else
            f"factors of this place were made, by the network of the {stage.needs} model"
        )  # fmt: skip
        facts = {
            "stage": f"{run.stage}: {learned_here}",
            "split": f"{fold}, seed {run.seed}",
            "model files": str(model.path),
        }
        found = _recovered(model, groups.get("cell types"), run.region)
        pictures = [
            Picture(CAPTIONS[name][0], figure, CAPTIONS[name][1] + (found if name == "factors" else ""))
            for name, figure in shown.items()
        ]
        write_report(
            directory / REPORT,
            run_report(model, store, run.region, table, scored, facts, costs, pictures, hardware),
        )
        figures["scores"] = plot_scores(table)
        figures["tracks"] = picture(model, store, run.region, tracks, hardware)
    if not stage_named(run.stage).trains_network:
        del figures["factors"]  # the pilot run's
    for name, figure in figures.items():
        save_png(figure, directory / f"{name}.png")
    return table


def _recovered(model: Model, groups: tuple[str, Sequence[str]] | None, region: str) -> str:
    """A sentence on how well groups of cell types, such as lineages, come out of the model; '' for few."""
    if groups is None or len(model.cells) < FEW:
        return ""
    column, of = groups
    of_states = model.network.config.kind == "states"
    apart = state_distances(model, region) if of_states else distances(model.cell_factors.to_numpy())
    found = recovery(apart, of)
    if found is None:
        return ""
    return (
        f" By {'states' if of_states else 'factors'}, {found.accuracy:.0%} of {found.rows} cell types have nearest "
        f"neighbours ({found.neighbours}) of their own {column}, by chance up to {found.accuracy_by_chance:.0%}."
    )


def _learning_curve(curve: pd.DataFrame, stage: str):
    validation = curve["val_mse"].tolist() if curve["val_mse"].notna().any() else None
    return plot_learning_curve(curve["train_mse"].tolist(), validation, title=f"Learning curve of stage {stage}")


def _curve_of_network(model: Model, directory: Path) -> pd.DataFrame | None:
    """The curve of the run that made the network of a run which trained none; None where it has gone."""
    made = model.training
    file = (
        directory.resolve().parents[3]
        / str(made["stage"])
        / file_stem(str(made["region"]))
        / directory.parent.name
        / directory.name
    )
    try:
        curve = pd.read_csv(file / "history.csv")
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return None
    return curve if len(curve) else None


def _costs(work: tuple[str, float], scoring: float, device: torch.device) -> pd.DataFrame:
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    rows = [(work[0], f"{work[1]:,.1f} s"), ("imputing and scoring held-out tracks", f"{scoring:,.1f} s"),
            ("highest memory of the process", f"{kib * 1024 / GIB:.2f} GiB")]  # fmt: skip
    if device.type == "cuda":
        rows.append(("highest memory of the GPU", f"{torch.cuda.max_memory_allocated(device) / GIB:.2f} GiB"))
    rows.append(("device", f"{device}, {torch.get_num_threads()} CPU threads, PyTorch {torch.__version__}"))
    return pd.DataFrame(rows, columns=pd.Index(["what", "measured"]))
