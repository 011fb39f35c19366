"""The keys of the commands: types, defaults and meanings, from which Hydra's configs, checks and --help are made.

A docstring here is what --help begins with. Keys of several names have the type `Names` and stay as typed.
"""

from __future__ import annotations

from dataclasses import dataclass

from avocado.config.looking import Hub, Inspect, View
from avocado.config.model_commands import Attribute, Convert, Embed, Next
from avocado.config.sections import (
    DECIMALS,
    DEVICE,
    MISSING,
    PRECISION,
    Data,
    Epochs,
    HeldOut,
    Split,
    Steps,
    Tracks,
    Trainer,
    Transfer,
    group,
    section,
)
from avocado.model.config import ModelConfig
from avocado.tracking.config import Tracking
from avocado.training.config import FitConfig, OptimizerConfig
from avocado.utils.settings import Names, setting


@dataclass
class Simulate:
    """avocado simulate out=data/demo/compendium

    Makes a simulated compendium: bigWig files, annotations and known truth; by default the small demo, made in seconds.
    At the shape of a real one: assays=roadmap cells=127 lineages=8 tree_depth=3, or with measured_pairs=tracks.tsv.
    """

    out: str = setting("data/demo/compendium", "folder to make")
    seed: int = setting(0, "another seed, another genome")
    chromosomes: dict[str, int] | None = setting(
        None, "sizes in bp, '{chr20: 2500000, chr21: 2500000}'; null: the demo's three, 4 Mb in all"
    )
    pilot: float = setting(0.31, "share of the genome in the pilot regions")
    cells: int | None = setting(None, "number of cell types; null: 9, or those of measured_pairs")
    lineages: int | None = setting(None, "main branches of their tree; null: 3")
    tree_depth: int = setting(1, "levels of branches: 1 is lineages only, each further level parts every branch in two")
    assays: Names = setting(
        None, "some of the paper's 24, or roadmap for all; null: the demo's 7, or those of measured_pairs"
    )
    measured: float = setting(0.7, "share of all pairs of cell type and assay that is measured")
    measured_pairs: str | None = setting(
        None, "or just the pairs of a TSV or CSV table: cell, assay and, if need be, depth and enrichment"
    )
    read_depth: list[float] = setting(
        [0.8, 2.2], "each track's: reads over a place of the background, drawn between these"
    )
    enrichment_spread: float = setting(0.3, "of the tracks' enrichments about 1: standard deviation of the logarithm")
    processes: int = setting(1, "that make tracks; the result is the same")
    progress: bool = setting(True, "progress bars")


@dataclass
class Completion:
    """avocado completion bash

    Prints what has a shell complete commands, keys, options and files with Tab. A line of ~/.bashrc or ~/.zshrc:
    eval "$(avocado completion bash)", or zsh; of ~/.config/fish/config.fish: avocado completion fish | source
    """

    shell: str = setting("bash", "bash, zsh or fish")


@dataclass
class Doctor:
    """avocado doctor

    Looks at this machine, and says what will work and what to do about what will not: versions, processor, GPU, memory,
    disk, W&B, Slurm. Exit status 1 only where nothing will work.
    """

    path: str = setting(".", "folder for stores and runs: may it be written, how fast is it, how much is free?")


