"""Decode a recording by libsndfile, part by part and block by block.

The length that libsndfile gives is an estimate for some formats and unknown for others. It is never
used to allocate memory or to end a recording.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import numpy.typing as npt
import soundfile

from keyframe_asr.audio.byte_source import AudioFile, ByteSource, Stretches, name_of, opened_bytes
from keyframe_asr.audio.containers import parts_of
from keyframe_asr.audio.parts import CutOffError, JoinedError, MissingDecoderError, Part
from keyframe_asr.audio.video import FfmpegFile
from keyframe_asr.errors import AudioError, FormatError, UnfinishedWarning

MINIMUM_SAMPLE_RATE = 4_000
"""Hertz; a lower rate cannot carry intelligible speech and indicates a damaged header."""

BLOCK_FRAMES = 1 << 18
"""Samples per channel that are decoded at once."""

UNKNOWN_LENGTH = 1 << 60
"""libsndfile gives a larger number of samples for a recording of unknown length."""

SELF_CHECKED = ("HTK", "MP3", "NIST", "WVE")
"""Formats of which libsndfile tells, in its log or by refusing them, that a file was cut off. Other
formats that `audio.containers` does not know, such as those of samplers and of Matlab, are refused.
"""

_UNSUPPORTED_ENCODING = 4
"""libsndfile's code of an error: it knows the container, but not the codec in it."""

_UNKNOWN_FORMAT = (1, _UNSUPPORTED_ENCODING)
"""Its codes of files in other formats than it knows."""

_SMALLEST_PAYLOAD = 1024
"""Fewer bytes may be less than a packet."""

_SAMPLE_DUMP = b"\xf0\x7e"
"""Start of a MIDI sample dump (.sds)."""

_CUT_OFF = re.compile(r"should be|truncated|short read|does not match", re.IGNORECASE)
"""In libsndfile's log of a file that was cut off."""

_CONVERT = "convert it to WAV, FLAC, MP3, Ogg or Opus"

Block = npt.NDArray[np.float32]
"""(S, channels) at the sample rate of the recording."""


@contextmanager
def opened_sound(audio: AudioFile) -> Iterator[Sound]:
    """Open a recording for decoding.

    Raises:
        AudioError: the recording is missing, empty, not audio, damaged or cut off. Reading raises
            it, too, when it comes to the fault.
    """
    name = name_of(audio)
    with ExitStack() as stack:
        source = stack.enter_context(opened_bytes(audio))
        with _audio_errors(name):
            parts = stack.enter_context(_PartsInTurn(source))
            if parts.sample_rate < MINIMUM_SAMPLE_RATE:
                raise AudioError(
                    f"{name}: sample rate {parts.sample_rate} Hz is too low, or the header is "
                    f"damaged; use a recording of at least {MINIMUM_SAMPLE_RATE} Hz"
                )
        if parts.unfinished:
            warnings.warn(
                f"{name}: the end of the stream is missing; what there is was read, but check "
                "whether the recording was cut off",
                UnfinishedWarning,
                stacklevel=2,
            )
        yield Sound(name, parts)


class Sound:
    """A recording that is decoded from its start to its end.

    Attributes:
        sample_rate: in hertz.
        channels: number of channels.
        announced: samples per channel according to the header; an estimate, 0 if unknown.
        position: samples per channel that are behind.
    """

    def __init__(self, name: str, decoder: _PartsInTurn) -> None:
        self.name = name
        self.sample_rate = decoder.sample_rate
        self.channels = decoder.channels
        self.announced = decoder.announced
        self.position = 0
        self._decoder = decoder

    def read(self, frames: int) -> Block:
        """Decode the next `frames` samples (S, channels); fewer only at the end.

        Raises:
            AudioError: the recording is damaged or cut off.
        """
        blocks = [np.zeros((0, self.channels), np.float32)]
        with _audio_errors(self.name):
            while frames > 0:
                wanted = min(frames, BLOCK_FRAMES)
                blocks.append(self._decoder.read(wanted))
                self.position += len(blocks[-1])
                frames -= len(blocks[-1])
                if len(blocks[-1]) < wanted:
                    break
        return np.concatenate(blocks)

    def seek(self, frames: int) -> bool:
        """Go `frames` samples forward without decoding; False if that is not possible."""
        with _audio_errors(self.name):
            if frames <= 0 or not self._decoder.seek(frames):
                return False
        self.position += frames
        return True

    def skip(self, frames: int) -> None:
        """Go `frames` samples forward, or to the end. Raises `AudioError` as `read`."""
        if self.announced:
            frames = min(frames, max(0, self.announced - self.position))
        if not self.seek(frames):
            while frames > 0 and (done := len(self.read(min(frames, BLOCK_FRAMES)))):
                frames -= done


class _PartsInTurn:
    """The parts of a file, one after the other; `Sound` turns its errors into `AudioError`."""

    def __init__(self, source: ByteSource) -> None:
        self._open: list[_SndFile | FfmpegFile] = []
        self._source = source
        self._current = 0
        self.unfinished = False

    def __enter__(self) -> _PartsInTurn:
        with ExitStack() as stack:
            stack.callback(self.close)
            for part in parts_of(self._source):
                self._open.append(_decoder(self._source, part))
                self.unfinished |= part.unfinished
            kinds = {(part.sample_rate, part.channels) for part in self._open}
            if len(kinds) > 1:
                rates = ", ".join(f"{rate} Hz x {channels}" for rate, channels in sorted(kinds))
                raise JoinedError(f"recordings of different kinds ({rates})")
            stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def sample_rate(self) -> int:
        return self._open[0].sample_rate

    @property
    def channels(self) -> int:
        return self._open[0].channels

    @property
    def announced(self) -> int:
        return sum(part.announced for part in self._open)

    def read(self, frames: int) -> Block:
        """Decode the next samples; at the end of a part, go on with the next one."""
        blocks = []
        while True:
            block = self._open[self._current].read(frames)
            blocks.append(block)
            frames -= len(block)
            if not frames or self._current + 1 == len(self._open):
                return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
            self._current += 1

    def seek(self, frames: int) -> bool:
        """Go forward without decoding; False if that is not possible, and nothing has changed."""
        return len(self._open) == 1 and self._open[0].seek(frames)

    def close(self) -> None:
        """Close all parts."""
        for part in self._open:
            part.close()


