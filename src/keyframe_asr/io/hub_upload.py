"""Publishing a model folder on the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from keyframe_asr.config.model import load_model_folder_config
from keyframe_asr.errors import ModelError
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.io.hub import PREFIX, hub_errors, is_hub_name, is_model_file, require_hub
from keyframe_asr.io.model_card import lacking_metadata, used_as
from keyframe_asr.io.model_copy import copy_model_folder
from keyframe_asr.io.model_location import CARD_FILE, CONFIG_FILE
from keyframe_asr.io.text_file import read_text


@dataclass(frozen=True)
class Upload:
    """What would be published."""

    folder: Path
    """Temporary folder that holds it."""
    sizes: dict[str, int]
    """Bytes of each file."""
    base: str | None
    """Base model of the source; None: it has none."""
    standalone: bool
    """True if the weights of the base are sent, too."""
    lacking: list[str]
    """Metadata that the model card lacks."""


@contextmanager
def prepared_upload(source: Path, repository: str) -> Iterator[Upload]:
    """Write what would be published of a model folder to a temporary folder.

    A base model is left out only if it is on the Hub itself. The examples of the model card use the
    name on the Hub.

    Raises:
        ModelError: the name is not `OWNER/NAME`, or the model or its base is incomplete.
        RecipeError: `config.yaml` is not valid.
    """
    if not is_hub_name(repository) or "@" in repository or repository.startswith(PREFIX):
        raise ModelError(f"{repository}: not a name for the Hub; give OWNER/NAME")
    config = load_model_folder_config(source / CONFIG_FILE)
    standalone = config.base is not None and not config.base.model.startswith(PREFIX)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        copy_model_folder(source, folder, config, standalone=standalone)
        path = folder / CARD_FILE
        card = read_text(path, "write a model card", ModelError) if path.is_file() else ""
        write_whole(path, used_as(card, repository) + "\n")
        files = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        sent = {name: path for name, path in files.items() if is_model_file(name)}
        yield Upload(
            folder,
            {name: path.stat().st_size for name, path in sent.items()},
            None if config.base is None else config.base.model,
            standalone,
            lacking_metadata(card),
        )


def publish(upload: Upload, repository: str, *, private: bool, revision: str | None) -> str:
    """Send an upload to a repository, which is created if needed; return the page of the commit.

    Raises:
        ModelError: nobody is logged in, access is denied, or the Hub cannot be reached.
    """
    hub = require_hub(repository)
    if hub.get_token() is None:
        raise ModelError(
            f"{repository}: nobody is logged in to the Hugging Face Hub; run hf auth login, or set "
            "HF_TOKEN"
        )
    with hub_errors(repository):
        api = hub.HfApi(library_name="keyframe-asr")
        api.create_repo(repository, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        sent = api.upload_folder(
            repo_id=repository,
            folder_path=upload.folder,
            revision=revision,
            allow_patterns=list(upload.sizes),
            commit_message="Upload a keyframe-asr model",
        )
    return str(getattr(sent, "commit_url", None) or sent)
