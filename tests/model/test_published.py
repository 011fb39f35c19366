"""Models of the original program: files that the real Keras wrote (record_published.py), and files that nobody should
trust."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import ASSAYS, ASSEMBLY, CELLS
from toy_model import save

from avocado.data.genome import Assembly, load_assembly
from avocado.errors import InputError
from avocado.inference.impute import impute
from avocado.model import keras_files, published
from avocado.model.directory import load_model
from avocado.model.network import split_block
from avocado.model.published import export_published, import_published
from avocado.utils.hardware import Hardware

h5py = pytest.importorskip("h5py")

RECORDED = Path(__file__).parent / "published"
KINDS = ("tensorflow", "theano", "weights", "unnamed")
KERAS_CELLS, KERAS_ASSAYS = ["E003", "E017", "E065"], ["H3K4me3", "H3K36me3"]
PAIRS = [(cell, assay) for cell in KERAS_CELLS for assay in KERAS_ASSAYS]
EXACT = Hardware("cpu", "float32")
TOP = "model_weights"


def toy_assembly(n_bins: int) -> Assembly:
    return Assembly("toy", {"chr20": n_bins * 25 + 13})


TRY_OUT = keras_files._try_out


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Files are opened in this process alone: a look at each in another one takes a second."""
    monkeypatch.setattr(keras_files, "_try_out", lambda path: None)


@pytest.fixture
def files(tmp_path):
    """Unpacks a recorded model and returns its two files, which may be changed."""

    def unpack(name: str = "tensorflow") -> tuple[Path, Path]:
        weights, description = tmp_path / f"{name}-chr20.h5", tmp_path / f"{name}-chr20.json"
        weights.write_bytes(gzip.decompress((RECORDED / f"{weights.name}.gz").read_bytes()))
        description.write_text((RECORDED / description.name).read_text())
        return weights, description

    return unpack


@pytest.fixture
def convert(files, tmp_path):
    """Converts a recorded model, by default as it is."""

    def converted(name: str = "tensorflow", out: str = "model", **options):
        n_bins = len(np.load(RECORDED / f"{name}.npy"))
        return import_published(*files(name), tmp_path / out, **{"assembly": toy_assembly(n_bins), **options})

    return converted


def refused(*arguments, **options) -> str:
    with pytest.raises(InputError) as caught:
        import_published(*arguments, **{"assembly": toy_assembly(217), **options})
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_imputes_what_the_original_predicts_at_every_bin(convert, name):
    model, predicted = convert(name), np.load(RECORDED / f"{name}.npy")
    assert model.regions["chr20"].n_bins == len(predicted)
    imputed = impute(model, PAIRS, "chr20", EXACT)
    assert imputed.shape == predicted.shape
    assert predicted.std() > 0.1
    np.testing.assert_allclose(imputed, predicted, rtol=0, atol=1e-5)


def test_says_where_a_model_is_from(convert):
    model = convert("theano")
    assert model.training["stage"] == "published"
    assert (model.training["backend"], model.training["keras_version"]) == ("theano", "2.1.6")
    assert (model.cells, model.assays) == (KERAS_CELLS, KERAS_ASSAYS)  # of 3 rows
    assert convert("unnamed", "other").cell_factors.shape == (3, 3)  # of 4, the last one without a name


def test_experiments_are_those_of_the_file_or_of_a_table_or_unknown(convert, tmp_path):
    known = convert("tensorflow", "known").tracks
    assert known.values.tolist() == [[cell, "H3K4me3", "train"] for cell in KERAS_CELLS]
    unknown = convert("unnamed", "unknown")
    assert len(unknown.tracks) == 0
    assert len(unknown.unmeasured()) == 6
    assert "experiments not known" in repr(unknown)
    table = tmp_path / "tracks.tsv"
    table.write_text("biosample\tassay\trole\nE003\tH3K4me3\ttrain\nE017\tH3K36me3\ttest\n")
    told = convert("unnamed", "told", tracks=table).tracks
    assert told.values.tolist() == [["E003", "H3K4me3", "train"], ["E017", "H3K36me3", "test"]]
    table.write_text("cell\tassay\nE004\tH3K4me3\n")
    with pytest.raises(InputError, match="E004 H3K4me3 as 'train': expected cell types and assays of the model"):
        convert("unnamed", "wrong", tracks=table)


