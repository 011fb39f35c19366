"""New cell types and assays for a trained model: what is learned, and that nothing else changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from toy import ASSEMBLY, CELLS, CHR20, PILOT, STATES, TINY, make_signal, make_store
from toy_model import save

import avocado
from avocado.data.compendium import pairs_in
from avocado.errors import InputError
from avocado.inference.impute import impute
from avocado.model.directory import load_model, own_store_of, store_of
from avocado.model.published import export_published, import_published
from avocado.runs.card import CARD
from avocado.runs.transfer import TransferSpec, transfer
from avocado.training.masked import columns_of, encode_region
from avocado.training.transfer_config import TransferConfig

QUICK = TransferConfig(steps=40, bins=400, batch_bins=100, masked=0.3)
NEW = ("kidney", "DNase", "H3K27ac", "H3K4me3")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("toy") / "store")


@pytest.fixture(scope="module", params=["states", "alone", "paper", "linear"])
def source(request, store, tmp_path_factory) -> Path:
    """A model of each kind, initialised and not trained."""
    kinds = {
        "states": STATES,
        "alone": replace(STATES, baseline="none"),
        "paper": TINY,
        "linear": replace(TINY, layers=0),
    }
    path = tmp_path_factory.mktemp(request.param) / "model"
    save(path, kinds[request.param], store=store)
    return path


@pytest.fixture(scope="module")
def states(store, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("states") / "model"
    save(path, STATES, store=store)
    return path


def table(folder: Path, cell: str = NEW[0], assays=NEW[1:], like: int = 0, **columns) -> pd.DataFrame:
    """New tracks as .npz files, a little stronger than some of the store's."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, assay in enumerate(assays):
        file = folder / f"{cell}.{assay}.npz"
        random = np.random.default_rng(number)
        signals = {region.name: make_signal(region.n_bins, seed)[:, like + number] * 1.1
                   + 0.05 * random.random(region.n_bins) for region, seed in ((PILOT, 1), (CHR20, 2))}  # fmt: skip
        np.savez(file, **{name: values.astype(np.float32) for name, values in signals.items()})
        rows.append((cell, assay, str(file)))
    return pd.DataFrame(rows, columns=pd.Index(["cell", "assay", "file"])).assign(**columns)


def add(source: Path, tracks: pd.DataFrame, out: Path, store=None, verdict=False, **more):
    return transfer(TransferSpec(source, tracks, out, QUICK, verdict=verdict, **more), store)


def frozen(source: Path, made: Path) -> None:
    """Every tensor of the source is in what was made of it, bit for bit, with further rows at most."""
    before, after = (load_file(path / "shared.safetensors") for path in (source, made))
    for name, tensor in before.items():
        rows = after[name][tuple(slice(n) for n in tensor.shape)].contiguous()
        assert rows.numpy().tobytes() == tensor.numpy().tobytes(), name
    for file in source.glob("*.safetensors"):
        if file.name != "shared.safetensors":
            assert (made / file.name).read_bytes() == file.read_bytes()


def test_only_the_rows_of_a_new_cell_type_are_new(source, store, tmp_path):
    result = add(source, table(tmp_path / "files"), tmp_path / "made", store)
    assert result.cells == ["kidney"]
    assert result.nearest["kidney"] in CELLS
    frozen(source, tmp_path / "made")
    before, after = load_model(source, store), load_model(tmp_path / "made", store)
    assert after.cells == [*before.cells, "kidney"]
    assert after.assays == before.assays
    assert pairs_in(after.tracks, "given") == [("kidney", assay) for assay in NEW[1:]]
    known = [(cell, assay) for cell in before.cells for assay in before.assays]
    for region in ("pilot", "chr20"):
        assert impute(before, known, region).tobytes() == impute(after, known, region).tobytes()
    imputed = impute(after, ("kidney", "RNA"), "chr20:10,000-30,000")
    assert np.isfinite(imputed).all()
    assert imputed.std() > 0


def test_the_encoder_makes_the_same_genome_factors(states, store, tmp_path):
    add(states, table(tmp_path / "files", assays=("DNase",)), tmp_path / "made", store)
    found = []
    for path in (states, tmp_path / "made"):
        model = load_model(path, store)
        columns = columns_of(model.network, own_store_of(model), model.cells, model.assays)
        found.append(encode_region(model.network, own_store_of(model), "chr20", columns))
    assert torch.equal(*found)


