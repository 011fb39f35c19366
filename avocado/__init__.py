"""Multi-scale deep tensor factorization of the epigenome: imputation, latent factors, honest evaluation.

store = avocado.ingest("tracks.tsv", "my_store", assembly="hg38", regions=["pilot", "chr20"])
avocado.train(store, "pilot")
model = avocado.load_model(avocado.train(store, "genome", "chr20").model)
signal = avocado.impute(model, ("E003", "H3K27me3"), "chr20:1,000,000-1,200,000")
scores = avocado.score(model)
"""

import ctypes
import importlib
import os
import platform
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avocado.api import picture, score, stratify, train, transfer
    from avocado.data.intake import ingest
    from avocado.data.store import open_store
    from avocado.errors import InputError
    from avocado.evaluation.next import next_experiments
    from avocado.generalization.check import check_split
    from avocado.inference.impute import impute, write_tracks
    from avocado.latent.tables import attribute, embed
    from avocado.model.directory import load_model
    from avocado.model.published import export_published, import_published
    from avocado.simulation.compendium import simulate

__version__ = "0.2.0"
__all__ = [
    "InputError", "__version__", "attribute", "check_split", "embed", "export_published", "import_published", "impute",
    "ingest", "load_model", "next_experiments", "open_store", "picture", "score", "simulate", "stratify", "train",
    "transfer", "write_tracks",
]  # fmt: skip
_HOMES = {
    "InputError": "avocado.errors",
    "attribute": "avocado.latent.tables",
    "check_split": "avocado.generalization.check",
    "embed": "avocado.latent.tables",
    "export_published": "avocado.model.published",
    "import_published": "avocado.model.published",
    "impute": "avocado.inference.impute",
    "ingest": "avocado.data.intake",
    "load_model": "avocado.model.directory",
    "next_experiments": "avocado.evaluation.next",
    "open_store": "avocado.data.store",
    "picture": "avocado.api",
    "score": "avocado.api",
    "simulate": "avocado.simulation.compendium",
    "stratify": "avocado.api",
    "train": "avocado.api",
    "transfer": "avocado.api",
    "write_tracks": "avocado.inference.impute",
}

# Must be set before torch is imported. How long OpenMP's waiting threads spin before they sleep: for ever (the default)
# makes small steps many times slower on a machine that others use too; not at all (OMP_WAIT_POLICY=PASSIVE) makes them
# 1.6 times slower on a quiet one, as every operation then wakes its threads. This is some 10 microseconds.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Where freed memory goes. By default glibc gives every array above some 100 kB back to the system, so that the next one
# of its size costs a page fault per 4 kB, which in a training step is as much time as all its products. Arrays of up to
# 32 MiB, activations among them, are taken from memory that is kept, of which at most 256 MiB stay unused.
if platform.libc_ver()[0] == "glibc" and not os.environ.keys() & {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}:
    _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
    _libc = ctypes.CDLL(None)
    _libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    _libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)


def __getattr__(name: str) -> Any:
    """Public names are imported when they are asked for: `import avocado` is light, PyTorch is not."""
    if name not in _HOMES:
        raise AttributeError(f"module 'avocado' has no attribute '{name}'; it has: {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
