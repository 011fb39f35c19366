"""`avocado sweep`: a search of hyperparameters on the training tracks of a fold, judged on validation tracks."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import avocado
from avocado.cli import app
from avocado.cli.arguments import SPACE
from avocado.config.overrides import as_typed, composed, read_arguments
from avocado.config.store import prepare_store
from avocado.config.training import hardware_of, plan, tracking_of
from avocado.config.values import as_list, build
from avocado.data.store import SignalStore
from avocado.errors import InputError
from avocado.runs.run import INCIDENTAL
from avocado.search.candidates import Candidates, costs
from avocado.search.space import Space, read_space
from avocado.search.storage import require_storage, storage_errors
from avocado.search.study import Report, SweepConfig, best_trials, open_study, search
from avocado.tracking.session import sync_command
from avocado.tracking.trials import TrialTracker
from avocado.training.stages import stage_named
from avocado.utils.addresses import hide_passwords

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig
    from optuna.trial import FrozenTrial, Trial

SEARCHED = ("model", "optimizer", "fit", "epochs")  # sections; other keys change what is measured
CARRYING_OUT = ("trials", "stale_after", "give_up_after")  # settings that a study may go on without
SHOWN = 10  # best trials at the end


def sweep(config: DictConfig, typed_space: Sequence[str], typed_keys: Sequence[str]) -> None:
    """Work on the study until enough trials are completed, then print the best.

    typed_space: `sweep.space.<key>=<value>`; typed_keys: those of train.py.
    """
    node = config.sweep
    values = {key: value for key, value in node.items() if key not in ("name", "storage", "train", "space")}
    settings = build(SweepConfig, values | {"objectives": tuple(as_list(node.objectives))}, "sweep")
    described = _described(node, typed_space)
    space = read_space(described)
    overrides = _common(node, typed_keys, space)
    train = composed("train", overrides)
    _require_choices(overrides, space)
    (step,) = _steps(train)
    if settings.prune and train.trainer.processes > 1:
        raise InputError("sweep.prune=true needs trials of a single process: set trainer.processes=1")
    if train.trainer.threads:
        torch.set_num_threads(train.trainer.threads)
    hardware_of(train)
    storage = storage_of(node.storage, train.runs, node.name)
    require_storage(storage)
    store = prepare_store(train)
    run = plan(train, store, step)
    same = _same(settings, described, asdict(run), store.tracks_checksum, store.region(run.region).n_bins)
    _make_place(Path(train.runs))
    candidates = Candidates(store, run.region, run.split)
    with storage_errors(storage):
        study = open_study(storage, node.name, settings, same, overrides)
        place = hide_passwords(storage)
        print(f"{node.name}: MSE on {len(candidates.val.columns)} validation tracks, {run.region}, {place}")
        tracker = _tracker(train, node.name, storage, store)
        judge = _judge(overrides, step, store, candidates, settings.objectives, tracker)
        with _progress(settings, train.trainer.progress) as (told, counted), _quiet(), _kept(tracker):
            search(study, space, settings, judge, told, counted)
        best = best_trials(study, SHOWN if len(settings.objectives) == 1 else None)
    if best.empty:
        print("no trial was completed")
        return
    title = "the best" if len(settings.objectives) == 1 else "the Pareto front: no trial is better in everything"
    print(f"\n{title}\n{format_trials(best)}\n")
    place = f" storage={shlex.quote(hide_passwords(node.storage))}" if node.storage else ""
    place += f" runs={shlex.quote(train.runs)}" if train.runs != "runs" and not node.storage else ""
    winner = {key: best[key].iloc[0] for key in space}
    app.say_next([
        (f"python -m experiments.hyperparameters name={node.name}{place}", "figures, and the winner as a config"),
        (train_command([*as_overrides(winner)], overrides), "the first of these, with a model and scores"),
    ])  # fmt: skip


def storage_of(storage: str | None, runs: str, name: str) -> str:
    """The database URL of a study: the one that is given, or a file below the folder of runs."""
    return storage or f"sqlite:///{Path(runs) / 'sweeps' / f'{name}.db'}"


def as_overrides(params: Mapping[str, Any]) -> list[str]:
    """Parameters of a trial as train.py takes them."""
    return read_arguments(as_typed(params))[0]


def train_command(chosen: Sequence[str], common: Sequence[str]) -> str:
    """How to train a model like a trial's; validation tracks, which have done their work, are trained on as well.

    chosen: overrides of the trial; common: those of all trials.
    """
    kept = [override for override in common if override.partition("=")[0] != "split.validation"]
    return " ".join(["python train.py", *map(shlex.quote, [*kept, *chosen])])


def format_trials(table: pd.DataFrame) -> str:
    """A table of trials as text, with the last parts of the keys."""
    short = {key: key.rpartition(".")[2] for key in map(str, table.columns)}
    if len(set(short.values())) < len(short):
        short = {}
    formats = {"mse": "{:.5f}".format, "seconds": "{:.0f}".format, "trial": "{:.0f}".format}
    shown = table.rename(columns=short)
    for name in shown.columns:
        if name in ("parameters", "flops"):
            shown[name] = shown[name].map("{:,.0f}".format)
    return shown.to_string(index=False, formatters=formats)  # type: ignore[arg-type]


def _described(node: DictConfig, typed: Sequence[str]) -> dict[str, Any]:
    """The space as plain values: that of the option, with what is typed added, replaced or, with null, taken out."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    space = OmegaConf.to_container(node.space)
    assert isinstance(space, dict)
    for argument in typed:
        key, _, value = argument.removeprefix(SPACE).partition("=")
        try:
            # of Hydra's notations of a text, a list and a mapping, the one that knows 1e-4 to be a number
            space[key] = _plain(OverridesParser.create().parse_override(f"it={value}").value())
        except HydraException:
            raise InputError(f"{argument}: expected a list, [64,128], or {{low:1,high:8}}, in quotes") from None
    found = {str(key): value for key, value in space.items() if value is not None}
    for key in found:
        if key.partition(".")[0] not in SEARCHED:
            raise InputError(
                f"{SPACE}{key} cannot be searched, as trials would not measure the same: keys of "
                f"{', '.join(SEARCHED)} can, such as model.nodes"
            )
    return found


