"""`avocado hub` and `avocado view`: from a model to tracks in a browser."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import urllib.request
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import yaml

from avocado.data.bigwig import chromosomes, read_bins
from avocado.data.genome import Segment
from avocado.data.store import open_store
from avocado.model.directory import load_model

pytest.importorskip("trackhub")
pytest_plugins = ["demo"]

CHR20 = Segment("chr20", 0, 6000)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def made(model, store, demo, tmp_path_factory):
    """The hub of the demo's model; read-only."""
    from avocado.cli.app import command

    out = tmp_path_factory.mktemp("hubs") / "hub"
    keys = [f"model={model}", f"store={store}", f"genes={demo.path}/genes.gtf.gz", f"out={out}", "ucsc=hg38"]
    assert command("hub", [*keys, "progress=false", "workers=1"]) == 0
    return out


def states(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.bw")}


def test_what_is_written(made, model):
    its = load_model(model)
    not_trained = {(cell, assay) for cell in its.cells for assay in its.assays}
    not_trained -= set(its.tracks[its.tracks["role"] == "train"][["cell", "assay"]].itertuples(index=False, name=None))
    imputed = {path.name.removesuffix(".imputed.bw") for path in (made / "imputed").glob("*.bw")}
    assert imputed == {f"{cell}-{assay}" for cell, assay in not_trained}
    observed = {path.name.removesuffix(".observed.bw") for path in (made / "observed").glob("*.bw")}
    assert observed == {f"{row.cell}-{row.assay}" for row in its.tracks.itertuples()}
    assert chromosomes(made / "observed" / f"{min(observed)}.observed.bw") == dict(its.assembly.sizes)
    for name in ("hub.txt", "genomes.txt", "hg38/trackDb.txt", "index.html", "genes.bed", "demo.chrom.sizes"):
        assert (made / name).stat().st_size
    root = ElementTree.parse(made / "igv-session.xml").getroot()
    paths = [made / part.attrib["path"] for part in root.iter("Resource")]
    assert all(path.is_file() for path in paths)
    assert len({path.name for path in paths}) == len(paths)  # IGV tells tracks apart by these
    database = (made / "hg38" / "trackDb.txt").read_text()
    for url in re.findall(r"bigDataUrl (\S+)", database):
        assert (made / "hg38" / url).resolve().is_file()
    session = json.loads((made / "igv-session.json").read_text())
    assert session["tracks"][0]["name"] == "Genes"
    assert sum(track["type"] == "merged" for track in session["tracks"]) == len(imputed & observed)


def test_observed_tracks_are_the_stores(made, store):
    its = open_store(store)
    cell, assay = its.tracks[["cell", "assay"]].iloc[3]
    values = read_bins(made / "observed" / f"{cell}-{assay}.observed.bw", [CHR20])
    np.testing.assert_allclose(np.arcsinh(values), its.read_track(cell, assay, "chr20"), atol=0.006)


def test_the_same_command_writes_no_track_again(avocado, made, model, store, tmp_path):
    hub = shutil.copytree(made, tmp_path / "hub")
    # as seen from the files, the model must lie where it lay
    shutil.rmtree(hub)
    keys = [f"model={model}", f"store={store}", "out=hub", "cell=stem1", "workers=1"]
    assert avocado("hub", *keys).status == 0
    before = states(hub)
    lost = next(iter(before))
    lost.unlink()
    assert avocado("hub", *keys).status == 0
    after = states(hub)
    assert after.keys() == before.keys()
    assert [path for path in before if after[path] != before[path]] == [lost]


def test_some_pairs_only(avocado, model, store):
    said = avocado("hub", f"model={model}", f"store={store}", "cell=stem1", "assay=H3K4me3", "pairs=all", "workers=1")
    assert said.status == 0
    assert "1 imputed and 1 observed tracks" in said.out
    assert "hub      none: UCSC has no assembly demo" in said.out
    assert "avocado view hub" in said.out


def test_without_observed_tracks(avocado, model, store, tmp_path):
    keys = [f"model={model}", f"store={store}", "cell=stem1", "observed=false", "workers=1"]
    assert avocado("hub", *keys).status == 0
    assert not (tmp_path / "hub" / "observed").exists()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["cell=stem9"], "knows no cell type 'stem9'"),
        (["assay=H9"], "knows no assay 'H9'"),
        (["pairs=some"], "unknown pairs 'some'"),
        (["pairs=none", "observed=false"], "nothing to show"),
        (["shown=0"], "shown=0: expected a whole number from 1"),
        (["decimals=9"], "decimals=9"),
        (["regions=chr22"], "has no factors of 'chr22'"),
        (["genes=nope.gtf"], "nope.gtf"),
    ],
)
def test_what_users_get_wrong(avocado, model, store, unchanged, keys, said):
    with unchanged():
        answer = avocado("hub", f"model={model}", f"store={store}", *keys)
    assert answer.status == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_genes_of_another_assembly(avocado, model, store, tmp_path):
    (tmp_path / "genes.bed").write_text("chrW\t5\t90\tA\t0\t+\n")
    answer = avocado("hub", f"model={model}", f"store={store}", "genes=genes.bed")
    assert answer.status == 2
    assert "genes.bed and assembly demo have no chromosome in common" in answer.err


def test_the_folder_of_another_models_hub(avocado, model, store, tmp_path):
    other = shutil.copytree(model, tmp_path / "other")
    keys = [f"store={store}", "cell=stem1", "workers=1"]
    assert avocado("hub", f"model={model}", *keys).status == 0
    answer = avocado("hub", f"model={other}", *keys)
    assert answer.status == 2
    assert "made from" in answer.err
    assert "a folder holds one model: choose another out=" in answer.err


