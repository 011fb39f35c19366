"""What a split is called, and what scores on it show and do not show, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from avocado.generalization.examples import MODEL
from avocado.generalization.scoring import Interval
from avocado.imputers.average import AVERAGE

MOST = 0.5  # share of test examples from which something counts as shared
LEAKED = 0.001  # share of test examples that are in training themselves, from which that comes before all else


class Scheme(StrEnum):
    """How training and test examples differ (Fig. 1a–c of the paper, and what it does not draw)."""

    CROSS_CHROMOSOME = "cross-chromosome"
    CROSS_LOCUS = "cross-locus"  # new loci, on chromosomes that are in training
    CROSS_CELL_TYPE = "cross-cell-type"
    HYBRID = "hybrid"
    RANDOM = "random"  # neither place nor cell type is new


class Finding(StrEnum):
    """What comes out of a check."""

    LEAK = "test examples are in training"
    NOT_BETTER = "no better than average activity"
    BETTER = "better than average activity"
    AT_RISK = "places are shared: compare with average activity"
    PLACES_NEW = "places are new: they cannot have been memorised"


@dataclass(frozen=True)
class Evidence:
    """What is to be judged. Shares are of the test examples."""

    scheme: Scheme
    place: float  # share whose locus, or a neighbour of it, is in training
    cell: float  # share whose cell type is in training
    leaked: float  # share that is in training itself: same locus, same cell type
    known: float  # share with an average activity
    measure: str
    base_rate: float | None  # None where labels are not 0 and 1
    scores: Mapping[str, Interval]  # of place identity, average activity where it is known, and the models
    differences: Mapping[str, Interval]  # of each model from average activity
    within: Mapping[str, float]  # of each model, see `scoring.within_loci`; absent with one test cell type


def scheme_of(place: float, chrom: float, cell: float) -> Scheme:
    """The scheme: shares of test examples whose locus (or a neighbour), chromosome, cell type is in training."""
    if cell >= MOST:
        if place >= MOST:
            return Scheme.RANDOM
        return Scheme.CROSS_LOCUS if chrom >= MOST else Scheme.CROSS_CHROMOSOME
    return Scheme.CROSS_CELL_TYPE if place >= MOST else Scheme.HYBRID


def judge(evidence: Evidence, place_name: str) -> tuple[Finding, str]:
    """The finding, of the best model where there are several, and the verdict in sentences.

    place_name: which of the scores is place identity's.
    """
    models = [name for name in evidence.scores if name not in (AVERAGE, place_name)]
    said = [
        f"{evidence.scheme.capitalize()} split: {_share(evidence.place)} of the test loci or their neighbours are in "
        f"training, {_share(evidence.cell)} of the test examples are of cell types that are in training."
    ]
    finding = Finding.AT_RISK if evidence.place >= MOST else Finding.PLACES_NEW
    if evidence.known < MOST:
        said.append(
            f"Of {_share(1 - evidence.known)} of the test examples no training cell type has a label at the locus, so "
            f"there is no {AVERAGE} to compare with: add these labels, with split none, if there are any."
        )
    elif models:
        said += [_compared(evidence, name) for name in models]
        best = max(models, key=lambda name: evidence.scores[name].value)
        finding = Finding.BETTER if _is_better(evidence.differences[best]) else Finding.NOT_BETTER
    if not models and evidence.place >= MOST:
        said.append(
            f"A model that knows only which locus it is gets {evidence.measure} {evidence.scores[place_name].value:.3f}"
            f"{_base(evidence)}: a score on this split says something of cell types only where it is above {AVERAGE}."
        )
    if evidence.place < MOST <= evidence.cell:
        said.append("How good a model is in a new cell type cannot be told from this split.")
    if evidence.leaked > LEAKED:
        finding = Finding.LEAK
        said.insert(
            1,
            f"{_share(evidence.leaked)} of the test examples are in training themselves, the same locus in the same "
            "cell type: take them out before anything is concluded.",
        )
    return finding, " ".join(said)


def _compared(evidence: Evidence, name: str) -> str:
    ours, average, by = evidence.scores[name].value, evidence.scores[AVERAGE].value, evidence.differences[name]
    model = "your model" if name == MODEL else name
    sure = f"95 % interval {by.low:+.3f} to {by.high:+.3f}" if np.isfinite(by.low) else "too few places for an interval"
    sure = f"(difference {by.value:+.3f}, {sure})".replace("-", "−")
    if _is_better(by):
        text = (
            f"{model[:1].upper()}{model[1:]} beats {AVERAGE}, {evidence.measure} {ours:.3f} to {average:.3f}"
            f"{_base(evidence)} {sure}: evidence that it knows more than the mean label of the training cell types."
        )
    else:
        verb = "is not told apart from" if by.high >= 0 or by.value == 0 else "beats"
        text = (
            f"{AVERAGE.capitalize()} {verb} {model}, {evidence.measure} {average:.3f} to {ours:.3f}{_base(evidence)} "
            f"{sure}: no evidence that it learned anything specific to the cell type."
        )
        if evidence.place < MOST:
            text = text[:-1] + ", although it cannot have memorised these places."
    if name in evidence.within and np.isfinite(evidence.within[name]):
        text += (
            f" Of two test cell types with different labels at a locus it puts the right one first in "
            f"{100 * evidence.within[name]:.0f} % of cases; knowing only the place makes 50 %."
        )
    return text


def _is_better(difference: Interval) -> bool:
    return difference.low > 0 or bool(np.isnan(difference.low) and difference.value > 0)


def _base(evidence: Evidence) -> str:
    return "" if evidence.base_rate is None else f" at a base rate of {evidence.base_rate:.3f}"


def _share(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f} %" if percent in (0, 100) or 1 <= percent <= 99 else f"{percent:.1f} %"
