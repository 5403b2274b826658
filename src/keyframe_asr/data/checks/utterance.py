"""One utterance as the checks see it: small, so that a whole corpus of them fits into memory."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from lhotse.cut import Cut

from keyframe_asr.config.model import NormalisationName
from keyframe_asr.data.checks.audio import AudioFacts
from keyframe_asr.data.manifest import speaker, text
from keyframe_asr.losses.ctc import frames_needed
from keyframe_asr.text.forms import Language, normalise_text
from keyframe_asr.text.tokenizer import Tokenizer
from keyframe_asr.timing import encoder_frame_seconds


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
