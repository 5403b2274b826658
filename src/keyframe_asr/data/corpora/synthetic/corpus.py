"""Corpora the project makes itself with espeak-ng: free, offline, and with the time of every word.

Voices are espeak-ng's variants. Those of the test and development sets are never heard in
training, and no voice of these sets has a near twin in training: pairs of variants whose average
log-mel spectra are close to the same (Gene and Gene2, Mike and m3, ...) are not split, but one of
them is left out. Whispers, robots and effects are left out too.
"""

# ruff: noqa: SIM905 (a list of words is easier to read as a line of text)
from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
import soundfile
from lhotse.cut import MonoCut
from lhotse.supervision import AlignmentItem

from keyframe_asr.audio.reading import Samples
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
from keyframe_asr.data.manifest import make_cut
from keyframe_asr.errors import ManifestError
from keyframe_asr.timing import SAMPLE_RATE

VERSION = "2"
"""To be raised whenever the same recipe gives other sound or text than before."""

TRAIN_VOICES = tuple(
    "Alex Alicia Denis Mario adam aunty f2 f4 f5 grandma grandpa john klatt4 linda m3 m4 m5 m6 m8 "
    "max miguel paul quincy steph "
    "Andrea Andy Gene Jacky anika antonio benjamin boris edward klatt3 marcelo mike2 norbert pablo "
    "pedro sandro travis victor".split()
)
DEV_VOICES = ("belinda", "f1", "iven4", "m1", "rob")
TEST_VOICES = ("Annie", "david", "ed", "f3", "gustave", "m2", "m7", "shelby")


@dataclass(frozen=True)
class SyntheticCorpus:
    """Which corpus to make; the splits are counted in utterances.

    Attributes:
        lines: sentences in the language's normal form, to be said instead of its own kinds: first
            those of train, then dev, then test, each once. Where espeak-ng takes several words for
            one ("in the"), an utterance has no word times.
    """

    language: Literal["mandarin", "english"] = "mandarin"
    train: int = 1500
    dev: int = 150
    test: int = 300
    seed: int = 1
    lines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        needed = self.train + self.dev + self.test
        if self.lines and len(self.lines) < needed:
            raise ManifestError(
                f"{needed} utterances are wanted of {len(self.lines)} sentences; give more of them"
            )


@dataclass(frozen=True)
class _Style:
    """What is said in a language and how: rates in words a minute, gaps as in `say`.

    `patient`: whether another sentence may take the place of one whose times are unknown.
    """

    accents: tuple[str, ...]
    rates: tuple[int, int]
    longest_gap: int
    sentence: Callable[[Random], str]
    words: Callable[[str], list[str]]
    spoken: Callable[[str], str]
    patient: bool = True


_STYLES = {
    "mandarin": _Style(
        accents=("cmn",),
        rates=(110, 190),
        longest_gap=4,
        sentence=sentences.mandarin_sentence,
        words=sentences.mandarin_words,
        spoken=sentences.mandarin_spoken,
    ),
    "english": _Style(
        accents=("en-us", "en-us", "en-us", "en-us-nyc", "en", "en-gb-x-rp", "en-gb-scotland"),
        rates=(100, 200),
        longest_gap=12,
        sentence=sentences.english_sentence,
        words=sentences.english_words,
        spoken=sentences.english_spoken,
    ),
}


def make_corpus(out: Path, recipe: SyntheticCorpus) -> dict[str, Path]:
    """Write recordings (16-bit FLAC, 16 kHz) and train, dev and test manifests into `out`.

    Each supervision has the voice as its speaker and, as its alignment `word`, the time of every
    word (English) or character (Mandarin), as far as espeak-ng tells it. Equal recipes give equal
    recordings. Does nothing if
    `out` already holds the whole result; an interrupted result is made anew.

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
        notes = ["speech made by espeak-ng; no voice occurs in two splits"]
        summary = CorpusSummary(
            corpus=f"synthetic-{recipe.language}",
            fingerprint=mark,
            splits={split: summarise(cuts) for split, cuts in splits.items()},
            notes=notes,
            language=recipe.language,
            normalisation=recipe.language,
        )
        publish(out, summary, splits)
    return manifest_paths(out)


def _make_split(folder: Path, recipe: SyntheticCorpus, split: str, count: int) -> list[MonoCut]:
    folder.mkdir(parents=True, exist_ok=True)
    style = _STYLES[recipe.language]
    voices = {"train": TRAIN_VOICES, "dev": DEV_VOICES, "test": TEST_VOICES}[split]
    # One synthesiser a split: a split does not depend on the size of another.
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


def _saying(style: _Style, line: str) -> _Style:
    """The style with one sentence only."""
    # the letter A is an article here
    return replace(style, sentence=lambda _: line, spoken=str.lower, patient=False)


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
    """A sentence of the style, spoken; its words and their times are equally many, or no times."""
    while True:
        text = style.sentence(generator)
        samples, times = synthesiser.say(
            style.spoken(text),
            f"{generator.choice(style.accents)}+{variant}",
            rate=generator.randint(*style.rates),
            pitch=generator.randint(25, 75),
            pitch_range=generator.randint(35, 65),
            word_gap=generator.randint(0, style.longest_gap),
        )
        if not samples.any():
            raise SpeechSynthesisError(f"espeak-ng says nothing for '{text}'; leave it out")
        # espeak takes a few words for one unit (九一八, "no one"): then something else is said.
        if len(times) == len(style.words(text)):
            return text, samples, times
        if not style.patient:
            return text, samples, []


def _align(word: str, time: WordTime, lead: float) -> AlignmentItem:
    return AlignmentItem(word, round(time.start + lead, 4), round(time.end - time.start, 4))


def _record(speech: Samples, generator: Random) -> tuple[Samples, float]:
    """Speech (S,) with silence around it, white noise 15 to 40 dB below it, and a random level.

    Returns:
        the recording (R,) and the seconds of silence before the speech.
    """
    lead, trail = (round(generator.uniform(0.1, 0.4) * SAMPLE_RATE) for _ in range(2))
    power = float(np.mean(np.square(speech), dtype=np.float64))
    noise_level = np.sqrt(power) * 10 ** (-generator.uniform(15, 40) / 20)
    noise = np.random.default_rng(generator.getrandbits(64)).standard_normal(
        lead + len(speech) + trail, dtype=np.float32
    )
    recording = np.pad(speech, (lead, trail)) + np.float32(noise_level) * noise
    # Loudness is perceived, and varies between speakers, in ratios.
    peak = 10 ** generator.uniform(-1.0, -0.05)
    return (recording * np.float32(peak / np.abs(recording).max())), lead / SAMPLE_RATE
