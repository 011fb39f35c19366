"""Colours and shapes of methods and groups, the same in figures and in the HTML report.

The hues are Okabe and Ito's and Tol's, which colour-blind readers can tell apart, darkened where they had less than the
contrast of 3:1 with white that WCAG 2.1 (1.4.11) asks of graphics. As no dozen colours is safe for everybody, every
method has a marker of its own, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from avocado.evaluation.scores import AVERAGE

COLORS = {"observed": "#3b3b3b", "Avocado": "#009e73", AVERAGE: "#c68600"}
OTHER_COLORS = (  # further ones, in their order; the first are the easiest to tell apart
    "#0072b2", "#cc79a7", "#a8320a", "#2f9bdc", "#332288", "#8f8f35", "#882255", "#8c8c8c", "#7a4a1f", "#b04fc4",
    "#39024a", "#5c5c8a", "#00707a",
)  # fmt: skip
MARKERS = {"Avocado": "o", AVERAGE: "D"}  # as matplotlib calls them
OTHER_MARKERS = ("s", "^", "v", "X", "P", "<", ">", "d", "p", "*", "h")
SHAPES = {  # the same for an SVG path, about 7 units wide, relative to their middle
    "o": "m-1.2-3h2.4l1.8 1.8v2.4l-1.8 1.8h-2.4l-1.8-1.8v-2.4z",
    "D": "m0-3.6l3.6 3.6l-3.6 3.6l-3.6-3.6z",
    "s": "m-2.7-2.7h5.4v5.4h-5.4z",
    "^": "m0-3.4l3.4 6.2h-6.8z",
    "v": "m0 3.4l3.4-6.2h-6.8z",
    "X": "m-3-1.6l1.4-1.4l1.6 1.6l1.6-1.6l1.4 1.4l-1.6 1.6l1.6 1.6l-1.4 1.4l-1.6-1.6l-1.6 1.6l-1.4-1.4l1.6-1.6z",
    "P": "m-1.1-3.3h2.2v2.2h2.2v2.2h-2.2v2.2h-2.2v-2.2h-2.2v-2.2h2.2z",
    "<": "m-3.4 0l6.2-3.4v6.8z",
    ">": "m3.4 0l-6.2-3.4v6.8z",
    "d": "m0-3.8l2 3.8l-2 3.8l-2-3.8z",
    "p": "m0-3.4l3.3 2.4l-1.3 3.8h-4l-1.3-3.8z",
    "*": "m0-4l1.2 2.8l2.8 1.2l-2.8 1.2l-1.2 2.8l-1.2-2.8l-2.8-1.2l2.8-1.2z",
    "h": "m-3.4 0l1.7-3h3.4l1.7 3l-1.7 3h-3.4z",
}
PAPER, DARK_PAPER = "#ffffff", "#1d2126"  # the lightest and the lighter of the dark backgrounds of a page
CONTRAST = 3.0


def colors_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for every name: the known ones' fixed, the others' in order of appearance."""
    others = [name for name in dict.fromkeys(names) if name not in COLORS]
    return COLORS | {name: OTHER_COLORS[i % len(OTHER_COLORS)] for i, name in enumerate(others)}


def markers_of(names: Sequence[str]) -> dict[str, str]:
    """A marker for every name, likewise; a pair of colour and marker comes again after 143 names."""
    others = [name for name in dict.fromkeys(names) if name not in MARKERS]
    return MARKERS | {name: OTHER_MARKERS[i % len(OTHER_MARKERS)] for i, name in enumerate(others)}


def contrast(one: str, other: str) -> float:
    """Contrast of two colours '#rrggbb', from 1 to 21 (WCAG 2.1)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def on_dark(color: str) -> str:
    """The colour, mixed with as much white as its contrast with a dark page needs."""
    parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    for percent in range(0, 101, 2):
        mixed = "#" + "".join(f"{round(part + (255 - part) * percent / 100):02x}" for part in parts)
        if contrast(mixed, DARK_PAPER) >= CONTRAST:
            return mixed
    raise AssertionError("white has contrast enough")


def _luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