def test_a_place_after_the_last_bin_has_no_factors(convert):
    model = convert()
    parts = split_block(model.genome("chr20"), model.network.config)
    for part, last in zip(parts, (217 - 200, 2, 1), strict=True):
        assert part[0].abs().min() > 0
        assert (part[1, :last] != 0).all()
        assert not part[1, last:].any()


@pytest.mark.parametrize(
    ("chrom", "n_bins", "assembly", "found"),
    [
        ("chr19", 2_365_159, None, "hg19"),  # as published; the 8 bp after it are in no bin
        ("chr19", 2_365_160, None, "hg19"),  # these 8 bp are the last bin
        ("chr19", 2_344_704, None, "hg38"),
        ("chr19", 2_344_704, "hg38", "hg38"),
    ],
)
def test_the_assembly_follows_from_the_number_of_bins(chrom, n_bins, assembly, found):
    region, known = published._region(chrom, n_bins, assembly, Path("model.json"))
    assert known.name == found
    assert (region.name, region.n_bins) == (chrom, n_bins)


@pytest.mark.parametrize("n_bins", [2_365_158, 2_365_161, 1_126_469])
def test_another_number_of_bins_is_refused(n_bins):
    with pytest.raises(InputError, match="chr19 has 2,365,159 in hg19, 2,344,704 in hg38: give chrom="):
        published._region("chr19", n_bins, None, Path("model.json"))


def test_a_part_of_a_bin_at_the_end_is_kept_and_written(convert, tmp_path):
    from avocado.inference.impute import write_tracks

    model = convert(assembly=Assembly("toy", {"chr20": 216 * 25 + 13}))
    assert model.regions["chr20"].n_bins == 217
    write_tracks(model, {PAIRS[0]: tmp_path / "it.bw"}, ["chr20"], "arcsinh", EXACT, decimals=None)
    import pyBigWig

    with pyBigWig.open(str(tmp_path / "it.bw")) as file:
        start, end, value = file.intervals("chr20")[-1]
    assert (start, end) == (216 * 25, 216 * 25 + 13)
    assert value == pytest.approx(np.load(RECORDED / "tensorflow.npy")[-1, 0], abs=1e-5)


def test_long_lists_of_names_in_several_attributes(files, tmp_path):
    weights, description = files()
    with h5py.File(weights, "r+") as file:
        names = file[TOP].attrs["layer_names"]
        del file[TOP].attrs["layer_names"]
        file[TOP].attrs["layer_names0"], file[TOP].attrs["layer_names1"] = names[:7], names[7:]
    model = import_published(weights, description, tmp_path / "model", assembly=toy_assembly(217))
    np.testing.assert_allclose(
        impute(model, PAIRS, "chr20", EXACT), np.load(RECORDED / "tensorflow.npy"), rtol=0, atol=1e-5
    )


def test_several_chromosomes_of_one_network(convert, files, tmp_path):
    assembly = Assembly("toy", {"chr20": 217 * 25, "chr21": 217 * 25})
    first = convert(assembly=assembly)
    before = first.shared_checksum
    both = convert(assembly=assembly, chrom="chr21")
    assert list(both.regions) == ["chr20", "chr21"]
    assert both.shared_checksum == before
    with pytest.raises(InputError, match="has factors of chr21 already"):
        convert(assembly=assembly, chrom="chr21")
    convert(assembly=assembly, chrom="chr21", overwrite=True)
    with pytest.raises(InputError, match="other shared parameters"):
        convert("theano", assembly=assembly)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already and no model"):
        convert(out="folder")


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_round_trip(convert, tmp_path, name):
    model = convert(name)
    export_published(model, "chr20", tmp_path / "back-chr20.h5", tmp_path / "back-chr20.json")
    again = import_published(
        tmp_path / "back-chr20.h5", tmp_path / "back-chr20.json", tmp_path / "again", assembly=model.assembly
    )
    assert torch.equal(again.genome("chr20"), model.genome("chr20"))
    for key, tensor in model.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[key], tensor), key
    assert again.tracks.values.tolist() == model.tracks.values.tolist()


