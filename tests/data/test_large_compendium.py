"""The simulator beyond the small demo: its tree, the paper's assays, tables of pairs, processes, known truth."""

import hashlib
import itertools
import json
import os
import pickle
import re
import shutil
from collections import namedtuple

import numpy as np
import pandas as pd
import pyBigWig
import pytest

from avocado.data.genome import BIN_SIZE
from avocado.errors import InputError
from avocado.simulation.assay_shapes import ASSAYS, FOLLOWS, ROADMAP_ASSAYS
from avocado.simulation.chromatin import STATES, simulate_chromatin
from avocado.simulation.compendium import DemoSettings, simulate
from avocado.simulation.lineages import make_tree
from avocado.simulation.measured import MeasuredPair, read_pairs
from avocado.simulation.reads import score_table
from avocado.simulation.truth import truth_signal
from avocado.utils.workers import in_processes

pytest_plugins = ["demo"]

TINY = DemoSettings(sizes=(("chr20", 60_013),), n_cells=2, assays=("DNase", "H3K4me3"))
LARGE = DemoSettings(
    sizes=(("chr20", 700_011), ("chr21", 60_013)),
    n_cells=8,
    assays=ROADMAP_ASSAYS,
    measured=0.25,
    lineages=2,
    tree_depth=2,
)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("large") / "compendium", 0, LARGE)


@pytest.fixture(scope="module")
def truth(large):
    with np.load(large / "truth.npz") as arrays:
        return dict(arrays)


def lowest_value(path):
    with pyBigWig.open(str(path)) as bigwig:
        return min(value for _, _, value in bigwig.intervals("chr20"))


def table_of(path, text):
    path.write_text(text.replace(" ", "\t"))
    return path


def test_a_compendium_with_the_first_settings_is_what_it_always_was(tmp_path):
    """Checksums from before trees, further assays and tables of pairs came: figures were measured on such data."""
    sizes = (("chr20", 300_017), ("chr21", 60_013))
    demo = simulate(tmp_path / "demo", 5, DemoSettings(sizes=sizes, n_cells=7, measured=0.8))
    intervals, truth = hashlib.sha256(), hashlib.sha256()
    for file in sorted((demo / "bigwig").iterdir()):
        with pyBigWig.open(str(file)) as bigwig:
            for chrom in bigwig.chroms():
                intervals.update(f"{file.name} {chrom} {bigwig.intervals(chrom)}".encode())
    with np.load(demo / "truth.npz") as arrays:
        assert set(np.unique(arrays["states.chr20"])) == set(range(len(STATES)))
        truth.update(arrays["states.chr20"].tobytes())
        squares = np.square(arrays["signal.chr20"].astype(np.float64)).mean(axis=(1, 2))
    assert intervals.hexdigest() == "acd36538ee33cf30d7884212421778935cc7fbbefa84a1fdcb7451497d3a5971"
    assert truth.hexdigest() == "a7ce0767f90f344269e3cf8399559e6112ebd10b2520d791ef6c02843b3aeee9"
    # exponentials differ in their last digit from one processor to another, so no checksum of these
    np.testing.assert_allclose(squares, [0.7074, 0.565, 0.64228, 0.51374, 0.56303, 0.64504, 0.59592], rtol=1e-4)
    table = hashlib.sha256((demo / "compendium.tsv").read_bytes()).hexdigest()
    assert table == "cd40f55d98b88e09cccfa176cdc2962b226f6c5c57eb63abe6081e893e0e2f97"
    # without the settings that came later, so that demos of before are found
    keys = ["generator", "seed", "sizes", "n_cells", "assays", "measured", "pilot"]
    assert list(json.loads((demo / "demo.json").read_text())) == keys


def test_the_number_of_processes_changes_nothing(tmp_path):
    one, two = simulate(tmp_path / "one", 3, TINY), simulate(tmp_path / "two", 3, TINY, processes=2)
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes(), file


def test_a_killed_process_is_one_line(tmp_path):
    with pytest.raises(InputError, match="was killed"):
        list(in_processes(os._exit, [3, 4], 2, "a process was killed"))


def test_memory_holds_elements_not_tracks():
    tree = make_tree(20)
    land = simulate_chromatin(np.random.default_rng(0), 500_000, tree, ROADMAP_ASSAYS)
    whole = len(tree.cells) * len(ROADMAP_ASSAYS) * 500_000 // BIN_SIZE * 4
    assert len(pickle.dumps(land.enrichment)) < whole / 5
    # tracks do not depend on which was painted before
    first = land.enrichment.track(7, "H3K36me3")
    land.enrichment.track(3, "H3K36me3")
    np.testing.assert_array_equal(land.enrichment.track(7, "H3K36me3"), first)
    assert (land.enrichment.track(3, "H3K36me3") != first).any()


