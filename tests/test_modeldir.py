import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file
from toy import ASSAYS, ASSEMBLY, CELLS, CHR20, PAIRS, PILOT, TINY, TRAIN, VAL, make_network

from avocado.errors import InputError
from avocado.hardware import device_of
from avocado.model import genome_factors
from avocado.modeldir import load_model, save_region, save_shared

ROLES = ["train" if number in TRAIN else "val" if number in VAL else "test" for number in range(len(PAIRS))]
TRACKS = pd.DataFrame(PAIRS, columns=pd.Index(["cell", "assay"])).assign(role=ROLES)
TRAINING = {"stage": "pilot", "fold": 0, "seed": 0}


def save(path, config=TINY, seed=0, regions=(PILOT, CHR20)):
    """A model that was initialised and not trained. Returns its network and genome factors."""
    network = make_network(config, seed)
    save_shared(path, network, CELLS, ASSAYS, ASSEMBLY, TRACKS, TRAINING)
    genomes = {r.name: genome_factors(config, r.n_blocks, torch.Generator().manual_seed(seed + 1)) for r in regions}
    averages = (
        {r.name: torch.rand(r.n_blocks, 200, len(ASSAYS)).half() for r in regions} if config.average_input else {}
    )
    for region in regions:
        save_region(path, region, genomes[region.name], averages.get(region.name))
    return network, genomes, averages


@pytest.mark.parametrize("config", [TINY, replace(TINY, layers=0), replace(TINY, average_input=True)])
def test_round_trip(tmp_path, config):
    network, genomes, averages = save(tmp_path, config)
    model = load_model(tmp_path)
    assert model.network.config == config
    assert (model.cells, model.assays, model.assembly) == (CELLS, ASSAYS, ASSEMBLY)
    assert model.training == TRAINING
    assert model.regions == {"pilot": PILOT, "chr20": CHR20}
    pd.testing.assert_frame_equal(model.tracks, TRACKS)
    for name, tensor in network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], tensor), name
    for name, genome in genomes.items():
        assert torch.equal(model.genome(name), genome)
        found = model.averages(name)
        assert torch.equal(found, averages[name]) if averages else found is None
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    assert {file.name for file in tmp_path.iterdir()} == {
        "model.yaml",
        "shared.safetensors",
        "pilot.safetensors",
        "chr20.safetensors",
    }


def test_names_become_indices(tmp_path):
    save(tmp_path)
    model = load_model(str(tmp_path))
    assert model.pair("NA", "RNA") == (2, 3)
    assert sorted(model.unmeasured()) == [("B cell", "RNA"), ("NA", "H3K27ac"), ("liver", "DNase")]
    with pytest.raises(InputError, match=r"knows no cell type 'E999'; it knows: B cell, E003, NA, liver"):
        model.pair("E999", "RNA")
    with pytest.raises(InputError, match=r"knows no assay 'rna'; it knows: DNase, H3K27ac, H3K4me3, RNA"):
        model.pair("NA", "rna")
    with pytest.raises(InputError, match=r"no factors of 'chr1'; it has: pilot, chr20; train them: python train\.py"):
        model.genome("chr1")


def test_model_yaml_can_be_read(tmp_path):
    save(tmp_path)
    text = (tmp_path / "model.yaml").read_text()
    content = yaml.safe_load(text)
    assert content["model"]["nodes"] == 8
    assert content["cells"] == CELLS
    assert ["E003", "RNA", "test"] in content["tracks"]
    assert max(len(line) for line in text.splitlines()) < 140


def test_a_model_is_small_until_its_factors_are_asked_for(tmp_path):
    save(tmp_path)
    model = load_model(tmp_path)
    (tmp_path / "chr20.safetensors").unlink()
    assert model.genome("pilot").shape == (PILOT.n_blocks, TINY.block_width)
    with pytest.raises(InputError, match=r"chr20\.safetensors is missing: restore it, or train again"):
        model.genome("chr20")


def refused(path):
    """The error of loading a model and all its factors."""
    with pytest.raises(InputError) as caught:  # noqa: PT012
        model = load_model(path)
        for region in model.regions:
            model.genome(region)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["model.yaml", "shared.safetensors"])
def test_a_missing_file(tmp_path, name):
    save(tmp_path)
    (tmp_path / name).unlink()
    expected = "no model here (no model.yaml)" if name == "model.yaml" else "shared.safetensors is missing"
    assert expected in refused(tmp_path)


def test_not_a_model(tmp_path):
    assert "no model here" in refused(tmp_path / "nowhere")
    (tmp_path / "file").write_text("mine")
    assert "no model here" in refused(tmp_path / "file")


@pytest.mark.parametrize("name", ["shared.safetensors", "pilot.safetensors", "chr20.safetensors"])
@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file(tmp_path, name, keep):
    save(tmp_path)
    file = tmp_path / name
    file.write_bytes(file.read_bytes()[:keep])
    message = refused(tmp_path)
    assert str(file) in message
    assert "damaged" in message


