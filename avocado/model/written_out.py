"""The two parts of `states.StatesNetwork` that take its time, as few passes over as few arrays, gradients included.

Both are what stands in their docstrings, to rounding. Automatic differentiation of that would keep three arrays per
layer and copy what it transposes; here each layer has one array forward and one backward, worked on in place, and what
belongs to an assay is multiplied into the weights, which are small, and not into the activations. Products are in the
type of the surrounding autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avocado.data.genome import BINS_PER_250BP, BLOCK_BINS
from avocado.model.config import COARSE

CACHED = 320_000  # activations of a layer that are computed at once on a CPU: they stay in its cache


def fine_states(near: Tensor, around: Tensor, weight: Tensor, bias: Tensor, output: Tensor) -> Tensor:
    """States of cell types at 25 bp, relu(near · weightᵀ + around + bias) · outputᵀ, as (d, blocks × 200, cells).

    near: (blocks, 200, cells, inputs), of which no gradient is taken; around: (blocks, 20, cells, nodes), for the ten
    bins of each 250 bp; weight (nodes, inputs), bias (nodes,), output (d, nodes).
    """
    return _FineStates.apply(near, around, weight, bias, output, _type(near))  # type: ignore[no-any-return]


def decoded(
    state: Tensor, weight: Tensor, coarse: Tensor, second: Tensor | None, bias: Tensor | None, output: Tensor
) -> Tensor:
    """Signal (n, 200) of n pairs in blocks: relu(relu(stateᵀ · weight + coarse) · secondᵀ + bias) · output.

    state: (n, d, 200); weight: (n, d, nodes); coarse: (n, 20, nodes), for the ten bins of each 250 bp; second:
    (nodes, nodes) and bias: (n, nodes), both None without a second layer; output: (n, nodes).
    """
    keep = torch.is_grad_enabled()
    return _Decoded.apply(state, weight, coarse, second, bias, output, _type(state), keep)  # type: ignore[no-any-return]


def _type(like: Tensor) -> torch.dtype:
    device = like.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype


def _of_250bp(bins: Tensor) -> Tensor:
    """Bins, the second axis, by the stretch of 250 bp that they are in."""
    return bins.unflatten(1, (COARSE, BINS_PER_250BP))


def _through_relu(grad: Tensor, activation: Tensor, onto: Tensor) -> Tensor:
    """Gradient through a ReLU, written onto one of the two."""
    torch.ops.aten.threshold_backward.grad_input(grad, activation, 0, grad_input=onto)
    return onto


class _FineStates(torch.autograd.Function):
    @staticmethod
    def forward(ctx, near, around, weight, bias, output, dtype):
        ctx.types = around.dtype, weight.dtype
        n_blocks, _, n_cells, _ = near.shape
        with torch.autocast(near.device.type, enabled=False):
            near, weight, output = (its.to(dtype) for its in (near, weight, output))
            hidden = near.flatten(0, 2) @ weight.mT
            _of_250bp(hidden.view(n_blocks, BLOCK_BINS, n_cells, -1)).add_((around + bias).to(dtype)[:, :, None])
            hidden.relu_()
            ctx.save_for_backward(near, hidden, output)
            # products with few columns are several times faster this way round
            return torch.mm(output, hidden.mT).view(len(output), n_blocks * BLOCK_BINS, n_cells)

    @staticmethod
    def backward(ctx, *grad_outputs):
        near, hidden, output = ctx.saved_tensors
        of_around, of_weights = ctx.types
        grad = grad_outputs[0].reshape(len(output), -1).to(hidden.dtype)
        of_output = grad @ hidden
        grad = grad.mT.contiguous() @ output
        grad = _through_relu(grad, hidden, onto=grad)
        of_weight = (near.flatten(0, 2).mT @ grad).mT
        coarse = _of_250bp(grad.view(*near.shape[:3], -1)).sum(2)
        of_bias = coarse.sum((0, 1, 2), dtype=of_weights)
        return None, coarse.to(of_around), of_weight.to(of_weights), of_bias, of_output.to(of_weights), None


class _Decoded(torch.autograd.Function):
    """Some pairs at a time, whose activations stay in the cache."""

    @staticmethod
    def forward(ctx, state, weight, coarse, second, bias, output, dtype, keep):
        ctx.types = [None if its is None else its.dtype for its in (state, weight, coarse, second, bias, output)]
        state, weight, coarse, output = (its.to(dtype) for its in (state, weight, coarse, output))
        if second is not None:
            second, bias = second.to(dtype), bias.to(dtype)
        found, kept = state.new_empty(len(state), BLOCK_BINS), []
        many = len(state) if state.device.type != "cpu" else max(1, CACHED // (BLOCK_BINS * weight.shape[2]))
        ctx.parts = [slice(first, first + many) for first in range(0, len(state), many)]
        with torch.autocast(state.device.type, enabled=False):
            for part in ctx.parts:
                layers = [torch.bmm(state[part].mT, weight[part])]
                _of_250bp(layers[0]).add_(coarse[part][:, :, None]).relu_()
                if second is not None:
                    layers.append((layers[0].flatten(0, 1) @ second.mT).view_as(layers[0]))
                    layers[1].add_(bias[part][:, None]).relu_()
                torch.bmm(output[part][:, None], layers[-1].mT, out=found[part][:, None])
                kept += layers if keep else []
        ctx.save_for_backward(state, weight, second, output, *kept)
        return found

    @staticmethod
    def backward(ctx, *grad_outputs):
        state, weight, second, output, *kept = ctx.saved_tensors
        out = grad_outputs[0].to(state.dtype).contiguous()
        n_pairs, _, nodes = weight.shape
        # contiguous, whatever the inputs are: only into such arrays are batches of products written at once
        of_state, of_weight = (its.new_empty(its.shape) for its in (state, weight))
        of_coarse = output.new_empty(n_pairs, COARSE, nodes)
        of_bias, of_output = output.new_empty(n_pairs, nodes), output.new_empty(n_pairs, nodes)
        of_second = None
        if second is not None:  # parts are added up in no less than float32
            of_second = torch.zeros_like(second, dtype=torch.promote_types(second.dtype, torch.float32))
        every_bin = out.new_ones(1, 1, BLOCK_BINS)
        per_part = len(kept) // len(ctx.parts)
        for number, part in enumerate(ctx.parts):
            first, last = kept[number * per_part], kept[(number + 1) * per_part - 1]
            torch.bmm(out[part][:, None], last, out=of_output[part][:, None])
            # the gradient takes the place of the last activations
            grad = _through_relu(out[part][..., None].expand_as(last), last, onto=last).mul_(output[part][:, None])
            if second is not None:
                torch.bmm(every_bin.expand(len(grad), -1, -1), grad, out=of_bias[part][:, None])
                of_second += grad.flatten(0, 1).mT @ first.flatten(0, 1)
                grad = (grad.flatten(0, 1) @ second).view_as(first)
                grad = _through_relu(grad, first, onto=grad)
            torch.sum(_of_250bp(grad), 2, out=of_coarse[part])
            torch.bmm(state[part], grad, out=of_weight[part])
            torch.bmm(weight[part], grad.mT, out=of_state[part])
        found = (of_state, of_weight, of_coarse, of_second, None if second is None else of_bias, of_output)
        types = zip(found, ctx.types, strict=True)
        return (*(None if its is None else its.to(dtype) for its, dtype in types), None, None)
