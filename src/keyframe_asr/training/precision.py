"""The number format that a training computes in, where it is not float32."""

from __future__ import annotations

import torch

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """What matrix products are computed in on `device`; None for float32.

    A CPU for which torch has no fast bfloat16 imitates it, a hundred times slower than float32 on
    one that was measured (docs/lab_log.md); float32 then takes its place.
    """
    if precision == "bfloat16" and device.type == "cpu" and not cpu_computes_bfloat16():
        return None
    return _HALF.get(precision)


def cpu_computes_bfloat16() -> bool:
    """Whether oneDNN, which torch leaves them to, takes matrix products of bfloat16 on this CPU."""
    available = torch.backends.mkldnn.is_available()
    return bool(available and torch.ops.mkldnn._is_mkldnn_bf16_supported())
