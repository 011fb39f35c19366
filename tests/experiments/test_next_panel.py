"""Coverage on the truth: known answers."""

import numpy as np
import pandas as pd
import pytest

from experiments.next_panel import RIDGE, explained, judged, plot


def test_coverage_of_the_chosen_of_random_ones_and_of_the_best():
    groups = np.repeat([0, 1, 2, 3], [2, 5, 3, 2])
    similarity = (groups[:, None] == groups).astype(float)  # tracks of a group are the same
    table = judged(similarity, [0], range(1, 12), [2, 7, 10], n_random=400, seed=0)
    assert table["chosen"].tolist() == pytest.approx([2 / 12, 7 / 12, 10 / 12, 1])
    assert table["from_truth"].tolist() == table["chosen"].tolist()
    expected = (2 + (5 * 5 + 3 * 3 + 2 * 2) / 11) / 12  # of one of the eleven, drawn at random
    assert table["random"][1] == pytest.approx(expected, abs=0.02)
    assert table["random_worse"][1] == pytest.approx(6 / 11, abs=0.08)
    assert (table["random_low"] <= table["random"] + 1e-9).all()
    both = pd.concat(
        [table.assign(what="further"), judged(similarity, [], range(12), [2, 7], 50, 0).assign(what="panel")]
    )
    assert len(plot(both).axes) == 4
    worst = judged(similarity, [0], range(1, 12), [1, 10, 11], n_random=100, seed=0)
    assert worst["chosen"].tolist() == pytest.approx([2 / 12, 2 / 12, 4 / 12, 4 / 12])
    assert worst["random_worse"][1] == 0


def test_what_is_predicted_is_what_linear_regression_explains():
    random = np.random.default_rng(0)
    tracks = random.normal(size=(4_000, 3)) @ random.normal(size=(3, 6)) + random.normal(size=(4_000, 6))
    tracks = (tracks - tracks.mean(axis=0)) / tracks.std(axis=0)
    correlation = np.corrcoef(tracks, rowvar=False)
    fitted = tracks[:, :2] @ np.linalg.lstsq(tracks[:, :2], tracks[:, 2:], rcond=None)[0]
    wanted = np.mean(1 - ((tracks[:, 2:] - fitted) ** 2).mean(axis=0))
    assert wanted - 0.05 < explained(correlation, [0, 1], [2, 3, 4, 5]) < wanted
    # a copy of a track that is known adds nothing, one of the rest explains it
    copies = np.corrcoef(np.column_stack([tracks[:, 0], tracks[:, 0], tracks[:, 1], tracks[:, 1]]), rowvar=False)
    table = judged(copies, [0], [1, 2, 3], [2, 1], n_random=200, seed=0)
    assert table["predicted"][1] == pytest.approx(1 / (1 + RIDGE), abs=2e-3)
    nothing = judged(copies, [], range(4), [0, 2], n_random=200, seed=0)
    assert nothing["predicted"][0] == 0
    assert nothing["predicted"][2] == pytest.approx(1 / (1 + RIDGE), abs=2e-3)  # one of each of the two
    assert table["predicted_random"][1] < table["predicted"][1]
    assert table["predicted"][0] < table["predicted"][1]
