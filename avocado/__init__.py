"""Multi-scale deep tensor factorization of the epigenome: imputation, latent factors, honest evaluation."""

import os

__version__ = "0.1.0"

# Must be set before torch is imported. OpenMP's waiting threads otherwise spin, and on a machine that others use too
# (a shared server, a laptop) two small steps then cost 100 times as much: 0.3 instead of 40 M drawn samples/s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
