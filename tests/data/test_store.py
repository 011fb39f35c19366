import json

import numpy as np
import pandas as pd
import pytest

from avocado.data import store as store_module
from avocado.data.genome import Assembly, Region, Segment, load_assembly
from avocado.data.regions import pilot_region
from avocado.data.store import SignalStore, open_store, write_metadata, write_region
from avocado.errors import InputError

TOY = Assembly("toy", {"chr1": 11_000, "chr2": 5_000})
REGION = Region("two", (Segment("chr1", 0, 401), Segment("chr2", 10, 12)))
TRACKS = pd.DataFrame(
    {"cell": ["NA", "01"], "assay": ["DNase", "H3K4me3"], "note": ["x/y", None], "max": [1.2e-7 / 7, 2.0]}
)
VALUES = np.stack([np.arange(403), -np.arange(403)], axis=1).astype(np.float16)


@pytest.fixture
def path(tmp_path):
    blocks = REGION.to_blocks(VALUES)
    write_region(tmp_path, REGION, 2, "float16", [blocks[:3], blocks[3:]])
    write_metadata(tmp_path, TOY, [REGION], TRACKS, "float16")
    return tmp_path


def test_a_store_gives_back_what_was_written(path):
    store = open_store(path)
    assert store.assembly == TOY
    assert store.regions == {"two": REGION}
    assert store.tracks["cell"].tolist() == ["NA", "01"]
    assert store.tracks["note"].tolist()[0] == "x/y"
    assert store.tracks["max"].tolist() == [1.2e-7 / 7, 2.0]  # to the last digit
    assert store.signal("two").shape == (4, 200, 2)
    assert (store.signal("two")[~REGION.mask] == 0).all()
    track = store.read_track("01", "H3K4me3", "two")
    assert track.dtype == np.float32
    np.testing.assert_array_equal(track, VALUES[:, 1])
    np.testing.assert_array_equal(store.read_tracks([1, 0, 1], "two"), VALUES[:, [1, 0, 1]])


def test_tracks_are_read_in_chunks(path, monkeypatch):
    monkeypatch.setattr(store_module, "chunk_blocks", lambda n_tracks: 1)
    np.testing.assert_array_equal(open_store(path).read_tracks([0, 1], "two"), VALUES)


def test_signal_is_a_read_only_map(path):
    signal = open_store(path).signal("two")
    assert isinstance(signal, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        signal[0, 0, 0] = 1


def test_opening_reads_no_signal(path):
    (path / "two.npy").unlink()
    store = open_store(path)
    with pytest.raises(InputError, match=r"two.npy is missing: the store is damaged"):
        store.signal("two")


def test_checksum_depends_on_content_only(path):
    before = open_store(path).checksum
    assert len(before) == 16
    assert SignalStore(path, TOY, {"two": REGION}, TRACKS, "float16").checksum == before
    write_metadata(path, TOY, [REGION], open_store(path).tracks, "float16")
    assert open_store(path).checksum == before
    write_metadata(path, TOY, [REGION], TRACKS.assign(sha256="ab"), "float16")
    assert open_store(path).checksum != before


def test_unknown_experiments_and_regions(path):
    store = open_store(path)
    for cell, assay, what in (("E1", "DNase", "cell type"), ("NA", "H1", "assay"), ("NA", "H3K4me3", "pair")):
        with pytest.raises(InputError, match=f"no experiment {cell} {assay}: unknown {what}"):
            store.track_index(cell, assay)
    with pytest.raises(InputError, match="no region 'chr1'; it has: two"):
        store.signal("chr1")


def test_missing_and_unfinished_stores(tmp_path):
    with pytest.raises(InputError, match="no signal store here"):
        open_store(tmp_path / "s")
    (tmp_path / "s.partial").mkdir()
    with pytest.raises(InputError, match="ingest has not finished"):
        open_store(tmp_path / "s")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format_version": 1, "regions": []}', "\udcff"])
def test_damaged_metadata(path, text):
    (path / "store.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"store.json is damaged"):
        open_store(path)


def test_another_format_version(path):
    content = json.loads((path / "store.json").read_text())
    (path / "store.json").write_text(json.dumps(content | {"format_version": 99}))
    with pytest.raises(InputError, match="store format 99, this program reads 1"):
        open_store(path)


@pytest.mark.parametrize(
    ("assembly", "source", "moved", "refused"),
    [
        ("hg19", "E017.H3K4me3.pilot.arcsinh.npz", 1, True),
        ("hg19", "E017.H3K4me3.pilot.arcsinh.npz", 0, False),
        ("hg19", "E017-H3K4me3.bigWig", 1, False),
        ("hg38", "E017.H3K4me3.npz", 1, False),
    ],
)
def test_pilot_vectors_of_hg19_that_were_misplaced(tmp_path, assembly, source, moved, refused):
    genome = load_assembly(assembly)
    segments = tuple(Segment(s.chrom, s.start + moved, s.end + moved) for s in pilot_region(genome).segments)
    tracks = TRACKS.assign(source=["elsewhere.bigWig", f"folder/{source}"])
    write_metadata(tmp_path, genome, [Region("pilot", segments)], tracks, "float16")
    if not refused:
        assert open_store(tmp_path).region("pilot").segments == segments
        return
    with pytest.raises(InputError, match=r"regions of E017\S*npz one bin too far right .*: delete the store, ingest"):
        open_store(tmp_path)


@pytest.mark.parametrize("keep", [0, 50, 1_000])
def test_truncated_region(path, keep):
    whole = (path / "two.npy").read_bytes()
    (path / "two.npy").write_bytes(whole[:keep])
    with pytest.raises(InputError, match=r"two.npy is damaged"):
        open_store(path).signal("two")


def test_region_of_another_shape(path):
    np.save(path / "two.npy", np.zeros((4, 200, 3), np.float16))
    with pytest.raises(InputError, match=r"holds \(4, 200, 3\) float16, store.json says \(4, 200, 2\) float16"):
        open_store(path).signal("two")


def test_an_incomplete_region_leaves_nothing(tmp_path):
    blocks = REGION.to_blocks(VALUES)
    with pytest.raises(ValueError, match="3 of 4 blocks"):
        write_region(tmp_path, REGION, 2, "float16", [blocks[:3]])
    with pytest.raises(ValueError, match="for 3 tracks"):
        write_region(tmp_path, REGION, 3, "float16", [blocks])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path):
    def chunks():
        yield REGION.to_blocks(VALUES)[:1]
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"cannot write .*two.npy: No space left on device; nothing was left behind"):
        write_region(tmp_path, REGION, 2, "float16", chunks())
    assert list(tmp_path.iterdir()) == []