def test_a_changed_byte_of_the_shared_parameters(tmp_path):
    save(tmp_path)
    file = tmp_path / "shared.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    assert "shared.safetensors is not the file that model.yaml describes" in refused(tmp_path)


@pytest.mark.parametrize(
    "damage",
    ["", "text", "- a\n- b", "a: [", "format_version: 1", "model: {nodes: 8}\nformat_version: 1", "\0"],
)
def test_damaged_yaml(tmp_path, damage):
    save(tmp_path)
    (tmp_path / "model.yaml").write_text(damage)
    assert "model.yaml is damaged" in refused(tmp_path)


@pytest.mark.parametrize("key", ["model", "cells", "assays", "assembly", "tracks", "shared_sha256"])
def test_yaml_without_a_key(tmp_path, key):
    save(tmp_path)
    file = tmp_path / "model.yaml"
    content = yaml.safe_load(file.read_text())
    del content[key]
    file.write_text(yaml.safe_dump(content))
    assert f"model.yaml is damaged (KeyError: '{key}')" in refused(tmp_path)


def test_another_format(tmp_path):
    save(tmp_path)
    file = tmp_path / "model.yaml"
    file.write_text(file.read_text().replace("format_version: 1", "format_version: 99"))
    assert "model format 99, this program reads 1" in refused(tmp_path)


def test_shapes_of_another_model(tmp_path):
    save(tmp_path)
    file = tmp_path / "model.yaml"
    file.write_text(file.read_text().replace("nodes: 8", "nodes: 9"))
    assert "has shape (8, 14), model.yaml says (9, 14): the files are of two models" in refused(tmp_path)


def test_shared_parameters_of_another_model(tmp_path):
    save(tmp_path / "one")
    save(tmp_path / "two", seed=1)
    (tmp_path / "two" / "shared.safetensors").replace(tmp_path / "one" / "shared.safetensors")
    assert "shared.safetensors is not the file that model.yaml describes" in refused(tmp_path / "one")


def test_factors_of_another_model(tmp_path):
    save(tmp_path / "one")
    save(tmp_path / "two", seed=1)
    (tmp_path / "two" / "chr20.safetensors").replace(tmp_path / "one" / "chr20.safetensors")
    message = refused(tmp_path / "one")
    assert "chr20.safetensors was trained with other shared parameters" in message
    assert "remove it, or train this region again" in message


def test_factors_of_the_wrong_shape(tmp_path):
    save(tmp_path)
    save_region(tmp_path, CHR20, torch.zeros(CHR20.n_blocks, TINY.block_width + 1))
    assert "chr20.safetensors holds factors of shape (10, 463), the model needs (10, 462)" in refused(tmp_path)


def test_a_foreign_safetensors_file(tmp_path):
    save(tmp_path)
    save_file({"x": torch.zeros(3)}, tmp_path / "other.safetensors")
    assert "other.safetensors is not a file of genome factors: remove it" in refused(tmp_path)


def test_missing_average_activity(tmp_path):
    config = replace(TINY, average_input=True)
    _, genomes, _ = save(tmp_path, config)
    save_region(tmp_path, CHR20, genomes["chr20"])
    with pytest.raises(InputError, match=r"chr20\.safetensors has no average activity of shape \(10, 200, 4\)"):
        load_model(tmp_path).averages("chr20")


def test_no_file_can_carry_code(tmp_path):
    save(tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        content = file.read_bytes()
        length = int.from_bytes(content[:8], "little")
        json.loads(content[8 : 8 + length])  # a safetensors file: a JSON header, then plain numbers
    assert b"!!python" not in (tmp_path / "model.yaml").read_bytes()
    (tmp_path / "model.yaml").write_text("!!python/object/apply:os.system ['true']")
    assert "model.yaml is damaged" in refused(tmp_path)


def test_loading_needs_neither_lightning_nor_hydra(tmp_path):
    network, genomes, _ = save(tmp_path)
    program = f"""
import sys
from avocado.modeldir import load_model
from avocado.hardware import Hardware
from avocado.impute import impute
model = load_model({str(tmp_path)!r})
print(impute(model, [("NA", "RNA")], "pilot", Hardware("cpu", "float32"))[:3, 0].tolist())
heavy = "pytorch_lightning", "lightning_fabric", "hydra", "omegaconf", "optuna", "wandb", "matplotlib"
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    values, modules = done.stdout.splitlines()
    assert modules == "[]"
    with torch.no_grad():
        expected = network.predict(genomes["pilot"], torch.tensor([2]), torch.tensor([3]))[0, :3, 0]
    np.testing.assert_allclose(json.loads(values), expected, rtol=1e-5)


def test_devices():
    assert device_of("cpu") == torch.device("cpu")
    assert device_of("auto").type in ("cpu", "cuda")
    for name in ("gpu4", "cuda:99"):
        with pytest.raises(InputError, match=rf"device '{name}' cannot be used: "):
            device_of(name)
