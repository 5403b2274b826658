"""Damaged files once ended in tracebacks, in "Aborted." without a reason, or in lines of libraries
among the results: cuts with values of another type, gzip with damaged content, Matroska that ends
within its header, and MIDI sample dumps."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import save_random_model
from keyframe_asr.audio.reading import read_audio
from keyframe_asr.data.manifest import load_manifest, make_cut
from keyframe_asr.errors import AudioError, ManifestError


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("duration", "nan"),
        ("duration", -1.0),
        ("duration", float("nan")),
        ("start", True),
        ("start", None),
        ("id", 7),
        ("recording.duration", "1.0"),
        ("recording.sampling_rate", []),
        ("recording.sources.0.source", None),
        ("supervisions.0.text", ["YES"]),
        ("supervisions.0.speaker", 3),
    ],
)
def test_values_of_cuts(key: str, value: object, tmp_path: Path) -> None:
    data: Any = make_cut("a", "ann", "YES", tmp_path / "a.wav", 16_000).to_dict()
    *folders, last = key.split(".")
    node = data
    for step in folders:
        node = node[int(step) if isinstance(node, list) else step]
    node[last] = value
    path = tmp_path / "cuts.jsonl"
    path.write_text(json.dumps(data) + "\n")
    with refused(ManifestError, f"{path}:1: "):
        load_manifest(path)


def test_gzip_with_damaged_content(tmp_path: Path) -> None:
    cut = make_cut("a", "ann", "YES " * 50, tmp_path / "a.wav", 16_000).to_dict()
    packed = gzip.compress((json.dumps(cut) + "\n").encode(), mtime=0)
    path = tmp_path / "cuts.jsonl.gz"
    for place in range(12, len(packed) - 8, 5):
        path.write_bytes(packed[:place] + bytes(4) + packed[place + 4 :])
        with refused(ManifestError, path):
            load_manifest(path)


def test_matroska_that_ends_in_its_header(tmp_path: Path) -> None:
    pytest.importorskip("av")
    head = bytes.fromhex("1a45dfa3 8b 4282 88 6d6174726f736b61 18538067 01ffffffffffffff")
    (tmp_path / "a.mka").write_bytes(head)
    with refused(AudioError, tmp_path / "a.mka"):
        read_audio(tmp_path / "a.mka")
    ran = keyframe("transcribe", save_random_model(tmp_path / "model"), tmp_path / "a.mka")
    assert ran.error.startswith(f"{tmp_path / 'a.mka'}: ")


def test_sample_dumps_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(1000), 16_000, format="SDS", closefd=False)
    content = stream.getvalue()
    for place in (19, 21, 30, 150, 300):
        path = tmp_path / "a.sds"
        path.write_bytes(content[:place] + content[place + 2 :])
        with refused(AudioError, path):
            read_audio(path)
    assert capfd.readouterr().out == ""


def test_caf_of_a_codec_that_nobody_knows() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(4000, "f4"), 16_000, format="CAF", subtype="PCM_16")
    content = file.getvalue()
    place = content.index(b"lpcm")
    with refused(AudioError):
        read_audio(content[:place] + b"\0\0\0\0" + content[place + 4 :])
