import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from toy import (
    ASSAYS,
    ASSEMBLY,
    CELLS,
    CHR20,
    PAIRS,
    PILOT,
    STATES,
    TINY,
    TRAIN,
    make_store,
)
from toy_model import FEATURES, INPUTS, SHAPES, TRACKS, TRAINING, save

from avocado.data.genome import Region, Segment
from avocado.data.store import open_store, tracks_of, write_metadata, write_region
from avocado.errors import InputError
from avocado.inference.impute import impute
from avocado.model.baseline import RegressionBaseline
from avocado.model.directory import load_model, save_region, save_shared, unusable_regions
from avocado.utils.files import sha256
from avocado.utils.hardware import Hardware, device_of


@pytest.mark.parametrize("config", [TINY, replace(TINY, layers=0), STATES])
def test_round_trip(tmp_path, tiny_store, config):
    network, genomes, fitted = save(tmp_path, config, store=tiny_store)
    model = load_model(tmp_path)
    assert model.network.config == config
    assert (model.cells, model.assays, model.assembly) == (CELLS, ASSAYS, ASSEMBLY)
    stored = {"store": str(tiny_store.path), "store_checksum": tiny_store.tracks_checksum}
    assert model.training == TRAINING | (stored if config.baseline != "none" else {})
    assert model.regions == {"pilot": PILOT, "chr20": CHR20}
    pd.testing.assert_frame_equal(model.tracks, TRACKS)
    assert model.network.state_dict().keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], tensor), name
    for name, genome in genomes.items():
        assert torch.equal(model.genome(name), genome)
    if config.baseline != "none":
        assert model.baseline.train.columns.tolist() == TRAIN
        for name in SHAPES:
            np.testing.assert_array_equal(getattr(model.baseline.fitted, name), getattr(fitted, name))
        assert model.baseline.store.path == tiny_store.path
    else:
        assert model.baseline is None
        assert model.regression is None
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


def test_rows_of_factors_are_read_when_asked_for(tmp_path):
    save(tmp_path)
    model = load_model(tmp_path)
    assert torch.equal(model.rows("chr20")[1:3], model.genome("chr20")[1:3])
    with pytest.raises(InputError, match=r"no factors of 'chr1'"):
        model.rows("chr1")


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
    ["", "text", "- a\n- b", "a: [", "format_version: 4", "model: {nodes: 8}\nformat_version: 4", "\0"],
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


@pytest.mark.parametrize("version", [1, 99])
def test_another_format(tmp_path, version):
    save(tmp_path)
    file = tmp_path / "model.yaml"
    file.write_text(file.read_text().replace("format_version: 4", f"format_version: {version}"))
    assert f"model format {version}, this program reads 4" in refused(tmp_path)


def test_a_model_of_an_earlier_version_imputes_as_it_did(tmp_path, tiny_store):
    save(tmp_path, STATES, store=tiny_store, regions=())
    shared, file = tmp_path / "shared.safetensors", tmp_path / "model.yaml"
    tensors = load_file(shared)
    del tensors["limits"]
    save_file(tensors, shared)
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"shared_sha256": sha256(shared)}))
    assert torch.equal(load_model(tmp_path).network.limits, torch.ones(len(CELLS), len(ASSAYS)))


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


@pytest.mark.parametrize(
    ("name", "shape"),
    [("scales", (2, len(TRAIN) + 1)), ("projection", (INPUTS, FEATURES)), ("weights", (*SHAPES["weights"][:2], INPUTS)),
     ("weights", SHAPES["weights"][1:])],
)  # fmt: skip
def test_a_prior_that_does_not_fit(tmp_path, tiny_store, name, shape):
    network, _, fitted = save(tmp_path, STATES, store=tiny_store, regions=())
    wrong = replace(fitted, **{name: np.zeros(shape, dtype=np.float32)})
    save_shared(tmp_path, network, CELLS, ASSAYS, ASSEMBLY, TRACKS, TRAINING, wrong)
    assert f"shared.safetensors has no prior.{name} of shape {SHAPES[name]}: restore it" in refused(tmp_path)


def test_a_prior_that_is_not_there(tmp_path, tiny_store):
    network, *_ = save(tmp_path, STATES, store=tiny_store, regions=())
    save_shared(tmp_path, network, CELLS, ASSAYS, ASSEMBLY, TRACKS, TRAINING)
    assert "shared.safetensors has no prior.scales of shape (2, 9): restore it or train again" in refused(tmp_path)


