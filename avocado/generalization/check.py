"""Which pitfall does a split risk? Examples in, a verdict in words out (Schreiber et al. 2020, "A pitfall")."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from avocado.errors import InputError
from avocado.generalization.examples import TEST, TRAIN, Examples, number_examples, read_examples
from avocado.generalization.groups import by_cell, by_variability, similarity
from avocado.generalization.places import average_activity, duplicates, place_identity, same_everywhere, shared
from avocado.generalization.scoring import AVERAGE_PRECISION, PEARSON, intervals, within_loci
from avocado.generalization.verdict import Evidence, Finding, Scheme, judge, scheme_of
from avocado.imputers.average import AVERAGE

PLACE = "place identity"
BASE_RATE = "base rate"
ENOUGH_CHROMS = 8  # test chromosomes, to draw whole ones; of fewer, stretches are drawn
STRETCHES = 40
WIDTH = 100  # of lines in the terminal
LISTED = 12  # rows of a table in the terminal


@dataclass(frozen=True)
class SplitCheck:
    """What `check_split` found. `print` it, or look at its tables."""

    verdict: str
    finding: Finding
    scheme: Scheme
    measure: str  # average precision where labels are 0 and 1, Pearson correlation elsewhere
    drawn: str  # what the bootstrap draws
    overlap: pd.DataFrame  # what, test_examples, share: what test examples share with training
    scores: pd.DataFrame  # predictor, value, low, high, within_loci
    differences: pd.DataFrame  # predictor, reference, value, low, high: of each model from the others
    groups: pd.DataFrame  # by variability of the locus: group, examples, base_rate, predictor, value, low, high
    cells: pd.DataFrame  # by test cell type: cell, examples, base_rate, predictors, most similar, it alone
    similarity: pd.DataFrame  # cell, training_cell, examples, base_rate, value: one cell type as the predictor
    summary: Mapping[str, str]  # what was looked at

    def __str__(self) -> str:
        tables = {
            f"{self.measure}, with 95 % intervals over {self.drawn}": self.scores,
            "difference of models from what needs no model": self.differences,
            "by variability between training cell types": _wide(self.groups),
            "by test cell type": self.cells,
            "test examples that share with training": self.overlap,
        }
        parts = [textwrap.fill(self.verdict, WIDTH), *(f"{name:<13} {text}" for name, text in self.summary.items())]
        parts = ["\n".join(parts)]
        for title, table in tables.items():
            if len(table):
                text = table.head(LISTED).to_string(index=False, float_format=lambda v: f"{v:.3f}", na_rep="–")
                more = f"\n... {len(table) - LISTED} more" if len(table) > LISTED else ""
                parts.append(f"{title}:\n{text}{more}")
        return "\n\n".join(parts)


def check_split(
    table: pd.DataFrame | str | Path,
    predictions: np.ndarray | Mapping[str, np.ndarray] | None = None,
    *,
    features: np.ndarray | None = None,
    fold: int | None = None,
    near: int | None = None,
    seed: int = 0,
) -> SplitCheck:
    """Which scheme a split really is, what knowing only the place is worth on it, and whether a model knows more.

    Parameters
    ----------
    table
        One example a row, with the columns chrom, start and end (bp, 0-based, half-open), cell, label (0 and 1, or any
        numbers), and split (train, val, test, none) or fold (whole numbers); or a Parquet, TSV or CSV file of it. Val
        counts as training. None: neither trained nor tested, but known, as labels of training cell types at test loci
        are in a hybrid split. A column prediction is the model's.
    predictions
        Of each example (n,), or several models' by name; higher means more likely 1. Only those of test examples are
        looked at.
    features
        Of each example (n, n_features), to find those that are the same in all cell types at a locus: they tell a model
        which place it is.
    fold
        Which fold is tested, by the column fold; None: the column split, or else fold 0.
    near
        Loci closer than this, in bp, are neighbours; None: than their median length.
    seed
        Of the bootstrap.

    Returns
    -------
    SplitCheck
        Verdict and tables.

    Raises
    ------
    InputError
        For a table that lacks columns, training or test examples, and predictions or features that do not fit it.
    """
    examples = number_examples(table if isinstance(table, pd.DataFrame) else read_examples(table), fold, predictions)
    near = int(np.median(examples.end - examples.start)) if near is None else near
    test = examples.role == TEST
    label, common, known = examples.label[test], shared(examples, near), average_activity(examples)
    measure = AVERAGE_PRECISION if examples.is_binary else PEARSON
    has_average = known.number > 0
    scores = {PLACE: place_identity(examples, near)}
    if has_average.mean() >= 0.5:
        scores[AVERAGE] = np.where(has_average, known.mean, examples.label[examples.role == TRAIN].mean())
    models = {name: values[test] for name, values in examples.predictions.items()}
    scores |= models
    unit, drawn = _units(examples, test)
    found, differences = intervals(measure, label, scores, unit, seed=seed)
    base_rate = float(label.mean()) if examples.is_binary else None
    within = {}
    if examples.is_binary and len(np.unique(examples.cell[test])) > 1:
        within = {name: within_loci(label, values, examples.locus[test]) for name, values in scores.items()}
    place = common.locus | common.near
    scheme = scheme_of(place.mean(), common.chrom.mean(), common.cell.mean())
    evidence = Evidence(
        scheme, place.mean(), common.cell.mean(), common.example.mean(), has_average.mean(), measure.name, base_rate,
        found, {name: differences[name, AVERAGE] for name in models if AVERAGE in scores}, within,
    )  # fmt: skip
    finding, verdict = judge(evidence, PLACE)
    rows = [(name, its.value, its.low, its.high, within.get(name, np.nan)) for name, its in found.items()]
    if base_rate is not None:
        rows.insert(0, (BASE_RATE, base_rate, np.nan, np.nan, 0.5 if within else np.nan))
    table_of_scores = pd.DataFrame(rows, columns=pd.Index(["predictor", "value", "low", "high", "within_loci"]))
    single = similarity(measure, examples)
    summary, constant = _summary(examples, near), _constant(examples, features)
    return SplitCheck(
        f"{verdict} {constant}".strip(),
        finding,
        scheme,
        measure.name,
        drawn,
        _overlap({
            "locus": common.locus, f"a locus overlapping or within {near:,} bp": common.near,
            "chromosome": common.chrom, "cell type": common.cell, "locus and cell type": common.example,
        }),
        table_of_scores if within else table_of_scores.drop(columns="within_loci"),
        pd.DataFrame(
            [
                (name, other, its.value, its.low, its.high)
                for (name, other), its in differences.items()
                if name in models and other in (PLACE, AVERAGE)
            ],
            columns=pd.Index(["predictor", "reference", "value", "low", "high"]),
        ),
        by_variability(measure, label, scores, known, unit, seed),
        by_cell(measure, examples, scores, single),
        single,
        summary,
    )  # fmt: skip


def _units(examples: Examples, test: np.ndarray) -> tuple[np.ndarray, str]:
    """The part of the genome of every test example, and what it is called."""
    chrom, start = examples.chrom[test], examples.start[test]
    n = len(np.unique(chrom))
    if n >= ENOUGH_CHROMS:
        return chrom, f"{n} chromosomes"
    ends = pd.Series(start).groupby(chrom).agg(["min", "max"])
    longest = int((examples.end - examples.start).max())
    width = max(int((ends["max"] - ends["min"]).sum()) // STRETCHES, longest)
    unit = chrom * (int(start.max()) // width + 1) + start // width
    return unit, f"{len(np.unique(unit))} stretches of {width / 1e6:.3g} Mb"


def _overlap(having: Mapping[str, np.ndarray]) -> pd.DataFrame:
    rows = [(what, int(has.sum()), float(has.mean())) for what, has in having.items()]
    return pd.DataFrame(rows, columns=pd.Index(["what", "test_examples", "share"]))


def _summary(examples: Examples, near: int) -> dict[str, str]:
    text = {}
    for name, role in (("training", TRAIN), ("test", TEST)):
        its = examples.role == role
        loci, cells = len(np.unique(examples.locus[its])), np.unique(examples.cell[its])
        chroms = np.unique(examples.chrom[its])
        text[name] = (
            f"{int(its.sum()):,} examples: {loci:,} loci on {len(chroms)} chromosome{'s' * (len(chroms) > 1)}, "
            f"{len(cells)} cell type{'s' * (len(cells) > 1)}"
        )
    again, other = duplicates(examples)
    if again:
        text["twice"] = f"{again:,} examples are in training, or in test, twice, {other:,} of them with other labels"
    return text


def _constant(examples: Examples, features: np.ndarray | None) -> str:
    """A sentence on features that tell the place."""
    if features is None:
        return ""
    if features.ndim != 2 or len(features) != len(examples):
        raise InputError(
            f"features have the shape {features.shape}, the table has {len(examples):,} examples: give a row for each"
        )
    same = int(same_everywhere(examples, features).sum())
    if not same:
        return f"None of the {features.shape[1]:,} features is the same in all cell types at each locus."
    return (
        f"{same:,} of {features.shape[1]:,} features are the same in all cell types at a locus: they tell a model "
        "which place it is."
    )


def _wide(groups: pd.DataFrame) -> pd.DataFrame:
    """A row for each group and a column for each predictor."""
    if not len(groups):
        return groups
    keys = ["group", "examples", "base_rate"]
    return groups.pivot(index=keys, columns="predictor", values="value").reindex(
        index=pd.MultiIndex.from_frame(groups[keys].drop_duplicates()), columns=groups["predictor"].unique()
    ).reset_index().rename_axis(columns=None)  # fmt: skip
