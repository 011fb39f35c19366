import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pyBigWig
import pytest

from avocado.data import ingest as ingest_module
from avocado.data import sources
from avocado.data.bigwig import write_bigwig
from avocado.data.genome import Assembly, Region, Segment, chromosome_region
from avocado.data.ingest import ingest
from avocado.data.store import open_store
from avocado.errors import InputError
from avocado.utils import files
from avocado.utils.files import sha256

TOY = Assembly("toy", {"chr1": 12_510, "chr2": 5_000})  # 500 and 200 bins
CHR1, CHR2 = (chromosome_region(TOY, chrom) for chrom in TOY.sizes)
PILOT = Region("pilot", (Segment("chr1", 10, 250), Segment("chr2", 190, 200)))
SIGNAL = np.random.default_rng(0).gamma(0.5, 2, (4, 700)).astype(np.float32)  # raw −log10 p; chr1, then chr2
STORED = np.arcsinh(SIGNAL)


@pytest.fixture
def table(tmp_path):
    """Four bigWigs and their table."""
    rows = []
    for number, (cell, assay) in enumerate([("E1", "DNase"), ("E1", "H3K4me3"), ("NA", "DNase"), ("nan", "H3K27ac")]):
        path = tmp_path / f"{number}.bigWig"
        pieces = [(CHR1.segments[0], SIGNAL[number, :500]), (CHR2.segments[0], SIGNAL[number, 500:])]
        write_bigwig(path, TOY, pieces)
        rows.append({"cell": cell, "assay": assay, "file": str(path), "fold": number, "lab": "a/b"})
    return pd.DataFrame(rows)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def reads(monkeypatch):
    """Names of the bigWigs that are read, in order; one entry for each region."""
    names = []

    def read(path, segments, warn):
        names.append(path.name)
        return read_bins(path, segments, warn)

    read_bins = sources.read_bins
    monkeypatch.setattr(sources, "read_bins", read)
    return names


def left(out):
    return sorted(p.name for p in out.parent.iterdir() if p.name.startswith(out.name))


def assert_content(store, rows=(0, 1, 2, 3)):
    for number, row in zip(rows, store.tracks.itertuples(), strict=True):
        for name, part in (("chr1", slice(0, 500)), ("chr2", slice(500, 700))):
            if name in store.regions:
                expected = STORED[number, part].astype(np.float16).astype(np.float32)
                np.testing.assert_array_equal(store.read_track(row.cell, row.assay, name), expected)


# --- content ---


def test_the_store_holds_the_arcsinh_of_the_bins(table, out):
    store = ingest(table, out, TOY, [CHR1, CHR2, PILOT])
    assert list(store.regions) == ["chr1", "chr2", "pilot"]
    assert store.assembly == TOY
    assert store.regions["pilot"] == PILOT
    assert_content(store)
    pilot = np.concatenate([STORED[:, 10:250], STORED[:, 690:700]], axis=1)
    np.testing.assert_allclose(store.read_tracks(range(4), "pilot").T, pilot, rtol=2**-11, atol=1e-7)
    signal = store.signal("chr1")
    assert (signal.shape, signal.dtype) == ((3, 200, 4), np.float16)
    assert (signal[2, 100:] == 0).all()
    assert left(out) == ["store"]
    assert sorted(p.name for p in out.iterdir()) == ["chr1.npy", "chr2.npy", "pilot.npy", "store.json"]


def test_the_table_of_tracks(table, out):
    tracks = ingest(table, out, TOY, [CHR1, CHR2]).tracks
    assert list(tracks) == [
        "cell", "assay", "fold", "lab", "source", "sha256", "min", "max", "mean", "zeros", "warning",
    ]  # fmt: skip
    assert tracks["cell"].tolist() == ["E1", "E1", "NA", "nan"]
    assert tracks["fold"].tolist() == [0, 1, 2, 3]
    assert tracks["source"].tolist() == table["file"].tolist()
    assert tracks["sha256"].tolist() == [sha256(table["file"].map(type(out))[i]) for i in range(4)]
    stored = STORED.astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(tracks["max"], stored.max(axis=1), rtol=1e-9)
    np.testing.assert_allclose(tracks["min"], stored.min(axis=1), rtol=1e-9)
    np.testing.assert_allclose(tracks["mean"], stored.mean(axis=1), rtol=1e-9)
    np.testing.assert_allclose(tracks["zeros"], (stored == 0).mean(axis=1))
    assert (tracks["warning"] == "").all()