def _plain(value: Any) -> Any:
    """What Hydra parsed, without its type of quoted texts."""
    from hydra.core.override_parser.types import QuotedString

    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(its) for its in value]
    return {_plain(key): _plain(its) for key, its in value.items()} if isinstance(value, dict) else value


def _common(node: DictConfig, typed: Sequence[str], space: Space) -> list[str]:
    """The arguments of train.py in every trial, each key once: stage=pilot, those of the option, those typed."""
    overrides, multirun = read_arguments(["stage=pilot", *as_list(node.train), *typed])
    if multirun:
        raise InputError("avocado sweep takes one value for each key; what is to vary goes to sweep.space.<key>")
    last = {override.partition("=")[0]: override for override in overrides}
    for key in last:
        if key in space:
            raise InputError(f"{key} is searched: to keep it fixed take it out of the search with {SPACE}{key}=null")
    return list(last.values())


def _require_choices(overrides: Sequence[str], space: Space) -> None:
    """Raise InputError for a choice that train.py does not have, now and not when a trial draws it."""
    choices = {key: getattr(its, "choices", None) or (its.low, its.high) for key, its in space.items()}  # type: ignore
    for number in range(max(map(len, choices.values()))):
        chosen = as_overrides({key: its[min(number, len(its) - 1)] for key, its in choices.items()})
        composed("train", [*overrides, *chosen])


def _steps(train: DictConfig) -> list[str]:
    """The one stage of a trial. Raises InputError for what a sweep cannot do."""
    steps = list(train.stage.steps)
    if len(steps) != 1 or stage_named(steps[0]).needs:
        raise InputError("a trial trains a single stage from the start: set stage=pilot, or stage=joint and chrom=")
    if train.imputer.name != "avocado" or train.imputer.models != 1:
        raise InputError("a sweep searches a single Avocado model: leave imputer= out")
    if train.launcher.name != "basic":
        raise InputError("a sweep is shared by typing it several times, on any machine: leave launcher= out")
    if train.overwrite or not train.resume:
        raise InputError("a sweep goes on with its study: to begin afresh, choose another sweep.name=")
    return steps


