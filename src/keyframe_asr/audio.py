"""Recordings in: any common file as mono samples at the project's sample rate.

libsndfile (through soundfile) decodes wav, flac, mp3, ogg and opus; soxr resamples. Whatever is
wrong with a file becomes one `AudioError` line that names the file, the cause and what to do.
"""

from __future__ import annotations

import os
import stat
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


def read_audio(path: Path | str) -> Samples:
    """Read a recording as mono samples at 16 kHz.

    Channels are averaged, other sample rates resampled, and values beyond full scale (float
    files, lossy codecs, overshoot of the resampler) clipped.

    Returns:
        (S,) float32 in [-1, 1]; S is 0 for a file whose header is right and holds no samples.

    Raises:
        AudioError: the file is missing, empty, a folder, not audio, damaged, or holds samples
            that are not finite.
    """
    path = Path(path)
    _check_is_readable_file(path)
    samples, sample_rate = _decode(path)
    if not np.isfinite(samples).all():
        bad = int(np.flatnonzero(~np.isfinite(samples).all(axis=1))[0])
        raise AudioError(
            f"{path}: holds samples that are not finite (NaN or infinite), the first at "
            f"{bad / sample_rate:.3f} s; export the recording again"
        )
    mono = samples.mean(axis=1, dtype=np.float32)
    if sample_rate != SAMPLE_RATE and mono.size:
        mono = np.asarray(soxr.resample(mono, sample_rate, SAMPLE_RATE), dtype=np.float32)
    clipped: Samples = np.clip(mono, -1.0, 1.0)
    return clipped


def _check_is_readable_file(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file; check the path of the recording") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"{path}: cannot be read: {_cause(error)}; check the path") from None
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path}: is a folder; name the recordings in it one by one")
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise AudioError(f"{path}: is an empty file (0 bytes); record or copy it again")


def _decode(path: Path) -> tuple[npt.NDArray[np.float32], int]:
    """Samples (S, channels) at the file's own rate, and that rate in hertz."""
    try:
        # as bytes, because soundfile cannot encode names that are not UTF-8
        with soundfile.SoundFile(os.fsencode(path)) as file:
            sample_rate = int(file.samplerate)
            samples: npt.NDArray[np.float32] = file.read(dtype="float32", always_2d=True)
            # libsndfile's log tells a size in the header that the file does not hold
            cut_off = not samples.size and "should be" in file.extra_info
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
    if cut_off:
        raise AudioError(
            f"{path}: ends within or right after its header, which announces samples; "
            "copy the recording again"
        )
    if sample_rate < MINIMUM_SAMPLE_RATE:
        raise AudioError(
            f"{path}: its header says {sample_rate} samples a second, too few for speech or "
            f"damaged; give a recording of at least {MINIMUM_SAMPLE_RATE} Hz"
        )
    return samples, sample_rate


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
