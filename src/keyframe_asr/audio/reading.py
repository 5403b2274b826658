"""Read audio files as mono samples at 16 kHz.

libsndfile (through soundfile) decodes WAV, FLAC, MP3, Ogg and Opus; soxr resamples. Long recordings
can be read in blocks. Every problem with a file raises an `AudioError` whose one-line message names
the file, the cause and what to do.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from keyframe_asr.errors import AudioError
from keyframe_asr.timing import SAMPLE_RATE

Samples = npt.NDArray[np.float32]
"""(S,) mono at 16 kHz."""

MINIMUM_SAMPLE_RATE = 4_000
"""Hertz; a lower rate cannot carry intelligible speech and indicates a damaged header."""

_CONVERT = "convert it to WAV, FLAC, MP3, Ogg or Opus"

_SIZE_IN_HEADER = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_SIZE_UNKNOWN = 0x7FFF_0000
"""Bytes; a program that writes WAV to a pipe puts a larger number than this into the header."""

_CHECKED_SAMPLES = 1600
"""Samples that `read_length` decodes at each end of a recording."""


@dataclass(frozen=True)
class AudioLength:
    """Number of samples of a recording at its native sample rate in hertz."""

    samples: int
    sample_rate: int


def read_audio(path: Path | str, start: float = 0.0, seconds: float | None = None) -> Samples:
    """Read a recording, or a part of it, as mono samples at 16 kHz.

    Averages channels, resamples other sample rates, and clips values beyond full scale (from float
    files, lossy codecs or overshoot of the resampler).

    Args:
        path: audio file.
        start: start of the part in seconds.
        seconds: duration of the part; None reads to the end. Less is read if the file ends earlier.

    Returns:
        (S,) float32 in [-1, 1]; S is 0 for a file with a valid header and no samples.

    Raises:
        AudioError: the file is missing, empty, a folder, not audio or damaged, or contains samples
            that are not finite.
    """
    samples, sample_rate = read_channels(path, start, seconds)
    mono = samples.mean(axis=1, dtype=np.float32)
    if sample_rate != SAMPLE_RATE and mono.size:
        mono = np.asarray(soxr.resample(mono, sample_rate, SAMPLE_RATE), dtype=np.float32)
    clipped: Samples = np.clip(mono, -1.0, 1.0)
    return clipped


def read_channels(
    path: Path | str, start: float = 0.0, seconds: float | None = None
) -> tuple[npt.NDArray[np.float32], int]:
    """Read a recording, or a part of it, without mixing channels or resampling.

    Returns:
        samples (S, channels) at the native sample rate, and that rate in hertz.

    Raises:
        AudioError: as `read_audio`.
    """
    path = Path(path)
    _check_is_readable_file(path)
    samples, sample_rate = _decode(path, start, seconds)
    _check_finite(path, samples, start, sample_rate)
    return samples, sample_rate


def audio_blocks(path: Path | str, seconds: float = 30.0) -> Iterator[Samples]:
    """Read a recording as mono samples at 16 kHz, block by block, in constant memory.

    The concatenated blocks equal the result of `read_audio`; each lasts about `seconds`.

    Raises:
        AudioError: as `read_audio`, when the faulty block is reached; also if a lossless recording
            contains fewer samples than its header announces.
    """
    path = Path(path)
    _check_is_readable_file(path)
    with _opened(path) as file:
        _check_complete(path, file)
        rate, announced = int(file.samplerate), int(file.frames)
        resampler = None
        if rate != SAMPLE_RATE:
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        size, read, last = max(1, round(seconds * rate)), 0, False
        while not last:
            samples = _read(file, size)
            _check_finite(path, samples, read / rate, rate)
            read += len(samples)
            last = len(samples) < size
            mono = samples.mean(axis=1, dtype=np.float32)
            if resampler is not None:
                mono = np.asarray(resampler.resample_chunk(mono, last=last), dtype=np.float32)
            if mono.size:
                yield np.clip(mono, -1.0, 1.0)
        # the header of a lossy file only estimates the length
        if read < announced and file.format not in ("MP3", "OGG"):
            raise _ends_early(path)
        if not announced and "should be" in file.extra_info:
            raise _ends_early(path)


def announced_seconds(path: Path | str) -> float:
    """Duration of a recording in seconds according to its header, without decoding.

    Raises:
        AudioError: as `read_audio`, for problems visible in the header.
    """
    path = Path(path)
    _check_is_readable_file(path)
    with _opened(path) as file:
        return int(file.frames) / int(file.samplerate)


def read_length(path: Path | str) -> AudioLength:
    """Length of a recording from its header, after decoding its beginning and end as a check.

    Raises:
        AudioError: as `read_audio`, for problems visible in the header and the first and last
            samples; also if the recording contains no samples, or fewer than its header announces.
    """
    path = Path(path)
    _check_is_readable_file(path)
    with _opened(path) as file:
        length = AudioLength(int(file.frames), int(file.samplerate))
        _check_complete(path, file)
        _check_finite(path, _read(file, _CHECKED_SAMPLES), 0.0, length.sample_rate)
        # libmpg123 prints warnings when seeking to the end of an intact MP3
        if file.format != "MP3" and length.samples > _CHECKED_SAMPLES:
            last = length.samples - _CHECKED_SAMPLES
            file.seek(last)
            seconds = last / length.sample_rate
            _check_finite(path, _read(file, _CHECKED_SAMPLES), seconds, length.sample_rate)
    if not length.samples:
        raise AudioError(f"{path}: contains no samples; record or copy it again")
    return length


def _check_is_readable_file(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"{path}: cannot be read: {_cause(error)}; check the path") from None
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path}: a folder without recordings; give audio files")
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise AudioError(f"{path}: empty file (0 bytes); record or copy it again")


def _decode(path: Path, start: float, seconds: float | None) -> tuple[npt.NDArray[np.float32], int]:
    """Samples (S, channels) at the native sample rate, and that rate in hertz."""
    with _opened(path) as file:
        _check_complete(path, file)
        sample_rate = int(file.samplerate)
        if start:
            file.seek(min(round(start * sample_rate), int(file.frames)))
        samples = _read(file, -1 if seconds is None else round(seconds * sample_rate))
        # libsndfile logs when the header gives a larger size than the file has
        cut_off = not file.frames and "should be" in file.extra_info
    if cut_off:
        raise _ends_early(path)
    return samples, sample_rate


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a recording for reading; raise every error of libsndfile as an `AudioError`."""
    try:
        # as bytes, because soundfile cannot encode names that are not valid UTF-8
        with soundfile.SoundFile(os.fsencode(path)) as file:
            if file.samplerate < MINIMUM_SAMPLE_RATE:
                raise AudioError(
                    f"{path}: sample rate {file.samplerate} Hz is too low, or the header is "
                    f"damaged; use a recording of at least {MINIMUM_SAMPLE_RATE} Hz"
                )
            yield file
    except OSError as error:
        raise AudioError(
            f"{path}: cannot be read: {_cause(error)}; check its permissions"
        ) from None
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        raise AudioError(
            f"{path}: not an audio file, or damaged: {_cause(error)}; {_CONVERT}"
        ) from None
    except MemoryError:
        raise AudioError(
            f"{path}: the header announces more samples than fit into memory (damaged, or far too "
            "long); copy the recording again, or split it"
        ) from None


