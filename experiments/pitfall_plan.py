"""What `experiments.pitfall` trains: its settings, the tasks with their inputs, and the jobs of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from avocado.config.values import as_list, build
from avocado.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig

    from avocado.generalization.effort import Rate
    from avocado.generalization.inputs import Inputs
    from avocado.generalization.models import NetworkSettings
    from avocado.generalization.study import Design, Job, Study
    from avocado.generalization.tasks import Task

# what the promoter states have expression of, in the order of the first published result
STATE_CELLS = ("E116", "E037", "E038", "E047", "E062", "E065")
TEST_CHROMS = (("chr1", "chr2", "chr3", "chr20"), ("chr4", "chr5", "chr6", "chr21"))
VALIDATION_CHROMS = ("chr7", "chr8", "chr22")
TASKS = ("states", "expression", "tads", "marks", "tracks")
LISTS = ("targets", "tasks")  # keys that may be null
TADS_TARGET = "H1_ESC_Dixon2015"
SMALL_HOURS = 0.02
STRANGERS = 12  # every so many-th training cell type validates
SIMULATED = (
    "chromosomes={" + ",".join(f"chr{number}:1500000" for number in range(1, 9)) + "}",
    "cells=6",
    "measured=1",
)
MISSING = {
    "RNA-seq and marks of 56 epigenomes at full scale": "promoter states of 6 of them, and what follows, stand for it",
    "ENCODE-DREAM (Fig. S3)": "its labels and submissions are not public without an account",
    "epigenomes at TAD boundaries": "only what is constant is tried there",
}


@dataclass
class Settings:
    """The keys of `conf/pitfall.yaml`."""

    labels: str | None
    store: str | None
    fasta: str | None
    sequence: int | None
    targets: list[str]
    trees: list[int]
    layers: list[int]
    widths: list[int]
    tasks: list[str]
    hours: float
    seeds: int
    small: bool
    out: str
    cache: str
    threads: int
    device: str
    progress: bool


class Part(NamedTuple):
    """A task of the study with its jobs; the first design is that of the figures."""

    study: Study
    designs: list[Design]
    jobs: list[Job]
    remedies: list[Job]
    seconds: float  # that its networks are expected to take


def read_settings(config: DictConfig) -> Settings:
    """What a config asks for; with small=true fewer, smaller models, whose trend is already that of the large ones."""
    from omegaconf import OmegaConf

    node = OmegaConf.to_container(config, resolve=True)
    assert isinstance(node, dict)
    keys = {str(key): value for key, value in node.items()} | {name: as_list(config[name]) for name in LISTS}
    settings = build(Settings, keys, "pitfall")
    check_settings(settings)
    if not settings.small:
        return settings
    hours = min(settings.hours, SMALL_HOURS)
    return replace(settings, trees=settings.trees[:7], layers=[1], widths=[2, 32, 256], seeds=1, hours=hours)


def check_settings(settings: Settings) -> None:
    """Raises InputError for values that make no sense."""
    if unknown := [its for its in settings.tasks if its not in TASKS]:
        raise InputError(f"tasks={unknown[0]}: there is {', '.join(TASKS)}")
    for name in ("trees", "layers", "widths"):
        values = getattr(settings, name)
        if not values or min(values) < 1:
            raise InputError(f"{name}={values}: expected whole numbers from 1 on")
    for name in ("seeds", "threads", "hours"):
        if getattr(settings, name) <= 0:
            raise InputError(f"{name}={getattr(settings, name)}: expected more than 0")


def plan(settings: Settings) -> list[Part]:
    """The tasks with all that is to be trained; raises InputError for labels that are not there."""
    from avocado.data.store import open_store
    from avocado.generalization.tasks import HIGH, expression_task, simulated_task, tads_task
    from experiments.pitfall_tracks import MARKS_FILE, marks_task, track_inputs, with_tracks

    labels = settings.labels
    if labels is None:
        if not settings.small:
            raise InputError("give the folder of the labels as labels=, or small=true for a simulated genome")
        task = simulated_task()
        return [
            _with_epigenome(settings, task, settings.targets or task.cells[:1], TEST_CHROMS[:1]),
            _simulated_tracks(settings),
        ]
    asked = settings.tasks or list(TASKS)
    settings = replace(settings, hours=settings.hours / max(1, len({*asked} - {"marks", "tracks"})))
    chosen = TEST_CHROMS[:1] if settings.small else TEST_CHROMS
    targets = settings.targets or (STATE_CELLS[:1] if settings.small else STATE_CELLS)
    parts, expression = [], expression_task(labels)
    if "states" in asked:
        parts.append(_with_epigenome(settings, expression.of(STATE_CELLS), targets, chosen))
    if "expression" in asked:
        parts.append(_constant_only(settings, replace(expression, name="expression of H1"), "E003"))
    if "tads" in asked:
        parts.append(_constant_only(settings, tads_task(labels), TADS_TARGET))
    if "marks" in asked and ((Path(labels) / MARKS_FILE).is_file() or settings.tasks):
        task, marks = marks_task(labels, HIGH)
        parts.append(_few_genes(settings, task, marks, ["E003"], TEST_CHROMS[0]))
    if "tracks" in asked and (settings.store or settings.tasks):
        if settings.store is None:
            raise InputError("tasks=tracks: give a signal store, which `avocado ingest` makes, as store=")
        store = open_store(settings.store)
        task = replace(with_tracks(expression, store), name="expression, tracks")
        chroms = tuple(chrom for its in TEST_CHROMS for chrom in its if chrom in set(task.chrom))
        parts.append(_few_genes(settings, task, track_inputs(task, store), task.cells, chroms))
    return parts


def missing(settings: Settings, parts: Sequence[Part]) -> dict[str, str]:
    """What the paper has, and these results do not."""
    found, names = dict(MISSING), {part.study.task.name for part in parts}
    if not settings.fasta:
        found["nucleotide sequence"] = "unless fasta= has the genome; a made-up sequence stands for the permuted one"
    if "expression, five marks" not in names:
        found["five marks"] = "not asked for, or not among the labels"
    if "expression, tracks" not in names:
        found["tracks of a store"] = "unless store= has one"
    return found


def _simulated_tracks(settings: Settings) -> Part:
    """A simulated compendium with all marks of all cell types, and the sequence of a made genome from its FASTA."""
    import numpy as np

    from avocado.data.store import open_store
    from avocado.generalization.tasks import table_task
    from avocado.simulation.genome import write_fasta
    from experiments.compendia import simulated
    from experiments.pitfall_tracks import track_inputs, with_tracks

    compendium = simulated(SIMULATED, Path(settings.out) / "compendia", progress=settings.progress)
    store = open_store(compendium.data["store"])
    task = with_tracks(table_task("simulated tracks", compendium.folder / "expression.tsv"), store)
    fasta = compendium.folder.parent / "genome.fa"
    if not fasta.is_file():
        chosen = {chrom: task.chrom == chrom for chrom in store.assembly.sizes}
        starts = {chrom: task.loci["anchor"].to_numpy()[its] for chrom, its in chosen.items()}
        active = {chrom: np.asarray(task.label[its].mean(axis=1)) for chrom, its in chosen.items()}
        write_fasta(fasta, store.assembly.sizes, starts, active)
    settings = replace(settings, sequence=settings.sequence or 200, fasta=str(fasta))
    return _few_genes(settings, task, track_inputs(task, store), task.cells[:1], TEST_CHROMS[0][:3])


def _few_genes(
    settings: Settings, task: Task, epigenome: Inputs, targets: Sequence[str], chroms: tuple[str, ...]
) -> Part:
    """Trees on every target: a few hundred genes are too few for networks."""
    from avocado.generalization.models import TreeSettings
    from avocado.generalization.study import Design, Study, tree_jobs

    constants = _constants(settings, task)
    chosen = [epigenome, *constants, *(epigenome + its for its in constants[: 2 if settings.fasta else 1])]
    study = Study(task, {its.name: its for its in chosen}, Path(settings.cache), settings.threads, settings.device)
    designs = [Design(target, chroms, tuple(cell for cell in task.cells if cell != target)) for target in targets]
    seeds, names = range(settings.seeds), list(study.inputs)
    jobs = [job for its in designs for job in tree_jobs(its, names, settings.trees, TreeSettings(), seeds)]
    return Part(study, designs, jobs, [], 0.0)


def announcement(settings: Settings, parts: Sequence[Part]) -> str:
    """What the measured speed of this machine allows, said before anything is trained."""
    from avocado.generalization.models import NetworkSettings

    if not any(part.seconds for part in parts):
        return "no networks"
    lines = [f"networks on {settings.threads} thread(s), {settings.device}: {_rate(settings)}"]
    for part in parts:
        sizes = [
            job.settings.parameters(part.study.inputs[job.inputs].n_features)
            for job in part.jobs
            if isinstance(job.settings, NetworkSettings)
        ]
        fit = f"{len(sizes)} of {min(sizes):,} to {max(sizes):,} parameters" if sizes else "trees alone"
        lines.append(f"  {part.study.task.name}: {fit}, some {part.seconds / 60:.1f} min; hours= allows more")
    return "\n".join(lines)


def _rate(settings: Settings) -> Rate:
    from avocado.generalization.effort import measured_rate

    return measured_rate(Path(settings.cache), settings.threads, settings.device)


def _sizes(settings: Settings) -> list[NetworkSettings]:
    from avocado.generalization.models import NetworkSettings

    grid = [NetworkSettings(layers, width) for layers in settings.layers for width in settings.widths]
    return [NetworkSettings(0, 0), *grid]


def _with_epigenome(settings: Settings, task: Task, targets: Sequence[str], chroms: Sequence[tuple[str, ...]]) -> Part:
    """Trees on every target and test set, networks on the first, remedies on every target."""
    from avocado.generalization.inputs import state_inputs
    from avocado.generalization.models import TreeSettings
    from avocado.generalization.study import DIFFERENCE, FEATURE, Design, Job, Study, tree_jobs
    from avocado.generalization.verdict import Scheme

    epigenome, constants = state_inputs(task), _constants(settings, task)
    both = [epigenome + its for its in constants[: 2 if settings.fasta else 1]]
    inputs = {its.name: its for its in (epigenome, *constants, *both)}
    study = Study(task, inputs, Path(settings.cache), settings.threads, settings.device)
    # every target on the first chromosomes, and the first target on the others
    tested = [*((target, chroms[0]) for target in targets), *((targets[0], its) for its in chroms[1:])]
    designs = [Design(target, its, tuple(cell for cell in task.cells if cell != target)) for target, its in tested]
    trees, names = TreeSettings(), [its for its in inputs if settings.fasta or its != constants[1].name]
    jobs = [job for design in designs for job in tree_jobs(design, names, settings.trees, trees, [0])]
    first = designs[0]
    stopped = replace(first, validation_chroms=VALIDATION_CHROMS, validation_cells=first.training_cells[-1:])
    seeds, time_given = range(settings.seeds), 3600 * settings.hours
    networks, seconds = study.networks(stopped, names, _sizes(settings), seeds, time_given, _rate(settings))
    remedies = [
        Job(design, scheme, name, trees, (100,), remedy)
        for design in designs[: len(targets)] for scheme in (Scheme.CROSS_CELL_TYPE, Scheme.HYBRID)
        for name in names for remedy in (FEATURE, DIFFERENCE)
    ]  # fmt: skip
    return Part(study, designs, jobs + networks, remedies, seconds)


def _constant_only(settings: Settings, task: Task, target: str) -> Part:
    """Trees on what is the same in all cell types, networks on the noise: without an epigenome all cell types train."""
    from avocado.generalization.models import TreeSettings
    from avocado.generalization.study import Design, Study, tree_jobs

    inputs = {its.name: its for its in _constants(settings, task)}
    study = Study(task, inputs, Path(settings.cache), settings.threads, settings.device)
    others = tuple(cell for cell in task.cells if cell != target)
    design, seeds = Design(target, TEST_CHROMS[0], others), range(settings.seeds)
    stopped = replace(design, validation_chroms=VALIDATION_CHROMS, validation_cells=others[::STRANGERS])
    jobs = tree_jobs(design, list(inputs), settings.trees, TreeSettings(), seeds)
    # a made-up sequence is as good as noise
    names, time_given = list(inputs) if settings.fasta else list(inputs)[:1], 3600 * settings.hours
    networks, seconds = study.networks(stopped, names, _sizes(settings), seeds, time_given, _rate(settings))
    return Part(study, [design], jobs + networks, [], seconds)


def _constants(settings: Settings, task: Task) -> list[Inputs]:
    from avocado.generalization.inputs import gaussian_inputs, permuted, sequence_inputs

    length = settings.sequence or (1000 if settings.fasta else 25)
    found = sequence_inputs(task, length, settings.fasta)
    return [gaussian_inputs(task, 0), found, *([permuted(found, 0)] if settings.fasta else [])]
