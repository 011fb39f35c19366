import gzip

import numpy as np
import pytest

from avocado.data.compendium import read_table
from avocado.data.genome import Assembly, chromosome_region, load_assembly
from avocado.data.intervals import read_genes, read_intervals
from avocado.data.regions import bed_region
from avocado.errors import InputError
from avocado.evaluation.annotations import read_peaks
from avocado.simulation.measured import read_pairs

TOY = Assembly("toy", {"chr1": 10_000})
# every reader of the program that takes a text file: what it reads, and what it makes of it
READERS = {
    "table": (lambda file: read_table(file).values.tolist(), "cell\tassay\tfile\nE\u0301\tDNase\t/a.bw\n"),
    "pairs": (read_pairs, "cell,assay\nE1,DNase\n\u03b1,DNase\n"),
    "sizes": (lambda file: load_assembly(file).sizes, "chr1\t10000\nchr2\t500\n"),
    "regions": (lambda file: bed_region(TOY, file).segments, "chr1\t0\t50\tn\u00e9\nchr1\t100\t150\n"),
    "intervals": (lambda file: read_intervals(file, TOY).start.tolist(), "chr1\t0\t50\tn\u00e9\nchr1\t100\t150\n"),
    "genes": (lambda file: read_genes(file, TOY).name.tolist(), "chr1\t0\t50\tA\u00e9\t0\t+\nchr1\t75\t99\tB\t0\t-\n"),
}


@pytest.mark.parametrize("kind", READERS)
def test_every_reader_takes_the_same_text_however_it_is_kept(tmp_path, kind):
    read, text = READERS[kind]
    file = tmp_path / "file.txt"
    file.write_bytes(text.encode())
    plain = read(file)
    assert len(plain)
    marked, windows, old_mac = "\ufeff" + text, text.replace("\n", "\r\n"), text.replace("\n", "\r")
    for other in (marked.encode(), windows.encode(), old_mac.encode(), gzip.compress(marked.encode())):
        file.write_bytes(other)
        assert read(file) == plain


@pytest.mark.parametrize("kind", READERS)
def test_every_reader_names_another_encoding(tmp_path, kind):
    read, text = READERS[kind]
    file = tmp_path / "file.txt"
    file.write_bytes(text.encode("utf-16"))
    with pytest.raises(InputError, match=r"file\.txt is UTF-16 text .*: save it as UTF-8"):
        read(file)
    file.write_bytes(text.encode("utf-16-le"))
    with pytest.raises(InputError, match=r"file\.txt line 1 is UTF-16 text or binary"):
        read(file)
    file.write_bytes(text.encode() + b"chr1\xe9\n")
    line = text.count("\n") + 1
    with pytest.raises(InputError, match=rf"file\.txt line {line} is not UTF-8 \(byte 0xe9\), probably latin-1"):
        read(file)
    whole = gzip.compress(np.random.default_rng(0).bytes(1000).hex().encode())
    file.write_bytes(whole[:300])
    with pytest.raises(InputError, match=r"file\.txt cannot be read .*: get it again"):
        read(file)


def test_a_byte_order_mark_costs_no_peak(tmp_path):
    file = tmp_path / "p.narrowPeak"
    file.write_bytes("\ufeffchr1\t0\t50\tA\nchr1\t100\t150\tB\n".encode())
    assert np.flatnonzero(read_peaks(file, TOY, chromosome_region(TOY, "chr1"))).tolist() == [0, 1, 4, 5]


def test_what_is_skipped_is_counted(tmp_path, caplog):
    file = tmp_path / "p.bed"
    file.write_text("chr1\t0\t50\nchrM\t0\t50\nchrM\t60\t70\nchrUn\t0\t9\n")
    with caplog.at_level("INFO"):
        assert len(read_intervals(file, TOY)) == 1
    assert caplog.messages == [f"{file}: 3 of 4 intervals are left out, as toy has no chromosome chrM, chrUn"]
    assert caplog.records[0].levelname == "INFO"
    caplog.clear()
    file.write_text("chr1\t0\t50\n1\t0\t50\n")
    read_intervals(file, TOY)
    assert "1 of 2 intervals are left out" in caplog.text
    assert "(did you mean 'chr1'?)" in caplog.text
    assert caplog.records[0].levelname == "WARNING"
