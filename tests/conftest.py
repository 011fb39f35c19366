import os
import signal
from pathlib import Path

# before torch is imported anywhere: small steps are fastest in one thread, and tests share their machine
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ["WANDB_SILENT"] = "true"

import pytest
import torch
from toy import make_store

torch.set_num_threads(1)
# a test runner in the background of a shell ignores Ctrl-C, and so would the commands that are interrupted here
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory):
    """13 tracks (4 cell types, 4 assays) over `pilot` (3 segments) and `chr20`; do not write into it."""
    return make_store(tmp_path_factory.mktemp("stores") / "tiny")


@pytest.fixture
def wandb_home(tmp_path, monkeypatch):
    """W&B keeps nothing outside of this test's folder."""
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(scope="session")
def roadmap_pilot() -> Path:
    """The folder of the Roadmap tracks that came with the original program."""
    place = os.environ.get("AVOCADO_ROADMAP_PILOT")
    folder = Path(place) if place else Path(__file__).resolve().parents[2] / "shared" / "data" / "roadmap-pilot"
    if not folder.is_dir():
        pytest.skip(
            "set AVOCADO_ROADMAP_PILOT to the folder of the 20 Roadmap pilot tracks (CELL.ASSAY.pilot.arcsinh.npz)"
        )
    return folder