@dataclass
class Impute:
    """avocado impute model=runs/model/fold0/seed0 cell=E003 assay=H3K4me3 out=E003.H3K4me3.bw

    Writes imputed tracks, one file each, for one pair, lists of cell types and assays, or a named set of pairs.
    Without a model, any imputer that is fitted to a store's tracks first (`python train.py --help` lists them):
    avocado impute imputer=chromimpute imputer.positions=50000 store=my_store cell=E003 assay=H3K4me3 out=E003.bw
    """

    model: str | None = setting(None, "model directory")
    baseline: str = setting(
        "model",
        "model: combined with the factorization where the model has one; none: the factorization alone, no store",
    )
    imputer: str | None = setting(
        None, "instead of model: average, nearest, chromimpute, predictd, ...; its settings: imputer.<key>=<value>"
    )
    store: str | None = setting(
        None, "the signal store that imputer= learns from; with model=: where its own store is now, if it was moved"
    )
    fold: int | str | None = setting(
        None, "of imputer=: a held-out fold, whose tracks are not learned from; null: every track trains"
    )
    seed: int = setting(0, "of imputer=: of everything random in it")
    split: HeldOut = section(HeldOut, "of imputer=: which tracks are held out, as in training")
    cell: Names = setting(None, "one cell type or a list; null: all")
    assay: Names = setting(None, "one assay or a list; null: all")
    pairs: str | None = setting(
        None, "unmeasured, held_out or all; null: unmeasured where neither cell nor assay is given"
    )
    out: str = setting("imputed/{cell}-{assay}.bw", "file names, .bw (or .bigWig) or .npz")
    regions: Names = setting(
        None,
        "chr20, chr20:1,000,000-1,200,000 or a BED file (of model=), several with commas; null: all chromosomes",
    )
    scale: str = setting(
        "pval", "pval is −log10 p, corrected for being a mean in arcsinh space; arcsinh is the model's own scale"
    )
    decimals: int | None = setting(2, DECIMALS)
    device: str = setting("auto", DEVICE)
    precision: str = setting("auto", PRECISION)
    workers: int | None = setting(None, "processes that write bigWig files; null: one per core")
    overwrite: bool = setting(False, "write files again that are there, whatever made them")
    progress: bool = setting(True, "progress bar")


@dataclass
class Score:
    """avocado score model=runs/model/fold0/seed0

    Scores of a model's held-out tracks compared with average activity; or of any imputer's, which is fitted first:
    avocado score imputer=chromimpute imputer.positions=50000 store=my_store fold=0
    Or of two files:
    avocado score observed=a.bw imputed=b.bw average=c.bw,d.bw assembly=hg38 region=chr20
    With places that matter: genes=gencode.gtf.gz enhancers=fantom5.bed.gz peaks=peaks/{cell}-{assay}.narrowPeak.gz
    Scores are of arcsinh(−log10 p), 'raw' ones of −log10 p. MSE1obs: MSE in the top 1 % of the observed bins (are peaks
    found?), MSE1imp: in the top 1 % of the imputed bins (are they real?), skill: 1 − MSE / MSE of average activity
    """

    model: str | None = setting(None, "model directory")
    baseline: str = setting(
        "model", "model: combined with the factorization where the model has one; none: the factorization alone"
    )
    store: str | None = setting(
        None, "signal store with the observed tracks; null: the one that the model was made with"
    )
    imputer: str | None = setting(
        None, "instead of model: average, nearest, chromimpute, predictd, ...; its settings: imputer.<key>=<value>"
    )
    fold: int | str = setting(
        0, "of imputer=: the held-out fold, or all, where split.hold_out names the held-out tracks"
    )
    seed: int = setting(0, "of imputer=: of everything random in it")
    split: HeldOut = section(HeldOut, "of imputer=: which tracks are held out, as in training")
    tracks: Names = setting(None, "held-out tracks to score, [E003:H3K4me3]; null: all of them")
    region: Names = setting(
        None, "chromosome or pilot; null: every region of the store (and the model), chromosomes also together"
    )
    out: str | None = setting(
        None, "folder for scores.csv (all measures), scores.json and pictures; null: print the main measures only"
    )
    observed: str | None = setting(None, "a track file, instead of store")
    imputed: str | None = setting(None, "a track file, instead of model or imputer")
    average: Names = setting(None, "files of the same assay in other cell types, whose mean is average activity")
    assembly: str | None = setting(None, "of the files: hg19, hg38, or a chrom.sizes file")
    arrays: str = setting("arcsinh", "what .npy and .npz files hold, arcsinh or raw")
    genes: str | None = setting(
        None, "GTF (protein-coding genes are taken) or BED6 file, plain or .gz: scores in promoters and gene bodies"
    )
    enhancers: str | None = setting(None, "BED file, plain or .gz, such as FANTOM5's: scores in enhancers")
    peaks: str | None = setting(
        None, "narrowPeak or BED files of the observed peaks, pattern with {cell} and {assay}; for two files: a file"
    )
    blacklist: str | None = setting(None, "BED file, plain or .gz: bins that it touches are left out of all scores")
    windows: str = setting(
        "avocado", "promoters of avocado (the 2 kb before the TSS and its bin) or challenge (ENCODE's: without its bin)"
    )
    strata: bool = setting(
        False, "also strata.csv: a model's scores by how much the bins differ between training cell types (needs out)"
    )
    device: str = setting("auto", DEVICE)
    precision: str = setting("auto", PRECISION)


