"""Synthetic corpora made with espeak-ng: free, offline, and with the times of all words.

The speakers are espeak-ng's variants of a voice; none occurs in two splits.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import soundfile
from lhotse.cut import MonoCut
from lhotse.supervision import AlignmentItem

from keyframe_asr.audio.reading import Samples
from keyframe_asr.config.text_choices import language_tag
from keyframe_asr.data.corpora.summary import (
    CorpusSummary,
    begin,
    fingerprint,
    finished,
    manifest_paths,
    publish,
    summarise,
)
from keyframe_asr.data.corpora.synthetic import sentences
from keyframe_asr.data.corpora.synthetic.espeak import (
    SpeechSynthesiser,
    SpeechSynthesisError,
    WordTime,
)
from keyframe_asr.data.corpora.synthetic.grammars import grammar
from keyframe_asr.data.corpora.synthetic.voices import (
    DEV_VOICES,
    TEST_VOICES,
    TRAIN_VOICES,
    voice_of,
)
from keyframe_asr.data.manifest import make_cut
from keyframe_asr.errors import ManifestError
from keyframe_asr.timing import SAMPLE_RATE

VERSION = "2"
"""Raise this when the same recipe gives other audio or text than before."""

ENGLISH_ACCENTS = ("en-us", "en-us", "en-us", "en-us-nyc", "en", "en-gb-x-rp", "en-gb-scotland")


@dataclass(frozen=True)
class SyntheticCorpus:
    """Description of a synthetic corpus.

    Attributes:
        language: language of the texts.
        train, dev, test: utterances of each split.
        seed: seed of texts, voices and noise.
        lines: normalised sentences to speak instead of generated ones, each once: first those of
            train, then dev, then test. If espeak-ng merges words ("in the"), the utterance has no
            word times.
    """

    language: str = "mandarin"
    train: int = 1500
    dev: int = 150
    test: int = 300
    seed: int = 1
    lines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        needed = self.train + self.dev + self.test
        if self.lines and len(self.lines) < needed:
            raise ManifestError(
                f"{needed} utterances need as many sentences, found {len(self.lines)}; give more"
            )


@dataclass(frozen=True)
class _Style:
    """How to speak a language.

    Attributes:
        accents: espeak-ng voices to choose from.
        rates: range in words per minute.
        longest_gap: largest `word_gap` of `SpeechSynthesiser.say`.
        sentence: draws a sentence: its transcript, and the input of espeak-ng.
        words: splits a transcript into the units that have times.
        needs_times: True to draw another sentence if the times of one are unknown.
    """

    accents: tuple[str, ...]
    rates: tuple[int, int]
    longest_gap: int
    sentence: Callable[[Random], tuple[str, str]]
    words: Callable[[str], list[str]]
    needs_times: bool = False


def _style(recipe: SyntheticCorpus, split: str) -> _Style:
    """Return how a split is spoken."""
    if recipe.language == "mandarin":
        return _Style(("cmn",), (110, 190), 4, sentences.mandarin_sentence, list, needs_times=True)
    if recipe.language == "english":
        return _Style(
            accents=ENGLISH_ACCENTS,
            rates=(100, 200),
            longest_gap=12,
            sentence=sentences.english_sentence,
            words=str.split,
            needs_times=True,
        )
    return _Style(
        accents=(voice_of(recipe.language),),
        rates=(110, 190),
        longest_gap=8,
        sentence=lambda generator: _drawn(recipe.language, split, generator),
        words=str.split,
    )


def make_corpus(out: Path, recipe: SyntheticCorpus) -> dict[str, Path]:
    """Write recordings (16-bit FLAC, 16 kHz) and train, dev and test manifests into `out`.

    Each supervision has the voice as its speaker. Its alignment `word` has the time of every word
    (English) or character (Mandarin), as far as espeak-ng reports them. Equal recipes give equal
    recordings. Does nothing if `out` already contains the result; restarts if it is incomplete.

    Raises:
        SpeechSynthesisError: espeak-ng is not installed.
    """
    out = Path(out).absolute()
    described = {key: value for key, value in asdict(recipe).items() if key != "lines" or value}
    mark = fingerprint(f"synthetic {VERSION}", repr(sorted(described.items())), str(out))
    if finished(out, mark) is None:
        begin(out)
        counts = {"train": recipe.train, "dev": recipe.dev, "test": recipe.test}
        splits = {
            split: _make_split(out / "audio" / split, recipe, split, count)
            for split, count in counts.items()
        }
        notes = ["synthetic speech by espeak-ng; no voice occurs in two splits"]
        summary = CorpusSummary(
            corpus=f"synthetic-{recipe.language}",
            fingerprint=mark,
            splits={split: summarise(cuts) for split, cuts in splits.items()},
            notes=notes,
            language=language_tag(recipe.language),
            text_form=recipe.language,
        )
        publish(out, summary, splits)
    return manifest_paths(out)


def _make_split(folder: Path, recipe: SyntheticCorpus, split: str, count: int) -> list[MonoCut]:
    folder.mkdir(parents=True, exist_ok=True)
    style = _style(recipe, split)
    voices = {"train": TRAIN_VOICES, "dev": DEV_VOICES, "test": TEST_VOICES}[split]
    # one synthesiser per split, so that a split does not depend on the size of another
    synthesiser = SpeechSynthesiser()
    first = {"train": 0, "dev": recipe.train, "test": recipe.train + recipe.dev}[split]
    return [
        _make_utterance(
            folder / f"{split}-{number:05d}.flac",
            Random(f"{recipe.seed} {recipe.language} {split} {number}"),
            voices,
            _saying(style, recipe.lines[first + number]) if recipe.lines else style,
            synthesiser,
        )
        for number in range(count)
    ]


def _drawn(language: str, split: str, generator: Random) -> tuple[str, str]:
    sentence = grammar(language).draw(generator, split)
    return sentence, sentence


def _saying(style: _Style, line: str) -> _Style:
    """Return the style restricted to one sentence."""
    text, _, spoken = line.partition("\t")
    return replace(style, sentence=lambda _: (text, spoken or text.lower()), needs_times=False)


def _make_utterance(
    path: Path,
    generator: Random,
    voices: tuple[str, ...],
    style: _Style,
    synthesiser: SpeechSynthesiser,
) -> MonoCut:
    variant = generator.choice(voices)
    text, samples, times = _say(generator, variant, style, synthesiser)
    recording, lead = _record(samples, generator)
    encoded = io.BytesIO()
    soundfile.write(encoded, recording, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    path.write_bytes(encoded.getvalue())
    cut = make_cut(path.stem, variant, text, path, len(recording))
    if times:
        words = zip(style.words(text), times, strict=True)
        cut.supervisions[0].alignment = {"word": [_align(word, time, lead) for word, time in words]}
    return cut


def _say(
    generator: Random, variant: str, style: _Style, synthesiser: SpeechSynthesiser
) -> tuple[str, Samples, list[WordTime]]:
    """Speak a sentence; returns text, samples and one time per word, or no times."""
    while True:
        text, spoken = style.sentence(generator)
        samples, times = synthesiser.say(
            spoken,
            f"{generator.choice(style.accents)}+{variant}",
            rate=generator.randint(*style.rates),
            pitch=generator.randint(25, 75),
            pitch_range=generator.randint(35, 65),
            word_gap=generator.randint(0, style.longest_gap),
        )
        if not samples.any():
            raise SpeechSynthesisError(f"espeak-ng gives no audio for '{text}'; leave it out")
        # espeak-ng merges some words into one unit (九一八, "no one"); then draw another sentence
        if len(times) == len(style.words(text)):
            return text, samples, times
        if not style.needs_times:
            return text, samples, []


def _align(word: str, time: WordTime, lead: float) -> AlignmentItem:
    return AlignmentItem(word, round(time.start + lead, 4), round(time.end - time.start, 4))


def _record(speech: Samples, generator: Random) -> tuple[Samples, float]:
    """Add silence around speech (S,), white noise at 15 to 40 dB SNR, and a random level.

    Returns:
        The recording (R,), and the seconds of silence before the speech.
    """
    lead, trail = (round(generator.uniform(0.1, 0.4) * SAMPLE_RATE) for _ in range(2))
    power = float(np.mean(np.square(speech), dtype=np.float64))
    noise_level = np.sqrt(power) * 10 ** (-generator.uniform(15, 40) / 20)
    noise = np.random.default_rng(generator.getrandbits(64)).standard_normal(
        lead + len(speech) + trail, dtype=np.float32
    )
    recording = np.pad(speech, (lead, trail)) + np.float32(noise_level) * noise
    # levels are uniform in decibels
    peak = 10 ** generator.uniform(-1.0, -0.05)
    return (recording * np.float32(peak / np.abs(recording).max())), lead / SAMPLE_RATE
