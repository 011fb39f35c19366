"""How long does the paper's whole job take on this machine? Projected from measured epochs of both stages.

    python -m experiments.benchmarks.projection

The job: the model of the paper on 1,014 tracks, 800 epochs over the pilot regions, then 200 epochs over every autosome.
On a GPU the genome stage is also carried out in full on a region of the size of chr20.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.cli import app

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from experiments.benchmarks.synthetic_run import Setting

GOAL_HOURS = 1.0  # on one GPU of the class of an H200


@dataclass(frozen=True)
class Stage:
    """One part of the job, and the rate it was measured at."""

    name: str
    bins: int
    epochs: int
    rate: float  # samples/s; one sample per bin and epoch

    @property
    def hours(self) -> float:
        """Projected wall time."""
        return self.bins * self.epochs / self.rate / 3600


def benchmark(config: DictConfig) -> None:
    """Measure both stages, print the assumptions and the projection, and write it as CSV."""
    from avocado.data.genome import load_assembly
    from avocado.data.regions import parse_regions
    from avocado.errors import InputError
    from avocado.training.config import FitConfig
    from avocado.utils.hardware import Hardware
    from experiments.benchmarks.synthetic_run import Setting, epoch_bins, model_of
    from experiments.benchmarks.timing import report

    chr20 = str(config.chr20).lower()
    if chr20 not in ("auto", "true", "false"):
        raise InputError(f"chr20={config.chr20}: there is auto, true, false")
    folder, hg19, stages = Path(config.folder), load_assembly("hg19"), []
    fit = FitConfig(epochs=1, batch_size=config.batch_size, tracks_per_bin=1, masked=0.0)
    for name, regions in (("pilot", ["pilot"]), ("genome", ["autosomes"])):
        setting = Setting(model_of(config.model), name, fit, Hardware(config.device, config.precision))
        n_bins = epoch_bins(setting, config.bins)
        times = measured(setting, n_bins, config.tracks, config.timed, folder)
        bins = sum(region.n_bins for region in parse_regions(hg19, regions))
        stages.append(Stage(name, bins, config.epochs[name], n_bins / statistics.median(times)))
    # what follows is about the genome stage, measured last, where stages do not differ
    print(*assumptions(stages, setting, config.tracks, n_bins), sep="\n")
    report("the paper's job, projected", projected(stages), folder / "projection.csv")
    print(f"goal on one H200-class GPU: {GOAL_HOURS:g} h; this machine: {sum(stage.hours for stage in stages):.3g} h")
    if chr20 == "true" or (chr20 == "auto" and setting.device.type == "cuda"):
        table = in_full(setting, config.chr20_bins or hg19.n_bins("chr20"), config.tracks, config.chr20_epochs, folder)
        report(f"genome stage at the size of chr20, in full, on {date.today()}", table, folder / "chr20.csv")


def measured(setting: Setting, n_bins: int, n_tracks: int, epochs: int, folder: Path) -> list[float]:
    """Seconds of each of some epochs over a synthetic region, after one that warms up."""
    from experiments.benchmarks.synthetic_run import scratch, synthetic_store, timed_epochs

    with scratch(folder) as inside:
        return timed_epochs(setting, synthetic_store(inside, n_bins, n_tracks), epochs)


def projected(stages: list[Stage]) -> pd.DataFrame:
    """One row for each stage, and one for the whole job: bins, epochs, samples/s, hours."""
    import pandas as pd

    rows = [[stage.name, f"{stage.bins:,}", stage.epochs, f"{stage.rate:,.0f}", stage.hours] for stage in stages]
    rows.append(["whole job", "", "", "", sum(stage.hours for stage in stages)])
    return pd.DataFrame(rows, columns=pd.Index(["stage", "bins", "epochs", "samples/s", "hours"]))


def assumptions(stages: list[Stage], setting: Setting, n_tracks: int, n_bins: int) -> list[str]:
    """What the projection rests on, line by line."""
    model = setting.model
    return [
        f"model: {model.inputs} factors into {model.layers} × {model.nodes} nodes; lazy Adam for genome factors",
        f"tracks: {n_tracks:,}, of which each bin of a batch draws one",
        f"batch: {setting.fit.batch_size:,} bins; products in {str(setting.dtype).removeprefix('torch.')}",
        f"device: {setting.device.type}; the signal of one region at a time in its memory",
        *(f"{s.name} stage: {s.bins:,} bins × {s.epochs} epochs at {s.rate:,.0f} samples/s" for s in stages),
        f"measured: whole epochs over {n_bins:,} bins of synthetic signal, their median; one after another",
        "left out: ingest, loading the signal of each chromosome, checkpoints, imputation, scores",
    ]


def in_full(setting: Setting, n_bins: int, n_tracks: int, epochs: int, folder: Path) -> pd.DataFrame:
    """Every epoch of one chromosome's genome stage, carried out and not projected; loading its signal apart."""
    import pandas as pd

    from experiments.benchmarks.synthetic_run import TimedModule, prepare, scratch, synthetic_store, train
    from experiments.benchmarks.timing import seconds

    setting = replace(setting, fit=replace(setting.fit, epochs=epochs))
    with scratch(folder) as inside:
        store = synthetic_store(inside, n_bins, n_tracks)
        start = time.perf_counter()
        module, data = prepare(TimedModule, setting, store)
        loading = time.perf_counter() - start
        training = seconds(lambda: train(module, data, setting))
    row = {"bins": f"{n_bins:,}", "tracks": n_tracks, "epochs": epochs, "loading s": loading, "training s": training}
    row |= {"s per epoch": statistics.median(module.seconds), "samples/s": f"{n_bins * epochs / training:,.0f}"}
    return pd.DataFrame([row | {"date": str(date.today())}])


if __name__ == "__main__":
    sys.exit(app.run("benchmark_projection", benchmark, sys.argv[1:]))