def test_mean_first_then_arcsinh(tmp_path, out):
    pybigwig = pytest.importorskip("pyBigWig")
    with pybigwig.open(str(tmp_path / "gap.bw"), "w") as file:
        file.addHeader(list(TOY.sizes.items()))
        file.addEntries(["chr1"], [0], ends=[10], values=[4.0])  # 10 of the 25 bases of bin 0
    table = pd.DataFrame({"cell": ["E1"], "assay": ["DNase"], "file": [tmp_path / "gap.bw"]})
    track = ingest(table, out, TOY, [CHR1], dtype="float32").read_track("E1", "DNase", "chr1")
    assert track[0] == pytest.approx(np.arcsinh(1.6), rel=1e-6)
    assert (track[1:] == 0).all()


def test_float32_and_chunks(table, out, monkeypatch):
    monkeypatch.setattr(ingest_module, "chunk_blocks", lambda n_tracks: 1)
    store = ingest(table, out, TOY, [CHR1], dtype="float32")
    np.testing.assert_allclose(store.read_tracks(range(4), "chr1").T, STORED[:, :500], rtol=1e-6)


def test_worker_processes_give_the_same_store(table, out, tmp_path):
    alone = ingest(table, out, TOY, [CHR1, CHR2])
    together = ingest(table, tmp_path / "other", TOY, [CHR1, CHR2], workers=2, progress=True)
    assert together.checksum == alone.checksum
    for region in ("chr1", "chr2"):
        np.testing.assert_array_equal(together.signal(region), alone.signal(region))


def test_strange_tracks_are_reported(tmp_path, out, caplog):
    rows = []
    for name, values in (("zero", np.zeros(200)), ("negative", np.full(200, -0.5)), ("fine", np.ones(200))):
        np.save(tmp_path / f"{name}.npy", values)
        rows.append((name, "DNase", str(tmp_path / f"{name}.npy")))
    with caplog.at_level(logging.WARNING):
        store = ingest(pd.DataFrame(rows, columns=["cell", "assay", "file"]), out, TOY, [CHR2])
    fine, negative, zero = store.tracks["warning"]
    assert zero == "no signal: all bins are 0"
    assert negative.startswith("negative values down to -0.5")
    assert fine == ""
    assert [r.getMessage().split()[0] for r in caplog.records] == ["negative", "zero"]


# --- mistakes ---