def test_a_model_of_ours_there_and_back(tmp_path):
    save(tmp_path / "ours")
    ours = load_model(tmp_path / "ours")
    export_published(ours, "chr20", tmp_path / "x.h5", tmp_path / "x.json")
    back = import_published(tmp_path / "x.h5", tmp_path / "x.json", tmp_path / "back", chrom="chr20", assembly=ASSEMBLY)
    pairs = [(cell, assay) for cell in CELLS for assay in ASSAYS]
    assert np.array_equal(impute(ours, pairs, "chr20", EXACT), impute(back, pairs, "chr20", EXACT))
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["n_genomic_positions"] == 1892
    assert [tuple(pair) for pair in content["experiments"]] == [
        (row.cell, row.assay) for row in ours.tracks.itertuples() if row.role == "train"
    ]


def test_what_the_original_cannot_express(tmp_path, tiny_store):
    from toy import STATES

    save(tmp_path / "states", STATES, store=tiny_store)
    save(tmp_path / "paper")
    paper, out = load_model(tmp_path / "paper"), (tmp_path / "x.h5", tmp_path / "x.json")
    with pytest.raises(InputError, match="kind states, which the original's network cannot express"):
        export_published(load_model(tmp_path / "states", baseline=False), "chr20", *out)
    with pytest.raises(InputError, match="region=pilot is not a whole chromosome"):
        export_published(paper, "pilot", *out)
    with pytest.raises(InputError, match="has no factors of 'chr1'"):
        export_published(paper, "chr1", *out)
    assert not list(tmp_path.glob("x.*"))
    out[1].write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        export_published(paper, "chr20", *out)
    assert out[1].read_text() == "mine"


@pytest.mark.slow
def test_the_original_itself_reads_what_is_written(convert, tmp_path):
    python = os.environ.get("AVOCADO_ORIGINAL_PYTHON")
    if not python:
        pytest.skip(
            "set AVOCADO_ORIGINAL_PYTHON to an interpreter that has avocado-epigenome 0.3.6 and Keras 2, such as the "
            "one that experiments.benchmarks.original makes"
        )
    for name in KINDS:
        export_published(convert(name, name), "chr20", tmp_path / f"out-{name}.h5", tmp_path / f"out-{name}.json")
        script = Path(__file__).parent / "record_published.py"
        command = [python, "-I", str(script), "predict", str(tmp_path / f"out-{name}"), str(tmp_path / "x.npy")]
        subprocess.run(command, check=True, capture_output=True)
        np.testing.assert_allclose(np.load(tmp_path / "x.npy"), np.load(RECORDED / f"{name}.npy"), rtol=0, atol=1e-5)


def test_published_values_of_roadmap(tmp_path):
    """First and last values of E004 H3K36me3 on chr19, as the original's README has them."""
    folder = os.environ.get("AVOCADO_PUBLISHED_ROADMAP")
    if not folder:
        pytest.skip("set AVOCADO_PUBLISHED_ROADMAP to a folder with the published avocado-chr19.h5 and .json (Roadmap)")
    model = import_published(Path(folder, "avocado-chr19.h5"), Path(folder, "avocado-chr19.json"), tmp_path / "model")
    assert model.assembly.sizes == load_assembly("hg19").sizes
    assert model.regions["chr19"].n_bins == 2_365_159
    first = impute(model, ("E004", "H3K36me3"), "chr19:1-75", EXACT)
    last = impute(model, ("E004", "H3K36me3"), "chr19:59128901-59128975", EXACT)
    np.testing.assert_allclose(first, [0.11702164, 0.12218985, 0.12052222], atol=1e-5)
    np.testing.assert_allclose(last, [-0.06277317, -0.06284004, -0.06013602], atol=1e-5)


