import numpy as np
import pyBigWig
import pytest

from avocado.data import bigwig
from avocado.data.bigwig import check_bigwig, read_bins, write_bigwig
from avocado.data.genome import Assembly, Segment, chromosome_region, load_assembly
from avocado.errors import InputError

TOY = Assembly("toy", {"chr2": 1_013, "chr1": 500})
REGIONS = [chromosome_region(TOY, chrom) for chrom in TOY.sizes]


def write(path, entries, sizes=TOY.sizes):
    """A bigWig of (chrom, start, end, value) entries, by pyBigWig alone."""
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(sizes.items()))
        for chrom, start, end, value in entries:
            file.addEntries([chrom], [start], ends=[end], values=[float(value)])
    return path


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "a.bigWig", [("chr2", 0, 1_013, 2), ("chr1", 0, 500, 3)])


@pytest.fixture
def big(tmp_path):
    """50,000 noisy bins: a file with zoom levels, large enough to be cut anywhere."""
    assembly = Assembly("big", {"chr1": 1_250_000})
    values = np.random.default_rng(0).gamma(1, 1, 50_000).astype(np.float32)
    write_bigwig(tmp_path / "big.bw", assembly, [(Segment("chr1", 0, 50_000), values)])
    return tmp_path / "big.bw", assembly, values


# --- reading ---


def test_gaps_and_nan_count_as_zero_before_the_mean(tmp_path):
    entries = [
        ("chr2", 0, 10, 4),  # 10 of 25 bases: 40 / 25, not 4
        ("chr2", 25, 50, 5),
        ("chr2", 50, 60, np.nan),  # NaN is a gap: (10 × 0 + 15 × 5) / 25
        ("chr2", 60, 75, 5),
        ("chr2", 90, 110, 1),  # across a border: 10 and 10 bases
    ]
    path = write(tmp_path / "a.bw", entries)
    bins = read_bins(path, [Segment("chr2", 0, 6)])
    assert bins.dtype == np.float32
    np.testing.assert_allclose(bins, [1.6, 5, 3, 0.4, 0.4, 0], rtol=1e-7)


def test_segments_follow_each_other(file):
    bins = read_bins(file, [Segment("chr1", 18, 20), Segment("chr2", 0, 1), Segment("chr2", 39, 40)])
    assert bins.tolist() == [3, 3, 2, 2]


def test_chunks_make_no_difference(big, monkeypatch):
    path, _, values = big
    monkeypatch.setattr(bigwig, "READ_BINS", 777)
    np.testing.assert_array_equal(read_bins(path, [Segment("chr1", 5, 49_999)]), values[5:49_999])


def test_the_mean_of_huge_values_does_not_overflow(tmp_path):
    path = write(tmp_path / "a.bw", [("chr2", 0, 25, 3e38)])
    np.testing.assert_allclose(read_bins(path, [Segment("chr2", 0, 1)]), [3e38], rtol=1e-6)


def test_a_file_without_values_is_all_zero(tmp_path):
    path = write(tmp_path / "a.bw", [])
    assert read_bins(path, [Segment("chr2", 0, 3)]).tolist() == [0, 0, 0]


def test_infinite_values_are_refused_with_their_position(tmp_path):
    path = write(tmp_path / "a.bw", [("chr2", 0, 60, 1), ("chr2", 60, 70, np.inf)])
    assert read_bins(path, [Segment("chr2", 0, 2)]).tolist() == [1, 1]
    with pytest.raises(InputError, match=r"a\.bw has an infinite value at chr2:60: cap"):
        read_bins(path, [Segment("chr2", 0, 40)])


def test_damage_in_the_middle(big):
    path, assembly, _ = big
    content = bytearray(path.read_bytes())
    content[20_000:20_064] = bytes(64)
    path.write_bytes(content)
    assert check_bigwig(path, assembly, [chromosome_region(assembly, "chr1")]) == []  # headers are fine
    with pytest.raises(InputError, match=r"big\.bw is truncated or damaged \(reading chr1:0-1250000 failed\)"):
        read_bins(path, [Segment("chr1", 0, 50_000)])


# --- checking ---


def test_a_good_file(file, big):
    assert check_bigwig(file, TOY, REGIONS) == []
    path, assembly, _ = big
    assert check_bigwig(path, assembly, [chromosome_region(assembly, "chr1")]) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"chr1\t0\t25\t1.5\n", "is not a bigWig but a text file: convert it with bedGraphToBigWig"),
        (b"<html>404 " + b"." * 100, "is not a bigWig but a text file"),
        (b"\xeb\xf2\x89\x87" + bytes(100), "is not a bigWig but a bigBed"),
        (b"\x88\x8f\xfc\x26" + bytes(100), "big-endian"),
        (b"\x1f\x8b\x08\0" + bytes(100), "a gzip file: decompress"),
        (bytes(100), "something unknown"),
        (b"", "is empty"),
        (b"\x26\xfc\x8f\x88\4\0", "is truncated"),
    ],
)
def test_files_that_are_no_bigwig(tmp_path, capfd, content, message):
    path = tmp_path / "signal.bigWig"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        check_bigwig(path, TOY, REGIONS)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""  # refused before the C library complains


