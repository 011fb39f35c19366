"""`avocado score`: held-out tracks of a model or an imputer, or any two files, compared with average activity."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avocado.cli import app
from avocado.config.values import as_list, wants_baseline
from avocado.data.compendium import Pair, pairs_in
from avocado.data.genome import Assembly, Region, chromosome_region, file_stem, load_assembly
from avocado.data.intervals import read_genes, read_intervals
from avocado.data.regions import parse_regions
from avocado.data.sources import check_source, read_signal
from avocado.data.store import SignalStore, open_store
from avocado.errors import InputError
from avocado.evaluation.annotations import loci_of, read_peaks
from avocado.evaluation.comparison import Peaks
from avocado.evaluation.held_out import score_model, stratify_model
from avocado.evaluation.metrics import AnnotationWindows
from avocado.evaluation.scores import AVERAGE, combine_regions, format_scores, score_table, write_scores
from avocado.inference.track_files import track_file
from avocado.model.directory import Model, load_model, store_of
from avocado.plotting.held_out import picture
from avocado.plotting.plots import save_png
from avocado.utils.files import replacing
from avocado.utils.hardware import Hardware
from avocado.utils.terminal import terminal_width

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

COMBINED = "chromosomes"  # what the table of several chromosomes together is called


@dataclass(frozen=True)
class Judged:
    """How what is judged is scored, drawn and stratified on a region."""

    table: Callable[[str, AnnotationWindows, Peaks | None], pd.DataFrame]
    picture: Callable[[str], Figure]
    strata: Callable[[str], pd.DataFrame]


def score(config: DictConfig, settings: Sequence[str] = ()) -> None:
    """Score a model or a track file. settings: of an imputer, as typed."""
    if config.model is not None and config.imputer is not None:
        raise InputError("give either model= or imputer=, not both")
    if settings and config.imputer is None:
        raise InputError(f"{settings[0]}: settings are for imputer=, which is not given")
    if config.model is not None:
        tables = _score_model(config)
    elif config.observed is not None and config.imputed is not None:
        tables = {"": _score_files(config)}
    else:
        raise InputError(
            "give model=, or imputer= and store=, or observed= and imputed= (two track files); --help shows all three"
        )
    show(config, tables)
    if config.model is not None:
        store = [] if config.store is None else [f"store={config.store}"]
        where = app.typed("score", f"model={config.model}", *store, "out=scores", "strata=true")
        steps = [
            (app.typed("hub", f"model={config.model}", "pairs=held_out"), "observed and imputed, in a genome browser")
        ]
        app.say_next(steps if config.strata else [(where, "where it is better: by how much cell types differ"), *steps])


def show(config: DictConfig, tables: Mapping[str, pd.DataFrame]) -> None:
    """Print the table of each region, and write it where `out` is given."""
    for region, table in tables.items():
        if region:
            print(f"{region}:")
        print(format_scores(table, color=sys.stdout.isatty(), width=terminal_width()))
        if config.out is not None:
            write_scores(table, Path(config.out) / file_stem(region))
    print(f"\nwritten to {config.out}" if config.out else "\nout=FOLDER keeps them as files, with pictures")


def _score_model(config: DictConfig) -> dict[str, pd.DataFrame]:
    other = None if config.store is None else open_store(config.store)
    model = load_model(config.model, other, baseline=wants_baseline(config))
    store = store_of(model)  # and the tracks that were given to it
    hardware = Hardware(config.device, config.precision)
    asked = [pair_of(model, name) for name in as_list(config.tracks)]
    for pair in asked:
        model.pair(*pair)  # says which of the two is unknown
        store.track_index(*pair)
    tracks = asked or pairs_in(model.tracks, "test")
    regions = as_list(config.region, model.regions) or [name for name in model.regions if name in store.regions]
    if not regions:
        raise InputError(f"model {model.path} and store {store.path} share no region")
    judged = Judged(
        lambda region, loci, peaks: score_model(model, store, region, tracks, hardware, loci, peaks),
        lambda region: picture(model, store, region, tracks, hardware),
        lambda region: stratify_model(model, store, region, tracks, hardware),
    )
    return score_regions(config, store, regions, tracks, judged)


def score_regions(
    config: DictConfig,
    store: SignalStore,
    regions: Sequence[str],
    tracks: Sequence[Pair],
    judged: Judged,
    prepare: Callable[[], object] = lambda: None,
) -> dict[str, pd.DataFrame]:
    """A table for each region, and one of all whole chromosomes; pictures and strata are written where `out` is given.

    prepare: what takes long and has to happen first, once everything that was typed has been found to be of use.
    """
    if config.strata and config.out is None:
        raise InputError("strata=true writes strata.csv: give out= the folder for it")
    peak_files = {pair: _peak_file(config.peaks, *pair) for pair in tracks} if config.peaks is not None else {}
    # places first: a wrong file should not cost a night of imputation
    places = _places(config, store.assembly, [store.region(region) for region in regions])
    prepare()
    tables = {}
    for region in regions:
        layout = store.region(region)

        def peaks(cell: str, assay: str, layout: Region = layout) -> np.ndarray:
            return read_peaks(peak_files[cell, assay], store.assembly, layout)

        tables[region] = judged.table(region, places[region], peaks if peak_files else None)
        if config.out is not None:
            folder = Path(config.out) / file_stem(region)
            save_png(judged.picture(region), folder / "tracks.png")
            if config.strata:
                with replacing(folder / "strata.csv") as temporary:
                    judged.strata(region).to_csv(temporary, index=False)
    # pilot regions and BED files can share bins with a chromosome, so whole chromosomes only
    whole = [name for name in tables if name in store.assembly.sizes
             and store.region(name) == chromosome_region(store.assembly, name)]  # fmt: skip
    if len(whole) > 1:
        tables[COMBINED] = combine_regions([tables[name] for name in whole])
    return tables


def _score_files(config: DictConfig) -> pd.DataFrame:
    if config.assembly is None or config.region is None:
        raise InputError("two files need assembly= (hg19, hg38, a chrom.sizes file) and region= (chr20, pilot, a BED)")
    others = as_list(config.average)
    if not others:
        raise InputError(
            "give average= the files of the same assay in other cell types: a score says little "
            "without average activity beside it"
        )
    if config.strata:
        raise InputError("strata=true is for a model or an imputer; two files have no training tracks")
    assembly = load_assembly(config.assembly)
    regions = parse_regions(assembly, as_list(config.region, assembly.sizes))
    if len(regions) > 1:
        raise InputError(f"region={config.region}: two files are compared on one region at a time")
    region = regions[0]
    for file in (config.observed, config.imputed, *others):
        check_source(file, assembly, [region], single=True)

    def read(file: str) -> np.ndarray:
        return read_signal(file, region, True, config.arrays, "float32")

    loci = _places(config, assembly, [region])[region.name]
    if config.peaks is not None:
        loci = replace(loci, peaks=read_peaks(config.peaks, assembly, region))
    track = (Path(config.observed).name, "")
    signals = [read(file) for file in others]
    if len(signals) > 1:
        loci = replace(loci, variance=np.var(signals, axis=0, dtype=np.float64))
    name = Path(config.imputed).name
    methods = {AVERAGE: {track: np.mean(signals, axis=0)}, name: {track: read(config.imputed)}}
    return score_table({track: read(config.observed)}, methods, loci, files=[name])


def _places(config: DictConfig, assembly: Assembly, regions: Sequence[Region]) -> dict[str, AnnotationWindows]:
    """Genes, enhancers and blacklist of every region; each file is read once."""
    genes = None if config.genes is None else read_genes(config.genes, assembly)
    enhancers, blacklist = (
        None if file is None else read_intervals(file, assembly) for file in (config.enhancers, config.blacklist)
    )
    return {region.name: loci_of(region, genes, enhancers, blacklist, config.windows) for region in regions}


def _peak_file(pattern: str, cell: str, assay: str) -> Path:
    """The file of one track's peaks. Raises InputError where there is none."""
    if "{cell}" not in pattern or "{assay}" not in pattern:
        raise InputError(
            f"peaks={pattern}: give a pattern with {{cell}} and {{assay}}, which stand for a track's names"
        )
    path = track_file(pattern, cell, assay)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file of peaks of {cell} {assay}; correct peaks=, or name others with tracks="
        )
    return path


def pair_of(known: Model | SignalStore, name: str) -> Pair:
    """The pair called 'CELL:ASSAY' or 'CELL ASSAY'; both names may have blanks and colons in them."""
    for cell in known.cells:
        if name.startswith((f"{cell}:", f"{cell} ")) and name[len(cell) + 1 :] in known.assays:
            return cell, name[len(cell) + 1 :]
    cell, colon, assay = name.partition(":")
    if not colon:
        cell, _, assay = name.rpartition(" ")
    if not cell:
        raise InputError(f"'{name}' is no track: write CELL:ASSAY, for instance E003:H3K4me3")
    return cell, assay
