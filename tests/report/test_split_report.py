import numpy as np
import pandas as pd

import avocado
from avocado.report.split_report import write_split_report


def test_the_page_has_the_verdict_and_every_table(tmp_path):
    rng = np.random.default_rng(0)
    place = np.repeat(rng.random(400), 4)
    table = pd.DataFrame(
        {
            "chrom": np.repeat([f"chr{1 + i % 9}" for i in range(400)], 4),
            "start": np.repeat(np.arange(400) * 1000, 4),
            "end": np.repeat(np.arange(400) * 1000 + 200, 4),
            "cell": np.tile(["A", "B", "C", "<D>"], 400),
            "label": (rng.random(1600) < place).astype(int),
            "split": np.tile(["train", "train", "test", "test"], 400),
            "prediction": place,
        }
    )
    check = avocado.check_split(table)
    write_split_report(tmp_path / "split.html", check)
    page = (tmp_path / "split.html").read_text(encoding="utf-8")
    assert check.verdict in page
    for title in ("Scores", "By variability of the locus", "Similarity of cell types", "Scores by variability"):
        assert f"<h2>{title}</h2>" in page
    assert "within loci" in page
    assert "&lt;D&gt;" in page
    assert "<D>" not in page
