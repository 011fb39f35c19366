"""What each assay shows of each kind of element: how strong, and in which shape.

Heights and shapes follow what is known of the marks: methylations of H3K4 and acetylations flank promoters and
enhancers, each group in its own proportion; H3K79 methylation covers the first half of active genes, H3K36me3 the later
part, H4K20me1 the whole body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

ASSAYS = ("DNase", "H3K4me3", "H3K4me1", "H3K27ac", "H3K36me3", "H3K27me3", "H3K9me3")  # of the small demo
ROADMAP_ASSAYS = (  # the 24 of the paper, most measured first
    *("H3K27me3", "H3K4me3", "H3K9me3", "H3K36me3", "H3K4me1", "H3K27ac", "H3K9ac", "DNase", "H3K4me2", "H2A.Z"),
    *("H3K79me2", "H4K20me1", "H3K79me1", "H3K4ac", "H4K8ac", "H3K23ac", "H3K18ac", "H2BK5ac", "H2BK120ac", "H2AK5ac"),
    *("H3K14ac", "H2BK12ac", "H4K91ac", "H2BK15ac"),
)

# Groups of assays that rise and fall together, element by element and cell type by cell type: each follows another one.
FOLLOWS = {
    "H3K4me2": "H3K4me3",
    # acetylations of promoters
    **dict.fromkeys(("H3K4ac", "H2BK5ac", "H4K91ac", "H3K14ac"), "H3K9ac"),
    # acetylations of enhancers
    **dict.fromkeys(("H3K18ac", "H2BK120ac", "H2BK15ac", "H3K23ac"), "H3K27ac"),
    # acetylations that reach into transcribed genes
    **dict.fromkeys(("H2AK5ac", "H2BK12ac"), "H4K8ac"),
    # the first half of transcribed genes
    "H3K79me1": "H3K79me2",
}

# Peak or plateau height of a typical active element, in multiples of the genome's background coverage. The seven assays
# of the small demo come first: the order is that of the draws.
PROMOTER = {
    **{"DNase": 20.0, "H3K4me3": 36.0, "H3K27ac": 18.0, "H3K4me1": 6.0},
    **{"H3K4me2": 16.0, "H3K9ac": 20.0, "H2A.Z": 11.0},
    **{"H3K4ac": 11.0, "H2BK5ac": 11.0, "H4K91ac": 10.0, "H3K14ac": 8.0},
    **{"H3K18ac": 12.0, "H2BK120ac": 11.0, "H2BK15ac": 8.0, "H3K23ac": 5.0},
    **{"H4K8ac": 8.0, "H2AK5ac": 6.0, "H2BK12ac": 7.0},
    **{"H3K79me2": 1.0, "H3K79me1": 0.8},
}
BIVALENT = {
    **{"DNase": 5.0, "H3K4me3": 12.0, "H3K4me1": 4.0, "H3K27me3": 4.0},
    **{"H3K4me2": 8.0, "H3K9ac": 1.5, "H2A.Z": 9.0},
    **{"H3K4ac": 1.0, "H2BK5ac": 0.6, "H4K91ac": 0.8, "H3K14ac": 1.0, "H3K18ac": 0.8, "H4K20me1": 1.0},
}
ENHANCER = {
    **{"DNase": 14.0, "H3K27ac": 13.0, "H3K4me1": 9.0, "H3K4me3": 2.0},
    **{"H3K4me2": 6.0, "H3K9ac": 4.5, "H2A.Z": 6.0},
    **{"H3K4ac": 3.0, "H2BK5ac": 4.0, "H4K91ac": 5.0, "H3K14ac": 3.0},
    **{"H3K18ac": 11.0, "H2BK120ac": 10.0, "H2BK15ac": 8.0, "H3K23ac": 5.0},
    **{"H4K8ac": 4.0, "H2AK5ac": 2.5, "H2BK12ac": 3.0},
}
PRIMED = {"H3K4me1": 3.0, "H3K4me2": 1.2, "H2A.Z": 1.2}  # an enhancer that is marked, but not active
TRANSCRIBED = {
    **{"H3K36me3": 5.5, "H3K4me1": 0.5, "H3K27ac": 0.3, "DNase": 0.3},
    **{"H3K79me2": 6.0, "H3K79me1": 3.5, "H4K20me1": 3.0},
    **{"H3K4me2": 0.3, "H3K9ac": 0.3, "H2BK5ac": 1.2, "H4K91ac": 0.4, "H3K14ac": 0.5},
    **{"H3K18ac": 0.3, "H2BK120ac": 0.6, "H2BK15ac": 0.5, "H3K23ac": 0.8},
    **{"H4K8ac": 1.2, "H2AK5ac": 1.2, "H2BK12ac": 1.0},
}
POLYCOMB = {"H3K27me3": 5.0, "H3K4me1": 0.4, "H2A.Z": 0.6, "H4K20me1": 0.8, "H3K4me2": 0.2}
HETEROCHROMATIN = {"H3K9me3": 3.0}

BODY_FADE = 80  # bins behind a gene's end in which H3K36me3 fades

Profile = Callable[[np.ndarray, float], np.ndarray]  # (offset in bp from the element, its width in bp) -> height


def _bump(x: np.ndarray, middle: float, spread: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - middle) / spread) ** 2)


def _flanking(up: float, down: float, spread: float, dip: float) -> Profile:
    """Two humps `up` and `down` widths beside the element, around a dip where the nucleosome is missing."""

    def profile(x: np.ndarray, width: float) -> np.ndarray:
        humps = 0.75 * _bump(x, -up * width, spread * width) + _bump(x, down * width, 1.2 * spread * width)
        return humps * (1 - dip * _bump(x, 0, 90))

    return profile


def _sharp(x: np.ndarray, width: float) -> np.ndarray:
    return _bump(x, -20, 90) + 0.06 * _bump(x, 0, width)


PROMOTER_SHAPE: Mapping[str, Profile] = {
    "DNase": _sharp,
    "H3K4me3": _flanking(0.6, 0.9, 0.5, 0.7),
    "H3K27ac": _flanking(0.8, 1.0, 0.6, 0.6),
    "H3K4me1": _flanking(2.4, 2.9, 0.9, 0.0),
    "H3K27me3": _flanking(1.0, 1.5, 1.5, 0.3),
    "H3K4me2": _flanking(1.5, 1.8, 0.7, 0.3),
    "H3K9ac": _flanking(0.6, 0.9, 0.5, 0.6),
    "H2A.Z": _flanking(0.5, 0.6, 0.3, 0.8),
    "H3K4ac": _flanking(0.6, 0.8, 0.5, 0.6),
    "H2BK5ac": _flanking(0.7, 1.5, 0.8, 0.5),
    "H4K91ac": _flanking(0.6, 0.8, 0.6, 0.5),
    "H3K14ac": _flanking(0.7, 1.0, 0.8, 0.4),
    "H3K18ac": _flanking(0.8, 1.0, 0.6, 0.6),
    "H2BK120ac": _flanking(0.8, 1.1, 0.6, 0.5),
    "H2BK15ac": _flanking(0.8, 1.1, 0.7, 0.5),
    "H3K23ac": _flanking(0.9, 1.3, 0.9, 0.3),
    "H4K8ac": _flanking(0.8, 1.4, 0.8, 0.4),
    "H2AK5ac": _flanking(0.9, 1.7, 1.0, 0.3),
    "H2BK12ac": _flanking(0.8, 1.6, 0.9, 0.4),
    "H3K79me2": _flanking(1.0, 2.5, 1.2, 0.2),
    "H3K79me1": _flanking(1.0, 2.5, 1.5, 0.0),
    "H4K20me1": _flanking(1.0, 1.5, 2.0, 0.0),
}
ENHANCER_SHAPE: Mapping[str, Profile] = {
    "DNase": _sharp,
    "H3K4me3": _flanking(0.6, 0.6, 0.5, 0.5),
    "H3K27ac": _flanking(0.7, 0.7, 0.5, 0.5),
    "H3K4me1": _flanking(1.1, 1.1, 0.9, 0.4),
    "H3K4me2": _flanking(0.9, 0.9, 0.7, 0.4),
    "H3K9ac": _flanking(0.6, 0.6, 0.5, 0.5),
    "H2A.Z": _flanking(0.4, 0.4, 0.3, 0.7),
    "H3K4ac": _flanking(0.6, 0.6, 0.5, 0.5),
    "H2BK5ac": _flanking(0.7, 0.7, 0.6, 0.4),
    "H4K91ac": _flanking(0.6, 0.6, 0.6, 0.5),
    "H3K14ac": _flanking(0.7, 0.7, 0.8, 0.3),
    "H3K18ac": _flanking(0.7, 0.7, 0.5, 0.5),
    "H2BK120ac": _flanking(0.7, 0.7, 0.6, 0.5),
    "H2BK15ac": _flanking(0.7, 0.7, 0.6, 0.5),
    "H3K23ac": _flanking(0.8, 0.8, 0.8, 0.3),
    "H4K8ac": _flanking(0.8, 0.8, 0.7, 0.4),
    "H2AK5ac": _flanking(0.8, 0.8, 0.9, 0.3),
    "H2BK12ac": _flanking(0.8, 0.8, 0.8, 0.4),
}


def gene_body(assay: str, along: np.ndarray, length: int) -> np.ndarray:
    """Shape of an assay at `along` a transcribed gene of `length` bins, 0 being the TSS and 1 the end, to BODY_FADE."""
    inside = (along >= 0) & (along <= 1)
    if assay == "H3K36me3":  # rises towards the end, beyond which it fades over 2 kb
        beyond = np.maximum(along - 1, 0) * length
        clipped = np.clip(along, 0, 1)
        return (1 - np.exp(-5 * clipped)) * (0.4 + 0.6 * clipped) * np.exp(-3 * beyond / BODY_FADE)
    if assay in ("H3K79me2", "H3K79me1"):  # the first half, H3K79me1 farther and with a softer end
        end, softness = (0.4, 0.08) if assay == "H3K79me2" else (0.55, 0.13)
        return np.where(inside, (1 - np.exp(-30 * along.clip(0))) / (1 + np.exp((along - end) / softness)), 0)
    if assay == "H4K20me1":  # all along, somewhat less towards both ends
        return np.where(inside, (1 - np.exp(-8 * along.clip(0))) * (1 - 0.6 * along.clip(0) ** 3), 0)
    return np.where(inside, 1 - 0.7 * along, 0)
