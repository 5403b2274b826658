"""Data type of matrix products in training."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def half_precision(device: torch.device, half: torch.dtype | None) -> AbstractContextManager[None]:
    """Context in which matrix products are computed in `half`; None changes nothing."""
    return nullcontext() if half is None else torch.autocast(device.type, half)


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """Data type of matrix products on `device`; None for float32.

    By default ("auto"), bfloat16 on a GPU that computes with it.

    A CPU without fast bfloat16 emulates it, a hundred times slower than float32 on one CPU measured
    (docs/lab_log.md); float32 is used instead.
    """
    if precision == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else None
    if precision == "bfloat16" and device.type == "cpu" and not cpu_computes_bfloat16():
        return None
    return _HALF.get(precision)


def cpu_computes_bfloat16() -> bool:
    """True if oneDNN, which torch uses, supports bfloat16 matrix products on this CPU."""
    available = torch.backends.mkldnn.is_available()
    return bool(available and torch.ops.mkldnn._is_mkldnn_bf16_supported())
