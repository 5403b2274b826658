"""Facts about an utterance for the checks, small enough to keep a whole corpus in memory.

Recordings are decoded in the same way as in training.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from lhotse.cut import Cut
from lhotse.serialization import deserialize_item

from keyframe_asr.audio.archives import ArchivedAudio
from keyframe_asr.audio.byte_source import name_of
from keyframe_asr.audio.decoding import BLOCK_FRAMES, opened_sound
from keyframe_asr.audio.uris import is_uri
from keyframe_asr.config.text_form import TextForm
from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.fitting_texts import TextRules
from keyframe_asr.data.manifest import audio_channel, audio_of, speaker, text
from keyframe_asr.data.packed_cuts import PackedCuts
from keyframe_asr.data.parallel import each
from keyframe_asr.errors import AudioError, ManifestError
from keyframe_asr.text.forms import Losses, normaliser
from keyframe_asr.text.tokenizer import Tokenizer
from keyframe_asr.timing import encoder_frame_seconds, frames_needed

FULL_SCALE = 0.999
"""Samples of at least this magnitude count as clipped; the largest 16-bit sample is 0.99997."""


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """Facts about the audio of an utterance.

    Attributes:
        sample_rate: sample rate of the file in hertz; 0 if its header cannot be read.
        channels: channels of the file; 0 if its header cannot be read.
        averaged: True if the mean of several channels is used, since the cut names none.
        problem: kind of finding; "" if the audio can be used.
        reason: description of the problem.
        silent: True if every sample is 0.
        clipped: fraction of samples at full scale, after conversion to 16 kHz mono.
        digest: digest of the samples at 16 kHz; empty if there is a problem or silence.
    """

    sample_rate: int = 0
    channels: int = 0
    problem: str = ""
    reason: str = ""
    silent: bool = False
    clipped: float = 0.0
    digest: bytes = b""
    averaged: bool = False


@dataclass(frozen=True)
class Reading:
    """How texts are normalised and counted.

    Attributes:
        text_form: form of the texts.
        tokenizer: None counts characters without spaces instead of tokens.
        subsampling_factor: fbank frames per encoder frame.
        rules: which texts fine-tuning of a model can use; None without a model.
    """

    text_form: TextForm
    tokenizer: Tokenizer | None = None
    subsampling_factor: int = 4
    rules: TextRules | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """Facts about an utterance.

    Attributes:
        id: name of the utterance.
        speaker: "" if unknown.
        text: text in the manifest.
        sentence: normalised text.
        seconds: duration according to the manifest.
        units: number of tokens or characters of the sentence.
        frames_needed: encoder frames that CTC needs for the sentence.
        frames: encoder frames of the audio.
        unknown: units that the tokenizer lacks, with repeats.
        audio: facts about the audio.
        losses: what the form drops of the text.
        left_out: why fine-tuning of a model would leave it out; "" if it would not.
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
    losses: Losses
    left_out: str = ""


def decode_all(cuts: PackedCuts, jobs: int = 1) -> Iterator[AudioFacts]:
    """Yield facts about the audio of each cut, in order; decodes in `jobs` processes if several."""
    if jobs <= 1:
        yield from map(audio_facts, cuts)
        return
    yield from each(_facts_of_line, map(cuts.line, range(len(cuts))), jobs)


def _facts_of_line(line: str) -> AudioFacts:
    return audio_facts(deserialize_item(json.loads(line)))


def audio_facts(cut: Cut) -> AudioFacts:
    """Decode the whole audio of a cut and collect facts about it."""
    path = audio_of(cut)
    try:
        samples = read_samples(cut)
    except (AudioError, ManifestError) as error:
        rate, channels = _header(path)
        reason = str(error).removeprefix(f"{name_of(path)}: ").partition("; ")[0]
        return AudioFacts(rate, channels, _problem(path, error), reason)
    rate, channels = _header(path)
    if not samples.size:
        return AudioFacts(rate, channels, "audio-empty", "0 samples")
    averaged = channels > 1 and audio_channel(cut) is None
    if not samples.any():
        return AudioFacts(rate, channels, silent=True, averaged=averaged)
    clipped = float(np.mean(np.abs(samples) >= FULL_SCALE))
    digest = blake2b(samples.tobytes(), digest_size=16).digest()
    return AudioFacts(rate, channels, clipped=clipped, digest=digest, averaged=averaged)


def read_utterance(cut: Cut, audio: AudioFacts, reading: Reading) -> Utterance:
    """Combine the facts about text and audio of a cut."""
    normalise = normaliser(reading.text_form)
    sentence = normalise(text(cut))
    tokenizer = reading.tokenizer
    units = tokenizer.encode(sentence) if tokenizer else list("".join(sentence.split()))
    needed = frames_needed(units)
    frames = cut.duration / encoder_frame_seconds(reading.subsampling_factor)
    left_out = ""
    if reading.rules:
        left_out = audio.reason or reading.rules.unusable(text(cut)) or ""
        left_out = left_out or ("its text is longer than its audio" if needed > frames else "")
    return Utterance(
        id=cut.id,
        speaker=speaker(cut),
        text=text(cut),
        sentence=sentence,
        seconds=cut.duration,
        units=len(units),
        frames_needed=needed,
        frames=frames,
        unknown=tuple(tokenizer.unknown(sentence)) if tokenizer else (),
        audio=audio,
        losses=normalise.losses(text(cut)),
        left_out=left_out,
    )


def _header(path: Path | ArchivedAudio) -> tuple[int, int]:
    try:
        with opened_sound(path) as sound:
            return sound.sample_rate, sound.channels
    except AudioError:
        return 0, 0


def _problem(path: Path | ArchivedAudio, error: AudioError | ManifestError) -> str:
    """Determine the kind of a failure from the file; the error has only a message."""
    finite = True
    try:
        file = Path(path.archive) if isinstance(path, ArchivedAudio) else path
        if not (isinstance(path, ArchivedAudio) and is_uri(path.archive)):
            if not os.path.isfile(file):
                return "audio-missing"
            if not file.stat().st_size:
                return "audio-empty"
        with opened_sound(path) as sound:
            while len(block := sound.read(BLOCK_FRAMES)):
                finite &= bool(np.isfinite(block).all())
            size = sound.position
    except (AudioError, OSError, ValueError):
        return "audio-unreadable"
    if isinstance(error, ManifestError):
        return "audio-duration" if size else "audio-empty"
    return "audio-unreadable" if finite else "audio-not-finite"
