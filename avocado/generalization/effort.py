"""How large networks may be: what this machine trains in a second, measured once, and what fits into the time given."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from avocado.generalization.models import NetworkSettings, Sample, network
from avocado.generalization.verdict import Scheme
from avocado.utils.files import replacing

PROBES = NetworkSettings(1, 2), NetworkSettings(2, 1024)  # whose steps cost next to nothing, and their arithmetic
STEPS = 10  # of each that are timed
FEATURES = 32
# until a network is stopped: memorising takes most of the 60 that it may have, elsewhere there is little to learn
EPOCHS = {Scheme.CROSS_CELL_TYPE: 50}
OTHER_EPOCHS = 10
SEEDED = 15.0  # seconds of a network above which one seed is enough


@dataclass(frozen=True)
class Rate:
    """Speed of training: a step takes `step` seconds, and a second more for every `work` parameters × rows in it."""

    step: float
    work: float

    def seconds(self, settings: NetworkSettings, n_features: int, rows: int, epochs: int) -> float:
        """What so many epochs of a network take."""
        return epochs * (-(-rows // settings.batch) * self.step + settings.parameters(n_features) * rows / self.work)

    def __str__(self) -> str:
        return f"{self.work:.1e} parameters × rows a second, {1000 * self.step:.1f} ms for a step"


def measured_rate(cache: Path, threads: int, device: str) -> Rate:
    """What this machine trains, kept in `cache`, so that a study that goes on has the sizes that it began with."""
    path = cache / f"rate_{device}_{threads}.json"
    if path.is_file():
        return Rate(**json.loads(path.read_text(encoding="utf-8")))
    small, large = (_seconds_of_step(its, device) for its in PROBES)
    work = PROBES[1].parameters(FEATURES) * PROBES[1].batch
    rate = Rate(small, work / max(large - small, 1e-6))
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(asdict(rate)), encoding="utf-8")
    return rate


def _seconds_of_step(settings: NetworkSettings, device: str) -> float:
    rng, n = np.random.default_rng(0), STEPS * settings.batch
    rows = Sample(rng.normal(size=(n, FEATURES)).astype(np.float32), np.zeros(n, dtype=np.float32), 1)
    few = Sample(rows.x[:1], rows.y[:1], 1)
    took = []
    for _ in range(3):  # of which the first warms up, and the fastest was disturbed least
        started = time.perf_counter()
        network(rows, few, few, replace(settings, epochs=1), device=device)
        took.append(time.perf_counter() - started)
    return min(took) / STEPS


def affordable(
    sizes: Sequence[NetworkSettings], seeds: Sequence[int], seconds: float, cost: Callable[[NetworkSettings], float]
) -> tuple[list[tuple[NetworkSettings, int]], float]:
    """Which networks fit into the time, cheap ones first, each with a seed; and how long they take, in seconds.

    cost: seconds of a network under all schemes. Sizes that take longer than `SEEDED` have the first seed alone.
    """
    wanted = [(cost(its), number, its, seed) for its in sizes for number, seed in enumerate(seeds)]
    wanted = [row for row in wanted if not row[1] or row[0] <= SEEDED]
    found, total = [], 0.0
    for price, _, settings, seed in sorted(wanted, key=lambda row: row[:2]):
        if total + price > seconds:
            break
        total += price
        found.append((settings, seed))
    return found, total