# --- what is wrong with the files of others --------------------------------------------------------------------------


def test_damaged_files_are_one_line(files, tmp_path):
    weights, description = files()
    whole = weights.read_bytes()
    for size in (0, 7, 100, 2000, len(whole) // 2, len(whole) - 9000):
        weights.write_bytes(whole[:size])
        assert str(weights) in refused(weights, description, tmp_path / "model")
    weights.unlink()
    assert "no such file" in refused(weights, description, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("n_files", [4, pytest.param(150, marks=pytest.mark.slow)])
def test_changed_bytes_never_do_more_than_refuse(files, tmp_path, monkeypatch, n_files):
    monkeypatch.setattr(keras_files, "_try_out", TRY_OUT)
    monkeypatch.setattr(keras_files, "PATIENCE", 5)  # the library may look for the end of such a file for ever
    weights, description = files("weights")
    whole, random, found = bytearray(weights.read_bytes()), np.random.default_rng(0), []
    for number in range(n_files):
        changed = bytearray(whole)
        for place in random.integers(0, len(whole), 40):
            changed[place] = random.integers(256)
        weights.write_bytes(changed)
        with contextlib.suppress(InputError):  # anything else is an error of this test
            found.append(import_published(weights, description, tmp_path / str(number), assembly=toy_assembly(200)))
    assert len(found) < n_files


def test_a_library_that_finds_no_end_or_crashes(files, tmp_path, monkeypatch):
    weights, description = files()
    monkeypatch.setattr(keras_files, "_try_out", TRY_OUT)
    monkeypatch.setattr(keras_files.sys, "executable", str(tmp_path / "python"))
    for script, message in {"sleep 9": "found no end of it within 0.2 s", "kill -SEGV $$": "crashes on it"}.items():
        (tmp_path / "python").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "python").chmod(0o755)
        monkeypatch.setattr(keras_files, "PATIENCE", 0.2)
        assert message in refused(weights, description, tmp_path / "model")


def _replaced(weights: Path, name: str, **made) -> None:
    with h5py.File(weights, "r+") as file:
        del file[f"{TOP}/{name}"]
        file.create_dataset(f"{TOP}/{name}", **made)


Y_PRED = "y_pred/y_pred/bias:0"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"data": np.zeros(2, "f4")}, "biases of shape (2,), the JSON file says (1,)"),
        ({"data": np.zeros((1, 1), "f4")}, "biases of shape (1, 1)"),
        ({"data": np.float32(0)}, "biases of shape ()"),
        ({"data": np.array([np.nan], "f4")}, "numbers that are not finite"),
        ({"data": np.array(["x"], dtype=object), "dtype": h5py.string_dtype()}, "holds object, not floating-point"),
        ({"data": np.array([b"cos"])}, "holds |S3, not floating-point"),
        ({"data": np.zeros(1, "i4")}, "holds int32"),
        ({"data": np.zeros(1, "c8")}, "holds complex64"),
        ({"data": np.zeros(1, [("a", "f4")])}, "not floating-point"),
        ({"shape": (1 << 40,), "dtype": "f4", "chunks": (1024,)}, "claims"),
        ({"shape": (1,), "dtype": "f4", "external": [("/etc/hostname", 0, 4)]}, "in other files, which are not read"),
        ({"data": h5py.Empty("f4")}, "is not an array"),
    ],
)
def test_arrays_of_another_kind(files, tmp_path, made, message):
    weights, description = files()
    _replaced(weights, Y_PRED, **made)
    assert message in refused(weights, description, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_links_are_not_followed(files, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["bias"] = np.zeros(1, "f4")
    for link in (h5py.ExternalLink(str(secret), "/bias"), h5py.SoftLink(f"/{TOP}/dense_0/dense_0/bias:0")):
        weights, description = files()
        with h5py.File(weights, "r+") as file:
            del file[f"{TOP}/{Y_PRED}"]
            file[f"{TOP}/{Y_PRED}"] = link
        assert "is a link to another place" in refused(weights, description, tmp_path / "model")
    weights, description = files()
    with h5py.File(weights, "r+") as file:
        del file[f"{TOP}/{Y_PRED}"]
        layout = h5py.VirtualLayout((1,), "f4")
        layout[:] = h5py.VirtualSource(str(secret), "bias", (1,))
        file.create_virtual_dataset(f"{TOP}/{Y_PRED}", layout)
    assert "in other files" in refused(weights, description, tmp_path / "model")


def test_layers_of_another_model(files, tmp_path):
    weights, description = files()
    with h5py.File(weights, "r+") as file:
        file[TOP].attrs["layer_names"] = [
            its for its in file[TOP].attrs["layer_names"] if its not in ("dense_1", b"dense_1")
        ]
    assert "no weights of a layer 'dense_1' (weights)" in refused(weights, description, tmp_path / "model")
    weights, description = files()
    content = json.loads(description.read_text())
    description.write_text(json.dumps(content | {"n_layers": 1}))
    assert "has a layer 'dense_1', of which the JSON file knows nothing" in refused(
        weights, description, tmp_path / "model"
    )
    description.write_text(json.dumps(content | {"celltypes": [*KERAS_CELLS, "E116"]}))
    assert "factors of shape (3, 3), the JSON file says (4, 3)" in refused(weights, description, tmp_path / "model")
    description.write_text(json.dumps(content))
    with h5py.File(weights, "r+") as file:
        config = file.attrs["model_config"]
        file.attrs["model_config"] = config.replace("relu", "tanh") if isinstance(config, str) else config
    assert "layer dense_0 has the activation tanh" in refused(weights, description, tmp_path / "model")
    (tmp_path / "text.h5").write_text("<html>no such page</html>")
    assert "is not an HDF5 file" in refused(tmp_path / "text.h5", description, tmp_path / "model")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    assert "is not a file of Keras 2" in refused(tmp_path / "other.h5", description, tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"celltypes": None}, "celltypes is not a list of names"),
        ({"celltypes": ["E003", 17]}, "celltypes is not a list of names"),
        ({"assays": ["H3K4me3", "H3K4me3"]}, "assays has H3K4me3 twice"),
        ({"n_nodes": 0}, "n_nodes is 0: expected a whole number from 1"),
        ({"n_nodes": 1 << 40}, "n_nodes is"),
        ({"n_nodes": "2048"}, "n_nodes is '2048'"),
        ({"n_layers": True}, "n_layers is True"),
        ({"n_genomic_positions": None}, "n_genomic_positions is None"),
        ({"n_genomic_positions": 300}, "has 300 bins, chr20 has 217 in toy: give assembly="),
        ({"experiments": [["E003", "ATAC"]]}, "experiments has ['E003', 'ATAC']"),
        ({"experiments": "all"}, "experiments has 'all'"),
    ],
)
def test_descriptions_that_make_no_sense(files, tmp_path, changes, message):
    weights, description = files()
    description.write_text(json.dumps(json.loads(description.read_text()) | changes))
    assert message in refused(weights, description, tmp_path / "model")


def test_description_that_is_none(files, tmp_path):
    weights, description = files()
    for text in ("", "{", "[" * 100_000, "[1]"):
        description.write_text(text)
        assert str(description) in refused(weights, description, tmp_path / "model")
    description.unlink()
    assert "no such file" in refused(weights, description, tmp_path / "model")


def test_a_chromosome_in_the_name(files, tmp_path):
    weights, description = files()
    renamed = weights.rename(tmp_path / "weights.h5"), description.rename(tmp_path / "weights.json")
    assert "no chromosome in its name: give chrom=" in refused(*renamed, tmp_path / "model")
    assert "unknown chromosome 'chr3'" in refused(*renamed, tmp_path / "model", chrom="chr3")
    import_published(*renamed, tmp_path / "model", chrom="chr20", assembly=toy_assembly(217))
