import json

import numpy as np
import pandas as pd
import pytest

from avocado.data.genome import Region, Segment
from avocado.data.store import open_store
from avocado.evaluation.annotations import Intervals
from avocado.model.scales import imputed_pval
from experiments import peak_heights

pytest_plugins = ["demo"]


def test_bins_near_starts():
    region = Region("some", (Segment("chr1", 100, 300),))
    genes = Intervals(
        np.array(["chr1", "chr1", "chr2"]), np.array([5_000, 2_000, 5_000]), np.array([9_000, 5_001, 9_000]),
        np.array(["a", "b", "c"]), np.array([True, False, True]),
    )  # fmt: skip
    near = peak_heights.near_starts(region, genes)
    assert np.flatnonzero(near).tolist() == list(range(60, 141))  # both start at 5,000 bp, bin 200


def test_heights_by_hand():
    observed, imputed = np.arcsinh(np.array([0.0, 2, 6, 8])), np.arcsinh(np.array([-1.0, 1, 3, 4]))
    near = np.array([False, False, True, True])
    rows = {row["scale"]: row for row in peak_heights.heights(observed, imputed, near)}
    assert (rows["plain"]["observed"], rows["plain"]["imputed"]) == pytest.approx((7, 3.5))
    assert rows["plain"]["starts"] == rows["plain"]["whole"] == pytest.approx(0.5)
    assert rows["plain"]["mse"] == pytest.approx((1 + 9 + 16) / 4)
    assert (rows["known"]["whole"], rows["known"]["mse"]) == pytest.approx((1, 0))
    assert rows["written"]["imputed"] == pytest.approx(imputed_pval(imputed)[2:].mean())


def test_summary_tells_a_middle_from_a_spread():
    rows = pd.DataFrame({"method": "m", "scale": "plain", "starts": [0.25, 1, 4], "whole": [1.0, 1, 1],
                         "mse": [1.0, 2, 3], "pearson": 0.5})  # fmt: skip
    (row,) = peak_heights.summarise(rows).to_dict(orient="records")
    assert (row["starts"], row["|starts|"], row["|whole|"]) == pytest.approx((1, 2 ** (4 / 3), 1))
    assert (row["mse"], row["tracks"]) == (2, 3)


def test_tracks_of_a_store_are_found(demo, store, tmp_path, capsys):
    opened, genes = open_store(store), str(demo.path / "genes.gtf.gz")
    assert peak_heights.main([str(store), str(tmp_path), genes]) == 2
    assert "no imputed tracks" in capsys.readouterr().err
    (cell, assay), folder = opened.tracks[["cell", "assay"]].iloc[0], tmp_path / "x"
    (folder / "chr20").mkdir(parents=True)
    what = {"settings": json.dumps({"imputer": "avocado", "seed": 3}), "store": opened.checksum}
    (folder / "what.json").write_text(json.dumps(what))
    np.save(folder / f"chr20/{cell},{assay}.npy", opened.read_track(cell, assay, "chr20"))
    assert peak_heights.main([str(store), str(tmp_path), genes]) == 0
    plain = next(line for line in capsys.readouterr().out.splitlines() if " plain " in line)
    assert plain.split()[:3] == ["avocado", "seed", "3"]
    assert plain.split()[-1] == "1"  # the observed track itself
