"""Recordings in: any common file as mono samples at the project's sample rate.

libsndfile (through soundfile) decodes wav, flac, mp3, ogg and opus; soxr resamples. A recording of
any length can be read by blocks. Whatever is wrong with a file becomes one `AudioError` line that
names the file, the cause and what to do.
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
"""Hertz; a lower rate carries no intelligible speech and is the mark of a damaged header."""

_CONVERT = "convert the recording to wav, flac, mp3, ogg or opus"


_SIZE_IN_HEADER = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_SIZE_UNKNOWN = 0x7FFF_0000
"""Bytes; who writes a wav into a pipe puts a number beyond this into its header."""

_CHECKED_SAMPLES = 1600
"""Samples at both ends of a recording that `read_length` decodes."""


@dataclass(frozen=True)
class AudioLength:
    """Samples of a recording at its own rate in hertz."""

    samples: int
    sample_rate: int


def read_audio(path: Path | str, start: float = 0.0, seconds: float | None = None) -> Samples:
    """Read a recording, or a part of it, as mono samples at 16 kHz.

    Channels are averaged, other sample rates resampled, and values beyond full scale (float
    files, lossy codecs, overshoot of the resampler) clipped.

    Args:
        path: the file.
        start: seconds to leave out at its beginning.
        seconds: length of the part; None is all that follows. Less is read where the file ends.

    Returns:
        (S,) float32 in [-1, 1]; S is 0 for a file whose header is right and holds no samples.

    Raises:
        AudioError: the file is missing, empty, a folder, not audio, damaged, or holds samples
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
    """Read a recording, or a part of it, as it was recorded.

    Returns:
        samples (S, channels) at the file's own rate, and that rate in hertz.

    Raises:
        AudioError: as `read_audio`.
    """
    path = Path(path)
    _check_is_readable_file(path)
    samples, sample_rate = _decode(path, start, seconds)
    _check_finite(path, samples, start, sample_rate)
    return samples, sample_rate


def audio_blocks(path: Path | str, seconds: float = 30.0) -> Iterator[Samples]:
    """Read a recording as mono samples at 16 kHz, a block at a time: never all of it at once.

    The blocks put together are what `read_audio` gives; they hold about `seconds` each.

    Raises:
        AudioError: as `read_audio`, once the block is reached that shows what is wrong; also if a
            lossless recording holds fewer samples than its header announces.
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
        # what a lossy file announces is an estimate
        if read < announced and file.format not in ("MP3", "OGG"):
            raise _ends_early(path)
        if not announced and "should be" in file.extra_info:
            raise _ends_early(path)


def announced_seconds(path: Path | str) -> float:
    """Length of a recording as its header tells it; decodes nothing.

    Raises:
        AudioError: as `read_audio`, as far as the header tells.
    """
    path = Path(path)
    _check_is_readable_file(path)
    with _opened(path) as file:
        return int(file.frames) / int(file.samplerate)


def read_length(path: Path | str) -> AudioLength:
    """Length of a recording from its header, once its beginning and its end can be decoded.

    Raises:
        AudioError: as `read_audio`, as far as header, first and last samples tell; also if the
            recording holds no samples, or fewer than its header announces.
    """
    path = Path(path)
    _check_is_readable_file(path)
    with _opened(path) as file:
        length = AudioLength(int(file.frames), int(file.samplerate))
        _check_complete(path, file)
        _check_finite(path, _read(file, _CHECKED_SAMPLES), 0.0, length.sample_rate)
        # libmpg123 writes warnings on seeking to the end of an intact mp3
        if file.format != "MP3" and length.samples > _CHECKED_SAMPLES:
            last = length.samples - _CHECKED_SAMPLES
            file.seek(last)
            seconds = last / length.sample_rate
            _check_finite(path, _read(file, _CHECKED_SAMPLES), seconds, length.sample_rate)
    if not length.samples:
        raise AudioError(f"{path}: holds no samples; record or copy it again")
    return length


def _check_is_readable_file(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file; check the path of the recording") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"{path}: cannot be read: {_cause(error)}; check the path") from None
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path}: is a folder, and no recording was found in it; name recordings")
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise AudioError(f"{path}: is an empty file (0 bytes); record or copy it again")


def _decode(path: Path, start: float, seconds: float | None) -> tuple[npt.NDArray[np.float32], int]:
    """Samples (S, channels) at the file's own rate, and that rate in hertz."""
    with _opened(path) as file:
        _check_complete(path, file)
        sample_rate = int(file.samplerate)
        if start:
            file.seek(min(round(start * sample_rate), int(file.frames)))
        samples = _read(file, -1 if seconds is None else round(seconds * sample_rate))
        # libsndfile's log tells a size in the header that the file does not hold
        cut_off = not file.frames and "should be" in file.extra_info
    if cut_off:
        raise _ends_early(path)
    return samples, sample_rate


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """A recording to be read; whatever libsndfile finds wrong with it becomes one line."""
    try:
        # as bytes, because soundfile cannot encode names that are not UTF-8
        with soundfile.SoundFile(os.fsencode(path)) as file:
            if file.samplerate < MINIMUM_SAMPLE_RATE:
                raise AudioError(
                    f"{path}: its header says {file.samplerate} samples a second, too few for "
                    "speech or damaged; give a recording of at least "
                    f"{MINIMUM_SAMPLE_RATE} Hz"
                )
            yield file
    except OSError as error:
        raise AudioError(
            f"{path}: cannot be read: {_cause(error)}; check its permissions"
        ) from None
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        raise AudioError(
            f"{path}: not a recording that can be decoded, or damaged: {_cause(error)}; {_CONVERT}"
        ) from None
    except MemoryError:
        raise AudioError(
            f"{path}: its header announces more samples than fit into memory; it is damaged or "
            "far too long: copy the recording again, or split it"
        ) from None


def _read(file: soundfile.SoundFile, frames: int) -> npt.NDArray[np.float32]:
    """The next `frames` samples (S, channels) of a file, -1 for all."""
    samples: npt.NDArray[np.float32] = file.read(frames, dtype="float32", always_2d=True)
    return samples


def _check_complete(path: Path, file: soundfile.SoundFile) -> None:
    """A copy or an extraction that was interrupted leaves less than the header of a wav says."""
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
            f"{path}: holds samples that are not finite (NaN or infinite), the first at "
            f"{start + bad / sample_rate:.3f} s; export the recording again"
        )


def _ends_early(path: Path) -> AudioError:
    return AudioError(
        f"{path}: ends within or right after its header, or holds fewer samples than that "
        "announces; copy the recording again"
    )


def _cause(error: Exception) -> str:
    """The error's reason on one line, without the path that libraries repeat in it."""
    if isinstance(error, soundfile.LibsndfileError):
        text = error.error_string
        if text.startswith("File does not exist"):
            # what libsndfile says of an mp3 file in which it finds no frame
            text = "no audio was found in it"
    elif isinstance(error, TypeError):
        # soundfile takes a file named .raw for headerless samples and wants their format
        text = "a .raw file does not say what its samples are"
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    else:
        text = str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__
