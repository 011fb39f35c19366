"""`avocado genome`: the pilot regions, every chromosome, a check, and the tracks that were never measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.cli import app, launcher
from avocado.cli.arguments import GENOME
from avocado.cli.impute import MOVE, decimals_of, missing_of, pairs_of, write
from avocado.cli.inspect_model import lacking, model_at
from avocado.cli.train import train
from avocado.config.overrides import as_typed, composed, read_arguments
from avocado.config.store import prepare_store
from avocado.config.training import hardware_of, plan, tracking_of
from avocado.config.values import as_list
from avocado.data.compendium import Pair
from avocado.data.store import SignalStore
from avocado.errors import InputError
from avocado.inference.impute import BIGWIG
from avocado.inference.track_files import track_file
from avocado.model.directory import Model, load_model
from avocado.runs.run import RunSpec, state
from avocado.utils.files import remove_leftovers
from avocado.utils.provenance import require_source

if TYPE_CHECKING:
    from omegaconf import DictConfig

DECIDED = {"stage": "the stages are those of a whole genome", "chrom": "give chroms=", "imputer": "leave it out"}
SMALL = ("trainer.processes=1",)  # a chromosome is trained by one process; trainer=ddp is for the pilot regions


@dataclass(frozen=True)
class Work:
    """All that there is to do, and where."""

    train: DictConfig
    store: SignalStore
    pilot: RunSpec
    chroms: dict[str, RunSpec]
    files: dict[Pair, Path]  # bigWig files, by cell and assay
    decimals: int | None  # that their values are rounded to

    @property
    def model(self) -> Path:
        """The model directory."""
        return self.pilot.model_directory(Path(self.train.runs))

    def states(self) -> dict[str, str]:
        """What is done of each training run: done, begun, to do; the pilot regions first."""
        if self.train.overwrite:
            return dict.fromkeys(["pilot", *self.chroms], "to do")
        runs = Path(self.train.runs)
        pilot = state(self.pilot, self.store, runs)
        states = {name: state(run, self.store, runs) for name, run in self.chroms.items()}
        return {"pilot": pilot, **states}

    def missing(self, model: Model | None) -> dict[Pair, Path]:
        """The files that are not there yet, or were made by this model as it was, or lack some of its chromosomes.

        Raises InputError for one that anything else made.
        """
        if model is None:
            return dict(self.files)
        is_missing = missing_of(model, self.files, self.regions(model), self.decimals)
        return {pair: path for pair, path in self.files.items() if is_missing(path)}

    def regions(self, model: Model) -> list[str]:
        """What the files hold: all chromosomes of the model."""
        return [name for name in model.regions if name in model.assembly.sizes]


def genome(config: DictConfig, typed: Sequence[str]) -> None:
    """Do what is missing of a whole genome. typed: keys of train.py."""
    overrides = _overrides(typed)
    train_config = composed("train", overrides)
    work = _work(config, train_config)
    if work is None:
        return
    states = work.states()
    _say_plan(config, work, states)
    if config.dry:
        return
    launched = train_config.launcher.name
    step = partial(train, advice=False)
    if states["pilot"] != "done":
        # alone on this machine, it has all cores
        its = _without("launcher", overrides) if launched == "joblib" else overrides
        app.carry_out("train", step, ["stage=pilot", *its])
        states = work.states()
    missing = [name for name, its in states.items() if its != "done" and name != "pilot"]
    if missing:
        several = ["-m"] if len(missing) > 1 else []
        app.carry_out("train", step, [*several, "stage=genome", f"chrom={','.join(missing)}", *overrides, *SMALL])
    model = _complete(work)
    if not config.impute:
        print(f"model {work.model} is complete; bigWig files: the same command with impute=true")
        return
    if launched == "slurm" and work.missing(model):
        # the same command as a job, in which there is only this left to do
        own = as_typed({str(key): its for key, its in config.items() if key in GENOME and its is not False})
        again = [*own, *_without("launcher", _without("overwrite", overrides))]
        command = launcher.Command("imputation", "genome,imputation", ("genome", *again))
        launcher.launch([command], train_config, "genome", [])
    else:
        _impute(work, model)
    left = work.missing(model)
    if left:
        raise InputError(f"{len(left)} files are still missing, such as {next(iter(left.values()))}: try again")
    folder = f", {len(work.files)} bigWig files in {next(iter(work.files.values())).parent}" if work.files else ""
    print(f"\ncomplete: model {work.model}{folder}")
    app.say_next([
        (app.typed("hub", f"model={work.model}"), "imputed and observed tracks in a genome browser"),
        (app.typed("embed", f"model={work.model}", "regions=places.bed", "out=factors.parquet"), "factors of places"),
    ])  # fmt: skip


def _overrides(typed: Sequence[str]) -> list[str]:
    """The arguments of train.py in every step, each key once. Raises InputError for what this command decides."""
    overrides, multirun = read_arguments(["fold=all", *typed])
    last = {override.partition("=")[0]: override for override in overrides}
    for key in last:
        if key in DECIDED:
            raise InputError(f"{key}= is not for avocado genome: {DECIDED[key]}")
    if multirun:
        raise InputError("avocado genome trains one model: give one value for each key, and chroms= for chromosomes")
    return list(last.values())


def _work(config: DictConfig, train: DictConfig) -> Work | None:
    """What there is to do. None where there is no store yet and it is not to be made."""
    hardware_of(train)
    tracking_of(train)
    if config.dry and not (Path(train.store) / "store.json").is_file() and train.store == train.data.store:
        print(f"store {train.store} is made first; then all is to do")
        return None
    store = prepare_store(train)
    if "pilot" not in store.regions:
        raise InputError(f"store {store.path} has no pilot regions, which the network learns from: ingest them as well")
    pilot, chroms = plan(train, store, "pilot"), {}
    for name in _chromosomes(config, store):
        train.chrom = name
        chroms[name] = plan(train, store, "genome")
    model = pilot.model_directory(Path(train.runs))
    folder = model.parent.parent.parent / "imputed" / model.parent.name / model.name
    pattern = config.out or f"{folder}/{{cell}}-{{assay}}.bw"
    pairs = pairs_of(config.pairs, store, pilot.split.roles(store)) if config.impute else []
    if Path(pattern).suffix not in BIGWIG:
        raise InputError(f"out={pattern}: the files are bigWig files; name them {{cell}}-{{assay}}.bw")
    files = {pair: track_file(pattern, *pair) for pair in pairs}
    if len(set(files.values())) < len(files):
        raise InputError(f"out={pattern}: {len(files)} tracks need {{cell}} and {{assay}} in the name")
    for path in files.values():
        require_source(path, model, MOVE)
    for place in {path.parent for path in files.values()}:
        remove_leftovers(place)
    return Work(train, store, pilot, chroms, files, decimals_of(config))


def _chromosomes(config: DictConfig, store: SignalStore) -> list[str]:
    known = [name for name in store.assembly.sizes if name in store.regions]
    asked = as_list(config.chroms, known) or known
    if not asked:
        raise InputError(f"store {store.path} has no chromosome: repeat avocado ingest with regions=pilot,autosomes")
    for name in asked:
        if name not in known:
            raise InputError(
                f"unknown chromosome '{name}' in chroms; store {store.path} has: {', '.join(known) or 'none'}; "
                "to add one, repeat avocado ingest with it in regions="
            )
    return [name for name in known if name in asked]


def _say_plan(config: DictConfig, work: Work, states: dict[str, str]) -> None:
    """A table of the steps, the regions and what is done."""
    words = {"begun": "begun: goes on from its checkpoint"}
    rows = [("pilot" if name == "pilot" else "genome", name, words.get(its, its)) for name, its in states.items()]
    if config.impute:
        trained = set(states.values()) == {"done"}
        missing = work.missing(model_at(work.model)) if trained else work.files
        there = len(work.files) - len(missing)
        state = "done" if not missing else f"{there} of {len(work.files)} files done" if there else "to do"
        rows.append(("impute", f"{len(work.files)} tracks", state))
    print(f"store {work.store.path}, model {work.model}\n\n  {'step':<8}{'region':<14}state")
    print("\n".join(f"  {step:<8}{region:<14}{its}" for step, region, its in rows) + "\n", flush=True)


def _complete(work: Work) -> Model:
    """The model. Raises InputError that says what it lacks."""
    problems = lacking(work.model, list(work.chroms))
    if problems:
        raise InputError(f"model {work.model} is not complete: {'; '.join(problems)}: the same command trains it")
    return load_model(work.model, work.store)


def _impute(work: Work, model: Model) -> None:
    missing, regions = work.missing(model), work.regions(model)
    if missing:
        trainer = work.train.trainer
        write(
            model, missing, regions, "pval", hardware_of(work.train), trainer.progress, trainer.threads,
            work.decimals, missing_of(model, missing, regions, work.decimals),
        )  # fmt: skip


def _without(name: str, overrides: Sequence[str]) -> list[str]:
    """The overrides without a key, or a group and its keys."""
    return [text for text in overrides if not text.startswith((f"{name}=", f"{name}."))]