def test_learning_makes_masked_bins_better(source, store, tmp_path):
    result = add(source, table(tmp_path / "files"), tmp_path / "made", store)
    curve = pd.read_csv(result.record / "history.csv")["masked_mse"]
    assert curve.min() <= curve.iloc[0]


def test_a_new_assay_and_a_new_cell_type_with_it(source, store, tmp_path):
    tracks = pd.concat([
        table(tmp_path / "files", "E003", ("CTCF",)), table(tmp_path / "files", "liver", ("CTCF",), 3),
        table(tmp_path / "files", "kidney", ("CTCF", "DNase")),
    ])  # fmt: skip
    result = add(source, tracks, tmp_path / "made", store)
    assert (result.cells, result.assays) == (["kidney"], ["CTCF"])
    frozen(source, tmp_path / "made")
    model = load_model(tmp_path / "made", store)
    found = impute(model, [("kidney", "RNA"), ("NA", "CTCF"), ("E003", "CTCF"), ("NA", "DNase")], "pilot")
    assert np.isfinite(found).all()


def test_a_transferred_model_can_be_transferred_again(source, store, tmp_path):
    add(source, table(tmp_path / "files"), tmp_path / "one", store)
    add(tmp_path / "one", table(tmp_path / "files", "lung", ("DNase", "RNA")), tmp_path / "two", store)
    frozen(source, tmp_path / "two")
    frozen(tmp_path / "one", tmp_path / "two")
    one, two = (load_model(tmp_path / name, store) for name in ("one", "two"))
    assert [its.cells for its in two.transfers] == [["kidney"], ["lung"]]
    pair = [("kidney", "RNA")]
    assert np.array_equal(impute(one, pair, "pilot"), impute(two, pair, "pilot"))
    assert np.isfinite(impute(two, ("lung", "H3K4me3"), "pilot")).all()


def test_a_cell_type_does_not_depend_on_others_that_are_added_with_it(states, store, tmp_path):
    kidney, lung = table(tmp_path / "files"), table(tmp_path / "files", "lung", ("DNase", "RNA"), 3)
    add(states, kidney, tmp_path / "one", store)
    add(states, pd.concat([kidney, lung]), tmp_path / "both", store)
    pairs = [("kidney", "RNA"), ("kidney", "H3K4me3")]
    one, both = (impute(load_model(tmp_path / name, store), pairs, "pilot") for name in ("one", "both"))
    np.testing.assert_allclose(one, both, atol=2e-3)


def test_what_is_done_is_not_done_again(states, store, tmp_path):
    tracks = table(tmp_path / "files")
    assert not add(states, tracks, tmp_path / "made", store).was_done
    written = (tmp_path / "made" / "shared.safetensors").stat().st_mtime_ns
    assert add(states, tracks, tmp_path / "made", store).was_done
    assert (tmp_path / "made" / "shared.safetensors").stat().st_mtime_ns == written
    with pytest.raises(InputError, match=r"begun with other settings \(seed was 0, is 1\)"):
        add(states, tracks, tmp_path / "made", store, seed=1)
    spec = TransferSpec(states, tracks, tmp_path / "made", QUICK, seed=1, verdict=False)
    again = transfer(spec, store, overwrite=True)
    assert not again.was_done


def test_an_interrupted_transfer_goes_on_to_the_same_result(states, store, tmp_path, monkeypatch):
    from avocado.training import transfer as learning

    config = replace(QUICK, checkpoint_every=0, patience=100, steps=60)
    tracks = table(tmp_path / "files")
    whole = transfer(TransferSpec(states, tracks, tmp_path / "whole", config), store)
    plain = learning.shown

    def stopping(steps, *options):
        for step in plain(steps, *options):
            if step == 45:
                raise KeyboardInterrupt
            yield step

    monkeypatch.setattr(learning, "shown", stopping)
    with pytest.raises(KeyboardInterrupt):
        transfer(TransferSpec(states, tracks, tmp_path / "again", config), store)
    assert not (tmp_path / "again" / "model.yaml").exists()
    assert (tmp_path / "again" / "transfer" / "cells.ckpt").is_file()
    begun = []
    monkeypatch.setattr(learning, "shown", lambda steps, *options: begun.append(steps[0]) or steps)
    again = transfer(TransferSpec(states, tracks, tmp_path / "again", config), store)
    assert begun == [40, 0]  # of the cell type, and of the trials
    for name in ("shared.safetensors", "transfer/history.csv", "transfer/verdict.csv"):
        assert (whole.model / name).read_bytes() == (again.model / name).read_bytes()


