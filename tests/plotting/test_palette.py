"""Colours can be told apart by readers with each kind of colour blindness; where few hues are left, markers differ."""

from itertools import combinations

import numpy as np
import pytest

from avocado.plotting.style import COLORS, OTHER_COLORS, colors_of, markers_of

# linear RGB as it is seen (Machado et al. 2009, severity 1)
SEEN = {
    "normal": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]
    ],
}  # fmt: skip
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(color: str, kind: str) -> np.ndarray:
    """CIE L*a*b* of a colour as it is seen."""
    shares = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(np.array(SEEN[kind]) @ linear, 0, 1) / (0.95047, 1, 1.08883)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distances(colors: list[str], kind: str) -> list[float]:
    seen = [lab(color, kind) for color in colors]
    return [float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)]


@pytest.mark.parametrize("kind", SEEN)
def test_colours_of_a_figure_of_eight_methods(kind):
    assert min(distances([*COLORS.values(), *OTHER_COLORS[:5]], kind)) > 11  # just noticeable is 2.3


@pytest.mark.parametrize("kind", SEEN)
def test_no_two_colours_are_the_same(kind):
    assert min(distances([*COLORS.values(), *OTHER_COLORS], kind)) > 7


def test_similar_colours_have_different_markers():
    names = [f"method {number}" for number in range(len(OTHER_COLORS))]
    colors, markers = colors_of(names), markers_of(names)
    for one, other in combinations(names, 2):
        near = min(float(np.linalg.norm(lab(colors[one], kind) - lab(colors[other], kind))) for kind in SEEN)
        assert near > 12 or markers[one] != markers[other]
