"""Short recordings in every container and codec that is read, to be damaged."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile

SECONDS = 0.6

SUFFIXES = {"AIFF": "aiff", "WAVEX": "wav", "NIST": "sph", "SVX": "iff", "IRCAM": "sf"}
"""Usual endings of file names; a container's own name in small letters otherwise."""

UNREADABLE = {"RAW", "SD2"}
"""Containers without a header, or with a second file."""

STREAMS = {"MP3"}
"""Neither their headers nor their ends say how long the recording is."""

REFUSED = {"AVR", "IRCAM", "MAT4", "MAT5", "MPC2K", "PAF", "PVF", "SDS", "VOC", "XI"}
"""Containers that are never read, because libsndfile does not tell whether a file is whole."""


@dataclass(frozen=True)
class Original:
    """An undamaged recording.

    Attributes:
        name: container, codec, rate and channels.
        suffix: usual ending of its file name.
        content: the file.
        tells_length: whether the header says how much follows, so that a cut can be known.
    """

    name: str
    suffix: str
    content: bytes
    tells_length: bool

    @property
    def container(self) -> str:
        """The container in capital letters."""
        return self.name.partition(" ")[0].upper()

    @property
    def is_read(self) -> bool:
        """Whether the undamaged recording is read."""
        return self.container not in REFUSED


def originals(quick: bool = False) -> list[Original]:
    """One recording for each container and codec that soundfile, and PyAV if installed, write.

    Args:
        quick: only the common containers.
    """
    made = []
    for container in soundfile.available_formats():
        if container in UNREADABLE or (quick and container not in ("WAV", "FLAC", "OGG", "MP3")):
            continue
        for codec in soundfile.available_subtypes(container):
            made += _written(container, codec, 16_000, 1)
        made += _written(container, soundfile.default_subtype(container), 44_100, 2)
        made += _written(container, soundfile.default_subtype(container), 8_000, 1)
    return made + ([] if quick else _by_pyav())


def samples(rate: int, channels: int) -> npt.NDArray[np.float32]:
    """Noise (S, channels) of changing loudness, in which the model of the tests hears text."""
    generator = np.random.default_rng(1)
    time = np.arange(round(SECONDS * rate)) / rate
    loudness = np.abs(np.sin(8 * time))[:, None]
    noise = 0.1 * generator.normal(size=(len(time), channels)) * loudness
    return noise.clip(-1, 1).astype(np.float32)


def _written(container: str, codec: str, rate: int, channels: int) -> list[Original]:
    """One recording; none if libsndfile cannot write or read it."""
    stream = io.BytesIO()
    try:
        soundfile.write(
            stream, samples(rate, channels), rate, format=container, subtype=codec, closefd=False
        )
        read, _ = soundfile.read(io.BytesIO(stream.getvalue()))
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError):
        return []
    if not len(read):
        return []
    suffix = "opus" if codec == "OPUS" else SUFFIXES.get(container, container.lower())
    name = f"{container} {codec}, {rate} Hz, {channels} channels"
    return [Original(name, suffix, stream.getvalue(), container not in STREAMS)]


def _by_pyav() -> list[Original]:
    """AAC in MP4 and Opus in WebM, if PyAV is installed to write and read them."""
    try:
        import av
    except ImportError:
        return []
    made = []
    for suffix, container, codec in (
        ("m4a", "ipod", "aac"),
        ("mp4", "mp4", "aac"),
        ("webm", "webm", "libopus"),
        ("mka", "matroska", "flac"),
    ):
        stream = io.BytesIO()
        with av.open(stream, "w", format=container) as output:
            track = output.add_stream(codec, rate=48_000, layout="mono")
            sound = (samples(48_000, 1).T * 32767).astype(np.int16)
            for first in range(0, sound.shape[1], 960):
                part = np.ascontiguousarray(sound[:, first : first + 960])
                frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                frame.sample_rate, frame.pts = 48_000, first
                output.mux(track.encode(frame))
            output.mux(track.encode(None))
        made.append(Original(f"{suffix} {codec}, 48000 Hz", suffix, stream.getvalue(), False))
    return made


def plain_wav(seconds: float, rate: int = 16_000) -> bytes:
    """A 16-bit WAV of the first `seconds` of the noise."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        sound = samples(rate, 1)[: round(seconds * rate), 0]
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return stream.getvalue()
