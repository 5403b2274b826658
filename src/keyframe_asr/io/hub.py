"""Models on the Hugging Face Hub, fetched with `huggingface_hub` into its cache.

Only the files of a model folder are fetched: YAML, safetensors, tokenizer, language model and card.
Nothing is ever unpickled or run.
"""

from __future__ import annotations

import re
from pathlib import Path

from keyframe_asr.errors import ModelError

PREFIX = "hf://"

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


def is_hub_name(model: str) -> bool:
    """True for `owner/name`, `hf://owner/name`, and either with `@revision`."""
    return model.startswith(PREFIX) or _NAME.fullmatch(model) is not None


def fetch(model: str) -> Path:
    """Return the folder of a model of the Hub in the local cache; download what is missing.

    Raises:
        ModelError: there is no such model, it cannot be fetched, or `huggingface_hub` is missing.
    """
    raise ModelError(f"{model}: no such model")


def pinned(model: str, folder: Path) -> str:
    """Name a fetched model with the revision that is in `folder`, its folder in the cache."""
    return f"{PREFIX}{model.removeprefix(PREFIX).partition('@')[0]}@{folder.name}"
