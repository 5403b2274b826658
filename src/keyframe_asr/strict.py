"""What every part of a recipe is: data that is refused where it does not fit its declaration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Unknown keys, wrong types and infinite numbers are refused; values never change."""

    # strict: `true` is no number and "12" no integer, though pydantic would convert them
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
