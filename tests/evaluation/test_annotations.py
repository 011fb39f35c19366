import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from avocado.data.genome import Assembly, Region, Segment, chromosome_region, load_assembly
from avocado.data.intervals import Intervals, read_genes, read_intervals
from avocado.data.regions import parse_regions
from avocado.errors import InputError
from avocado.evaluation.annotations import (
    body_bins,
    loci_of,
    promoter_bins,
    read_peaks,
    region_mask,
    region_windows,
    touched_bins,
)

pytest_plugins = ["demo"]

# a folder with the annotations of the ENCODE Imputation Challenge
HG38 = Path(os.environ.get("AVOCADO_TEST_HG38", "AVOCADO_TEST_HG38 is not set"))
ASSEMBLY = Assembly("toy", {"chr1": 60_013, "chr2": 47_320})
CHR1 = chromosome_region(ASSEMBLY, "chr1")

GTF = """\
##description: made up
chr1\tX\tgene\t10001\t20000\t.\t+\t.\tgene_id "G1"; gene_type "protein_coding"; gene_name "ONE";
chr1\tX\ttranscript\t10001\t20000\t.\t+\t.\tgene_id "G1"; gene_type "protein_coding"; gene_name "ONE";
chr1\tX\tgene\t30001\t40010\t.\t-\t.\tgene_id "G2"; gene_biotype "protein_coding";
chr2\tX\tgene\t5\t60\t.\t-\t.\tgene_id "G3"; gene_type "lincRNA"; gene_name "THREE";
chrM\tX\tgene\t1\t900000\t.\t+\t.\tgene_id "G4"; gene_type "protein_coding"; gene_name "FOUR";
"""


def write(path, text):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def intervals(*rows):
    chrom, start, end, strand = zip(*rows, strict=True)
    return Intervals(
        np.array(chrom), np.array(start), np.array(end), np.array([""] * len(rows)), np.array(strand) == "+"
    )


@pytest.mark.parametrize("name", ["genes.gtf", "genes.gtf.gz"])
def test_genes_of_a_gtf(tmp_path, name):
    genes = read_genes(write(tmp_path / name, GTF), ASSEMBLY)
    assert genes.name.tolist() == ["ONE", "G2"]
    assert genes.chrom.tolist() == ["chr1", "chr1"]
    assert genes.start.tolist() == [10_000, 30_000]  # a GTF counts from 1
    assert genes.end.tolist() == [20_000, 40_010]
    assert genes.forward.tolist() == [True, False]
    assert read_genes(tmp_path / name, ASSEMBLY, "lincRNA").name.tolist() == ["THREE"]
    assert len(read_genes(tmp_path / name, ASSEMBLY, None)) == 3


def test_genes_of_a_bed(tmp_path):
    bed = write(tmp_path / "g.bed", "track name=x\nchr1\t100\t200\tA\t.\t+\nchr2\t0\t47320\tB\t0\t-\n")
    genes = read_genes(bed, ASSEMBLY)
    assert genes.start.tolist() == [100, 0]
    assert genes.end.tolist() == [200, 47_320]
    assert genes.forward.tolist() == [True, False]
    with pytest.raises(InputError, match=r"e\.bed line 1: a gene needs its strand"):
        read_genes(write(tmp_path / "e.bed", "chr1\t100\t200\n"), ASSEMBLY)


def test_windows_by_hand():
    genes = intervals(("chr1", 10_010, 20_000, "+"), ("chr1", 30_000, 40_010, "-"))
    # s = 400 and e = 1600 + 1 for the second
    assert promoter_bins(genes).tolist() == [[320, 401], [1601, 1682]]
    assert promoter_bins(genes, "challenge").tolist() == [[320, 400], [1601, 1681]]
    assert body_bins(genes).tolist() == [[400, 801], [1200, 1601]]
    assert touched_bins(genes).tolist() == [[400, 800], [1200, 1601]]
    for function in (lambda: promoter_bins(genes, "mine"), lambda: loci_of(CHR1, windows="mine")):
        with pytest.raises(InputError, match="unknown windows 'mine'; there is: avocado, challenge"):
            function()