def _decoder(source: ByteSource, part: Part) -> _SndFile | FfmpegFile:
    """Open a part of a file, by FFmpeg if libsndfile lacks the codec."""
    if part.by_ffmpeg:
        return FfmpegFile(source, part)
    try:
        return _SndFile(source, part)
    except soundfile.LibsndfileError as error:
        if error.code != _UNSUPPORTED_ENCODING or not part.known:
            raise
        return FfmpegFile(source, part)


class _Unseekable(soundfile.SoundFile):  # type: ignore[misc]
    """A file that soundfile reads without asking for its length and without seeking."""

    def seekable(self) -> bool:
        return False


class _SndFile:
    """A part of a file, opened by libsndfile."""

    def __init__(self, source: ByteSource, part: Part) -> None:
        if not part.known and source.at(0, len(_SAMPLE_DUMP)) == _SAMPLE_DUMP:
            # libsndfile prints on standard output while it opens a damaged one
            raise RuntimeError("a MIDI sample dump does not tell whether it is whole")
        self._bytes = Stretches(source, part.stretches)
        # not by name, since libsndfile guesses formats by some names
        self._file = _Unseekable(self._bytes)
        self.sample_rate, self.channels = int(self._file.samplerate), int(self._file.channels)
        frames = int(self._file.frames)
        self.announced = frames if frames < UNKNOWN_LENGTH else 0
        self._position = 0
        self._payload = part.payload
        # seeking in MP3 is slow, and libmpg123 prints warnings; in DWVW it is not exact
        exact = self._file.format != "MP3" and not self._file.subtype.startswith("DWVW")
        self._can_seek = exact and soundfile.SoundFile.seekable(self._file)
        # the last block of a lossy recording may be shorter than its header says
        lossy = self._file.format in ("MP3", "OGG") or self._file.subtype.startswith("MPEG")
        self._lossless = not lossy
        if not part.known:
            self._check_by_libsndfile()

    def _check_by_libsndfile(self) -> None:
        """Refuse a file whose header gives another size, or whose size cannot be checked."""
        kind, log = self._file.format, self._file.extra_info
        found = _CUT_OFF.search(log)
        if kind in SELF_CHECKED and not found:
            return
        self._file.close()
        if kind in SELF_CHECKED and found:
            raise CutOffError(f"its header gives another size ('{found[0]}')")
        raise RuntimeError(f"a {kind} file does not tell whether it is whole")

    def read(self, frames: int) -> Block:
        """Decode the next samples; fewer only at the end."""
        wanted = frames
        if self._lossless and self.announced:
            # what follows a FLAC stream is an error to libsndfile
            wanted = min(frames, self.announced - self._position)
        block: Block = self._file.read(wanted, dtype="float32", always_2d=True)
        if self._bytes.error is not None:
            raise self._bytes.error
        self._position += len(block)
        if len(block) < frames and self._position < self.announced and self._lossless:
            raise CutOffError(f"{self._position} of {self.announced} samples")
        if len(block) < frames and not self._position and self._payload > _SMALLEST_PAYLOAD:
            raise RuntimeError(f"{self._payload} bytes of samples, but none can be decoded")
        return block

    def seek(self, frames: int) -> bool:
        """Seek forward within what is announced; False if that is not possible."""
        target = self._position + frames
        if target > self.announced or not self._can_seek:
            return False
        try:
            self._file.seek(target)
        except soundfile.SoundFileError:
            return False
        self._position = target
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def _audio_errors(name: str) -> Iterator[None]:
    """Turn the errors of decoding into `AudioError`."""
    try:
        yield
    except CutOffError as error:
        raise AudioError(f"{name}: incomplete: {error}; copy the recording again") from None
    except JoinedError as error:
        raise AudioError(f"{name}: {error} are joined in one file; split it") from None
    except MissingDecoderError:
        raise FormatError(
            f"{name}: this kind of file needs PyAV; pip install 'keyframe-asr[video]', or "
            f"{_CONVERT}"
        ) from None
    except OSError as error:
        raise AudioError(f"{name}: cannot be read: {_cause(error)}; check the disk") from None
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        kind = FormatError if getattr(error, "code", None) in _UNKNOWN_FORMAT else AudioError
        raise kind(f"{name}: not an audio file, or damaged: {_cause(error)}; {_CONVERT}") from None
    except MemoryError:
        raise AudioError(
            f"{name}: does not fit into memory (damaged, or far too long); copy the recording "
            "again, or split it"
        ) from None


def _cause(error: Exception) -> str:
    """Reason of an error on one line, without the name that libraries repeat in it."""
    if isinstance(error, soundfile.LibsndfileError):
        text = error.error_string
        if text.startswith("File does not exist"):
            # libsndfile's message for an MP3 without frames
            text = "no audio found"
    elif strerror := getattr(error, "strerror", None):
        text = str(strerror)
    else:
        text = str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__
