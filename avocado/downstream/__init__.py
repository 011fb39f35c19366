"""Downstream tasks: what the latent factors are worth to other models (Avocado paper, Fig. 5)."""