def test_all_bad_files_are_reported_at_once_before_reading(table, out, reads, tmp_path):
    (tmp_path / "text.bigWig").write_text("chr1\t0\t25\t1\n")
    whole = (tmp_path / "1.bigWig").read_bytes()
    (tmp_path / "1.bigWig").write_bytes(whole[: len(whole) // 2])
    table.loc[0, "file"] = str(tmp_path / "text.bigWig")
    table.loc[3, "file"] = "absent.txt"
    with pytest.raises(InputError) as error:
        ingest(table, out, TOY, [CHR1])
    message = str(error.value)
    assert message.startswith("3 of 4 tracks cannot be used: E1 DNase: ")
    assert "text.bigWig is not a bigWig but a text file" in message
    assert "E1 H3K4me3: " in message
    assert "1.bigWig is truncated" in message
    assert "nan H3K27ac: absent.txt is of an unknown kind" in message
    assert "\n" not in message
    assert reads == []
    assert left(out) == []


def test_what_is_wrong_with_many_files_is_said_once(out):
    table = pd.DataFrame([(f"E{i}", "DNase", f"{i}.bw") for i in range(9)], columns=["cell", "assay", "file"])
    with pytest.raises(InputError) as error:
        ingest(table, out, TOY, [CHR1])
    message = str(error.value)
    assert message.startswith("9 of 9 tracks cannot be used: E0 DNase: 0.bw: no such file")
    assert message.count("no such file") == 1
    assert message.endswith("; the same with 8 more: E1 DNase, E2 DNase, E3 DNase, E4 DNase, E5 DNase, ...")


def test_only_the_first_kinds_of_bad_files_are_spelled_out(out, monkeypatch):
    monkeypatch.setattr("avocado.data.ingest.SHOWN", 1)
    names = ["0.bw", "1.txt", "2.bw", "3.txt", "4.bw", "5.txt", "6.txt"]
    table = pd.DataFrame([(f"E{name[0]}", "DNase", name) for name in names], columns=["cell", "assay", "file"])
    with pytest.raises(InputError) as error:
        ingest(table, out, TOY, [CHR1])
    message = str(error.value)
    assert message.startswith("7 of 7 tracks cannot be used: E0 DNase: 0.bw: no such file")
    assert message.endswith("; the same with 2 more: E2 DNase, ...; and 4 more")


def test_chromosome_names_and_sizes(table, out):
    plain = Assembly("plain", {"1": 12_510, "2": 5_000})
    with pytest.raises(InputError, match=r"4 of 4 tracks .* assembly plain: 'chr1', not '1'"):
        ingest(table, out, plain, [chromosome_region(plain, "1")])
    other = Assembly("other", {"chr1": 13_000, "chr2": 5_000})
    with pytest.raises(InputError, match="is not of assembly other: chr1 has 12,510 bp in the file and 13,000"):
        ingest(table, out, other, [chromosome_region(other, "chr1")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.iloc[:0], "is empty"),
        (lambda t: t.drop(columns=["file"]), "has no column file"),
        (lambda t: pd.concat([t, t.iloc[2:3]]), "has NA DNase more than once"),
        (lambda t: t.assign(file=["a.bw", None, "", "b.bw"]), "row 2 of the table of tracks has no file"),
    ],
)
def test_bad_tables(table, out, change, message):
    with pytest.raises(InputError, match=message):
        ingest(change(table), out, TOY, [CHR1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "unknown dtype 'int8': choose float16 or float32"),
        ({"arrays": "log"}, "unknown arrays 'log': choose arcsinh or raw"),
        ({"workers": 0}, "workers=0"),
        ({"regions": []}, "at least one"),
        ({"regions": [CHR1, CHR1]}, "each once"),
    ],
)
def test_bad_options(table, out, options, message):
    with pytest.raises(InputError, match=message):
        ingest(table, out, TOY, **({"regions": [CHR1]} | options))


def test_a_place_that_cannot_be_written(table, tmp_path):
    (tmp_path / "plain").touch()
    with pytest.raises(InputError, match=r"cannot write .*plain/store\.partial: Not a directory; choose another out"):
        ingest(table, tmp_path / "plain" / "store", TOY, [CHR1])


def test_a_directory_with_other_things_in_it(table, out):
    out.mkdir()
    (out / "thesis.tex").touch()
    with pytest.raises(InputError, match="exists and is not a signal store"):
        ingest(table, out, TOY, [CHR1])
    assert [p.name for p in out.iterdir()] == ["thesis.tex"]
    (out / "thesis.tex").unlink()
    assert_content(ingest(table, out, TOY, [CHR1]))  # an empty directory will do


# --- interrupted, continued ---


def interrupt_after(monkeypatch, n, error):
    read_bins, calls = sources.read_bins, iter(range(n))

    def read(path, segments, warn):
        if next(calls, None) is None:
            raise error
        return read_bins(path, segments, warn)

    monkeypatch.setattr(sources, "read_bins", read)


def test_an_interrupted_ingest_goes_on(table, out, monkeypatch, reads):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5, KeyboardInterrupt())  # in the second region of the third track
        with pytest.raises(KeyboardInterrupt):
            ingest(table, out, TOY, [CHR1, CHR2])
    assert left(out) == ["store.partial"]
    with pytest.raises(InputError, match="ingest has not finished"):
        open_store(out)
    reads.clear()
    store = ingest(table, out, TOY, [CHR1, CHR2])
    assert reads == ["2.bigWig"] * 2 + ["3.bigWig"] * 2
    assert_content(store)
    assert left(out) == ["store"]


