"""Cross-validation of imputers: every track imputed by every method while it was held out, and kept on disk.

What `table1`, `fig2_variable_loci` and `relationships` have in common. A method is a list of overrides of train.py, as
`chromimpute: [imputer=chromimpute]`; each is fitted once per fold and seed, to the tracks of the other folds. The
imputed tracks are kept in the folder `cache` under everything that they depend on, so the three experiments share
them, an interrupted one goes on where it stopped, and a new method or fold costs only itself.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avocado import __version__
from avocado.config.overrides import composed
from avocado.config.values import as_list, build
from avocado.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from avocado.data.compendium import Pair
    from avocado.data.store import SignalStore
    from avocado.evaluation.comparison import Lazy
    from avocado.evaluation.metrics import AnnotationWindows
    from avocado.imputers.cached import Cached
    from avocado.imputers.protocol import Imputer

AVERAGE_METHOD = "average"  # always among the methods
TITLES = {
    "average": "average activity",
    "place": "place alone",
    "avocado": "Avocado",
    "chromimpute": "ChromImpute",
    "predictd": "PREDICTD",
}
SEEDLESS = ("average", "place", "nearest", "similarity")  # imputers without randomness


@dataclass(frozen=True)
class CrossValidation:
    """Observed and imputed tracks of all held-out (cell, assay) pairs, read when asked for."""

    store: SignalStore
    region: str
    seeds: list[int]
    training: dict[int, list[int]]  # of every fold: the store's columns that the imputers were fitted to
    fold_of: dict[Pair, int]  # of every held-out track
    imputers: dict[tuple[str, int, int], Cached]  # title of the method, seed, fold

    @property
    def tracks(self) -> list[Pair]:
        """The held-out tracks of all folds, in the order of the store."""
        return list(self.fold_of)

    @property
    def methods(self) -> list[str]:
        """Titles of the methods, average activity first."""
        return list(dict.fromkeys(title for title, _, _ in self.imputers))

    @property
    def ensembles(self) -> list[str]:
        """Titles of the methods that are made of others."""
        return list(dict.fromkeys(title for (title, _, _), imputer in self.imputers.items() if imputer.recorded))

    def tracks_of(self, fold: int) -> list[Pair]:
        """The tracks that a fold holds out."""
        return [track for track, of in self.fold_of.items() if of == fold]

    @property
    def observed(self) -> Lazy[np.ndarray]:
        """Arcsinh signal (n_bins,) of every held-out track."""
        from avocado.evaluation.comparison import Lazy

        return Lazy(self.tracks, lambda cell, assay: self.store.read_track(cell, assay, self.region))

    def imputed(self, seed: int) -> dict[str, Lazy[np.ndarray]]:
        """By method, the arcsinh signal (n_bins,) of every held-out track, from the fold that lacked it."""
        from avocado.evaluation.comparison import Lazy

        def of(title: str) -> Lazy[np.ndarray]:
            def make(cell: str, assay: str) -> np.ndarray:
                return self.imputers[title, seed, self.fold_of[cell, assay]].predict([(cell, assay)], self.region)[:, 0]

            return Lazy(self.tracks, make)

        return {title: of(title) for title in self.methods}

    @property
    def variability(self) -> Lazy[np.ndarray]:
        """Standard deviation (n_bins,) of each held-out track's assay over the training tracks of its fold."""
        from avocado.data.compendium import pairs_in
        from avocado.evaluation.comparison import Lazy, variability

        pairs = pairs_in(self.store.tracks)

        def make(cell: str, assay: str) -> np.ndarray:
            training = [pairs[column] for column in self.training[self.fold_of[cell, assay]]]
            return variability(self.store, training, assay, self.region)

        return Lazy(self.tracks, make)

    def costs(self) -> pd.DataFrame:
        """Time and memory: method, seed, fold, tracks, fit_seconds, predict_seconds (of all tracks), peak_gb."""
        import pandas as pd

        from avocado.imputers.cached import total_cost

        rows = []
        for (title, seed, fold), imputer in self.imputers.items():
            tracks = self.tracks_of(fold)
            cost = total_cost([imputer.cost(*track, self.region) for track in tracks])
            peak = None if cost.peak_bytes is None else cost.peak_bytes / 1e9
            rows.append((title, seed, fold, len(tracks), cost.fit_seconds, cost.predict_seconds, peak))
        columns = ["method", "seed", "fold", "tracks", "fit_seconds", "predict_seconds", "peak_gb"]
        return pd.DataFrame(rows, columns=pd.Index(columns)).astype({"peak_gb": float})

    def weights(self) -> pd.DataFrame:
        """Weights of the members of the ensembles: method, seed, fold, member, weight; empty without ensembles."""
        import pandas as pd

        rows = []
        for (title, seed, fold), imputer in self.imputers.items():
            for name in imputer.recorded:
                found = imputer.note(name)
                assert isinstance(found, dict)
                rows += [(title, seed, fold, member, weight) for member, weight in found.items()]
        return pd.DataFrame(rows, columns=pd.Index(["method", "seed", "fold", "member", "weight"]))


