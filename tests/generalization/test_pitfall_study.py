from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from avocado.errors import InputError
from avocado.generalization.effort import Rate, affordable, measured_rate
from avocado.generalization.inputs import Inputs, gaussian_inputs, permuted, sequence_inputs, state_inputs
from avocado.generalization.models import NetworkSettings, TreeSettings, boosted_trees, network, sample_of
from avocado.generalization.splits import Part
from avocado.generalization.study import (
    BASE_RATE,
    DIFFERENCE,
    FEATURE,
    NEAREST,
    Design,
    Job,
    Study,
    balanced_skill,
    by_number,
    tree_jobs,
)
from avocado.generalization.tasks import Task, expression_task, simulated_task
from avocado.generalization.verdict import Scheme
from avocado.imputers.average import AVERAGE


@pytest.fixture(scope="module")
def task():
    return simulated_task(n_cells=6, n_chroms=10, size=3_000_000)


@pytest.fixture(scope="module")
def study(task, tmp_path_factory):
    epigenome, noise = state_inputs(task), gaussian_inputs(task, 0)
    inputs = {its.name: its for its in (epigenome, noise, epigenome + noise)}
    return Study(task, inputs, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def design(task):
    return Design(task.cells[0], ("chr1", "chr2", "chr3", "chr4"), task.cells[1:], ("chr5",), task.cells[-1:])


def test_a_simulated_task_has_active_promoters_at_expressed_genes(task):
    assert task.label.shape == (len(task.loci), 6)
    promoter = (task.states == 7).any(axis=2)  # 'promoter' is the seventh state, and 0 is none
    assert promoter[task.label == 1].mean() > 0.95
    assert promoter[task.label == 0].mean() < 0.5
    assert ((task.loci["start"] <= task.loci["anchor"]) & (task.loci["anchor"] < task.loci["end"])).all()


def test_constants_are_memorised_across_cell_types_and_useless_elsewhere(study, design):
    rows = study.run(tree_jobs(design, ["Gaussian", "epigenome"], (1, 100), TreeSettings(), [0]))
    ap = rows.set_index(["inputs", "scheme", "size"]).sort_index()["ap"]
    lines = study.baselines(design).set_index("predictor")["ap"]
    across, hybrid = (ap["Gaussian", str(scheme)] for scheme in (Scheme.CROSS_CELL_TYPE, Scheme.HYBRID))
    assert across[100] > across[1] + 0.1
    assert across[100] == pytest.approx(lines[AVERAGE], abs=0.03)
    assert hybrid[100] < lines[BASE_RATE] + 0.1
    assert ap["epigenome", str(Scheme.HYBRID), 100] > lines[AVERAGE] - 0.05
    assert lines[AVERAGE] > lines[NEAREST] > lines[BASE_RATE]


def test_what_is_trained_is_kept(study, design, monkeypatch):
    job = Job(design, Scheme.HYBRID, "Gaussian", TreeSettings(depth=2), (3,))
    first = study.predictions(job)["scores"]
    monkeypatch.setattr(Study, "_train", lambda *_: pytest.fail("trained again"))
    again = Study(study.task, study.inputs, study.cache)
    assert (again.predictions(job)["scores"] == first).all()
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        study.predictions(replace(job, seed=1))


def test_networks_come_in_all_sizes_and_are_stopped(study, design):
    sizes = [NetworkSettings(0, 0), NetworkSettings(1, 2), NetworkSettings(1, 64)]
    jobs, seconds = study.networks(design, ["Gaussian", "epigenome"], sizes, [0, 1], 1e9, Rate(1e-3, 1e9))
    its = [job for job in jobs if job.inputs == "Gaussian"]
    assert [job.settings.parameters(32) for job in its[::6]] == [33, 69, 2177]
    assert {job.seed for job in its} == {0, 1}
    few, less = study.networks(design, ["Gaussian", "epigenome"], sizes, [0], seconds / 8, Rate(1e-3, 1e9))
    assert 0 < len(few) < len(jobs)
    assert 0 < less <= seconds / 8
    rows = study.run([its[1]])
    assert rows["stopped"][0] > 0
    assert np.isfinite(rows["ap"][0])


def test_time_decides_on_sizes_and_large_networks_have_one_seed():
    sizes = [NetworkSettings(1, width) for width in (8, 16, 32, 64)]
    cost = {8: 1.0, 16: 4.0, 32: 20.0, 64: 100.0}
    found, total = affordable(sizes, [0, 1, 2], 50, lambda its: cost[its.width])
    assert [(its.width, seed) for its, seed in found] == [(8, 0), (8, 1), (8, 2), (16, 0), (16, 1), (16, 2), (32, 0)]
    assert total == 35
    assert affordable(sizes, [0], 0.5, lambda its: cost[its.width]) == ([], 0.0)


def test_the_rate_is_measured_once(tmp_path):
    rate = measured_rate(tmp_path, 1, "cpu")
    assert measured_rate(tmp_path, 1, "cpu") == rate
    one, ten = NetworkSettings(1, 8), NetworkSettings(3, 1024)
    assert rate.seconds(ten, 32, 1000, 1) > rate.seconds(one, 32, 1000, 1) > 0
    assert rate.seconds(one, 32, 1000, 5) == pytest.approx(5 * rate.seconds(one, 32, 1000, 1))


def test_a_network_learns_and_repeats_itself():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (1200, 5)).astype(np.float32)
    label = ((x[:, 0] - 3) * (x[:, 1] - 3) > 0).astype(np.uint8)[:, None]
    inputs = Inputs("x", constant=x)
    parts = [sample_of(inputs, Part(its, np.array([0])), label) for its in np.split(np.arange(1200), [800, 1000])]
    settings = NetworkSettings(1, 32, rate=1e-2, batch=64)
    scores, stopped = network(*parts, settings)
    assert ((scores > 0) == parts[2].y.astype(bool)).mean() > 0.9
    again, _ = network(*parts, settings)
    assert (again == scores).all()
    assert 1 <= stopped <= settings.epochs
    linear, _ = network(*parts, NetworkSettings(0, 0))
    assert ((linear > 0) == parts[2].y.astype(bool)).mean() < 0.65


