"""`avocado train` and `python train.py`: signal store -> model, scores, pictures, and on the demo an end-to-end run."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from omegaconf import OmegaConf

from avocado.cli import app
from avocado.cli.impute import missing_of, write
from avocado.cli.transfer import transfer
from avocado.config.imputers import build_imputer, imputer_settings
from avocado.config.store import prepare_store
from avocado.config.training import hardware_of, plan, region_of, split_of, tracking_of
from avocado.data.compendium import pairs_in
from avocado.data.genome import file_stem
from avocado.data.store import SignalStore, open_store
from avocado.errors import InputError
from avocado.evaluation.scores import format_scores
from avocado.inference.impute import DECIMALS, regions_to_impute
from avocado.inference.track_files import track_file
from avocado.model.directory import load_model, own_store_of
from avocado.plotting.held_out import LINEAGE
from avocado.runs import run as runs
from avocado.runs.baselines import Baseline, region_of_fit, score_baseline
from avocado.runs.run import RunResult, RunSpec, state
from avocado.tracking.runs import tracked
from avocado.training.stages import STAGES, stage_named
from avocado.utils.terminal import terminal_width

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(config: DictConfig, advice: bool = True) -> None:
    """Carry out the stages of the config in turn. advice: say in the end where things lie and what is next."""
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
        os.environ["OMP_NUM_THREADS"] = str(config.trainer.threads)  # of further processes
    hardware_of(config)  # says what is wrong with it, before any work
    tracking_of(config)
    steps = list(config.stage.steps)
    if not steps or not set(steps) <= set(STAGES):
        raise InputError(f"stage.steps={steps}: give some of {', '.join(STAGES)}")
    if "transfer" in steps:
        if len(steps) > 1:
            raise InputError("stage=transfer goes alone: it adds to a model that is there")
        transfer(config)
        return
    if config.source is not None and steps != ["genome"]:
        raise InputError("model=DIRECTORY goes with stage=transfer, or with stage=genome, which completes that model")
    store = _store_of_source(config) or prepare_store(config)
    if config.color_by not in (LINEAGE, *store.tracks):
        raise InputError(
            f"color_by={config.color_by}: the table of {store.path} has the columns {', '.join(map(str, store.tracks))}"
        )
    if config.imputer.name != "avocado" or config.imputer.models != 1:
        _score_imputer(config, store, steps)
        return
    needed = stage_named(steps[0]).needs
    if needed and config.source is None:
        before = plan(config, store, needed)
        if not (before.model_directory(Path(config.runs)) / "model.yaml").is_file():
            print(f"no {needed} model for fold {config.fold} and seed {config.seed} yet: training it first")
            steps.insert(0, needed)
    outcome = None
    for run in [plan(config, store, step) for step in steps]:  # all of them checked before the first one starts
        outcome = _carry_out(config, run, store)
        what = run.stage if run.region == run.stage else f"{run.stage} {run.region}"
        print(f"{what}: {'done before' if outcome.was_done else 'done'}, {outcome.directory}")
        if outcome.scores is None:
            print("no track is held out, so there is nothing to score: training error says nothing about imputation")
        else:
            print(format_scores(outcome.scores, color=sys.stdout.isatty(), width=terminal_width()))
    assert outcome is not None
    imputed = _impute_held_out(config, outcome, store) if config.stage.impute and outcome.scores is not None else None
    if advice:
        _say_what_is_next(config, outcome, store, imputed)


def _store_of_source(config: DictConfig) -> SignalStore | None:
    """The store of the model to be completed, where no other one is asked for."""
    if config.source is None or config.store != config.data.store:
        return None
    return own_store_of(load_model(config.source, only_whole=True))


def _carry_out(config: DictConfig, run: RunSpec, store: SignalStore) -> RunResult:
    # what every run of the command shares; the run knows its own stage, region, fold and seed
    settings = OmegaConf.to_container(config, resolve=True)
    fresh = config.overwrite or not config.resume
    folder = Path(config.runs)
    with tracked(tracking_of(config), run, store, folder, settings, fresh=fresh) as tracker:  # type: ignore[arg-type]
        outcome = runs.train(
            run,
            store,
            folder,
            resume=config.resume,
            overwrite=config.overwrite,
            hardware=hardware_of(config, run.stage),
            progress=config.trainer.progress,
            logger=tracker or False,
            color_by=str(config.color_by),
        )
        if tracker is not None:
            tracker.report(outcome)
    return outcome


def _impute_held_out(config: DictConfig, outcome: RunResult, store: SignalStore) -> Path:
    model = load_model(outcome.model, store)
    folder = outcome.model.parent.parent.parent / "imputed" / outcome.model.parent.name / outcome.model.name
    files = {pair: track_file(f"{folder}/{{cell}}-{{assay}}.bw", *pair) for pair in pairs_in(model.tracks, "test")}
    regions = regions_to_impute(model)
    write(
        model, files, regions, "pval", hardware_of(config), config.trainer.progress, None, DECIMALS,
        missing_of(model, files, regions, DECIMALS),
    )  # fmt: skip
    return folder


def _score_imputer(config: DictConfig, store: SignalStore, steps: Sequence[str]) -> None:
    """Fit any other imputer and score it on the region of each stage; it leaves scores and pictures, and no model."""
    # a model of a chromosome needs pilot regions, other imputers do without
    needed = [step for step in steps if step != "pilot" or len(steps) == 1 or "pilot" in store.regions]
    regions = list(dict.fromkeys(region_of(config, store, step) for step in needed))
    imputer = build_imputer(config, region_of_fit(store, regions[-1]))
    name = config.imputer.name
    baseline = Baseline(name, imputer_settings(config, imputer), split_of(config), config.seed)
    if tracking_of(config).mode != "disabled":
        print(f"imputer={name} has no curves to log: its scores are in scores.csv")
    outcomes = score_baseline(
        baseline, lambda: imputer, store, regions, Path(config.runs),
        write=config.stage.impute, overwrite=config.overwrite,
    )  # fmt: skip
    for outcome in outcomes:
        print(f"{name} {outcome.region}: {'done before' if outcome.was_done else 'done'}, {outcome.directory}")
        print(format_scores(outcome.scores, color=sys.stdout.isatty(), width=terminal_width()))
    last = outcomes[-1]
    print(f"\npicture  {last.directory / 'tracks.png'}\nscores   {last.directory / 'scores.csv'}")
    if last.imputed is not None:
        print(f"bigWig   {last.imputed}  (held-out tracks)")
    if _lacks_pairs(store):
        place = shlex.quote(f"store={store.path}")
        app.say_next([(f"avocado impute imputer={name} {place}", "every pair that was never measured")])


def _say_what_is_next(config: DictConfig, outcome: RunResult, store: SignalStore, imputed: Path | None) -> None:
    print(f"\nmodel    {outcome.model}")
    if outcome.scores is not None:
        report = outcome.directory / "report.html"
        if report.is_file():  # runs of earlier versions have none
            print(f"report   {report}  (all of it on one page: open it in a browser)")
        print(f"picture  {outcome.directory / 'tracks.png'}")
        print(f"scores   {outcome.directory / 'scores.csv'}")
    if imputed is not None:
        print(f"bigWig   {imputed}  (held-out tracks)")
    steps = []
    if _lacks_pairs(store):
        steps.append((f"avocado impute {shlex.quote(f'model={outcome.model}')}", "every pair that was never measured"))
    genes = Path(f"{config.data.simulate}/genes.gtf.gz")
    known = f" {shlex.quote(f'genes={genes}')}" if genes.is_file() else ""
    hub = f"avocado hub {shlex.quote(f'model={outcome.model}')}{known}"
    steps.append((hub, "imputed and observed tracks in genome browsers"))
    place = shlex.quote(f"path={outcome.model}")
    steps.append((f"avocado inspect {place}", "what the model holds, and what it lacks"))
    done = outcome.directory.parent.parent.name
    others = [name for name in store.regions if file_stem(name) not in ("pilot", done)]
    same = {"store": (config.store, config.data.store), "runs": (config.runs, "runs"), "fold": (config.fold, 0)}
    keys = "".join(f" {shlex.quote(f'{key}={value}')}" for key, (value, default) in same.items() if value != default)
    if others:
        chrom = shlex.quote("chrom=" + ",".join(others[:3]))
        steps.append((f"avocado train -m stage=genome {chrom}{keys}", "further chromosomes"))
    if config.data.simulate is not None and config.store == config.data.store:
        steps.append(("avocado ingest --help", "your own bigWig files"))
    app.say_next(steps)


def _lacks_pairs(store: SignalStore) -> bool:
    return len(store.tracks) < len(store.cells) * len(store.assays)


def is_done(config: DictConfig) -> bool:
    """Whether all runs of the config are done, which a launched command asks before it queues anything."""
    if (
        config.source is not None
        or config.overwrite
        or config.stage.impute
        or config.imputer.name != "avocado"
        or config.imputer.models != 1
    ):
        return False
    if not (Path(config.store) / "store.json").is_file():
        return False
    store = open_store(config.store)
    return all(state(plan(config, store, step), store, Path(config.runs)) == "done" for step in config.stage.steps)