def _same(
    settings: SweepConfig, space: Mapping[str, Any], run: dict[str, Any], checksum: str, n_bins: int
) -> dict[str, Any]:
    """What all trials of a study have in common, flat: with anything else they could not be compared."""
    searched = [*space, *(["fit.epochs"] if any(key.startswith("epochs.") for key in space) else [])]
    flat = {f"sweep.{key}": value for key, value in asdict(settings).items() if key not in CARRYING_OUT}
    flat |= {f"{SPACE}{key}": value for key, value in space.items()}
    for section, value in run.items():
        inner = value if isinstance(value, dict) else {"": value}
        for name, its in inner.items():
            key = f"{section}.{name}".rstrip(".")
            of_search = any(key == found or key.startswith(f"{found}.") for found in searched)
            if not of_search and not (section == "fit" and name in INCIDENTAL):
                flat[key] = list(its) if isinstance(its, tuple) else its
    return flat | {"signal": f"{n_bins} bins, tracks {checksum}", "avocado": avocado.__version__}


def _judge(
    overrides: Sequence[str],
    step: str,
    store: SignalStore,
    candidates: Candidates,
    objectives: Sequence[str],
    tracker: TrialTracker | None,
) -> Callable[[Trial, Report | None], list[float]]:
    """What trains one trial's model and says its objectives."""

    def judge(trial: Trial, report: Report | None) -> list[float]:
        config = composed("train", [*overrides, *as_overrides(trial.params)])
        run = plan(config, store, step)
        n_blocks, n_tracks = store.region(run.region).n_blocks, len(candidates.train.columns)
        cost = costs(run.model, len(store.cells), len(store.assays), n_tracks, n_blocks)
        hardware = hardware_of(config, step)
        if tracker is None:
            mse = candidates.mse(run, hardware, report)
        else:
            with tracker.trial(trial, run, OmegaConf.to_container(config, resolve=True)):  # type: ignore[arg-type]
                tracker.log_costs(cost)
                mse = candidates.mse(run, hardware, report, tracker)
                tracker.summarise({"val/mse": mse})
        return [mse if name == "mse" else float(cost[name]) for name in objectives]

    return judge


def _tracker(train: DictConfig, name: str, storage: str, store: SignalStore) -> TrialTracker | None:
    """What tells W&B of the trials, where logger= asks for it."""
    tracking = tracking_of(train)
    if tracking.mode == "disabled":
        return None
    return TrialTracker(tracking, name, storage, store, Path(train.runs) / "sweeps" / name)


@contextmanager
def _kept(tracker: TrialTracker | None) -> Iterator[None]:
    """In the end, also after Ctrl-C, the command that uploads what could not be uploaded before."""
    try:
        yield
    finally:
        if tracker is not None and tracker.kept:
            print(f"W&B: kept on disk; to upload the trials: {sync_command(tracker.kept)}")


def _make_place(runs: Path) -> None:
    """The folder of the studies."""
    try:
        (runs / "sweeps").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write {runs / 'sweeps'}: {error.strerror}; choose another place with runs=..."
        ) from None


@contextmanager
def _progress(
    settings: SweepConfig, shown: bool
) -> Iterator[tuple[Callable[[FrozenTrial], None], Callable[[int], None]]]:
    """A bar of judged trials, and a line for each trial that this worker ends."""
    columns = (TextColumn("trials"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("trials", total=settings.trials)

        def told(trial: FrozenTrial) -> None:
            print(_line(trial, settings.objectives), flush=True)

        yield told, lambda done: bar.update(task, completed=done)


def _line(trial: FrozenTrial, objectives: Sequence[str]) -> str:
    if trial.state.name == "COMPLETE":
        outcome = "  ".join(
            f"MSE {value:.5f}" if name == "mse" else f"{name} {value:,.0f}"
            for name, value in zip(objectives, trial.values, strict=True)
        )
    elif trial.state.name == "PRUNED":
        outcome = f"pruned after epoch {trial.last_step}"
    else:
        outcome = f"failed: {trial.user_attrs['failure']}"
    params = " ".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in trial.params.items())
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    return f"trial {trial.number:>4}  {params}  {seconds:.0f} s  {outcome}"


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines that each training logs."""
    logger = logging.getLogger("avocado.training.loop")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
