"""docs/formats.md is right: its code, which knows nothing of avocado, reads a store and imputes with models."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors import safe_open
from safetensors.numpy import load_file
from toy import PAIRS, PILOT, STATES, TINY
from toy_model import save

from avocado.inference.impute import impute
from avocado.model.directory import load_model
from avocado.utils.hardware import Hardware

EXACT = Hardware("cpu", "float32")  # as the page computes, whatever this processor is quick at
PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"


@pytest.fixture(scope="module")
def code():
    """The functions that the page defines; its imports are NumPy and json alone."""
    text = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL))
    assert set(re.findall(r"^\s*(?:import|from) (\w+)", text, flags=re.MULTILINE)) == {"numpy", "json"}
    found: dict = {}
    exec(compile(text, str(PAGE), "exec"), found)
    return found


@pytest.mark.filterwarnings("ignore:unclosed file")
def test_a_store_is_read_by_the_page(code, tiny_store):
    for region in tiny_store.regions:
        for cell, assay in PAIRS:
            expected = tiny_store.read_track(cell, assay, region)
            np.testing.assert_array_equal(code["read_track"](tiny_store.path, cell, assay, region), expected)


def test_the_keys_of_a_store_are_those_of_the_page(tiny_store):
    section = PAGE.read_text().split("## Signal store")[1].split("## Model directory")[0]
    named = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
    assert sorted(json.loads((tiny_store.path / "store.json").read_text())) == sorted(named)


def test_the_keys_of_a_model_are_those_of_the_page(tmp_path):
    save(tmp_path)
    section = PAGE.read_text().split("| key of `model.yaml`")[1].split("### Imputing")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(yaml.safe_load((tmp_path / "model.yaml").read_text())) == sorted(named)


@pytest.mark.parametrize(
    "config", [TINY, replace(TINY, layers=2), replace(TINY, layers=0), STATES, replace(STATES, layers=2)]
)
def test_the_page_imputes_what_the_program_imputes(code, tmp_path, tiny_store, config):
    save(tmp_path, config, store=tiny_store)
    meta, shared = yaml.safe_load((tmp_path / "model.yaml").read_text()), load_file(tmp_path / "shared.safetensors")
    with safe_open(tmp_path / "pilot.safetensors", "np") as file:
        genome, region = file.get_tensor("genome"), json.loads(file.metadata()["region"])
    assert region["name"] == "pilot"
    assert region["segments"] == [[its.chrom, its.start, its.end] for its in PILOT.segments]
    assert region["shared_sha256"] == meta["shared_sha256"]
    model = load_model(tmp_path, baseline=False)
    for cell, assay in [("NA", "RNA"), ("B cell", "RNA")]:
        c, a = meta["cells"].index(cell), meta["assays"].index(assay)
        found = code[f"impute_{config.kind}"](shared, genome, meta["model"], c, a)
        bins = found[code["real_bins"](region["segments"])]
        np.testing.assert_allclose(bins, impute(model, (cell, assay), "pilot", EXACT), rtol=1e-4, atol=1e-5)
        assert bins.std() > 0
