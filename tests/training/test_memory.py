import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from toy import ASSAYS, CELLS, FAST, PAIRS, TINY, plain_fit, plain_model, plain_optimizer

from avocado.data.datamodule import signal_limit
from avocado.data.genome import BLOCK_BINS, Assembly, chromosome_region
from avocado.data.store import write_metadata, write_region
from avocado.errors import InputError
from avocado.model.config import ModelConfig
from avocado.model.network import Network
from avocado.training.config import FitConfig, OptimizerConfig
from avocado.training.memory import GIB, Memory, describe_memory, predict_memory, require_memory
from avocado.utils.free_memory import available_memory
from avocado.utils.hardware import Hardware

CPU = torch.device("cpu")
HARDWARE = Hardware("cpu", "float32")
FIT = plain_fit(epochs=1, batch_size=4000, tracks_per_bin=4)
PAPER = plain_model()
DENSE = plain_optimizer(genome_optimizer="dense")


def network(config: ModelConfig, n_cells: int = 127, n_assays: int = 24) -> Network:
    with torch.device("meta"):
        return Network(config, n_cells, n_assays)


def predict(
    config: ModelConfig = PAPER,
    stage: str = "genome",
    fit: FitConfig = FIT,
    optimizer: OptimizerConfig = FAST,
    hardware: Hardware = HARDWARE,
    n_blocks: int = 1000,
    n_tracks: int = 100,
    **options,
) -> Memory:
    return predict_memory(
        network(config), stage, fit, optimizer, hardware, n_blocks=n_blocks, n_tracks=n_tracks, **options
    )


def made_of(**terms: int) -> Memory:
    return Memory(**({field.name: 0 for field in fields(Memory)} | terms))


def test_what_is_kept_is_counted_tensor_by_tensor():
    memory = predict(n_validation=3)
    width = 200 * 25 + 20 * 40 + 45  # the paper's genome factors of a block
    assert memory.factors == 1000 * width * 4
    assert memory.moments == 2 * memory.factors + 1000 * 4
    assert memory.signal == 1000 * 200 * (100 + 3) * 2
    assert memory.around == 1000 * 200 * (4 + 1)  # of free factors it is which bins are real, as a float and a bool
    assert memory.gradients == memory.best == 0
    weights = 127 * 32 + 24 * 256 + (32 + 256 + 110 + 1) * 2048 + 2049 * 2048 + 2049
    assert memory.network == 2 * weights * 4  # as they are, and as they are computed with


def test_total_is_what_is_kept_and_the_largest_of_what_passes():
    kept = dict(factors=10, moments=20, gradients=1, best=2, signal=30, around=3, network=4, libraries=5)
    assert made_of(**kept, batch=6, activations=7, scores=11).total == 75 + 13
    memory = made_of(**kept, batch=6, activations=7, scores=15)
    assert memory.total == sum(memory.terms.values()) == 75 + 15
    assert memory.terms.keys() == {*kept, "scores"}


def test_dense_optimizer_keeps_gradients_and_patience_the_best_factors():
    assert predict(optimizer=DENSE).gradients == predict().factors
    patient = predict(fit=replace(FIT, patience=2))
    assert patient.best == patient.factors


def test_processes_share_the_blocks_and_the_one_that_starts_them_waits():
    one, two = (predict(stage="pilot", hardware=Hardware("cpu", "float32", processes=n)) for n in (1, 2))
    assert two.libraries == 3 * one.libraries
    assert two.factors == 2 * one.factors
    assert (two.moments, two.signal) == (one.moments, one.signal)
    assert (two.network, two.batch, two.activations) == (2 * one.network, 2 * one.batch, 2 * one.activations)


def test_signal_above_the_limit_is_streamed_and_read_ahead():
    size = 1000 * 200 * 100 * 2
    held = predict(fit=replace(FIT, memory_limit=size))
    streamed = predict(fit=replace(FIT, memory_limit=size - 1))
    assert (held.signal, streamed.signal) == (size, 0)
    assert streamed.batch > held.batch
    more = predict(fit=replace(FIT, memory_limit=size - 1, workers=2))
    assert more.batch > streamed.batch


