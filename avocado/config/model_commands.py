"""Keys of commands that take a trained model further, as in `commands`."""

from __future__ import annotations

from dataclasses import dataclass

from avocado.config.sections import DEVICE, MISSING, PRECISION
from avocado.utils.settings import Names, setting


@dataclass
class Embed:
    """avocado embed model=runs/model/fold0/seed0 regions=chr20 out=factors.parquet

    Writes a model's latent factors as a table for other programs, by the ending of out=: .parquet, .npz, .zarr (for
    xarray), .h5ad (AnnData, for scanpy), .tsv, .csv. A row is a 25-bp bin or a window of a region, or an interval of a
    BED file, with the mean of its bins: avocado embed model=... regions=promoters.bed flank=250 out=promoters.h5ad
    Genome factors are the same for all cell types. What the model knows of one, at every position, are its states:
    avocado embed model=... cell=E003 regions=chr20 out=E003.parquet
    What its own tracks alone have put into the factors is its code: ... cell=E003 code=true
    """

    model: str = setting(MISSING, "model directory")
    cell: str | None = setting(
        None, "a cell type, whose states are written: genome factors weighted by its own, not for model.kind=paper"
    )
    code: bool = setting(False, "of cell=: what its own tracks have put into the factors, instead of its states")
    what: str = setting("genome", "genome factors; cells or assays: theirs, with the columns of the compendium's table")
    regions: Names = setting(
        [], "a region of the model, chr20:1,000,000-1,200,000, or a BED file; []: where the model has one"
    )
    window: int = setting(25, "bp of a row, a multiple of 25")
    flank: int = setting(0, "bp by which the intervals of a BED file are extended on both sides")
    scale: str = setting("all", "25bp, 250bp or 5kbp; all: side by side")
    store: str | None = setting(None, "of what=cells or assays: the store whose table describes them, if it has moved")
    out: str = setting(MISSING, "file, or folder of .zarr")
    overwrite: bool = setting(False, "replace a file that is there")
    progress: bool = setting(True, "progress bar")


@dataclass
class Attribute:
    """avocado attribute model=runs/model/fold0/seed0 cell=E003 assay=H3K4me3 region=chr20 out=attribution/{part}.bw

    Divides an imputation among the parts of the model that it comes from, by integrated gradients: cell-type factors,
    assay factors, and genome factors at 25 bp, 250 bp and 5 kbp. One bigWig file for each, in arcsinh; they sum up to
    what the factorization imputes less what it imputes from the reference.
    """

    model: str = setting(MISSING, "model directory")
    cell: Names = setting(MISSING, "cell type")
    assay: Names = setting(MISSING, "assay")
    region: Names = setting(MISSING, "a region of the model, chr20:1,000,000-1,200,000, or a BED file")
    reference: str = setting("zeros", "where the path begins: zeros, as in the paper, or mean, of all factors")
    out: str = setting(MISSING, "pattern with {part}; also {cell}, {assay}")
    overwrite: bool = setting(False, "replace files that are there")
    threads: int | None = setting(None, "CPU threads; null: as many as there are cores")
    progress: bool = setting(True, "progress bar")


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