def _read(file: soundfile.SoundFile, frames: int) -> npt.NDArray[np.float32]:
    """Read the next `frames` samples (S, channels) of a file; -1 reads all."""
    samples: npt.NDArray[np.float32] = file.read(frames, dtype="float32", always_2d=True)
    return samples


def _check_complete(path: Path, file: soundfile.SoundFile) -> None:
    """Raise `AudioError` if a WAV is shorter than its header says, e.g. an interrupted copy."""
    announced = _SIZE_IN_HEADER.search(file.extra_info)
    if announced and int(announced[2]) < int(announced[1]) < _SIZE_UNKNOWN:
        raise _ends_early(path)


def _check_finite(
    path: Path, samples: npt.NDArray[np.float32], start: float, sample_rate: int
) -> None:
    finite = np.isfinite(samples)
    if not finite.all():
        bad = int(np.flatnonzero(~finite.all(axis=1))[0])
        raise AudioError(
            f"{path}: contains samples that are not finite (NaN or infinite), the first at "
            f"{start + bad / sample_rate:.3f} s; export the recording again"
        )


def _ends_early(path: Path) -> AudioError:
    return AudioError(
        f"{path}: incomplete: it contains fewer samples than its header announces; "
        "copy the recording again"
    )


def _cause(error: Exception) -> str:
    """Reason of an error on one line, without the path that libraries repeat in it."""
    if isinstance(error, soundfile.LibsndfileError):
        text = error.error_string
        if text.startswith("File does not exist"):
            # libsndfile's message for an MP3 without frames
            text = "no audio found"
    elif isinstance(error, TypeError):
        # soundfile treats a file named .raw as headerless samples and asks for their format
        text = "a .raw file has no header that gives its format"
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    else:
        text = str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__
