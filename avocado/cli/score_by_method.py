"""`avocado score imputer=`: a method is fitted to the training tracks of a fold, and scored on the held-out ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from avocado.cli.score import Judged, pair_of, score_regions, show
from avocado.config import imputers
from avocado.config.training import split_of
from avocado.config.values import as_list
from avocado.data.compendium import pairs_in
from avocado.data.store import open_store
from avocado.errors import InputError
from avocado.evaluation.comparison import Peaks, compare, compare_strata, loci_of_tracks
from avocado.evaluation.metrics import AnnotationWindows
from avocado.evaluation.scores import AVERAGE
from avocado.imputers.average import AverageActivity
from avocado.plotting.held_out import draw
from avocado.runs.baselines import METHODS, fitted, region_of_fit

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig


def score_by_method(config: DictConfig, settings: Sequence[str]) -> None:
    """Fit an imputer to the training tracks of a fold, and score it on the held-out ones."""
    composed, store = imputers.train_config(config, settings), open_store(config.store)
    roles = split_of(composed).roles(store)
    held_out, training = pairs_in(roles, "test"), pairs_in(roles, "train")
    if not held_out:
        raise InputError("no track is held out, so there is nothing to score: give fold= or split.hold_out=")
    tracks = [pair_of(store, name) for name in as_list(config.tracks)] or held_out
    for pair in tracks:
        store.track_index(*pair)
        if pair not in held_out:
            raise InputError(
                f"{' '.join(pair)}: a training track of fold={config.fold}; a score on it would say nothing; "
                "leave out tracks= to score the held-out ones"
            )
    regions = as_list(config.region, store.regions) or list(store.regions)
    learned_on = region_of_fit(store, regions[0])
    name = METHODS.get(composed.imputer.name, str(composed.imputer.name))
    imputer = imputers.build_imputer(composed, learned_on)
    average = fitted(AverageActivity(), store, training, learned_on)
    methods = {AVERAGE: average, name: imputer}
    rows = {method: methods[method] for method in dict.fromkeys([name, AVERAGE])}

    def table(region: str, loci: AnnotationWindows, peaks: Peaks | None) -> pd.DataFrame:
        return compare(store, region, tracks, methods, loci_of_tracks(store, region, tracks, training, loci, peaks))

    judged = Judged(
        table,
        lambda region: draw(store, region, tracks, rows),
        lambda region: compare_strata(store, region, tracks, methods, training),
    )
    prepare = partial(fitted, imputer, store, training, learned_on)
    show(config, score_regions(config, store, regions, tracks, judged, prepare))
