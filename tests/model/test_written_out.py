"""Written-out parts of the default model against what their docstrings say, and the model against plain formulas."""

import math

import pytest
import torch
from torch.nn import functional
from toy import plain_model

from avocado.data.genome import BLOCK_BINS
from avocado.model import written_out
from avocado.model.encoding import COARSE, WINDOWS
from avocado.model.states import NEAR, StatesNetwork
from avocado.model.written_out import decoded, fine_states

N, D, NODES, BLOCKS, CELLS, ASSAYS = 5, 6, 7, 2, 3, 4


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=dtype)


def plain_decoded(state, weight, coarse, second, bias, output):
    x = (state.mT @ weight + coarse.repeat_interleave(10, dim=1)).relu()
    if second is not None:
        x = (x @ second.mT + bias[:, None]).relu()
    return (x * output[:, None]).sum(-1)


def plain_fine_states(near, around, weight, bias, output):
    x = (near @ weight.mT + around.repeat_interleave(10, dim=1) + bias).relu()
    return (x @ output.mT).permute(3, 0, 1, 2).flatten(1, 2)


def with_gradients(function, inputs):
    leaves = [its if its is None else its.detach().clone().requires_grad_() for its in inputs]
    found = function(*leaves)
    found.backward(normal(*found.shape, seed=9, dtype=found.dtype))
    return [found.detach(), *(its.grad for its in leaves if its is not None)]


def decoder_inputs(layers, dtype=torch.float64):
    second = (normal(NODES, NODES, dtype=dtype), normal(N, NODES, dtype=dtype)) if layers == 2 else (None, None)
    state, weight, coarse = (normal(N, *its, dtype=dtype) for its in ((D, BLOCK_BINS), (D, NODES), (COARSE, NODES)))
    return state, weight, coarse, *second, normal(N, NODES, seed=1, dtype=dtype)


@pytest.mark.parametrize("pairs_at_once", [1, 2, N])
@pytest.mark.parametrize("layers", [1, 2])
def test_decoded(layers, pairs_at_once, monkeypatch):
    monkeypatch.setattr(written_out, "CACHED", pairs_at_once * BLOCK_BINS * NODES)
    inputs = decoder_inputs(layers)
    expected = with_gradients(plain_decoded, inputs)
    torch.testing.assert_close(with_gradients(decoded, inputs), expected, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(decoded(*inputs), expected[0])


def test_weights_that_are_not_contiguous():
    state, weight, *others = decoder_inputs(2)
    inputs = (state.mT.contiguous().mT, weight.mT.contiguous().mT, *others)
    torch.testing.assert_close(
        with_gradients(decoded, inputs), with_gradients(plain_decoded, inputs), rtol=1e-6, atol=1e-6
    )


def encoder_inputs(dtype=torch.float64):
    shapes = (BLOCKS, BLOCK_BINS, CELLS, D), (BLOCKS, COARSE, CELLS, NODES), (NODES, D), (NODES,), (2, NODES)
    return [normal(*its, dtype=dtype) for its in shapes]


def test_fine_states():
    near, *inputs = encoder_inputs()
    found, expected = (
        with_gradients(lambda *its, f=function: f(near, *its), inputs) for function in (fine_states, plain_fine_states)
    )
    torch.testing.assert_close(found, expected)


def test_autocast_rounds_products_and_gradients_come_back_in_the_type_of_the_inputs():
    for function, plain, inputs in (
        (decoded, plain_decoded, decoder_inputs(2, torch.float32)),
        (fine_states, plain_fine_states, encoder_inputs(torch.float32)),
    ):
        near, inputs = ([inputs[0]], inputs[1:]) if function is fine_states else ([], inputs)
        with torch.autocast("cpu", torch.bfloat16):
            found = with_gradients(lambda *its, f=function, n=near: f(*n, *its).float(), inputs)
        exact = with_gradients(lambda *its, f=plain, n=near: f(*n, *its), inputs)
        for its, expected in zip(found, exact, strict=True):
            assert its.dtype == torch.float32
            assert 0 < (its - expected).norm() < 0.1 * expected.norm()


def network(layers=2, dropout=0.0, **factors):
    sizes = {"factors_25bp": 3, "factors_250bp": 2, "factors_5kbp": 4, **factors}
    config = plain_model(kind="states", cell_factors=CELLS + 1, nodes=NODES, layers=layers, dropout=dropout, **sizes)
    made = StatesNetwork(config, CELLS, ASSAYS, n_tracks=6).initialise(torch.Generator().manual_seed(0)).double()
    made.cell.copy_(torch.tensor([0, 0, 1, 1, 2, 2]))
    made.assay.copy_(torch.tensor([0, 3, 1, 0, 2, 3]))
    with torch.no_grad():
        made.first_gain.weight.copy_(normal(*made.first_gain.weight.shape))
        made.output.copy_(normal(*made.output.shape))
    return made


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("layers", "dropout"), [(1, 0.0), (2, 0.0), (2, 0.3)])
def test_forward_is_decode_of_the_factors(layers, dropout, shared):
    """The same numbers and gradients, whatever is dropped, for pairs of each block and for pairs of all."""
    made = network(layers, dropout)
    rows = normal(BLOCKS, made.config.block_width).requires_grad_()
    cell, assay = torch.tensor([[0, 2, 1], [1, 1, 0]]), torch.tensor([[3, 0, 1], [2, 3, 0]])
    cell, assay = (its[:1] if shared else its for its in (cell, assay))
    found = []
    for forward in (
        made.forward,
        lambda rows, cell, assay: made.decode(
            made.cell_factors[cell], made.assay_factors[assay], assay, *written_parts(rows, made)
        ),
    ):
        torch.manual_seed(4)
        made.zero_grad()
        rows.grad = None
        imputed = forward(rows, cell, assay)
        imputed.square().sum().backward()
        found.append(
            [imputed.detach(), rows.grad.clone(), *(p.grad.clone() for p in made.parameters() if p.grad is not None)]
        )
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)