def test_tracks_to_be_scored_are_not_learned_from(states, store, tmp_path):
    tracks = table(tmp_path / "files").assign(split=["train", "train", "test"])
    add(states, tracks, tmp_path / "made", store)
    other = table(tmp_path / "others", assays=("H3K4me3",), like=7)  # another signal of the held-out track
    tracks.loc[2, "file"] = other["file"].iloc[0]
    add(states, tracks, tmp_path / "other", store)
    one, two = (load_model(tmp_path / name, store) for name in ("made", "other"))
    assert torch.equal(one.network.cell_factors, two.network.cell_factors)
    scores = avocado.score(one, store, regions=["pilot"])
    assert "kidney" in set(scores["cell"])


def test_tracks_of_a_new_assay_are_scored_beside_the_mean_of_those_that_were_given(states, store, tmp_path):
    given = [table(tmp_path / cell, cell, ("CTCF",), like, split="train") for cell, like in (("E003", 0), ("liver", 3))]
    held_out = table(tmp_path / "kidney", assays=("CTCF", "DNase"), like=5, split=["test", "train"])
    add(states, pd.concat([*given, held_out]), tmp_path / "made", store)
    model = load_model(tmp_path / "made", store)
    found = avocado.score(model, regions=["pilot"])
    found = found[(found["cell"] == "kidney") & (found["assay"] == "CTCF")].set_index("method")["mse"]
    signals = store_of(model).signal("pilot")[:][PILOT.mask].astype(np.float64)
    column = store_of(model).track_index
    mean = (signals[:, column("E003", "CTCF")] + signals[:, column("liver", "CTCF")]) / 2
    assert found["average activity"] == pytest.approx(
        np.mean((signals[:, column("kidney", "CTCF")] - mean) ** 2), rel=1e-3
    )
    assert np.isfinite(found["Avocado"])


def test_the_verdict(source, store, tmp_path):
    result = add(source, table(tmp_path / "files"), tmp_path / "made", store, verdict=True)
    found = result.verdict
    assert found is not None
    left_out = found[found["kind"] == "left out"]
    assert set(zip(left_out["assay"], left_out["tracks"], strict=True)) == {(a, n) for a in NEW[1:] for n in (1, 2)}
    assert set(found.loc[found["kind"] == "masked blocks", "tracks"]) == {3}
    # average activity is that of the model's training tracks, on the same bins
    assert found.groupby("assay")["mse_average"].nunique().eq(1).all()
    assert ((found["skill"] > 0) == found["better"]).all()
    np.testing.assert_allclose(found["skill"], 1 - found["mse"] / found["mse_average"])
    assert "kidney: 2 tracks are" in result.text
    for assay in NEW[1:]:
        assert f"  {assay}: " in result.text
    for name in ("verdict.csv", "verdict.txt", "verdict.png", "similarity.csv"):
        assert (result.record / name).stat().st_size > 0


def test_the_card_says_what_was_added_from_what_and_each_verdict(states, store, tmp_path):
    first = add(states, table(tmp_path / "files"), tmp_path / "one", store, verdict=True)
    second = add(tmp_path / "one", table(tmp_path / "files", "lung", ("DNase", "RNA"), split=["train", "test"]),
                 tmp_path / "two", store, verdict=True)  # fmt: skip
    one, two = ((tmp_path / name / CARD).read_text() for name in ("one", "two"))
    assert "- new cell type kidney: learned on chr20 from kidney DNase, kidney H3K27ac, kidney H3K4me3; added to" in one
    assert load_model(states, store).shared_checksum[:16] in one
    assert first.text.strip("\n") in one
    for text in (first.text, second.text):
        assert text.strip("\n") in two
    assert first.text != second.text
    assert "- new cell type lung: learned on chr20 from lung DNase; added to" in two
    assert load_model(tmp_path / "one", store).shared_checksum[:16] in two
    assert str(tmp_path) not in two
    row = next(line for line in two.splitlines() if line.startswith("| lung"))
    assert (row.count("+"), row.count("□")) == (1, 1)
    assert 'avocado.impute(model, ("lung", ' in two
    # a third one has all three, and what somebody changed stays
    (tmp_path / "two" / CARD).write_text("mine\n")
    add(tmp_path / "two", table(tmp_path / "files", "spleen", ("DNase",)), tmp_path / "three", store)
    three = (tmp_path / "three" / CARD).read_text()
    assert all(text.strip("\n") in three for text in (first.text, second.text))
    assert "- new cell type spleen: " in three
    assert (tmp_path / "two" / CARD).read_text() == "mine\n"