@dataclass
class Downstream:
    """avocado downstream labels=my.tsv model=runs/model/fold0/seed0

    How well do a model's factors predict labels of your own, beside tracks, imputations and baselines? labels= is a
    table with columns chrom, start, end, label and, if need be, cell; start2, end2 for pairs of windows. Scored twice:
    on random loci, and with whole chromosomes (or stretches of them) held out. Writes tables, a figure and report.html.
    """

    labels: str = setting(
        MISSING, "TSV or CSV table; positions in bp, 0-based and half-open, on the assembly of the store"
    )
    model: str | None = setting(None, "model directory: latent factors and imputed tracks")
    store: str | None = setting(None, "signal store: own and all tracks; null: that of the model")
    imputed: Names = setting([], "stores of what other methods imputed; a cell type's tracks there are features, too")
    cell: Names = setting([], "cell types; []: those with labels that are known; without a column cell: whose labels")
    features: Names = setting([], "own, imputed, all, factors, states, code; []: those that there are")
    positive: str | None = setting(
        None, "the word in column label that is to be predicted, of other words or another one"
    )
    threshold: float | None = setting(
        None, "labels from it up are to be predicted; null: 0 and 1, or the numbers as such"
    )
    flank: int = setting(0, "bp by which loci are extended on both sides")
    missing: str = setting("-1", "value of assays that a cell type lacks: -1 as in the paper, nan for XGBoost's own")
    folds: int = setting(20, "of random loci; half as many of whole chromosomes")
    seed: int = setting(0, "of the folds")
    threads: int = setting(1, "CPU threads of XGBoost")
    out: str = setting("downstream", "folder of tables, figure and report")
    progress: bool = setting(True, "progress bars")


@dataclass
class Genome:
    """avocado genome store=my_store

    Trains the model of a whole genome and imputes what was never measured, in four steps: the pilot regions, every
    chromosome of the store, a check that the model is complete, bigWig files. What is done is skipped: the same
    command goes on, or says that all is done. Typed twice at once, the two share the work.
    All keys of train.py may follow, and hold in every step: store=, model=, trainer=, launcher=slurm ...
    Only fold= is another here: fold=all, so that every track trains.
    """

    chroms: Names = setting(None, "chromosomes to train; null: all that the store has")
    impute: bool = setting(True, "write bigWig files of the complete model")
    pairs: str = setting("unmeasured", "which tracks are written: unmeasured, held_out (with fold=0 and so on) or all")
    out: str | None = setting(None, "their names; null: <runs>/imputed/<fold>/<seed>/{cell}-{assay}.bw")
    decimals: int | None = setting(2, DECIMALS)
    dry: bool = setting(False, "only say what is done and what is to do")


@dataclass
class Train:
    """python train.py stage=genome chrom=chr20

    Trains a model and scores it on the tracks that were held out, compared with average activity.
    Without any key: an end-to-end run on the demo data, from simulated bigWig files to imputed ones.
    Several runs: python train.py -m stage=genome chrom=chr20,chr21 fold=0..4; in turn, or at once by launcher=
    New cell types or assays for a trained model: python train.py stage=transfer model=DIRECTORY table=new.tsv
    """

    stage: Steps = group("all", "what to train", Steps)
    data: Data = group("demo", "which signal to train on", Data)
    model: ModelConfig = group("default", "size of the network and of the factors", ModelConfig)
    optimizer: OptimizerConfig = group("default", "learning rates, decay, schedule", OptimizerConfig)
    imputer: object = group("avocado", "what imputes: avocado, or any other method, fitted and scored alike")
    trainer: Trainer = group("auto", "hardware", Trainer)
    launcher: object = group(
        "basic", "where several runs (-m) are carried out: in turn, some at a time (joblib), on a cluster (slurm)"
    )
    logger: Tracking = group("csv", "where curves go besides history.csv", Tracking)
    experiment: object = group("none", "named sets of all of the above")
    debug: object = group("none", "small runs to find out what is wrong")
    store: str = setting("${data.store}", "the signal store; data= makes it when it is not there")
    source: str | None = setting(
        None, "typed as model=DIRECTORY: the model that stage=transfer adds to, or stage=genome completes"
    )
    chrom: str = setting("chr20", "the chromosome of stage=genome; stage=joint also takes pilot")
    fold: int | str | None = setting(0, "held-out fold, 0 to folds-1 (or the table's own); all: every track trains")
    seed: int = setting(0, "of initial factors, sampling, dropout and the regression's random features")
    runs: str = setting("runs", "folder of runs and models: <runs>/<stage>/<chrom>/fold<k>/seed<s>")
    resume: bool = setting(True, "go on from the checkpoint of an interrupted run; false: start it again")
    overwrite: bool = setting(False, "train again what is done, or what was begun with other settings")
    color_by: str = setting(
        "lineage", "column of the compendium's table that colours cell types, or assays, in the picture of factors"
    )
    split: Split = section(Split, "which tracks train, validate and test")
    epochs: object = section(Epochs, "passes over the bins of the region; every bin once per pass")
    fit: FitConfig = section(FitConfig, "batches, checks and memory")
    transfer: Transfer = section(Transfer, "of stage=transfer, which learns factors of new cell types and assays")


