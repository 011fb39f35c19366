"""How long imputers will take, said before they start."""

import pytest

from avocado.imputers.average import AverageActivity
from avocado.imputers.cached import Cached
from avocado.imputers.chromimpute import ChromImpute
from avocado.imputers.ensemble import Ensemble
from avocado.imputers.protocol import FEW, foretell, groups
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


def test_kept_tracks_are_foretold_by_their_imputer(tiny_store, tmp_path):
    pairs = [("B cell", "H3K4me3"), ("B cell", "DNase")]
    quick, slow = (Cached(imputer, tmp_path, "key") for imputer in (AverageActivity(), Slow()))
    for cached in (quick, slow):
        cached.fit(tiny_store, range(len(tiny_store.tracks)), "pilot")
    assert (quick.outlook(pairs, "pilot"), slow.outlook([], "pilot")) == ("", "")
    assert not any(tmp_path.iterdir())  # nothing was fitted for it
    assert slow.outlook(pairs, "pilot") == "slow: 2 tracks on pilot"
    both = Ensemble({"quick": quick, "slow": slow})
    both.fit(tiny_store, range(len(tiny_store.tracks)), "pilot")
    assert both.outlook(pairs, "pilot") == "slow: 2 tracks on pilot"


def test_an_interruption_takes_few_tracks_of_what_learns_for_each():
    pairs = [("a", str(number)) for number in range(20)]
    assert list(map(len, groups(pairs, 1_000, AverageActivity()))) == list(map(len, groups(pairs, 1_000))) == [20]
    assert list(map(len, groups(pairs, 1_000, ChromImpute()))) == [FEW, FEW, 20 - 2 * FEW]
    assert list(map(len, groups(pairs, 20_000_000, ChromImpute()))) == [3] * 6 + [2]  # as memory allows
