"""m4a, mp4 and webm were no audio files, and nothing said what reads them."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import save_random_model
from keyframe_asr.audio.reading import audio_blocks, read_audio, read_channels, read_length
from keyframe_asr.errors import AudioError, FormatError

FASTSTART = {"movflags": "frag_keyframe+empty_moov"}
KINDS = {
    "m4a": ("ipod", "aac", 16_000, {}),
    "alac": ("ipod", "alac", 16_000, {}),
    "mp4": ("mp4", "aac", 16_000, FASTSTART),
    "webm": ("webm", "libopus", 48_000, {}),
    "mkv": ("matroska", "pcm_s16le", 16_000, {}),
    "aac": ("adts", "aac", 16_000, {}),
    "wv": ("wv", "wavpack", 16_000, {}),
    # codecs that libsndfile lacks in containers that it knows
    "ogg": ("ogg", "flac", 16_000, {}),
    "caf": ("caf", "alac", 16_000, {}),
}


def video(kind: str, seconds: float = 1.0, channels: int = 1) -> bytes:
    """A recording made by PyAV: a tone of 300 Hz, in a second channel of 600 Hz."""
    av: Any = pytest.importorskip("av")
    container, codec, rate, options = KINDS[kind]
    pitches = 300.0 * np.arange(1, channels + 1)[:, None]
    sound = 0.3 * np.sin(2 * np.pi * pitches * np.arange(round(seconds * rate)) / rate)
    layout = {1: "mono", 2: "stereo"}[channels]
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(sound.astype(np.float32), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        size = {"flac": 4096}.get(codec)
        converter = av.AudioResampler(stream.format, layout, rate, frame_size=size)
        for one in (*converter.resample(frame), *converter.resample(None)):
            output.mux(stream.encode(one))
        output.mux(stream.encode(None))
    return file.getvalue()


def loudest_pitch(samples: Any, rate: int = 16_000) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum) * rate / len(samples))


@pytest.mark.parametrize("kind", KINDS)
def test_what_ffmpeg_decodes_is_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.bin").write_bytes(video(kind))
    samples = read_audio(tmp_path / "a.bin")
    assert samples.size == pytest.approx(16_000, abs=2200), "codecs pad with silence"
    assert loudest_pitch(samples) == pytest.approx(300, abs=2)
    blocks = np.concatenate(list(audio_blocks(tmp_path / "a.bin", 0.3)))
    np.testing.assert_allclose(blocks, samples, rtol=0, atol=1e-6)
    length = read_length(tmp_path / "a.bin")
    assert length.samples == len(read_channels(tmp_path / "a.bin")[0])
    assert read_audio(tmp_path / "a.bin", 0.25, 0.5).size == 8000


@pytest.mark.parametrize("kind", KINDS)
def test_cut_off_videos_are_refused(kind: str) -> None:
    content = video(kind)
    for tenth in range(1, 10):
        with pytest.raises(AudioError):
            read_audio(content[: len(content) * tenth // 10])


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"wv"}))  # which is refused
def test_joined_videos_are_read_to_the_end(kind: str) -> None:
    content = video(kind)
    assert read_audio(2 * content).size == pytest.approx(2 * read_audio(content).size, abs=400)


@pytest.mark.parametrize("kind", ["m4a", "alac", "webm"])
def test_tags_behind_a_video(kind: str) -> None:
    content = video(kind)
    samples = read_audio(content + b"TAG" + 125 * b"a")
    np.testing.assert_array_equal(samples, read_audio(content))


@pytest.mark.parametrize("kind", ["m4a", "webm"])
def test_channels_of_a_video(kind: str) -> None:
    content = video(kind, channels=2)
    for channel, pitch in enumerate((300, 600)):
        assert loudest_pitch(read_audio(content, channel=channel)) == pytest.approx(pitch, abs=2)


def test_transcribe_a_video(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    (tmp_path / "a.m4a").write_bytes(video("m4a"))
    assert keyframe("transcribe", model, tmp_path / "a.m4a").exit_code == 0


def test_without_pyav_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x10ftypM4A \0\0\0\0" + bytes(100))
    with refused(FormatError, f"{tmp_path}/a.m4a: ", "keyframe-asr[video]"):
        read_audio(tmp_path / "a.m4a")


def test_a_video_without_sound(tmp_path: Path) -> None:
    av: Any = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("rawvideo", rate=5)
        stream.width = stream.height = 16
        stream.pix_fmt = "gray"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16), np.uint8), format="gray")
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with pytest.raises(AudioError):
        read_audio(file.getvalue())
