"""`avocado doctor`: what of this program will work on this machine, and what to do about what will not."""

from __future__ import annotations

import contextlib
import importlib.util
import netrc
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import avocado
from avocado.cli import app
from avocado.utils.free_memory import available_memory
from avocado.utils.hardware import Hardware

if TYPE_CHECKING:
    from omegaconf import DictConfig

OK, NOTE, FAILS = "ok", "note", "fails"
LIBRARIES = {  # what cannot be done without: distributions, and the names they are imported by
    "torch": "torch", "pytorch-lightning": "pytorch_lightning", "hydra-core": "hydra", "numpy": "numpy",
    "pandas": "pandas", "pyBigWig": "pyBigWig", "safetensors": "safetensors", "optuna": "optuna",
}  # fmt: skip
EXTRAS = {  # a module of each extra, and what it is for
    "launch": ("hydra_plugins.hydra_submitit_launcher", "launcher=joblib, slurm"),
    "latent": ("xgboost", "downstream tasks, .parquet, .zarr and .h5ad files, UMAP"),
    "browser": ("trackhub", "avocado hub and view: genome browsers"),
}
CLASHING = ("avocado-epigenome", "avocado-framework")  # also claim `import avocado`
PROBE = 64 << 20  # bytes that are written to find out how fast a disk is
SLOW = 50  # MB/s below which a disk holds training up
LITTLE_MEMORY, LITTLE_DISK = 2 << 30, 5 << 30  # bytes
GIB = 1 << 30
SECONDS = 10.0  # that another program has to answer


class Finding(NamedTuple):
    """What was found of one thing: ok, note or fails; and what to do, where something is to be done."""

    state: str
    about: str
    text: str
    remedy: str = ""


def doctor(config: DictConfig) -> None:
    """Look at everything, print a line for each as it is found, and the verdict; status 1 where nothing will work."""
    print(
        f"avocado {avocado.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    folder, found = Path(config.path), []
    checks: tuple[Callable[[], Finding], ...] = (
        _libraries, _processor, _gpu, _memory, lambda: _folder(folder), _temporary, _extras, _wandb, _slurm, _terminal,
    )  # fmt: skip
    for check in checks:
        with contextlib.suppress(ImportError):  # of a library that `_libraries` has named
            found.append(check())
            print("\n".join(lines_of(found[-1])), flush=True)
    failed = [its.about for its in found if its.state == FAILS]
    if failed:
        print(f"\nnothing will work before this is mended: {', '.join(failed)}")
        raise SystemExit(1)
    print("\nall that is needed is there" + ("; notes say what will be slower, or left out" if _notes(found) else ""))
    app.say_next([("python train.py debug=smoke", "every step on a tiny model, in a minute or two")])


def lines_of(finding: Finding) -> list[str]:
    """Aligned text, as wide as the terminal is."""
    width = max(40, min(shutil.get_terminal_size().columns, 120))
    first = f"  {finding.state:<6}{finding.about:<11}"
    text = finding.text + (f": {finding.remedy}" if finding.remedy else "")
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)


def _notes(found: Sequence[Finding]) -> bool:
    return any(its.state == NOTE for its in found)


def _libraries() -> Finding:
    versions = []
    for name, module in LIBRARIES.items():
        try:
            importlib.import_module(module)
            versions.append(f"{name} {metadata.version(name)}")
        except Exception as error:  # whatever a broken library raises
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            return Finding(FAILS, "libraries", f"{name}: {reason}", "pip install avocado-imputation in a fresh venv")
    for name in CLASHING:
        with contextlib.suppress(metadata.PackageNotFoundError):
            metadata.version(name)
            return Finding(FAILS, "libraries", f"{name} also claims `import avocado`", "give each a venv of its own")
    import pyBigWig

    if not pyBigWig.numpy:
        return Finding(FAILS, "libraries", "pyBigWig was built without NumPy", "pip install --force-reinstall pyBigWig")
    return Finding(OK, "libraries", ", ".join(versions))


def _processor() -> Finding:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    fast = Hardware("cpu").compute_type() == torch.bfloat16
    text = f"{cores} cores for this process, {threads} threads; products in {'bf16' if fast else 'float32'}"
    if threads > cores:
        return Finding(NOTE, "processor", text, f"more threads than cores are slower, trainer.threads={cores}")
    return Finding(OK, "processor", text)


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        free, whole = torch.cuda.mem_get_info()
        try:
            float(torch.ones(8, device="cuda").sum())
        except RuntimeError as error:  # a card that this PyTorch was not built for
            why = str(error).splitlines()[0]
            return Finding(NOTE, "GPU", f"{names[0]} cannot be used, {why}", "trainer=cpu, or another build of PyTorch")
        kind = "bf16" if Hardware("cuda").compute_type() == torch.bfloat16 else "float32, TF32 where it has it"
        many = f"{len(names)} × " if len(names) > 1 else ""
        several = "; trainer=ddp shares pilot and joint runs among them" if len(names) > 1 else ""
        text = f"{many}{names[0]}, {free / GIB:.0f} of {whole / GIB:.0f} GiB free, CUDA {torch.version.cuda}, {kind}"
        return Finding(OK, "GPU", text + several)
    if shutil.which("nvidia-smi"):
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU build of PyTorch"
        return Finding(NOTE, "GPU", f"there may be one, and PyTorch sees none ({built})",
                       "install the build that fits the driver, see pytorch.org, or ask Slurm for a GPU")  # fmt: skip
    return Finding(OK, "GPU", "none; not needed: the default model takes minutes for the pilot regions on two cores")


