"""The keys of the commands that show what there is, as `commands` has those of the others."""

from __future__ import annotations

from dataclasses import dataclass

from avocado.config.sections import DECIMALS, DEVICE, MISSING, PRECISION
from avocado.utils.settings import Names, setting


@dataclass
class Inspect:
    """avocado inspect path=my_store

    Says what is in a signal store, a model directory, a run directory or a bigWig.
    """

    path: str = setting(MISSING, "what to look at")


@dataclass
class Hub:
    """avocado hub model=runs/model/fold0/seed0 genes=gencode.gtf.gz out=hub

    Writes a folder for genome browsers: imputed tracks, and the observed ones of the model's store, as bigWig in
    −log10 p; a track hub for UCSC; sessions for IGV; and a page that `avocado view hub` opens without any network.
    Pairs with both are drawn over each other. What is there already is not written again.
    """

    model: str = setting(MISSING, "model directory")
    baseline: str = setting(
        "model", "model: combined with the factorization where the model has one; none: the factorization alone"
    )
    store: str | None = setting(None, "the model's store, if it was moved")
    cell: Names = setting(None, "one cell type or a list; null: all")
    assay: Names = setting(None, "one assay or a list; null: all")
    pairs: str | None = setting(
        None, "which are imputed: unmeasured, held_out, all, none; null: all that did not train the model"
    )
    observed: bool = setting(True, "write the observed tracks, too")
    out: str = setting("hub", "folder to make")
    regions: Names = setting(
        None, "chr20, chr20:1,000,000-1,200,000 or a BED file, several with commas; null: all chromosomes of the model"
    )
    genes: str | None = setting(None, "GTF (protein-coding genes are taken) or BED6 file, plain or .gz, to be drawn")
    shown: int = setting(12, "rows that page and sessions open with; the page has a table of all")
    locus: str | None = setting(None, "the place they open at, chr20:1,000,001-1,100,000; null: a peak")
    title: str | None = setting(None, "of page and hub; null: fold and seed of the model")
    ucsc: str | None = setting(None, "the assembly's name at UCSC, such as mm10; null: hg19 and hg38, else no hub")
    email: str | None = setting(None, "whom users of the hub may ask; UCSC wants one of public hubs")
    decimals: int | None = setting(2, DECIMALS)
    device: str = setting("auto", DEVICE)
    precision: str = setting("auto", PRECISION)
    workers: int | None = setting(None, "processes that write bigWig files; null: one per core")
    overwrite: bool = setting(False, "write tracks again that are there")
    progress: bool = setting(True, "progress bars")


@dataclass
class View:
    """avocado view hub

    Opens the tracks of a folder, or a bigWig file, in the web browser. The folder is served to this computer only
    (127.0.0.1), nothing is uploaded, and no network is needed. A folder without a page gets one in memory.
    """

    path: str = setting(MISSING, "a hub, or any folder with bigWig files in or below it, or a bigWig file")
    port: int | None = setting(None, "of the server; null: any that is free")
    open: bool = setting(True, "open the web browser; false: only say the address")
    genes: str | None = setting(None, "GTF or BED6 file, plain or .gz, to be drawn")
    assembly: str | None = setting(None, "hg19, hg38 or a chrom.sizes file; null: what the bigWig files say")
