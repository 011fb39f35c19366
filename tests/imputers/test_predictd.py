import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from toy import ASSEMBLY, CHR20, PAIRS, PILOT, TEST, TRAIN, make_signal, make_store

import avocado.imputers.predictd as predictd
from avocado.config.schema import option
from avocado.data.store import open_store, tracks_of, write_metadata, write_region
from avocado.errors import InputError
from avocado.imputers.average import AverageActivity
from avocado.imputers.config import PredictdConfig
from avocado.imputers.cp import Factors, Penalties, Sample, Schedule, initial, learn, loss, track_weights
from avocado.imputers.predictd import Predictd
from avocado.model.scales import expected_scales, track_scales

QUICK = PredictdConfig(rank=2, splits=3, bins=300, max_steps=40, check_every=5)
FREE = Penalties(cells=0, assays=0, genome=0, cell_start=0)


def one_hot(index, n: int) -> torch.Tensor:
    return torch.eye(n)[torch.as_tensor(index)]


def random_factors(models: int, cells: int, assays: int, rank: int, seed: int = 0) -> Factors:
    g = torch.Generator().manual_seed(seed)
    shapes = ((models, cells, rank), (models, assays, rank), (models, cells), (models, assays), (models,))
    return Factors(*(torch.randn(*shape, generator=g) for shape in shapes))


def ridge_by_hand(factors: Factors, model: int, tracks, observed: np.ndarray, wanted, ridge: float) -> np.ndarray:
    """The imputed track `wanted`, bin by bin, by least squares with sqrt(ridge) rows for the penalty."""
    cells, assays, cell_bias, assay_bias, mean = (value[model].double().numpy() for value in vars(factors).values())
    rank = cells.shape[1]
    design = np.array([[*(cells[c] * assays[a]), 1] for c, a in tracks])
    offset = np.array([mean + cell_bias[c] + assay_bias[a] for c, a in tracks])
    rows = np.vstack([design, np.sqrt(ridge) * np.eye(rank, rank + 1)])
    c, a = wanted
    imputed = []
    for signal in observed:
        solved = np.linalg.lstsq(rows, np.concatenate([signal - offset, np.zeros(rank)]), rcond=None)[0]
        imputed.append(mean + cell_bias[c] + assay_bias[a] + np.array([*(cells[c] * assays[a]), 1]) @ solved)
    return np.array(imputed)


# --- the ridge regression --------------------------------------------------------------------------------------------

TRACKS = [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1), (2, 2), (3, 0), (3, 2), (1, 1)]


def weights_of(factors, wanted, ridge, used=None, tracks=TRACKS):
    n_cells, n_assays = factors.cells.shape[1], factors.assays.shape[1]
    used = torch.ones(len(factors.cells), len(tracks)) if used is None else used
    known, asked = np.array(tracks), np.array([wanted])
    weights, constants = track_weights(
        factors,
        one_hot(known[:, 0], n_cells),
        one_hot(known[:, 1], n_assays),
        used,
        (one_hot(asked[:, 0], n_cells), one_hot(asked[:, 1], n_assays)),
        torch.tensor([ridge]),
    )
    return weights[:, 0, :, 0].numpy(), constants[:, 0, 0].numpy()


def test_ridge_worked_by_hand():
    """Z = [[1, 0.5, 2], [1, 1, 1]], d = (1, 0, 3): (g, bias) = (0.573770, 0.663934); (1, 1) gets their sum."""
    factors = Factors(
        torch.tensor([[[1.0], [2.0]]]),
        torch.tensor([[[1.0], [0.5]]]),
        torch.zeros(1, 2),
        torch.zeros(1, 2),
        torch.zeros(1),
    )
    weights, constants = weights_of(factors, (1, 1), 2.9, tracks=[(0, 0), (0, 1), (1, 0)])
    assert weights[0] @ [1, 0, 3] + constants[0] == pytest.approx(1.237705, abs=1e-6)


