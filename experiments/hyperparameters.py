"""What a search of hyperparameters found: distributions, importance, the best trials, and the winner as a config.

    python -m experiments.hyperparameters name=small

Reads the study that `avocado sweep` left, also while it is still running. Writes <out>/<name>/trials.csv (all trials),
best.csv, importance.csv, hyperparameters.png (MSE by the values of each hyperparameter, as in the supplement of the
paper), importance.png and best.yaml, the winner's model, which `python train.py model=<out>/<name>/best.yaml` trains.
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avocado.cli import app
from avocado.config.overrides import composed
from avocado.errors import InputError
from avocado.model.config import ModelConfig

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from omegaconf import DictConfig
    from optuna import Study

FEWEST = 3  # trials from which importance can be said
MAX_GROUPS = 12  # values of a hyperparameter that each get a violin; more are points along an axis
COLOR, MUTED = "#009e73", "#6b6b6b"
MODEL = "model."


def hyperparameters(config: DictConfig) -> None:
    """Write tables, figures and the winner's config of a study, and print the best."""
    from avocado.cli.sweep import format_trials, storage_of, train_command
    from avocado.search.study import best_trials, load_study, trials_table
    from experiments.cross_validation import save

    study = load_study(storage_of(config.storage, config.runs, config.name), config.name)
    table = trials_table(study)
    complete = trials_table(study, completed=True)
    if complete.empty:
        raise InputError(f"no trial of the study {config.name} is completed yet: run avocado sweep first")
    names = [name for name in table.columns if name in _parameters(study)]
    out = Path(config.out) / config.name
    best = best_trials(study, config.best)
    save(table, out / "trials.csv")
    save(best, out / "best.csv")
    save(plot_hyperparameters(complete, names), out / "hyperparameters.png")
    counts = ", ".join(f"{count} {state}" for state, count in table["state"].value_counts().items())
    print(f"{config.name}: {counts}\n\n{format_trials(best)}")
    importance = importances(study, names, config.seed)
    if importance is None:
        print(f"\nhow much each hyperparameter matters cannot be said of {len(complete)} trials")
    else:
        save(importance, out / "importance.csv")
        save(plot_importance(importance), out / "importance.png")
        shown = importance.to_string(index=False, float_format=lambda value: f"{value:.3f}")
        print(f"\nshare of the variance of MSE\n{shown}")
    winner = {name: best[name].iloc[0] for name in names}
    overrides = study.user_attrs["overrides"]
    model = out / "best.yaml"
    rest = write_model(model, overrides, winner)
    print(f"\ntables and figures in {out}\nthe winner, trained and scored on the held-out tracks:")
    kept = [override for override in overrides if not override.startswith(("model=", MODEL))]
    print(f"  {train_command([f'model={model}', *rest], kept)}")


def importances(study: Study, names: list[str], seed: int) -> pd.DataFrame | None:
    """Share of the variance of MSE that each hyperparameter explains (functional ANOVA): hyperparameter, importance.

    None where there are too few trials, or all have the same MSE.
    """
    import optuna
    import pandas as pd

    trials = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(trials) < FEWEST or len({trial.values[0] for trial in trials}) == 1:
        return None
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=seed), params=names,
        target=lambda trial: trial.values[0],
    )  # fmt: skip
    return pd.DataFrame(list(found.items()), columns=pd.Index(["hyperparameter", "importance"]))


def write_model(file: Path, common: list[str], winner: dict[str, Any]) -> list[str]:
    """Write the winner's section `model` as a config file; returns those of its overrides that are not in there."""
    from avocado.cli.sweep import as_overrides
    from avocado.utils.files import replacing

    chosen = as_overrides(winner)
    section = composed("train", [*common, *chosen]).model
    lines = [f"# python train.py model={file}", "# The best model of a search of hyperparameters."]
    for key in fields(ModelConfig):
        value = section[key.name]
        text = json.dumps(value) if value is None or isinstance(value, bool) else value
        lines.append(f"{key.name}: {text}  # {key.metadata['meaning']}")
    with replacing(file) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    return [override for override in chosen if not override.startswith(("model=", MODEL))]


def plot_hyperparameters(trials: pd.DataFrame, names: list[str]) -> Figure:
    """MSE of the completed trials by the values of each hyperparameter, a panel each; the lowest MSE is ringed."""
    from matplotlib.figure import Figure

    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.2 * columns + 0.4, 2.8 * rows), facecolor="white", layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for number, axes in enumerate(panels.flat):
        if number >= len(names):
            axes.set_axis_off()
            continue
        _panel(axes, trials, names[number])
        axes.set_xlabel(names[number].removeprefix(MODEL))
        axes.spines[["top", "right"]].set_visible(False)
        if number % columns == 0:
            axes.set_ylabel("MSE, validation tracks")
    return figure


def _panel(axes: Axes, trials: pd.DataFrame, name: str) -> None:
    """A violin with its points and its median for each value, or points along an axis where the values are many."""
    import numpy as np

    mse = trials["mse"].to_numpy(dtype=float)
    best = int(mse.argmin())
    values = trials[name].drop_duplicates()
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values.tolist())
    if numeric and len(values) > MAX_GROUPS:
        x = trials[name].to_numpy(dtype=float)
        if x.min() > 0 and x.max() / x.min() >= 50:
            axes.set_xscale("log")
    else:
        order = values.tolist()
        order = sorted(order) if numeric else sorted(order, key=str)
        place = trials[name].map({value: number for number, value in enumerate(order)}).to_numpy(dtype=float)
        for number in range(len(order)):
            group = mse[place == number]
            if len(group) > 2 and np.ptp(group) > 0:
                (body,) = axes.violinplot([group], [number], widths=0.8, showextrema=False)["bodies"]  # type: ignore
                body.set(facecolor=COLOR, alpha=0.25)
            axes.hlines(np.median(group), number - 0.3, number + 0.3, color=COLOR, linewidth=2, zorder=3)
        x = place + np.random.default_rng(0).uniform(-0.12, 0.12, len(place))  # so that equal ones can be told apart
        axes.set_xticks(range(len(order)), [str(value) for value in order])
    axes.scatter(x, mse, s=6, color=MUTED, linewidths=0, zorder=2)
    axes.scatter(x[best], mse[best], s=45, facecolors="none", edgecolors="black", zorder=4)


def plot_importance(importance: pd.DataFrame) -> Figure:
    """A bar for each hyperparameter, the most important on top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 0.35 * len(importance) + 0.9), facecolor="white", layout="constrained")
    axes = figure.subplots()
    labels = [name.removeprefix(MODEL) for name in importance["hyperparameter"]]
    axes.barh(labels, importance["importance"], color=COLOR, height=0.6)
    axes.invert_yaxis()
    axes.set_xlabel("share of the variance of MSE")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _parameters(study: Study) -> set[str]:
    """Keys that the study searches."""
    return {name for trial in study.get_trials(deepcopy=False) for name in trial.params}


if __name__ == "__main__":
    from avocado.utils.addresses import keep_password

    sys.exit(app.run("hyperparameters", hyperparameters, keep_password(sys.argv[1:])))