def test_activations_are_bounded_whatever_the_batch():
    memories = [predict(fit=replace(FIT, batch_size=size)) for size in (4000, 400_000)]
    assert memories[0].activations == memories[1].activations
    samples = 5 * 200 * 4  # what a CPU computes at once
    assert 4 * samples * 2048 * 4 < memories[0].activations < 6 * samples * 2048 * 4  # two layers, there and back
    assert memories[1].batch == 50 * memories[0].batch  # all blocks that there are
    # a batch that is smaller than that needs less
    assert predict(fit=replace(FIT, batch_size=200)).activations < memories[0].activations


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({}, {"stage": "pilot"}),
        ({}, {"n_blocks": 2000}),
        ({}, {"n_tracks": 200}),
        ({}, {"signal_bytes": 4}),
        ({}, {"optimizer": DENSE}),
        ({"config": TINY}, {}),
        ({"hardware": Hardware("cpu", "bf16")}, {}),
        ({"stage": "pilot"}, {"stage": "pilot", "hardware": Hardware("cpu", "float32", processes=2)}),
        ({}, {"hardware": Hardware("cpu", implementation="reference"), "fit": replace(FIT, batch_size=4000)}),
    ],
)
def test_what_is_larger_needs_more(less, more):
    def at_work(memory: Memory) -> int:
        return memory.total + memory.batch + memory.activations

    assert at_work(predict(**less)) < at_work(predict(**more))


def test_line_shows_the_largest_first_and_leaves_out_what_is_nothing():
    memory = made_of(moments=2 * GIB, factors=GIB, signal=GIB // 4, network=1000, batch=GIB // 8)
    assert describe_memory(memory) == "memory: 3.38 GiB (moments 2.00, factors 1.00, signal 0.25, batch 0.12)"


def machine(root: Path, free: int = 100 * GIB, own: int = GIB) -> Path:
    """Files of a machine with that many bytes free, and of a process that has `own`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemFree: 1 kB\nMemAvailable:   {free // 1024} kB\n")
    (root / "proc/self/status").write_text(f"Name:\tpython\nRssAnon:\t  {own // 1024} kB\n")
    return root


def group(folder: Path, limit: str, used: int, files: int, version: int = 2) -> None:
    """A control group's files; of `used` bytes half of `files` each are active and inactive page cache."""
    folder.mkdir(parents=True)
    names, prefix = (("max", "current"), "") if version == 2 else (("limit_in_bytes", "usage_in_bytes"), "total_")
    for name, value in zip(names, (limit, used), strict=True):
        (folder / f"memory.{name}").write_text(f"{value}\n")
    half = files // 2
    (folder / "memory.stat").write_text(f"anon 5\n{prefix}active_file {half}\n{prefix}inactive_file {half}\n")


def test_free_memory_of_a_machine_counts_what_the_process_has_already(tmp_path):
    assert available_memory(CPU, machine(tmp_path)) == 101 * GIB


@pytest.mark.parametrize("version", [1, 2])
def test_limit_of_any_group_above_the_process_counts(tmp_path, version):
    machine(tmp_path)
    line = "0::/job/step" if version == 2 else "4:cpu,memory:/job/step"
    (tmp_path / "proc/self/cgroup").write_text(f"9:name=systemd:/x\n{line}\n")
    top = tmp_path / "sys/fs/cgroup" / ("" if version == 2 else "memory")
    group(top / "job/step", "max" if version == 2 else str((1 << 63) - 4096), 3 * GIB, 0, version)
    assert available_memory(CPU, tmp_path) == 101 * GIB
    (top / "job/step/memory.stat").unlink()
    for name in list((top / "job").glob("*/*")):
        name.unlink()
    (top / "job/step").rmdir()
    (top / "job").rmdir()
    group(top / "job", str(8 * GIB), 5 * GIB, 2 * GIB, version)
    # page cache is given back: 8 − (5 − 2) are left, and 1 the process has
    assert available_memory(CPU, tmp_path) == 6 * GIB


def test_limit_of_a_container_that_sees_its_own_group_as_the_top(tmp_path):
    machine(tmp_path)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    group(tmp_path / "sys/fs/cgroup", str(4 * GIB), GIB, 0)
    assert available_memory(CPU, tmp_path) == 4 * GIB


def test_where_nothing_can_be_known_nothing_is_refused(tmp_path):
    assert available_memory(CPU, tmp_path) is None
    require_memory(made_of(factors=1 << 60), CPU, tmp_path)
    assert available_memory(torch.device("meta"), tmp_path) is None


def test_on_a_gpu_what_is_cached_is_free_and_what_is_used_is_not(monkeypatch):
    for name, size in {"mem_get_info": (40, 80), "memory_reserved": 30, "memory_allocated": 20}.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, size=size: size)
    assert available_memory(torch.device("cuda")) == 50


