"""Evaluation across cell types rewards memorising places (Schreiber et al. 2020, "A pitfall", Fig. 1, S1, S2, S4, S5).

    python -m experiments.pitfall small=true                # a simulated genome, less than three minutes
    python -m experiments.pitfall labels=labels             # expression of 56 epigenomes, TAD boundaries of 37

Boosted trees and networks of growing size are trained under three schemes, on what differs between cell types and on
what does not, and compared with average activity. What is done is not repeated. In the folder `out`:

    models.csv        every model: scheme, inputs, size, average precision, balanced skill
    baselines.csv     average activity, nearest cell type and base rate of every test set
    groups.csv        average precision by the number of training cell types in which a locus is 1
    cell_types.csv    single cell types as the predictor
    remedies.csv      average activity as a feature, and the difference from it
    *.png, report.html
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import avocado  # noqa: F401  before torch, whose threads it has settings for
from avocado.cli import app
from avocado.config.values import as_list, build
from avocado.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from avocado.generalization.check import SplitCheck
    from avocado.generalization.effort import Rate
    from avocado.generalization.inputs import Inputs
    from avocado.generalization.models import NetworkSettings
    from avocado.generalization.study import Design, Job, Study
    from avocado.generalization.tasks import Task
    from avocado.report.report import Report

# what the promoter states have expression of, in the order of the first published result
STATE_CELLS = ("E116", "E037", "E038", "E047", "E062", "E065")
TEST_CHROMS = (("chr1", "chr2", "chr3", "chr20"), ("chr4", "chr5", "chr6", "chr21"))
VALIDATION_CHROMS = ("chr7", "chr8", "chr22")
TASKS = ("states", "expression", "tads")
LISTS = ("targets", "tasks")  # keys that may be null
TADS_TARGET = "H1_ESC_Dixon2015"
STRANGERS = 12  # every so many-th training cell type validates
MISSING = {
    "nucleotide sequence": "unless a FASTA is given; a made-up sequence stands for the permuted one",
    "RNA-seq and marks of 56 epigenomes": "promoter states of 6 of them stand for the signal",
    "ENCODE-DREAM (Fig. S3)": "its labels and submissions are not public without an account",
    "epigenomes at TAD boundaries": "only what is constant is tried there",
}


@dataclass
class Settings:
    """The keys of `conf/pitfall.yaml`."""

    labels: str | None
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


def pitfall(config: DictConfig) -> None:
    """Train what is missing, then write tables, figures and the report."""
    import pandas as pd
    import torch

    from avocado.report.report import write_report
    from experiments.cross_validation import save

    torch.set_num_threads(config.threads)
    settings = read_settings(config)
    parts, out = plan(settings), Path(settings.out)
    print(announcement(settings, parts))
    models = pd.concat([part.study.run([*part.jobs, *part.remedies], settings.progress) for part in parts])
    baselines = pd.concat(
        [part.study.baselines(its).assign(task=part.study.task.name) for part in parts for its in part.designs]
    )
    groups = pd.concat([groups_of(part).assign(task=part.study.task.name) for part in parts])
    cells = pd.concat(
        [part.study.single_cells(part.designs[0].target).assign(target=part.designs[0].target) for part in parts]
    )
    tables = {"models": models, "baselines": baselines, "groups": groups, "cell_types": cells,
              "remedies": remedies_of(models, baselines)}  # fmt: skip
    for name, table in tables.items():
        save(table, out / f"{name}.csv")
    figures = draw(parts, models, baselines, groups, cells)
    for name, figure in figures.items():
        save(figure, out / f"{name}.png")
    check = check_largest(parts[0])
    write_report(out / "report.html", report(settings, parts, tables, figures, check))
    print(largest(models).to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    print(f"\n{check.verdict}\n\ntables, figures and report.html in {out}")


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
    return replace(settings, trees=settings.trees[:7], layers=[1], widths=[2, 32, 256], seeds=1)


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
    from avocado.generalization.tasks import expression_task, simulated_task, tads_task

    if settings.labels is None:
        if not settings.small:
            raise InputError("give the folder of the labels as labels=, or small=true for a simulated genome")
        task = simulated_task()
        return [_with_epigenome(settings, task, settings.targets or task.cells[:1], TEST_CHROMS[:1])]
    asked = settings.tasks or list(TASKS)
    settings = replace(settings, hours=settings.hours / len(asked))
    chosen = TEST_CHROMS[:1] if settings.small else TEST_CHROMS
    targets = settings.targets or (STATE_CELLS[:1] if settings.small else STATE_CELLS)
    parts, expression = [], expression_task(settings.labels)
    if "states" in asked:
        parts.append(_with_epigenome(settings, expression.of(STATE_CELLS), targets, chosen))
    if "expression" in asked:
        parts.append(_constant_only(settings, replace(expression, name="expression of H1"), "E003"))
    if "tads" in asked:
        parts.append(_constant_only(settings, tads_task(settings.labels), TADS_TARGET))
    return parts


def announcement(settings: Settings, parts: Sequence[Part]) -> str:
    """What the measured speed of this machine allows, said before anything is trained."""
    from avocado.generalization.models import NetworkSettings

    lines = [f"networks on {settings.threads} thread(s), {settings.device}: {_rate(settings)}"]
    for part in parts:
        sizes = [
            job.settings.parameters(part.study.inputs[job.inputs].n_features)
            for job in part.jobs
            if isinstance(job.settings, NetworkSettings)
        ]
        fit = f"{len(sizes)} of {min(sizes):,} to {max(sizes):,} parameters" if sizes else "none"
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
    both = epigenome + constants[0]
    inputs = {its.name: its for its in (epigenome, *constants, both)}
    study = Study(task, inputs, Path(settings.cache), settings.threads, settings.device)
    # every target on the first chromosomes, and the first target on the others
    tested = [*((target, chroms[0]) for target in targets), *((targets[0], its) for its in chroms[1:])]
    designs = [Design(target, its, tuple(cell for cell in task.cells if cell != target)) for target, its in tested]
    trees, names = TreeSettings(), [epigenome.name, constants[0].name, both.name]
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
    names, time_given = list(inputs)[:1], 3600 * settings.hours
    networks, seconds = study.networks(stopped, names, _sizes(settings), seeds, time_given, _rate(settings))
    return Part(study, [design], jobs + networks, [], seconds)


def _constants(settings: Settings, task: Task) -> list[Inputs]:
    from avocado.generalization.inputs import gaussian_inputs, permuted, sequence_inputs

    length = settings.sequence or (1000 if settings.fasta else 25)
    found = sequence_inputs(task, length, settings.fasta)
    return [gaussian_inputs(task, 0), found, *([permuted(found, 0)] if settings.fasta else [])]


def groups_of(part: Part) -> pd.DataFrame:
    """Average activity and the largest trees of the first design by variability of the locus."""
    from avocado.generalization.study import by_number
    from avocado.generalization.verdict import Scheme
    from avocado.imputers.average import AVERAGE

    design = part.designs[0]
    label, known = part.study.truth(design)
    predictors = {AVERAGE: known.astype(float)}
    for job in part.jobs:
        if job.design == design and job.model == "trees" and job.scheme is Scheme.CROSS_CELL_TYPE and not job.seed:
            predictors[job.inputs] = part.study.predictions(job)["scores"][-1].astype(float)
    return by_number(label, predictors, known)


def check_largest(part: Part) -> SplitCheck:
    """What `avocado.check_split` says of the cross-cell-type split of the first design, and of its largest trees."""
    import numpy as np

    from avocado.generalization.check import check_split
    from avocado.generalization.splits import split_table
    from avocado.generalization.verdict import Scheme

    design, task = part.designs[0], part.study.task
    split = part.study.splits(design)[Scheme.CROSS_CELL_TYPE]
    table = split_table(split, task.loci, task.cells, task.label)
    predictions, test = {}, (table["split"] == "test").to_numpy()
    for job in part.jobs:
        if job.design == design and job.model == "trees" and job.scheme is Scheme.CROSS_CELL_TYPE and not job.seed:
            values = np.full(len(table), np.nan)
            values[test] = part.study.predictions(job)["scores"][-1]
            predictions[f"trees on {job.inputs}"] = values
    return check_split(table, predictions)


def remedies_of(models: pd.DataFrame, baselines: pd.DataFrame) -> pd.DataFrame:
    """Trees with and without remedies, and average activity: means over targets of AP and balanced skill."""
    import pandas as pd

    from avocado.imputers.average import AVERAGE

    tried = models[models["remedy"] != ""]
    if tried.empty:
        return tried
    same = models.merge(
        tried[["task", "target", "test_chroms", "scheme", "inputs", "model", "size"]].drop_duplicates()
    )  # fmt: skip
    keys = ["task", "scheme", "inputs", "remedy"]
    table = same.groupby(keys, sort=False)[["ap", "balanced"]].mean().reset_index()
    chosen = tried[["task", "target", "test_chroms"]].drop_duplicates()
    average = baselines[baselines["predictor"] == AVERAGE].merge(chosen)[["ap", "balanced"]].mean()
    first = pd.DataFrame([{"task": table["task"][0], "scheme": "any", "inputs": AVERAGE, "remedy": "", **average}])
    return pd.concat([first, table], ignore_index=True)


def largest(models: pd.DataFrame) -> pd.DataFrame:
    """Average precision of the smallest and largest models of each kind, by scheme: means over targets and seeds."""
    plain = models[models["remedy"] == ""]
    keys = ["task", "model", "inputs", "size"]
    means = plain.groupby([*keys, "scheme"], sort=False)["ap"].mean().unstack("scheme").reset_index()
    ends = means.groupby(["task", "model", "inputs"], sort=False)["size"].agg(["min", "max"]).reset_index()
    means = means.merge(ends)
    return means[(means["size"] == means["min"]) | (means["size"] == means["max"])].drop(columns=["min", "max"])


def draw(
    parts: Sequence[Part], models: pd.DataFrame, baselines: pd.DataFrame, groups: pd.DataFrame, cells: pd.DataFrame
) -> dict[str, Figure]:
    """Figures by the names of their files."""
    from avocado.plotting.generalization import plot_numbers, plot_single_cells, plot_sizes

    figures = {}
    for part in parts:
        name, design = part.study.task.name, part.designs[0]
        slug = name.lower().replace(" ", "_")
        its = models[(models["task"] == name) & (models["remedy"] == "")]
        its = its[(its["target"] == design.target) & (its["test_chroms"] == ",".join(design.test_chroms))]
        lines = baselines[(baselines["task"] == name) & (baselines["target"] == design.target)]
        lines = lines[lines["test_chroms"] == ",".join(design.test_chroms)]
        for model in ("network", "trees"):
            figures[f"{slug}_{model}"] = plot_sizes(its[its["model"] == model], lines)
        if (groups["task"] == name).any():
            figures[f"{slug}_groups"] = plot_numbers(groups[groups["task"] == name])
        figures[f"{slug}_cell_types"] = plot_single_cells(cells[cells["target"] == design.target], design.target)
    return figures


def report(
    settings: Settings, parts: Sequence[Part], tables: dict[str, pd.DataFrame], figures: dict[str, Figure],
    check: SplitCheck,
) -> Report:  # fmt: skip
    """All of it for `write_report`."""
    from avocado.report.report import Picture, Report, Table

    models, baselines = tables["models"], tables["baselines"]
    summary = {
        part.study.task.name: f"{len(part.study.task.loci):,} loci, {len(part.study.task.cells)} cell types; tested in "
        + ", ".join(f"{its.target} ({' '.join(its.test_chroms)})" for its in part.designs)
        for part in parts
    } | {f"not there: {name}": why for name, why in MISSING.items() if settings.labels}
    shown = [
        Table(
            "The smallest and the largest models", largest(models),
            "Average precision on the same test examples under each scheme; means over targets, test sets and seeds.",
        ),
        Table("What needs no model", baselines, "Of every test set.", {"ap": "higher"}, ("target", "test_chroms")),
        Table(
            "Remedies", tables["remedies"],
            "100 trees with average activity as a feature, or starting from its log odds: means over targets. Balanced:"
            " mean over groups of equal variability of 2 × area under the ROC curve − 1: average activity has 0.",
            {"ap": "higher", "balanced": "higher"}, ("scheme",),
        ),
        Table("By variability of the locus", tables["groups"], "Largest trees, across cell types.", {"ap": "higher"},
              ("task", "number")),
        Table("Single cell types as the predictor", tables["cell_types"], "All loci.", {"ap": "higher"}, ("target",)),
        Table("Every model", models.drop(columns=["task"]) if len(parts) == 1 else models, "A row for each."),
    ]  # fmt: skip
    return Report(
        "A pitfall of evaluation across cell types", time.strftime("%Y-%m-%d %H:%M"), summary, None,
        [table for table in shown if len(table.frame)],
        figures=[Picture(name.replace("_", " "), figure) for name, figure in figures.items()],
        verdict=f"{check.verdict}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(app.run("pitfall", pitfall, sys.argv[1:]))
