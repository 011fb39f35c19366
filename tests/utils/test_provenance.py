import numpy as np
import pytest

from avocado.errors import InputError
from avocado.utils.provenance import Made, fingerprint, is_there, recorded


def write(path, text, made):
    with recorded(path, made) as temporary:
        temporary.write_text(text)


def test_what_made_a_file_is_known(tmp_path):
    path, made = tmp_path / "a.bw", Made({"cell": "A", "sizes": (1, 2), "of": {"x": 1}}, tmp_path / "model")
    assert not is_there(path, made, "remedy")
    write(path, "signal", made)
    assert is_there(path, made, "remedy")
    other = Made({"cell": "B", "sizes": (1, 2), "of": {"x": 2}}, tmp_path / "model")
    with pytest.raises(
        InputError, match=r"a\.bw is there and was made otherwise \(cell was A, is B; of\.x was 1, is 2"
    ):
        is_there(path, other, "remedy")
    assert not is_there(path, other, "remedy", renew=True)
    with pytest.raises(InputError, match=r"made otherwise .*: remedy$"):
        is_there(path, Made(other.by, tmp_path / "elsewhere"), "remedy", renew=True)


def test_a_file_moves_with_its_record(tmp_path):
    path, made = tmp_path / "runs" / "imputed" / "a.bw", Made({"cell": "A"}, tmp_path / "runs" / "model")
    write(path, "signal", made)
    (tmp_path / "runs").rename(tmp_path / "moved")
    path, later = tmp_path / "moved" / "imputed" / "a.bw", Made({"cell": "B"}, tmp_path / "moved" / "model")
    assert is_there(path, Made({"cell": "A"}, tmp_path), "remedy")
    assert not is_there(path, later, "remedy", renew=True)


@pytest.mark.parametrize("how", ["no record", "damaged record", "other content", "longer"])
def test_a_file_that_something_else_made_is_foreign(tmp_path, how):
    path, made = tmp_path / "a.bw", Made({"cell": "A"}, tmp_path)
    write(path, "signal", made)
    if how == "no record":
        (tmp_path / ".a.bw.json").unlink()
    elif how == "damaged record":
        (tmp_path / ".a.bw.json").write_text("{")
    else:
        path.write_text("SIGNAL" if how == "other content" else "signal, and more")
    for renew in (False, True):
        with pytest.raises(InputError, match="is there, and nothing says that it was made by this command: remedy"):
            is_there(path, made, "remedy", renew)


def test_a_failure_leaves_file_and_record(tmp_path):
    path, made = tmp_path / "a.bw", Made({"cell": "A"}, tmp_path)
    write(path, "signal", made)
    with pytest.raises(RuntimeError), recorded(path, Made({"cell": "B"}, tmp_path)) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert is_there(path, made, "remedy")


def test_fingerprints_of_large_files(tmp_path):
    content = np.random.default_rng(0).bytes(100_000)
    (tmp_path / "a").write_bytes(content)
    first = fingerprint(tmp_path / "a")
    for changed in (b"x" + content[1:], content[:-1] + b"x", content + b"x", content[:-1]):
        (tmp_path / "a").write_bytes(changed)
        assert fingerprint(tmp_path / "a") != first
