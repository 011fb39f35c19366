"""Multi-scale deep tensor factorization of the epigenome: imputation, latent factors, honest evaluation."""

import ctypes
import os
import platform

__version__ = "0.2.0"

# Must be set before torch is imported. How long OpenMP's waiting threads spin before they sleep: for ever (the default)
# makes small steps many times slower on a machine that others use too; not at all (OMP_WAIT_POLICY=PASSIVE) makes them
# 1.6 times slower on a quiet one, as every operation then wakes its threads. This is some 10 microseconds.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Where freed memory goes. By default glibc gives every array above some 100 kB back to the system, so that the next one
# of its size costs a page fault per 4 kB, which in a training step is as much time as all its products. Arrays of up to
# 32 MiB, activations among them, are taken from memory that is kept, of which at most 256 MiB stay unused.
if platform.libc_ver()[0] == "glibc" and not os.environ.keys() & {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}:
    _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
    _libc = ctypes.CDLL(None)
    _libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    _libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)
