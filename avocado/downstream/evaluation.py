"""How well features predict labels: every result beside its baselines, on random folds and with whole places held out.

Scores are average precision for labels of two classes, and Pearson's correlation for numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from avocado.downstream.classifiers import Classifier, Logistic, Trees
from avocado.downstream.splits import Split, places_to_hold_out
from avocado.downstream.tasks import Task, windows_of
from avocado.errors import InputError
from avocado.evaluation.scores import AVERAGE
from avocado.evaluation.significance import holm, paired_tests
from avocado.generalization.scoring import AVERAGE_PRECISION, PEARSON, Measure, intervals
from avocado.utils.progress import shown

MAJORITY, PLACE = "majority", "place alone"
IDENTITIES = ("identity of the first", "identity of the second")  # of a pair's elements
BASELINES = (MAJORITY, PLACE, *IDENTITIES, AVERAGE)
RANDOM = "random loci"
PRIOR = 2  # observations of the base rate that an element's own are added to

KEYS = ["task", "cell", "held_out"]


@dataclass(frozen=True)
class Scored:
    """One task's results."""

    folds: pd.DataFrame  # task, cell, held_out, features, fold, n, base_rate, score (NaN: one class only)
    summary: pd.DataFrame  # see `summarise`


def evaluate(
    task: Task,
    features: Mapping[str, np.ndarray],
    classifier: Classifier | None = None,
    *,
    groups: np.ndarray | None = None,
    held_out: str = "whole groups",
    seed: int = 0,
    progress: bool = False,
) -> Scored:
    """Score every feature set, and the baselines, on the same folds: random ones, and with whole groups held out.

    features: by name, float32 (n_loci, n_features). classifier: None for boosted trees, and logistic regression for
    pairs. groups: what is held out whole, (n_loci,), and `held_out` what that is called; None: chromosomes, or
    stretches of them. Baselines are the majority vote, place alone (for pairs: which element it is), and the mean label
    of other cell types where there are some. Raises InputError for fewer loci than folds.
    """
    classifier = classifier or (Logistic() if task.is_pair else Trees())
    if groups is None:
        groups, held_out = places_to_hold_out(task.loci)
    wrong = [name for name, values in features.items() if len(values) != len(task)]
    if wrong:
        raise ValueError(f"{wrong[0]} has {len(features[wrong[0]])} loci, the task {len(task)}")
    if isinstance(classifier, Logistic) and any(np.isnan(values).any() for values in features.values()):
        raise InputError("logistic regression takes no missing values: give missing=-1")
    sets = dict(features) if task.is_pair else {PLACE: _positions(task), **features}
    plans = {RANDOM: classifier.splits(len(task), None, seed), held_out: classifier.splits(len(task), groups, seed)}
    jobs = [(name, its, fold, split) for name, plan in plans.items() for its in sets for fold, split in enumerate(plan)]
    rows, pooled = [], _Pooled(task)
    for name, plan in plans.items():
        for baseline, scores_of in _baselines(task).items():
            for fold, split in enumerate(plan):
                rows.append(pooled.add(name, baseline, fold, split, scores_of(split)))
    for name, its, fold, split in shown(jobs, f"{task.name} {task.cell}".strip(), len(jobs), progress):
        rows.append(pooled.add(name, its, fold, split, classifier.scores(sets[its], task.label, split)))
    folds = pd.DataFrame(rows)
    folds.insert(0, "cell", task.cell)
    folds.insert(0, "task", task.name)
    return Scored(folds, summarise(folds, pooled.table(groups, seed)))


def joined(parts: Sequence[Scored]) -> Scored:
    """The results of several tasks as one."""
    folds, summaries = zip(*((part.folds, part.summary) for part in parts), strict=True)
    return Scored(pd.concat(folds, ignore_index=True), pd.concat(summaries, ignore_index=True))


def summarise(folds: pd.DataFrame, pooled: pd.DataFrame) -> pd.DataFrame:
    """A row for each task, cell type, way of holding out and feature set.

    n_loci and base_rate (mean label); score: mean over folds; se: its standard error, sd / sqrt(folds); n_folds: that
    could be scored; all_loci: the score of all folds' predictions together, which few loci per fold do not make too
    high, with its 95 % bootstrap interval (low, high) over the groups that are held out whole.
    """
    table = folds.groupby([*KEYS, "features"], sort=False)["score"].agg(["mean", "std", "count"])
    table = table.set_axis(["score", "se", "n_folds"], axis=1)
    table["se"] = table["se"] / np.sqrt(table["n_folds"].to_numpy())
    return table.reset_index().merge(pooled, on=["held_out", "features"], sort=False)


