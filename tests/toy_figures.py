"""Figures in tests."""

import io

from matplotlib.figure import Figure
from PIL import Image


def drawn(figure):
    """The figure rendered, so that warnings and errors of drawing show."""
    assert isinstance(figure, Figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=50)
    assert picture.tell() > 1000
    return figure


def draw_nothing(monkeypatch):
    """Figures are saved as a picture of four pixels: drawing takes longer than training toy models."""
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "png")

    def save(figure, path, **options):
        if hasattr(path, "write_bytes"):
            path.write_bytes(file.getvalue())
        else:
            path.write(file.getvalue())

    monkeypatch.setattr(Figure, "savefig", save)