def test_a_store_of_another_assembly(avocado, model, store, tmp_path):
    other = shutil.copytree(store, tmp_path / "other")
    text = json.loads((other / "store.json").read_text())
    text["assembly"]["name"] = "hg38"
    (other / "store.json").write_text(json.dumps(text))
    answer = avocado("hub", f"model={model}", f"store={other}")
    assert answer.status == 2
    assert answer.err.count("\n") == 1


def test_a_model_whose_store_is_gone(avocado, model, tmp_path):
    lost = shutil.copytree(model, tmp_path / "lost")
    content = yaml.safe_load((lost / "model.yaml").read_text())
    content["training"]["store"] = "gone"
    (lost / "model.yaml").write_text(yaml.safe_dump(content))
    answer = avocado("hub", f"model={lost}", "baseline=none", "cell=stem1", "workers=1")
    assert answer.status == 0, answer.err
    assert "imputed tracks only" in answer.out


# --- view -----------------------------------------------------------------------------------------------------------


class Viewed:
    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process
        assert process.stdout is not None
        self.address = process.stdout.readline().split(": ")[1].strip()
        assert process.stdout.readline().startswith("Ctrl-C ends it")

    def read(self, name: str = "") -> bytes:
        with urllib.request.urlopen(self.address + name, timeout=30) as answer:
            return answer.read()

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        assert "Traceback" not in err
        return self.process.returncode, out


def test_a_hub_is_served_until_ctrl_c(shell, made):
    viewed = Viewed(shell("view", made, "open=false"))
    assert b"igv.createBrowser" in viewed.read()
    assert viewed.read("demo.chrom.sizes").startswith(b"chr20\t150017\n")
    assert viewed.end() == (0, "\nended\n")


def test_a_folder_without_a_page_gets_one_in_memory(shell, made, demo, tmp_path):
    folder = shutil.copytree(made / "imputed", tmp_path / "imputed")
    before = sorted(folder.iterdir())
    viewed = Viewed(shell("view", folder, "open=false", f"genes={demo.path}/genes.gtf.gz"))
    page = viewed.read().decode()
    data = json.loads(re.search(r"const data = (\{.*\});", page)[1])
    assert {row["cell"] for row in data["rows"]} <= {f"{kind}{n}" for kind in ("stem", "blood", "brain") for n in "123"}
    assert data["genes"][0]["url"] == "genes.bed"
    assert viewed.read("genes.bed").startswith(b"chr20\t")
    assert viewed.read(data["rows"][0]["track"]["url"])[:4] == b"\x26\xfc\x8f\x88"
    viewed.end()
    assert sorted(folder.iterdir()) == before


def test_one_file(shell, demo):
    file = demo.bigwig("stem1", "H3K4me3")
    viewed = Viewed(shell("view", file, "open=false"))
    data = json.loads(re.search(r"const data = (\{.*\});", viewed.read().decode())[1])
    assert [row["cell"] for row in data["rows"]] == [file.name]
    viewed.end()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["empty"], "empty: no bigWig file in it or below it"),
        (["empty", "assembly=hg99"], "unknown assembly 'hg99'"),
        (["{hub}", "port=99999"], "port=99999: expected a whole number from 1 to 65535"),
        (["{hub}", "assembly=hg38"], "and assembly hg38 are of different assemblies: chr20 has 150,017"),
        ([], "path"),
    ],
)
def test_what_cannot_be_viewed(avocado, made, tmp_path, keys, said):
    (tmp_path / "empty").mkdir()
    answer = avocado("view", *(key.format(hub=made) for key in keys))
    assert answer.status == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_a_port_that_another_view_has(shell, avocado, made):
    viewed = Viewed(shell("view", made, "open=false"))
    port = viewed.address.split(":")[2].split("/")[0]
    answer = avocado("view", made, f"port={port}", "open=false")
    assert (answer.status, answer.err) == (2, f"error: port {port} is taken: choose another one, or leave port= out\n")
    viewed.end()


@pytest.mark.chromium
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, such as Debian's package chromium")
def test_chromium_draws_observed_and_imputed(shell, made, tmp_path):
    from matplotlib.image import imread

    viewed = Viewed(shell("view", made, "open=false"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    picture = tmp_path / "page.png"
    found = subprocess.run(
        [CHROMIUM, *options, "--window-size=1400,1600", "--virtual-time-budget=30000", f"--screenshot={picture}",
         "--dump-dom", viewed.address],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert 'data-ready="true"' in found.stdout, found.stderr[-2000:]
    pixels = np.round(imread(picture)[..., :3] * 255).astype(int)
    session = json.loads((made / "igv-session.json").read_text())
    both = [track for track in session["tracks"] if track["type"] == "merged"]

    def drawn(color: str) -> int:
        """Pixels of a colour over white by half, as tracks that overlap are."""
        half = [(int(color[place : place + 2], 16) + 255) / 2 for place in (1, 3, 5)]
        return int((np.abs(pixels[250:] - half).max(axis=-1) <= 3).sum())

    observed, imputed = ({track["tracks"][n]["color"] for track in both} for n in (0, 1))
    assert len(observed) == 1
    assert drawn(*observed) > 500
    # a model that was hardly trained is flat: not every assay reaches a pixel
    assert sum(drawn(color) > 500 for color in imputed) > len(imputed) / 2
    viewed.end()
