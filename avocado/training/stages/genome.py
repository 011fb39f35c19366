"""Stage `genome`: the genome factors of one chromosome, with everything else as the pilot model has it."""

from avocado.training.stage import Stage

STAGE = Stage("genome", trains_network=False, needs="pilot", meaning="genome factors of one chromosome")