def prepare(config: DictConfig) -> CrossValidation:
    """The cross-validation that a config describes, with nothing imputed yet; `impute_all` does that.

    Raises InputError for unknown methods, folds, regions and settings.
    """
    import torch

    from avocado.config.store import prepare_store
    from avocado.data.compendium import pairs_in
    from avocado.data.splits import balanced_folds, split

    if config.threads:
        torch.set_num_threads(config.threads)
    names, seeds = _names(config), as_list(config.seeds)
    if not seeds or not all(seed.isdigit() for seed in seeds):
        raise InputError(f"seeds={config.seeds}: expected whole numbers from 0, [0,1]")
    store = prepare_store(_train_config(config, AVERAGE_METHOD, 0))
    region = str(config.region)
    if region not in store.regions:
        raise InputError(f"store {store.path} has no region '{region}': give region={'|'.join(store.regions)}")
    table = store.tracks
    if "fold" not in table and "split" not in table:  # made once, and as train.py makes them
        table = table.assign(fold=balanced_folds(table, config.n_folds, config.split_seed))
    roles = {fold: split(table, fold) for fold in _folds(config, table)}
    training = {fold: [c for c, r in enumerate(role) if r == "train"] for fold, role in roles.items()}
    pairs = pairs_in(store.tracks)
    fold_of = {pair: fold for c, pair in enumerate(pairs) for fold, role in roles.items() if role[c] == "test"}
    imputers = {}
    for name, seed in itertools.product(names, map(int, seeds)):
        make = _maker(config, name, seed)
        for fold in roles:
            imputers[title_of(name), seed, fold] = imputer = make()
            imputer.fit(store, training[fold], region)  # when it is first asked for what is not there
    return CrossValidation(store, region, [int(seed) for seed in seeds], training, fold_of, imputers)