@pytest.mark.parametrize("ridge", [0.01, 2.9])
def test_weights_are_the_ridge_regression_of_every_bin(ridge):
    factors = random_factors(2, 4, 3, rank=3)
    used = torch.ones(2, len(TRACKS))
    used[1, [2, 5]] = 0
    observed = np.random.default_rng(0).normal(size=(7, len(TRACKS)))
    weights, constants = weights_of(factors, (3, 1), ridge, used)
    for model in range(2):
        kept = np.flatnonzero(used[model])
        tracks = [TRACKS[e] for e in kept]
        by_hand = ridge_by_hand(factors, model, tracks, observed[:, kept], (3, 1), ridge)
        np.testing.assert_allclose(observed @ weights[model] + constants[model], by_hand, atol=1e-6)
    assert (weights[1, [2, 5]] == 0).all()


def test_latent_columns_have_no_order_and_no_sign_and_biases_no_zero():
    factors = random_factors(1, 4, 3, rank=3)
    turned = replace(
        factors,
        cells=factors.cells[..., [2, 0, 1]] * torch.tensor([1, -1, 1]),
        assays=factors.assays[..., [2, 0, 1]] * torch.tensor([1, -1, 1]),
        cell_bias=factors.cell_bias + 5,
        assay_bias=factors.assay_bias - 5,
    )
    for before, after in zip(weights_of(factors, (3, 1), 1.0), weights_of(turned, (3, 1), 1.0), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-5)


def test_a_constant_added_to_the_signal_is_added_to_the_imputation():
    factors = random_factors(1, 4, 3, rank=3)
    observed = np.random.default_rng(0).normal(size=len(TRACKS))
    weights, constants = weights_of(factors, (3, 1), 1.0)
    raised, raised_constants = weights_of(replace(factors, mean=factors.mean + 7), (3, 1), 1.0)
    np.testing.assert_allclose((observed + 7) @ raised[0] + raised_constants, observed @ weights[0] + constants + 7)


@pytest.mark.parametrize(("rank", "ridge"), [(3, 1e12), (0, 1.0)])
def test_without_factors_there_are_biases_and_the_mean_residual_of_the_bin(rank, ridge):
    factors = random_factors(1, 4, 3, rank)
    observed = np.random.default_rng(0).normal(size=len(TRACKS))
    weights, constants = weights_of(factors, (3, 1), ridge)
    mean, cell, assay = (value[0].numpy() for value in (factors.mean, factors.cell_bias, factors.assay_bias))
    residual = np.mean([y - mean - cell[c] - assay[a] for y, (c, a) in zip(observed, TRACKS, strict=True)])
    assert observed @ weights[0] + constants[0] == pytest.approx(mean + cell[3] + assay[1] + residual, abs=1e-5)


# --- learning --------------------------------------------------------------------------------------------------------


def make_sample(signal: np.ndarray, tracks, cells: int, assays: int, left_out=()) -> Sample:
    """One model, which validates on the tracks `left_out`."""
    training = torch.ones(1, len(tracks))
    training[0, list(left_out)] = 0
    index = np.array(tracks)
    values = torch.tensor(signal, dtype=torch.float32)[None]
    return Sample(values, one_hot(index[:, 0], cells), one_hot(index[:, 1], assays), training, torch.zeros(len(tracks)))


def test_gradients_are_those_of_single_points_added_up():
    """Of a point: e (A * G) + rc C and so on, e for the biases; averaged over tracks, summed over bins."""
    tracks, rank, rc, ra, rg = [(0, 0), (0, 1), (1, 0)], 2, 3.66, 0.7, 0.9
    random = np.random.default_rng(0)
    signal = random.normal(size=(2, 3))
    factors = random_factors(1, 2, 2, rank).each(lambda value: value.requires_grad_())
    genome, genome_bias = (torch.randn(1, 2, *size, requires_grad=True) for size in ((rank,), ()))
    names = ("cells", "assays", "cell_bias", "assay_bias")
    value = loss(make_sample(signal, tracks, 2, 2), factors, genome, genome_bias, Penalties(rc, ra, rg, 1.0))
    gradients = torch.autograd.grad(value, [*(getattr(factors, name) for name in names), genome, genome_bias])
    cells, assays, cell_bias, assay_bias, mean = (v.detach().numpy()[0] for v in vars(factors).values())
    places, place_bias = genome.detach().numpy()[0], genome_bias.detach().numpy()[0]
    expected = {name: np.zeros_like(v.detach().numpy()[0]) for name, v in vars(factors).items()}
    expected_genome, expected_bias = np.zeros_like(places), np.zeros_like(place_bias)
    for i in range(2):
        for e, (c, a) in enumerate(tracks):
            imputed = mean + cell_bias[c] + assay_bias[a] + place_bias[i] + (cells[c] * assays[a] * places[i]).sum()
            error = imputed - signal[i, e]
            expected["cells"][c] += (error * assays[a] * places[i] + rc / (rank * 2) * (cells[c] - 1)) / 3
            expected["assays"][a] += (error * cells[c] * places[i] + ra / (rank * 2) * assays[a]) / 3
            # the ridge's penalty stands against the sum over the three tracks
            expected_genome[i] += (error * cells[c] * assays[a] + rg / 3 * places[i]) / 3
            expected["cell_bias"][c] += error / 3
            expected["assay_bias"][a] += error / 3
            expected_bias[i] += error / 3
    by_hand = [*(expected[name] for name in names), expected_genome, expected_bias]
    for name, gradient, hand in zip((*names, "genome", "genome_bias"), gradients, by_hand, strict=True):
        np.testing.assert_allclose(gradient[0], hand, atol=1e-5, err_msg=name)


