"""What a run's page says beside its pictures."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from avocado.runs import record


def model_of(cells, kind="paper"):
    factors = pd.DataFrame([[0.0, n] for n in range(3)] + [[50.0, n] for n in range(3)], index=list("abcdef"))
    config = SimpleNamespace(kind=kind)
    return SimpleNamespace(
        cells=list(cells), cell_factors=factors[: len(cells)], network=SimpleNamespace(config=config)
    )


def test_recovered_groups_are_said_of_six_cell_types_or_more():
    model, groups = model_of("abcdef"), ("lineage", ["one"] * 3 + ["two"] * 3)
    text = record._recovered(model, groups, "pilot")
    assert text.startswith(" By factors, 100% of 6 cell types have nearest neighbours (2) of their own lineage, by ")
    assert record._recovered(model, None, "pilot") == ""
    assert record._recovered(model, ("lineage", list("uvwxyz")), "pilot") == ""
    assert record._recovered(model_of("abcde"), ("lineage", ["one"] * 3 + ["two"] * 2), "pilot") == ""


def test_groups_are_recovered_by_states_where_there_are_some(monkeypatch):
    groups = ["one", "two"] * 3
    apart = np.array([[abs(i - j) % 2 + 0.01 * (i != j) for j in range(6)] for i in range(6)])
    monkeypatch.setattr(record, "state_distances", lambda model, region: apart)
    text = record._recovered(model_of("abcdef", "states"), ("lineage", groups), "pilot")
    assert text.startswith(" By states, 100% of 6 cell types have nearest neighbours (2) of their own lineage, by ")
