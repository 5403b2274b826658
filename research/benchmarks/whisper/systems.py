"""The systems that are compared: what runs them, and what their texts depend on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import keyframe_asr
from keyframe_asr import RecognitionOptions
from keyframe_asr.config.model import load_model_folder_config
from keyframe_asr.inference.options import ComputeOptions
from keyframe_asr.inference.settings import recognition_settings
from keyframe_asr.io.model_folder import CONFIG_FILE, find_model
from research.benchmarks.whisper.languages import languages_of
from research.benchmarks.whisper.recordings import Recording

HERE = Path(__file__).parent
PACKAGE = "research.benchmarks.whisper"
FIXED = "fixed setting of whisper: no timestamps, no earlier text, prompt for Mandarin"

Row = dict[str, Any]


@dataclass(frozen=True)
class System:
    """A system.

    Attributes:
        name: unique in a comparison.
        command: runs it; `LIST` stands for the file of recordings.
        setting: all that its texts depend on, as JSON values.
        languages: what it can recognise; None is everything.
    """

    name: str
    command: tuple[str, ...]
    setting: Mapping[str, Any]
    languages: tuple[str, ...] | None = None

    @property
    def is_whisper(self) -> bool:
        """True for whisper itself."""
        return "whisper" in self.setting

    def recognises(self, recording: Recording) -> bool:
        """True if it can recognise a recording; one without speech always."""
        return self.languages is None or not recording.text or recording.language in self.languages


def whisper_systems(
    faster: Path | None, peer_python: str, transformers: Path | None
) -> list[System]:
    """Whisper in faster-whisper (int8, greedy and beam of 5) and in transformers (greedy).

    Args:
        faster: folder for faster-whisper; None leaves it out.
        peer_python: of the environment that has it.
        transformers: folder for transformers; None leaves it out.
    """
    found = []
    if faster is not None:
        script = str(HERE / "recognise_with_faster_whisper.py")
        digest = _digest(faster / "model.bin")
        for beam, name in ((1, "greedy"), (5, "beam of 5")):
            found.append(
                System(
                    f"whisper, int8, {name}",
                    (peer_python, script, str(faster), "LIST", "--beam", str(beam)),
                    {"whisper": digest, "program": "faster-whisper, int8", "beam": beam}
                    | {"fixed": FIXED},
                )
            )
    if transformers is not None:
        script = f"{PACKAGE}.recognise_with_transformers"
        digest = _digest(transformers / "model.safetensors")
        found.append(
            System(
                "whisper, float32, greedy",
                (sys.executable, "-m", script, str(transformers), "LIST"),
                {"whisper": digest, "program": "transformers, float32", "beam": 1}
                | {"fixed": FIXED},
            )
        )
    return found


def own_system(name: str, model: str, options: Sequence[str]) -> System:
    """A model of this project.

    Args:
        name: of the system.
        model: folder or name.
        options: KEY=VALUE, fields of `RecognitionOptions`; none: as the model is shipped.

    Raises:
        KeyframeError: there is no such model, or it does not have these options.
    """
    named = {
        key: yaml.safe_load(value) for key, _, value in (one.partition("=") for one in options)
    }
    settings = recognition_settings(model, RecognitionOptions(**named), ComputeOptions())
    del settings["model"]  # its files have a digest, and so have those of the options
    settings["options"] = _without_folders(settings["options"])
    config = load_model_folder_config(find_model(model) / CONFIG_FILE)
    script = f"{PACKAGE}.recognise_with_keyframes"
    return System(
        name,
        (sys.executable, "-m", script, model, "LIST", "--options", json.dumps(named)),
        json.loads(json.dumps(settings | {"given": named, "code": _code()}, default=str)),
        languages_of(config),
    )


def recognise(system: System, recordings: Sequence[Recording], threads: int = 1) -> Iterator[Row]:
    """Run a system in a process of its own; yields the rows of recordings, then one with memory.

    Raises:
        subprocess.CalledProcessError: it failed; what it wrote before has been yielded.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "list"
        lines = [
            json.dumps({"id": one.id, "path": os.path.abspath(one.path), "language": one.language})
            for one in recordings
        ]
        listed.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [str(listed) if part == "LIST" else part for part in system.command]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        with subprocess.Popen(
            [*command, "--threads", str(threads)],
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)


def _without_folders(options: Any) -> Any:
    if not isinstance(options, dict):
        return options
    return {
        key: Path(value).name if key == "file" else _without_folders(value)
        for key, value in options.items()
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _code() -> str:
    """Digest of this project's code: other code may write other texts."""
    folder = Path(keyframe_asr.__file__).parent
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]
