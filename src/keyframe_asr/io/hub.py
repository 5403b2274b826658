"""Models on the Hugging Face Hub: fetched into its cache, and published, with `huggingface_hub`.

Only the files of a model folder are fetched or sent: YAML, safetensors, tokenizer, n-grams and
card. Nothing is ever unpickled or run. `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`
mean what they mean everywhere.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType

from keyframe_asr.config.model import load_model_folder_config
from keyframe_asr.errors import ModelError, RecipeError
from keyframe_asr.packages import packages_for

PREFIX = "hf://"

MODEL_FILES = (
    "config.yaml",
    "model.safetensors",
    "decoder_tokenizer.json",
    "tokenizer.txt",
    "tokenizer.model",
    "tokenizer.mixed.model",
    "README.md",
    "*.ngram",
    "*.arpa",
    "*.onnx",
    "graphs/weights.json",
)
"""Files of a model folder or an export, `*` also in folders of it; nothing else is fetched or sent.
"""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_name(model: str) -> bool:
    """True for `owner/name`, `hf://owner/name`, and either with `@revision`."""
    return model.startswith(PREFIX) or _REPOSITORY.fullmatch(model.partition("@")[0]) is not None


def is_model_file(name: str) -> bool:
    """True for the name of a file that is part of a model folder."""
    return any(fnmatchcase(name, pattern) for pattern in MODEL_FILES)


def pinned(model: str, folder: Path) -> str:
    """Name a fetched model with the revision that is in `folder`, its folder in the cache."""
    return f"{PREFIX}{_repository(model)[0]}@{folder.name}"


@functools.cache  # a command asks several times, and the Hub need not be asked again
def fetch(model: str) -> Path:
    """Return the folder of a model of the Hub in the local cache; download what is missing.

    Args:
        model: `owner/name` with optional `hf://` and `@revision`: a branch, tag or commit.

    Raises:
        ModelError: there is no such model, or it cannot be fetched.
        PackageError: `huggingface_hub` is not installed.
    """
    repository, revision = _repository(model)
    hub = require_hub(model)
    with hub_errors(model):
        cached = not _reaches(hub, repository, revision)
        config = Path(
            hub.hf_hub_download(
                repository, "config.yaml", revision=revision, local_files_only=cached
            )
        )
        try:
            load_model_folder_config(config)  # before its weights are fetched
        except RecipeError as error:
            raise ModelError(
                f"{model}: not a model for this version of keyframe-asr: {error}"
            ) from None
        folder = hub.snapshot_download(
            repository,
            revision=config.parent.name,  # the commit: all files are of one version
            local_files_only=cached,
            allow_patterns=list(MODEL_FILES),
        )
    return Path(folder)


def _reaches(hub: ModuleType, repository: str, revision: str | None) -> bool:
    """Ask the Hub for a model; False if the Hub cannot be reached.

    A download would find out, but only after trying for half a minute.
    """
    from huggingface_hub import errors

    try:
        hub.HfApi().model_info(repository, revision=revision, timeout=10)
    except errors.OfflineModeIsEnabled:
        return False
    except errors.HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise
        return False
    except errors.HTTPError:  # no connection
        return False
    return True


def require_hub(model: str) -> ModuleType:
    """Import `huggingface_hub`. Raises `PackageError` if it is missing."""
    with packages_for(f"{model}: no such folder; the Hugging Face Hub"):
        return importlib.import_module("huggingface_hub")


@contextmanager
def hub_errors(model: str) -> Iterator[None]:
    """Raise errors of `huggingface_hub` as a `ModelError` of one line."""
    from huggingface_hub import constants, errors

    where = f"the Hugging Face Hub ({constants.ENDPOINT})"
    log_in = "log in with hf auth login, or set HF_TOKEN"
    try:
        yield
    except errors.GatedRepoError:
        raise ModelError(
            f"{model}: {where} gives it on request; ask there, then {log_in}"
        ) from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"{model}: no such folder or shipped model, and no such model on {where}; check the "
            f"name; if it is private, {log_in}"
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"{model}: {where} has no such revision; check what follows @") from None
    except errors.LocalEntryNotFoundError:
        reason = (
            "HF_HUB_OFFLINE is set; unset it"
            if constants.HF_HUB_OFFLINE
            else f"{where} cannot be reached; check the network"
        )
        raise ModelError(
            f"{model}: no such folder, not in the local Hugging Face cache, and {reason}"
        ) from None
    except errors.EntryNotFoundError:
        raise ModelError(
            f"{model}: not a keyframe-asr model: it contains no config.yaml; give another model"
        ) from None
    except (errors.HTTPError, OSError, ValueError) as error:  # no access, a full disk, a bad name
        status = getattr(getattr(error, "response", None), "status_code", None)
        advice = log_in if status in (401, 403) else "try again later"
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{model}: {where} or its cache failed: {reason}; {advice}") from None


def _repository(model: str) -> tuple[str, str | None]:
    """Divide the name of a model of the Hub into repository and revision."""
    repository, _, revision = model.removeprefix(PREFIX).partition("@")
    if _REPOSITORY.fullmatch(repository) is None:
        raise ModelError(
            f"{model}: not a name on the Hub; give hf://OWNER/NAME or hf://OWNER/NAME@REVISION"
        )
    return repository, revision or None
