"""End-to-end run: from bigWig files to imputed bigWig files, scores and pictures."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

pytest_plugins = ["demo"]

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURES = ("scores.png", "tracks.png")
CURVE = "curve.png"


def check_run(run: Path, epochs: int) -> pd.DataFrame:
    """A finished run has its record, its pictures, and scores compared with average activity.

    One that infers its factors has no epochs, and no learning curve.
    """
    files = {path.name for path in run.iterdir()}
    assert {"done.json", "settings.yaml", "split.tsv", "history.csv", "scores.csv", "scores.json", *PICTURES} <= files
    assert "checkpoint.ckpt" not in files
    assert (CURVE in files) == (epochs > 0)
    for picture in (*PICTURES, CURVE) if epochs else PICTURES:
        content = (run / picture).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5_000
    assert len(pd.read_csv(run / "history.csv")) == epochs
    table = pd.read_csv(run / "scores.csv", dtype={"cell": str, "assay": str})
    assert set(table["method"]) == {"average activity", "Avocado"}
    held_out = pd.read_csv(run / "split.tsv", sep="\t").query("role == 'test'")
    scored = set(zip(table["cell"], table["assay"], strict=True))
    assert set(zip(held_out["cell"], held_out["assay"], strict=True)) <= scored
    return table


def check_bigwig(path: Path, sizes: dict[str, int], imputed: str) -> None:
    """Full chromosome sizes in the header, finite signal that is not constant on `imputed`."""
    from avocado.data.bigwig import chromosomes, read_bins
    from avocado.data.genome import Segment

    assert chromosomes(path) == sizes
    signal = read_bins(path, [Segment(imputed, 0, sizes[imputed] // 25)])
    assert np.isfinite(signal).all()
    assert (signal >= 0).all()
    assert signal.std() > 0


def test_from_bigwig_files_to_imputed_ones(avocado, tmp_path, monkeypatch):
    import avocado.simulation.compendium as synthetic

    sizes = {"chr20": 150_017, "chr21": 100_013, "chr22": 100_009}
    settings = synthetic.DemoSettings(sizes=tuple(sizes.items()), n_cells=6, assays=synthetic.ASSAYS[:6])
    monkeypatch.setattr(synthetic, "DemoSettings", lambda: settings)
    answer = avocado("train", "debug=smoke", "trainer=cpu", "trainer.progress=false")
    assert answer.status == 0, answer

    # everything lies where the text says
    runs = Path("runs/smoke")
    assert "making the demo compendium in data/demo/compendium" in answer.out
    assert sorted(path.name for path in Path("data/demo/store").iterdir()) == [
        *(f"{chrom}.npy" for chrom in sizes),
        "pilot.npy",
        "store.json",
    ]
    check_run(runs / "pilot/pilot/fold0/seed0", epochs=1)
    check_run(runs / "genome/chr20/fold0/seed0", epochs=1)
    held_out = pd.read_csv(runs / "genome/chr20/fold0/seed0/split.tsv", sep="\t").query("role == 'test'")
    files = sorted((runs / "imputed/fold0/seed0").glob("*.bw"))
    assert [path.name for path in files] == sorted(
        f"{cell}-{assay}.bw" for cell, assay in zip(held_out["cell"], held_out["assay"], strict=True)
    )
    for path in files:
        check_bigwig(path, sizes, "chr20")
    end = answer.out.partition("\nmodel ")[2]
    for place in (
        "runs/smoke/model/fold0/seed0",
        "runs/smoke/genome/chr20/fold0/seed0/report.html",
        "runs/smoke/genome/chr20/fold0/seed0/tracks.png",
        "runs/smoke/genome/chr20/fold0/seed0/scores.csv",
        "runs/smoke/imputed/fold0/seed0",
    ):
        assert f" {place}" in end
        assert Path(place).exists()
    assert "skill = 1 − MSE / MSE of average activity" in answer.out
    # the network of the chromosome's run learned in the pilot run
    assert "Learning curve" in (runs / "genome/chr20/fold0/seed0/report.html").read_text()

    # the same command again finds everything done
    again = avocado("train", "debug=smoke", "trainer=cpu", "trainer.progress=false")
    assert again.out.count("done before") == 2

    # what it says is next can be typed: commands from its last lines, comments left out
    for line in end.partition("next:\n")[2].splitlines():
        words = line.partition("#")[0].split()
        if words[:1] == ["avocado"] and words[1] not in ("train", "view") and "--help" not in words:
            assert avocado(words[1], *words[2:]).status == 0, line
    assert len(list(Path("imputed").glob("*.bw"))) == 36 - 30
    command = next(line.split() for line in end.splitlines() if line.startswith("  avocado train"))
    more = avocado("train", *command[2:], "debug=smoke", "trainer=cpu", "trainer.progress=false")
    assert more.status == 0, more
    assert {path.name for path in (runs / "genome").iterdir()} == set(sizes)


def test_the_same_seed_gives_the_same_model(avocado, store, quick, tmp_path):
    for runs in ("a", "b"):
        assert avocado("train", *quick, f"store={store}", "stage=joint", "chrom=chr21", f"runs={runs}").status == 0
    first, second = (tmp_path / runs / "joint/chr21/fold0/seed0/model" for runs in ("a", "b"))
    assert (first / "model.yaml").read_bytes() == (second / "model.yaml").read_bytes()
    for name in ("shared.safetensors", "chr21.safetensors"):
        mine, other = load_file(first / name), load_file(second / name)
        assert mine.keys() == other.keys()
        for tensor in mine:
            assert torch.equal(mine[tensor], other[tensor]), tensor


@pytest.mark.slow
def test_python_train_py_in_an_empty_folder(shell, tmp_path):
    started = time.monotonic()
    process = shell("train.py")
    out, err = process.communicate(timeout=600)
    elapsed = time.monotonic() - started
    assert process.returncode == 0, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "runs"]
    check_run(tmp_path / "runs/pilot/pilot/fold0/seed0", epochs=150)
    table = check_run(tmp_path / "runs/genome/chr20/fold0/seed0", epochs=0)  # its factors are inferred
    mean = table.groupby("method")["mse"].mean()
    assert mean["Avocado"] < mean["average activity"]
    sizes = {"chr20": 2_003_417, "chr21": 1_001_289, "chr22": 1_002_911}
    (first, *_) = sorted((tmp_path / "runs/imputed/fold0/seed0").glob("*.bw"))
    check_bigwig(first, sizes, "chr20")
    assert "runs/genome/chr20/fold0/seed0/tracks.png" in out
    assert elapsed < 120


def test_roadmap_pilot(avocado, roadmap_pilot, quick, tmp_path):
    from avocado.data.store import open_store

    answer = avocado("train", "data=roadmap_pilot", f"data.folder={roadmap_pilot}", "stage=pilot", *quick)
    assert answer.status == 0, answer
    store = open_store("data/roadmap-pilot/store")
    assert len(store.tracks) == 20
    assert store.region("pilot").n_bins == 1_126_469
    assert "average activity" in answer.out
    table = check_run(tmp_path / "runs/pilot/pilot/fold0/seed0", epochs=1)
    assert (table["method"] == "average activity").sum() == (table["method"] == "Avocado").sum() >= 4


def test_fast_and_reference_paths_agree_on_held_out_tracks(avocado, store):
    """Blocks in bf16 with lazy Adam, and each of them exchanged for the plain way, score alike on the demo."""
    scores = {}
    fast = ["stage=joint", "chrom=chr20", "fit.min_steps=200", "model.nodes=32", "trainer=cpu", f"store={store}"]
    for name, changes in {
        "fast": ["trainer.precision=bf16"],
        "another seed": ["trainer.precision=bf16", "seed=1"],
        "float32": ["trainer.precision=float32"],
        "reference": ["trainer.precision=float32", "trainer.implementation=reference"],
        "dense Adam": ["trainer.precision=float32", "optimizer.genome_optimizer=dense",
                       "optimizer.genome_learning_rate=0.01"],
    }.items():  # fmt: skip
        answer = avocado("train", *fast, "trainer.progress=false", f"runs={name}", *changes)
        assert answer.status == 0, answer
        (file,) = Path(name).glob("joint/chr20/fold0/seed*/scores.csv")
        table = pd.read_csv(file)
        scores[name] = table.groupby("method")[["mse", "pearson"]].mean()
    average = scores["fast"].loc["average activity"]
    noise = (scores["another seed"] - scores["fast"]).loc["Avocado"].abs()
    for name in ("float32", "reference", "dense Adam"):
        difference = (scores[name] - scores["fast"]).loc["Avocado"].abs()
        assert (difference < 3 * noise + 0.002).all(), (name, scores)
        assert scores[name].loc["Avocado", "mse"] < average["mse"]
