"""What a run's page says beside its pictures."""

from types import SimpleNamespace

import pandas as pd

from avocado.runs import record


def test_recovered_groups_are_said_of_six_cell_types_or_more():
    factors = pd.DataFrame([[0.0, n] for n in range(3)] + [[50.0, n] for n in range(3)], index=list("abcdef"))
    model = SimpleNamespace(cells=list("abcdef"), cell_factors=factors)
    text = record._recovered(model, ("lineage", ["one"] * 3 + ["two"] * 3))
    assert text.startswith(" Of 6 cell types, 100% have nearest neighbours (2) of their own lineage, by chance up to ")
    assert record._recovered(model, None) == ""
    assert record._recovered(model, ("lineage", list("uvwxyz"))) == ""
    few = SimpleNamespace(cells=list("abcde"), cell_factors=factors[:5])
    assert record._recovered(few, ("lineage", ["one"] * 3 + ["two"] * 2)) == ""
