"""Genes, enhancers, peaks and blacklist of an experiment: its keys, or on the demo the files that came with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from omegaconf import DictConfig

    from avocado.data.compendium import Pair
    from avocado.data.store import SignalStore
    from avocado.evaluation.comparison import Lazy
    from avocado.evaluation.metrics import AnnotationWindows
    from experiments.cross_validation import CrossValidation

ANNOTATIONS = {  # keys of an experiment, and the files of the demo compendium
    "genes": "genes.gtf.gz",
    "enhancers": "enhancers.bed.gz",
    "peaks": "peaks/{cell}-{assay}.narrowPeak.gz",
    "blacklist": "blacklist.bed.gz",
}


def annotation_files(config: DictConfig, store: SignalStore) -> dict[str, str | None]:
    """The files of genes, enhancers, peaks and blacklist that are given, and on the demo its own where none is.

    A store of another assembly than the demo's, or one given as store=, is not the demo.
    """
    from avocado.data.genome import load_assembly

    found = {key: config.get(key) for key in ANNOTATIONS}
    demo = config.data.simulate
    is_own = config.get("store") is not None or not Path(config.data.assembly).is_file()
    if demo is not None and not is_own and load_assembly(config.data.assembly).sizes == store.assembly.sizes:
        found = {key: file or str(Path(demo) / ANNOTATIONS[key]) for key, file in found.items()}
    return found


def places(cv: CrossValidation, files: Mapping[str, str | None], windows: str = "avocado") -> Lazy[AnnotationWindows]:
    """Of every held-out track, the places for the measures that need some; the files are read here, peaks when asked.

    Raises InputError for files that are missing or of another assembly.
    """
    from dataclasses import replace

    from avocado.data.intervals import read_genes, read_intervals
    from avocado.evaluation.annotations import loci_of
    from avocado.evaluation.comparison import Lazy

    assembly = cv.store.assembly
    genes = None if files["genes"] is None else read_genes(files["genes"], assembly)
    enhancers, blacklist = (
        None if files[key] is None else read_intervals(str(files[key]), assembly) for key in ("enhancers", "blacklist")
    )
    loci = loci_of(cv.store.region(cv.region), genes, enhancers, blacklist, windows)
    peaks, spread = peaks_of(cv, files, cv.tracks), cv.variability

    def make(cell: str, assay: str) -> AnnotationWindows:
        return replace(loci, variance=spread[cell, assay] ** 2, peaks=None if peaks is None else peaks[cell, assay])

    return Lazy(cv.tracks, make)


def peaks_of(cv: CrossValidation, files: Mapping[str, str | None], tracks: Sequence[Pair]) -> Lazy[np.ndarray] | None:
    """Bool (n_bins,) of each track: bins in its peak calls; None where no peaks are given."""
    from avocado.evaluation.annotations import read_peaks
    from avocado.evaluation.comparison import Lazy
    from avocado.inference.track_files import track_file

    pattern = files["peaks"]
    if pattern is None:
        return None
    found = {(c, a): track_file(pattern, c, a) for c, a in tracks}
    for (cell, assay), file in found.items():
        if not file.is_file():
            raise InputError(f"{file}: no such file of peaks of {cell} {assay}; correct peaks=, or leave it out")
    region = cv.store.region(cv.region)
    return Lazy(list(tracks), lambda cell, assay: read_peaks(found[cell, assay], cv.store.assembly, region))