def test_a_row_for_each_locus_is_as_good_as_one_for_each_example(task):
    """Where features are the same in all cell types; trees without sampling of rows would be the same to rounding."""
    inputs, part = gaussian_inputs(task, 0, 4), Part(np.arange(200), np.arange(6))
    few = sample_of(inputs, part, task.label)
    assert (len(few.y), few.weight) == (200, 6)
    assert few.y == pytest.approx(task.label[:200].mean(axis=1))
    varying = Inputs("same", np.repeat(inputs.constant[:, None], 6, axis=1))
    many = sample_of(varying, part, task.label)
    assert len(many.y) == 1200
    settings = TreeSettings(depth=3, rate=0.5)
    one, other = (boosted_trees(its, few, (30,), settings)[0] for its in (few, many))
    assert np.corrcoef(one, other)[0, 1] > 0.9


def test_the_average_has_no_label_of_its_own(study, design, task):
    average = study.average(design)
    known = task.label[:, 1:5].astype(float)  # 0 is the target, 5 validates
    assert average[:, 0] == pytest.approx(known.mean(axis=1))
    assert average[:, 5] == pytest.approx(known.mean(axis=1))
    assert average[:, 2] == pytest.approx(known[:, [0, 2, 3]].mean(axis=1))


@pytest.mark.parametrize("remedy", [FEATURE, DIFFERENCE])
def test_remedies_begin_with_the_average(study, design, remedy):
    (row,) = study.run([Job(design, Scheme.HYBRID, "Gaussian", TreeSettings(), (1,), remedy)]).itertuples()
    lines = study.baselines(design).set_index("predictor")["ap"]
    assert row.ap > lines[AVERAGE] - 0.1 > lines[BASE_RATE] + 0.1


def test_balanced_skill_gives_nothing_for_the_average():
    rng = np.random.default_rng(0)
    known = rng.integers(0, 5, 3000)
    label = (rng.random(3000) < (known + 0.5) / 5).astype(float)
    assert balanced_skill(label, known.astype(float), known) == pytest.approx(0)
    assert balanced_skill(label, label, known) == pytest.approx(1)
    assert abs(balanced_skill(label, rng.random(3000), known)) < 0.1
    assert np.isnan(balanced_skill(label, label, np.arange(3000)))
    table = by_number(label, {"itself": label, "average": known.astype(float)}, known)
    assert (table.loc[table["predictor"] == "itself", "ap"] == 1).all()
    shown = table[table["predictor"] == "average"]
    assert shown["ap"].to_numpy() == pytest.approx(shown["base_rate"].to_numpy())


def test_single_cells_are_ordered_and_the_average_stands_beside_them(study, task):
    table = study.single_cells(task.cells[0])
    assert len(table) == 5 + 2
    assert table["ap"][:5].is_monotonic_decreasing
    assert table["ap"][5] > table["ap"][:5].max()


def test_states_are_counted_in_joined_windows():
    states = np.zeros((2, 1, 4), dtype=np.uint8)
    states[0, 0] = [1, 2, 2, 2]
    states[1, 0] = [0, 1, 1, 2]
    loci = pd.DataFrame({"chrom": ["chr1", "chr1"], "start": [0, 9], "end": [5, 12], "anchor": [2, 10]})
    task = Task("t", loci, ("A", "B"), np.zeros((2, 2), dtype=np.uint8), states, ("B",))
    varying = state_inputs(task, joined=2).varying
    assert np.isnan(varying[:, 0]).all()
    assert varying[:, 1].tolist() == [[0.5, 0.5, 0, 1], [0.5, 0, 0.5, 0.5]]


def test_sequence_is_read_around_the_anchor_and_permuted_within_a_locus(tmp_path):
    (tmp_path / "g.fa").write_text(">chr1\nACGTACGTNN\n>chr2\nGGGGCCCCAA\n")
    loci = pd.DataFrame({"chrom": ["chr1", "chr2"], "start": [0, 2], "end": [4, 8], "anchor": [1, 5]})
    task = Task("t", loci, ("A",), np.zeros((2, 1), dtype=np.uint8))
    found = sequence_inputs(task, 6, tmp_path / "g.fa")
    letters = found.constant.reshape(2, 6, 4)
    assert letters.sum(axis=2).tolist() == [[0, 0, 1, 1, 1, 1], [1] * 6]  # beyond the chromosome's start is nothing
    assert letters[0, 2:].argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert letters[1].argmax(axis=1).tolist() == [2, 2, 1, 1, 1, 1]
    mixed = permuted(found, 0).constant.reshape(2, 6, 4)
    assert (mixed.sum(axis=1) == letters.sum(axis=1)).all()
    assert (mixed != letters).any()
    with pytest.raises(InputError, match="no such FASTA"):
        sequence_inputs(task, 6, tmp_path / "none.fa")
    (tmp_path / "h.fa").write_text(">1\nACGT\n")
    with pytest.raises(InputError, match="no chromosome 'chr1'"):
        sequence_inputs(task, 6, tmp_path / "h.fa")


def test_labels_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"57epigenomes.RPKM.pc.gz: no such file; give the folder"):
        expression_task(tmp_path)