def written_parts(rows, made):
    n25, n250, _ = made.config.scales
    bp25, bp250, bp5k = rows.split([BLOCK_BINS * n25, COARSE * n250, made.config.scales[2]], dim=1)
    return bp25.unflatten(1, (BLOCK_BINS, n25)), bp250.unflatten(1, (COARSE, n250)), bp5k[:, None]


@pytest.mark.parametrize("missing", ["factors_25bp", "factors_250bp", None])
def test_encode_by_plain_formulas(missing):
    made = network(**({missing: 0} if missing else {}))
    signal, around = normal(BLOCKS, BLOCK_BINS, 6), normal(BLOCKS, COARSE, 6, len(WINDOWS))
    visible = torch.ones(BLOCKS, 6).double()
    visible[0, 4] = visible[1, 1] = 0
    near, beside = torch.zeros(BLOCKS, BLOCK_BINS, CELLS, 2 * ASSAYS), torch.zeros(BLOCKS, COARSE, CELLS, ASSAYS, 5)
    near, beside = near.double(), beside.double()
    for block in range(BLOCKS):
        for track in range(6):
            if not visible[block, track]:
                continue
            cell, assay, values = made.cell[track], made.assay[track], signal[block, :, track]
            near[block, :, cell, assay] = values
            for at in range(BLOCK_BINS):
                window = values[max(0, at - NEAR // 2) : at + NEAR // 2 + 1]
                near[block, at, cell, ASSAYS + assay] = window.mean()
            beside[block, :, cell, assay, :4] = around[block, :, track]
            beside[block, :, cell, assay, 4] = 1
    beside = torch.cat([beside[..., :4].flatten(3), beside[..., 4]], dim=-1)
    hidden = made.near(near) + made.around(beside).repeat_interleave(10, dim=1)
    states = (
        made.to_factors[0](functional.relu(hidden)),
        made.to_factors[1](beside),
        made.to_factors[2](beside.mean(1, keepdim=True)),
    )
    expected = []
    for state in states:
        programs = sum(state[:, :, c, None, :] * made.cell_mixing[c, :, None] / math.sqrt(CELLS) for c in range(CELLS))
        expected.append(programs.reshape(BLOCKS, -1))
    torch.testing.assert_close(made.encode(signal, around, visible), torch.cat(expected, dim=1), rtol=1e-6, atol=1e-6)