def test_windows_in_a_region_of_segments():
    region = Region("some", (Segment("chr1", 100, 150), Segment("chr1", 150, 200), Segment("chr2", 10, 30)))
    chrom = np.array(["chr2", "chr1", "chr1", "chr1", "chr3"])
    bins = np.array([[0, 100], [90, 110], [140, 160], [300, 400], [0, 9]])
    windows, source = region_windows(region, chrom, bins)
    assert windows.tolist() == [[100, 120], [0, 10], [40, 50], [50, 60]]
    assert source.tolist() == [0, 1, 2, 2]
    # against a bin-by-bin walk
    covered = np.zeros(region.n_bins, dtype=int)
    for segment, rank, _ in region.walk():
        for i in range(segment.n_bins):
            covered[rank + i] = sum(
                c == segment.chrom and a <= segment.start + i < b for c, (a, b) in zip(chrom, bins, strict=True)
            )
    found = np.zeros(region.n_bins, dtype=int)
    for start, end in windows:
        found[start:end] += 1
    assert found.tolist() == covered.tolist()


def test_windows_are_cut_at_the_ends_of_a_chromosome():
    genes = intervals(("chr1", 500, 60_013, "+"), ("chr1", 500, 59_990, "-"))
    windows, source = region_windows(CHR1, genes.chrom, promoter_bins(genes))
    assert windows.tolist() == [
        [0, 21]
    ]  # 80 bins before bin 20 there are only 20; behind the last bin there is nothing
    assert source.tolist() == [0]
    assert region_windows(CHR1, genes.chrom, body_bins(genes))[0].tolist() == [[20, 2400], [20, 2400]]


def test_a_mask_is_any_overlap():
    peaks = intervals(("chr1", 99, 100, "+"), ("chr1", 125, 150, "+"), ("chr1", 149, 151, "+"), ("chr2", 0, 500, "+"))
    assert np.flatnonzero(region_mask(CHR1, peaks)).tolist() == [3, 5, 6]


def test_loci(caplog):
    genes, enhancers = intervals(("chr1", 10_000, 20_000, "+")), intervals(("chr2", 100, 300, "+"))
    loci = loci_of(CHR1, genes, enhancers, blacklist=intervals(("chr1", 0, 26, "+")))
    assert loci.promoters.tolist() == [[320, 401]]
    assert loci.genes.tolist() == [[400, 801]]
    assert len(loci.enhancers) == 0
    assert "no enhancer lies in region chr1" in caplog.text
    assert np.flatnonzero(~loci.kept).tolist() == [0, 1]
    assert loci.peaks is None
    assert loci_of(CHR1, genes, windows="challenge").promoters.tolist() == [[320, 400]]
    assert loci_of(CHR1).kept is None
    with pytest.raises(InputError, match="blacklist covers all of region chr1"):
        loci_of(CHR1, blacklist=intervals(("chr1", 0, 60_000, "+")))


