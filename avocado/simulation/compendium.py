"""The demo compendium: made up, with known truth, and in the very file formats of a real one.

Small by default. At the size of a real one it takes as little memory: tracks are made one by one, in several processes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from avocado.data.bigwig import write_intervals
from avocado.data.genome import BIN_SIZE
from avocado.errors import InputError
from avocado.simulation.assay_shapes import ASSAYS, ROADMAP_ASSAYS
from avocado.simulation.chromatin import Chromatin, simulate_chromatin
from avocado.simulation.demo_files import README, write_enhancers, write_expression, write_genes, write_gzip, write_text
from avocado.simulation.lineages import LINEAGES, Tree, make_tree
from avocado.simulation.measured import MeasuredPair, draw_experiments
from avocado.simulation.reads import DEPTHS, Experiment, call_peaks, expected_signal, read_rate, sequence
from avocado.simulation.truth import write_signal, write_truth
from avocado.utils.progress import shown
from avocado.utils.workers import in_processes

GENERATOR_VERSION = 1
FIRST_SETTINGS = ("sizes", "n_cells", "assays", "measured", "pilot")  # those of the first demos
BIGWIG_BYTES = 0.15  # of a bigWig and its peaks for each bp, at most
SCRATCH = "signal.partial"  # folder of the truth's signal while tracks are made


@dataclass(frozen=True)
class DemoSettings:
    """Size and make of the compendium. Chromosomes need at least 50 kb, best no multiples of 25 or 5,000 bp.

    `measured_pairs`, as `measured.read_pairs` gives them, bring cell types (by order of appearance, neighbours being
    relatives) and assays of their own: `n_cells`, `assays` and `measured` then have no effect.
    """

    sizes: tuple[tuple[str, int], ...] = (("chr20", 2_003_417), ("chr21", 1_001_289), ("chr22", 1_002_911))  # bp
    n_cells: int = 9
    assays: tuple[str, ...] = ASSAYS  # out of ROADMAP_ASSAYS
    measured: float = 0.7  # share of all (cell, assay) pairs; more where five tracks per cell type and assay need it
    pilot: float = 0.31  # share of the genome in the pilot regions
    lineages: int | None = None  # main branches of the tree of cell types; None: three, of which some may be empty
    tree_depth: int = 1  # levels of branches: 1 is lineages only, each further level parts every branch in two
    measured_pairs: tuple[MeasuredPair, ...] = ()
    read_depth: tuple[float, float] = (0.8, 2.2)  # of a track: mean coverage of the background, drawn from this range
    enrichment_spread: float = 0.3  # of the tracks' enrichments about 1: standard deviation of the logarithm


@dataclass(frozen=True)
class _Work:
    """What a process needs to make a track."""

    directory: Path
    sizes: Mapping[str, int]
    lands: Mapping[str, Chromatin]
    experiments: Sequence[Experiment]  # of all pairs, cell by cell
    generators: Sequence[np.random.Generator]  # one for each of them
    n_assays: int

    def signal(self, chrom: str) -> tuple[Path, int]:
        """File of the truth's signal while it is made, and the bins that it covers."""
        return self.directory / SCRATCH / chrom, self.sizes[chrom] // BIN_SIZE


