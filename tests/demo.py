"""Fixtures for tests of the commands: a demo compendium of two short chromosomes, its store, a trained model.

A test module asks for them with `pytest_plugins = ["demo"]`; each is made once per session.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
CONSOLE = "from avocado.cli import main; main()"  # what the installed `avocado` script does
# one epoch of the smallest model, quietly, on one CPU thread
EPOCHS = ("epochs.pilot=1", "epochs.genome=1", "epochs.joint=1", "fit.min_steps=0")
QUICK = ("model=tiny", *EPOCHS, "trainer=cpu", "trainer.progress=false")


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The message of a command that refused: one line, without traceback, and status 2."""
        lines = self.err.splitlines()
        assert self.status == 2, self
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        return lines[0].removeprefix("error: ")


@dataclass(frozen=True)
class Demo:
    """Where the files of the shrunken demo lie, and the overrides that name them."""

    path: Path

    @property
    def source(self) -> list[str]:
        """Overrides of `avocado ingest`, without regions and out."""
        return [f"table={self.table}", f"assembly={self.sizes}", "workers=1", "progress=false"]

    @property
    def table(self) -> Path:
        return self.path / "compendium.tsv"

    @property
    def sizes(self) -> Path:
        return self.path / "demo.chrom.sizes"

    @property
    def pilot(self) -> Path:
        return self.path / "demo.pilot.bed"

    def bigwig(self, cell: str, assay: str) -> Path:
        return self.path / "bigwig" / f"{cell}-{assay}.pval.signal.bigwig"


@pytest.fixture(scope="session")
def quick() -> list[str]:
    """Overrides that make a training run take less than a second."""
    return list(QUICK)


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Demo:
    """6 cell types × 6 assays (30 pairs measured, stem1 DNase is not); chr20 (6,000 bins), chr21 (4,000); read-only."""
    from avocado.simulation.assay_shapes import ASSAYS
    from avocado.simulation.compendium import DemoSettings, simulate

    settings = DemoSettings(sizes=(("chr20", 150_017), ("chr21", 100_013)), n_cells=6, assays=ASSAYS[:6])
    return Demo(simulate(tmp_path_factory.mktemp("demo") / "compendium", 0, settings))


@pytest.fixture(scope="session")
def store(demo, tmp_path_factory) -> Path:
    """The demo's store: pilot, chr20 and chr21; read-only."""
    from avocado.cli.app import command

    out = tmp_path_factory.mktemp("demo") / "store"
    assert command("ingest", [*demo.source, f"regions={demo.pilot},chr20,chr21", f"out={out}"]) == 0
    return out


@pytest.fixture(scope="session")
def trained(store, tmp_path_factory) -> Path:
    """A folder `runs` with the pilot and the chr20 run of fold 0; read-only."""
    from avocado.cli.app import command

    runs = tmp_path_factory.mktemp("demo") / "runs"
    assert command("train", [*QUICK, f"store={store}", f"runs={runs}", "stage=genome", "chrom=chr20"]) == 0
    return runs


@pytest.fixture(scope="session")
def model(trained) -> Path:
    """The model of `trained`, with factors of pilot and chr20; read-only."""
    return trained / "model" / "fold0" / "seed0"


@pytest.fixture
def avocado(tmp_path, monkeypatch, capsys) -> Callable[..., Answer]:
    """`avocado("impute", "model=m", ...)`: a command run in this process, in an empty working directory."""
    monkeypatch.chdir(tmp_path)

    from avocado.cli.app import command

    def run(verb: str, *arguments: object) -> Answer:
        capsys.readouterr()
        try:
            status = command(verb.replace("_", "-"), [str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        said = capsys.readouterr()
        return Answer(status, said.out, said.err)

    # commands make the level of the root logger their own
    level = logging.getLogger().level
    yield run
    logging.getLogger().setLevel(level)


@pytest.fixture
def shell(tmp_path) -> Callable[..., subprocess.Popen]:
    """`shell("train.py", "stage=pilot")` or `shell("impute", ...)`: a process of its own in an empty directory."""
    started = []

    def start(command: str, *arguments: object) -> subprocess.Popen:
        program = [str(REPOSITORY / command)] if command.endswith(".py") else ["-c", CONSOLE, command]
        process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below `folder` with the content of the files, to compare before and after."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def unchanged(tmp_path):
    """A context: nothing below the working directory is made, changed or removed in it."""
    import contextlib

    @contextlib.contextmanager
    def compare():
        before = tree(tmp_path)
        yield
        assert tree(tmp_path) == before

    return compare
