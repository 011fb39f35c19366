"""Executes the notebooks from top to bottom, and writes each with its outputs as a page of the documentation.

    python docs/render_notebooks.py [FOLDER [NAME ...]]

FOLDER: where pages and pictures go, docs/notebooks by default. NAME: of some notebooks, such as 03_evaluation. They are
executed in turn in one scratch folder, so that the first one trains the model that the others find. Fails, and says
where, when a cell does.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from base64 import b64decode
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
COLORS = 96  # of a picture: a fifth of the bytes, and nobody sees it
WIDTH = 1200  # pixels of a picture, at most
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # of a terminal: colours and the like
# pandas' tables without what a page has its own of
TABLE = re.compile(r"<style scoped>.*?</style>|(?<=>)\s+(?=<)|</?div>| border=\"1\" class=\"dataframe\"", re.DOTALL)


def execute(path: Path, folder: Path) -> list:
    """The cells of a notebook, executed in a folder."""
    import jupytext
    from nbclient import NotebookClient
    from traitlets.config import Config

    notebook = jupytext.read(path)
    # the program that runs this, whatever kernels and commands are installed besides
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(folder)}},
        # sockets that are files of this user, as anybody on this machine could listen to others
        startup_timeout=300, config=Config({"KernelManager": {"transport": "ipc", "ip": str(folder / ".kernel")}}),
    ).execute()  # fmt: skip
    return notebook.cells


def page(cells: list, name: str, folder: Path, scratch: Path) -> str:
    """Markdown of executed cells; pictures are written into `folder`."""
    parts, heading, pictures = [], name, 0
    for cell in cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            heading = next((line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")), heading)
            continue
        parts.append(f"```python\n{source_of(cell.source)}\n```")
        # what libraries warn of is for those who write notebooks
        printed = "".join(its.text for its in cell.outputs if its.output_type == "stream" and its.name == "stdout")
        if printed.strip():
            parts.append(_text(printed, scratch))
        shown = [output.data for output in cell.outputs if output.output_type != "stream"]
        # tables that rich prints are text, one output for each line; pandas' are tables of the page
        said = "".join(data["text/plain"] for data in shown if data.get("text/html", "").startswith("<pre"))
        if said:
            parts.append(_text(said, scratch))
        for data in shown:
            if data.get("text/html", "").startswith("<pre"):
                continue
            if "image/png" in data:
                file = f"{name}_{pictures}.png"
                (folder / file).write_bytes(_small(b64decode(data["image/png"])))
                parts.append(f"![{heading}]({file})")
                pictures += 1
            elif "text/html" in data:
                parts.append(TABLE.sub("", data["text/html"]))
            else:
                parts.append(_text(data["text/plain"], scratch))
    note = (
        f"*This page is `notebooks/{name}.py`, executed. It is a plain Python file, which Jupyter opens as a notebook "
        "with [jupytext](https://jupytext.readthedocs.io).*"
    )
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n\n{note}\n{rest}\n"


def source_of(source: str) -> str:
    """The code of a cell as a page shows it."""
    return source.removeprefix("%matplotlib inline\n").removesuffix("\nplt.show()")


def _text(said: str, scratch: Path) -> str:
    """What was printed, without colours and without the folder in which it happens to have been executed."""
    lines = [line.rpartition("\r")[2].rstrip() for line in ESCAPES.sub("", said).splitlines()]
    text = "\n".join(lines).strip("\n").replace(f"{scratch}/", "").replace(str(scratch), ".")
    return f"```text\n{text}\n```"


def _small(png: bytes) -> bytes:
    """The same picture in few colours."""
    from PIL import Image

    image = Image.open(BytesIO(png)).convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    small = BytesIO()
    image.quantize(COLORS, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


def main(arguments: list[str]) -> None:
    """Execute and write."""
    folder = Path(arguments[0]) if arguments else ROOT / "docs" / "notebooks"
    names = arguments[1:] or sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.py"))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place).resolve()
        for name in names:
            begun = time.monotonic()
            text = page(execute(NOTEBOOKS / f"{name}.py", scratch), name, folder, scratch)
            (folder / f"{name}.md").write_text(text, encoding="utf-8")
            print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
