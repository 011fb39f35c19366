"""What nobody knows in real life: states, expected signal and expression behind a simulated compendium."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from avocado.errors import InputError
from avocado.simulation.chromatin import STATES, Chromatin
from avocado.simulation.lineages import Tree
from avocado.simulation.reads import Experiment


def write_signal(path: Path, track: int, values: np.ndarray) -> None:
    """Put a track's signal (n_bins,) into its place of a raw float16 file of all tracks, which exists.

    Written, not memory-mapped: on a full disk a map ends the process.
    """
    values = values.astype(np.float16)
    with path.open("r+b") as file:
        file.seek(track * values.nbytes)
        file.write(values.tobytes())


def write_truth(
    path: Path,
    tree: Tree,
    experiments: Sequence[Experiment],
    pilot: Sequence[tuple[str, int, int]],
    lands: Mapping[str, Chromatin],
    signal: Mapping[str, tuple[Path, int]],
) -> None:
    """Write `truth.npz`; signal: for each chromosome the file that `write_signal` filled, and its bins."""
    assays = list(dict.fromkeys(e.assay for e in experiments))
    mapped = {
        chrom: np.memmap(file, np.float16, "r", shape=(len(tree.cells), len(assays), n_bins))
        for chrom, (file, n_bins) in signal.items()
    }
    np.savez(
        path,
        allow_pickle=False,
        cells=np.array(tree.cells),
        assays=np.array(assays),
        state_names=np.array(STATES),
        lineage=np.array(tree.lineages)[tree.lineage],
        lineage_distance=tree.distance,
        measured=np.array([e.measured for e in experiments]).reshape(len(tree.cells), -1),
        pilot_chrom=np.array([chrom for chrom, _, _ in pilot]),
        pilot_span=np.array([(start, end) for _, start, end in pilot]),
        **{f"states.{chrom}": land.states[:, : mapped[chrom].shape[-1]] for chrom, land in lands.items()},
        **{f"signal.{chrom}": values for chrom, values in mapped.items()},
        **{f"gene_activity.{chrom}": land.genes.activity.astype(np.float32) for chrom, land in lands.items()},
    )


def truth_signal(directory: str | Path, chrom: str) -> np.ndarray:
    """Expected arcsinh signal of every pair on a chromosome, float16 (n_cells, n_assays, n_bins), read-only.

    It stays in the `truth.npz` of a simulated compendium and is read from there where it is looked at, which
    `np.load` cannot do; at the size of a real compendium it takes gigabytes. Raises InputError where there is none.
    """
    path = Path(directory) / "truth.npz"
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            chroms = [name[7:-4] for name in archive.namelist() if name.startswith("signal.")]
            if chrom not in chroms:
                raise InputError(f"{path} has no chromosome '{chrom}'; it has: {', '.join(chroms)}")
            # arrays lie uncompressed in the file, each behind a header of the archive and one of NumPy's
            start = archive.getinfo(f"signal.{chrom}.npy").header_offset
            file.seek(start + 26)
            file.seek(start + 30 + sum(struct.unpack("<HH", file.read(4))))
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            return np.memmap(path, dtype, "r", file.tell(), shape)
    except (OSError, zipfile.BadZipFile):
        raise InputError(f"{path}: no such file, or not whole; give the folder of a simulated compendium") from None
