"""Where cell types start: along the directions in which their tracks differ most, where they outnumber the programs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from toy import ASSEMBLY, CELLS, CHR20, PILOT, STATES, TRAIN, make_states, tracks

from avocado.data.store import open_store, tracks_of, write_metadata, write_region
from avocado.model.scales import track_scales
from avocado.model.start import spectral_start
from avocado.training.masked import set_apart

KIN = {"a1": 0, "a2": 0, "a3": 0, "b1": 1, "b2": 1, "b3": 1, "lone": 2}
PAIRS = [(cell, assay) for cell in KIN for assay in ("m1", "m2") if cell != "lone"] + [("lone", "m3")]


def kin_store(path, **replaced):
    """Two families of three cell types, and one that shares no assay; `replaced`, such as t3=777, is all of a track."""
    signals = {}
    for region in (PILOT, CHR20):
        random = np.random.default_rng(region.n_bins)
        shared, own = random.gamma(0.5, 1.0, (2, 3, 3, region.n_bins))
        signal = [
            shared[0, ["m1", "m2", "m3"].index(assay)] + own[KIN[cell], ["m1", "m2", "m3"].index(assay)]
            + 0.3 * random.random(region.n_bins) for cell, assay in PAIRS
        ]  # fmt: skip
        signals[region] = np.stack(signal, axis=1).astype(np.float32)
        for name, value in replaced.items():
            signals[region][:, int(name[1:])] = value
        write_region(path, region, len(PAIRS), "float32", [region.to_blocks(signals[region])])
    table = pd.DataFrame(PAIRS, columns=pd.Index(["cell", "assay"])).assign(sha256=["0" * 64] * len(PAIRS))
    write_metadata(path, ASSEMBLY, signals, table, "float32")
    return open_store(path)


def started(store, n, rows=None):
    train = tracks_of(store, range(len(PAIRS)))
    scales = track_scales(store, "pilot", train.columns)
    return spectral_start(store, "pilot", train, scales, np.arange(len(PAIRS)) if rows is None else rows, n)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_cell_types_of_a_family_start_close_to_each_other(tmp_path, n):
    store = kin_store(tmp_path)
    vectors = started(store, n)
    assert vectors.shape == (7, n)
    assert not vectors[store.cells.index("lone")].any()
    vectors = vectors[[store.cells.index(cell) for cell in KIN if cell != "lone"]]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    alike = vectors @ vectors.T
    np.testing.assert_array_less(alike[:3, 3:], 0)
    for family in (alike[:3, :3], alike[3:, 3:]):
        np.testing.assert_array_less(0.2, family)


def test_tracks_that_are_not_to_be_looked_at_say_nothing(tmp_path):
    rows = np.array([0, 1, 2, 4, 6, 7, 9, 11])
    first = started(kin_store(tmp_path / "a"), 3, rows)
    np.testing.assert_array_equal(started(kin_store(tmp_path / "b", t3=5.0, t12=5.0), 3, rows), first)
    assert not np.allclose(started(kin_store(tmp_path / "c", t4=5.0), 3, rows), first)


def test_programs_are_for_single_cell_types_where_there_are_as_many(tiny_store):
    def start(cell_factors):
        return make_states(tiny_store, replace(STATES, cell_factors=cell_factors)).cell_factors.detach()

    train, looked_at = tracks(tiny_store, TRAIN), np.flatnonzero(~set_apart(len(TRAIN), 0))
    assert 0 < len(looked_at) < len(TRAIN)
    scales = track_scales(tiny_store, "pilot", train.columns)
    spectral = spectral_start(tiny_store, "pilot", train, scales, looked_at, len(CELLS) - 1)
    singly = torch.eye(len(CELLS))
    for n, expected in ((len(CELLS) + 1, singly), (len(CELLS), torch.from_numpy(spectral)), (1, singly[:, :0])):
        factors = start(n)
        differences = factors - torch.cat([expected, torch.ones(len(CELLS), 1)], dim=1)
        assert differences.square().mean() < 0.2**2  # of a few random numbers of 0.1
    assert (torch.from_numpy(spectral) - singly[:, :-1]).square().mean() > 0.4**2