def test_one_track_can_only_be_judged_on_masked_blocks(states, store, tmp_path):
    result = add(states, table(tmp_path / "files", assays=("DNase",)), tmp_path / "made", store, verdict=True)
    assert result.verdict["kind"].tolist() == ["masked blocks"]
    assert "with one track there is no other to impute" in result.text


def test_without_the_store_of_its_own_tracks(store, tmp_path):
    save(tmp_path / "source", replace(STATES, baseline="none"), store=store)  # which says nowhere where that is
    tracks = table(tmp_path / "files")
    result = add(tmp_path / "source", tracks, tmp_path / "made", verdict=True)
    assert "average activity is here the mean of what the model imputes" in result.text
    assert result.verdict["mse_average"].notna().all()
    with_store = add(tmp_path / "source", tracks, tmp_path / "other", store, verdict=True)
    assert "is here the mean" not in with_store.text
    assert not np.allclose(with_store.verdict["mse_average"], result.verdict["mse_average"])


def test_a_published_model_learns_a_cell_type(tmp_path):
    """Files of the original program, which do not say what it was trained on."""
    pytest.importorskip("h5py")
    save(tmp_path / "ours")
    weights, description = tmp_path / "x.h5", tmp_path / "x.json"
    export_published(load_model(tmp_path / "ours"), "chr20", weights, description)
    content = json.loads(description.read_text())
    del content["experiments"]
    description.write_text(json.dumps(content))
    model = import_published(weights, description, tmp_path / "source", chrom="chr20", assembly=ASSEMBLY)
    assay, known = model.assays[0], [(cell, assay) for cell in model.cells for assay in model.assays]
    signal = impute(model, (model.cells[0], assay), "chr20").ravel() * 1.1
    np.save(tmp_path / "new.npy", signal.astype(np.float32))
    tracks = pd.DataFrame({"cell": ["mine"], "assay": [assay], "file": [str(tmp_path / "new.npy")]})
    result = add(tmp_path / "source", tracks, tmp_path / "made", verdict=True)
    assert "average activity is here the mean of what the model imputes" in result.text
    frozen(tmp_path / "source", tmp_path / "made")
    made = load_model(tmp_path / "made")
    assert impute(made, known, "chr20").tobytes() == impute(model, known, "chr20").tobytes()
    assert np.isfinite(impute(made, ("mine", model.assays[1]), "chr20")).all()
    assert "new cell type mine: learned on chr20" in (tmp_path / "made" / CARD).read_text()


def test_in_python(states, store, tmp_path):
    model = avocado.transfer(states, table(tmp_path / "files"), tmp_path / "made", store=store, steps=5, bins=300)
    assert "added by transfer from" in repr(model)
    assert len(model.cell_factors) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "E003"}, r"E003 is a cell type that model .* has, DNase of it included"),
        ({"assays": ("H3K27ax",)}, r"knows no assay 'H3K27ax' \(did you mean H3K27ac\?\)|did you mean"),
        ({"split": "test"}, "kidney has only tracks that are held out"),
        ({"split": "val"}, "'val' in its column split"),
    ],
)
def test_tracks_that_do_not_fit(states, store, tmp_path, change, message):
    columns = {"split": change.pop("split")} if "split" in change else {}
    with pytest.raises(InputError, match=message):
        add(states, table(tmp_path / "files", **{"assays": ("DNase",), **change}, **columns), tmp_path / "made", store)
    assert not (tmp_path / "made" / "model.yaml").exists()


def test_a_track_of_another_region_or_a_damaged_file(states, store, tmp_path):
    tracks = table(tmp_path / "files", assays=("DNase",))
    np.savez(tracks["file"].iloc[0], pilot=np.zeros(17, np.float32), chr20=np.zeros(CHR20.n_bins, np.float32))
    with pytest.raises(InputError, match="17 values, region pilot has"):
        add(states, tracks, tmp_path / "made", store)
    Path(tracks["file"].iloc[0]).write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="cannot be used"):
        add(states, tracks, tmp_path / "made", store)
    assert not (tmp_path / "made" / "model.yaml").exists()
    add(states, table(tmp_path / "files", assays=("DNase",)), tmp_path / "made", store)  # the same place, now right


def test_places_that_are_something_else(states, store, tmp_path):
    tracks = table(tmp_path / "files", assays=("DNase",))
    with pytest.raises(InputError, match="is the model that is added to"):
        add(states, tracks, states, store)
    with pytest.raises(InputError, match="was not made by a transfer"):
        add(states, tracks, tmp_path / "files", store)
    assert ASSEMBLY.name == "toy"
