"""Notebooks: they run from top to bottom, use the public names only, and their pages are of what they are now."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import avocado

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.py"))
PAGES = REPOSITORY / "docs" / "notebooks"
RENDER = REPOSITORY / "docs" / "render_notebooks.py"
BYTES = 100_000  # of a notebook's pictures, at most


def cells(path):
    """(kind, source) of each cell."""
    jupytext = pytest.importorskip("jupytext")
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_opens_with_what_one_will_have_at_its_end(path):
    kind, opening = cells(path)[0]
    assert kind == "markdown"
    assert re.match(r"# \S.*\n\n\*\*At the end you will have\*\* ", opening)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_only_public_names_are_used(path):
    public = (REPOSITORY / "docs" / "api.md").read_text()
    code = [source for kind, source in cells(path) if kind == "code" and not source.startswith("!")]
    tree = ast.parse("\n".join(code).replace("%matplotlib inline", ""))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("avocado"):
            for name in node.names:
                assert f"::: {node.module}.{name.name}\n" in public, f"{node.module}.{name.name} is not in docs/api.md"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "avocado":
            assert node.attr in avocado.__all__


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_page_is_of_what_it_is_now(path):
    spec = importlib.util.spec_from_file_location("render_notebooks", RENDER)
    render = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(render)
    page = (PAGES / f"{path.stem}.md").read_text()
    again = f"python docs/render_notebooks.py docs/notebooks {path.stem}"
    for kind, source in cells(path):
        shown = f"```python\n{render.source_of(source)}\n```" if kind == "code" else source.partition("\n")[2] or source
        assert shown in page, f"{path.name} was changed since: {again}"
    assert not re.search(r"site-packages|/tmp/|/home/", page)
    pictures = re.findall(r"!\[[^]]+\]\((\S+\.png)\)", page)
    assert {its.name for its in PAGES.glob(f"{path.stem}_*.png")} == set(pictures), again
    assert sum((PAGES / its).stat().st_size for its in pictures) < BYTES
    assert f"- notebooks/{path.stem}.md\n" in (REPOSITORY / "mkdocs.yml").read_text()


@pytest.mark.slow  # minutes; .ci/run executes all of them
def test_they_run_from_top_to_bottom(tmp_path):
    env = {**os.environ, "WANDB_SILENT": "true", "PYTHONPATH": f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}"}
    env.pop("WANDB_MODE", None)
    done = subprocess.run([sys.executable, str(RENDER), str(tmp_path)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert {path.stem for path in tmp_path.glob("*.md")} == {path.stem for path in NOTEBOOKS}
