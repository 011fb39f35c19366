from dataclasses import replace

import pytest
import torch
from toy import plain_model

from avocado.data.genome import load_assembly
from avocado.errors import InputError
from avocado.model.network import Network, genome_factors, reference

SIZES = plain_model(cell_factors=3, assay_factors=4, factors_25bp=2, factors_250bp=3, factors_5kbp=5, nodes=6)
SHAPES = {
    "linear": replace(SIZES, layers=0),
    "one layer": replace(SIZES, layers=1),
    "two layers": replace(SIZES, layers=2),
    "no 25 bp": replace(SIZES, layers=1, factors_25bp=0),
    "no 250 bp": replace(SIZES, layers=2, factors_250bp=0),
    "no 5 kbp": replace(SIZES, layers=0, factors_5kbp=0),
    "5 kbp only": replace(SIZES, layers=1, factors_25bp=0, factors_250bp=0),
}
N_CELLS, N_ASSAYS, N_BLOCKS, N_TRACKS = 3, 2, 3, 2
BLOCKS = torch.tensor([2, 0])  # not all of them, not in order
POSITION = (BLOCKS[:, None] * 200 + torch.arange(200)).flatten()
EACH = POSITION.repeat_interleave(N_TRACKS)


def build(config):
    """Network, genome factors, cell types, assays in float64."""
    generator = torch.Generator().manual_seed(3)
    # factors of the order of 1, so that every hidden unit is on for some samples and off for others
    network = Network(replace(config, factor_init=1.0), N_CELLS, N_ASSAYS).initialise(generator, 0.3).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() == 1:  # biases, which are 0
                parameter.uniform_(-0.5, 0.5, generator=generator)
                assert not name.endswith("factors")
    genome = genome_factors(network.config, N_BLOCKS, generator).double().requires_grad_()
    cell = torch.randint(N_CELLS, (2, 200, N_TRACKS), generator=generator)
    assay = torch.randint(N_ASSAYS, (2, 200, N_TRACKS), generator=generator)
    return network.eval(), genome, cell, assay


