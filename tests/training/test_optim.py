import math

import pytest
import torch
from toy import plain_optimizer

from avocado.errors import InputError
from avocado.training.optim import BlockAdam


def table(rows=5, width=7):
    return torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gradient(step, rows=5, width=7):
    return torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(step + 1)) * 10**-step


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_it_is_adam_when_every_block_is_in_every_batch(weight_decay):
    ours, theirs = table(), table().requires_grad_()
    start = table()
    lazy = BlockAdam(ours, 0.05, (0.8, 0.95), 1e-6, weight_decay)
    dense = torch.optim.AdamW([theirs], 0.05, (0.8, 0.95), 1e-6, weight_decay)
    order = torch.tensor([3, 1, 0, 4, 2])
    for step in range(6):
        lazy.param_groups[0]["lr"] = dense.param_groups[0]["lr"] = 0.05 / (step + 1)
        theirs.grad = gradient(step)
        dense.step()
        lazy.step_rows(order, ours[order], gradient(step)[order])
    assert (ours - start).abs().min() > 1e-3
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-12, atol=1e-12)


def test_other_rows_are_not_touched():
    ours = table()
    optimizer = BlockAdam(ours, 0.1, weight_decay=0.5)
    for step in range(3):
        blocks = torch.tensor([4, 1])
        optimizer.step_rows(blocks, ours[blocks], gradient(step)[:2])
    assert torch.equal(ours[[0, 2, 3]], table()[[0, 2, 3]])
    assert (ours[[1, 4]] != table()[[1, 4]]).all()


def test_a_row_counts_its_own_visits():
    """A row that skips steps is where Adam over its visits alone would be."""
    ours, alone = table(), table()[2:3].clone().requires_grad_()
    optimizer, adam = BlockAdam(ours, 0.1), torch.optim.Adam([alone], 0.1)
    for step, blocks in enumerate([[0, 2], [1, 3], [2, 4], [0, 1], [3, 2]]):
        optimizer.step_rows(torch.tensor(blocks), ours[blocks], gradient(step)[blocks])
        if 2 in blocks:
            alone.grad = gradient(step)[2:3]
            adam.step()
    torch.testing.assert_close(ours[2:3], alone.detach(), rtol=1e-12, atol=1e-12)


def test_weight_decay_by_hand():
    ours = torch.tensor([[2.0, -4.0], [1.0, 1.0]])
    optimizer = BlockAdam(ours, lr=0.5, weight_decay=0.25)
    blocks = torch.tensor([0])
    optimizer.step_rows(blocks, ours[blocks], torch.zeros(1, 2))
    # decay alone: × (1 − 0.5 × 0.25)
    assert ours.tolist() == [[1.75, -3.5], [1.0, 1.0]]
    optimizer.step_rows(torch.tensor([1]), ours[[1]], torch.tensor([[3.0, -0.1]]))
    # a first step is lr × sign of the gradient, whatever its size
    torch.testing.assert_close(ours[1], torch.tensor([0.875 - 0.5, 0.875 + 0.5]))


def test_state_survives_a_checkpoint(tmp_path):
    blocks = torch.tensor([1, 3])
    ours = table()
    optimizer = BlockAdam(ours, 0.1, weight_decay=0.01)
    for step in range(2):
        optimizer.step_rows(blocks, ours[blocks], gradient(step)[:2])
    torch.save({"table": ours, "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = BlockAdam(saved["table"], 0.7)
    resumed.load_state_dict(saved["optimizer"])
    for step in range(2, 5):
        for each, values in ((optimizer, ours), (resumed, saved["table"])):
            each.step_rows(blocks, values[blocks], gradient(step)[:2])
    assert torch.equal(ours, saved["table"])
    assert resumed.state[saved["table"]]["visits"].tolist() == [0, 5, 0, 5, 0]


def test_cosine_schedule_by_hand():
    config = plain_optimizer(warmup=0.1)
    # 100 steps, of which 10 rise: 1/11, 2/11, ..., 10/11, then half a cosine over the other 90
    assert config.factor(0, 100) == pytest.approx(1 / 11)
    assert config.factor(9, 100) == pytest.approx(10 / 11)
    assert config.factor(10, 100) == 1
    assert config.factor(40, 100) == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))  # 0.75
    assert config.factor(55, 100) == pytest.approx(0.5)
    assert config.factor(100, 100) == pytest.approx(0)
    assert config.factor(120, 100) == pytest.approx(0)
    assert all(0 < config.factor(step, 100) <= 1 for step in range(100))


def test_constant_schedule_by_hand():
    config = plain_optimizer(schedule="constant", warmup=0.25)
    assert [config.factor(step, 8) for step in range(5)] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1])
    assert plain_optimizer(schedule="constant", warmup=0).factor(0, 1) == 1
    assert plain_optimizer(warmup=0).factor(0, 1) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "step"}, r"optimizer\.schedule='step': there is cosine, constant"),
        ({"genome_optimizer": "sgd"}, r"optimizer\.genome_optimizer='sgd': there is lazy, dense"),
        ({"learning_rate": 0}, r"optimizer\.learning_rate=0: expected a number above 0"),
        ({"genome_learning_rate": -1.0}, r"optimizer\.genome_learning_rate=-1\.0"),
        ({"learning_rate": math.nan}, r"optimizer\.learning_rate=nan"),
    ],
)
def test_impossible_optimizers_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        plain_optimizer(**changes)


def test_sparse_adam_makes_the_same_updates_after_equal_visits():
    """Where every block is in every batch; else SparseAdam's bias correction counts steps that a row did not see."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs = torch.zeros(3, 4), torch.zeros(3, 4)
    lazy, sparse = BlockAdam(ours, lr=0.1), torch.optim.SparseAdam([theirs], lr=0.1)
    for _ in range(5):
        gradient, blocks = torch.randn(3, 4, generator=generator), torch.tensor([2, 0, 1])
        lazy.step_rows(blocks, ours[blocks], gradient)
        theirs.grad = torch.sparse_coo_tensor(blocks[None], gradient, (3, 4), check_invariants=True)
        sparse.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