def test_an_interrupted_transposition_goes_on(table, out, monkeypatch, reads):
    write_region = ingest_module.write_region

    def write(directory, region, n_tracks, dtype, chunks):
        if n_tracks == 4 and region.name == "chr2":
            raise KeyboardInterrupt
        write_region(directory, region, n_tracks, dtype, chunks)

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "write_region", write)
        with pytest.raises(KeyboardInterrupt):
            ingest(table, out, TOY, [CHR1, CHR2])
    inode = (out.with_name("store.partial") / "chr1.npy").stat().st_ino
    reads.clear()
    store = ingest(table, out, TOY, [CHR1, CHR2])
    assert reads == []
    assert (out / "chr1.npy").stat().st_ino == inode  # written once
    assert_content(store)


def test_a_file_that_changed_in_between_is_read_again(table, out, monkeypatch, reads):
    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "write_metadata", lambda *_: (_ for _ in ()).throw(InputError("cannot write")))
        with pytest.raises(InputError, match="cannot write"):
            ingest(table, out, TOY, [CHR1])
    write_bigwig(table["file"][1], TOY, [(CHR1.segments[0], SIGNAL[0, :500])])
    reads.clear()
    store = ingest(table, out, TOY, [CHR1])
    assert reads == ["1.bigWig"]
    assert_content(store, [0, 0, 2, 3])  # also in regions that had been written


def test_a_row_dropped_in_between(table, out, monkeypatch, reads):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            ingest(table, out, TOY, [CHR1])
    reads.clear()
    store = ingest(table.iloc[[3, 1, 2]], out, TOY, [CHR1])
    assert reads == ["3.bigWig"]
    assert_content(store, [1, 2, 3])


def test_a_damaged_file_does_not_stop_the_others(table, out, tmp_path, reads):
    content = bytearray((tmp_path / "1.bigWig").read_bytes())
    data = int.from_bytes(content[16:24], "little")  # the header's offset of the signal
    content[data + 8 : data + 48] = bytes(40)
    (tmp_path / "1.bigWig").write_bytes(content)
    with pytest.raises(
        InputError, match=r"^1 of 4 tracks cannot be used: E1 H3K4me3: .*1\.bigWig is truncated or damag"
    ):
        ingest(table, out, TOY, [CHR1])
    reads.clear()
    assert_content(ingest(table.drop(index=1), out, TOY, [CHR1]), [0, 2, 3])
    assert reads == []