def compare(folds: pd.DataFrame, *references: str) -> pd.DataFrame:
    """Paired tests of every feature set against each reference over the folds of all cell types, for each task.

    Returns task, held_out, features, reference, difference (features − reference), n folds, and the two-sided p of the
    paired t test, as in the paper, and of Wilcoxon's test, with Holm's adjustment for all rows. Folds share training
    loci, so that p is too small. Empty where the reference is not there.
    """
    rows = []
    for (task, held_out), part in folds.groupby(["task", "held_out"], sort=False):
        wide = part.pivot(index=["cell", "fold"], columns="features", values="score")
        pairs = [
            (name, reference)
            for number, reference in enumerate(references)
            for name in part["features"].unique()
            if reference in wide and name not in references[: number + 1]
        ]
        for name, reference in pairs:
            differences = (wide[name] - wide[reference]).dropna().to_numpy()
            p_t, p_wilcoxon, _ = paired_tests(differences)
            mean = differences.mean() if len(differences) else np.nan
            rows.append((task, held_out, name, reference, mean, len(differences), p_t, p_wilcoxon))
    columns = ["task", "held_out", "features", "reference", "difference", "n", "p_t", "p_wilcoxon"]
    table = pd.DataFrame(rows, columns=pd.Index(columns))
    for test in ("p_t", "p_wilcoxon"):
        table[f"{test}_holm"] = holm(table[test].to_numpy(dtype=float))
    return table


def score(label: np.ndarray, scores: np.ndarray) -> float:
    """Average precision of labels of two classes, Pearson's correlation of numbers; NaN where it is undefined.

    A constant score has the base rate as its average precision, and 0 as its correlation.
    """
    if not len(label) or np.ptp(label.astype(float)) == 0:
        return np.nan
    return float(_measure(label)(label.astype(float), scores)) if np.ptp(scores) > 0 else _constant(label)


def _measure(label: np.ndarray) -> Measure:
    return AVERAGE_PRECISION if label.dtype == bool else PEARSON


def _constant(label: np.ndarray) -> float:
    """What predictions are worth that are all the same."""
    return float(label.mean()) if label.dtype == bool else 0.0


class _Pooled:
    """Predictions of all folds, for scores of all loci together."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.sums: dict[tuple[str, str], np.ndarray] = {}

    def add(self, held_out: str, features: str, fold: int, split: Split, scores: np.ndarray) -> dict[str, object]:
        """Note the predictions of a fold, and return its row."""
        sums = self.sums.setdefault((held_out, features), np.zeros(len(self.task)))
        sums[split.test] += scores
        label = self.task.label[split.test]
        return {
            "held_out": held_out, "features": features, "fold": fold, "n": len(label),
            "base_rate": label.mean() if len(label) else np.nan, "score": score(label, scores),
        }  # fmt: skip

    def table(self, groups: np.ndarray, seed: int) -> pd.DataFrame:
        """Scores of all loci together, with intervals."""
        label, rows = self.task.label, []
        for held_out in dict.fromkeys(held_out for held_out, _ in self.sums):
            sums = {features: its for (held, features), its in self.sums.items() if held == held_out}
            known, _ = intervals(_measure(label), label.astype(float), sums, groups, seed=seed)
            for features, found in known.items():
                value = score(label, sums[features])
                rows.append((held_out, features, len(label), label.mean(), value, found.low, found.high))
        columns = ["held_out", "features", "n_loci", "base_rate", "all_loci", "low", "high"]
        return pd.DataFrame(rows, columns=pd.Index(columns))


def _positions(task: Task) -> np.ndarray:
    """Chromosome and position (n_loci, 2): all that place alone says."""
    chrom = np.unique(task.loci["chrom"].to_numpy().astype(str), return_inverse=True)[1]
    return np.stack([chrom, task.loci["start"].to_numpy()], axis=1).astype(np.float32)


def _baselines(task: Task) -> dict[str, Callable[[Split], np.ndarray]]:
    """What needs no features: scores (n_test,) of a split."""
    found: dict[str, Callable[[Split], np.ndarray]] = {MAJORITY: lambda split: np.zeros(len(split.test))}
    if task.is_pair:
        for name, window in zip(IDENTITIES, windows_of(task.loci), strict=True):
            element = window.groupby(list(window.columns)).ngroup().to_numpy()
            found[name] = lambda split, element=element: _identity(element, task.label, split)
    if task.others is not None:
        known = ~np.isnan(task.others)
        filled = np.where(known, task.others, task.others[known].mean())
        found[AVERAGE] = lambda split: filled[split.test]
    return found


def _identity(element: np.ndarray, label: np.ndarray, split: Split) -> np.ndarray:
    """Mean label of an element's other pairs above the base rate, drawn towards it; 0 where there are none."""
    seen = np.concatenate([split.train, split.validation])
    rate = label[seen].mean()
    n = np.bincount(element[seen], minlength=element.max() + 1)
    positive = np.bincount(element[seen], label[seen], minlength=len(n))
    return ((positive + PRIOR * rate) / (n + PRIOR) - rate)[element[split.test]]
