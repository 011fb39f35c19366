import numpy as np
from toy_examples import examples

import avocado
from avocado.report.split_report import write_split_report


def test_the_page_has_the_verdict_and_every_table(tmp_path):
    table, place = examples(400, ["A", "B", "C", "<D>"])
    table = table.assign(split=np.tile(["train", "train", "test", "test"], 400), prediction=place)
    check = avocado.check_split(table)
    write_split_report(tmp_path / "split.html", check)
    page = (tmp_path / "split.html").read_text(encoding="utf-8")
    assert check.verdict in page
    for title in ("Scores", "By variability of the locus", "Similarity of cell types", "Scores by variability"):
        assert f"<h2>{title}</h2>" in page
    assert "within loci" in page
    assert "&lt;D&gt;" in page
    assert "<D>" not in page
