"""Keys of commands that take a trained model further, as in `commands`."""

from __future__ import annotations

from dataclasses import dataclass

from avocado.utils.settings import setting


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
