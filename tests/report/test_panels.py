from collections.abc import Mapping

import numpy as np
import pytest

from avocado.data.genome import BIN_SIZE, Region, Segment
from avocado.errors import InputError
from avocado.evaluation.scores import AVERAGE
from avocado.report.panels import differing_loci

# ranks 0-999, 1000-1299, 1300-1349 (shorter than a window), 1350-2349
REGION = Region(
    "toy", (Segment("chr1", 200, 1200), Segment("chr1", 5000, 5300), Segment("chr2", 0, 50), Segment("chr3", 40, 1040))
)
WIDTH = 100
TRACKS = [("E1", "DNase"), ("E2", "DNase"), ("E1", "H3K4me3"), ("E2", "H3K4me3")]


def signals(seed=0, noise=0.05):
    """Observed tracks, and two methods that are wrong to the same small degree everywhere."""
    rng = np.random.default_rng(seed)
    observed = {track: rng.gamma(1, 1, REGION.n_bins).astype(np.float32) for track in TRACKS}
    methods = {
        name: {t: (s + rng.normal(0, noise, len(s))).astype(np.float32) for t, s in observed.items()}
        for name in (AVERAGE, "Avocado")
    }
    return observed, methods


def loci(observed, methods, n=1, **options):
    return differing_loci(observed, methods, REGION, n=n, width=WIDTH, **options)


def test_finds_where_a_planted_error_is():
    observed, methods = signals()
    methods["Avocado"]["E2", "DNase"][1900:2000] += 2  # ranks; chr3 starts at 1350, and at bin 40
    (locus,) = loci(observed, methods)
    assert (locus.chrom, locus.start) == ("chr3", (40 + 1900 - 1350) * BIN_SIZE)
    assert next(iter(locus.rows)) == "E2 DNase"
    assert len(locus.rows) == 3
    assert list(locus.rows["E2 DNase"]) == ["observed", AVERAGE, "Avocado"]
    for (cell, assay), signal in observed.items():
        if f"{cell} {assay}" in locus.rows:
            assert np.array_equal(locus.rows[f"{cell} {assay}"]["observed"], signal[1900:2000])
    assert np.array_equal(locus.rows["E2 DNase"]["Avocado"], methods["Avocado"]["E2", "DNase"][1900:2000])
    assert locus.why.startswith("E2 DNase: MSE here from 0.00")
    assert f"({AVERAGE}) to 4" in locus.why
    assert "\n" not in locus.why


def test_an_error_that_all_methods_share_is_no_difference():
    observed, methods = signals()
    for imputed in methods.values():
        imputed["E1", "DNase"][300:400] += 3
    methods["Avocado"]["E1", "DNase"][700:800] += 0.5
    (locus,) = loci(observed, methods)
    assert (locus.chrom, locus.start) == ("chr1", (200 + 700) * BIN_SIZE)


def test_a_track_with_a_wide_range_does_not_take_all_places():
    observed, methods = signals()
    rng = np.random.default_rng(1)
    methods["Avocado"]["E1", "H3K4me3"] += rng.normal(0, 30, REGION.n_bins).astype(np.float32)  # bad everywhere
    methods["Avocado"]["E2", "DNase"][500:600] += 1
    (locus,) = loci(observed, methods)
    assert next(iter(locus.rows)) == "E2 DNase"
    assert locus.start == (200 + 500) * BIN_SIZE


def test_assays_take_turns_then_tracks():
    observed, methods = signals()
    for cell, places in (("E1", (100, 400, 700, 1500)), ("E2", (1800, 2100))):  # DNase has all large errors, E2 most
        for first in places:
            methods["Avocado"][cell, "DNase"][first : first + 100] += 3
    found = loci(observed, methods, n=4, n_tracks=1)
    tracks = [next(iter(locus.rows)) for locus in found]
    assert {track.split()[1] for track in tracks[:2]} == {"DNase", "H3K4me3"}
    assert sorted(tracks) == sorted(" ".join(track) for track in TRACKS)
    assert all(len(locus.rows) == 1 for locus in found)


def test_loci_keep_apart_and_inside_segments():
    observed, methods = signals()
    methods["Avocado"]["E1", "DNase"][400:600] += 2  # wider than a window
    found = loci(observed, methods, n=50)
    assert 4 < len(found) < 13
    spans = [(locus.chrom, locus.start, len(next(iter(locus.rows.values()))["observed"])) for locus in found]
    for chrom, start, n_bins in spans:
        first = start // BIN_SIZE
        assert any(s.chrom == chrom and s.start <= first and first + n_bins <= s.end for s in REGION.segments)
        assert n_bins == (50 if chrom == "chr2" else WIDTH)
        for other, begin, _ in spans:
            if other == chrom and begin > start:
                assert begin - (start + n_bins * BIN_SIZE) >= WIDTH * BIN_SIZE


def test_fewer_loci_where_methods_agree():
    observed, methods = signals()
    methods[AVERAGE] = {track: signal.copy() for track, signal in methods["Avocado"].items()}
    methods["third"] = methods["Avocado"]
    assert loci(observed, methods, n=3) == []
    methods[AVERAGE]["E1", "DNase"][1310] += 1
    found = loci(observed, methods, n=3)
    assert [(locus.chrom, locus.start) for locus in found] == [("chr2", 0)]


class Counted(Mapping):
    """Tracks that are copied when asked for, and counts of that."""

    def __init__(self, signals):
        self.signals, self.loaded = signals, []

    def __getitem__(self, track):
        self.loaded.append(track)
        return self.signals[track].copy()

    def __contains__(self, track):
        return track in self.signals

    def __iter__(self):
        return iter(self.signals)

    def __len__(self):
        return len(self.signals)


def test_loads_tracks_one_by_one_and_only_the_shown_ones_again():
    observed, methods = signals()
    methods["Avocado"]["E2", "DNase"][500:600] += 1
    lazy = Counted(observed), {name: Counted(imputed) for name, imputed in methods.items()}
    (locus,) = loci(*lazy, n_tracks=1)
    for source in (lazy[0], *lazy[1].values()):
        assert source.loaded == [*TRACKS, ("E2", "DNase")]
    assert locus.rows["E2 DNase"]["observed"].base is None  # a cut-out must not keep its whole track in memory


def test_bad_input():
    observed, methods = signals()
    with pytest.raises(InputError, match=r"differ only where there are two: got average activity"):
        loci(observed, {AVERAGE: methods[AVERAGE]})
    with pytest.raises(InputError, match="Avocado has not imputed E2 H3K4me3"):
        loci(observed, {**methods, "Avocado": {t: methods["Avocado"][t] for t in TRACKS[:3]}})
    with pytest.raises(InputError, match=r"Avocado of E1 DNase has shape \(7,\), region toy has 2,350 bins"):
        loci(observed, {**methods, "Avocado": {t: np.zeros(7) for t in TRACKS}})
    methods["Avocado"]["E1", "DNase"][3] = np.nan
    with pytest.raises(InputError, match="Avocado of E1 DNase has NaN"):
        loci(observed, methods)
    with pytest.raises(ValueError, match="cannot be called 'observed'"):
        loci(observed, {**methods, "observed": observed})
