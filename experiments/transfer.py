"""What a transferred cell type is worth: from 1, 2, 3, 5 of its tracks, beside average activity and a model of its own.

    python -m experiments.transfer data.folder=roadmap-pilot

A cell type is left out of a compendium, a model is trained on the others, and the cell type is added by transfer from
some of its tracks (`python train.py stage=transfer`); the rest of its tracks is imputed over the whole region and
scored. Of the simulated compendium a model is also trained with the cell type and the same tracks of it: what it
imputes better is what a transfer loses. In the folder `out`:

    transfer.csv    a row for each imputed track, written as its transfer is done, average activity's MSE beside
    transfer.png    MSE relative to average activity's by the number of tracks given
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avocado.cli import app
from avocado.config.values import as_list
from avocado.errors import InputError
from experiments.accuracy_by_size import append, read_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from avocado.data.store import SignalStore

IDENTITY = "settings"
SMALL = ["cells=5", "measured=1.0", "chromosomes={chr20: 150017}"]
SMALL_TRANSFER: dict[str, Any] = {"steps": 20, "bins": 500, "batch_bins": 100}


class Compendium(NamedTuple):
    """Tracks, and what is asked of them."""

    name: str
    tracks: pd.DataFrame  # cell, assay, file
    assembly: Any
    region: str
    regions: list[str]  # as ingest takes them
    cells: list[str]  # to be left out in turn
    given: list[int]
    choices: int  # of as many tracks
    reference: bool


def study(config: DictConfig) -> None:
    """Compute what is missing, then print the table and draw the figure."""
    import torch

    from experiments.cross_validation import save

    if config.threads:
        torch.set_num_threads(config.threads)
    out = Path(config.out)
    file, wanted = out / "transfer.csv", []
    for compendium in _compendia(config, out):
        for cell in compendium.cells:
            for n, choice, given in _choices(compendium, cell, config):
                identity = _identity(config, compendium, cell, given)
                wanted.append(identity)
                label = f"{compendium.name} {cell} from {n} ({', '.join(given)})"
                if identity in set(read_rows(file)[IDENTITY]):
                    print(f"{label}: done before", flush=True)
                    continue
                print(f"{label} ...", flush=True)
                rows = _carry_out(config, compendium, cell, given, choice, out)
                for row in rows:
                    append(file, {**row, IDENTITY: identity})
    table = read_rows(file)
    table = table[table[IDENTITY].isin(wanted)]
    if len(table):
        print(f"\n{format_table(table)}\n")
        save(plot_transfers(table), out / "transfer.png")
        print(f"table and figure in {out}")


def _compendia(config: DictConfig, out: Path) -> Iterator[Compendium]:
    from avocado.data.compendium import read_table, scan_folder
    from avocado.data.genome import load_assembly
    from experiments.compendia import simulated

    names = as_list(config.compendia)
    if unknown := [name for name in names if name not in ("simulated", "real")]:
        raise InputError(f"compendia={unknown[0]}: there is simulated, real")
    asked = as_list(config.cells)
    if "simulated" in names:
        settings = SMALL if config.small else list(map(str, config.settings))
        data = simulated(settings, out / "compendia", ["chr20"]).data
        tracks = read_table(data["table"])
        cells = sorted(set(tracks["cell"]))
        chosen = [cell for cell in asked if cell in cells] if asked else _apart(cells, config.cells_simulated)
        given = [int(n) for n in as_list(config.given_simulated)]
        if chosen:
            given = given[:2] if config.small else given
            yield Compendium("simulated", tracks, load_assembly(data["assembly"]), "chr20", ["chr20"], chosen, given,
                             config.choices_simulated, config.reference)  # fmt: skip
    if "real" in names:
        if config.data.folder is None and config.data.table is None:
            print("real tracks: left out, give data.folder= (or AVOCADO_ROADMAP_PILOT), where they lie", flush=True)
            return
        tracks = read_table(config.data.table) if config.data.folder is None else scan_folder(
            config.data.folder, config.data.pattern)  # fmt: skip
        cells = sorted(set(tracks["cell"]))
        given = [int(n) for n in as_list(config.given_real)]
        yield Compendium("real", tracks, load_assembly(config.data.assembly), "pilot", ["pilot"],
                         [cell for cell in cells if not asked or cell in asked], given, config.choices_real,
                         False)  # fmt: skip


def _apart(cells: Sequence[str], n: int) -> list[str]:
    """Some of them at equal distances: lineages follow each other."""
    n = min(n, len(cells))
    return [cells[number * len(cells) // n] for number in range(n)]


def _choices(compendium: Compendium, cell: str, config: DictConfig) -> Iterator[tuple[int, int, list[str]]]:
    """Numbers of tracks, which choice of that many it is, and the assays that are given."""
    import numpy as np

    tracks = compendium.tracks
    assays = sorted(tracks.loc[tracks["cell"] == cell, "assay"])
    for n in compendium.given:
        drawn = set()
        for choice in range(compendium.choices):
            # further tracks come to those that a smaller number has
            order = np.random.default_rng((config.seed, choice)).permutation(len(assays))
            given = tuple(sorted(assays[number] for number in order[:n]))
            if n < len(assays) and given not in drawn:
                drawn.add(given)
                yield n, choice, list(given)


def _identity(config: DictConfig, compendium: Compendium, cell: str, given: Sequence[str]) -> str:
    files = sorted(compendium.tracks["file"].astype(str))
    what = [
        compendium.name,
        files,
        cell,
        list(given),
        _steps(config, compendium),
        config.epochs,
        config.seed,
        config.small,
        config.reference,
    ]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _carry_out(
    config: DictConfig, compendium: Compendium, cell: str, given: Sequence[str], choice: int, out: Path
) -> list[dict[str, Any]]:
    """A row for each track of the cell type that was not given."""
    import avocado
    from avocado.evaluation.scores import AVERAGE, track_rows

    tracks, place = compendium.tracks, out / "models" / compendium.name / cell
    own = tracks["cell"] == cell
    store = _store(compendium, tracks[~own], place / "without.store")
    base = _train(config, compendium, store, place / "without")
    table = tracks[own].assign(split=["train" if assay in given else "test" for assay in tracks.loc[own, "assay"]])
    begun, cpu = time.monotonic(), time.process_time()
    settings: dict[str, Any] = SMALL_TRANSFER if config.small else {}
    name = f"from{len(given)}-{choice}"
    model = avocado.transfer(base, table, place / name, seed=config.seed, verdict=True, **settings)
    seconds, cpu_seconds = time.monotonic() - begun, time.process_time() - cpu
    scores = track_rows(avocado.score(model, regions=[compendium.region]))
    scores = scores[scores["cell"] == cell].pivot(index="assay", columns="method", values=["mse", "pearson"])
    alone = avocado.load_model(model.path, baseline=False)
    factorization = track_rows(avocado.score(alone, regions=[compendium.region]))
    factorization = factorization[factorization["method"] != AVERAGE].set_index("assay")["mse"]
    with_it = None
    if compendium.reference:
        held_out = [f"{cell} {assay}" for assay in scores.index]
        full = _store(compendium, tracks, out / "models" / compendium.name / "full.store")
        with_it = _train(config, compendium, full, place / f"with{len(given)}-{choice}", held_out)
        found = track_rows(avocado.score(with_it, regions=[compendium.region]))
        with_it = found[found["method"] != AVERAGE].set_index("assay")["mse"]
    (ours,) = [method for method in scores["mse"].columns if method != AVERAGE]
    return [
        {
            "compendium": compendium.name, "cell": cell, "given": len(given), "choice": choice,
            "tracks": " ".join(given), "assay": assay, "mse": scores["mse"][ours][assay],
            "mse_average": scores["mse"][AVERAGE][assay], "pearson": scores["pearson"][ours][assay],
            "pearson_average": scores["pearson"][AVERAGE][assay], "mse_alone": factorization[assay],
            "mse_trained": float("nan") if with_it is None else with_it[assay],
            "seconds": seconds, "cpu_seconds": cpu_seconds,
        }
        for assay in scores.index
    ]  # fmt: skip


def _store(compendium: Compendium, tracks: pd.DataFrame, place: Path) -> SignalStore:
    import avocado

    return avocado.ingest(tracks, place, compendium.assembly, compendium.regions, min_assays=1, min_cells=1)


def _train(
    config: DictConfig, compendium: Compendium, store: SignalStore, runs: Path, held_out: Sequence[str] = ()
) -> Path:
    """The directory of a model of a compendium's region."""
    import avocado

    steps = _steps(config, compendium)
    outcome = avocado.train(
        store, "joint", compendium.region, fold=None, hold_out=held_out, seed=config.seed, epochs=config.epochs,
        min_steps=steps, runs=runs,
    )  # fmt: skip
    return outcome.model