def test_a_full_disk(table, out, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", full)
        with pytest.raises(InputError, match=r"cannot write .*chr1\.npy: No space left on device"):
            ingest(table, out, TOY, [CHR1])
    assert list(out.parent.rglob("*.tmp")) == []
    assert_content(ingest(table, out, TOY, [CHR1]))


def test_killed_and_started_again(table, out, tmp_path, reads):
    table.to_pickle(tmp_path / "table.pkl")
    script = f"""
        import time
        import pandas as pd
        from avocado.data import sources
        from avocado.data.genome import Assembly, chromosome_region
        from avocado.data.ingest import ingest
        read_bins, calls = sources.read_bins, []
        def read(path, segments, warn):
            calls.append(path)
            if len(calls) == 3:
                print("third", flush=True)
                time.sleep(60)
            return read_bins(path, segments, warn)
        sources.read_bins = read
        toy = Assembly("toy", {dict(TOY.sizes)})
        ingest(pd.read_pickle({str(tmp_path / "table.pkl")!r}), {str(out)!r}, toy, [chromosome_region(toy, "chr1")])
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "third\n"
        with pytest.raises(InputError, match=r"store\.partial: another ingest is at work here"):
            ingest(table, out, TOY, [CHR1])
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert_content(ingest(table, out, TOY, [CHR1]))
    assert reads == ["2.bigWig", "3.bigWig"]
    assert left(out) == ["store"]


def test_killed_while_moving_regions_into_place(table, out, monkeypatch, reads):
    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "write_metadata", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(table, out, TOY, [CHR1, CHR2])
    assert left(out) == ["store", "store.partial"]
    with pytest.raises(InputError, match="ingest has not finished"):
        open_store(out)
    reads.clear()
    assert_content(ingest(table, out, TOY, [CHR1, CHR2]))
    assert reads == []


def test_only_one_ingest_at_a_time(table, out):
    scratch = out.with_name("store.partial")
    scratch.mkdir()
    with (scratch / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another ingest is at work here; wait for it to end, or stop it"):
            ingest(table, out, TOY, [CHR1])
    assert_content(ingest(table, out, TOY, [CHR1]))


# --- a store that exists ---


def test_already_there(table, out, reads, caplog):
    first = ingest(table, out, TOY, [CHR1, CHR2])
    reads.clear()
    for path in table["file"][:3]:
        os.unlink(path)  # sources are not needed any more
    os.utime(table["file"][3], (4e9, 4e9))
    with caplog.at_level(logging.INFO):
        again = ingest(table.iloc[::-1], out, TOY, [CHR2])
    assert again.checksum == first.checksum
    assert reads == []
    assert "is already there: 4 tracks, regions chr1, chr2" in caplog.messages[0]
    assert "1 of the files are newer than store" in caplog.messages[1]


def test_a_region_is_added(table, out, reads):
    ingest(table, out, TOY, [CHR1])
    inode, before = (out / "chr1.npy").stat().st_ino, open_store(out)
    reads.clear()
    store = ingest(table.iloc[::-1], out, TOY, [CHR1, CHR2])  # whatever the order of the table
    assert reads == ["0.bigWig", "1.bigWig", "2.bigWig", "3.bigWig"]  # chr2 only
    assert list(store.regions) == ["chr1", "chr2"]
    assert (out / "chr1.npy").stat().st_ino == inode
    assert_content(store)
    assert left(out) == ["store"]
    assert store.tracks.drop(columns=["min", "max", "mean", "zeros"]).equals(
        before.tracks.drop(columns=["min", "max", "mean", "zeros"])
    )
    np.testing.assert_allclose(store.tracks["mean"], STORED.astype(np.float16).mean(axis=1, dtype=float), rtol=1e-8)
    np.testing.assert_allclose(store.tracks["max"], STORED.astype(np.float16).max(axis=1), rtol=1e-8)


def test_interrupted_while_adding_a_region(table, out, monkeypatch):
    ingest(table, out, TOY, [CHR1])
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            ingest(table, out, TOY, [CHR2])
    assert_content(open_store(out))  # the old store stays usable
    store = ingest(table, out, TOY, [CHR2])
    assert list(store.regions) == ["chr1", "chr2"]
    assert_content(store)


def test_a_region_is_not_added_from_other_files(table, out):
    ingest(table, out, TOY, [CHR1])
    write_bigwig(table["file"][1], TOY, [(CHR2.segments[0], SIGNAL[0, 500:])])
    with pytest.raises(InputError, match=r"E1 H3K4me3: .*1\.bigWig has changed since store .* was made"):
        ingest(table, out, TOY, [CHR1, CHR2])
    assert list(open_store(out).regions) == ["chr1"]


def test_a_store_of_something_else_is_left_alone(table, out):
    before = ingest(table, out, TOY, [CHR1]).checksum
    other = Assembly("other", {"chr1": 12_510})
    shorter = Region("chr1", (Segment("chr1", 0, 100),))
    for change, message in [
        (lambda: ingest(table[:3], out, TOY, [CHR1]), r"has 1 other tracks \(nan H3K27ac\)"),
        (lambda: ingest(table.assign(cell="E9"), out, TOY, [CHR1]), "more than once"),
        (lambda: ingest(table.assign(assay=list("abcd")), out, TOY, [CHR1]), r"lacks 4 of the tracks \(E1 a\)"),
        (lambda: ingest(table, out, TOY, [CHR1], dtype="float32"), "holds float16, not float32"),
        (lambda: ingest(table, out, other, [CHR1]), "is of assembly toy"),
        (lambda: ingest(table, out, TOY, [shorter]), "has another region of the name chr1"),
    ]:
        with pytest.raises(InputError, match=message):
            change()
    assert open_store(out).checksum == before


def test_opening_reads_no_signal(table, out, monkeypatch):
    ingest(table, out, TOY, [CHR1])

    def load(*_, **__):
        raise AssertionError("signal was read")

    monkeypatch.setattr(np, "load", load)
    assert len(open_store(out).tracks) == 4


# --- tables and names as people have them ---


def test_the_order_of_the_rows_does_not_matter(table, out, tmp_path):
    first = ingest(table, out, TOY, [CHR1])
    other = ingest(table.iloc[[2, 0, 3, 1]], tmp_path / "other", TOY, [CHR1])
    assert other.tracks_checksum == first.tracks_checksum
    assert (out / "chr1.npy").read_bytes() == (tmp_path / "other" / "chr1.npy").read_bytes()


def test_a_store_in_another_order_goes_on(table, out, monkeypatch):
    """Stores of versions that kept the order of the table."""
    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "sort_values", lambda self, *_, **__: self)
        before = ingest(table.iloc[::-1], out, TOY, [CHR1])
    assert before.tracks["cell"].tolist() == ["nan", "NA", "E1", "E1"]
    store = ingest(table, out, TOY, [CHR1, CHR2])
    assert store.tracks_checksum == before.tracks_checksum
    assert_content(store, [3, 2, 1, 0])


def test_columns_of_the_stores_own_names_travel_under_others(table, out, caplog):
    own = table.assign(source=list("abcd"), mean=[1, 2, 3, 4], warning="mine")
    tracks = ingest(own, out, TOY, [CHR1]).tracks
    assert tracks["table_source"].tolist() == list("abcd")
    assert tracks["table_mean"].tolist() == [1, 2, 3, 4]
    assert tracks["table_warning"].tolist() == ["mine"] * 4
    assert tracks["source"].tolist() == table["file"].tolist()
    assert tracks["warning"].tolist() == [""] * 4
    assert "columns source, mean, warning of the table" in caplog.text


def test_the_same_file_twice_is_warned_of(table, out, caplog):
    shutil.copy(table["file"][0], table["file"][2])
    tracks = ingest(table, out, TOY, [CHR1]).tracks
    said = "the same file as E1 DNase, NA DNase"
    assert tracks["warning"].tolist() == [said, "", said, ""]
    assert "E1 DNase, NA DNase are the same file" in caplog.text


def test_overlapping_intervals_are_noted(table, out):
    with pyBigWig.open(table["file"][1], "w") as file:
        file.addHeader(list(TOY.sizes.items()))
        file.addEntries(["chr1"] * 2, [0, 10], ends=[30, 50], values=[1.0, 2.0], validate=False)
    warnings = ingest(table, out, TOY, [CHR1]).tracks["warning"].tolist()
    assert "intervals overlap, first at chr1:11" in warnings[1]
    assert warnings[:1] + warnings[2:] == [""] * 3


def test_a_chromosome_whose_name_is_no_file_name(tmp_path, out):
    assembly = Assembly("toy", {"chr1/alt": 5_000, "chr1%2Falt": 5_000})
    regions = [chromosome_region(assembly, chrom) for chrom in assembly.sizes]
    pieces = [(region.segments[0], SIGNAL[number, 500:]) for number, region in enumerate(regions)]
    write_bigwig(tmp_path / "a.bw", assembly, pieces)
    table = pd.DataFrame({"cell": ["a/b"], "assay": ["DNase"], "file": [str(tmp_path / "a.bw")]})
    store = ingest(table, out, assembly, regions)
    assert list(open_store(out).regions) == ["chr1/alt", "chr1%2Falt"]
    for number, region in enumerate(regions):
        expected = STORED[number, 500:].astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(store.read_track("a/b", "DNase", region.name), expected)


def test_blanks_around_names_are_dropped(table, out):
    assert ingest(table.assign(assay=table["assay"] + " "), out, TOY, [CHR1]).assays == ["DNase", "H3K27ac", "H3K4me3"]