def test_missing_files(tmp_path):
    with pytest.raises(InputError, match=r"absent\.bw: no such file; correct its path"):
        check_bigwig(tmp_path / "absent.bw", TOY, REGIONS)
    with pytest.raises(InputError, match="download it first"):
        check_bigwig("https://example.org/a.bw", TOY, REGIONS)
    with pytest.raises(InputError, match="is a directory"):
        check_bigwig(tmp_path, TOY, REGIONS)
    (tmp_path / "plain").touch()
    with pytest.raises(InputError, match="cannot be read: Not a directory"):
        check_bigwig(tmp_path / "plain" / "a.bw", TOY, REGIONS)


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.5, 0.75, 0.9])
def test_truncated_files(big, capfd, share):
    path, assembly, _ = big
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"big\.bw is truncated: get it again"):
        check_bigwig(path, assembly, [chromosome_region(assembly, "chr1")])
    assert capfd.readouterr().err == ""


def test_a_file_without_end_mark_is_reported(big):
    path, assembly, values = big
    path.write_bytes(path.read_bytes()[:-4])
    (warning,) = check_bigwig(path, assembly, [chromosome_region(assembly, "chr1")])
    assert "no end mark" in warning
    np.testing.assert_array_equal(read_bins(path, [Segment("chr1", 0, 50_000)]), values)


def test_other_chromosome_names(tmp_path):
    path = write(tmp_path / "a.bw", [("2", 0, 10, 1)], {"1": 500, "2": 1_013})
    with pytest.raises(InputError, match=r"a\.bw names its chromosomes otherwise than assembly toy: '2', not 'chr2'"):
        check_bigwig(path, TOY, REGIONS)
    short = Assembly("short", {"2": 1_013})
    prefixed = write(tmp_path / "b.bw", [("chr2", 0, 10, 1)])
    with pytest.raises(InputError, match=r"'chr2', not '2'; give assembly=<a chrom\.sizes file"):
        check_bigwig(prefixed, short, [chromosome_region(short, "2")])


def test_a_chromosome_that_is_absent(tmp_path):
    path = write(tmp_path / "a.bw", [("chr1", 0, 10, 1)], {"chr1": 500})
    assert check_bigwig(path, TOY, [chromosome_region(TOY, "chr1")]) == []  # what is not asked for does not matter
    with pytest.raises(InputError, match=r"a\.bw has no chromosome 'chr2' \(it has: chr1\); leave out"):
        check_bigwig(path, TOY, REGIONS)


def test_another_assembly_is_named(tmp_path):
    hg19, hg38 = load_assembly("hg19"), load_assembly("hg38")
    path = write(tmp_path / "a.bw", [("chr21", 0, 10, 1)], {"chr20": hg19.size("chr20"), "chr21": hg19.size("chr21")})
    with pytest.raises(
        InputError,
        match=r"a\.bw is not of assembly hg38: chr21 has 48,129,895 bp .* give assembly=hg19, or a model of hg19",
    ):
        check_bigwig(path, hg38, [chromosome_region(hg38, "chr21")])
    with pytest.raises(InputError, match="chr2 has 999 bp in the file and 1,013 bp in the assembly; give assembly=<"):
        check_bigwig(write(tmp_path / "b.bw", [("chr2", 0, 9, 1)], {"chr2": 999}), TOY, REGIONS[:1])


# --- writing ---


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "out.bw"
    pieces = [
        (Segment("chr2", 0, 3), np.array([1, 2.5, 0])),
        (Segment("chr2", 10, 12), np.array([7, 8], dtype=np.float16)),
        (Segment("chr1", 19, 20), np.array([9], dtype=np.float32)),
    ]
    write_bigwig(path, TOY, iter(pieces))
    with pyBigWig.open(str(path)) as file:
        assert file.chroms() == dict(TOY.sizes)
        assert file.intervals("chr2") == ((0, 25, 1), (25, 50, 2.5), (50, 75, 0), (250, 275, 7), (275, 300, 8))
        assert file.intervals("chr1") == ((475, 500, 9),)
        assert file.header()["maxVal"] == 9
    assert check_bigwig(path, TOY, REGIONS) == []
    assert read_bins(path, [Segment("chr2", 9, 12)]).tolist() == [0, 7, 8]
    assert [p.name for p in tmp_path.iterdir()] == ["out.bw"]


