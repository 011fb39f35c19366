"""What `import avocado` offers to a notebook."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from toy import ASSAYS, CELLS, PILOT, STATES, TINY
from toy_model import save

import avocado
from avocado.data.compendium import pairs_in

TWO = [("NA", "RNA"), ("B cell", "DNase")]


@pytest.fixture
def model(tmp_path, tiny_store):
    save(tmp_path / "model", STATES, store=tiny_store)
    return avocado.load_model(tmp_path / "model", tiny_store)


def test_importing_is_light():
    code = "import avocado, sys; print([name for name in ('torch', 'pandas', 'hydra') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_public_names():
    assert set(avocado.__all__) <= set(dir(avocado))
    for name in avocado.__all__:
        assert getattr(avocado, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'imputation'; it has: InputError"):
        avocado.imputation  # noqa: B018


def test_a_model_describes_itself_in_three_lines(model):
    lines = repr(model).splitlines()
    assert len(lines) == 3
    assert f"{len(CELLS)} cell types × {len(ASSAYS)} assays" in lines[0]
    assert "combined with regression" in lines[1]
    assert "pilot, chr20" in lines[2]
    assert "combined" not in repr(avocado.load_model(model.path, baseline=False))


def test_factors_have_names(model):
    assert list(model.cell_factors.index) == CELLS
    assert list(model.assay_factors.index) == ASSAYS
    np.testing.assert_array_equal(model.cell_factors, model.network.cell_factors.detach())


@pytest.mark.parametrize("region", ["pilot", "chr20"])
def test_genome_factors_are_those_of_the_blocks(model, region):
    layout, found = model.regions[region], model.genome_factors(region)
    rows = model.genome(region).numpy()
    n25, n250, n5k = model.network.config.scales
    assert found.bp25.shape == (layout.n_bins, n25)
    assert found.bp5k.shape == (layout.n_blocks, n5k)
    np.testing.assert_array_equal(found.bp25, rows[:, : 200 * n25].reshape(-1, n25)[layout.mask.reshape(-1)])
    np.testing.assert_array_equal(found.bp5k, rows[:, 200 * n25 + 20 * n250 :])
    at = 0
    for segment, rank, block in layout.walk():
        positions = found.positions_25bp.iloc[rank : rank + segment.n_bins]
        assert (positions["chrom"] == segment.chrom).all()
        np.testing.assert_array_equal(positions["start"], np.arange(segment.start, segment.end) * 25)
        assert found.positions_5kbp["start"][block] == segment.start * 25
        stretches = -(-segment.n_bins // 10)
        np.testing.assert_array_equal(
            found.bp250[at : at + stretches],
            rows[:, 200 * n25 : 200 * n25 + 20 * n250].reshape(-1, n250)[block * 20 :][:stretches],
        )
        at += stretches


def test_genome_factors_of_a_place(model):
    whole, part = model.genome_factors("chr20"), model.genome_factors("chr20:4,001-6,000")
    np.testing.assert_array_equal(part.bp25, whole.bp25[160:240])
    np.testing.assert_array_equal(part.bp250, whole.bp250[16:24])
    np.testing.assert_array_equal(part.bp5k, whole.bp5k[:2])
    assert part.positions_250bp.iloc[0].tolist() == ["chr20", 4000, 4250]


def test_impute_one_pair_and_many(model):
    both = avocado.impute(model, TWO, "pilot")
    assert both.shape == (PILOT.n_bins, 2)
    np.testing.assert_allclose(avocado.impute(model, TWO[1], "pilot"), both[:, 1], atol=1e-6)


def test_scores_are_compared_with_average_activity(model, tiny_store):
    table = avocado.score(model, regions=["chr20"])
    assert set(table["method"]) == {"Avocado", "average activity"}
    pd.testing.assert_frame_equal(table, avocado.score(model.path, tiny_store.path, regions=["chr20"]))
    with pytest.raises(avocado.InputError, match="has no other tracks"):
        avocado.score(model, role="other")


def test_a_store_that_holds_other_tracks_now_is_not_scored(model, tmp_path, monkeypatch):
    alone = avocado.load_model(model.path, baseline=False)
    monkeypatch.setitem(alone.training, "store_checksum", "other")
    with pytest.raises(avocado.InputError, match="holds other tracks now"):
        avocado.score(alone)
    with pytest.raises(avocado.InputError, match="holds other signal of the tracks that model"):
        avocado.score(alone, alone.training["store"])


def test_ingest_takes_names_and_paths(tmp_path):
    folder = avocado.simulate(tmp_path / "demo")
    table = folder / "compendium.tsv"
    sizes = folder / "demo.chrom.sizes"
    store = avocado.ingest(table, tmp_path / "store", sizes, ["chr22"], min_assays=1, min_cells=1)
    assert list(store.regions) == ["chr22"]
    again = avocado.ingest(
        pd.read_csv(table, sep="\t"), tmp_path / "store", sizes, ["chr22"], min_assays=1, min_cells=1
    )
    assert again.tracks_checksum == store.tracks_checksum == avocado.open_store(tmp_path / "store").tracks_checksum


def test_scores_by_variability(model, tiny_store):
    table = avocado.stratify(model, "chr20")
    assert {"0–50 %", "99–100 %"} <= set(table["stratum"])
    assert set(table["method"]) == {"Avocado", "average activity"}
    pd.testing.assert_frame_equal(table, avocado.stratify(model.path, "chr20", tiny_store.path))


def titles(figure) -> list[str]:
    """Every text of a figure that says something."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_a_picture_is_of_held_out_tracks_at_a_place(model):
    held_out = [pair for pair in pairs_in(model.tracks, "test")]
    figure = avocado.picture(model, "chr20:4,001-9,000", held_out[:1])
    said = " ".join(titles(figure))
    assert "chr20:4,000–9,000" in said
    assert held_out[0][0] in said
    assert "chr20:" in " ".join(titles(avocado.picture(model)))
    trained = pairs_in(model.tracks, "train")[0]
    with pytest.raises(avocado.InputError, match="is not held out: a picture of it would say nothing"):
        avocado.picture(model, "chr20", [trained])


def test_train_finds_what_is_done(tiny_store, tmp_path):
    options = {"model": TINY, "epochs": 1, "min_steps": 0, "runs": tmp_path}
    run = avocado.train(tiny_store, "joint", "chr20", **options)
    assert run.directory == tmp_path / "joint" / "chr20" / "fold0" / "seed0"
    assert set(run.scores["method"]) == {"Avocado", "average activity"}
    assert list(avocado.load_model(run.model).regions) == ["chr20"]
    again = avocado.train(tiny_store.path, "joint", "chr20", **options)
    assert (run.was_done, again.was_done) == (False, True)
    with pytest.raises(avocado.InputError, match="was begun with other settings"):
        avocado.train(tiny_store, "joint", "chr20", **{**options, "epochs": 2})
    with pytest.raises(avocado.InputError, match="there is: "):
        avocado.train(tiny_store, "jont", "chr20", runs=tmp_path)


def test_write_tracks_takes_all_chromosomes(model, tmp_path):
    avocado.write_tracks(model, {TWO[0]: str(tmp_path / "a.npz")}, scale="arcsinh")
    with np.load(tmp_path / "a.npz") as file:
        assert list(file) == ["chr20"]
        np.testing.assert_allclose(file["chr20"], avocado.impute(model, TWO[0], "chr20"), atol=1e-6)
