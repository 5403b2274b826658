"""Only a WAV that was cut off was refused; others gave the text of what was left, or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fixtures.command_line import keyframe
from fixtures.containers import KINDS, RATE, decoded, encoded, tone
from fixtures.errors import refused
from fixtures.random_model import save_random_model
from keyframe_asr.audio.reading import audio_blocks, read_audio, read_channels, read_length
from keyframe_asr.errors import AudioError


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_whole_recordings_are_read_and_cut_ones_refused(kind: str, subtype: str) -> None:
    content = encoded(kind, subtype)
    samples, rate = read_channels(content)
    assert rate == RATE
    # libsndfile decodes the padding of GSM 6.10, too
    np.testing.assert_array_equal(samples[:6000], decoded(content)[:6000])
    assert read_length(content).samples == len(samples) >= 6000
    for tenth in range(1, 10):
        with pytest.raises(AudioError):
            read_channels(content[: len(content) * tenth // 10])
    if not subtype.startswith(("ALAC", "GSM")):  # the last byte may be padding
        with pytest.raises(AudioError):
            read_channels(content[:-1])


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "CAF", "OGG", "MP3"])
def test_all_ways_of_reading_refuse_alike(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.bin"
    subtype = {"OGG": "OPUS", "MP3": "MPEG_LAYER_III"}.get(kind, "PCM_16")
    content = encoded(kind, subtype, tone(16_000))
    path.write_bytes(content[: len(content) * 6 // 10])
    messages = []
    for read in (read_audio, read_length, lambda file: list(audio_blocks(file, 0.5))):
        with pytest.raises(AudioError) as caught:
            read(path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1] == messages[2]
    assert messages[0].startswith(f"{path}: ") and "\n" not in messages[0]


def test_an_mp3_that_lost_frames_its_table_counts(tmp_path: Path) -> None:
    content = encoded("MP3", "MPEG_LAYER_III", tone(16_000))
    place = content.rfind(content[:2])  # the last frame
    with refused(AudioError, "frames"):
        read_audio(content[: content.rfind(content[:2], 0, place)])


def test_formats_that_do_not_tell_whether_they_are_whole(tmp_path: Path) -> None:
    with refused(AudioError, "MAT5"):
        read_audio(encoded("MAT5", "PCM_16"))


def test_no_empty_text_with_exit_code_0(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    for kind, subtype in (
        ("RF64", "PCM_16"),
        ("OGG", "VORBIS"),
        ("CAF", "PCM_16"),
        ("WAV", "ULAW"),
    ):
        content = encoded(kind, subtype)
        (tmp_path / f"{kind}.bin").write_bytes(content[: len(content) // 2])
    files = sorted(tmp_path.glob("*.bin"))
    result = keyframe("transcribe", model, *files)
    assert (result.exit_code, result.stdout) == (1, "")
    for line, file in zip(result.stderr.splitlines(), files, strict=True):
        assert str(file) in line
