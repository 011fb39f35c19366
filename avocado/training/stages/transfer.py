"""Stage `transfer`: new cell types and assays are added to a trained model, and only their own rows learn."""

from avocado.training.stage import Stage

STAGE = Stage(
    "transfer", trains_network=False, shares_model=False, adds=True, meaning="factors of new cell types and assays"
)