def test_signal_may_take_half_of_a_gpu(monkeypatch):
    card = SimpleNamespace(total_memory=80 * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert signal_limit(None, torch.device("cuda")) == 40 * GIB
    assert signal_limit(None, CPU) == 8 * GIB
    assert signal_limit(0, torch.device("cuda")) == signal_limit(0, CPU) == 0


def test_what_fits_is_not_refused(tmp_path):
    require_memory(made_of(factors=101 * GIB), CPU, machine(tmp_path))


@pytest.mark.parametrize(
    ("term", "advice"),
    [
        ("factors", "model.factors_25bp"),
        ("moments", "model.factors_25bp"),
        ("gradients", "optimizer.genome_optimizer=lazy"),
        ("best", "fit.patience=0"),
        ("signal", "fit.memory_limit=0"),
        ("around", "fit.memory_limit=0"),
        ("network", "model.nodes"),
        ("libraries", "other programs"),
        ("batch", "fit.batch_size"),
        ("activations", "fit.tracks_per_bin"),
        ("scores", "shorter region"),
    ],
)
def test_error_names_the_largest_term_and_what_helps(tmp_path, term, advice):
    memory = replace(made_of(factors=GIB, signal=GIB), **{term: 150 * GIB})
    with pytest.raises(InputError) as error:
        require_memory(memory, CPU, machine(tmp_path))
    message = str(error.value)
    assert f"needs about {memory.total / GIB:.2f} GiB and this machine has 101.00 GiB" in message
    assert f"most of it is {term} (150.00 GiB)" in message
    assert advice in message
    assert "\n" not in message


def test_signal_is_streamed_first_where_that_is_enough(tmp_path):
    memory = made_of(moments=80 * GIB, signal=30 * GIB)
    with pytest.raises(InputError, match=r"moments \(80.00 GiB\): stream it from disk"):
        require_memory(memory, CPU, machine(tmp_path))
    with pytest.raises(InputError, match="genome_optimizer=lazy"):
        require_memory(made_of(moments=80 * GIB, gradients=40 * GIB), CPU, tmp_path)


MEASURED = """
import sys, threading, time
from pathlib import Path
from toy import plain_fit, plain_model, plain_optimizer
from avocado.data.store import open_store
from avocado.runs.run import RunSpec, SplitConfig, train
from avocado.utils.hardware import Hardware

def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon:")) << 10

def watch():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.001)

peak = [0]
threading.Thread(target=watch, daemon=True).start()
fit = plain_fit(epochs=1, batch_size=20_000, tracks_per_bin=4, checkpoint_every=0)
model = plain_model(layers=1, nodes=8)
run = RunSpec("joint", "chr1", 0, model, plain_optimizer(), fit, SplitConfig(fold=None))
train(run, open_store(sys.argv[1]), Path(sys.argv[2]), hardware=Hardware("cpu", "float32"), progress=False)
print(peak[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="measures as Linux does")
def test_prediction_agrees_with_a_run(tmp_path):
    assembly = Assembly("toy", {"chr1": 400_000 * 25})
    region = chromosome_region(assembly, "chr1")
    signal = np.random.default_rng(0).random((region.n_blocks, BLOCK_BINS, len(PAIRS)), dtype=np.float32)
    write_region(tmp_path / "store", region, len(PAIRS), "float16", [signal.astype(np.float16)])
    tracks = pd.DataFrame(PAIRS, columns=pd.Index(["cell", "assay"]))
    write_metadata(tmp_path / "store", assembly, [region], tracks, "float16")
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "store"), str(tmp_path / "runs")]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=here)
    measured = int(ended.stdout.splitlines()[-1])
    fit = plain_fit(epochs=1, batch_size=20_000, tracks_per_bin=4, checkpoint_every=0)
    predicted = predict_memory(
        network(plain_model(layers=1, nodes=8), len(CELLS), len(ASSAYS)),
        "joint",
        fit,
        plain_optimizer(),
        HARDWARE,
        n_blocks=region.n_blocks,
        n_tracks=len(PAIRS),
        scored=False,
    ).total
    assert 0.8 < predicted / measured < 1.5, f"{predicted / GIB:.2f} GiB predicted, {measured / GIB:.2f} GiB measured"
