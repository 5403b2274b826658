"""Speech synthesis with espeak-ng, with the times of all words.

The library and its voices come with the pip package `espeakng-loader` and are called through
ctypes. Constants, the event structure and the callback follow `speak_lib.h`, API revision 12.
"""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import soxr

from keyframe_asr.audio.reading import Samples
from keyframe_asr.errors import KeyframeError
from keyframe_asr.packages import packages_for
from keyframe_asr.timing import SAMPLE_RATE

AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_PHONEME_EVENTS, INITIALIZE_DONT_EXIT = 0x0001, 0x8000
EVENT_LIST_TERMINATED, EVENT_WORD, EVENT_END, EVENT_PHONEME = 0, 1, 5, 7
CHARS_UTF8, PHONEMES = 1, 0x100
PARAMETER_RATE, PARAMETER_PITCH, PARAMETER_RANGE, PARAMETER_WORDGAP = 1, 3, 4, 7
SLOWEST, FASTEST = 80, 450
"""Words per minute."""


class SpeechSynthesisError(KeyframeError):
    """espeak-ng is not installed, lacks a voice, or cannot speak a text."""


@dataclass(frozen=True)
class WordTime:
    """A word of the spoken text, with `start` and `end` in seconds."""

    text: str
    start: float
    end: float


class _EventId(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class _Mark:
    """An event: `position` (from 1) and `length` in characters, `time` in seconds."""

    type: int
    position: int
    length: int
    time: float
    phoneme: str


class SpeechSynthesiser:
    """An instance of espeak-ng with separate state.

    The library keeps state between utterances (phase of the flutter, echo, random numbers), so its
    output depends on earlier utterances. Every instance therefore loads its own copy of the
    library: two instances that speak the same utterances in the same order give the same samples,
    in one process or in two.

    Raises:
        PackageError: espeakng-loader is not installed.
        SpeechSynthesisError: its library cannot be started.
    """

    def __init__(self) -> None:
        self._data = data_folder()
        self._library = _load_copy(Path(_loader().get_library_path()))
        self._rate: int = self._library.espeak_Initialize(
            AUDIO_OUTPUT_SYNCHRONOUS,
            0,
            str(self._data).encode(),
            INITIALIZE_PHONEME_EVENTS | INITIALIZE_DONT_EXIT,
        )
        if self._rate <= 0:
            raise SpeechSynthesisError(
                f"espeak-ng does not start with the voices in {self._data}; "
                "reinstall espeakng-loader"
            )
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._chunks: list[npt.NDArray[np.int16]] = []
        self._marks: list[_Mark] = []
        # espeak-ng keeps only the address, so the callback must live as long as the library
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def say(
        self,
        text: str,
        voice: str,
        rate: int = 160,
        pitch: int = 50,
        pitch_range: int = 50,
        word_gap: int = 0,
    ) -> tuple[Samples, list[WordTime]]:
        """Speak `text`; `[[...]]` encloses phonemes in espeak's notation.

        Args:
            text: at most one sentence.
            voice: language and, after `+`, a variant: `cmn+f3`.
            rate: words per minute, 80 to 450.
            pitch, pitch_range: 0 to 100; 50 is the default of the voice.
            word_gap: pause between words, in 10 ms at the default rate.

        Returns:
            Samples (S,) in [-1, 1] at 16 kHz, and the words in order; a word ends where a pause or
            the next word begins. For some Mandarin words of several characters, espeak-ng marks
            only the first character.

        Raises:
            SpeechSynthesisError: there is no such voice, or espeak-ng fails.
        """
        self._choose_voice(voice)
        for parameter, value in (
            (PARAMETER_RATE, min(max(rate, SLOWEST), FASTEST)),
            (PARAMETER_PITCH, pitch),
            (PARAMETER_RANGE, pitch_range),
            (PARAMETER_WORDGAP, word_gap),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._synthesise(text)
        return self._samples(), _word_times(text, self._marks)

    def _choose_voice(self, voice: str) -> None:
        variant = voice.partition("+")[2]
        # espeak-ng silently uses another voice if there is no such variant
        missing = variant and not (self._data / "voices" / "!v" / variant).is_file()
        if missing or self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SpeechSynthesisError(
                f"espeak-ng has no voice '{voice}'; give a language, or LANGUAGE+VARIANT with "
                f"one of the variants in {self._data / 'voices' / '!v'}"
            )

    def _synthesise(self, text: str) -> None:
        self._chunks, self._marks = [], []
        content = text.encode()
        size = ctypes.c_size_t(len(content) + 1)
        flags = CHARS_UTF8 | PHONEMES
        if self._library.espeak_Synth(content, size, 0, 1, 0, flags, None, None) != 0:
            raise SpeechSynthesisError(f"espeak-ng failed to speak '{text}'; shorten it")

    def _samples(self) -> Samples:
        if not self._chunks:
            return np.zeros(0, np.float32)
        samples = np.concatenate(self._chunks).astype(np.float32) / 32768
        resampled: Samples = np.asarray(
            soxr.resample(samples, self._rate, SAMPLE_RATE), dtype=np.float32
        )
        clipped: Samples = np.clip(resampled, -1.0, 1.0)
        return clipped

    def _receive(
        self,
        samples: ctypes._Pointer[ctypes.c_short],
        count: int,
        events: ctypes._Pointer[_Event],
    ) -> int:
        """Store a buffer of samples and its events; returning 0 makes espeak-ng continue."""
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != EVENT_LIST_TERMINATED:
            self._marks.append(_mark(events[index]))
            index += 1
        return 0


def data_folder() -> Path:
    """Return the folder of espeak-ng's data. Raises `PackageError` if it is not installed."""
    return Path(_loader().get_data_path())


def _loader() -> ModuleType:
    with packages_for("synthetic speech"):
        import espeakng_loader
    found: ModuleType = espeakng_loader
    return found


def _mark(event: _Event) -> _Mark:
    # only phoneme events contain a string; the union holds a number or an address otherwise
    is_phoneme = event.type == EVENT_PHONEME
    phoneme = event.id.string.decode(errors="replace") if is_phoneme else ""
    time = event.audio_position / 1000
    return _Mark(event.type, event.text_position, event.length, time, phoneme)


def _load_copy(library: Path) -> ctypes.CDLL:
    """Load a copy of a library, so that its global variables are not shared."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = Path(shutil.copy(library, folder))
        try:
            loaded = ctypes.CDLL(str(copy))
        except OSError as error:
            raise SpeechSynthesisError(
                f"{library}: cannot be loaded ({error}); reinstall espeakng-loader"
            ) from None
    return loaded


def _word_times(text: str, marks: list[_Mark]) -> list[WordTime]:
    starts = [index for index, mark in enumerate(marks) if mark.type == EVENT_WORD]
    words = []
    for first, last in pairwise([*starts, len(marks)]):
        word = marks[first]
        following = marks[first + 1 : last + 1]
        # names of pauses start with an underscore
        ends = [
            mark.time
            for mark in following
            if mark.phoneme.startswith("_") or mark.type in (EVENT_WORD, EVENT_END)
        ]
        begin = word.position - 1
        words.append(WordTime(text[begin : begin + word.length], word.time, ends[0]))
    return words
