"""Sections and groups of keys that commands share: types, defaults and meanings, as in `commands`."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from typing import Any

from avocado.imputers.config import AvocadoConfig, ChromImputeConfig, EnsembleConfig, PredictdConfig, SimilarityConfig
from avocado.model.config import RegressionConfig
from avocado.training.stages import STAGES
from avocado.training.transfer_config import TransferConfig
from avocado.utils.hardware import Hardware
from avocado.utils.settings import Names, setting

MISSING: Any = "???"  # as OmegaConf has it: a value that has to be given
DECIMALS = "that the values of bigWig files are rounded to; null: all digits, in files 2.4 times as large"
DEVICE = "auto, cpu, cuda, cuda:1"
PRECISION = "of matrix products: bf16, float32, tf32 (CUDA); auto: bf16 where the hardware has it"


def section(cls: type, meaning: str) -> Any:
    """A field that holds the keys of another dataclass."""
    return field(default=cls, metadata={"meaning": meaning, "section": cls})


def group(default: str, meaning: str, cls: type | None = None) -> Any:
    """The same for a config group, `conf/<name>/`, and the option of it that is taken where none is typed."""
    return field(default=cls, metadata={"meaning": meaning, "section": cls, "option": default})


@dataclass
class Tracks:
    """Which files make a store."""

    table: str | None = setting(None, "TSV or CSV with columns cell, assay, file; other columns travel along")
    folder: str | None = setting(None, "instead of a table: a folder of files")
    pattern: str | None = setting("{cell}-{assay}.bigwig", "and how their names are made")
    assembly: str = setting(MISSING, "hg19, hg38, or a chrom.sizes file")
    regions: Names = setting(["pilot"], "pilot, chromosomes, autosomes, all, or BED files")
    min_assays: int = setting(5, "drop cell types with fewer assays")
    min_cells: int = setting(5, "drop assays in fewer cell types")
    arrays: str = setting("arcsinh", "what .npy and .npz files hold, arcsinh or raw")
    dtype: str = setting("float16", "of the store, or float32")


@dataclass
class Data(Tracks):
    """What to train on."""

    store: str = setting(MISSING, "where the signal store lies, or is made")
    simulate: str | None = setting(None, "make the demo compendium there; null for real data")


@dataclass
class HeldOut:
    """Which tracks are held out."""

    folds: int = setting(5, "number of folds made where the table has no fold or split column")
    seed: int = setting(0, "of these folds")
    hold_out: Names = setting([], "further held-out tracks, [E003:H3K4me3,E017:H3K27me3]")


@dataclass
class Split(HeldOut):
    """Which tracks train, validate and test."""

    validation: float = setting(0.0, "share or number of training tracks set apart for val/mse and early stopping")


# passes of each stage, which brings its own
Epochs = make_dataclass(
    "Epochs", [(its.name, int, setting(its.epochs, its.meaning)) for its in STAGES.values() if not its.adds]
)


@dataclass(frozen=True)
class Transfer(TransferConfig):
    """stage=transfer, where keys can be typed without `transfer.`"""

    table: str | None = setting(
        None, "new tracks: TSV or CSV with columns cell, assay, file; split=test: only for a score"
    )
    out: str | None = setting(None, "directory of the model to make; null: <runs>/transfer/<name of the table>")
    regions: Names = setting(None, "of the model, in which new tracks are read; null: all")
    arrays: str = setting("arcsinh", "what .npy and .npz files hold, arcsinh or raw")
    verdict: bool = setting(True, "judge each track by leaving it out, with average activity beside")
    workers: int | None = setting(None, "processes that read tracks; null: one per core")


@dataclass
class Steps:
    """What `stage=` stands for."""

    steps: list[str] = setting([], "stages in their order")
    impute: bool = setting(False, "write the held-out tracks as bigWig at the end")


@dataclass(frozen=True)
class Trainer(Hardware):
    """Hardware, and how its work is shown."""

    threads: int | None = setting(
        None, "CPU threads of PyTorch; null: as many as there are cores, divided by the processes"
    )
    progress: bool = setting(True, "progress bars")


@dataclass
class Joblib:
    """launcher=joblib."""

    jobs: int | None = setting(None, "runs at a time; null: one per GPU, without GPUs two")
    folder: str | None = setting(None, "of the log files, one per run; null: <runs>/logs")


@dataclass
class Slurm:
    """launcher=slurm."""

    cluster: str = setting("slurm", "local: the same jobs as processes of this machine, to try them out")
    partition: str | None = setting(None, "of the cluster; null: its default")
    account: str | None = setting(None, "that is charged; null: your default")
    time: int = setting(240, "minutes of one run, at least 3")
    memory: int = setting(16, "GB of one run")
    cpus: int = setting(4, "cores, and CPU threads, of one run")
    gpus: int = setting(0, "of one run")
    parallel: int = setting(100, "runs at a time")
    requeue: int = setting(20, "times that a run which is out of time is queued again")
    sbatch: str | None = setting(None, "further options of sbatch, '--constraint=a100 --qos=long'")
    setup: str | None = setting(None, "a shell command before each run, 'module load cuda'")
    folder: str | None = setting(None, "of the log files, one per run, where all nodes see it; null: <runs>/logs")


@dataclass(frozen=True)
class Members(EnsembleConfig):
    """imputer=ensemble."""

    members: list[str] = setting(
        ["avocado", "chromimpute", "predictd", "regression"], "which imputers, each as its file in conf/imputer has it"
    )


@dataclass
class Nothing:
    """No settings."""


IMPUTERS = {
    "average": Nothing,
    "place": Nothing,
    "nearest": Nothing,
    "similarity": SimilarityConfig,
    "regression": RegressionConfig,
    "predictd": PredictdConfig,
    "chromimpute": ChromImputeConfig,
    "avocado": AvocadoConfig,
    "ensemble": Members,
}
LAUNCHERS = {"basic": Nothing, "joblib": Joblib, "slurm": Slurm}