@dataclass
class Ingest(Tracks):
    """avocado ingest table=tracks.tsv assembly=hg38 regions=pilot,chr20 out=my_store

    Reads track files once into a signal store: mean over 25-bp bins, then arcsinh.
    Safe to interrupt: the same command goes on. More regions later: the same command with them added.
    """

    out: str = setting(MISSING, "folder of the store to make")
    workers: int | None = setting(None, "processes that read tracks; null: one per core")
    progress: bool = setting(True, "progress bars")


@dataclass
class Fetch:
    """avocado fetch roadmap cells=E003,E116 assays=H3K4me3 out=roadmap

    Gets public tracks, bigWigs of −log10 p, and makes the table that avocado ingest reads, tracks.tsv in out=. First it
    says how large they are; dry_run=true does no more. Safe to interrupt: the same command goes on. From ENCODE:
    avocado fetch encode cells=K562,IMR-90 assays=H3K4me3,H3K27ac out=encode
    """

    portal: str = setting(MISSING, "roadmap (127 epigenomes, hg19) or encode; the word alone does as well")
    cells: Names = setting(
        None,
        "E003, names or lineages of Roadmap; biosample terms of ENCODE, as the portal writes them, those with commas "
        "as 'cells=[\"T cell, alpha\",K562]'; null: all",
    )
    assays: Names = setting(None, "H3K4me3, DNase, ...; null: all")
    out: str = setting(MISSING, "folder of the files and of tracks.tsv")
    assembly: str | None = setting(None, "of encode: hg38 (null) or hg19; Roadmap's is hg19")
    download: bool = setting(
        True, "false: the table holds addresses, and ingest reads only what its regions need from there"
    )
    dry_run: bool = setting(False, "say what would be got, and write nothing")
    connections: int = setting(4, "files at once, 8 at most")
    base: str | None = setting(None, "address of a mirror; null: the portal's own")
    progress: bool = setting(True, "progress bars")


@dataclass
class CheckSplit:
    """avocado check-split table=examples.tsv predictions=model.npy out=split.html

    Says which scheme a split of examples really is, what a model gets on it that knows only the place, and, with
    predictions, whether a model knows more. The table (.parquet, .tsv, .csv) has an example a row: chrom, start, end,
    cell, label (0 and 1, or numbers), and split (train, val, test; none: its label is known, and no more) or fold. A
    column prediction is the model's.
    """

    table: str = setting(MISSING, "table of examples")
    predictions: str | None = setting(None, "of every example: .npy, or a table with a column for each model")
    features: str | None = setting(None, "of every example, .npy or a table: are some the same in all cell types?")
    fold: int | None = setting(None, "which one is tested, by the column fold; null: the column split, or else fold 0")
    near: int | None = setting(None, "bp within which loci are neighbours; null: the median length of a locus")
    seed: int = setting(0, "of the bootstrap")
    out: str | None = setting(None, "an .html file with all tables; null: print the main ones only")


COMMANDS = {
    "simulate": Simulate,
    "fetch": Fetch,
    "ingest": Ingest,
    "train": Train,
    "genome": Genome,
    "impute": Impute,
    "hub": Hub,
    "view": View,
    "score": Score,
    "embed": Embed,
    "attribute": Attribute,
    "downstream": Downstream,
    "check-split": CheckSplit,
    "completion": Completion,
    "doctor": Doctor,
    "next": Next,
    "convert": Convert,
    "inspect": Inspect,
}
