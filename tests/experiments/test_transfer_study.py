"""The study of transferred cell types: what is chosen, and how it is summed up."""

from types import SimpleNamespace

import pandas as pd
import pytest

from experiments import transfer


def compendium(choices: int, given=(1, 2, 3)) -> transfer.Compendium:
    tracks = pd.DataFrame({"cell": "kidney", "assay": ["DNase", "H3K27ac", "H3K4me3"], "file": "x"})
    return transfer.Compendium("real", tracks, None, "pilot", ["pilot"], ["kidney"], list(given), choices, False)


def test_choices_are_distinct_leave_a_track_to_impute_and_grow():
    found = list(transfer._choices(compendium(30), "kidney", SimpleNamespace(seed=0)))
    sets = [(n, tuple(given)) for n, _, given in found]
    assert len(set(sets)) == len(sets)
    assert sorted({n for n, _ in sets}) == [1, 2]  # from three of three nothing is left
    assert sum(n == 1 for n, _ in sets) == 3
    by = {(n, choice): set(given) for n, choice, given in found}
    for (n, choice), given in by.items():
        assert len(given) == n
        if (n + 1, choice) in by:
            assert given < by[n + 1, choice]


def test_simulated_cell_types_are_of_different_lineages():
    names = [f"{lineage}{number}" for lineage in ("blood", "brain", "stem") for number in (1, 2, 3)]
    assert transfer._apart(names, 3) == ["blood1", "brain1", "stem1"]
    assert transfer._apart(names, 1) == ["blood1"]
    assert transfer._apart(names[:2], 5) == names[:2]


def test_the_summary_and_the_figure():
    rows = [("real", 1, 0.5, 1.0, "a"), ("real", 1, 3.0, 2.0, "b"), ("real", 2, 0.8, 1.0, "c")]
    table = pd.DataFrame(rows, columns=pd.Index(["compendium", "given", "mse", "mse_average", transfer.IDENTITY]))
    table = table.assign(mse_alone=table["mse"] * 1.1, mse_trained=float("nan"), cpu_seconds=[1.0, 3.0, 2.0])
    found = transfer.summarise(table)
    assert found["given"].tolist() == [1, 2]
    assert found["better"].tolist() == [0.5, 1.0]
    assert found["relative_mse"].tolist() == pytest.approx([1.0, 0.8])
    assert found["relative_alone"].tolist() == pytest.approx([1.1, 0.88])
    assert found["cpu_seconds"].tolist() == [2.0, 2.0]
    assert "better than average" in transfer.format_table(table)
    (ax,) = transfer.plot_transfers(table).axes
    assert [line.get_label() for line in ax.lines] == ["average activity", "transferred", "factorization alone"]
