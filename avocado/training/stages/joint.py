"""Stage `joint`: everything learns on one region, of which alone imputations are wanted."""

from avocado.training.stage import Stage

STAGE = Stage("joint", shares_model=False, meaning="all parameters on one region")
