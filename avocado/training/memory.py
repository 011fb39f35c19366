"""How much memory a training run will need, reported before it starts.

What is kept from the first step to the last is counted tensor by tensor: genome factors, moments, signal. Beside it
comes what a step takes, and afterwards what scoring takes; the larger of the two counts. Signal that streams from disk
lies in the page cache, which the system takes back when it needs memory, and is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from avocado.data.datamodule import READ_AHEAD, VAL_BINS, signal_limit, streams
from avocado.data.genome import BLOCK_BINS
from avocado.errors import InputError
from avocado.model.encoding import AROUND, PIECE, WINDOWS
from avocado.model.network import Network
from avocado.model.states import StatesNetwork
from avocado.training.config import FitConfig, OptimizerConfig
from avocado.training.stages import stage_named
from avocado.utils.free_memory import available_memory
from avocado.utils.hardware import Hardware, device_of

GIB = 1 << 30
FLOAT = 4  # bytes: of parameters, moments, gradients
INDEX = 8  # bytes of a cell type or assay index
LIBRARIES = 380 << 20  # measured: interpreter, PyTorch with its products' scratch, Lightning, pandas
GPU_LIBRARIES = 600 << 20  # estimated: scratch of matrix products, and what PyTorch's allocator holds unused
# a batch's (cell, assay, signal, prior) is 24 bytes per sample; while it is drawn, with indices and addresses, 40.
# A fifth more is what the allocator cannot use again at once
SAMPLE = 48
ALL_TRACKS_SAMPLE = 20  # where all bins of a block have the same tracks, and indices are per block
WORKER = 110 << 20  # measured: what a forked worker process does not share
ROW_COPIES = 8  # of a part's genome factors in a step: gathered, gradient, moments, and on the way
PIECES = 6  # of `encoding.PIECE`: what is held while a region is encoded
SCORED_BIN = 200  # measured, per bin: a track, its imputation and their ranks in 64 bit, three tracks of a picture

FEWER_FACTORS = "lower model.factors_25bp in all stages, or take a shorter region or a machine with more"
ADVICE = {
    "factors": FEWER_FACTORS,
    "moments": FEWER_FACTORS,
    "gradients": f"set optimizer.genome_optimizer=lazy, {FEWER_FACTORS}",
    "best": f"set fit.patience=0, {FEWER_FACTORS}",
    "signal": "stream it from disk with fit.memory_limit=0",
    "around": "stream it from disk with fit.memory_limit=0",
    "network": "lower model.nodes",
    "libraries": "close other programs, or take a machine with more",
    "batch": "lower fit.batch_size or fit.tracks_per_bin",
    "activations": "lower model.nodes or fit.tracks_per_bin",
    "scores": "take a shorter region, or a machine with more",
}


@dataclass(frozen=True)
class Memory:
    """Bytes that a run needs on the device that it computes on; what lies on several processes, added up."""

    factors: int  # of the genome
    moments: int  # of Adam for the genome factors
    gradients: int  # of all genome factors, which only the dense optimizer keeps
    best: int  # factors of the best validation, where patience keeps them
    signal: int  # training tracks in memory, and the validation tracks' bins
    around: int  # what surrounds these tracks, where factors are inferred, and which bins are real
    network: int  # weights, and where they are trained their gradients, moments and copies in the computed type
    libraries: int  # the interpreter and what it loads; on a GPU scratch
    batch: int  # one batch while it is drawn; those read ahead where signal streams
    activations: int  # of the blocks that are computed at once
    scores: int  # the held-out tracks' measures when training has ended

    @property
    def terms(self) -> dict[str, int]:
        """What adds up to the total: what is kept, and the largest of what comes one after another."""
        kept = ("factors", "moments", "gradients", "best", "signal", "around", "network", "libraries")
        passing = max(("batch", "activations"), ("scores",), key=lambda names: sum(getattr(self, its) for its in names))
        return {name: getattr(self, name) for name in (*kept, *passing)}

    @property
    def total(self) -> int:
        """The most that is needed at any time."""
        return sum(self.terms.values())


def predict_memory(
    network: Network | StatesNetwork,
    stage: str,
    fit: FitConfig,
    optimizer: OptimizerConfig,
    hardware: Hardware,
    *,
    n_blocks: int,
    n_tracks: int,
    n_validation: int = 0,
    val_bins: int = VAL_BINS,
    signal_bytes: int = 2,
    scored: bool = True,
) -> Memory:
    """What training `network` on a region of `n_blocks` blocks will need, to about a fifth.

    n_tracks, n_validation: training and validation tracks. val_bins: bins of each validation track that are looked
    at, as `SignalDataModule` has them. signal_bytes: per value in the store. scored: whether tracks are held out,
    which are scored at the end. The network may be on the meta device, as only its sizes are looked at.
    """
    device = device_of(hardware.device)
    on_cpu, compute = device.type == "cpu", hardware.compute_type()
    # the processes of a run share the blocks. On a CPU they have one memory, and one more process, which has started
    # them and waits, keeps the whole table of factors; on GPUs each has its own
    here = hardware.processes if on_cpu else 1
    n_blocks = n_blocks if on_cpu else -(-n_blocks // hardware.processes)
    bins = n_blocks * BLOCK_BINS
    factors = n_blocks * network.config.block_width * FLOAT
    inferred = isinstance(network, StatesNetwork)
    moments = 0 if inferred else 2 * factors + n_blocks * FLOAT  # and the visits of each block
    best = factors if fit.patience and not inferred else 0
    signal = bins * n_tracks * signal_bytes
    validation = min(bins, val_bins) * n_validation * signal_bytes
    kept = signal_bytes + (AROUND if inferred else 0)
    streamed = streams(bins, n_tracks, kept, signal_limit(fit.memory_limit, device), here)
    trained = stage_named(stage).trains_network
    if inferred and not trained:  # it is gone through piece by piece
        streamed, fit = True, replace(fit, workers=0)
    around = round(bins * n_tracks * AROUND) if inferred and not streamed else 0
    mask = bins * (FLOAT + 1) if on_cpu or not streamed else 0  # as a float and a bool

    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    # moments, gradients of the parts of a batch and of all of it, scaled and cast weights and a part's gradient
    copies = (5 * FLOAT + 2 * compute.itemsize) if trained else compute.itemsize
    tracks = min(fit.tracks_per_bin, n_tracks)
    blocks = min(max(1, fit.batch_size // BLOCK_BINS), n_blocks)
    if isinstance(network, StatesNetwork):
        batch, activations = _masked_step(network, blocks, tracks)
        batch += fit.workers * READ_AHEAD * batch if streamed else 0
        activations = max(activations, PIECES * PIECE) if on_cpu else activations
    else:
        part = min(network.blocks_at_once(tracks, device), blocks)
        batch = _batch(blocks * BLOCK_BINS * tracks, tracks == n_tracks, fit.workers if streamed else 0, on_cpu)
        activations = _activations(network, part, tracks, trained, compute, hardware.implementation)
    return Memory(
        factors=factors * (1 if here == 1 else 2),
        moments=moments,
        gradients=factors if optimizer.genome_optimizer == "dense" and not inferred else 0,
        best=best,
        signal=(0 if streamed else signal) + (validation if on_cpu else 0),
        around=around + mask,
        network=here * n_parameters * (FLOAT + copies),
        libraries=(1 if here == 1 else here + 1) * LIBRARIES if on_cpu else GPU_LIBRARIES,
        batch=here * batch,
        activations=here * activations,
        scores=bins * SCORED_BIN if on_cpu and scored else 0,
    )


def _masked_step(network: StatesNetwork, blocks: int, asked: int) -> tuple[int, int]:
    """Bytes of a batch of masked training, and of the activations of a step on it, forward and backward."""
    config, bins = network.config, blocks * BLOCK_BINS
    pairs, n_tracks = network.n_cells * network.n_assays, len(network.cell)
    sizes = config.factors_25bp + config.factors_250bp + config.factors_5kbp
    # of each cell type: its tracks and their means, the encoder's nodes; a tenth as often what is around them
    encoder = 4 * pairs + network.n_cells * (3 * config.encoder_nodes + sizes) + pairs * (len(WINDOWS) + 1) * 0.3
    decoder = asked * (4 * config.layers * config.nodes + 2 * sizes)
    signal = bins * n_tracks * 3 * FLOAT
    return signal, round(bins * FLOAT * 2 * (encoder + decoder + config.genome_factors))


def _batch(samples: int, all_tracks: bool, workers: int, on_cpu: bool) -> int:
    """Bytes of batches of `samples`, that being drawn and those that worker processes have drawn ahead."""
    drawing = samples * (ALL_TRACKS_SAMPLE if all_tracks else SAMPLE)
    drawn = samples * (2 * FLOAT if all_tracks else 2 * (INDEX + FLOAT))
    if not workers:
        return drawing
    if not on_cpu:
        return 2 * drawn
    return drawn + workers * (READ_AHEAD * drawn + drawing + WORKER)


def _activations(
    network: Network, blocks: int, tracks: int, trained: bool, compute: torch.dtype, implementation: str
) -> int:
    """Bytes of a training step on some blocks, forward and backward."""
    config, n_cells, n_assays = network.config, len(network.cell_factors), len(network.assay_factors)
    bins = blocks * BLOCK_BINS
    samples, rows = bins * tracks, ROW_COPIES * blocks * config.block_width * FLOAT
    if implementation == "reference":  # every layer's product and its ReLU, the concatenated factors and their parts
        return rows + FLOAT * samples * (2 * config.nodes * (config.layers + 1) + 4 * config.inputs)
    # of each hidden layer forward, and gradients of one: those of the layer before take the place of what was its own
    arrays = config.layers + min(config.layers, 1)
    per_sample = arrays * config.nodes * compute.itemsize + 4 * INDEX
    if trained:
        per_sample += (n_cells + n_assays + 1) * compute.itemsize  # indicator rows
    # the genome part, and as a gradient; and the first layer of all pairs
    once = 2 * bins * config.nodes + n_cells * n_assays * config.nodes
    return rows + samples * per_sample + once * compute.itemsize


def describe_memory(memory: Memory) -> str:
    """One line: the total and what it is made of, in GiB, the largest first; what rounds to nothing is left out."""
    terms = sorted(memory.terms.items(), key=lambda term: -term[1])
    shown = [f"{name} {size / GIB:.2f}" for name, size in terms if size >= 0.005 * GIB]
    return f"memory: {memory.total / GIB:.2f} GiB ({', '.join(shown)})"


def require_memory(memory: Memory, device: torch.device, root: Path = Path("/")) -> None:
    """Raise InputError, with advice, where `device` does not have that much; nothing where that cannot be known.

    root: where the system's files are looked for.
    """
    available = available_memory(device, root)
    if available is None or memory.total <= available:
        return
    short, terms = memory.total - available, memory.terms
    largest = max(terms, key=lambda name: terms[name])
    # what can be done without, where that is enough, is given up before factors are
    streamable = {"signal": terms["signal"] + terms["around"]}
    spared = [name for name in ("signal", "gradients", "best") if (terms | streamable)[name] >= short]
    raise InputError(
        f"training needs about {memory.total / GIB:.2f} GiB and {_name(device)} has {available / GIB:.2f} GiB free; "
        f"most of it is {largest} ({terms[largest] / GIB:.2f} GiB): {ADVICE[spared[0] if spared else largest]}"
    )


def _name(device: torch.device) -> str:
    return "this machine" if device.type == "cpu" else f"device {device}"
