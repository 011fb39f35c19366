"""Stage `pilot`: everything learns, on the ENCODE pilot regions, one per cent of the genome."""

from avocado.training.stage import Stage

STAGE = Stage("pilot", region="pilot", epochs=2, meaning="all parameters on the pilot regions")
