"""Multi-scale deep tensor factorization of the epigenome: imputation, latent factors, honest evaluation."""

import os

__version__ = "0.2.0"

# Must be set before torch is imported. How long OpenMP's waiting threads spin before they sleep: for ever (the default)
# makes small steps many times slower on a machine that others use too; not at all (OMP_WAIT_POLICY=PASSIVE) makes them
# 1.6 times slower on a quiet one, as every operation then wakes its threads. This is some 10 microseconds.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
