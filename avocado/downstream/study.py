"""From a table of labels to scores: a task for each cell type, its features from a store and a model, its baselines."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from avocado.data.store import SignalStore
from avocado.downstream.classifiers import Classifier
from avocado.downstream.evaluation import Scored, evaluate, joined
from avocado.downstream.features import MISSING, FeatureReader, held
from avocado.downstream.tasks import LOCUS, SECOND, tasks_of
from avocado.errors import InputError
from avocado.model.directory import Model

log = logging.getLogger(__name__)


def study(
    labels: pd.DataFrame,
    name: str,
    store: SignalStore | None = None,
    model: Model | None = None,
    *,
    others: Mapping[str, SignalStore] | None = None,
    cells: Sequence[str] = (),
    features: Sequence[str] = (),
    missing: float = MISSING,
    classifier: Classifier | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Scored:
    """Score feature sets on the labels of every cell type, beside the baselines (Avocado paper, Fig. 5).

    labels: as `tasks_of` takes them. store: of own and of all tracks; model: of imputations and factors; others: stores
    of what other methods imputed, by method. cells: whose labels are predicted; empty: those that store or model know,
    or all where they know none. features: of `features.NAMES`; empty: those that there are. missing: in place of
    an assay that a cell type lacks, NaN for XGBoost's own missing values. classifier: see `evaluate`.

    Loci of which one of them has not all windows are left out, and counted in the log. Raises InputError where none
    is left, and what `tasks_of`, `FeatureReader.features` and `evaluate` raise.
    """
    place = [column for column in (*LOCUS, *SECOND) if column in labels]
    loci = labels[place].drop_duplicates(ignore_index=True)
    inside = np.ones(len(loci), dtype=bool)
    sources = [source for source in (store, model, *(others or {}).values()) if source is not None]
    for source in sources:
        inside &= held(loci, source.regions, source.assembly)
    if not inside.any():
        holders = " and ".join(str(source.path) for source in sources)
        regions = list(dict.fromkeys(its for source in sources for its in source.regions))
        raise InputError(
            f"{name}: none of the {len(loci):,} loci lies in the regions of {holders} ({', '.join(regions) or 'none'})"
        )
    if not inside.all():
        log.info(
            "%s: %s of %s loci are left out, as they lie outside of the regions",
            name,
            *map("{:,}".format, ((~inside).sum(), len(loci))),
        )
    labels = labels.merge(loci[inside], on=place)
    known = [*(store.cells if store is not None else []), *(model.cells if model is not None else [])]
    if not cells and "cell" in labels:
        its = list(pd.unique(labels["cell"]))
        cells = [cell for cell in its if cell in known] or its
    reader = FeatureReader(loci[inside], store, model, others, missing, progress)
    parts = []
    for task in tasks_of(labels, name, cells):
        sets = reader.features(task, features or reader.possible(task.cell))
        parts.append(evaluate(task, sets, classifier, seed=seed, progress=progress))
    return joined(parts)
