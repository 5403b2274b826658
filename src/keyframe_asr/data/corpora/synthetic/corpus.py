"""Synthetic corpora made with espeak-ng: free, offline, and with the times of all words.

The speakers are espeak-ng's variants of a voice; none occurs in two splits.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import soundfile
from lhotse.cut import MonoCut
from lhotse.supervision import AlignmentItem

from keyframe_asr.audio.reading import Samples
from keyframe_asr.config.text_choices import language_tag
from keyframe_asr.config.text_form import TextForm
from keyframe_asr.data.corpora.learned_files import learn_files, note_on_model, notes_on_tokens
from keyframe_asr.data.corpora.preparation_options import DEFAULT_OPTIONS, PreparationOptions
from keyframe_asr.data.corpora.summary import (
    CorpusSummary,
    begin,
    fingerprint,
    finished,
    manifest_paths,
    publish,
    stored_form,
    summarise,
)
from keyframe_asr.data.corpora.synthetic import sentences
from keyframe_asr.data.corpora.synthetic.espeak import (
    SpeechSynthesiser,
    SpeechSynthesisError,
    WordTime,
)
from keyframe_asr.data.corpora.synthetic.voices import (
    DEV_VOICES,
    TEST_VOICES,
    TRAIN_VOICES,
    voice_of,
)
from keyframe_asr.data.fitting_texts import fit_texts
from keyframe_asr.data.manifest import make_cut
from keyframe_asr.errors import ManifestError
from keyframe_asr.text.forms import normaliser, words_of_form
from keyframe_asr.text.tokenizer import Tokenizer
from keyframe_asr.timing import SAMPLE_RATE

VERSION = "2"
"""Raise this when the same recipe gives other audio or text than before."""

LINES_PER_HELD_OUT = 40
"""Of so many lines of a text file, one becomes dev, and one test."""

ENGLISH_ACCENTS = ("en-us", "en-us", "en-us", "en-us-nyc", "en", "en-gb-x-rp", "en-gb-scotland")


@dataclass(frozen=True)
class SyntheticCorpus:
    """Description of a synthetic corpus.

    Attributes:
        language: its tag (BCP 47), `english` or `mandarin`.
        train, dev, test: utterances of each split.
        seed: seed of texts, voices and noise.
        lines: normalised sentences to speak instead of generated ones, each once: first those of
            train, then dev, then test; after a tab, how espeak-ng is to read the sentence. If
            espeak-ng merges words ("in the"), the utterance has no word times.
    """

    language: str = "mandarin"
    train: int = 1500
    dev: int = 150
    test: int = 300
    seed: int = 1
    lines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        tag = language_tag(self.language)
        object.__setattr__(self, "language", {"en": "english", "zh": "mandarin"}.get(tag, tag))
        needed = self.train + self.dev + self.test
        if self.lines and len(self.lines) < needed:
            raise ManifestError(
                f"{needed} utterances need as many sentences, found {len(self.lines)}; give more"
            )
        if not self.lines and (said := sentences.primary(tag)) not in sentences.languages():
            raise ManifestError(
                f"there are no built-in sentences in '{said}', only in "
                f"{', '.join(sentences.languages())}; give a text file with sentences"
            )

    @property
    def tag(self) -> str:
        """Tag of the language (BCP 47)."""
        return language_tag(self.language)


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


def _style(recipe: SyntheticCorpus, form: TextForm, split: str) -> _Style:
    """Return how a split is spoken."""
    slowest, fastest, longest_gap = {"english": (100, 200, 12), "mandarin": (110, 190, 4)}.get(
        recipe.language, (110, 190, 8)
    )
    normal = normaliser(form)

    def sentence(generator: Random) -> tuple[str, str]:
        text, spoken = sentences.draw(recipe.tag, split, generator)
        return normal(text), spoken

    return _Style(
        accents=ENGLISH_ACCENTS if recipe.language == "english" else (voice_of(recipe.tag),),
        rates=(slowest, fastest),
        longest_gap=longest_gap,
        sentence=sentence,
        words=lambda text: words_of_form(text, form),
        needs_times=recipe.language in ("english", "mandarin"),
    )


def make_corpus(
    out: Path,
    recipe: SyntheticCorpus,
    texts: PreparationOptions | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write recordings (16-bit FLAC, 16 kHz) and train, dev and test manifests into `out`.

    Each supervision has the voice as its speaker. Its alignment `word` has the time of every word
    (a character in scripts without spaces), as far as espeak-ng reports them. Equal recipes give
    equal recordings. Does nothing if `out` already contains the result; restarts if it is
    incomplete.

    Args:
        out: folder to write.
        recipe: what to speak.
        texts: form and tokens of the texts; None is the usual form, and no tokenizer or feature
            statistics are written.
        progress: called with the name of the step, the number of utterances done and the total.
        overwrite: replace another complete corpus in `out`.

    Raises:
        SpeechSynthesisError: espeak-ng is not installed, or does not speak the language.
        RecipeError: the tokenizer cannot be trained on the texts.
        ManifestError: `out` contains another corpus.
    """
    out = Path(out).absolute()
    described = {key: value for key, value in asdict(recipe).items() if key != "lines" or value}
    parts = [repr(sorted(described.items())), str(out)] + ([repr(texts)] if texts else [])
    mark = fingerprint(f"synthetic {VERSION}", *parts)
    if finished(out, mark) is None:
        replaced = begin(out, overwrite)
        form = (texts or DEFAULT_OPTIONS).form(recipe.tag)
        counts = {"train": recipe.train, "dev": recipe.dev, "test": recipe.test}
        splits: dict[str, list[MonoCut]] = {split: [] for split in counts}
        for split, count in counts.items():
            for cut in _speak_split(out / "audio" / split, recipe, form, split, count):
                splits[split].append(cut)
                if progress:
                    done = sum(map(len, splits.values()))
                    progress("speaking", done, sum(counts.values()))
        tokenizer, stored, notes = _learned(splits, texts, form, out, progress)
        summary = CorpusSummary(
            corpus=f"synthetic-{recipe.language}",
            fingerprint=mark,
            splits={split: summarise(cuts, tokenizer) for split, cuts in splits.items()},
            notes=[
                "synthetic speech by espeak-ng; no voice occurs in two splits",
                *_notes_on_missing_splits(recipe),
                *notes,
            ],
            language=recipe.tag,
            text_form=stored_form(form),
            tokenizer=stored,
            model=str((texts or DEFAULT_OPTIONS).tokenizer or ""),
            statistics=(texts or DEFAULT_OPTIONS).features() is not None,
        )
        publish(out, summary, splits, replaced)
    return manifest_paths(out)


