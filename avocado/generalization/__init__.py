"""Does a model know the cell type, or only the place? (Schreiber et al. 2020, "A pitfall".)"""