def gradients(network, genome, values, weights):
    parameters = dict(network.named_parameters()) | {"genome": genome}
    found = torch.autograd.grad((values * weights).sum(), list(parameters.values()))
    return dict(zip(parameters, found, strict=True))


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
def test_blocks_compute_what_the_paper_computes(config):
    network, genome, cell, assay = build(config)
    plain = reference(network, genome, EACH, cell.flatten(), assay.flatten()).view(2, 200, N_TRACKS)
    fast = network(genome[BLOCKS], cell, assay)
    assert plain.std() > 0.01
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)
    weights = torch.randn(2, 200, N_TRACKS, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    expected, found = gradients(network, genome, plain, weights), gradients(network, genome, fast, weights)
    assert expected["genome"][1].abs().max() == 0  # the block that was not asked for
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(found[name], gradient, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
def test_predict_computes_what_the_paper_computes(config):
    network, genome, _, _ = build(config)
    cells, assays = torch.tensor([0, 2, 2, 1]), torch.tensor([1, 0, 1, 1])
    fast = network.predict(genome[BLOCKS], cells, assays)
    assert fast.shape == (2, 200, 4)
    plain = []
    for cell, assay in zip(cells, assays, strict=True):
        plain.append(reference(network, genome, POSITION, cell.expand(400), assay.expand(400)).view(2, 200))
    torch.testing.assert_close(fast, torch.stack(plain, dim=-1), rtol=1e-12, atol=1e-12)
    everywhere = [index.expand(2, 1, -1) for index in (cells, assays)]
    torch.testing.assert_close(fast, network(genome[BLOCKS], *everywhere), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
def test_tracks_that_a_block_shares(config):
    """(blocks, 1, tracks) means the same tracks at all 200 bins."""
    network, genome, cell, assay = build(config)
    cell, assay = cell[:, :1], assay[:, :1]
    everywhere = [index.expand(-1, 200, -1) for index in (cell, assay)]
    shared, repeated = (network(genome[BLOCKS], *index) for index in ((cell, assay), everywhere))
    assert shared.shape == (2, 200, N_TRACKS)
    torch.testing.assert_close(shared, repeated, rtol=1e-12, atol=1e-12)


def test_a_prediction_by_hand():
    config = plain_model(1, 1, 1, 1, 1, layers=1, nodes=2)
    network = Network(config, 2, 2)
    with torch.no_grad():
        network.cell_factors[:] = torch.tensor([[1.0], [2.0]])
        network.assay_factors[:] = torch.tensor([[10.0], [20.0]])
        network.hidden[0].weight[:] = torch.tensor([[1.0, 1, 1, 1, 1], [-1, -1, -1, -1, -1]])
        network.hidden[0].bias[:] = torch.tensor([0.5, -0.5])
        network.output.weight[:] = torch.tensor([[2.0, 1.0]])
        network.output.bias[:] = 7.0
    # one block: f25 = 0..199, f250 = 1000, 2000, ... of 20 stretches, f5k = 50,000
    row = torch.cat([torch.arange(200.0), torch.arange(1, 21) * 1000.0, torch.tensor([50_000.0])])[None]
    imputed = network(row, torch.ones(1, 200, 1, dtype=torch.int64), torch.zeros(1, 200, 1, dtype=torch.int64))
    # bin 37 lies in the 4th stretch: 2 + 10 + 37 + 4,000 + 50,000 + 0.5 = 54,049.5, and the other unit is off
    assert imputed[0, 37, 0].item() == 2 * 54_049.5 + 7
    assert reference(network, row, torch.tensor([37]), torch.tensor([1]), torch.tensor([0])).item() == 2 * 54_049.5 + 7


def test_size_of_the_papers_model():
    paper = plain_model()
    assert (paper.inputs, paper.genome_factors) == (398, 110)
    network = Network(paper, 127, 24)
    assert sum(p.numel() for layer in network.dense for p in layer.parameters()) == 5_015_553
    assert network.cell_factors.shape == (127, 32)
    assert network.assay_factors.shape == (24, 256)
    assert paper.block_width == 200 * 25 + 20 * 40 + 45
    hg19 = load_assembly("hg19")
    bins = sum(hg19.n_bins(f"chr{number}") for number in range(1, 23))
    assert bins == 115_241_319
    # of whole 250-bp and 5-kbp stretches, without the padding of last blocks
    assert bins * 25 + bins // 10 * 40 + bins // 200 * 45 == 3_367_927_485


def test_initial_values():
    config = plain_model(50, 60, 4, 5, 6, layers=2, nodes=100, factor_init=0.2)
    network = Network(config, 30, 20).initialise(torch.Generator().manual_seed(0), mean_signal=0.7)
    genome = genome_factors(config, 5, torch.Generator().manual_seed(0))
    assert genome.shape == (5, 200 * 4 + 20 * 5 + 6)
    bounds = [(network.cell_factors, 0.2), (network.assay_factors, 0.2), (genome, 0.2)]
    bounds += [(layer.weight, (6 / sum(layer.weight.shape)) ** 0.5) for layer in network.dense]  # Glorot
    for values, bound in bounds:
        assert 0.9 * bound < values.abs().max() <= bound
        assert values.std().item() == pytest.approx(bound / 3**0.5, rel=0.15)
    assert all(layer.bias.abs().max() == 0 for layer in network.hidden)
    assert network.output.bias.item() == pytest.approx(0.7)
    again = Network(config, 30, 20).initialise(torch.Generator().manual_seed(0), mean_signal=0.7)
    other = Network(config, 30, 20).initialise(torch.Generator().manual_seed(1), mean_signal=0.7)
    assert torch.equal(again.cell_factors, network.cell_factors)
    assert not torch.equal(other.cell_factors, network.cell_factors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": 0}, r"model\.nodes=0: expected at least 1"),
        ({"layers": -1}, r"model\.layers=-1: expected at least 0"),
        ({"layers": 1.5}, r"model\.layers=1\.5: expected a whole number"),
        ({"layers": True}, r"model\.layers=True: expected a whole number"),
        ({"cell_factors": "32"}, r"model\.cell_factors='32': expected a whole number"),
        ({"cell_factors": 0}, r"model\.cell_factors=0"),
        ({"dropout": 1.0}, r"model\.dropout=1\.0: expected at least 0 and below 1"),
        ({"dropout": -0.1}, r"model\.dropout=-0\.1: expected at least 0 and below 1"),
        ({"kind": "deep"}, r"model\.kind='deep': there is paper, states"),
        ({"baseline": True}, r"model\.baseline=True: there is none, regression"),
        ({"baseline": "regression"}, r"model\.baseline=regression needs model\.kind=states"),
        ({"kind": "states", "layers": 0}, r"model\.layers=0: model\.kind=states has 1 or 2"),
        ({"factor_init": None}, r"model\.factor_init=None: expected a number"),
        ({"factors_25bp": 0, "factors_250bp": 0, "factors_5kbp": 0}, r"one of model\.factors_25bp"),
    ],
)
def test_impossible_models_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        plain_model(**changes)


def count_kept(rate, layers=1, n_blocks=4000):
    """Hidden nodes that a training network keeps, times their scale: (blocks, 600). Every node gives 1 to the sum."""
    config = plain_model(1, 1, 0, 0, 1, layers=layers, nodes=8, dropout=rate)
    network = Network(config, 1, 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.hidden[0].bias.fill_(1.0)
        network.output.weight.fill_(1.0)
    index = torch.zeros(n_blocks, 200, 3, dtype=torch.int64)
    torch.manual_seed(0)
    return network.train()(torch.zeros(n_blocks, 1), index, index).detach().flatten(1)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
    kept = count_kept(rate)
    # 8 nodes, each kept with 1 − rate and scaled by 1 / (1 − rate): a binomial
    counts = kept * (1 - rate)
    torch.testing.assert_close(counts, counts.round(), atol=1e-5, rtol=0)
    each = counts[:, 0] / 8
    assert each.mean().item() == pytest.approx(1 - rate, abs=0.01)
    assert each.var().item() == pytest.approx(rate * (1 - rate) / 8, rel=0.1)
    assert kept.mean().item() == pytest.approx(8, rel=0.02)
    assert torch.equal(kept, count_kept(rate))  # the same seed drops the same nodes


def test_dropout_is_shared_by_a_block():
    kept = count_kept(0.5)
    assert (kept == kept[:, :1]).all()
    assert len(kept.unique()) > 5


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_dropout_is_for_training_only(layers):
    network, genome, cell, assay = build(replace(SIZES, layers=layers, nodes=40, dropout=0.5))
    rows = genome[BLOCKS].detach()
    plain = reference(network, genome, EACH, cell.flatten(), assay.flatten()).view(2, 200, N_TRACKS)
    torch.testing.assert_close(network(rows, cell, assay), plain, rtol=1e-12, atol=1e-12)
    network.train()
    torch.manual_seed(0)
    with torch.no_grad():
        noisy = torch.stack([network(rows, cell, assay) for _ in range(300)])
    if layers == 0:  # there is no hidden layer to drop from
        assert noisy.std(dim=0).max() < 1e-12
    else:
        assert noisy.std(dim=0).min() > 0
    if layers == 1:  # linear behind what is dropped, so that the mean survives
        error = (noisy.mean(dim=0) - plain).abs() / noisy.std(dim=0)
        assert error.max() < 5 / 300**0.5


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_both_formulations_train_alike(config, rate):
    """The same seed drops the same nodes; then predictions and gradients are those of the paper's implementation."""
    network, genome, cell, assay = build(replace(config, dropout=rate, nodes=20))
    network.train()
    weights = torch.randn(2, 200, N_TRACKS, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    found = []
    for forward in (network.forward_reference, network):
        torch.manual_seed(1)
        values = forward(genome[BLOCKS], cell, assay)
        found.append((values, gradients(network, genome, values, weights)))
    (plain, expected), (fast, gradient) = found
    torch.testing.assert_close(fast, plain, rtol=1e-11, atol=1e-11)
    for name, tensor in expected.items():
        torch.testing.assert_close(gradient[name], tensor, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_bf16_rounds_activations_and_nothing_else(layers):
    """Errors are those of 8-bit factors: 1 % of the spread of predictions, and some more where gradients cancel."""
    network, genome, cell, assay = build(replace(SIZES, layers=layers, nodes=64))
    network, genome = network.float(), genome.detach().float().requires_grad_()
    weights = torch.randn(2, 200, N_TRACKS, generator=torch.Generator().manual_seed(4))
    found = []
    for network.compute in (None, torch.bfloat16):
        values = network(genome[BLOCKS], cell, assay)
        assert values.dtype == torch.float32
        found.append((values, gradients(network, genome, values, weights)))
    (plain, expected), (rounded, gradient) = found
    if layers == 0:
        assert torch.equal(plain, rounded)
        return
    assert 0 < (rounded - plain).std() < 0.01 * plain.std()
    for name, tensor in expected.items():
        assert gradient[name].dtype == torch.float32
        error = (gradient[name] - tensor).norm() / tensor.norm()
        assert error < 0.1, name
    # parameters stay as they are: a copy is rounded
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
def test_kept_weights_of_a_frozen_network(config):
    """No gradient is formed for what is frozen, and that of the genome factors stays the same."""
    network, genome, cell, assay = build(config)
    (expected,) = torch.autograd.grad(network(genome[BLOCKS], cell, assay).sum(), genome)
    network.requires_grad_(False)
    weights = network.weights()
    values = network(genome[BLOCKS], cell, assay, weights)
    values.sum().backward()
    assert torch.equal(genome.grad, expected)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_batch_is_computed_in_pieces_of_bounded_size():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for nodes, tracks in ((64, 1), (64, 16), (2048, 1), (2048, 16)):
        network = Network(replace(SIZES, layers=2, nodes=nodes), N_CELLS, N_ASSAYS)
        samples = network.blocks_at_once(tracks, cpu) * 200 * tracks
        assert samples <= max(4000, 200 * tracks) or samples * nodes <= 1 << 22
        assert network.blocks_at_once(tracks, cuda) * 200 * tracks * nodes <= 1 << 28