def test_biases_start_as_successive_means_of_the_training_tracks():
    signal = np.random.default_rng(0).normal([0, 1, 2, 3], size=(50, 4))
    sample = make_sample(signal, [(0, 0), (0, 1), (1, 0), (1, 1)], 2, 2, left_out=[3])
    factors, genome, genome_bias = initial(sample, 2, 1.0, 0.33, torch.Generator().manual_seed(0))
    mean = signal[:, :3].mean()
    cells = np.array([signal[:, :2].mean(), signal[:, 2].mean()]) - mean
    assays = np.array([(signal[:, 0].mean() - mean - cells[0]) / 2, signal[:, 1].mean() - mean - cells[0]])
    np.testing.assert_allclose(factors.mean, [mean], rtol=1e-5)
    np.testing.assert_allclose(factors.cell_bias[0], cells, atol=1e-5)
    np.testing.assert_allclose(factors.assay_bias[0], assays, atol=1e-5)
    left = signal[:, :3] - mean - cells[[0, 0, 1]] - assays[[0, 1, 0]]
    np.testing.assert_allclose(genome_bias[0], left.mean(axis=1), atol=1e-5)
    assert genome.shape == (1, 50, 2)
    assert float(genome.abs().max()) <= 0.33
    assert 0.67 <= float(factors.cells.min()) <= float(factors.cells.max()) <= 1.33


def test_validation_tracks_change_nothing_but_when_to_stop():
    signal = np.random.default_rng(0).random((60, len(TRACKS)))
    other = signal.copy()
    other[:, [1, 5]] = 9
    schedule = Schedule(learning_rate=0.01, max_steps=8, check_every=8, patience=9, halvings=0)
    states = []
    for values in (signal, other):
        sample = make_sample(values, TRACKS, 4, 3, left_out=[1, 5])
        start = initial(sample, 2, 0.0, 0.33, torch.Generator().manual_seed(0))
        seen = []
        learned = learn(sample, start, FREE, schedule, (1.0,), lambda step, error, seen=seen: seen.append(error))
        states.append((start, learned, seen))
    for before, after in zip(vars(states[0][0][0]).values(), vars(states[1][0][0]).values(), strict=True):
        assert torch.equal(before, after)
    assert torch.equal(states[0][0][2], states[1][0][2])
    assert states[0][2] != states[1][2]
    if states[0][1].step == states[1][1].step:
        assert torch.equal(states[0][1].factors.cells, states[1][1].factors.cells)


