"""How long imputers will take, said before they start."""

import pytest

from avocado.imputers.average import AverageActivity
from avocado.imputers.ensemble import Ensemble
from avocado.imputers.protocol import foretell
from avocado.utils.progress import duration


class Slow(AverageActivity):
    def outlook(self, pairs, region):
        return f"slow: {len(pairs)} tracks on {region}"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "about a second"), (2, "about 2 seconds"), (89, "about 89 seconds"), (90, "about 2 minutes"),
     (240, "about 4 minutes"), (5_400, "about 1.5 hours"), (36_000, "about 10.0 hours")],
)  # fmt: skip
def test_duration(seconds, said):
    assert duration(seconds) == said


def test_only_what_takes_long_is_foretold(tiny_store, caplog):
    pairs, everything = [("a", "b"), ("a", "c")], range(len(tiny_store.tracks))
    with caplog.at_level("INFO"):
        foretell(AverageActivity(), pairs, "pilot")
        foretell(Slow(), [], "pilot")
        both = Ensemble({"average": AverageActivity()})
        both.fit(tiny_store, everything, "pilot")
        foretell(both, pairs, "pilot")
        assert not caplog.records
        foretell(Slow(), pairs, "pilot")
        both = Ensemble({"average": AverageActivity(), "slow": Slow()})
        both.fit(tiny_store, everything, "pilot")
        foretell(both, pairs, "pilot")
    assert [record.message for record in caplog.records] == ["slow: 2 tracks on pilot"] * 2