def test_a_file_of_another_assembly_is_refused(tmp_path):
    no_prefix = write(tmp_path / "1.bed", "1\t100\t200\n")
    with pytest.raises(InputError, match=r"1\.bed and assembly toy have no chromosome.*'1' \(did you mean 'chr1'\?\)"):
        read_intervals(no_prefix, ASSEMBLY)
    beyond = write(tmp_path / "2.bed.gz", "chr2\t100\t47320\nchr2\t100\t47321\n")
    with pytest.raises(InputError, match=r"2\.bed\.gz line 2: chr2:100-47321 is beyond .* in toy \(47,320 bp\)"):
        read_intervals(beyond, ASSEMBLY)
    gtf = write(tmp_path / "3.gtf", GTF.replace("40010", "70000"))
    with pytest.raises(InputError, match=r"3\.gtf line 4: chr1:30000-70000 is beyond the end of chr1"):
        read_genes(gtf, ASSEMBLY)
    # contigs that the assembly does not have are skipped
    some = write(tmp_path / "4.bed", "chrUn_1\t0\t9000000\nchr1\t5\t9\n")
    assert read_intervals(some, ASSEMBLY).chrom.tolist() == ["chr1"]


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match=r"none\.bed: no such file"):
        read_intervals(tmp_path / "none.bed", ASSEMBLY)
    whole = gzip.compress(b"chr1\t1\t2\n" * 5000)
    (tmp_path / "cut.bed.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.bed\.gz cannot be read"):
        read_intervals(tmp_path / "cut.bed.gz", ASSEMBLY)
    for text in ("chr1\t1\n", "chr1\tone\ttwo\n", "chr1\t-5\t9\n", "hello\n"):
        with pytest.raises(InputError, match=r"wrong line 1: neither BED .* nor GTF"):
            read_intervals(write(tmp_path / "wrong", text), ASSEMBLY)
    with pytest.raises(InputError, match=r"line 1: chr1:9-9 is empty"):
        read_intervals(write(tmp_path / "wrong", "chr1\t9\t9\n"), ASSEMBLY)
    gtf = write(tmp_path / "g.gtf", GTF)
    with pytest.raises(InputError, match=r"g\.gtf line 2: this looks like a GTF file"):
        read_intervals(gtf, ASSEMBLY)
    with pytest.raises(InputError, match=r"no genes of type snoRNA \(it has: lincRNA, protein_coding\) in it"):
        read_genes(gtf, ASSEMBLY, "snoRNA")
    with pytest.raises(InputError, match=r"no genes in it"):
        read_genes(write(tmp_path / "empty.gtf", "##nothing\n"), ASSEMBLY)


def test_no_peaks_are_peaks(tmp_path):
    assert not read_peaks(write(tmp_path / "p.narrowPeak", ""), ASSEMBLY, CHR1).any()


def test_annotations_of_the_demo(demo):
    assembly = load_assembly(demo.sizes)
    genes = read_genes(demo.path / "genes.gtf.gz", assembly)
    everything = read_genes(demo.path / "genes.gtf.gz", assembly, None)
    assert 0 < len(genes) <= len(everything)
    lines = gzip.decompress((demo.path / "genes.gtf.gz").read_bytes()).decode().splitlines()
    assert len(everything) == sum("\tgene\t" in line for line in lines)
    blacklist = read_intervals(demo.path / "blacklist.bed.gz", assembly)
    enhancers = read_intervals(demo.path / "enhancers.bed.gz", assembly)
    for region in parse_regions(assembly, [str(demo.pilot), "chr20", "chr21"]):
        loci = loci_of(region, genes, enhancers, blacklist)
        for windows in (loci.promoters, loci.genes, loci.enhancers):
            assert ((windows >= 0) & (windows <= region.n_bins)).all()
    chr20 = chromosome_region(assembly, "chr20")
    # H3K4me3 peaks lie in promoters more than elsewhere
    peaks = read_peaks(demo.path / "peaks" / "stem2-H3K4me3.narrowPeak.gz", assembly, chr20)
    near = np.zeros(chr20.n_bins, dtype=bool)
    for start, end in loci_of(chr20, everything).promoters:
        near[start:end] = True
    assert 0 < peaks.mean() < 0.3
    assert peaks[near].mean() > 2 * peaks[~near].mean()


@pytest.mark.skipif(not HG38.is_dir(), reason="set AVOCADO_TEST_HG38 to the folder of the challenge's hg38 annotations")
def test_annotations_of_the_encode_imputation_challenge():
    assembly = load_assembly("hg38")
    genes = read_genes(HG38 / "gencode.v29.genes.gtf.bed.gz", assembly)
    assert len(genes) == 58_721 - 37  # all but the mitochondrial ones
    enhancers = read_intervals(HG38 / "F5.hg38.enhancers.bed.gz", assembly)
    assert len(enhancers) == 63_285
    chr20 = chromosome_region(assembly, "chr20")
    loci = loci_of(chr20, genes, enhancers, read_intervals(HG38 / "hg38.blacklist.bed.gz", assembly), "challenge")
    assert loci.genes.shape == (1397, 2)
    assert set(np.diff(loci.promoters).ravel()) == {80}
    with pytest.raises(InputError, match=r"is beyond the end of chr\w+ in hg19"):
        read_genes(HG38 / "gencode.v29.genes.gtf.bed.gz", load_assembly("hg19"))