def _steps(config: DictConfig, compendium: Compendium) -> int | None:
    """Of each training, at least."""
    return 30 if config.small else config[f"steps_{compendium.name}"]


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each compendium and number of tracks given.

    Columns: transfers, imputed (tracks), better (share of them that is better than average activity), relative_mse
    (mean of MSE / average activity's), relative_alone (of the factorization alone), relative_trained (of the model that
    was trained with the cell type), cpu_seconds (median of a transfer).
    """
    rows = table.assign(
        better=table["mse"] < table["mse_average"],
        relative_mse=table["mse"] / table["mse_average"],
        relative_alone=table["mse_alone"] / table["mse_average"],
        relative_trained=table["mse_trained"] / table["mse_average"],
    )
    return (
        rows.groupby(["compendium", "given"], sort=False)
        .agg(
            transfers=(IDENTITY, "nunique"),
            imputed=("mse", "size"),
            better=("better", "mean"),
            relative_mse=("relative_mse", "mean"),
            relative_alone=("relative_alone", "mean"),
            relative_trained=("relative_trained", "mean"),
            cpu_seconds=("cpu_seconds", "median"),
        )
        .reset_index()
        .sort_values(["compendium", "given"], ascending=[False, True], ignore_index=True)
    )


def format_table(table: pd.DataFrame) -> str:
    """The same as aligned text."""
    titles = {"given": "from", "better": "better than average", "relative_mse": "MSE / average's",
              "relative_alone": "factorization alone", "relative_trained": "trained with it",
              "cpu_seconds": "CPU s"}  # fmt: skip
    return summarise(table).rename(columns=titles).to_string(index=False, float_format=lambda value: f"{value:.3g}")


def plot_transfers(table: pd.DataFrame) -> Figure:
    """MSE relative to average activity's against the number of tracks given: a dot a track, a line their mean."""
    from matplotlib.figure import Figure

    from avocado.evaluation.scores import AVERAGE
    from avocado.plotting.plots import DASHED, quiet
    from avocado.plotting.style import COLORS, OTHER_COLORS

    names = list(dict.fromkeys(table["compendium"]))
    figure = Figure(figsize=(4.2 * len(names) + 0.8, 3.9), facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    lines = [("mse", "transferred", COLORS["Avocado"], "o"), ("mse_alone", "factorization alone", OTHER_COLORS[0], "s"),
             ("mse_trained", "trained with the cell type", OTHER_COLORS[1], "^")]  # fmt: skip
    for ax, name in zip(panels, names, strict=True):
        rows = table[table["compendium"] == name]
        ax.axhline(1, color=COLORS[AVERAGE], linestyle=DASHED, linewidth=1.3, label=AVERAGE)
        for number, (column, label, color, marker) in enumerate(lines):
            its = rows[rows[column].notna()]
            if its.empty:
                continue
            ratio = its[column] / its["mse_average"]
            at = its["given"] + 0.12 * (number - 1)
            ax.scatter(at, ratio, 14, color=color, marker=marker, alpha=0.45, linewidths=0)
            mean = ratio.groupby(its["given"]).mean()
            ax.plot(mean.index + 0.12 * (number - 1), mean, color=color, marker=marker, markersize=6, label=label)
        ax.set_xticks(sorted(set(rows["given"])))
        ax.set_xlabel("tracks of the new cell type that were given")
        ax.set_title(f"{name} tracks", fontsize=10, fontweight="bold")
        ax.set_ylim(bottom=0)
        quiet(ax)
    panels[0].set_ylabel("MSE / average activity's")
    handles = {label: handle for ax in panels for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    return app.run("transfer", study, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
