import gzip

import numpy as np
import pytest

from avocado.data.genome import (
    Assembly,
    Region,
    Segment,
    chromosome_region,
    load_assembly,
    same_sizes,
    spelling_hint,
)
from avocado.data.regions import bed_region, parse_regions, pilot_note, pilot_region
from avocado.data.windows import windows
from avocado.errors import InputError

TOY = Assembly("toy", {"chr1": 10_049, "chr2": 5_000, "chrX": 100})


@pytest.fixture
def bed(tmp_path):
    def write(text, name="some.bed"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


# --- the numbers of the papers ---


def test_hg19_autosomes_have_the_published_number_of_bins():
    regions = parse_regions(load_assembly("hg19"), ["autosomes"])
    assert [r.name for r in regions] == [f"chr{i}" for i in range(1, 23)]
    assert sum(r.n_bins for r in regions) == 115_241_319


def test_hg19_autosomes_have_72036_loci_of_40_kb():
    sizes = load_assembly("hg19").sizes
    assert sum(-(-sizes[f"chr{i}"] // 40_000) for i in range(1, 23)) == 72_036


@pytest.mark.parametrize(("assembly", "n_bins"), [("hg19", 1_126_469), ("hg38", 1_126_135)])
def test_pilot_region(assembly, n_bins):
    region = pilot_region(load_assembly(assembly))
    assert region.name == "pilot"
    assert region.n_bins == n_bins
    assert len(region.segments) == 42
    order = [(int(s.chrom.removeprefix("chr")), s.start) for s in region.segments]
    assert order == sorted(order)
    assert all(0 <= s.start < s.end <= load_assembly(assembly).n_bins(s.chrom) for s in region.segments)


def test_where_pilot_regions_lie():
    region = pilot_region(load_assembly("hg19"))
    # ENr231, chr1:151,158,060-151,658,060, and ENm008, chr16:60,000-559,999
    assert region.segments[0] == Segment("chr1", 6_046_321, 6_066_323)
    assert Segment("chr16", 2_399, 22_400) in region.segments
    # the first bin of ENr231 is the one before the bin with its first base
    assert region.locate("chr1", 151_158_025, 151_158_050) == slice(0, 1)
    assert region.locate("chr1", 151_158_050, 151_158_075) == slice(1, 2)
    with pytest.raises(InputError, match="is not in region pilot"):
        region.locate("chr1", 151_158_024, 151_158_025)


def test_pilot_regions_begin_at_bin_0_at_the_least(monkeypatch, tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "hg19.pilot.bed").write_text("chr1\t0\t60\tA\nchr2\t24\t75\tB\nchr3\t25\t75\tC\n")
    monkeypatch.setattr("avocado.data.regions.files", lambda package: tmp_path)
    region = pilot_region(Assembly("hg19", {"chr1": 1_000, "chr2": 1_000, "chr3": 1_000}))
    assert region.segments == (Segment("chr1", 0, 3), Segment("chr2", 0, 4), Segment("chr3", 0, 4))


def test_a_bed_of_ones_own_has_the_bins_that_it_touches(bed):
    file = bed("chr1\t151158060\t151658060\tENr231\n", "my.pilot.bed")
    (region,) = parse_regions(load_assembly("hg19"), [str(file)])
    assert (region.name, region.segments) == ("pilot", (Segment("chr1", 6_046_322, 6_066_323),))


def test_only_pilot_regions_of_earlier_versions_are_noted():
    hg19 = load_assembly("hg19")
    region = pilot_region(hg19)
    earlier = Region("pilot", tuple(Segment(s.chrom, s.start + 1, s.end + 1) for s in region.segments))
    assert "25 bp further right" in pilot_note(hg19, earlier)
    assert pilot_note(hg19, region) == ""
    assert pilot_note(hg19, Region("other", earlier.segments)) == ""
    assert pilot_note(load_assembly("hg38"), earlier) == ""
    assert pilot_note(TOY, Region("pilot", (Segment("chr1", 0, 3),))) == ""


def test_real_peaks_lie_where_the_pilot_regions_are(roadmap_pilot):
    """Signal of the original program's vectors against peaks that were called on the same experiment."""
    from sklearn.metrics import average_precision_score

    from avocado.data.sources import read_signal
    from avocado.evaluation.annotations import read_peaks

    peaks = roadmap_pilot.parent / "labels" / "narrowpeak" / "E017-H3K4me3.narrowPeak.pilot_chr20-22.gz"
    if not peaks.is_file():
        pytest.skip(f"no peaks of the same experiment beside the tracks: {'/'.join(peaks.parts[-3:])}")
    hg19 = load_assembly("hg19")
    region = pilot_region(hg19)
    signal = read_signal(str(roadmap_pilot / "E017.H3K4me3.pilot.arcsinh.npz"), region, True, "arcsinh", "float32")
    correlation, precision = {}, {}
    for shift in (-2, -1, 0, 1, 2):
        moved = Region("pilot", tuple(Segment(s.chrom, s.start + shift, s.end + shift) for s in region.segments))
        inside = read_peaks(peaks, hg19, moved)
        correlation[shift] = np.corrcoef(signal, inside)[0, 1]
        precision[shift] = average_precision_score(inside, signal)
    for fit in (correlation, precision):
        assert fit[-2] < fit[-1] < fit[0] > fit[1] > fit[2], fit
    assert precision[0] > 0.99


# --- assemblies ---


def test_the_last_partial_bin_is_dropped():
    assert TOY.n_bins("chr1") == 401  # 10,049 = 401 × 25 + 24
    assert TOY.n_bins("chr2") == 200


def test_built_in_assemblies():
    assert list(load_assembly("hg38").sizes)[-2:] == ["chrX", "chrY"]
    assert load_assembly("hg19").size("chr1") == 249_250_621
    assert load_assembly("hg38").size("chr1") == 248_956_422


def test_assembly_from_a_file(tmp_path):
    file = tmp_path / "mm.chrom.sizes"
    file.write_text("chr2\t300\n\nchr1\t200 extra\n")
    assembly = load_assembly(file)
    assert assembly.name == "mm"
    assert list(assembly.sizes.items()) == [("chr2", 300), ("chr1", 200)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chr1\t100\nchr2\n", "line 2: expected"),
        ("chr1\tlong\n", "line 1: expected"),
        ("chr1\t0\n", "line 1: expected"),
        ("chr1\t5\nchr1\t6\n", "line 2: expected a new"),
        ("\n", "no chromosomes"),
    ],
)
def test_bad_sizes_files(tmp_path, text, message):
    file = tmp_path / "bad.chrom.sizes"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        load_assembly(file)


def test_unknown_assembly_and_chromosome():
    with pytest.raises(InputError, match=r"unknown assembly 'hg18': give one of hg19, hg38, or a chrom\.sizes file"):
        load_assembly("hg18")
    with pytest.raises(InputError, match=r"unknown chromosome '1' in assembly toy \(did you mean 'chr1'\?\); it has"):
        TOY.size("1")


def test_spelling_hint_works_both_ways():
    assert "'20'" in spelling_hint("chr20", ["20"])
    assert "'chr20'" in spelling_hint("20", ["chr20"])
    assert spelling_hint("21", ["chr20"]) == ""


def test_same_sizes_names_the_built_in_assembly():
    assert same_sizes({"chr21": 48_129_895, "chrM": 16_571}) == "hg19"
    assert same_sizes({"chr21": 46_709_983}) == "hg38"
    assert same_sizes({"chr21": 1}) is None
    assert same_sizes({"scaffold": 1}) is None


# --- regions: blocks, padding, addresses ---


def test_blocks_are_padded_at_the_end_of_each_segment():
    region = Region("r", (Segment("chr1", 0, 401), Segment("chr2", 10, 12)))
    assert (region.n_bins, region.n_blocks) == (403, 4)  # 200 + 200 + 1, then 2
    assert region.mask.shape == (4, 200)
    assert region.mask.sum(axis=1).tolist() == [200, 200, 1, 2]
    assert region.mask[2, 0]
    assert region.mask[3, :2].all()
    assert list(region.walk()) == [(region.segments[0], 0, 0), (region.segments[1], 401, 3)]


def test_to_blocks_and_back():
    region = Region("r", (Segment("chr1", 0, 201), Segment("chr2", 10, 12)))
    values = np.arange(203 * 3, dtype=np.float32).reshape(203, 3)
    blocks = region.to_blocks(values, fill=-1)
    assert blocks.shape == (3, 200, 3)
    assert blocks.dtype == np.float32
    assert (blocks[1, 0] == values[200]).all()
    assert (blocks[1, 1:] == -1).all()
    assert (blocks[2, :2] == values[201:]).all()
    np.testing.assert_array_equal(region.from_blocks(blocks), values)
    with pytest.raises(InputError, match="region r has 203 bins, the array 202"):
        region.to_blocks(values[1:])


@pytest.mark.parametrize(
    ("size", "pieces"),
    [(1, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]), (2, [(0, 2), (2, 4), (4, 5)]), (5, [(0, 5)]), (9, [(0, 5)])],
)
def test_pieces_cover_every_block_once(size, pieces):
    assert Region("some", (Segment("chr1", 0, 300), Segment("chr1", 400, 900))).pieces(size) == pieces


def test_locate():
    region = Region("r", (Segment("chr1", 4, 8), Segment("chr1", 100, 110), Segment("chr2", 0, 10)))
    assert region.locate("chr1", 100, 150) == slice(0, 2)
    assert region.locate("chr1", 124, 126) == slice(0, 2)  # touches bins 4 and 5
    assert region.locate("chr1", 2_525, 99_999) == slice(5, 14)  # clipped to the segment
    assert region.locate("chr2", 0, 25) == slice(14, 15)
    for place in (("chr1", 200, 225), ("chr3", 0, 25)):
        with pytest.raises(InputError, match="is not in region r"):
            region.locate(*place)


def test_part_of_a_region():
    region = Region("r", (Segment("chr1", 4, 8), Segment("chr2", 100, 110)))
    assert region.part(slice(1, 4)) == Region("chr1:5", (Segment("chr1", 5, 8),))
    assert region.part(slice(4, 6)) == Region("chr2:100", (Segment("chr2", 100, 102),))
    for bins in (slice(3, 5), slice(12, 15)):  # over a gap, and over the end
        with pytest.raises(IndexError):
            region.part(bins)


def test_bed_intervals_are_merged_and_sorted(bed):
    path = bed(
        "track name=x\n#\nchr2\t0\t30\nchr1\t1000\t1100\textra\nchr1\t1090\t1200\nchr1\t24\t26\nchr1\t1200\t1201\n"
    )
    region = bed_region(TOY, path)
    assert region.name == "some"
    # 24-26 touches bins 0 and 1; 1000-1100, 1090-1200 and the bin right after merge into bins 40 to 48
    assert region.segments == (Segment("chr1", 0, 2), Segment("chr1", 40, 49), Segment("chr2", 0, 2))


def test_bed_in_the_partial_last_bin_only(bed):
    path = bed("chr1\t10030\t10040\nchr1\t0\t25\n")
    assert bed_region(TOY, path).segments == (Segment("chr1", 0, 1),)
    with pytest.raises(InputError, match="no intervals"):
        bed_region(TOY, bed("chr1\t10030\t10040\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chr1\t5\n", "line 1: neither BED .chromosome, start, end. nor GTF"),
        ("chr1\t0\t25\nchr1\t-5\t10\n", "line 2: neither BED"),
        ("chr1\t10\t10\n", "line 1: chr1:10-10 is empty"),
        ("chr2\t0\t5001\n", "line 1: chr2:0-5001 is beyond the end of chr2 in toy .5,000 bp."),
        ("1\t0\t25\n", "did you mean 'chr1'"),
        ("", "no intervals in it"),
    ],
)
def test_bad_bed_files(bed, text, message):
    with pytest.raises(InputError, match=message):
        bed_region(TOY, bed(text))