def test_recovers_held_out_tracks_of_a_tensor_of_low_rank():
    """Rank 3 plus biases without noise, 60 % of 20 × 10 tracks: the others to a thousandth of their variance."""
    random = np.random.default_rng(0)
    cells, assays, places = (random.normal(size=(n, 3)) for n in (20, 10, 600))
    biases = random.normal(size=20)[:, None] + random.normal(size=10) + random.normal(size=600)[:, None, None]
    signal = 50 + np.einsum("cl,al,il->ica", cells, assays, places) + biases  # far from 0, where imputations stop
    order = random.permutation(200)
    tracks = [(int(t) // 10, int(t) % 10) for t in order]
    sample = make_sample(signal.reshape(600, 200)[:, order], tracks, 20, 10, left_out=range(120, 200))
    start = initial(sample, 5, 0.0, 0.33, torch.Generator().manual_seed(0))
    schedule = Schedule(learning_rate=0.02, max_steps=500, check_every=50, patience=9, halvings=0)
    learned = learn(sample, start, FREE, schedule, (0.01,))
    assert learned.error < 1e-3 * signal.reshape(600, 200)[:, order[120:]].var(axis=0).mean()


def test_learning_goes_back_to_the_best_step_and_on_at_half_the_rate():
    signal = np.random.default_rng(0).random((40, len(TRACKS)))
    sample = make_sample(signal, TRACKS, 4, 3, left_out=[1, 5])
    start = initial(sample, 3, 0.0, 0.33, torch.Generator().manual_seed(0))
    steps = []
    for halvings in (0, 2):
        seen = []
        schedule = Schedule(learning_rate=0.3, max_steps=500, check_every=1, patience=4, halvings=halvings)
        learned = learn(sample, start, FREE, schedule, (0.1, 1.0), lambda step, error, seen=seen: seen.append(error))
        assert learned.error == min(seen) == seen[-1]
        assert learned.step <= len(seen) - 6
        steps.append(len(seen))
    assert steps[0] + 10 <= steps[1] < 501


# --- on a store ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"))


def fitted(store, columns=TRAIN, config=QUICK, seed=0) -> Predictd:
    imputer = Predictd(config, seed, device="cpu")
    imputer.fit(store, columns, "pilot")
    return imputer


@pytest.fixture(scope="module")
def imputer(store):
    return fitted(store)


@pytest.mark.parametrize(("standardise", "share"), [(False, 0.2), (True, 0.35)])
def test_imputes_better_than_average_activity(tmp_path, standardise, share):
    """8 × 6 tracks of rank 3, arcsinh-transformed, of which 8 are held out."""
    random = np.random.default_rng(0)
    pairs = [(f"cell{c}", f"assay{a}") for c in range(8) for a in range(6)]
    cells, assays, places = (random.gamma(1.0, 1.0, (n, 3)) for n in (8, 6, PILOT.n_bins))
    signal = np.einsum("cl,al,il->ica", cells, assays, places).reshape(PILOT.n_bins, 48)
    signal = np.arcsinh(signal + random.random(signal.shape) * 0.1)
    write_region(tmp_path, PILOT, 48, "float32", [PILOT.to_blocks(signal)])
    write_metadata(tmp_path, ASSEMBLY, [PILOT], pd.DataFrame(pairs, columns=pd.Index(["cell", "assay"])), "float32")
    held_out = [0, 7, 14, 21, 28, 35, 36, 43]
    training = [column for column in range(48) if column not in held_out]
    config = PredictdConfig(splits=4, bins=300, max_steps=200, standardise=standardise)
    imputer, average = Predictd(config, device="cpu"), AverageActivity()
    errors = {}
    for method in (imputer, average):
        method.fit(open_store(tmp_path), training, "pilot")
        imputed = np.stack([method.predict([pairs[column]], "pilot")[:, 0] for column in held_out], axis=1)
        errors[method] = ((imputed - signal[:, held_out]) ** 2).mean()
    assert errors[imputer] < share * errors[average]


def test_any_region_in_chunks_one_track_or_several(store, imputer, monkeypatch):
    pairs = [PAIRS[column] for column in TEST]
    together = imputer.predict(pairs, "chr20")
    assert together.dtype == np.float32
    assert together.shape == (CHR20.n_bins, len(TEST))
    assert together.min() >= 0
    monkeypatch.setattr(predictd, "chunk_blocks", lambda n_tracks: 2)
    for number, pair in enumerate(pairs):
        np.testing.assert_allclose(imputer.predict([pair], "chr20")[:, 0], together[:, number], atol=1e-5)


def test_the_mean_of_all_models_is_what_falls_to_zero_at_0(store, imputer):
    cell, assay = PAIRS[TEST[0]]
    cells, assays = sorted({PAIRS[c][0] for c in TRAIN}), sorted({PAIRS[c][1] for c in TRAIN})
    tracks = [(cells.index(PAIRS[c][0]), assays.index(PAIRS[c][1])) for c in TRAIN]
    observed, wanted = store.read_tracks(TRAIN, "pilot").astype(float), (cells.index(cell), assays.index(assay))
    # standardised: each track by itself, and back to what its pair lets expect
    scales = track_scales(store, "pilot", np.array(TRAIN))
    observed = (observed - scales[0]) / scales[1]
    ((mean, deviation),) = expected_scales(scales, tracks_of(store, TRAIN), [(cell, assay)])
    learned = imputer._learned
    single = [ridge_by_hand(learned.factors, k, tracks, observed, wanted, learned.ridge) for k in range(QUICK.splits)]
    expected = (mean + deviation * np.mean(single, axis=0)).clip(0)
    np.testing.assert_allclose(imputer.predict([(cell, assay)], "pilot")[:, 0], expected, atol=1e-4)


def test_standardised_it_is_the_same_on_tracks_of_any_strength(tmp_path):
    random = np.random.default_rng(0)
    table = pd.DataFrame(PAIRS, columns=pd.Index(["cell", "assay"]))
    signal = random.gamma(2, 1, (*PILOT.mask.shape, len(PAIRS))) * PILOT.mask[..., None]
    strength = random.uniform(0.5, 2, len(PAIRS))
    pair, train = PAIRS[TEST[0]], tracks_of(make_store(tmp_path / "any"), TRAIN)
    found = []
    for number, factor in enumerate((np.ones(len(PAIRS)), strength)):
        place = tmp_path / str(number)
        place.mkdir()
        write_region(place, PILOT, len(PAIRS), "float32", [(signal * factor).astype(np.float32)])
        write_metadata(place, ASSEMBLY, [PILOT], table, "float32")
        store = open_store(place)
        imputed = fitted(store).predict([pair], "pilot")[:, 0]
        ((mean, deviation),) = expected_scales(track_scales(store, "pilot", np.array(TRAIN)), train, [pair])
        found.append((imputed - mean) / deviation)
    assert found[0].std() > 0.1
    np.testing.assert_allclose(*found, atol=0.02)


def test_held_out_signal_is_never_looked_at(store, imputer, tmp_path):
    changed = make_store(tmp_path, **{f"t{column}": np.nan for column in TEST}, t3=777)
    again = fitted(changed)
    for column in (*TEST, 3):
        np.testing.assert_array_equal(
            imputer.predict([PAIRS[column]], "chr20")[:, 0], again.predict([PAIRS[column]], "chr20")[:, 0]
        )


def test_a_training_track_is_imputed_without_itself(imputer):
    validated = (~imputer._training).any(0)
    assert validated.sum() >= 5
    for number in np.flatnonzero(validated):
        weights, _ = imputer.weights(*PAIRS[TRAIN[number]])
        assert weights[number] == 0
        assert np.count_nonzero(weights) == len(TRAIN) - 1


def test_published_models_leave_validation_tracks_out(store):
    imputer = fitted(store, config=replace(QUICK, validation_in_ridge=False))
    column = TRAIN[int(np.flatnonzero((~imputer._training).any(0))[0])]
    model = int(np.flatnonzero((~imputer._training)[:, TRAIN.index(column)])[0])
    weights, _ = imputer.weights(*PAIRS[column])
    np.testing.assert_array_equal(weights != 0, imputer._training[model])


def test_the_seed_decides(store, imputer):
    pair = PAIRS[TEST[0]]
    np.testing.assert_array_equal(imputer.predict([pair], "chr20")[:, 0], fitted(store).predict([pair], "chr20")[:, 0])
    assert not np.array_equal(
        imputer.predict([pair], "chr20")[:, 0], fitted(store, seed=1).predict([pair], "chr20")[:, 0]
    )


def test_float16_and_progress(tmp_path, capsys):
    write_region(tmp_path, CHR20, len(PAIRS), "float16", [CHR20.to_blocks(make_signal(CHR20.n_bins, 2))])
    write_metadata(tmp_path, ASSEMBLY, [CHR20], make_store(tmp_path / "other").tracks, "float16")
    imputer = Predictd(QUICK, device="cpu", progress=True)
    imputer.fit(open_store(tmp_path), TRAIN, "chr20")
    assert imputer.predict([PAIRS[3]], "chr20")[:, 0].dtype == np.float32
    said = capsys.readouterr()
    assert "validation MSE" in said.err
    assert not said.out


def test_unknown_cell_types_and_assays(store, imputer):
    with pytest.raises(InputError, match=r"cell type K562 has no training track; .*B cell, E003"):
        imputer.predict([("K562", "DNase")], "pilot")
    with pytest.raises(InputError, match=r"assay ATAC has no training track; .*DNase"):
        imputer.predict([("E003", "ATAC")], "pilot")
    with pytest.raises(InputError, match="no region 'chr9'"):
        imputer.predict([("E003", "DNase")], "chr9")
    with pytest.raises(InputError, match="no region 'chr9'"):
        Predictd(QUICK, device="cpu").fit(store, TRAIN, "chr9")
    alone = fitted(store, [0, 1, 2, 3, 4, 5, 6, 12])
    with pytest.raises(InputError, match="cell type liver has no training track besides this one"):
        alone.predict([PAIRS[12]], "pilot")


def test_too_few_tracks_and_signal_that_is_not_finite(store, tmp_path):
    with pytest.raises(InputError, match="PREDICTD with splits=3 of the training tracks: cannot make 3 folds"):
        fitted(store, [0, 1])
    with pytest.raises(InputError, match="NaN or infinite"):
        fitted(make_store(tmp_path, t0=np.nan))


def test_rank_follows_the_number_of_tracks(store, monkeypatch):
    config = replace(QUICK, rank=None, max_steps=0)
    assert fitted(store, config=config)._learned.factors.cells.shape[-1] == 10
    monkeypatch.setattr(predictd, "RANKS", (2, 100))
    assert fitted(store, config=config)._learned.factors.cells.shape[-1] == len(TRAIN) // 2


@pytest.mark.parametrize(
    ("key", "value"),
    [("rank", -1), ("splits", 1), ("bins", 0.5), ("ridge", 0), ("learning_rate", 0.0), ("cell_penalty", -1.0),
     ("halvings", True), ("max_steps", None), ("cell_start", "one")],
)  # fmt: skip
def test_bad_settings(key, value):
    with pytest.raises(InputError, match=rf"predictd: {key}={re.escape(repr(value))}: expected a"):
        PredictdConfig(**{key: value})


@pytest.mark.parametrize("name", ["predictd", "predictd_paper"])
def test_configs_are_the_defaults_and_the_published_values(name):
    values = option("imputer", name)
    assert values.pop("name") == "predictd"
    config = PredictdConfig(**values)
    if name == "predictd":
        assert config == PredictdConfig()
    else:
        assert (config.rank, config.splits, config.ridge, config.cell_penalty) == (100, 8, 2.9, 3.66)
        assert (config.learning_rate, config.halvings, config.cell_start) == (0.005, 3, 0)
        assert not config.validation_in_ridge
    assert set(values) == set(vars(PredictdConfig()))


# --- bounded work ---


def test_many_tracks_are_learned_from_fewer_bins(tiny_store):
    def sampled(**changes) -> torch.Tensor:
        imputer = Predictd(replace(QUICK, standardise=False, **changes), device="cpu")
        imputer.fit(tiny_store, TRAIN, "pilot")
        return imputer._sample("pilot")

    whole, n_tracks = sampled(points=None), len(TRAIN)
    assert whole.shape == (3, 300, n_tracks)
    torch.testing.assert_close(sampled(points=300 * n_tracks), whole, rtol=0, atol=0)
    assert sampled(points=100 * n_tracks + 1).shape == (3, 100, n_tracks)
    assert sampled(points=1).shape == (3, 1, n_tracks)


def test_how_long_it_will_take_is_said_before(tiny_store, caplog):
    imputer = Predictd(QUICK, device="cpu")
    with caplog.at_level("INFO"):
        imputer.fit(tiny_store, TRAIN, "pilot")
    (line,) = [record.message for record in caplog.records if "at most" in record.message]
    wanted = rf"PREDICTD: 3 models of rank 2 from {len(TRAIN)} tracks × 300 bins: at most 40 steps, about .* seconds?"
    assert re.fullmatch(wanted, line.replace("about a second", "about 1 seconds")), line
    pairs = [PAIRS[column] for column in TEST]
    assert re.fullmatch(rf"PREDICTD: {len(pairs)} tracks, about (a|\d+) seconds?", imputer.outlook(pairs, "pilot"))
    assert imputer.outlook([("nobody", "nothing")], "pilot") == "PREDICTD: no track can be imputed"
