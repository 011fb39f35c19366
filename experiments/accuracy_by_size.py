"""Which method for how many tracks? Accuracy, time and memory of all methods as a compendium grows.

    python -m experiments.accuracy_by_size data.folder=roadmap-pilot pairs=tracks.tsv

The twenty real tracks are cross-validated on the pilot regions; of each simulated compendium fold 0 is held out, and
methods learn and impute on its one chromosome (Avocado as with stage=joint). Every method has a process of its own, so
that its memory is not another's; one that fails is named in the end and leaves the others alone. In the folder `out`:

    accuracy_by_size.csv    a row for each compendium, method and seed, written as it is done, average activity's beside
    accuracy_by_size.png    MSE relative to average activity's, Pearson less average activity's
    compendia/, imputed/    simulated compendia and imputed tracks, from which an interrupted run goes on
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avocado.cli import app
from avocado.config.values import as_list
from avocado.errors import InputError
from experiments.benchmarks.workers import REPOSITORY

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from experiments.cross_validation import CrossValidation

REAL, FULL = 20, 1014  # sizes: of the real compendium, and of the simulated one that may follow a table of pairs
MEASURES = ("mse", "mse_1obs", "mse_1imp", "pearson")
CHROM = "chr20"
IDENTITY = "settings"  # column of the CSV: digest of everything that the scores depend on


class Job(NamedTuple):
    """A method on a compendium."""

    compendium: str
    n_tracks: int
    method: str  # its title
    seed: int
    config: dict[str, Any]  # as `cross_validation.prepare` takes it
    settings: str


def study(config: DictConfig) -> None:
    """Compute what is missing, then print the table and draw the figure."""
    from experiments.cross_validation import save

    out = Path(config.out)
    file = out / "accuracy_by_size.csv"
    sizes = _sizes(config)  # a wrong key should not cost a night
    failures, wanted = {}, []
    for size in sizes:
        data = _data(config, size)
        for job in [] if data is None else _jobs(config, size, data, failures):
            if job.settings in wanted:
                continue
            wanted.append(job.settings)
            if job.settings in set(read_rows(file)[IDENTITY]):
                print(f"{described(job)}: done before", flush=True)
                continue
            print(f"{described(job)} ...", flush=True)
            try:
                row = _carry_out(job, config.threads)
            except InputError as error:
                failures[described(job)] = str(error)
                print(f"{described(job)}: failed: {error}", flush=True)
                continue
            append(file, row)
            print(f"{described(job)}: MSE {row['mse']:.4f}, average activity {row['mse_average']:.4f}", flush=True)
    table = read_rows(file)
    table = table[table[IDENTITY].isin(wanted)]
    if len(table):
        print(f"\n{format_table(table)}\n")
        save(plot_accuracy(table), out / "accuracy_by_size.png")
        print(f"table and figure in {out}")
    if failures:
        raise InputError("; ".join(f"{name}: {reason}" for name, reason in failures.items()))


def described(job: Job) -> str:
    """A job in a line."""
    return f"{job.n_tracks} tracks ({job.compendium}), {job.method}, seed {job.seed}"


def read_rows(file: Path) -> pd.DataFrame:
    """What is done already; an empty table where nothing is."""
    import pandas as pd

    return pd.read_csv(file, dtype={IDENTITY: str}) if file.is_file() else pd.DataFrame({IDENTITY: []}, dtype=str)


def append(file: Path, row: dict[str, Any]) -> None:
    """Add a row to the CSV, which is whole at every moment."""
    import pandas as pd

    from experiments.cross_validation import save

    rows = pd.DataFrame([row])
    save(pd.concat([read_rows(file), rows], ignore_index=True) if file.is_file() else rows, file)


def format_table(table: pd.DataFrame) -> str:
    """Means over seeds as aligned text: average activity first in every compendium."""
    from avocado.evaluation.scores import TITLES

    shown = summarise(table).drop(columns=[f"{measure}_average" for measure in MEASURES])
    titles = {**TITLES, "relative_mse": "MSE / average's", "pearson_gain": "Pearson − average's"}
    titles |= {"n_tracks": "tracks", "peak_gb": "peak GB"}
    return shown.rename(columns=titles).to_string(index=False, float_format=lambda value: f"{value:.4g}")


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds (the highest memory), a row for each compendium and method, average activity first.

    Further columns: relative_mse, MSE over average activity's, and pearson_gain, Pearson less average activity's.
    """
    from avocado.evaluation.scores import AVERAGE

    keys = ["compendium", "n_tracks", "method"]
    averaged = [*MEASURES, *(f"{measure}_average" for measure in MEASURES), "seconds"]
    how = dict.fromkeys(averaged, "mean") | {"peak_gb": "max"}
    means = table.groupby(keys, sort=False).agg(how).reset_index()
    means["relative_mse"] = means["mse"] / means["mse_average"]
    means["pearson_gain"] = means["pearson"] - means["pearson_average"]
    means["later"] = means["method"] != AVERAGE
    return means.sort_values(["n_tracks", "later"], kind="stable").drop(columns="later").reset_index(drop=True)