def simulate(
    directory: str | Path,
    seed: int = 0,
    settings: DemoSettings | None = None,
    *,
    processes: int = 1,
    progress: bool = False,
) -> Path:
    """Make the demo compendium in `directory`, or find it there.

    Writes `compendium.tsv`, `bigwig/`, `demo.chrom.sizes`, `demo.pilot.bed`, the annotations `genes.gtf.gz`,
    `enhancers.bed.gz`, `blacklist.bed.gz` and `peaks/`, `expression.tsv` (labels) and `truth.npz`. The same seed gives
    the same data. The directory appears under its name only when complete, so several processes may ask for the same
    demo at once.

    `truth.npz` holds `cells`, `assays`, `state_names`, `lineage` (n_cells,), `lineage_distance` (n_cells, n_cells),
    `measured` (n_cells, n_assays), `pilot_chrom` and `pilot_span` (bp), and for each chromosome
    `states.<chrom>` uint8 (n_cells, n_bins), `signal.<chrom>` float16 (n_cells, n_assays, n_bins), the expected
    arcsinh signal (large ones are best read with `truth.truth_signal`), and `gene_activity.<chrom>` float32
    (n_genes, n_cells) in the order of the GTF, 0 where silent.

    Parameters
    ----------
    directory
        Where the compendium goes; its parents are created.
    seed
        Of everything random.
    settings
        Size and make; the default takes a few seconds to make and 40 MB.
    processes
        That make tracks; the result is the same.
    progress
        Whether to show progress bars.

    Returns
    -------
    pathlib.Path
        `directory`.

    Raises
    ------
    InputError
        Where `directory` holds something else, or cannot be written, or the settings make no sense.
    """
    directory = Path(directory)
    settings = _checked(seed, settings or DemoSettings(), processes)
    identity = _identity(seed, settings)
    if _is_made(directory, identity):
        return directory
    partial = directory.with_name(f"{directory.name}.partial-{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _build(partial, seed, settings, processes, progress)
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


def _checked(seed: int, settings: DemoSettings, processes: int) -> DemoSettings:
    """The settings, with what a table of pairs brings along. Raises InputError for what makes no sense."""
    assays = settings.assays
    if settings.measured_pairs:
        pairs = [(pair.cell, pair.assay) for pair in settings.measured_pairs]
        if len(set(pairs)) < len(pairs):
            twice = next(pair for pair in pairs if pairs.count(pair) > 1)
            raise InputError(f"measured pairs: {' '.join(twice)} is there twice; keep one of them")
        assays = tuple(dict.fromkeys(assay for _, assay in pairs))
        settings = replace(settings, n_cells=len({cell for cell, _ in pairs}), assays=assays)
    known = dict.fromkeys((*ASSAYS, *ROADMAP_ASSAYS))
    unknown = [assay for assay in assays if assay not in known]
    if unknown or not assays or len(set(assays)) < len(assays):
        named = f"unknown demo assays {', '.join(unknown)}" if unknown else f"demo assays {list(assays)}"
        raise InputError(f"{named}: give different ones out of {', '.join(known)}")
    short = [chrom for chrom, size in settings.sizes if size < 50_000]
    if short or not settings.sizes:
        raise InputError(f"demo chromosomes {short}: give at least one, each of at least 50,000 bp")
    if len(dict(settings.sizes)) < len(settings.sizes):
        raise InputError(f"demo chromosomes {[chrom for chrom, _ in settings.sizes]}: give each once")
    if seed < 0:
        raise InputError(f"demo seed {seed}: give 0 or more")
    if processes < 1:
        raise InputError(f"processes={processes}: at least one is needed")
    if settings.n_cells < 1 or not 0 < settings.measured <= 1 or not 0 < settings.pilot <= 0.8:
        raise InputError(
            f"demo with n_cells={settings.n_cells}, measured={settings.measured}, pilot={settings.pilot}: "
            "give at least 1 cell type, measured in (0, 1], pilot in (0, 0.8]"
        )
    _check_tree(settings)
    low, high = settings.read_depth
    if not DEPTHS[0] <= low <= high <= DEPTHS[1]:
        raise InputError(
            f"read_depth {low} to {high}: give the lowest, then the highest, both from {DEPTHS[0]:g} to {DEPTHS[1]:g}"
        )
    if not 0 <= settings.enrichment_spread <= 0.7:
        raise InputError(f"enrichment_spread={settings.enrichment_spread}: give 0 (all tracks alike) to 0.7")
    if settings.measured_pairs:  # assays in the paper's order, whatever that of the table
        settings = replace(settings, assays=tuple(assay for assay in ROADMAP_ASSAYS if assay in assays))
    return replace(settings, lineages=None) if settings.lineages == LINEAGES else settings


def _check_tree(settings: DemoSettings) -> None:
    lineages, depth, n_cells = settings.lineages, settings.tree_depth, settings.n_cells
    if lineages is not None and not 1 <= lineages <= n_cells:
        raise InputError(f"lineages={lineages} of {n_cells} cell types: give 1 to {n_cells}, or more cell types")
    closest = (lineages or LINEAGES) * 2 ** min(depth - 1, 30)
    if depth < 1 or (depth > 1 and closest > n_cells):
        raise InputError(
            f"tree_depth={depth}: give at least 1 and not so much that branches outnumber the cell types; with "
            f"{lineages or LINEAGES} lineages it makes {max(closest, 1):,} branches for {n_cells} cell types"
        )


def _identity(seed: int, settings: DemoSettings) -> dict[str, object]:
    """What must agree for a compendium to be found again, as JSON gives it back."""
    values = asdict(settings)
    if settings.measured_pairs:  # so many that their checksum stands for them
        values["measured_pairs"] = hashlib.sha256(json.dumps(values["measured_pairs"]).encode()).hexdigest()
    # settings that came later only where they are not the default, so that what was made before them is found
    kept = {
        field.name: values[field.name]
        for field in fields(settings)
        if field.name in FIRST_SETTINGS or values[field.name] != field.default
    }
    return json.loads(json.dumps({"generator": GENERATOR_VERSION, "seed": seed, **kept}))


def _is_made(directory: Path, identity: dict[str, object]) -> bool:
    """Whether `directory` is this very demo. Raises InputError where it is anything else but absent or empty."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return False
    try:
        found = json.loads((directory / "demo.json").read_text())
    except (OSError, ValueError):
        raise InputError(f"{directory} exists and is no demo compendium: give another directory") from None
    if found != identity:
        differing = [key for key in {**identity, **found} if found.get(key) != identity.get(key)]
        raise InputError(
            f"{directory} holds a demo compendium with other settings ({', '.join(differing)}): "
            "delete it or give another directory"
        )
    return True


def _build(directory: Path, seed: int, settings: DemoSettings, processes: int, progress: bool) -> None:
    sizes, assays, pairs = dict(settings.sizes), settings.assays, settings.measured_pairs
    cells = tuple(dict.fromkeys(pair.cell for pair in pairs))
    tree = make_tree(settings.n_cells, settings.lineages or LINEAGES, settings.tree_depth, cells)
    design_rng, land_rng, read_rng = np.random.default_rng(seed).spawn(3)
    experiments = draw_experiments(
        design_rng, tree.cells, assays, pairs or settings.measured, settings.read_depth, settings.enrichment_spread
    )
    pilot = _draw_pilot(design_rng, settings)
    _require_space(directory, sum(sizes.values()), experiments)
    streams = zip(sizes.items(), land_rng.spawn(len(sizes)), strict=True)
    lands = {
        chrom: simulate_chromatin(rng, size, tree, assays)
        for (chrom, size), rng in shown(streams, "drawing chromosomes", len(sizes), progress)
    }
    work = _Work(directory, sizes, lands, experiments, read_rng.spawn(len(experiments)), len(assays))
    for name in ("bigwig", "peaks", SCRATCH):
        (directory / name).mkdir()
    for chrom in sizes:
        work.signal(chrom)[0].touch()
    killed = (
        "a process that made tracks was killed, out of memory or by a full disk: make room, or give processes=1; "
        "a script needs `if __name__ == '__main__':` before processes=2"
    )
    # closed at once on Ctrl-C: nothing may be written any more when the folder is removed
    with closing(in_processes(_make_track, range(len(experiments)), processes, killed, (work,))) as made:
        for _ in shown(made, "making tracks", len(experiments), progress):
            pass
    write_truth(
        directory / "truth.npz", tree, experiments, pilot, lands, {chrom: work.signal(chrom) for chrom in sizes}
    )
    shutil.rmtree(directory / SCRATCH)
    _write_table(directory / "compendium.tsv", tree, experiments, pairs)
    write_text(directory / "demo.chrom.sizes", sizes.items())
    write_text(directory / "demo.pilot.bed", pilot)
    write_genes(directory / "genes.gtf.gz", lands)
    write_expression(directory / "expression.tsv", lands, tree.cells, sizes)
    write_enhancers(directory / "enhancers.bed.gz", lands)
    artefacts = ((c, start, end, "High Signal Region") for c, land in lands.items() for start, end in land.artefacts)
    write_gzip(directory / "blacklist.bed.gz", artefacts)
    share = np.mean([experiment.measured for experiment in experiments])
    if set(assays) <= set(ASSAYS) and not pairs:  # what demos always said, whose files stay as they were
        share = 0.7
    text = README.format(lineages=", ".join(tree.lineages), share=f"about {100 * share:.0f} %")
    (directory / "README.txt").write_text(text, encoding="utf-8")


def _make_track(number: int, work: _Work) -> None:
    """Write the truth of a pair and, where it is measured, its bigWig and its peaks."""
    experiment, rng = work.experiments[number], work.generators[number]
    tracks = {}
    for chrom, land in work.lands.items():
        rate, unmappable = read_rate(land, number // work.n_assays, experiment), land.background == 0
        file, n_bins = work.signal(chrom)
        write_signal(file, number, expected_signal(rate, experiment, unmappable)[:n_bins])
        if experiment.measured:
            tracks[chrom] = sequence(rng, rate, work.sizes[chrom], experiment, unmappable)
    if experiment.measured:
        intervals = {chrom: (track.starts, track.ends, track.values) for chrom, track in tracks.items()}
        write_intervals(work.directory / experiment.file, work.sizes, intervals)
        write_gzip(work.directory / "peaks" / f"{experiment.name}.narrowPeak.gz", call_peaks(tracks, experiment))


def _require_space(directory: Path, genome: int, experiments: Sequence[Experiment]) -> None:
    """Refuse what will not fit the disk, as pyBigWig would end the process; genome: its size in bp."""
    measured = sum(experiment.measured for experiment in experiments)
    # the truth's signal is float16, and there twice before the end
    needed = len(experiments) * 4 * genome / BIN_SIZE + measured * BIGWIG_BYTES * genome
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"it takes some {needed / 1e9:.2g} GB and the disk has {free / 1e9:.2g}; make room, or give shorter "
            "chromosomes or fewer cell types",
        )


def _write_table(path: Path, tree: Tree, experiments: Sequence[Experiment], pairs: Sequence[MeasuredPair]) -> None:
    lineage = dict(zip(tree.cells, np.array(tree.lineages)[tree.lineage], strict=True))
    others = {(pair.cell, pair.assay): [value for _, value in pair.others] for pair in pairs}
    columns = ["cell", "assay", "file", "lineage", *(name for name, _ in (pairs[0].others if pairs else ()))]
    rows = [
        (e.cell, e.assay, e.file, lineage[e.cell], *others.get((e.cell, e.assay), ()))
        for e in experiments
        if e.measured
    ]
    write_text(path, rows, header="\t".join(columns) + "\n")


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
