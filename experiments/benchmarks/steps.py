"""What does one training step spend its time on? The most expensive operations, and a trace to look at.

    python -m experiments.benchmarks.steps model=small

Profiled is one step as it comes in an epoch, from the end of a batch to the end of the next: drawing and gathering the
batch, forward, backward, optimizers. The traces open in chrome://tracing or ui.perfetto.dev.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch.profiler import ProfilerActivity, profile

from avocado.cli import app
from avocado.config.values import as_list
from avocado.training.config import FitConfig
from avocado.training.module import FactorizationModule
from avocado.utils.files import replacing
from avocado.utils.hardware import Hardware
from experiments.benchmarks.synthetic_run import Setting, model_of, prepare, scratch, synthetic_store, train, wait_for
from experiments.benchmarks.timing import report

if TYPE_CHECKING:
    from omegaconf import DictConfig

WARM_UP = 3  # steps
SHOWN = 20  # operations


class ProfiledModule(FactorizationModule):
    """Profiles the step that follows the first `WARM_UP` ones of an epoch."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Start the profiler at the end of the last step that warms up, stop it at the end of the next."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        wait_for(self.device)
        if batch_idx == WARM_UP - 1:
            on_gpu = self.device.type == "cuda"
            self.profile = profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu)
            self.profile.start()
            self._start = time.perf_counter()
        elif batch_idx == WARM_UP:
            self.seconds = time.perf_counter() - self._start
            self.profile.stop()


def benchmark(config: DictConfig) -> None:
    """Profile a step of every stage; print its table, write it as CSV, and write the trace."""
    folder = Path(config.folder)
    for stage in as_list(config.stages):
        fit = FitConfig(epochs=1, batch_size=config.batch_size, tracks_per_bin=1, masked=0.0)
        setting = Setting(model_of(config.model), stage, fit, Hardware(config.device, config.precision))
        with scratch(folder) as inside:
            store = synthetic_store(inside, (WARM_UP + 1) * config.batch_size, config.tracks)
            module, data = prepare(ProfiledModule, setting, store)
            train(module, data, setting)
        title = f"one step of {config.model}, stage {stage}, {config.batch_size:,} bins: {module.seconds * 1e3:.1f} ms"
        report(f"{title} with the profiler at work", operations(module.profile), folder / f"{stage}.csv")
        trace = folder / f"{stage}.trace.json"
        with replacing(trace) as temporary:
            module.profile.export_chrome_trace(str(temporary))
        print(f"trace written to {trace}")


def operations(profiled: profile) -> pd.DataFrame:
    """The `SHOWN` operations that take most time themselves (on the GPU where there is one), and their share of all."""
    # operations; what they start on a GPU is listed apart, and counted in them already
    events = [event for event in profiled.key_averages() if event.device_type.name == "CPU"]
    on_gpu = any(event.self_device_time_total for event in events)
    took = [event.self_device_time_total if on_gpu else event.self_cpu_time_total for event in events]
    table = pd.DataFrame(
        {
            "operation": [event.key for event in events],
            "calls": [event.count for event in events],
            "ms": [microseconds / 1e3 for microseconds in took],
            "share %": [100 * microseconds / sum(took) for microseconds in took],
        }
    )
    return table.sort_values("ms", ascending=False, ignore_index=True).head(SHOWN)


if __name__ == "__main__":
    sys.exit(app.run("benchmark_steps", benchmark, sys.argv[1:]))