def _memory() -> Finding:
    import torch

    free = available_memory(torch.device("cpu"))
    if free is None:
        return Finding(OK, "memory", "cannot be asked on this system")
    text = f"{free / GIB:.1f} GiB free for this process"
    if free < LITTLE_MEMORY:
        return Finding(NOTE, "memory", text, "close other programs; fit.memory_limit=0 streams signal from disk")
    return Finding(OK, "memory", text + "; every run says beforehand what it takes")


def _folder(folder: Path) -> Finding:
    """Permission, room, speed, and what stores and runs ask of a file system: locks, and files that memory maps."""
    about = "folder"
    try:
        with _probe(folder) as place:
            speeds = _speeds(place / "probe")
    except OSError as error:
        return Finding(FAILS, about, f"{folder}: {error.strerror or error}", "path= another one, where you may write")
    except NotImplementedError:
        return Finding(FAILS, about, f"{folder}: its file system has no locks", "keep stores and runs on another one")
    free = shutil.disk_usage(folder).free
    text = f"{folder.resolve()}: {free / GIB:.0f} GiB free, writes {speeds[0]:,.0f} MB/s, reads {speeds[1]:,.0f} MB/s"
    if free < LITTLE_DISK:
        return Finding(NOTE, about, text, "a store takes 2 bytes for each track and bin: a genome of 100 tracks 23 GB")
    if min(speeds) < SLOW:
        return Finding(NOTE, about, text, "slow: keep stores on a disk of this machine")
    return Finding(OK, about, text)


@contextlib.contextmanager
def _probe(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder")
    with tempfile.TemporaryDirectory(prefix=".avocado-doctor-", dir=folder) as place:
        yield Path(place)


def _speeds(file: Path) -> tuple[float, float]:
    """MB per second written, to the disk, and read through memory mapping. Raises what the file system refuses with."""
    import numpy as np
    from filelock import FileLock

    with FileLock(f"{file}.lock", timeout=SECONDS):
        block = np.random.default_rng(0).integers(0, 255, PROBE, dtype=np.uint8)
        begun = time.monotonic()
        with file.open("wb") as out:
            out.write(block.tobytes())
            out.flush()
            os.fsync(out.fileno())
            written = time.monotonic() - begun
            if hasattr(os, "posix_fadvise"):  # so that it is not read from memory
                os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        begun = time.monotonic()
        np.memmap(file, dtype=np.uint8, mode="r").sum(dtype=np.int64)
        return PROBE / 1e6 / max(written, 1e-6), PROBE / 1e6 / max(time.monotonic() - begun, 1e-6)


def _temporary() -> Finding:
    try:
        with tempfile.NamedTemporaryFile() as file:
            return Finding(OK, "temporary", f"{Path(file.name).parent} can be written")
    except OSError as error:
        return Finding(FAILS, "temporary", str(error.strerror or error), "set TMPDIR to a folder where you may write")


def _extras() -> Finding:
    missing = [f"[{name}] for {use}" for name, (module, use) in EXTRAS.items() if not _is_there(module)]
    if missing:
        return Finding(NOTE, "extras", f"not installed: {', '.join(missing)}", 'pip install "avocado-imputation[…]"')
    return Finding(OK, "extras", f"{', '.join(EXTRAS)} are installed")


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # of the package that it is in
        return False


def _wandb() -> Finding:
    """Whether there is a login; what it is, is nobody's business."""
    version, mode = metadata.version("wandb"), os.environ.get("WANDB_MODE")
    if mode in ("offline", "disabled"):
        return Finding(NOTE, "W&B", f"wandb {version}, WANDB_MODE={mode}", "unset WANDB_MODE to log runs as they go")
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0].split(":")[0]
    source = "the environment" if os.environ.get("WANDB_API_KEY") else "netrc" if _in_netrc(host) else ""
    if not source:
        return Finding(NOTE, "W&B", f"wandb {version}, not logged in", "only for logger=wandb: wandb login")
    return Finding(OK, "W&B", f"wandb {version}, a key for {host} is in {source}; logger=wandb uses it")


def _in_netrc(host: str) -> bool:
    file = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        return netrc.netrc(file).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _slurm() -> Finding:
    if shutil.which("sbatch") is None:
        return Finding(OK, "Slurm", "not here; launcher=joblib shares runs among the cores and GPUs of this machine")
    try:
        asked = subprocess.run(
            ["sinfo", "--noheader", "--format=%R"], capture_output=True, text=True, timeout=SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = (str(getattr(error, "stderr", "") or error).strip().splitlines() or ["no answer"])[-1]
        return Finding(NOTE, "Slurm", f"sinfo: {said}", "ask who runs the cluster; everything else works")
    partitions = ", ".join(dict.fromkeys(asked.stdout.split())) or "none"
    if not _is_there(EXTRAS["launch"][0]):
        return Finding(NOTE, "Slurm", f"partitions {partitions}", 'pip install "avocado-imputation[launch]" to use it')
    inside = f"; this is job {os.environ['SLURM_JOB_ID']}" if os.environ.get("SLURM_JOB_ID") else ""
    return Finding(OK, "Slurm", f"partitions {partitions}: launcher=slurm launcher.partition=…{inside}")


def _terminal() -> Finding:
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "").replace("_", "")
    colour = (
        "no colours (NO_COLOR)" if os.environ.get("NO_COLOR") else "colours" if sys.stdout.isatty() else "no terminal"
    )
    if not encoding.startswith("utf"):
        return Finding(NOTE, "terminal", f"{sys.stdout.encoding}, {colour}; minus signs and blocks are question marks",
                       "export LC_ALL=C.UTF-8")  # fmt: skip
    return Finding(OK, "terminal", f"{sys.stdout.encoding}, {colour}")