def impute_all(cv: CrossValidation) -> None:
    """Impute every held-out track that isn't there, with a progress bar over folds, methods and seeds."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from avocado.imputers.protocol import groups

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("cross-validation", total=len(cv.fold_of) * len(cv.methods) * len(cv.seeds))
        # members before ensembles, whose time is then their own
        order = sorted(cv.imputers, key=lambda key: (key[2], key[0] in cv.ensembles))
        for title, seed, fold in order:
            bar.update(task, description=f"fold {fold}, {title}, seed {seed}")
            imputer, tracks = cv.imputers[title, seed, fold], cv.tracks_of(fold)
            missing = [track for track in tracks if not imputer.has(*track, cv.region)]
            bar.advance(task, len(tracks) - len(missing))
            if outlook := imputer.outlook(missing, cv.region):
                bar.console.print(outlook, highlight=False)
            for group in groups(missing, cv.store.region(cv.region).n_bins, imputer.imputer):
                imputer.predict(group, cv.region)
                bar.advance(task, len(group))


def describe(config: DictConfig, cv: CrossValidation) -> dict[str, str]:
    """What was compared, for the head of a report."""
    from experiments.places import annotation_files

    files = {key: file for key, file in annotation_files(config, cv.store).items() if file is not None}
    seeds = ", ".join(map(str, cv.seeds))
    return {
        "store": f"{cv.store.path}, {cv.store.assembly.name}, {len(cv.store.tracks)} tracks",
        "region": f"{cv.region}, {cv.store.region(cv.region).n_bins:,} bins of 25 bp",
        "held out": f"{len(cv.fold_of)} tracks in {len(cv.training)} folds (split seed {config.split_seed})",
        "seeds": f"{seeds} of the methods with randomness",
        **files,
    } | ({"small=true": "settings so small that scores say nothing of how good methods are"} if config.small else {})


def save(content: pd.DataFrame | Figure, path: Path) -> None:
    """Write a table as CSV or a figure as PNG, whole or not at all."""
    import pandas as pd

    from avocado.plotting.plots import save_png
    from avocado.utils.files import replacing

    if isinstance(content, pd.DataFrame):
        with replacing(path) as temporary:
            content.to_csv(temporary, index=False)
    else:
        save_png(content, path)


def title_of(name: str) -> str:
    """What a method is called in tables: 'avocado_plain' is 'Avocado plain'."""
    first, *rest = name.split("_")
    return " ".join([TITLES.get(first, first), *rest])


def score(cv: CrossValidation, loci: Mapping[Pair, AnnotationWindows] | None = None) -> pd.DataFrame:
    """`scores.score_table` of all methods on all held-out tracks, every score a mean over the seeds."""
    from avocado.evaluation.scores import combine_regions, score_table

    tables = [score_table(cv.observed, cv.imputed(seed), loci) for seed in cv.seeds]
    # seeds are averaged as regions of one size are
    return combine_regions(tables).assign(bins=tables[0]["bins"]) if len(tables) > 1 else tables[0]


def _names(config: DictConfig) -> list[str]:
    """The methods that are asked for, average activity first."""
    names = as_list(config.only) or list(config.methods)
    unknown = [name for name in names if name not in config.methods]
    if unknown:
        raise InputError(f"unknown method '{unknown[0]}'; there is: {', '.join(config.methods)}")
    return [AVERAGE_METHOD, *(name for name in dict.fromkeys(names) if name != AVERAGE_METHOD)]


def _folds(config: DictConfig, table: pd.DataFrame) -> list[int]:
    """The folds that are asked for, or all that the table has."""
    asked = as_list(config.folds)
    if not all(fold.isdigit() for fold in asked):
        raise InputError(f"folds={config.folds}: expected whole numbers from 0, [0,1,2]")
    if asked:
        return [int(fold) for fold in asked]
    return sorted({int(fold) for fold in table["fold"]} - {-1}) if "fold" in table else [0]


def _train_config(config: DictConfig, name: str, seed: int) -> DictConfig:
    """The composed config of train.py for a method."""

    overrides = [*config.methods.get(name, [f"imputer={name}"]), "trainer.progress=false", f"seed={seed}"]
    train = composed("train", overrides)
    if config.small and train.imputer.name in config.small_settings:
        train = composed("train", [*overrides, *config.small_settings[train.imputer.name]])
    train.data.merge_with(config.data)
    train.store = config.get("store") or config.data.store
    return train


def _maker(config: DictConfig, name: str, seed: int) -> Callable[[], Cached]:
    """What makes a method's imputer, for one fold after the other, with its predictions kept on disk.

    The members of an ensemble are kept, too, each as the method that it is.
    """
    from avocado.config.imputers import build_imputer, imputer_settings
    from avocado.imputers.cached import Cached
    from avocado.imputers.config import EnsembleConfig
    from avocado.imputers.ensemble import Ensemble

    train = _train_config(config, name, seed)
    identity: dict[str, Any] = {"imputer": train.imputer.name, "version": __version__}
    if train.imputer.name not in SEEDLESS:
        identity["seed"] = seed
    if train.imputer.name == "ensemble":
        members = {title_of(member): _maker(config, member, seed) for member in as_list(train.imputer.members)}
        node = {str(key): value for key, value in train.imputer.items() if key not in ("name", "members")}
        settings = build(EnsembleConfig, node, "imputer", seed=seed)
        identity |= {"settings": node, "members": {title: make().key for title, make in members.items()}}

        def make_imputer() -> Imputer:
            return Ensemble({title: make() for title, make in members.items()}, settings)
    else:
        identity["settings"] = imputer_settings(train, build_imputer(train, str(config.region)))
        if train.imputer.name == "avocado":
            identity |= {"precision": train.trainer.precision, "implementation": train.trainer.implementation}

        def make_imputer() -> Imputer:
            return build_imputer(train, str(config.region))

    recorded = ("member_weights",) if train.imputer.name == "ensemble" else ()
    return lambda: Cached(make_imputer(), config.cache, json.dumps(identity, sort_keys=True), recorded)
