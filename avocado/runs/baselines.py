"""Runs of any imputer: place on disk, scores compared with average activity, imputed tracks, and when it is done.

<runs>/<name>/<region>/fold<k>/seed<s>/    settings.yaml, split.tsv, scores.csv, scores.json, *.png and done.json
<runs>/imputed/<name>/fold<k>/seed<s>/     imputed held-out tracks, one bigWig each

Nothing is kept of a fit: it happens on the pilot regions (see `region_of_fit`), and what is imputed of a track is
scored, drawn and written in one go.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

import avocado
from avocado.data.compendium import Pair, pairs_in
from avocado.data.genome import Assembly, Region, file_stem
from avocado.data.store import SignalStore
from avocado.errors import InputError
from avocado.evaluation.comparison import compare, loci_of_tracks
from avocado.evaluation.held_out import MODEL
from avocado.evaluation.scores import AVERAGE, read_scores, write_scores
from avocado.imputers.average import AverageActivity
from avocado.imputers.protocol import Imputer, foretell
from avocado.inference.impute import DECIMALS, made_of, require_files
from avocado.inference.track_files import track_file, track_files
from avocado.model.scales import imputed_pval
from avocado.plotting.held_out import different_tracks, draw
from avocado.plotting.plots import plot_scores, save_png
from avocado.runs.run import SplitConfig, locked, require_same_settings
from avocado.utils.files import replacing
from avocado.utils.provenance import Made, is_there

log = logging.getLogger(__name__)

METHODS = {"average": AVERAGE, "avocado": MODEL}  # what tables and pictures call them; others go by their own name


@dataclass(frozen=True)
class Baseline:
    """Everything that decides what an imputer imputes."""

    name: str
    settings: Mapping[str, Any]  # of the imputer, plain values
    split: SplitConfig
    seed: int

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed={self.seed}: expected a whole number from 0")

    @property
    def method(self) -> str:
        """Its name in tables and pictures."""
        return METHODS.get(self.name, self.name)

    def directory(self, runs: Path, region: str) -> Path:
        """Where the record of its scores on a region lies."""
        return runs / self.name / file_stem(region) / self._place

    def imputed(self, runs: Path) -> Path:
        """Where its imputed tracks lie."""
        return runs / "imputed" / self.name / self._place

    @property
    def _place(self) -> Path:
        return Path(self.split.name) / f"seed{self.seed}"


@dataclass(frozen=True)
class Scored:
    """What a run on one region left."""

    region: str
    directory: Path
    scores: pd.DataFrame
    imputed: Path | None  # folder of bigWig files, where this run was to write them
    was_done: bool


def region_of_fit(store: SignalStore, region: str) -> str:
    """Where an imputer learns what it will impute on `region`: the pilot regions, or there if the store has none."""
    store.region(region)
    return "pilot" if "pilot" in store.regions else region


def fitted(imputer: Imputer, store: SignalStore, training: Sequence[Pair], region: str) -> Imputer:
    """The imputer after learning from the `training` tracks on one region."""
    if not training:
        raise InputError(f"no track of store {store.path} is left to train on: hold out fewer")
    imputer.fit(store, [store.track_index(*track) for track in training], region)
    return imputer


def score_baseline(
    baseline: Baseline,
    make: Callable[[], Imputer],
    store: SignalStore,
    regions: Sequence[str],
    runs: Path,
    *,
    write: bool = False,
    overwrite: bool = False,
) -> list[Scored]:
    """Score an imputer on the held-out tracks, region by region, or find that this is done.

    make: the imputer, not fitted yet; it is called and fitted once, and only where something is left to do. write:
    also write the held-out tracks, −log10 p as bigWig, over the chromosome among the regions and those on which this
    imputer was scored before. Raises InputError where no track is held out, and for a run directory that was begun
    with other settings (unless `overwrite`).
    """
    tracks = baseline.split.roles(store)
    held_out, training = pairs_in(tracks, "test"), pairs_in(tracks, "train")
    if not held_out:
        raise InputError(
            f"no track is held out, so there is nothing to score {baseline.name} on: give fold= or split.hold_out=; "
            f"to impute from all tracks: avocado impute imputer={baseline.name} {shlex.quote(f'store={store.path}')}"
        )
    learned_on = region_of_fit(store, regions[-1])

    @cache
    def imputer() -> Imputer:
        log.info("fitting %s to %d tracks on %s", baseline.name, len(training), learned_on)
        return fitted(make(), store, training, learned_on)

    written = next((region for region in reversed(regions) if region in store.assembly.sizes), regions[-1])
    outcomes = []
    for region in regions:
        directory = baseline.directory(runs, region)
        with locked(directory):
            settings = _settings(baseline, store, region, learned_on)
            if overwrite:
                for name in ("settings.yaml", "done.json"):
                    (directory / name).unlink(missing_ok=True)
            require_same_settings(directory, settings)
            writes = write and region == written
            folder = baseline.imputed(runs)
            pattern = f"{folder}/{{cell}}-{{assay}}.bw"
            files = {track: track_file(pattern, *track) for track in held_out if writes}
            chosen = _to_write(baseline, store, runs, region)
            layouts = [store.region(name) for name in chosen]
            made = provenance(store, files, {**settings["imputer"], "seed": baseline.seed}, tracks, layouts, learned_on)
            remedy = f"move it away, or give another runs= than {runs}"
            there = [is_there(path, its, remedy, renew=True) for path, its in made.items()]
            was_done = (directory / "done.json").is_file() and all(there)
            if not was_done:
                table = _carry_out(
                    baseline.method, imputer(), store, region, tracks, settings, directory, files, chosen, made
                )
            else:
                table = read_scores(directory)
            outcomes.append(Scored(region, directory, table, folder if writes else None, was_done))
    return outcomes


def provenance(
    store: SignalStore,
    files: Mapping[Pair, Path],
    imputer: Mapping[str, Any],
    tracks: pd.DataFrame,
    regions: Sequence[Region],
    learned_on: str,
    scale: str = "pval",
    decimals: int | None = DECIMALS,
) -> dict[Path, Made]:
    """What decides the content of each imputed file (`utils.provenance`).

    imputer: its name and settings. tracks: the store's, with their roles. learned_on: region that it is fitted to.
    """
    learned = store.region(learned_on)
    roles = hashlib.sha256(tracks[["cell", "assay", "role"]].to_csv(index=False).encode()).hexdigest()[:8]
    common = {
        "model": imputer["name"],  # the key that files of a trained model have its checksum under
        "settings": {key: value for key, value in imputer.items() if key != "name"},
        "tracks": f"{store.tracks_checksum} {roles}",
        "learned": f"{learned_on} {learned.checksum}",
        "regions": {region.name: region.checksum for region in regions},
    }
    return {
        path: Made(made_of(cell, assay, path, scale, decimals) | common, store.path)
        for (cell, assay), path in files.items()
    }


def write_imputed(
    paths: Sequence[Path],
    assembly: Assembly,
    signals: Iterable[tuple[Region, np.ndarray]],
    scale: str,
    made: Mapping[Path, Made],
    decimals: int | None = DECIMALS,
) -> None:
    """Write imputed tracks, arcsinh signal (n_bins, n_paths) of each region in the order of the genome, to their files.

    bigWig or .npz by its ending, as `impute.write_tracks` does. scale: 'pval' is −log10 p, see `scales.imputed_pval`;
    'arcsinh' is the signal as it is. made: what the record of each file says. decimals: of a bigWig, None for all.
    """
    require_files(paths, scale)
    with track_files(paths, assembly, decimals=decimals, made=[made[path] for path in paths]) as add:
        for region, signal in signals:
            add(region.name, region.segments, imputed_pval(signal) if scale == "pval" else signal)


@dataclass
class _Recorded:
    """An imputer whose imputations are handed on as they are made; those of the `shown` tracks are kept."""

    imputer: Imputer
    shown: Sequence[Pair]
    record: Callable[[Sequence[Pair], np.ndarray], None]
    kept: dict[Pair, np.ndarray] = field(default_factory=dict)

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        self.imputer.fit(store, experiments, region)

    def predict(self, pairs: Sequence[Pair], region: str) -> np.ndarray:
        if all(pair in self.kept for pair in pairs):
            return np.stack([self.kept[pair] for pair in pairs], axis=1)
        signal = self.imputer.predict(pairs, region)
        self.kept |= {pair: values.copy() for pair, values in zip(pairs, signal.T, strict=True) if pair in self.shown}
        self.record(pairs, signal)
        return signal


def _carry_out(
    method: str,
    imputer: Imputer,
    store: SignalStore,
    region: str,
    tracks: pd.DataFrame,
    settings: dict[str, Any],
    directory: Path,
    files: Mapping[Pair, Path],
    to_write: Sequence[str],
    made: Mapping[Path, Made],
) -> pd.DataFrame:
    held_out, training = pairs_in(tracks, "test"), pairs_in(tracks, "train")

    def record(pairs: Sequence[Pair], signal: np.ndarray) -> None:
        # the same tracks over all regions, as some imputers learn anew for every track
        if files:
            signals = (
                (store.region(name), signal if name == region else imputer.predict(pairs, name)) for name in to_write
            )
            write_imputed([files[pair] for pair in pairs], store.assembly, signals, "pval", made)

    average = fitted(AverageActivity(), store, training, region)
    recorded = _Recorded(imputer, different_tracks(store, held_out), record)
    methods: dict[str, Imputer] = {AVERAGE: average, method: recorded}
    (directory / "done.json").unlink(missing_ok=True)
    foretell(imputer, held_out, region)
    table = compare(store, region, held_out, methods, loci_of_tracks(store, region, held_out, training))
    with replacing(directory / "settings.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(settings, sort_keys=False))
    with replacing(directory / "split.tsv") as temporary:
        tracks.to_csv(temporary, sep="\t", index=False)
    write_scores(table, directory)
    rows = {name: methods[name] for name in dict.fromkeys([method, AVERAGE])}
    for name, figure in {"scores": plot_scores(table), "tracks": draw(store, region, held_out, rows)}.items():
        save_png(figure, directory / f"{name}.png")
    with replacing(directory / "done.json") as temporary:
        done = {"imputed": bool(files), "store_checksum": store.tracks_checksum, "avocado": avocado.__version__}
        temporary.write_text(json.dumps(done, indent=1))
    return table


def _settings(baseline: Baseline, store: SignalStore, region: str, learned_on: str) -> dict[str, Any]:
    """What must agree for a run to count as done: plain values only."""
    places = " ".join(f"{name} {store.region(name).n_bins}" for name in dict.fromkeys([learned_on, region]))
    return {
        "imputer": {"name": baseline.name, **baseline.settings},
        "region": region,
        "split": {**asdict(baseline.split), "hold_out": list(baseline.split.hold_out)},
        "seed": baseline.seed,
        "signal": f"{places} {store.tracks_checksum}",
    }


def _to_write(baseline: Baseline, store: SignalStore, runs: Path, region: str) -> list[str]:
    """A chromosome and those on which the imputer was scored before, in assembly order; or any other region alone."""
    if region not in store.assembly.sizes:
        return [region]
    return [
        name
        for name in store.assembly.sizes
        if name == region or (name in store.regions and (baseline.directory(runs, name) / "done.json").is_file())
    ]