def test_missing_bed(tmp_path):
    with pytest.raises(InputError, match=r"absent.bed: no such BED file"):
        parse_regions(TOY, [str(tmp_path / "absent.bed")])


def test_parse_regions(bed):
    assert [r.name for r in parse_regions(TOY, ["all"])] == ["chr1", "chr2", "chrX"]
    assert [r.name for r in parse_regions(TOY, ["autosomes", "chr2"])] == ["chr1", "chr2"]
    assert [r.name for r in parse_regions(TOY, [str(bed("chr1\t0\t25\n", "demo.pilot.bed"))])] == ["pilot"]
    assert chromosome_region(TOY, "chr2").segments == (Segment("chr2", 0, 200),)
    with pytest.raises(InputError, match="no regions asked for"):
        parse_regions(TOY, [])
    with pytest.raises(InputError, match="toy has no built-in pilot regions"):
        parse_regions(TOY, ["pilot"])


# --- names that are odd, or taken ---


def test_a_gzipped_bed_or_any_file_of_intervals_is_a_region(bed, tmp_path):
    text = "chr1\t0\t30\n"
    for name in ("p.bed.gz", "p.narrowPeak.gz", "x.p.bed", "p"):
        file = tmp_path / name
        file.write_bytes(gzip.compress(text.encode()))
        (region,) = parse_regions(TOY, [str(file)])
        assert (region.name, region.segments) == ("p", (Segment("chr1", 0, 2),))