def plot_accuracy(table: pd.DataFrame) -> Figure:
    """MSE relative to average activity's, and Pearson less its, against the number of tracks, a line a method."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    from avocado.evaluation.scores import AVERAGE
    from avocado.plotting.plots import DASHED, GRID, quiet
    from avocado.plotting.style import COLORS, colors_of

    means = summarise(table)
    methods = [str(method) for method in dict.fromkeys(means["method"]) if method != AVERAGE]
    colors = colors_of(methods)
    ticks = sorted(set(means["n_tracks"]))
    figure = Figure(figsize=(10, 4.2), facecolor="white", layout="constrained")
    panels = (
        ("relative_mse", 1.0, "MSE / average activity's  (lower is better)"),
        ("pearson_gain", 0.0, "Pearson − average activity's  (higher is better)"),
    )
    for ax, (column, level, label) in zip(figure.subplots(1, 2), panels, strict=True):
        ax.axhline(level, color=COLORS[AVERAGE], linestyle=DASHED, linewidth=1.2, label=AVERAGE)
        for method in methods:
            # real and simulated tracks are not of one kind, but one line is easier to follow
            line = means[means["method"] == method]
            ax.plot(line["n_tracks"], line[column], marker="o", markersize=5, color=colors[method], label=method)
        ax.set_xscale("log")
        ax.set_xticks(ticks, [f"{n:,}" for n in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel("tracks of the compendium")
        ax.set_ylabel(label)
        ax.grid(axis="y", color=GRID)
        quiet(ax)
    real = means.loc[means["compendium"] == "real", "n_tracks"]
    if len(real):
        figure.supxlabel(f"{int(real.iloc[0])} tracks are real, the others simulated", fontsize=8)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=8)
    return figure


def _sizes(config: DictConfig) -> list[int]:
    known = [REAL, *_compendia(config)]
    for size in (sizes := as_list(config.sizes)):
        if not size.isdigit() or int(size) not in known:
            raise InputError(f"sizes={size}: there is: {', '.join(map(str, known))}")
    return [int(size) for size in sizes]


def _compendia(config: DictConfig) -> dict[int, list[str]]:
    """By size, the keys of `avocado simulate`; a number alone would be no key that Hydra can override."""
    return {int(str(key).removeprefix("tracks")): list(map(str, keys)) for key, keys in config.compendia.items()}


def _data(config: DictConfig, size: int) -> dict[str, Any] | None:
    """The settings of a compendium's data; None where the real one is not at hand."""
    from omegaconf import OmegaConf

    from experiments.compendia import simulated

    if size == REAL:
        here = (Path(config.data.store) / "store.json").is_file()
        if not here and config.data.folder is None and config.data.table is None:
            print("20 real tracks: left out, give data.folder= (or AVOCADO_ROADMAP_PILOT), where they lie", flush=True)
            return None
        return dict(OmegaConf.to_container(config.data, resolve=True))  # type: ignore[arg-type]
    settings = _compendia(config)[size]
    if size == FULL and config.pairs is not None:
        decided = ("cells=", "assays=", "measured=")  # by the table
        path = str(config.pairs).replace("'", "\\'")
        settings = [*(key for key in settings if not key.startswith(decided)), f"measured_pairs='{path}'"]
    if config.bp:
        settings.append(f"chromosomes={{{CHROM}: {config.bp}}}")
    print(f"{size} simulated tracks: {' '.join(settings) or 'the demo'}", flush=True)
    return simulated(settings, Path(config.out) / "compendia", [CHROM], config.processes).data


