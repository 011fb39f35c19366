"""Figures in tests."""

import io

from matplotlib.figure import Figure


def drawn(figure):
    """The figure rendered, so that warnings and errors of drawing show."""
    assert isinstance(figure, Figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=50)
    assert picture.tell() > 1000
    return figure