def test_a_bed_never_takes_the_name_of_something_else(bed):
    text = "chr1\t0\t25\n"
    with pytest.raises(InputError, match=r"a\.chr1\.bed: its region would be called 'chr1', a chromosome of toy"):
        parse_regions(TOY, ["chr1", str(bed(text, "a.chr1.bed"))])
    with pytest.raises(InputError, match=r"shared\.bed: its region would be called 'shared', a name of the program"):
        parse_regions(TOY, [str(bed(text, "shared.bed"))])
    two = [str(bed(text, "a.x.bed")), str(bed("chr2\t0\t25\n", "b.x.bed"))]
    with pytest.raises(InputError, match=r"b\.x\.bed: another region is called x, too"):
        parse_regions(TOY, two)
    assert len(parse_regions(TOY, [two[0], two[0], "chr1", "chr1"])) == 2


@pytest.mark.parametrize(
    ("names", "autosomes"),
    [
        ("chrI chrII chrIII chrIV chrV chrVI chrVII chrVIII chrIX chrX chrXI chrM", 11),  # yeast: X is the tenth
        ("chrI chrII chrIII chrIV chrV chrX chrM", 5),  # worm: X is a sex chromosome
        ("I II III Mito", 3),
        ("chr2L chr2R chr3L chr3R chr4 chrX chrY", 5),  # fly
        ("Chr1 Chr2 ChrM ChrC", 2),
        ("1 2 X MT GL000192.1", 2),
    ],
)
def test_autosomes_of_other_species(names, autosomes):
    assembly = Assembly("other", dict.fromkeys(names.split(), 1_000))
    assert [region.name for region in parse_regions(assembly, ["autosomes"])] == names.split()[:autosomes]


def test_autosomes_that_cannot_be_told():
    assembly = Assembly("odd", {"NC_1": 1_000, "NC_2": 1_000})
    with pytest.raises(InputError, match=r"odd has no chromosomes called by numbers.* regions= \(NC_1, NC_2, \.\.\.\)"):
        parse_regions(assembly, ["autosomes"])


def test_contigs_shorter_than_a_bin(caplog):
    assembly = Assembly("odd", {"chr1": 1_000, "tiny": 24})
    with caplog.at_level("INFO"):
        assert [region.name for region in parse_regions(assembly, ["all"])] == ["chr1"]
    assert caplog.messages == ["1 contigs shorter than a bin of 25 bp are left out"]
    with pytest.raises(InputError, match="tiny has 24 bp in odd, less than a bin of 25 bp"):
        parse_regions(assembly, ["tiny"])
    with pytest.raises(InputError, match="tiny has 24 bp in odd, less than a bin of 25 bp"):
        windows({}, assembly, "tiny:1-24")