def _jobs(config: DictConfig, size: int, data: dict[str, Any], failures: dict[str, str]) -> list[Job]:
    """All methods and seeds on a compendium, average activity first; what cannot be set up goes into `failures`."""
    from omegaconf import OmegaConf

    from experiments.cross_validation import AVERAGE_METHOD, prepare, title_of

    names = as_list(config.only) or list(config.methods)
    names = [AVERAGE_METHOD, *(name for name in dict.fromkeys(names) if name != AVERAGE_METHOD)]
    real = size == REAL
    jobs = []
    for name in names:
        for seed in as_list(config.seeds):
            node = {
                "data": data,
                "methods": OmegaConf.to_container(config.methods),
                "only": [name],
                "seeds": [seed],
                "folds": as_list(config.folds) or None if real else [0],
                "n_folds": config.n_folds,
                "split_seed": config.split_seed,
                "region": "pilot" if real else CHROM,
                "small": config.small,
                "small_settings": OmegaConf.to_container(config.small_settings),
                "cache": str(Path(config.out) / "imputed"),
                "threads": config.threads,
            }
            try:
                cv = prepare(OmegaConf.create(node))
            except InputError as error:
                failures[title_of(name)] = str(error)
                print(f"{title_of(name)}: cannot be set up: {error}", flush=True)
                break
            kind = "real" if real else "simulated"
            jobs.append(Job(kind, len(cv.store.tracks), title_of(name), int(seed), node, _identity(cv, title_of(name))))
    return jobs


def _identity(cv: CrossValidation, title: str) -> str:
    """Digest of a method's settings, its seed if it has one, and of the tracks, over all folds."""
    whats = [
        cv.imputers[title, seed, fold].what | {"held out": cv.tracks_of(fold)}
        for seed in cv.seeds
        for fold in cv.training
    ]
    return hashlib.sha256(json.dumps(whats, sort_keys=True).encode()).hexdigest()[:16]


def _carry_out(job: Job, threads: str | int | None) -> dict[str, Any]:
    """The row of a job, computed in a process of its own. Raises InputError where that fails."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder) / "job.json", Path(folder) / "row.json"
        asked.write_text(json.dumps({"title": job.method, "config": job.config}))
        command = [sys.executable, "-m", "experiments.accuracy_by_size", "--worker", str(asked), str(answer)]
        status = subprocess.run(command, env=environment, check=False).returncode
        if status == 130:
            raise KeyboardInterrupt
        if status != 0 or not answer.is_file():
            killed = ", killed, for want of memory perhaps" if status < 0 else "; its output stands above"
            raise InputError(f"the process ended with status {status}{killed}")
        row = json.loads(answer.read_text())
    named = {"compendium": job.compendium, "n_tracks": job.n_tracks, "method": job.method, "seed": job.seed}
    return {**named, **row, IDENTITY: job.settings}


def worker(asked: Path, answer: Path) -> None:
    """Impute and score one method; what `_carry_out` starts.

    Seconds are of fits and predictions, over all folds. Memory is the process's highest from the fit on, Python and
    PyTorch included.
    """
    from omegaconf import DictConfig, OmegaConf

    from avocado.evaluation.scores import AVERAGE, mean_rows
    from experiments.cross_validation import impute_all, prepare, score

    job = json.loads(asked.read_text())
    config = OmegaConf.create(job["config"])
    assert isinstance(config, DictConfig)
    cv = prepare(config)
    impute_all(cv)
    means = mean_rows(score(cv)).set_index("method")
    row: dict[str, Any] = {"folds": len(cv.training), "held_out": len(cv.tracks)}
    for suffix, method in (("", job["title"]), ("_average", AVERAGE)):
        row |= {f"{measure}{suffix}": float(means[measure][method]) for measure in MEASURES}
    costs = cv.costs()
    costs = costs[costs["method"] == job["title"]]
    row["seconds"] = float(costs["fit_seconds"].sum() + costs["predict_seconds"].sum())
    row["peak_gb"] = float(costs["peak_gb"].max())
    answer.write_text(json.dumps(row))


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    if arguments[:1] == ["--worker"]:
        return _guarded(*map(Path, arguments[1:3]))
    return app.run("accuracy_by_size", study, arguments)


def _guarded(asked: Path, answer: Path) -> int:
    try:
        worker(asked, answer)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
