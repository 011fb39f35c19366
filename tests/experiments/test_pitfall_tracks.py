import numpy as np
import pandas as pd
import pytest

from avocado.errors import InputError
from avocado.generalization.inputs import sequence_inputs
from avocado.generalization.tasks import Task, table_task
from avocado.simulation.genome import write_fasta
from experiments.pitfall_tracks import marks_task, track_inputs, with_tracks


def task_of(chrom, anchors, cells):
    loci = pd.DataFrame({"chrom": chrom, "start": anchors, "end": anchors, "anchor": anchors})
    return Task("toy", loci, tuple(cells), np.ones((len(loci), len(cells)), dtype=np.uint8))


def test_signal_around_loci_that_the_store_holds(tiny_store):
    cells = tiny_store.cells[:2]
    task = with_tracks(task_of("chr20", [5_000, 100, 20_010], [*cells, "unknown"]), tiny_store)
    assert task.cells == tuple(cells)
    assert list(task.loci["anchor"]) == [5_000, 20_010]  # around 100 there is no genome
    found = track_inputs(task, tiny_store).varying
    assert found is not None
    n = len(tiny_store.assays)
    assert found.shape == (2, 2, 10 * n)
    for number, assay in enumerate(tiny_store.assays):
        last = found[0, 0, 9 * n + number]  # from 9 to 10 kb
        if (cells[0], assay) in zip(tiny_store.tracks["cell"], tiny_store.tracks["assay"], strict=True):
            signal = tiny_store.read_track(cells[0], assay, "chr20")
            assert last == pytest.approx(signal[360:400].mean(), rel=1e-3)
        else:
            assert last == -1


def test_a_store_of_something_else_is_refused(tiny_store):
    with pytest.raises(InputError, match="0 cell types"):
        with_tracks(task_of("chr20", [20_000], ["unknown", "other"]), tiny_store)


def test_reads_of_marks_stand_beside_expression(tmp_path):
    folder = tmp_path / "expression"
    folder.mkdir()
    (tmp_path / "deepdiff_E123_E003").mkdir()
    genes = pd.DataFrame({
        "chrom": ["chr1", "chrX", "chr2"], "start": [100, 100, 500], "end": [200, 300, 900],
        "gene_id": ["A", "B", "C"], "name": ["a", "b", "c"], "strand": ["+", "+", "-"], "type": "protein_coding",
    })  # fmt: skip
    genes.to_csv(folder / "genes.gencode_v10.hg19.tsv.gz", sep="\t", index=False)
    names = ["gene_id", "E000", "E003", "E123", *(f"E{number}" for number in range(200, 254))]
    values = {"A": (9, 1.0, 0.1), "B": (9, 1, 1), "C": (9, 0.2, 0.5)}
    lines = ["\t".join([gene, *map(str, its), *["0"] * 54, ""]) for gene, its in values.items()]
    pd.Series(["\t".join(names), *lines]).to_csv(
        folder / "57epigenomes.RPKM.pc.gz", index=False, header=False, sep="\n", quoting=3, escapechar="\\"
    )
    reads = np.arange(3 * 200 * 5).reshape(3, 200, 5)
    np.savez(tmp_path / "deepdiff_E123_E003" / "counts.npz", gene=["C", "B", "A"], E123=reads, E003=2 * reads)
    task, marks = marks_task(tmp_path, 0.5)
    assert list(task.loci["anchor"]) == [899, 100]  # C on the minus strand, then A; B is on chrX
    assert task.label.tolist() == [[1, 0], [0, 1]]
    assert marks.varying is not None
    assert marks.varying.shape == (2, 2, 100)
    assert marks.varying[1, 0, 5] == pytest.approx(np.log1p(reads[2, 10:20, 0].sum()))


def test_a_made_genome_has_islands_where_genes_are_active(tmp_path):
    starts, activity = np.arange(5_000, 400_000, 5_000), np.tile([0.0, 1.0], 40)[:79]
    write_fasta(tmp_path / "genome.fa", {"chr1": 400_123}, {"chr1": starts}, {"chr1": activity})
    task = task_of("chr1", starts, ["a", "b"])
    found = sequence_inputs(task, 800, tmp_path / "genome.fa").constant
    assert found is not None
    letters = found.reshape(79, 800, 4)
    assert (letters.sum(axis=2) == 1).all()
    gc = letters[:, :, 1:3].sum(axis=2).mean(axis=1)
    assert gc[activity == 1].mean() > 0.58
    assert gc[activity == 0].mean() < 0.5
    again = (tmp_path / "genome.fa").read_bytes()
    write_fasta(tmp_path / "other.fa", {"chr1": 400_123}, {"chr1": starts}, {"chr1": activity})
    assert (tmp_path / "other.fa").read_bytes() == again


def test_loci_with_labels_in_all_cell_types(tmp_path):
    pd.DataFrame({
        "chrom": "chr1", "start": [0, 0, 50, 50, 90], "end": [10, 10, 60, 60, 99], "label": [0, 1, 1, 1, 1],
        "cell": ["a", "b", "a", "b", "a"],
    }).to_csv(tmp_path / "labels.tsv", sep="\t", index=False)  # fmt: skip
    task = table_task("toy", tmp_path / "labels.tsv")
    assert task.cells == ("a", "b")
    assert task.label.tolist() == [[0, 1], [1, 1]]
    assert list(task.loci["anchor"]) == [5, 55]
