"""The demo compendium: small, made up, with known truth, and in the very file formats of a real one.

Reads are drawn from a landscape (see `landscape.py`), piled up, and turned into −log10 p as MACS2 does it: the chance
that a Poisson background of the track's mean coverage piles up more reads. Noise, depth, runs of constant value and
gaps of the bigWig files therefore look like those of a real compendium.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from avocado.assay_shapes import ASSAYS
from avocado.bigwig import write_intervals
from avocado.demo_files import write_enhancers, write_genes, write_gzip, write_text
from avocado.errors import InputError
from avocado.genome import BIN_SIZE
from avocado.landscape import STATES, Landscape, make_landscape
from avocado.lineages import Tree, make_tree
from avocado.reads import Experiment, call_peaks, expected_signal, read_rate, sequence

GENERATOR_VERSION = 1
FRAGMENT = {"DNase": 100}  # bp that a read is extended to; 200 in the ChIP-seq assays
MIN_MEASURED = 5  # the papers keep cell types and assays with at least five tracks
PEAK_CUTOFF = 2.0  # −log10 p of a peak, MACS2 at p = 0.01 as in the Roadmap peak files
PEAK_MAX_GAP = 50  # bp below the cutoff that a peak may bridge
MAX_COVERAGE = 400  # expected; no peak is higher

README = """\
This is the demo compendium of avocado. All of it is made up: genome, genes, cell types, and signal.
Its files have the formats of a real compendium: bigWig (−log10 p), compendium.tsv, GTF, BED, narrowPeak, chrom.sizes.
Cell types of one lineage (stem, blood, brain) resemble each other; about 70 % of all tracks are "measured".
truth.npz holds what nobody has in real life: chromatin states and the noise-free signal of every track.
Made by `avocado.synthetic.simulate` with the settings in demo.json; delete the folder to make it anew.
"""


@dataclass(frozen=True)
class DemoSettings:
    """Size of the demo compendium. Chromosomes need at least 50 kb; sizes are best no multiples of 25 or 5,000 bp."""

    sizes: tuple[tuple[str, int], ...] = (("chr20", 2_003_417), ("chr21", 1_001_289), ("chr22", 1_002_911))  # bp
    n_cells: int = 9
    assays: tuple[str, ...] = ASSAYS
    measured: float = 0.7  # share of all (cell, assay) pairs; more where five tracks per cell type and assay need it
    pilot: float = 0.31  # share of the genome in the pilot regions


def simulate(directory: str | Path, seed: int = 0, settings: DemoSettings | None = None) -> Path:
    """Make the demo compendium in `directory`, or find it there.

    Writes `compendium.tsv`, `bigwig/`, `demo.chrom.sizes`, `demo.pilot.bed`, the annotations `genes.gtf.gz`,
    `enhancers.bed.gz`, `blacklist.bed.gz` and `peaks/`, and `truth.npz`. The same seed gives the same data. The
    directory appears under its name only when complete, so several processes may ask for the same demo at once.

    `truth.npz` holds `cells`, `assays`, `state_names`, `lineage` (n_cells,), `lineage_distance` (n_cells, n_cells),
    `measured` (n_cells, n_assays), `pilot_chrom` and `pilot_span` (bp), and for each chromosome
    `states.<chrom>` uint8 (n_cells, n_bins), `signal.<chrom>` float16 (n_cells, n_assays, n_bins), the expected
    arcsinh signal, and `gene_activity.<chrom>` float32 (n_genes, n_cells) in the order of the GTF, 0 where silent.

    Args:
        directory: where the compendium goes; its parents are created.
        seed: of everything random.
        settings: size; the default takes a few seconds to make and 40 MB.

    Returns:
        `directory` as a Path.

    Raises:
        InputError: where `directory` holds something else, or cannot be written, or the settings make no sense.
    """
    directory, settings = Path(directory), settings or DemoSettings()
    _check(seed, settings)
    identity = json.loads(json.dumps({"generator": GENERATOR_VERSION, "seed": seed, **asdict(settings)}))
    if _is_made(directory, identity):
        return directory
    partial = directory.with_name(f"{directory.name}.partial-{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _build(partial, seed, settings)
        (partial / "demo.json").write_text(json.dumps(identity, indent=1) + "\n")
        try:
            os.rename(partial, directory)
        except OSError:
            # another process may have been quicker; anything else is a real failure
            if not _is_made(directory, identity):
                raise
    except OSError as error:
        raise InputError(f"cannot write the demo compendium {directory}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return directory


def _check(seed: int, settings: DemoSettings) -> None:
    unknown = [assay for assay in settings.assays if assay not in ASSAYS]
    if unknown or not settings.assays or len(set(settings.assays)) < len(settings.assays):
        raise InputError(f"demo assays {list(settings.assays)}: give different ones out of {', '.join(ASSAYS)}")
    short = [chrom for chrom, size in settings.sizes if size < 50_000]
    if short or not settings.sizes:
        raise InputError(f"demo chromosomes {short}: give at least one, each of at least 50,000 bp")
    if seed < 0:
        raise InputError(f"demo seed {seed}: give 0 or more")
    if settings.n_cells < 1 or not 0 < settings.measured <= 1 or not 0 < settings.pilot <= 0.8:
        raise InputError(
            f"demo with n_cells={settings.n_cells}, measured={settings.measured}, pilot={settings.pilot}: "
            "give at least 1 cell type, measured in (0, 1], pilot in (0, 0.8]"
        )


def _is_made(directory: Path, identity: dict[str, object]) -> bool:
    """Whether `directory` is this very demo. Raises InputError where it is anything else but absent or empty."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return False
    try:
        found = json.loads((directory / "demo.json").read_text())
    except (OSError, ValueError):
        raise InputError(f"{directory} exists and is no demo compendium: give another directory") from None
    if found != identity:
        differing = [key for key in identity if found.get(key) != identity[key]]
        raise InputError(
            f"{directory} holds a demo compendium with other settings ({', '.join(differing)}): "
            "delete it or give another directory"
        )
    return True