def test_tree_of_several_levels():
    tree = make_tree(9, 2, 3)
    assert tree.lineages == ("stem", "blood")
    assert tree.cells == ("stem1", "stem2", "stem3", "stem4", "stem5", "blood1", "blood2", "blood3", "blood4")
    assert tree.distance[0].tolist() == [0, 2, 4, 6, 6, 8, 8, 8, 8]
    assert (tree.distance == tree.distance.T).all()
    assert make_tree(3, 3, cells=["a", "b", "c"]).cells == ("a", "b", "c")
    assert make_tree(14, 14).lineages[-2:] == ("lineage13", "lineage14")


def test_close_branches_resemble_each_other():
    tree = make_tree(16, 2, 3)
    liability = tree.evolve(np.random.default_rng(0), 20_000, (0.3, 0.45, 0.25))
    correlation = np.corrcoef(liability.T)
    # of the variance, 0.3 is common to all, and 0.15 more with each level that is shared
    for distance, share in ((8, 0.3), (6, 0.45), (4, 0.6), (2, 0.75)):
        np.testing.assert_allclose(correlation[tree.distance == distance], share, atol=0.03)


def test_relatives_have_similar_signal(truth):
    signal, distance = truth["signal.chr20"].astype(np.float32), truth["lineage_distance"]
    correlation = np.mean([np.corrcoef(signal[:, j]) for j in range(24)], axis=0)
    near, middle, far = (correlation[distance == edges].mean() for edges in (2, 4, 6))
    assert near > middle + 0.02
    assert middle > far + 0.02


def test_groups_of_assays_go_together(truth):
    """What a cell type has beyond the average is much the same in assays of a group."""
    signal = truth["signal.chr20"].astype(np.float32)
    excess = signal - signal.mean(axis=0)
    correlation = np.mean([np.corrcoef(cell) for cell in excess], axis=0)
    group = np.array([FOLLOWS.get(assay, assay) for assay in ROADMAP_ASSAYS])
    acetylation = np.array([assay.endswith("ac") for assay in ROADMAP_ASSAYS])
    pairs = acetylation & acetylation[:, None] & ~np.eye(24, dtype=bool)
    within, between = pairs & (group[:, None] == group), pairs & (group[:, None] != group)
    assert correlation[within].mean() > correlation[between].mean() + 0.1
    assert correlation[between].mean() > 0.4
    # repression and activity exclude each other
    active, silent = ROADMAP_ASSAYS.index("H3K79me2"), ROADMAP_ASSAYS.index("H3K27me3")
    assert correlation[active, silent] < 0


def test_assays_mark_the_states_they_should(truth):
    signal, states = truth["signal.chr20"].astype(np.float32), truth["states.chr20"]
    mean = pd.DataFrame(
        {name: [signal[:, j][states == k].mean() for j in range(24)] for k, name in enumerate(STATES)},
        index=pd.Index(ROADMAP_ASSAYS),
    )
    strongest = mean.drop(columns="bivalent").idxmax(axis=1)
    expected = {"H3K27me3": "polycomb", "H3K9me3": "heterochromatin", "H3K4me1": "enhancer"}
    expected |= dict.fromkeys(("H3K36me3", "H4K20me1"), "transcribed")
    assert strongest.to_dict() == {assay: expected.get(assay, "promoter") for assay in ROADMAP_ASSAYS}
    # highest where a gene begins
    begins = mean.loc[["H3K79me2", "H3K79me1"]]
    assert (begins["transcribed"] > 2 * begins[["quiescent", "polycomb"]].max(axis=1)).all()
    both = ["H2A.Z", "H3K4me3", "H3K4me2", "H3K27me3"]
    assert (mean.loc[both, "bivalent"] > mean.loc[both, "quiescent"] + 0.5).all()
    ratio = mean["enhancer"] / mean["promoter"]
    assert ratio[["H3K27ac", "H3K18ac", "H2BK120ac"]].min() > ratio[["H3K9ac", "H3K4ac"]].max() > ratio["H3K4me3"]


