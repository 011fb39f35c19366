"""Keys of commands that take a trained model further, as in `commands`."""

from __future__ import annotations

from dataclasses import dataclass

from avocado.config.sections import DEVICE, MISSING, PRECISION
from avocado.utils.settings import Names, setting


@dataclass
class Convert:
    """avocado convert keras=avocado-chr19.h5 json=avocado-chr19.json out=published

    Reads a model of the original program (avocado-epigenome), one chromosome at a time, into a model directory that all
    commands take; needs h5py and no Keras. The same out= takes all chromosomes of one network, one after the other.
    Or writes a chromosome of a model of kind=paper as the original has it, for programs that load those:
    avocado convert model=runs/model/fold0/seed0 region=chr20 keras=avocado-chr20.h5 json=avocado-chr20.json
    """

    keras: str | None = setting(None, "HDF5 file of Keras 2: a whole model or its weights; with model=: to be written")
    json: str | None = setting(None, "the file beside it, with names and sizes; null: called like keras=")
    out: str | None = setting(None, "model directory to make, or to add the chromosome to")
    chrom: str | None = setting(None, "the chromosome; null: the one in the files' names")
    assembly: str | None = setting(
        None, "hg19, hg38, or a chrom.sizes file; null: the one of hg19 and hg38 whose chromosome has as many bins"
    )
    tracks: str | None = setting(
        None,
        "TSV or CSV with columns cell, assay and, if need be, role (train, val, test): the experiments that the model "
        "was trained on, which published files do not say",
    )
    model: str | None = setting(None, "instead of out: model directory to write a chromosome of")
    region: str | None = setting(None, "with model=: the chromosome")
    overwrite: bool = setting(False, "read a chromosome again that is there, or replace files that are there")


@dataclass
class Next:
    """avocado next model=runs/model/fold0/seed0 k=10 out=next.csv

    Says which experiments to do next: those whose imputed tracks resemble most of what nobody has measured, given all
    that is measured (Schreiber, Bilmes and Noble 2021). Prints how much they cover, and as many random ones.
    """

    model: str = setting(MISSING, "model directory; its training, validation and held-out tracks count as measured")
    k: int = setting(10, "how many experiments")
    cells: Names = setting(None, "cell types that can be measured, one or a list; null: all of the model")
    assays: Names = setting(None, "assays that can be done; null: all of the model")
    regions: Names = setting(None, "regions of the model to look at; null: its chromosomes, else the pilot regions")
    blocks: int = setting(200, "5-kbp blocks, drawn at random, on which imputed tracks are compared")
    seed: int = setting(0, "of these blocks, and of the random experiments")
    baseline: str = setting(
        "model",
        "model: combined with the factorization where the model has one; none: the factorization alone, no store",
    )
    store: str | None = setting(None, "where the model's own store is now, if it was moved")
    out: str | None = setting(None, "CSV file; a picture of the same name, .png, comes with it; null: print only")
    overwrite: bool = setting(False, "replace files that are there")
    device: str = setting("auto", DEVICE)
    precision: str = setting("auto", PRECISION)
    progress: bool = setting(True, "progress bar")