def _build(directory: Path, seed: int, settings: DemoSettings) -> None:
    sizes, tree = dict(settings.sizes), make_tree(settings.n_cells)
    design_rng, land_rng, read_rng = np.random.default_rng(seed).spawn(3)
    experiments = _draw_experiments(design_rng, tree, settings)
    pilot = _draw_pilot(design_rng, settings)
    lands = {
        chrom: make_landscape(rng, size, tree, settings.assays)
        for (chrom, size), rng in zip(sizes.items(), land_rng.spawn(len(sizes)), strict=True)
    }
    n_cells, n_assays = len(tree.cells), len(settings.assays)
    truth = {chrom: np.zeros((n_cells, n_assays, size // BIN_SIZE), dtype=np.float16) for chrom, size in sizes.items()}
    (directory / "bigwig").mkdir()
    (directory / "peaks").mkdir()
    for k, (experiment, rng) in enumerate(zip(experiments, read_rng.spawn(len(experiments)), strict=True)):
        cell, assay = divmod(k, n_assays)
        tracks = {}
        for chrom, land in lands.items():
            rate, unmappable = read_rate(land, cell, experiment), land.background == 0
            expected = expected_signal(rate, experiment, unmappable)
            truth[chrom][cell, assay] = expected[: truth[chrom].shape[-1]]
            if experiment.measured:
                tracks[chrom] = sequence(rng, rate, sizes[chrom], experiment, unmappable)
        if experiment.measured:
            intervals = {chrom: (track.starts, track.ends, track.values) for chrom, track in tracks.items()}
            write_intervals(directory / experiment.file, sizes, intervals)
            write_gzip(directory / "peaks" / f"{experiment.name}.narrowPeak.gz", call_peaks(tracks, experiment))
    _write_truth(directory / "truth.npz", tree, experiments, pilot, lands, truth)
    lineage = dict(zip(tree.cells, np.array(tree.lineages)[tree.lineage], strict=True))
    table = [(e.cell, e.assay, e.file, lineage[e.cell]) for e in experiments if e.measured]
    write_text(directory / "compendium.tsv", table, header="cell\tassay\tfile\tlineage\n")
    write_text(directory / "demo.chrom.sizes", sizes.items())
    write_text(directory / "demo.pilot.bed", pilot)
    write_genes(directory / "genes.gtf.gz", lands)
    write_enhancers(directory / "enhancers.bed.gz", lands)
    artefacts = ((c, start, end, "High Signal Region") for c, land in lands.items() for start, end in land.artefacts)
    write_gzip(directory / "blacklist.bed.gz", artefacts)
    (directory / "README.txt").write_text(README, encoding="utf-8")


def _write_truth(
    path: Path,
    tree: Tree,
    experiments: Sequence[Experiment],
    pilot: Sequence[tuple[str, int, int]],
    lands: Mapping[str, Landscape],
    signal: Mapping[str, np.ndarray],
) -> None:
    np.savez(
        path,
        allow_pickle=False,
        cells=np.array(tree.cells),
        assays=np.array(list(dict.fromkeys(e.assay for e in experiments))),
        state_names=np.array(STATES),
        lineage=np.array(tree.lineages)[tree.lineage],
        lineage_distance=tree.distance,
        measured=np.array([e.measured for e in experiments]).reshape(len(tree.cells), -1),
        pilot_chrom=np.array([chrom for chrom, _, _ in pilot]),
        pilot_span=np.array([(start, end) for _, start, end in pilot]),
        **{f"states.{chrom}": land.states[:, : signal[chrom].shape[-1]] for chrom, land in lands.items()},
        **{f"signal.{chrom}": values for chrom, values in signal.items()},
        **{f"gene_activity.{chrom}": land.genes.activity.astype(np.float32) for chrom, land in lands.items()},
    )


def _draw_experiments(rng: np.random.Generator, tree: Tree, settings: DemoSettings) -> list[Experiment]:
    """One experiment for every (cell, assay), cell by cell."""
    measured = _draw_design(rng, len(tree.cells), len(settings.assays), settings.measured)
    return [
        Experiment(
            cell,
            assay,
            depth=float(np.exp(rng.uniform(np.log(0.8), np.log(2.2)))),
            enrichment=float(np.exp(0.3 * rng.standard_normal())),
            bias=float(rng.uniform(0.7, 1.3)),
            measured=bool(measured[i, j]),
        )
        for i, cell in enumerate(tree.cells)
        for j, assay in enumerate(settings.assays)
    ]


def _draw_design(rng: np.random.Generator, n_cells: int, n_assays: int, share: float) -> np.ndarray:
    """Bool (n_cells, n_assays): which tracks are measured, at least five per cell type and assay where there are five.

    Tracks are dropped one by one, from the best-covered cell types first, until `share` of them is left.
    """
    measured = np.ones((n_cells, n_assays), dtype=bool)
    while measured.sum() > share * measured.size:
        per_cell, per_assay = measured.sum(axis=1, keepdims=True), measured.sum(axis=0, keepdims=True)
        spare = measured & (per_cell > MIN_MEASURED) & (per_assay > MIN_MEASURED)
        if not spare.any():
            break
        cells, assays = np.nonzero(spare & (per_cell == per_cell[spare.any(axis=1)].max()))
        drop = rng.integers(len(cells))
        measured[cells[drop], assays[drop]] = False
    return measured


def _draw_pilot(rng: np.random.Generator, settings: DemoSettings) -> list[tuple[str, int, int]]:
    """Pilot regions in bp: one in every ~700 kb of a chromosome, each somewhere in its own stretch."""
    regions = []
    for chrom, size in settings.sizes:
        n = max(1, round(size / 700_000))
        stretch, length = size // n, int(settings.pilot * size / n)
        for i in range(n):
            start = i * stretch + int(rng.uniform(0.1, 0.9) * (stretch - length))
            regions.append((chrom, start, start + length))
    return regions