def _learned(
    splits: dict[str, list[MonoCut]],
    texts: PreparationOptions | None,
    form: TextForm,
    out: Path,
    progress: Callable[[str, int, int], None] | None,
) -> tuple[Tokenizer | None, dict[str, str | int | None] | None, list[str]]:
    """Write tokenizer and statistics; returns the tokenizer, its description, and notes."""
    if texts is None:
        return None, None, []
    config, trained = texts.tokenizer_config(form), texts.trained_tokenizer()
    notes = _without_unknown(splits, trained, form) if trained else []
    tokenizer = learn_files(
        splits["train"], trained or config, out, progress, features=texts.features()
    )
    if trained:
        return tokenizer, {"kind": trained.kind}, [*notes, *note_on_model(str(texts.tokenizer))]
    stored = config.model_dump(exclude={"of_model"})
    return tokenizer, stored, notes_on_tokens(tokenizer, config)


def _without_unknown(
    splits: dict[str, list[MonoCut]], tokenizer: Tokenizer, form: TextForm
) -> list[str]:
    """Take the utterances out of the splits that a tokenizer cannot spell, and say which."""
    notes = []
    for split, cuts in splits.items():
        fitted = fit_texts(cuts, tokenizer, form, "keep")
        splits[split] = [cut for cut in cuts if cut.id not in fitted.left_out]
        notes += [f"{split}: {fitted.line}"] if fitted.left_out else []
    return notes


def _notes_on_missing_splits(recipe: SyntheticCorpus) -> list[str]:
    """Say which sets are empty because a text file has few lines."""
    empty = [name for name in ("dev", "test") if not getattr(recipe, name)]
    if not recipe.lines or not empty:
        return []
    return [
        f"{', '.join(empty)}: no utterances; of every {LINES_PER_HELD_OUT} lines, the last two "
        f"become dev and test: give at least {LINES_PER_HELD_OUT}, found {len(recipe.lines)}"
    ]


def _speak_split(
    folder: Path, recipe: SyntheticCorpus, form: TextForm, split: str, count: int
) -> Iterator[MonoCut]:
    style = _style(recipe, form, split)
    folder.mkdir(parents=True, exist_ok=True)
    voices = {"train": TRAIN_VOICES, "dev": DEV_VOICES, "test": TEST_VOICES}[split]
    # one synthesiser per split, so that a split does not depend on the size of another
    synthesiser = SpeechSynthesiser()
    first = {"train": 0, "dev": recipe.train, "test": recipe.train + recipe.dev}[split]
    for number in range(count):
        yield _make_utterance(
            folder / f"{split}-{number:05d}.flac",
            Random(f"{recipe.seed} {recipe.language} {split} {number}"),
            voices,
            _saying(style, recipe.lines[first + number]) if recipe.lines else style,
            synthesiser,
        )


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
