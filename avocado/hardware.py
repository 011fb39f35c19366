"""What to compute on, and in which numbers."""

from __future__ import annotations

import torch

from avocado.errors import InputError

PRECISIONS = ("auto", "bf16", "tf32", "float32")


def device_of(name: str) -> torch.device:
    """The device called `name`; 'auto' is the accelerator where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from None
    return device


def compute_type(precision: str, device: torch.device) -> torch.dtype:
    """The type of activations and matrix products; parameters, moments and sums of errors are always float32.

    auto: bfloat16 where the hardware multiplies it natively (CPUs with AVX512-BF16 or AMX, CUDA cards from 8.0), else
    float32, on CUDA with TF32 products. tf32 and float32 say how a CUDA card multiplies float32 from now on.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision '{precision}'; there is: {', '.join(PRECISIONS)}")
    if precision == "bf16" or (precision == "auto" and _multiplies_bf16(device)):
        return torch.bfloat16
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    elif precision == "tf32":
        raise InputError("precision=tf32 is for CUDA devices: use auto, bf16 or float32")
    return torch.float32


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # PyTorch asks the processor; it has no public name for these two questions
    return device.type == "cpu" and any(
        getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
