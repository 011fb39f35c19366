import shlex
from types import SimpleNamespace

import pytest

from avocado.cli import ingest as ingest_command
from avocado.cli.score import _peak_file
from avocado.errors import InputError
from avocado.inference.impute import require_files
from avocado.inference.track_files import track_file


def test_one_rule_for_names_in_patterns(tmp_path):
    pattern = str(tmp_path / "{cell}-{assay}.narrowPeak")
    written = track_file(pattern, "CD4+ T/naive", "H2A/Z")
    assert written.name == "CD4+ T_naive-H2A_Z.narrowPeak"
    written.touch()
    assert _peak_file(pattern, "CD4+ T/naive", "H2A/Z") == written


def test_names_that_meet_in_a_file_are_explained():
    files = [track_file("{cell}-{assay}.bw", cell, "DNase") for cell in ("a/b", "a_b")]
    with pytest.raises(InputError, match=r"several tracks would be written to a_b-DNase\.bw: .*differ only in / and _"):
        require_files(files, "pval")


def test_printed_commands_can_be_copied(monkeypatch, capsys):
    store = SimpleNamespace(
        path="my runs [v2]", regions={"pilot": 0, "chr20": 0}, assembly=SimpleNamespace(sizes={"chr20": 1})
    )
    monkeypatch.setattr(ingest_command, "make_store", lambda *_: store)
    monkeypatch.setattr("avocado.cli.ingest.describe_store", lambda store: "")
    ingest_command.ingest(SimpleNamespace(out="", workers=1, progress=False))
    printed = capsys.readouterr().out.strip()
    assert shlex.split(printed, comments=True) == ["next:", "python", "train.py", "store=my runs [v2]", "chrom=chr20"]