@pytest.fixture
def with_prior(tmp_path):
    """The place of a model with a prior, that of its store, and what it imputes."""
    store = make_store(tmp_path / "store")
    save(tmp_path / "model", STATES, store=store)
    return tmp_path / "model", tmp_path / "store", imputed(load_model(tmp_path / "model"))


def imputed(model):
    return impute(model, [("NA", "RNA"), ("liver", "DNase")], "chr20", Hardware("cpu", "float32"))


def test_a_store_that_is_gone(with_prior):
    """The model opens, and says what it misses when it is to impute; told where the store is now, it goes on."""
    path, store, expected = with_prior
    assert expected.std() > 0.1
    moved = store.rename(store.with_name("moved"))
    model = load_model(path)
    assert model.genome("chr20").shape[0] == CHR20.n_blocks
    with pytest.raises(InputError) as caught:
        imputed(model)
    message = str(caught.value)
    assert "\n" not in message
    assert (
        f"model {path} has a baseline that is made of its training tracks, which were in the store {store}" in message
    )
    assert "there is no store now; say where it is with store=" in message
    alone = imputed(load_model(path, baseline=False))  # the factorization, from nothing but the directory
    assert alone.std() > 0
    assert (alone != expected).any()
    np.testing.assert_array_equal(imputed(load_model(path, open_store(moved))), expected)
    np.testing.assert_array_equal(imputed(load_model(path, store=open_store(moved))), expected)


def test_a_store_of_other_tracks(with_prior):
    path, store, expected = with_prior
    old = store.rename(store.with_name("old"))
    other = make_store(store)
    assert other.tracks_checksum == open_store(old).tracks_checksum
    np.testing.assert_array_equal(imputed(load_model(path)), expected)  # the same again
    write_metadata(store, ASSEMBLY, [PILOT, CHR20], other.tracks.assign(sha256="0" * 64), "float32")
    with pytest.raises(InputError) as caught:
        imputed(load_model(path))
    message = str(caught.value)
    assert "\n" not in message
    assert f"which were in the store {store}: it holds other tracks now" in message
    assert "say where it is with store=" in message
    np.testing.assert_array_equal(imputed(load_model(path, open_store(old))), expected)
    with pytest.raises(InputError, match=r"holds other signal of the tracks that model .* was trained on: give store="):
        load_model(path, open_store(store))


def test_the_order_of_a_stores_tracks_does_not_matter(with_prior, tmp_path):
    """The same files ingested in another order, and with one more, are the same tracks."""
    path, store, expected = with_prior
    before = open_store(store)
    turned = tmp_path / "turned"
    turned.mkdir()
    more = before.tracks.iloc[[0]].assign(cell="new", sha256="1" * 64)
    tracks = pd.concat([more, before.tracks.iloc[::-1]], ignore_index=True)
    for region in (PILOT, CHR20):
        signal = before.signal(region.name)[:, :, ::-1]
        write_region(turned, region, len(tracks), "float32", [np.concatenate([signal[:, :, :1], signal], axis=2)])
    write_metadata(turned, ASSEMBLY, [PILOT, CHR20], tracks, "float32")
    assert open_store(turned).tracks_checksum != before.tracks_checksum
    np.testing.assert_allclose(imputed(load_model(path, open_store(turned))), expected, rtol=1e-4, atol=1e-5)
    tracks.loc[3, "sha256"] = "2" * 64
    write_metadata(turned, ASSEMBLY, [PILOT, CHR20], tracks, "float32")
    with pytest.raises(InputError, match="holds other signal of the tracks"):
        load_model(path, open_store(turned))
    write_metadata(turned, ASSEMBLY, [PILOT, CHR20], tracks.replace({"cell": {"NA": "other"}}), "float32")
    with pytest.raises(InputError, match="has no experiment NA"):
        load_model(path, open_store(turned))


def test_a_store_that_has_lost_a_region(with_prior):
    """Its tracks are the same, so the model goes on with it, over the regions that there are."""
    path, store, expected = with_prior
    write_metadata(store, ASSEMBLY, [CHR20], open_store(store).tracks, "float32")
    np.testing.assert_array_equal(imputed(load_model(path)), expected)
    with pytest.raises(InputError, match=r"no region 'pilot'"):
        impute(load_model(path), [("NA", "RNA")], "pilot", Hardware("cpu", "float32"))