def test_transcription_marks_divide_the_gene(truth, large):
    genes = pd.read_csv(large / "genes.gtf.gz", sep="\t", header=None, comment="#")
    genes = genes[(genes[2] == "gene") & (genes[0] == "chr20")]
    signal = truth["signal.chr20"].astype(np.float32)
    place = {assay: [] for assay in ("H3K79me2", "H3K79me1", "H4K20me1", "H3K36me3")}
    for (_, gene), activity in zip(genes.iterrows(), truth["gene_activity.chr20"], strict=True):
        # clear of the promoter, which other genes do not overlap
        inside = signal[activity > 0, :, gene[3] // BIN_SIZE + 80 : gene[4] // BIN_SIZE - 80]
        if inside.shape[0] and inside.shape[2] > 300:
            along = np.linspace(0, 1, inside.shape[2])
            along = along if gene[6] == "+" else 1 - along
            for assay, where in place.items():
                weight = inside[:, ROADMAP_ASSAYS.index(assay)].mean(axis=0)
                weight = weight - np.quantile(weight, 0.05)
                where.append((weight * along).sum() / weight.sum())
    middle = {assay: np.mean(where) for assay, where in place.items()}
    assert len(place["H3K79me2"]) >= 5
    assert middle["H3K79me2"] < middle["H3K79me1"] < middle["H4K20me1"] < middle["H3K36me3"]
    assert middle["H3K79me2"] < 0.4
    assert middle["H3K36me3"] > 0.5


def test_pairs_of_a_table(tmp_path):
    rows = ["cell assay depth enrichment split", "E003 H3K4me3 2.5 NA train", "E003 DNase NA 1.5 test"]
    rows += ["E017 H2A.Z NA NA train", "T/cell DNase 0.5 0.5 val"]
    pairs = read_pairs(table_of(tmp_path / "pairs.tsv", "\n".join(rows) + "\n"))
    assert pairs[0] == MeasuredPair("E003", "H3K4me3", 2.5, None, (("split", "train"),))
    settings = DemoSettings(sizes=TINY.sizes, measured_pairs=pairs)
    demo = simulate(tmp_path / "demo", 0, settings)
    table = pd.read_csv(demo / "compendium.tsv", sep="\t")
    assert list(table.columns) == ["cell", "assay", "file", "lineage", "split"]
    assert set(zip(table["cell"], table["assay"], table["split"], strict=True)) == {
        ("E003", "H3K4me3", "train"), ("E003", "DNase", "test"), ("E017", "H2A.Z", "train"), ("T/cell", "DNase", "val")
    }  # fmt: skip
    assert sorted(f"bigwig/{path.name}" for path in (demo / "bigwig").iterdir()) == sorted(table["file"])
    with np.load(demo / "truth.npz") as truth:
        assert truth["cells"].tolist() == ["E003", "E017", "T/cell"]
        assert truth["assays"].tolist() == ["H3K4me3", "DNase", "H2A.Z"]
        assert truth["measured"].tolist() == [[True, True, False], [False, False, True], [False, True, False]]
    # where no read lies, the signal says how deep the track is
    for pair, file in zip(table[["cell", "assay"]].itertuples(index=False), table["file"], strict=True):
        given = {(p.cell, p.assay): p.depth for p in pairs}[tuple(pair)]
        lowest = lowest_value(demo / file)
        if given:
            assert lowest == pytest.approx(score_table(given)[0], abs=1e-4)
        else:
            assert score_table(2.2)[0] < lowest < score_table(0.8)[0]
    assert "about 44 % of all tracks" in (demo / "README.txt").read_text()
    # the same pairs find it, others do not
    assert simulate(demo, 0, settings) == demo
    with pytest.raises(InputError, match="measured_pairs"):
        simulate(demo, 0, DemoSettings(sizes=TINY.sizes, measured_pairs=(pairs[0]._replace(depth=2.0), *pairs[1:])))


def test_depth_and_enrichment_are_drawn_from_what_is_asked_for(tmp_path):
    settings = DemoSettings(
        sizes=TINY.sizes, n_cells=3, assays=("H3K4me3",), read_depth=(4.0, 6.0), enrichment_spread=0.0
    )
    demo = simulate(tmp_path / "demo", 0, settings)
    for file in (demo / "bigwig").iterdir():
        assert score_table(6.0)[0] - 1e-4 < lowest_value(file) < score_table(4.0)[0] + 1e-4


def test_signal_of_the_truth_stays_in_its_file(large, truth):
    for chrom, size in LARGE.sizes:
        signal = truth_signal(large, chrom)
        assert isinstance(signal, np.memmap)
        assert signal.shape == (8, 24, size // BIN_SIZE)
        np.testing.assert_array_equal(signal, truth[f"signal.{chrom}"])
    with pytest.raises(InputError, match="no chromosome 'chr1'; it has: chr20, chr21"):
        truth_signal(large, "chr1")
    with pytest.raises(InputError, match="no such file"):
        truth_signal(large / "bigwig", "chr20")


def test_what_will_not_fit_the_disk_is_refused(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 5, 5))
    with pytest.raises(InputError, match=r"demo: it takes some .* GB and the disk has"):
        simulate(tmp_path / "demo", 0, TINY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (DemoSettings(lineages=10), "lineages=10 of 9 cell types"),
        (DemoSettings(lineages=0), "lineages=0"),
        (DemoSettings(tree_depth=0), "tree_depth=0"),
        (DemoSettings(tree_depth=3), "12 branches for 9 cell types"),
        (DemoSettings(tree_depth=10_000), "branches for 9 cell types"),
        (DemoSettings(read_depth=(2.0, 1.0)), "lowest, then the highest"),
        (DemoSettings(read_depth=(0.01, 1.0)), "from 0.2 to 20"),
        (DemoSettings(enrichment_spread=-1.0), "enrichment_spread=-1"),
        (DemoSettings(sizes=(("chr20", 60_000), ("chr20", 70_000))), "give each once"),
        (DemoSettings(measured_pairs=(MeasuredPair("a", "CTCF"),)), "unknown demo assays CTCF"),
        (
            DemoSettings(measured_pairs=(MeasuredPair("a", "DNase"), MeasuredPair("a", "DNase"))),
            "a DNase is there twice",
        ),
    ],
)
def test_settings_that_make_no_sense(tmp_path, settings, message):
    with pytest.raises(InputError, match=re.escape(message)):
        simulate(tmp_path / "demo", 0, settings)
    with pytest.raises(InputError, match="processes=0"):
        simulate(tmp_path / "demo", 0, TINY, processes=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cell depth\na 1\n", "no column 'assay'"),
        ("cell assay\na DNase\na DNase\n", "is there twice, on lines 2 and 3"),
        ("cell assay depth\na DNase deep\n", "depth of a DNase is 'deep'; give a number from 0.2 to 20"),
        ("cell assay enrichment\na DNase 0\n", "enrichment of a DNase is '0'"),
    ],
)
def test_tables_that_make_no_sense(tmp_path, text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        read_pairs(table_of(tmp_path / "pairs.tsv", text))


def test_command(avocado, tmp_path):
    pairs = table_of(
        tmp_path / "pairs.csv",
        "cell assay\n" + "".join(f"E{c} {a}\n" for c, a in itertools.product("12345", ASSAYS[:5])),
    )
    keys = ["out=d", "chromosomes={chr7: 60013, chr20: 50001}", f"measured_pairs={pairs}", "lineages=2", "tree_depth=2"]
    answer = avocado("simulate", *keys, "progress=false", "processes=1", "cells=5", "read_depth=[1,2]")
    assert answer.status == 0, answer
    assert answer.err == ""
    assert "demo.pilot.bed,chr7" in answer.out
    found = json.loads((tmp_path / "d" / "demo.json").read_text())
    assert found["sizes"] == [["chr7", 60013], ["chr20", 50001]]
    assert (found["lineages"], found["tree_depth"], found["read_depth"]) == (2, 2, [1.0, 2.0])
    assert "cells= or assays= say otherwise" in avocado("simulate", f"measured_pairs={pairs}", "cells=9").error
    assert "cells= or assays= say otherwise" in avocado("simulate", f"measured_pairs={pairs}", "assays=roadmap").error
    assert "chromosomes=chr20: give names" in avocado("simulate", "chromosomes=chr20").error
    assert "chromosomes=" in avocado("simulate", "chromosomes={chr20: long}").error
    assert "read_depth=3" in avocado("simulate", "read_depth=3").error
    assert "cells=many: expected a whole number" in avocado("simulate", "cells=many").error


def test_names_of_assays_on_the_command_line():

    from avocado.cli import app
    from avocado.config.overrides import composed
    from avocado.config.store import demo_settings

    config = composed("simulate", [])
    assert demo_settings(config) == DemoSettings()
    config.assays = "roadmap"
    assert demo_settings(config).assays == ROADMAP_ASSAYS
    seen = []
    assert app.run("simulate", seen.append, ["assays=H2A.Z,DNase"]) == 0
    assert demo_settings(seen[0]).assays == ("H2A.Z", "DNase")
