"""One utterance as the checks see it: small, so that a whole corpus of them fits into memory.

Its recording is decoded as training will, and what it holds is boiled down to a few facts.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import soundfile
from lhotse.cut import Cut
from torch.utils.data import DataLoader, Dataset

from keyframe_asr.config.model import NormalisationName
from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.manifest import audio_path, speaker, text
from keyframe_asr.errors import AudioError, ManifestError
from keyframe_asr.losses.ctc import frames_needed
from keyframe_asr.text.forms import Language, normalise_text
from keyframe_asr.text.tokenizer import Tokenizer
from keyframe_asr.timing import encoder_frame_seconds

FULL_SCALE = 0.999
"""Samples of at least this size count as clipped; the largest 16-bit sample is 0.99997."""


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What one recording, or the part of it that an utterance is, holds.

    Attributes:
        sample_rate: of the file, in hertz; 0 if it has no header that can be read.
        channels: of the file, 0 likewise.
        problem: kind of finding, "" if the audio can be used.
        reason: why, for people.
        silent: every sample is 0.
        clipped: share of the samples at full scale, as the model hears them (16 kHz, mono).
        digest: equal for equal samples at 16 kHz; empty if there is a problem or silence.
    """

    sample_rate: int = 0
    channels: int = 0
    problem: str = ""
    reason: str = ""
    silent: bool = False
    clipped: float = 0.0
    digest: bytes = b""


@dataclass(frozen=True)
class Reading:
    """How texts are read.

    Attributes:
        language: of the texts.
        normalisation: their normal form; None is that of the language.
        tokenizer: None counts characters, spaces left out, where there would be tokens.
        subsampling_factor: fbank frames in an encoder frame.
    """

    language: Language
    tokenizer: Tokenizer | None = None
    subsampling_factor: int = 4
    normalisation: NormalisationName | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """What the checks need to know of an utterance.

    Attributes:
        id: its name.
        speaker: "" if not known.
        text: as it stands in the manifest.
        sentence: the text in its normal form.
        seconds: of audio, as the manifest says.
        units: tokens of the sentence, or characters.
        frames_needed: encoder frames that CTC needs for them.
        frames: encoder frames that there are.
        unknown: what the tokenizer lacks, each as often as it comes.
        audio: what its recording holds.
    """

    id: str
    speaker: str
    text: str
    sentence: str
    seconds: float
    units: int
    frames_needed: int
    frames: float
    unknown: tuple[str, ...]
    audio: AudioFacts


def listen(cuts: Sequence[Cut], workers: int = 0) -> Iterator[AudioFacts]:
    """Facts of each cut, in order; decoded by `workers` processes beside this one."""
    yield from DataLoader(_Recordings(cuts), batch_size=None, num_workers=workers)


def audio_facts(cut: Cut) -> AudioFacts:
    """Decode the audio of a cut, all of it."""
    path = audio_path(cut)
    try:
        samples = read_samples(cut)
    except (AudioError, ManifestError) as error:
        rate, channels = _header(path)
        reason = str(error).removeprefix(f"{path}: ").partition("; ")[0]
        return AudioFacts(rate, channels, _problem(path, error), reason)
    rate, channels = _header(path)
    if not samples.size:
        return AudioFacts(rate, channels, "audio-empty", "0 samples")
    if not samples.any():
        return AudioFacts(rate, channels, silent=True)
    clipped = float(np.mean(np.abs(samples) >= FULL_SCALE))
    digest = blake2b(samples.tobytes(), digest_size=16).digest()
    return AudioFacts(rate, channels, clipped=clipped, digest=digest)


def read_utterance(cut: Cut, audio: AudioFacts, reading: Reading) -> Utterance:
    """Put together what text and audio of a cut hold."""
    sentence = normalise_text(text(cut), reading.normalisation or reading.language)
    tokenizer = reading.tokenizer
    units = tokenizer.encode(sentence) if tokenizer else list("".join(sentence.split()))
    return Utterance(
        id=cut.id,
        speaker=speaker(cut),
        text=text(cut),
        sentence=sentence,
        seconds=cut.duration,
        units=len(units),
        frames_needed=frames_needed(units),
        frames=cut.duration / encoder_frame_seconds(reading.subsampling_factor),
        unknown=tuple(tokenizer.unknown(sentence)) if tokenizer else (),
        audio=audio,
    )


def guess_language(texts: Iterable[str]) -> Language:
    """Mandarin if most letters are Han characters, English otherwise."""
    han = letters = 0
    for line in texts:
        for symbol in filter(str.isalpha, line):
            letters += 1
            han += unicodedata.name(symbol, "").startswith("CJK")
    return "mandarin" if 2 * han > letters else "english"


class _Recordings(Dataset[AudioFacts]):
    def __init__(self, cuts: Sequence[Cut]) -> None:
        self._cuts = cuts

    def __len__(self) -> int:
        return len(self._cuts)

    def __getitem__(self, index: int) -> AudioFacts:
        return audio_facts(self._cuts[index])


def _header(path: Path) -> tuple[int, int]:
    try:
        info = soundfile.info(os.fsencode(path))
    except (OSError, soundfile.SoundFileError, TypeError, ValueError):
        return 0, 0
    return info.samplerate, info.channels


def _problem(path: Path, error: AudioError | ManifestError) -> str:
    """The kind of a failure; a look at the file tells what the error says to people only."""
    try:
        if not path.is_file():
            return "audio-missing"
        if not path.stat().st_size:
            return "audio-empty"
        samples, _ = soundfile.read(os.fsencode(path), dtype="float32")
    except (OSError, soundfile.SoundFileError, TypeError, ValueError, MemoryError):
        return "audio-unreadable"
    if isinstance(error, ManifestError):
        return "audio-duration" if samples.size else "audio-empty"
    return "audio-unreadable" if np.isfinite(samples).all() else "audio-not-finite"
