"""The latent representation at work: genome, cell-type and assay factors as tables for other programs."""
