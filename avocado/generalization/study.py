"""The pitfall study: models of growing size under three schemes, beside what needs no model (Fig. 1, S1, S2, S4, S5).

A job is one trained model; what it predicts is kept on disk under all that it depends on, so that an interrupted study
goes on where it stopped and a larger one costs only what is new.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from avocado import __version__
from avocado.generalization.effort import EPOCHS, OTHER_EPOCHS, Rate, affordable
from avocado.generalization.inputs import Inputs
from avocado.generalization.models import NetworkSettings, TreeSettings, boosted_trees, network, sample_of
from avocado.generalization.scoring import AVERAGE_PRECISION, within_loci
from avocado.generalization.splits import SCHEMES, Split, make_splits
from avocado.generalization.tasks import Task
from avocado.generalization.verdict import Scheme
from avocado.imputers.average import AVERAGE
from avocado.utils.files import replacing
from avocado.utils.progress import shown

NEAREST, BASE_RATE = "nearest cell type", "base rate"
PLAIN, FEATURE, DIFFERENCE = "", "average as a feature", "difference from the average"  # remedies
FEWEST = 10  # loci with either label in a group that is scored by itself


@dataclass(frozen=True)
class Design:
    """What is tested, and what may be used for it."""

    target: str
    test_chroms: tuple[str, ...]
    training_cells: tuple[str, ...]
    validation_chroms: tuple[str, ...] = ()
    validation_cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One model to be trained: trees of all counts at once, or a network."""

    design: Design
    scheme: Scheme
    inputs: str
    settings: TreeSettings | NetworkSettings
    counts: tuple[int, ...] = (1,)  # of trees
    remedy: str = PLAIN
    seed: int = 0

    @property
    def model(self) -> str:
        """What kind of model it is."""
        return "trees" if isinstance(self.settings, TreeSettings) else "network"