def test_a_store_without_the_training_tracks(with_prior, tmp_path):
    path, store, _ = with_prior
    tracks = open_store(store).tracks
    signal = np.load(store / "chr20.npy")
    write_region(tmp_path / "fewer", CHR20, len(PAIRS) - 1, "float32", [signal[..., 1:]])
    write_metadata(tmp_path / "fewer", ASSEMBLY, [CHR20], tracks.iloc[1:], "float32")
    with pytest.raises(InputError, match=r"fewer has no experiment B cell DNase: unknown pair"):
        imputed(load_model(path, open_store(tmp_path / "fewer")))


def test_columns_of_the_training_tracks_are_found_by_name(with_prior, tmp_path):
    """In a store that has the same tracks in another order, and others between them."""
    path, store, expected = with_prior
    order = np.random.default_rng(0).permutation(len(PAIRS))
    assert order.tolist() != sorted(order)
    tracks = open_store(store).tracks.iloc[order]
    write_region(tmp_path / "other", CHR20, len(PAIRS), "float32", [np.load(store / "chr20.npy")[..., order]])
    write_metadata(tmp_path / "other", ASSEMBLY, [CHR20], tracks, "float32")
    np.testing.assert_allclose(imputed(load_model(path, open_store(tmp_path / "other"))), expected, atol=1e-6)


def test_a_store_with_another_region(with_prior, tmp_path):
    path, store, _ = with_prior
    shorter = Region("chr20", (Segment("chr20", 0, 1800),))
    write_region(tmp_path / "other", shorter, len(PAIRS), "float32", [np.load(store / "chr20.npy")[:9]])
    write_metadata(tmp_path / "other", ASSEMBLY, [shorter], open_store(store).tracks, "float32")
    with pytest.raises(InputError, match=r"store .*other has another chr20 than model .*model"):
        imputed(load_model(path, open_store(tmp_path / "other")))


def test_held_out_tracks_of_the_store_do_not_matter(with_prior, tmp_path):
    path, _, expected = with_prior
    held = {f"t{column}": np.nan for column in range(len(PAIRS)) if column not in TRAIN}
    found = imputed(load_model(path, make_store(tmp_path / "poisoned", **held)))
    np.testing.assert_array_equal(found, expected)


def test_no_file_can_carry_code(tmp_path):
    save(tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        content = file.read_bytes()
        length = int.from_bytes(content[:8], "little")
        json.loads(content[8 : 8 + length])  # a safetensors file: a JSON header, then plain numbers
    assert b"!!python" not in (tmp_path / "model.yaml").read_bytes()
    (tmp_path / "model.yaml").write_text("!!python/object/apply:os.system ['true']")
    assert "model.yaml is damaged" in refused(tmp_path)


@pytest.mark.parametrize("config", [TINY, STATES])
def test_loading_needs_neither_lightning_nor_hydra(tmp_path, tiny_store, config):
    network, genomes, fitted = save(tmp_path, config, store=tiny_store)
    program = f"""
import sys
from avocado.model.directory import load_model
from avocado.utils.hardware import Hardware
from avocado.inference.impute import impute
model = load_model({str(tmp_path)!r})
print(impute(model, [("NA", "RNA")], "pilot", Hardware("cpu", "float32"))[:3, 0].tolist())
heavy = "pytorch_lightning", "lightning_fabric", "hydra", "omegaconf", "optuna", "wandb", "matplotlib"
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    values, modules = done.stdout.splitlines()
    assert modules == "[]"
    prior, cell, assay = None, np.array([2]), np.array([3])
    if config.baseline != "none":
        regressed = RegressionBaseline(tiny_store, tracks_of(tiny_store, TRAIN), CELLS, ASSAYS, fitted)
        prior = next(regressed.blocks("pilot", cell, assay, [(0, PILOT.n_blocks)]))
    with torch.no_grad():
        expected = network.predict(genomes["pilot"], torch.tensor(cell), torch.tensor(assay), prior)[0, :3, 0]
    np.testing.assert_allclose(json.loads(values), expected, rtol=1e-5)


def test_devices():
    assert device_of("cpu") == torch.device("cpu")
    assert device_of("auto").type in ("cpu", "cuda")
    for name in ("gpu4", "cuda:99"):
        with pytest.raises(InputError, match=rf"device '{name}' cannot be used: "):
            device_of(name)


def test_a_region_whose_name_is_no_file_name(tmp_path):
    _, genomes, _ = save(tmp_path, TINY)
    odd = replace(CHR20, name="chr20/alt")
    save_region(tmp_path, odd, genomes["chr20"])
    model = load_model(tmp_path)
    assert model.regions["chr20/alt"] == odd
    assert torch.equal(model.genome("chr20/alt"), genomes["chr20"])
    assert unusable_regions(tmp_path) == {}
