"""Enrichment of a simulated chromosome: recorded element by element for all cell types, rendered track by track.

All tracks of many cell types and assays at once would take gigabytes. Kept are the elements, with a height in each cell
type, and where the generator stood when a relief was drawn; a track is painted from them when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

TEXTURE_SCALE = 20  # bins over which the relief of a broad domain is correlated
COMMON = 0.6  # share of the relief's variance that all cell types have in common


@dataclass(frozen=True)
class Texture:
    """Log-normal relief of broad domains over ~1 kb, most of it common to all cell types."""

    spread: float
    common: np.ndarray  # float32 (n_bins,)
    states: tuple[Mapping[str, Any], ...]  # of the generator, before it drew what a cell type has of its own

    @staticmethod
    def draw(rng: np.random.Generator, spread: float, n_cells: int, n_bins: int) -> Texture:
        """Draw the relief, and forget again what cell types have of their own."""
        common, states = smooth_noise(rng, n_bins, TEXTURE_SCALE), []
        for _ in range(n_cells):
            states.append(rng.bit_generator.state)
            rng.standard_normal(n_bins, dtype=np.float32)
        return Texture(spread, common, tuple(states))

    def relief(self, cell: int) -> np.ndarray:
        """The relief in a cell type, about 1, (n_bins,)."""
        rng = np.random.default_rng()
        rng.bit_generator.state = self.states[cell]
        own = smooth_noise(rng, len(self.common), TEXTURE_SCALE)
        return np.exp(self.spread * (np.sqrt(COMMON) * self.common + np.sqrt(1 - COMMON) * own))


@dataclass(frozen=True)
class Element:
    """Something that changes the enrichment of one assay from bin `first` on, by cell type."""

    first: int
    shape: np.ndarray  # (n_bins of the element,)
    heights: np.ndarray  # (n_cells,); where it is 0 the element has no effect
    texture: Texture | None = None

    def paint(self, part: np.ndarray, height: np.ndarray, relief: np.ndarray | None) -> None:
        """Change `part`, the element's bins of a track, in place; height (1,), relief of the same bins."""
        raise NotImplementedError


class Peak(Element):
    """Adds to what is there."""

    def paint(self, part: np.ndarray, height: np.ndarray, relief: np.ndarray | None) -> None:
        """See Element."""
        added = height * self.shape
        part += added if relief is None else added * relief


class Domain(Element):
    """A level that is reached, but not exceeded where domains overlap."""

    def paint(self, part: np.ndarray, height: np.ndarray, relief: np.ndarray | None) -> None:
        """See Element."""
        np.maximum(part, height * (self.shape if relief is None else self.shape * relief), out=part)


class Damping(Element):
    """Multiplies what is there."""

    def paint(self, part: np.ndarray, height: np.ndarray, relief: np.ndarray | None) -> None:
        """See Element."""
        part *= height * self.shape


class Enrichment:
    """Coverage above background, in multiples of it, of every track of a chromosome."""

    def __init__(self, n_bins: int, assays: tuple[str, ...]) -> None:
        self.n_bins = n_bins
        self.elements: dict[str, list[Element]] = {assay: [] for assay in assays}

    def add(self, assay: str, element: Element) -> None:
        """Record an element, on top of those that were recorded before."""
        self.elements[assay].append(element)

    def track(self, cell: int, assay: str) -> np.ndarray:
        """Paint a track, float32 (n_bins,)."""
        track = np.zeros(self.n_bins, dtype=np.float32)
        reliefs: dict[int, np.ndarray] = {}
        for element in self.elements[assay]:
            # arrays of one value, as NumPy adds them to float32 in double precision
            height = element.heights[cell : cell + 1]
            if not height[0]:
                continue
            bins, relief = slice(element.first, element.first + len(element.shape)), None
            if element.texture is not None:
                key = id(element.texture)
                if key not in reliefs:
                    reliefs[key] = element.texture.relief(cell)
                relief = reliefs[key][bins]
            element.paint(track[bins], height, relief)
        return track


def smooth_noise(rng: np.random.Generator, n_bins: int, sigma: float) -> np.ndarray:
    """Unit-variance Gaussian noise with a correlation length of `sigma` bins, float32 (n_bins,)."""
    noise = gaussian_filter1d(rng.standard_normal(n_bins, dtype=np.float32), sigma, mode="wrap", truncate=3)
    return noise * np.float32(np.sqrt(2 * sigma * np.sqrt(np.pi)))