def test_a_last_bin_that_overhangs_is_clipped(tmp_path):
    path = tmp_path / "out.bw"
    write_bigwig(path, TOY, [(Segment("chr2", 39, 41), np.array([5.0, 6.0])), (Segment("chr1", 0, 1), np.ones(1))])
    with pyBigWig.open(str(path)) as file:
        assert file.intervals("chr2") == ((975, 1_000, 5), (1_000, 1_013, 6))


def test_a_second_reader_agrees(big, monkeypatch):
    pybigtools = pytest.importorskip("pybigtools")
    path, assembly, values = big
    monkeypatch.setattr(bigwig, "WRITE_BINS", 7_001)
    write_bigwig(path, assembly, [(Segment("chr1", 0, 50_000), values)])
    records = list(pybigtools.open(str(path)).records("chr1"))
    assert [(start, end) for start, end, _ in records] == [(25 * i, 25 * i + 25) for i in range(50_000)]
    np.testing.assert_array_equal(np.array([value for *_, value in records], dtype=np.float32), values)


def test_zoom_levels_are_there(big):
    path, _, values = big
    with pyBigWig.open(str(path)) as file:
        assert file.header()["nLevels"] > 0
        (mean,) = file.stats("chr1", 0, 1_250_000)
    assert mean == pytest.approx(values.mean(), rel=1e-3)  # zoom levels are a summary


def test_pieces_are_consumed_one_at_a_time(tmp_path):
    alive = 0

    def pieces():
        nonlocal alive
        for start in range(3):
            alive += 1
            yield Segment("chr2", start, start + 1), np.ones(1)
            alive -= 1
            assert alive == 0

    write_bigwig(tmp_path / "out.bw", TOY, pieces())


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_values_that_are_not_finite_are_refused(tmp_path, bad):
    with pytest.raises(InputError, match=r"out\.bw: the signal at chr2:75 is NaN or infinite"):
        write_bigwig(tmp_path / "out.bw", TOY, [(Segment("chr2", 2, 4), np.array([0, bad]))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([("chr1", 0, 2), ("chr2", 0, 2)], "in the order of toy"),  # toy begins with chr2
        ([("chr2", 4, 6), ("chr2", 0, 2)], "in the order of toy"),
        ([("chr2", 0, 3), ("chr2", 2, 4)], "without overlaps"),
        ([("chr2", 40, 42)], "outside chr2, which has 1,013 bp"),
        ([("chr2", 2, 2)], "is empty or"),
    ],
)
def test_misplaced_pieces(tmp_path, segments, message):
    pieces = [(Segment(*segment), np.ones(segment[2] - segment[1])) for segment in segments]
    with pytest.raises(ValueError, match=message):
        write_bigwig(tmp_path / "out.bw", TOY, pieces)
    assert list(tmp_path.iterdir()) == []


def test_values_of_another_length(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        write_bigwig(tmp_path / "out.bw", TOY, [(Segment("chr2", 0, 2), np.ones(3))])


def test_a_full_disk(tmp_path, monkeypatch):
    pieces = [(Segment("chr2", 0, 2), np.ones(2))]
    usage = bigwig.shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(bigwig.shutil, "disk_usage", lambda _: usage._replace(free=1_000))
        with pytest.raises(
            InputError, match=r"cannot write .*out\.bw: No space left on device; nothing was left behind"
        ):
            write_bigwig(tmp_path / "out.bw", TOY, pieces)
    monkeypatch.setattr(bigwig, "_check_structure", lambda _: ["no end mark"])  # as when closing ran out of space
    with pytest.raises(InputError, match=r"cannot write .*out\.bw: the disk may be full"):
        write_bigwig(tmp_path / "out.bw", TOY, pieces)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "out.bw").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*out\.bw: Is a directory"):
        write_bigwig(tmp_path / "out.bw", TOY, [(Segment("chr2", 0, 2), np.ones(2))])


def test_overlapping_intervals_are_warned_of(tmp_path):
    said = []
    with pyBigWig.open(str(tmp_path / "a.bw"), "w") as file:
        file.addHeader(list(TOY.sizes.items()))
        for start, end, value in ((0, 50, 1), (50, 75, np.nan), (75, 100, 2), (90, 125, 5)):
            file.addEntries(["chr2"], [start], ends=[end], values=[float(value)], validate=False)
    assert read_bins(tmp_path / "a.bw", [Segment("chr2", 0, 3)], said.append).tolist() == [1, 1, 0]
    assert said == []  # a NaN is no overlap
    bins = read_bins(tmp_path / "a.bw", [Segment("chr2", 0, 5)], said.append)
    np.testing.assert_allclose(bins, [1, 1, 0, (15 * 2 + 10 * 5) / 25, 5])
    assert said == [
        f"{tmp_path / 'a.bw'}: intervals overlap, first at chr2:91, where the last one counts: have the file made anew"
    ]
