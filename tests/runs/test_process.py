"""What importing the package sets for the whole process."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import avocado
import torch
count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use(megabytes):
    before = count()
    for _ in range(20):
        torch.ones(megabytes << 18)
    return count() - before
use(8)
print(use(8))
"""


def page_faults(**environment: str) -> int:
    """Of filling 20 arrays of 8 MB, one after the other, in a new process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env=kept | environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc")
def test_freed_arrays_are_used_again_unless_the_user_says_otherwise():
    pages = 20 * (8 << 20) // os.sysconf("SC_PAGE_SIZE")
    ours = page_faults()
    assert ours < pages / 20
    # each of them from the system, and back to it; large pages, where the system has them, are fewer
    assert page_faults(MALLOC_MMAP_THRESHOLD_="131072") > 2 * ours + 20
