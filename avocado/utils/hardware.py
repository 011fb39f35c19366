"""What to compute on, and in which numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from avocado.errors import InputError
from avocado.utils.settings import require, setting

if TYPE_CHECKING:
    import torch

IMPLEMENTATIONS = ("blocks", "reference")
PRECISIONS = ("auto", "bf16", "tf32", "float32")


@dataclass(frozen=True)
class Hardware:
    """What to compute on. It changes how fast results come and, to rounding, nothing else.

    device: auto (the GPU where there is one), cpu, cuda, cuda:1. precision: of activations and matrix products;
    parameters, moments and sums of errors are always float32. bf16 rounds the products' factors to 8 bits, tf32 (on
    CUDA) to 11, float32 not at all; auto is bf16 where the hardware multiplies it natively (CPUs with AVX512-BF16 or
    AMX, CUDA cards from 8.0), else float32, on CUDA with TF32 products. processes: that share a pilot or joint run.
    implementation: of the model in training, 'blocks' or, for comparison, the paper's: 'reference', in float32.
    """

    device: str = setting("auto", "auto, cpu, cuda, cuda:1")
    precision: str = setting(
        "auto", "of matrix products: bf16, float32, tf32 (CUDA); auto: bf16 where the hardware has it"
    )
    processes: int = setting(1, "that share stage pilot or joint, one per GPU; see trainer=ddp")
    implementation: str = setting("blocks", "of the model in training; reference: the paper's, slow, to compare with")

    def __post_init__(self) -> None:
        import torch

        if self.precision not in PRECISIONS:
            raise InputError(f"unknown precision '{self.precision}'; there is: {', '.join(PRECISIONS)}")
        if self.implementation not in IMPLEMENTATIONS:
            raise InputError(f"unknown implementation '{self.implementation}'; there is: {', '.join(IMPLEMENTATIONS)}")
        kind = device_of(self.device).type
        if self.precision == "tf32" and kind != "cuda":
            raise InputError("precision=tf32 is for CUDA devices: use auto, bf16 or float32")
        require("trainer", self, least={"processes": 1})
        if kind == "cuda" and self.processes > torch.cuda.device_count():
            raise InputError(f"processes={self.processes}: this machine has {torch.cuda.device_count()} GPUs")

    def compute_type(self) -> torch.dtype:
        """The type of activations and matrix products."""
        import torch

        if self.precision == "bf16" or (self.precision == "auto" and _multiplies_bf16(device_of(self.device))):
            return torch.bfloat16
        return torch.float32

    def use(self) -> torch.device:
        """The device to compute on; a GPU multiplies as `precision` says from now on, in this process."""
        import torch

        device = device_of(self.device)
        if device.type == "cuda":
            torch.set_float32_matmul_precision("highest" if self.precision == "float32" else "high")
            # bf16 products that are computed in parts are added up in float32
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        return device


def device_of(name: str) -> torch.device:
    """The device called `name`; 'auto' is the accelerator where there is one, else the CPU."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from None
    return device


def _multiplies_bf16(device: torch.device) -> bool:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # PyTorch asks the processor; it has no public name for these two questions
    return device.type == "cpu" and any(
        getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