@dataclass
class Study:
    """A task with what models may see of it."""

    task: Task
    inputs: Mapping[str, Inputs]
    cache: Path
    threads: int = 1
    device: str = "auto"
    _splits: dict[Design, dict[Scheme, Split]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._digests = {name: _digest(its.varying, its.constant) for name, its in self.inputs.items()}
        self._labels = _digest(self.task.label)

    def splits(self, design: Design) -> dict[Scheme, Split]:
        """The three splits of a design."""
        if design not in self._splits:
            self._splits[design] = make_splits(
                self.task.chrom, self.task.cells, design.target, design.test_chroms, design.validation_chroms,
                design.validation_cells, design.training_cells,
            )  # fmt: skip
        return self._splits[design]

    def average(self, design: Design) -> np.ndarray:
        """Mean label of the training cell types at each locus, without the own cell type: float32 (n_loci, n_cells)."""
        training = self.splits(design)[Scheme.CROSS_CELL_TYPE].train.cells
        label = self.task.label
        total = label[:, training].sum(axis=1, dtype=np.float32)[:, None] - np.where(
            np.isin(np.arange(label.shape[1]), training), label, 0
        )
        return (total / (len(training) - np.isin(np.arange(label.shape[1]), training))).astype(np.float32)

    def networks(
        self, design: Design, inputs: Sequence[str], sizes: Sequence[NetworkSettings], seeds: Sequence[int],
        seconds: float, rate: Rate,
    ) -> tuple[list[Job], float]:  # fmt: skip
        """Networks under all schemes, small ones first, as many as may be expected to be trained in so many seconds.

        Every input has the same share of the time. Also returns what is expected of it to be used.
        """
        rows = {scheme: split.train for scheme, split in self.splits(design).items()}
        found, total = [], 0.0
        for name in inputs:
            its = self.inputs[name]

            def cost(settings: NetworkSettings, its: Inputs = its) -> float:
                return sum(
                    rate.seconds(
                        settings, its.n_features, len(part.loci) if its.varying is None else len(part),
                        EPOCHS.get(scheme, OTHER_EPOCHS),
                    )
                    for scheme, part in rows.items()
                )  # fmt: skip

            chosen, used = affordable(sizes, seeds, seconds / len(inputs), cost)
            found += [Job(design, scheme, name, one, seed=seed) for one, seed in chosen for scheme in SCHEMES]
            total += used
        return found, total

    def truth(self, design: Design) -> tuple[np.ndarray, np.ndarray]:
        """Labels of the test examples, and in how many training cell types each of their loci is 1."""
        splits = self.splits(design)
        test, training = splits[Scheme.HYBRID].test, splits[Scheme.CROSS_CELL_TYPE].train.cells
        known = self.task.label[np.ix_(test.loci, training)].sum(axis=1, dtype=np.int64)
        return self.task.label[test.loci, test.cells[0]].astype(np.float64), known

    def run(self, jobs: Sequence[Job], progress: bool = False) -> pd.DataFrame:
        """Train what is missing, and score everything.

        A row for each job and count of trees: task, target, test_chroms, scheme, inputs, model, layers, width, size
        (trees, or parameters), remedy, seed, ap, balanced, seconds (of the whole job), stopped (epochs of a network).
        """
        rows = []
        for job in shown(jobs, f"{self.task.name}: models", len(jobs), progress):
            label, known = self.truth(job.design)
            found = self.predictions(job)
            settings = job.settings
            sizes = job.counts
            if isinstance(settings, NetworkSettings):
                sizes = (settings.parameters(self.inputs[job.inputs].n_features),)
            for size, scores in zip(sizes, found["scores"], strict=True):
                rows.append(
                    {
                        "task": self.task.name,
                        "target": job.design.target,
                        "test_chroms": ",".join(job.design.test_chroms),
                        "scheme": str(job.scheme),
                        "inputs": job.inputs,
                        "model": job.model,
                        "layers": settings.layers if isinstance(settings, NetworkSettings) else np.nan,
                        "width": settings.width if isinstance(settings, NetworkSettings) else np.nan,
                        "size": size,
                        "remedy": job.remedy,
                        "seed": job.seed,
                        "ap": AVERAGE_PRECISION(label, scores),
                        "balanced": balanced_skill(label, scores, known),
                        "seconds": float(found["seconds"]),
                        "stopped": int(found["stopped"]),
                    }
                )
        return pd.DataFrame(rows)

    def predictions(self, job: Job) -> Mapping[str, np.ndarray]:
        """Log odds of the test examples, `scores` (n_counts, n_test), made where they are not there."""
        identity = json.dumps(
            [__version__, self.task.name, self._labels, self._digests[job.inputs], job.model, asdict(job)],
            sort_keys=True,
        )  # fmt: skip
        path = self.cache / f"{hashlib.sha256(identity.encode()).hexdigest()[:20]}.npz"
        if not path.is_file():
            found = self._train(job)
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **found)
        with np.load(path) as found:
            return dict(found)

    def _train(self, job: Job) -> dict[str, np.ndarray]:
        started, split = time.monotonic(), self.splits(job.design)[job.scheme]
        inputs, average = self.inputs[job.inputs], None
        if job.remedy:
            average = self.average(job.design)
            if job.remedy == FEATURE:
                inputs, average = _joined(inputs, average), None
        train, test = (sample_of(inputs, part, self.task.label, average) for part in (split.train, split.test))
        stopped = 0
        if isinstance(job.settings, TreeSettings):
            scores = boosted_trees(train, test, job.counts, job.settings, job.seed, self.threads)
        else:
            held = sample_of(inputs, split.validation, self.task.label)
            one, stopped = network(train, held, test, job.settings, job.seed, self.device)
            scores = one[None]
        return {"scores": scores, "seconds": np.array(time.monotonic() - started), "stopped": np.array(stopped)}

    def baselines(self, design: Design) -> pd.DataFrame:
        """What needs no model: average activity of the training cell types, nearest cell type, base rate.

        Columns: target, test_chroms, predictor, ap, balanced. Nearest is the training cell type whose epigenome
        resembles the target's most on chromosomes that are not tested; it is left out where there is no epigenome.
        """
        label, known = self.truth(design)
        splits = self.splits(design)
        test, training = splits[Scheme.HYBRID].test, splits[Scheme.CROSS_CELL_TYPE].train.cells
        predictors = {AVERAGE: known / len(training), BASE_RATE: np.zeros(len(label))}
        varying = next((its.varying for its in self.inputs.values() if its.varying is not None), None)
        if varying is not None:
            loci = splits[Scheme.CROSS_CHROMOSOME].train.loci
            own = varying[loci, test.cells[0]]
            distances = np.array([np.mean((varying[loci, cell] - own) ** 2) for cell in training])
            if np.isfinite(distances).any():
                predictors[NEAREST] = self.task.label[test.loci, training[np.nanargmin(distances)]].astype(np.float64)
        rows = [
            (design.target, ",".join(design.test_chroms), name, AVERAGE_PRECISION(label, scores),
             balanced_skill(label, scores, known))
            for name, scores in predictors.items()
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=pd.Index(["target", "test_chroms", "predictor", "ap", "balanced"]))

    def single_cells(self, target: str) -> pd.DataFrame:
        """Each cell type's labels alone as the predictor of the target's, on all loci (Fig. S5): cell, ap."""
        own = self.task.cells.index(target)
        label = self.task.label[:, own].astype(np.float64)
        rows = [
            (cell, AVERAGE_PRECISION(label, self.task.label[:, number].astype(np.float64)))
            for number, cell in enumerate(self.task.cells)
            if number != own
        ]
        others = np.delete(self.task.label, own, axis=1).mean(axis=1)
        table = pd.DataFrame(rows, columns=pd.Index(["cell", "ap"])).sort_values("ap", ascending=False)
        ends = [(f"{AVERAGE} of all", AVERAGE_PRECISION(label, others)), (BASE_RATE, label.mean())]
        return pd.concat([table, pd.DataFrame(ends, columns=table.columns)], ignore_index=True)


