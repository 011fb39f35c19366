import gzip
import itertools
import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from scipy.stats import poisson

from avocado.data.genome import BIN_SIZE, load_assembly
from avocado.data.regions import bed_region, parse_regions
from avocado.errors import InputError
from avocado.simulation import compendium as synthetic
from avocado.simulation import reads
from avocado.simulation.assay_shapes import ASSAYS
from avocado.simulation.chromatin import STATES
from avocado.simulation.compendium import DemoSettings, simulate
from avocado.simulation.lineages import make_tree
from avocado.simulation.measured import draw_design

TINY = DemoSettings(sizes=(("chr20", 60_013),), n_cells=2, assays=("DNase", "H3K4me3"))
SMALL = DemoSettings(sizes=(("chr20", 900_017), ("chr21", 150_007)))


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    return simulate(tmp_path_factory.mktemp("synthetic") / "demo", 0, SMALL)


@pytest.fixture(scope="module")
def truth(demo):
    with np.load(demo / "truth.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def table(demo):
    return pd.read_csv(demo / "compendium.tsv", sep="\t")


@pytest.fixture(scope="module")
def observed(demo, table):
    """Arcsinh signal of chr20 by (cell, assay)."""
    signal = {}
    for row in table.itertuples():
        values = np.nan_to_num(base_pairs(demo / row.file, "chr20", 900_000))
        signal[row.cell, row.assay] = np.arcsinh(values.reshape(-1, BIN_SIZE).mean(axis=1))
    return signal


def base_pairs(path: Path, chrom: str, size: int) -> np.ndarray:
    with pyBigWig.open(str(path)) as bigwig:
        return bigwig.values(chrom, 0, size, numpy=True)


def read_bed(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", header=None)


def read_genes(path: Path) -> pd.DataFrame:
    lines = pd.read_csv(path, sep="\t", header=None, comment="#")
    genes = lines[lines[2] == "gene"]
    return pd.DataFrame(
        {
            "chrom": genes[0],
            "start": genes[3] - 1,
            "end": genes[4],
            "forward": genes[6] == "+",
            "kind": genes[8].str.extract('gene_type "([^"]+)"')[0],
        }
    )


def baseline(observed, cell: str, assay: str) -> np.ndarray:
    """Mean of the assay over the other cell types."""
    return np.mean([x for (c, a), x in observed.items() if a == assay and c != cell], axis=0)


def test_settings_of_the_default_demo():
    sizes = dict(DemoSettings().sizes)
    assert list(sizes) == ["chr20", "chr21", "chr22"]
    assert all(size % 25 and size % 5_000 for size in sizes.values())
    pilot = synthetic._draw_pilot(np.random.default_rng(0), DemoSettings())
    assert [chrom for chrom, _, _ in pilot] == ["chr20"] * 3 + ["chr21", "chr22"]
    assert sum(end - start for _, start, end in pilot) == pytest.approx(1_250_000, rel=0.02)
    for (a, _, end), (b, start, _) in itertools.pairwise(pilot):
        assert a != b or end < start


@pytest.mark.parametrize("seed", range(5))
def test_design_keeps_five_by_five(seed):
    measured = draw_design(np.random.default_rng(seed), 9, 7, 0.7)
    assert measured.sum(axis=0).min() >= 5
    assert measured.sum(axis=1).min() >= 5
    assert 0.7 <= measured.mean() < 0.75
    # where there are no five, everything is measured
    assert draw_design(np.random.default_rng(seed), 3, 4, 0.5).all()


def test_table_regions_and_files(demo, table, truth):
    assembly = load_assembly(demo / "demo.chrom.sizes")
    assert dict(assembly.sizes) == dict(SMALL.sizes)
    assert assembly.name == "demo"
    region = bed_region(assembly, demo / "demo.pilot.bed")
    assert region.n_bins * BIN_SIZE == pytest.approx(0.31 * 1_050_024, rel=0.01)
    assert [r.name for r in parse_regions(assembly, [str(demo / "demo.pilot.bed"), "chr20"])] == ["pilot", "chr20"]
    assert list(table.columns) == ["cell", "assay", "file", "lineage"]
    assert table.groupby("cell").size().min() >= 5
    assert table.groupby("assay").size().min() >= 5
    assert set(table["assay"]) == set(ASSAYS)
    pairs = np.argwhere(truth["measured"])
    assert [(truth["cells"][i], truth["assays"][j]) for i, j in pairs] == list(
        zip(table["cell"], table["assay"], strict=True)
    )
    assert sorted(f"bigwig/{path.name}" for path in (demo / "bigwig").iterdir()) == sorted(table["file"])
    assert "made up" in (demo / "README.txt").read_text()
    assert truth["states.chr20"].shape == (9, 36_000)
    assert truth["signal.chr20"].shape == (9, 7, 36_000)
    assert truth["signal.chr21"].dtype == np.float16
    for file in table["file"]:
        with pyBigWig.open(str(demo / file)) as bigwig:
            assert bigwig.chroms() == dict(SMALL.sizes)


def test_bigwigs_look_like_real_ones(demo, table):
    values = base_pairs(demo / table["file"][0], "chr20", 900_017)
    known = values[~np.isnan(values)]
    assert known.min() >= 0
    # runs of constant value whose borders do not follow the 25-bp grid
    borders = np.flatnonzero(np.diff(values)) + 1
    assert 10_000 < len(borders) < 200_000
    assert np.mean(borders % BIN_SIZE == 0) < 0.1
    assert len(np.unique(known)) < 1_000
    np.testing.assert_allclose(known, known.round(3), atol=1e-4)


def test_unmappable_stretches_have_no_values_and_nothing_else(demo, table, truth):
    gap = truth["states.chr20"][0] == STATES.index("unmappable")
    assert 0.005 < gap.mean() < 0.2
    assert gap[0]
    assert (truth["signal.chr20"][:, :, gap] == 0).all()
    for file in table["file"][:3]:
        absent = np.isnan(base_pairs(demo / file, "chr20", 900_017))
        np.testing.assert_array_equal(absent[:900_000], np.repeat(gap, BIN_SIZE))
        assert not absent[900_000:].any()


def test_same_seed_same_bytes_other_seed_other_signal(tmp_path):
    first, again = simulate(tmp_path / "a", 3, TINY), simulate(tmp_path / "b", 3, TINY)
    other = simulate(tmp_path / "c", 4, TINY)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert len(files) == 2 * 4 + 10
    for file in files:
        assert (first / file).read_bytes() == (again / file).read_bytes(), file
    tracks = [file for file in files if file.parent.name == "bigwig"]
    assert all((first / file).read_bytes() != (other / file).read_bytes() for file in tracks)


def test_scores_are_poisson_tails():
    # depth 1: P(X > 0) = 1 - 1/e, P(X > 1) = 1 - 2/e
    scores = reads.score_table(1.0)
    np.testing.assert_allclose(scores[:2], [-np.log10(1 - 1 / np.e), -np.log10(1 - 2 / np.e)], atol=6e-4)
    np.testing.assert_allclose(scores[:130], -poisson.logsf(np.arange(130), 1.0) / np.log(10), atol=1e-3)
    # also where the tail is below what a double can hold
    assert scores[-1] > 1_000
    assert (np.diff(scores) > 0).all()
    assert np.abs(np.diff(scores, 2))[50:].max() < 0.02


def test_sequencing_piles_up_extended_reads():
    rate = np.zeros(2_000, dtype=np.float32)
    rate[500:1_500] = 20.0
    unmappable = np.zeros(2_000, dtype=bool)
    unmappable[700:800] = True
    experiment = reads.Experiment("c", "H3K4me3", depth=1.0, enrichment=1.0, bias=1.0, measured=True)
    scores = reads.score_table(1.0)
    track = reads.sequence(np.random.default_rng(0), rate, 49_990, experiment, unmappable)
    coverage = np.full(49_990, -1)
    for start, end, depth in zip(track.starts, track.ends, track.coverage, strict=True):
        assert (coverage[start:end] == -1).all()
        coverage[start:end] = depth
    # 20 reads a bin, each covering 8 bins; nothing farther than half a fragment; nothing in the gap
    assert coverage[13_000:17_000].mean() == pytest.approx(160, rel=0.05)
    assert (coverage[: 500 * 25 - 100] == 0).all()
    assert (coverage[1_500 * 25 + 100 :] == 0).all()
    assert (coverage[700 * 25 : 800 * 25] == -1).all()
    assert (coverage >= 0).sum() == 49_990 - 100 * 25
    np.testing.assert_array_equal(track.values, scores[track.coverage])
    expected = reads.expected_signal(rate, experiment, unmappable)
    assert expected[1_000] == pytest.approx(np.arcsinh(scores) @ poisson.pmf(np.arange(800), 160), abs=0.01)
    assert expected[750] == 0


def test_truth_is_the_mean_of_what_is_observed(truth, observed):
    cells, assays = list(truth["cells"]), list(truth["assays"])
    for (cell, assay), signal in observed.items():
        ideal = truth["signal.chr20"][cells.index(cell), assays.index(assay)].astype(np.float32)
        assert abs((ideal - signal).mean()) < 0.03
        assert ((ideal - signal) ** 2).mean() < ((baseline(observed, cell, assay) - signal) ** 2).mean()


def test_average_activity_is_fair_but_not_enough(observed):
    pearson = {pair: np.corrcoef(baseline(observed, *pair), signal)[0, 1] for pair, signal in observed.items()}
    assert 0.45 < np.mean(list(pearson.values())) < 0.75
    assert min(pearson.values()) > 0.25
    assert max(pearson.values()) < 0.9


def test_relatives_resemble_each_other(truth):
    signal = truth["signal.chr20"].astype(np.float32)
    distance = truth["lineage_distance"]
    assert set(np.unique(distance)) == {0, 2, 4}
    correlation = np.array([np.corrcoef(signal[:, j]) for j in range(signal.shape[1])])
    # an assay alone has too few elements on 0.9 Mb to show it for every seed
    assert correlation[:, distance == 2].mean() > correlation[:, distance == 4].mean() + 0.03


def test_other_assays_tell_about_this_cell_type(observed):
    """What a cell type has beyond the average shows in several assays at once."""
    together = []
    for cell, assay in observed:
        if assay == "H3K27ac" and (cell, "H3K4me1") in observed:
            excess = [observed[cell, a] - baseline(observed, cell, a) for a in ("H3K27ac", "H3K4me1")]
            together.append(np.corrcoef(excess)[0, 1])
    assert len(together) >= 2
    assert np.mean(together) > 0.15
    assert min(together) > 0.05


def test_genes_coincide_with_the_signal(demo, truth):
    genes = read_genes(demo / "genes.gtf.gz")
    assert {"protein_coding", "lincRNA"} == set(genes["kind"])
    genes = genes[genes["chrom"] == "chr20"]
    activity = truth["gene_activity.chr20"]
    assert activity.shape == (len(genes), 9)
    assert ((genes["end"] - genes["start"]) >= 4_999).all()
    promoter, body = [], []
    h3k4me3, h3k36me3 = (truth["signal.chr20"][:, list(truth["assays"]).index(a)] for a in ("H3K4me3", "H3K36me3"))
    states = truth["states.chr20"]
    for gene, active in zip(genes.itertuples(), activity > 0, strict=True):
        tss = gene.start if gene.forward else gene.end - 1
        around = slice(max(tss - 1_000, 0) // BIN_SIZE, (tss + 1_000) // BIN_SIZE)
        inside = slice(gene.start // BIN_SIZE + 60, gene.end // BIN_SIZE - 60)
        promoter.append(h3k4me3[:, around].astype(float).max(axis=1))
        body.append(h3k36me3[:, inside].astype(float).mean(axis=1))
        assert (states[active, tss // BIN_SIZE] == STATES.index("promoter")).all()
    promoter, body = np.array(promoter), np.array(body)
    silent = activity == 0
    assert np.median(promoter[~silent]) > 3
    assert np.median(promoter[silent]) < 1
    assert body[~silent].mean() > body[silent].mean() + 0.5


def test_gtf_has_transcripts_and_exons_within_their_genes(demo):
    lines = pd.read_csv(demo / "genes.gtf.gz", sep="\t", header=None, comment="#")
    assert set(lines[2]) == {"gene", "transcript", "exon"}
    gene = lines[8].str.extract('gene_id "([^"]+)"')[0]
    for _, group in lines.groupby(gene):
        whole, exons = group.iloc[0], group[group[2] == "exon"]
        assert list(group[2][:2]) == ["gene", "transcript"]
        assert exons[3].min() == whole[3]
        assert exons[4].max() == whole[4]
    principal = lines[8].str.contains('tag "appris_principal"')
    coding = lines[8].str.contains('gene_type "protein_coding"')
    assert (principal == (coding & (lines[2] != "gene"))).all()


def test_expression_has_a_label_for_every_gene_and_cell_type(demo, truth):
    from avocado.data.genome import load_assembly
    from avocado.downstream.tasks import read_labels, tasks_of

    labels = read_labels(demo / "expression.tsv", load_assembly(demo / "demo.chrom.sizes"))
    activity = np.concatenate([truth[f"gene_activity.{chrom}"] for chrom in ("chr20", "chr21")])
    assert labels["label"].to_numpy().reshape(activity.shape).tolist() == (activity > 0).tolist()
    assert [task.cell for task in tasks_of(labels, "expression")] == sorted(truth["cells"])


def test_enhancers_are_bed12_and_carry_h3k27ac(demo, truth):
    enhancers = read_bed(demo / "enhancers.bed.gz")
    assert enhancers.shape[1] == 12
    assert ((enhancers[6] >= enhancers[1]) & (enhancers[7] <= enhancers[2])).all()
    h3k27ac = truth["signal.chr20"][:, list(truth["assays"]).index("H3K27ac")].max(axis=0).astype(float)
    here = enhancers[enhancers[0] == "chr20"]
    assert len(here) > 20
    peak = [h3k27ac[start // BIN_SIZE : end // BIN_SIZE].max() for start, end in zip(here[1], here[2], strict=True)]
    assert np.median(peak) > 2 > np.median(h3k27ac)


def test_blacklist_has_signal_in_every_track(demo, truth):
    artefacts = read_bed(demo / "blacklist.bed.gz")
    assert set(artefacts[0]) == {"chr20", "chr21"}
    for chrom, start, end in zip(artefacts[0], artefacts[1], artefacts[2], strict=True):
        inside = truth[f"signal.{chrom}"][:, :, start // BIN_SIZE : end // BIN_SIZE].astype(float)
        assert inside.max(axis=2).min() > 1


def test_peaks_follow_the_signal(demo, table, truth):
    row = next(r for r in table.itertuples() if r.assay == "H3K4me3")
    peaks = read_bed(demo / "peaks" / f"{row.cell}-{row.assay}.narrowPeak.gz")
    assert peaks.shape[1] == 10
    assert len(list((demo / "peaks").iterdir())) == len(table)
    here = peaks[peaks[0] == "chr20"]
    values = np.nan_to_num(base_pairs(demo / row.file, "chr20", 900_017))
    called = np.zeros(900_017, dtype=bool)
    for _, peak in here.iterrows():
        part = values[peak[1] : peak[2]]
        assert len(part) >= 200
        assert part[0] >= 2
        assert part[-1] >= 2
        assert part[peak[9]] == pytest.approx(part.max(), abs=1e-3)
        assert part.max() == pytest.approx(peak[7], abs=1e-3)
        called[peak[1] : peak[2]] = True
    promoter = truth["states.chr20"][list(truth["cells"]).index(row.cell)] == STATES.index("promoter")
    promoter = np.repeat(promoter, BIN_SIZE)
    assert called[:900_000][promoter].mean() > 0.6
    assert called.mean() < 0.1


def test_tree_shares_out_the_lineages():
    tree = make_tree(5)
    assert tree.cells == ("stem1", "stem2", "blood1", "blood2", "brain1")
    assert tree.distance[0].tolist() == [0, 2, 4, 4, 4]


def test_made_once(tmp_path):
    directory = tmp_path / "new" / "demo"
    assert simulate(str(directory), 0, TINY) == directory
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    simulate(directory, 0, TINY)
    assert before == {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    assert [path.name for path in directory.parent.iterdir()] == ["demo"]
    assert json.loads((directory / "demo.json").read_text())["n_cells"] == 2


def test_an_empty_directory_is_filled(tmp_path):
    assert (simulate(tmp_path, 0, TINY) / "demo.json").is_file()


def test_other_settings_or_content_are_refused(tmp_path):
    directory = simulate(tmp_path / "demo", 0, TINY)
    with pytest.raises(InputError, match=r"other settings \(seed\): delete it"):
        simulate(directory, 1, TINY)
    with pytest.raises(InputError, match=r"other settings \(sizes, n_cells, assays\)"):
        simulate(directory, 0, SMALL)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="is no demo compendium"):
        simulate(tmp_path / "mine", 0, TINY)
    with pytest.raises(InputError, match="is no demo compendium"):
        simulate(tmp_path / "mine" / "thesis.txt", 0, TINY)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synthetic, "write_enhancers", full)
    with pytest.raises(InputError, match="No space left on device"):
        simulate(tmp_path / "demo", 0, TINY)
    assert list(tmp_path.iterdir()) == []


def test_a_slower_process_takes_what_the_quicker_made(tmp_path, monkeypatch):
    made = simulate(tmp_path / "made", 0, TINY)
    build = synthetic._build

    def overtaken(*arguments):
        build(*arguments)
        shutil.copytree(made, tmp_path / "demo")

    monkeypatch.setattr(synthetic, "_build", overtaken)
    assert simulate(tmp_path / "demo", 0, TINY) == tmp_path / "demo"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo", "made"]


def test_two_processes_at_once(tmp_path):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(simulate, tmp_path / "demo", 0, TINY) for _ in range(4)]
        assert {job.result() for job in jobs} == {tmp_path / "demo"}
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (DemoSettings(assays=("H3K4me3", "CTCF")), "give different ones out of DNase"),
        (DemoSettings(sizes=(("chr20", 20_000),)), "at least 50,000 bp"),
        (DemoSettings(n_cells=0), "n_cells=0"),
        (DemoSettings(measured=1.5), r"measured in \(0, 1\]"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        simulate(tmp_path / "demo", 0, settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(6))
def test_the_smallest_genomes_work(tmp_path, seed):
    settings = DemoSettings(sizes=(("chr20", 50_001),), n_cells=5, assays=ASSAYS[:5])
    demo = simulate(tmp_path / "demo", seed, settings)
    table = pd.read_csv(demo / "compendium.tsv", sep="\t")
    assert len(table) == 25
    with gzip.open(demo / "genes.gtf.gz", "rt") as lines:
        assert sum("\tgene\t" in line for line in lines) >= 1
