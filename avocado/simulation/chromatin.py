"""Simulated chromatin: genes, enhancers, domains, their activity in cell types, and the expected coverage.

Elements are laid out once per chromosome. Whether an element is active in a cell type is decided by a liability that
drifts along a tree (root, lineage, cell type), so relatives share most of what they do and some elements are specific.
Assays then read the same elements, each with its own strength and shape. That is the structure an imputation model has
to find: what a place does in other cell types, and what the other assays say about this cell type here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from avocado.data.genome import BIN_SIZE
from avocado.simulation.assay_shapes import (
    BIVALENT,
    BODY_FADE,
    ENHANCER,
    ENHANCER_SHAPE,
    FOLLOWS,
    HETEROCHROMATIN,
    POLYCOMB,
    PRIMED,
    PROMOTER,
    PROMOTER_SHAPE,
    TRANSCRIBED,
    Profile,
    gene_body,
)
from avocado.simulation.enrichment import Damping, Domain, Enrichment, Peak, Texture, smooth_noise
from avocado.simulation.lineages import Tree

STATES = ("quiescent", "heterochromatin", "polycomb", "transcribed", "enhancer", "bivalent", "promoter", "unmappable")

# Share of the liability's variance that arises at the root, on the branches, and on the cell type's own.
GENE_TREE = (0.45, 0.35, 0.20)
ENHANCER_TREE = (0.30, 0.45, 0.25)
DOMAIN_TREE = (0.35, 0.40, 0.25)


@dataclass(frozen=True)
class Genes:
    """Genes of one chromosome in bp, half-open, 0-based."""

    start: np.ndarray
    end: np.ndarray
    forward: np.ndarray  # bool: on the plus strand
    coding: np.ndarray  # bool: protein-coding
    width: np.ndarray  # half width of the promoter
    activity: np.ndarray  # (n_genes, n_cells): expression relative to a typical active gene, 0 = silent
    poised: np.ndarray  # bool (n_genes, n_cells): bivalent promoter
    repressed: np.ndarray  # bool (n_genes, n_cells): silent under a polycomb domain

    @property
    def tss(self) -> np.ndarray:
        """Position of the first transcribed base."""
        return np.where(self.forward, self.start, self.end - 1)


@dataclass(frozen=True)
class Chromatin:
    """One chromosome of the simulated genome in 25-bp bins, a last partial bin included."""

    genes: Genes
    enhancers: np.ndarray  # (n_enhancers, 3): start, middle, end in bp
    enhancer_activity: np.ndarray  # (n_enhancers, n_cells), 0 = inactive
    artefacts: np.ndarray  # (n, 2) bp: regions with absurd signal in every track
    states: np.ndarray  # uint8 (n_cells, n_bins), indices into STATES
    background: np.ndarray  # float32 (n_bins,): how readily the place yields reads, about 1, 0 = unmappable
    enrichment: Enrichment  # coverage above background, of every track


def simulate_chromatin(rng: np.random.Generator, size: int, tree: Tree, assays: tuple[str, ...]) -> Chromatin:
    """Draw one chromosome of `size` bp.

    Parameters
    ----------
    rng
        The chromosome's own generator.
    size
        Length in bp; from about 50 kb there is room for every kind of element.
    tree
        The cell types.
    assays
        Names out of ROADMAP_ASSAYS.
    """
    n_bins = -(-size // BIN_SIZE)
    spans, free = _place_genes(rng, size)
    unmappable = _place_gaps(rng, size, free)
    genes, liability = _activate_genes(rng, tree, spans)
    enhancers = _place_enhancers(rng, size, genes, unmappable)
    enhancer_activity, primed = _activate_enhancers(rng, tree, enhancers, genes, liability)
    polycomb = _polycomb_domains(rng, size, genes)
    hetero, hetero_activity = _heterochromatin(rng, tree, size, free)
    artefacts = _place_artefacts(rng, size, spans, unmappable)

    painter = _Painter(rng, n_bins, tree, assays)
    painter.domains(hetero, hetero_activity, HETEROCHROMATIN, "heterochromatin")
    painter.domains(polycomb, genes.repressed * _lognormal(rng, 0.35, genes.repressed.shape), POLYCOMB, "polycomb")
    painter.gene_bodies(genes)
    for i, (start, middle, end) in enumerate(enhancers):
        width = (end - start) / 2
        painter.state("enhancer", start, end, enhancer_activity[i] > 0)
        painter.peak(middle, True, width, enhancer_activity[i], ENHANCER, ENHANCER_SHAPE)
        painter.peak(middle, True, width, primed[i], PRIMED, ENHANCER_SHAPE)
    for i, tss in enumerate(genes.tss):
        forward, width = bool(genes.forward[i]), float(genes.width[i])
        for name, heights, activity in (
            ("bivalent", BIVALENT, genes.poised[i] * 1.0),
            ("promoter", PROMOTER, genes.activity[i] ** 0.7),
        ):
            painter.state(name, tss - int(width), tss + int(width), activity > 0)
            painter.peak(tss, forward, width, activity, heights, PROMOTER_SHAPE)
    background = _mappability(rng, n_bins)
    for start, end in unmappable:
        background[start // BIN_SIZE : end // BIN_SIZE] = 0
        painter.state("unmappable", start, end, np.ones(len(tree.cells), dtype=bool))
    for start, end in artefacts:
        bins = slice(start // BIN_SIZE, end // BIN_SIZE)
        heights = (_lognormal(rng, 0.3, (len(tree.cells), len(assays))) * rng.uniform(8, 20)).astype(np.float32)
        for assay, of_cells in zip(assays, heights.T, strict=True):
            painter.enrichment.add(assay, Peak(bins.start, np.ones(bins.stop - bins.start, np.float32), of_cells))
        background[bins] = np.maximum(background[bins], 1)
    return Chromatin(genes, enhancers, enhancer_activity, artefacts, painter.states, background, painter.enrichment)


class _Painter:
    """Sets states and records enrichment of one chromosome, element by element."""

    def __init__(self, rng: np.random.Generator, n_bins: int, tree: Tree, assays: tuple[str, ...]) -> None:
        self.rng, self.n_bins, self.n_cells, self.assays = rng, n_bins, len(tree.cells), assays
        self.states = np.zeros((self.n_cells, n_bins), dtype=np.uint8)
        self.enrichment = Enrichment(n_bins, assays)

    def state(self, name: str, start: int, end: int, cells: np.ndarray) -> None:
        bins = slice(max(start // BIN_SIZE, 0), -(-end // BIN_SIZE))
        self.states[cells, bins] = STATES.index(name)

    def peak(
        self,
        middle: int,
        forward: bool,
        width: float,
        activity: np.ndarray,
        heights: Mapping[str, float],
        shapes: Mapping[str, Profile],
    ) -> None:
        if not activity.any():
            return
        first = max(int(middle - 7 * width) // BIN_SIZE, 0)
        last = min(int(middle + 7 * width) // BIN_SIZE + 1, self.n_bins)
        offset = (np.arange(first, last) + 0.5) * BIN_SIZE - middle
        drawn: dict[str, np.ndarray] = {}
        for assay in self._present(heights):
            profile = shapes[assay](offset if forward else -offset, width)
            jitter = self._jitter(assay, activity.shape, drawn)
            self.enrichment.add(assay, Peak(first, profile, heights[assay] * activity * jitter))

    def _jitter(self, assay: str, shape: tuple[int, ...], drawn: dict[str, np.ndarray]) -> np.ndarray:
        """How far an assay differs from what is typical of an element, by cell type: much like the one it follows."""
        lead, own = FOLLOWS.get(assay, assay), 0.3
        if lead not in drawn:
            drawn[lead] = _lognormal(self.rng, own) * _lognormal(self.rng, own, shape)
        if lead == assay:
            return drawn[lead]
        return drawn[lead] * _lognormal(self.rng, 0.15) * _lognormal(self.rng, 0.15, shape)

    def gene_bodies(self, genes: Genes) -> None:
        textures = {assay: self._texture(0.35) for assay in self._present(TRANSCRIBED)}
        for i in range(len(genes.start)):
            on = genes.activity[i]
            if not on.any():
                continue
            first, last = genes.start[i] // BIN_SIZE, genes.end[i] // BIN_SIZE
            self.state("transcribed", genes.start[i], genes.end[i], on > 0)
            # transcription drives out a neighbour's repressive domain
            damping = Damping(first, np.ones(last - first), np.where(on > 0, 0.3, 1.0))
            for assay in self.assays:
                self.enrichment.add(assay, damping)
            bins = np.arange(max(first - BODY_FADE, 0), min(last + BODY_FADE, self.n_bins))
            along = (bins + 0.5 - first) / (last - first)
            along = along if genes.forward[i] else 1 - along
            for assay, texture in textures.items():
                height = TRANSCRIBED[assay] * on**0.5 * _lognormal(self.rng, 0.2, on.shape)
                self.enrichment.add(assay, Peak(bins[0], gene_body(assay, along, last - first), height, texture))

    def domains(self, spans: np.ndarray, activity: np.ndarray, heights: Mapping[str, float], name: str) -> None:
        textures = {assay: self._texture(0.6) for assay in self._present(heights)}
        for (start, end), active in zip(spans, activity, strict=True):
            self.state(name, start, end, active > 0)
            first, last = start // BIN_SIZE, end // BIN_SIZE
            inward = np.arange(last - first)
            shape = 1 - np.exp(-np.minimum(inward, inward[::-1]) / 40)
            for assay, texture in textures.items():
                self.enrichment.add(assay, Domain(first, shape, heights[assay] * active, texture))

    def _present(self, heights: Mapping[str, float]) -> list[str]:
        return [assay for assay in heights if assay in self.assays]

    def _texture(self, spread: float) -> Texture:
        return Texture.draw(self.rng, spread, self.n_cells, self.n_bins)


def _lognormal(rng: np.random.Generator, spread: float, shape: tuple[int, ...] = ()) -> np.ndarray:
    return np.exp(spread * rng.standard_normal(shape))


def _mappability(rng: np.random.Generator, n_bins: int) -> np.ndarray:
    """Local yield of reads: a gentle bias everywhere, and repeats of 0.3-6 kb where few reads map uniquely."""
    background = np.exp(0.25 * smooth_noise(rng, n_bins, 15)).astype(np.float32)
    for _ in range(n_bins // 500):
        first = rng.integers(n_bins)
        background[first : first + int(np.clip(16 * _lognormal(rng, 0.9), 6, 240))] *= rng.uniform(0.05, 0.7)
    return background


def _place_genes(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Genes (n, 2) and the intergenic stretches between and around them (n + 1, 2), in bp."""
    longest = size / 6
    n = size // 5_000 + 2
    length = np.minimum(np.clip(18_000 * _lognormal(rng, 0.7, (n,)), 5_000, 60_000), longest)
    between = np.where(rng.random(n) < 0.18, rng.uniform(50_000, 180_000, n), 3_000 + rng.exponential(14_000, n))
    end = np.cumsum(np.minimum(between, longest) + length).astype(np.int64)
    start = end - length.astype(np.int64)
    inside = end < size - min(5_000, size // 20)
    genes = np.stack([start, end], axis=1)[inside]
    free = np.stack([np.append(0, genes[:, 1]), np.append(genes[:, 0], size)], axis=1)
    return genes, free


def _place_gaps(rng: np.random.Generator, size: int, free: np.ndarray) -> np.ndarray:
    """Unmappable stretches (n, 2) in whole bins: the chromosome's tip and one in some long intergenic stretches."""
    gaps = [(0, min(10_000, size // 50, int(free[0, 1]) // 2))]
    roomy = free[1:][(free[1:, 1] - free[1:, 0]) > min(40_000, size // 10)]
    for start, end in roomy[: max(1, size // 600_000)]:
        length = int(rng.uniform(0.1, 0.25) * min(end - start, 80_000))
        first = int(rng.uniform(start + 0.4 * (end - start), end - 0.2 * (end - start) - length))
        gaps.append((first, first + length))
    return np.array(gaps) // BIN_SIZE * BIN_SIZE


def _activate_genes(rng: np.random.Generator, tree: Tree, spans: np.ndarray) -> tuple[Genes, np.ndarray]:
    """Decide where every gene is on, poised, or repressed. Also the liability (n_genes, n_cells)."""
    n = len(spans)
    # housekeeping genes are on everywhere; developmental ones are on in few cell types and polycomb targets elsewhere
    kind = rng.permutation(np.arange(n) % 10)
    housekeeping, developmental = (kind < 3)[:, None], (kind >= 7)[:, None]
    liability = tree.evolve(rng, n, GENE_TREE)
    on = housekeeping | (liability > np.where(developmental, 1.0, 0.2))
    level = _lognormal(rng, 0.5, (n, 1)) * np.exp(0.3 * liability)
    poised_liability = tree.evolve(rng, n, GENE_TREE) + np.where(tree.lineage == 0, 1.0, -0.3)  # stem cells first
    poised = developmental & ~on & (poised_liability > 0)
    repressed = developmental & ~on & (tree.evolve(rng, n, GENE_TREE) > -0.8)
    genes = Genes(
        start=spans[:, 0],
        end=spans[:, 1],
        forward=rng.random(n) < 0.5,
        coding=~np.isin(kind, (5, 6)) | (rng.random(n) < 0.4),
        width=np.clip(550 * _lognormal(rng, 0.35, (n,)), 250, 1_400),
        activity=on * level,
        poised=poised,
        repressed=repressed,
    )
    return genes, liability


def _place_enhancers(rng: np.random.Generator, size: int, genes: Genes, unmappable: np.ndarray) -> np.ndarray:
    """Enhancers (n, 3) in clusters of one to four around the genes: start, middle, end in bp, by position."""
    n_clusters = max(2, size // 18_000)
    anchor = rng.choice(genes.tss, n_clusters) + rng.laplace(0, min(25_000, size / 10), n_clusters)
    members = np.repeat(anchor, rng.integers(1, 5, n_clusters))
    middle = np.sort(members + rng.normal(0, 4_000, len(members))).astype(np.int64)
    half = rng.uniform(250, 750, len(middle)).astype(np.int64)
    spans = np.stack([middle - half, middle, middle + half], axis=1)
    spans = spans[(spans[:, 0] > 0) & (spans[:, 2] < size)]
    apart = np.diff(spans[:, 1], prepend=-size) > 1_200
    from_tss = np.abs(spans[:, 1][:, None] - genes.tss).min(axis=1)
    clear = np.all((spans[:, 2:] < unmappable[:, 0]) | (spans[:, :1] > unmappable[:, 1]), axis=1)
    return spans[apart & (from_tss > 2_500) & clear]


def _activate_enhancers(
    rng: np.random.Generator, tree: Tree, enhancers: np.ndarray, genes: Genes, liability: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Activity and, where an enhancer only carries H3K4me1, primed activity, both (n_enhancers, n_cells)."""
    n = len(enhancers)
    cluster = np.cumsum(np.diff(enhancers[:, 1], prepend=enhancers[:1, 1]) > 6_000)
    nearest = np.abs(enhancers[:, 1][:, None] - genes.tss).argmin(axis=1)
    together = tree.evolve(rng, n, ENHANCER_TREE)[cluster]
    z = 0.5 * liability[nearest] + 0.6 * together + np.sqrt(0.39) * tree.evolve(rng, n, ENHANCER_TREE)
    level = _lognormal(rng, 0.4, (n, 1)) * _lognormal(rng, 0.4, z.shape)
    return (z > 0.6) * level, ((z > 0.1) & (z <= 0.6)) * level


def _polycomb_domains(rng: np.random.Generator, size: int, genes: Genes) -> np.ndarray:
    """The domain (n_genes, 2) in bp that covers each gene's TSS where the gene is repressed, 5-50 kb long."""
    length = np.minimum(np.clip(16_000 * _lognormal(rng, 0.6, (len(genes.tss),)), 5_000, 50_000), size / 4)
    start = genes.tss - rng.uniform(0.3, 0.7, len(length)) * length
    return np.clip(np.stack([start, start + length], axis=1), 0, size).astype(np.int64)


def _heterochromatin(
    rng: np.random.Generator, tree: Tree, size: int, free: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """H3K9me3 domains (n, 2) of 10-100 kb in intergenic stretches, and their activity (n, n_cells)."""
    long = free[free[:, 1] - free[:, 0] > min(20_000, size // 12)]
    room = (long[:, 1] - long[:, 0])[:, None]
    edges = np.sort(rng.uniform(0.02, 0.98, (len(long), 2)), axis=1)
    edges[:, 1] = np.maximum(edges[:, 1], np.minimum(edges[:, 0] + 0.5, 1))
    spans = (long[:, :1] + edges * room).astype(np.int64)
    z = tree.evolve(rng, len(spans), DOMAIN_TREE)
    return spans, (z > -0.4) * _lognormal(rng, 0.3, z.shape)


def _place_artefacts(rng: np.random.Generator, size: int, genes: np.ndarray, unmappable: np.ndarray) -> np.ndarray:
    """One region (n, 2) of 1-2 kb per Mb, clear of genes and gaps where that can be had, in whole bins."""
    found: list[tuple[int, int]] = []
    taken = np.concatenate([genes + np.array([-3_000, 3_000]), unmappable])
    for _ in range(200):  # tries; a crowded chromosome may end up with fewer
        start = int(rng.uniform(0.02, 0.95) * size) // BIN_SIZE * BIN_SIZE
        end = start + int(rng.integers(30, 80)) * BIN_SIZE
        if end < size and not np.any((start < taken[:, 1]) & (end > taken[:, 0])):
            found.append((start, end))
            taken = np.concatenate([taken, [(start, end)]])
        if len(found) == max(1, size // 1_000_000):
            break
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)