def balanced_skill(label: np.ndarray, scores: np.ndarray, known: np.ndarray) -> float:
    """Scoring balanced for variability: mean over groups of loci of 2 × area under the ROC curve − 1.

    A group are the loci that are 1 in the same number of training cell types (`known`), with at least 10 of either
    label in the test examples. Average activity, the same in all of a group, has 0, and so has chance; 1 is perfect.
    (Average precision is no good here: in small groups chance has more than the base rate.) NaN without groups.
    """
    found = []
    for number in np.unique(known):
        its = known == number
        positives = int(label[its].sum())
        if min(positives, int(its.sum()) - positives) >= FEWEST:
            found.append(2 * within_loci(label[its], scores[its], known[its]) - 1)
    return float(np.mean(found)) if found else float("nan")


def by_number(label: np.ndarray, predictors: Mapping[str, np.ndarray], known: np.ndarray) -> pd.DataFrame:
    """Average precision of each predictor at loci that are 1 in the same number of training cell types (Fig. S4).

    Columns: number, examples, base_rate, predictor, ap; groups with fewer than 10 of either label are left out.
    """
    rows = []
    for number in np.unique(known):
        its = known == number
        positives = int(label[its].sum())
        if min(positives, int(its.sum()) - positives) >= FEWEST:
            rows += [
                (int(number), int(its.sum()), label[its].mean(), name, AVERAGE_PRECISION(label[its], scores[its]))
                for name, scores in predictors.items()
            ]
    return pd.DataFrame(rows, columns=pd.Index(["number", "examples", "base_rate", "predictor", "ap"]))


def tree_jobs(
    design: Design, inputs: Sequence[str], counts: Sequence[int], settings: TreeSettings, seeds: Sequence[int]
) -> list[Job]:
    """Trees under all schemes."""
    return [
        Job(design, scheme, name, settings, tuple(counts), seed=seed)
        for name in inputs for scheme in SCHEMES for seed in seeds
    ]  # fmt: skip


def _joined(inputs: Inputs, average: np.ndarray) -> Inputs:
    """The inputs and average activity as a further feature."""
    own = average[:, :, None]
    varying = own if inputs.varying is None else np.concatenate([inputs.varying, own], axis=2)
    return Inputs(inputs.name, varying, inputs.constant)


def _digest(*arrays: np.ndarray | None) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
