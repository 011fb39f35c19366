import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from toy import ASSEMBLY

from avocado.data.bigwig import read_bins
from avocado.data.genome import Segment
from avocado.errors import InputError
from avocado.inference.track_files import track_files

PIECES = [
    ("chr1", [Segment("chr1", 0, 700)]),
    ("chr1", [Segment("chr1", 700, 1_000), Segment("chr1", 1_500, 1_600)]),
    ("chr20", [Segment("chr20", 0, 1_892)]),
]


def signal_of(segments, n_tracks):
    """Values that name their bin and track: float32 (n_bins, n_tracks)."""
    bins = np.concatenate([np.arange(s.start, s.end) for s in segments])
    return (bins[:, None] + np.arange(n_tracks) / 16).astype(np.float32)


@pytest.mark.parametrize("workers", [1, 2, 3, 9])
def test_every_file_has_its_track(tmp_path, workers):
    paths = [tmp_path / name for name in ("a.bigWig", "b.npz", "c.bw", "d.bigWig", "e.npz")]
    with track_files(paths, ASSEMBLY, workers) as add:
        for region, segments in PIECES:
            add(region, segments, signal_of(segments, len(paths)))
        assert not any(path.exists() for path in paths)
    assert sorted(tmp_path.iterdir()) == paths
    assert multiprocessing.active_children() == []
    everything = [segment for _, segments in PIECES for segment in segments]
    for track, path in enumerate(paths):
        expected = signal_of(everything, len(paths))[:, track]
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                assert list(arrays) == ["chr1", "chr20"]
                found = np.concatenate([arrays["chr1"], arrays["chr20"]])
        else:
            found = read_bins(path, everything)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n_more", [0, 1, 20])
@pytest.mark.parametrize("workers", [1, 2])
def test_what_goes_wrong_while_writing_is_said(tmp_path, workers, n_more):
    paths = [tmp_path / f"{number}.bigWig" for number in range(4)]
    values = signal_of([Segment("chr1", 0, 10)], 4)
    values[3, 2] = np.nan
    message = r"cannot write .*2\.bigWig: the signal at chr1:75 is NaN or infinite"
    with pytest.raises(InputError, match=message), track_files(paths, ASSEMBLY, workers) as add:  # noqa: PT012
        add("chr1", [Segment("chr1", 0, 10)], values)
        for number in range(1, n_more + 1):
            segment = Segment("chr1", 10 * number, 10 * number + 10)
            add("chr1", [segment], signal_of([segment], 4))
            time.sleep(0.01)
    assert multiprocessing.active_children() == []
    assert not (tmp_path / "2.bigWig").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_place_that_holds_no_files(tmp_path, workers):
    (tmp_path / "file").write_text("mine")
    paths = [tmp_path / "file" / f"{number}.bigWig" for number in range(2)]
    message = r"cannot write .*file/0\.bigWig: File exists; nothing was left behind"
    with pytest.raises(InputError, match=message), track_files(paths, ASSEMBLY, workers):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_killed_process_is_noticed(tmp_path):
    paths = [tmp_path / f"{number}.bigWig" for number in range(4)]
    message = r"a process that wrote tracks ended before they were whole"
    with pytest.raises(InputError, match=message), track_files(paths, ASSEMBLY, 2) as add:  # noqa: PT012
        add(*PIECES[0], signal_of(PIECES[0][1], 4))
        multiprocessing.active_children()[0].kill()
        for region, segments in PIECES[1:]:
            add(region, segments, signal_of(segments, 4))
    assert multiprocessing.active_children() == []
    assert not list(tmp_path.glob(".*"))


SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
from avocado.data.genome import Assembly, Segment
from avocado.inference.track_files import track_files

if __name__ == "__main__":
    paths = [Path(sys.argv[1]) / f"{number}.bigWig" for number in range(4)]
    with track_files(paths, Assembly("toy", {"chr1": 250_000_000}), 2) as add:
        for first in range(0, 10_000_000, 10_000):
            add("chr1", [Segment("chr1", first, first + 10_000)], np.ones((10_000, 4), dtype=np.float32))
            print(first, flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_an_interrupted_program(tmp_path, blow):
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(out)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        assert len(list(out.glob(".*.tmp"))) == 4
        # Ctrl-C reaches every process of a terminal
        (os.killpg if blow == signal.SIGINT else os.kill)(process.pid, blow)
        _, error = process.communicate(timeout=30)  # until the last process has closed the streams
    assert list(out.iterdir()) == []
    assert error.count("Traceback") == (blow == signal.SIGINT)
