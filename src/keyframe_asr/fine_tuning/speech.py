"""The recordings of a fine-tuning: read, divided, and with texts that the model can spell."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lhotse import CutSet
from lhotse.cut import Cut

from keyframe_asr.audio.archives import ArchivedAudio
from keyframe_asr.config.text_form import TextForm
from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.fitting_texts import Fitted, fit_texts
from keyframe_asr.data.holding_out import describe_division, train_and_dev
from keyframe_asr.data.manifest import audio_of, save_manifest, text
from keyframe_asr.data.sources import load_source
from keyframe_asr.errors import KeyframeError, ManifestError
from keyframe_asr.text.numbers import has_digits
from keyframe_asr.text.tokenizer import Tokenizer

FEWEST = 10
"""Fewer training recordings are refused."""

MOST_NAMED = 5
"""Unreadable recordings that are named one by one."""

MOST_LEFT_OUT = 0.5
"""If the model cannot spell a larger part of the texts, they are refused."""

Say = Callable[[str], None]
"""Prints a line of progress."""


@dataclass(frozen=True)
class Speech:
    """Recordings for training, and for development: choosing, and the error before and after."""

    train: CutSet
    dev: CutSet

    @property
    def hours(self) -> float:
        """Hours of the training recordings."""
        return float(sum(cut.duration for cut in self.train)) / 3600


def gather_speech(
    train: str, dev: str | None, say: Say, progress: Callable[[int, int], None]
) -> Speech:
    """Read the recordings; holds a development set out if none is given.

    Raises:
        ManifestError: a source cannot be used, or there are too few recordings.
    """
    source = load_source(train, progress)
    say(source.line)
    if dev is None:
        known, held = train_and_dev(source)
    else:
        given = load_source(dev, progress)
        say(given.line)
        held = given.splits.get("dev", given.cuts)
        every = source.splits.get("train", source.cuts)
        known = _without_shared(every, held, say)
    known, held = _readable(known, say, progress), _readable(held, say, progress)
    say(describe_division(known, held))
    return Speech(known, held)


def _readable(cuts: CutSet, say: Say, progress: Callable[[int, int], None]) -> CutSet:
    """Leave out and name recordings that cannot be decoded, which training would stop at."""
    kept: list[Cut] = []
    problems: list[str] = []
    for done, cut in enumerate(cuts, start=1):
        try:
            read_samples(cut)
        except KeyframeError as error:
            problems.append(str(error))
        else:
            kept.append(cut)
        progress(done, len(cuts))
    for problem in problems[:MOST_NAMED]:
        say(f"left out: {problem}")
    if rest := len(problems[MOST_NAMED:]):
        say(f"left out: {rest} more that cannot be read; keyframe check-data names all")
    return CutSet.from_cuts(kept)


def texts_in_form(cuts: Iterable[Cut], form: TextForm) -> list[str]:
    """Texts of recordings in a form, without those that cannot be used."""
    return [text(cut) for cut in fit_texts(cuts, None, form).cuts]


def fitting(
    speech: Speech, tokenizer: Tokenizer, form: TextForm, names: tuple[str, str], say: Say
) -> Speech:
    """Bring the texts into the form of the model; leaves out and tells what it cannot spell.

    Args:
        speech: with the texts as they are.
        tokenizer: of the model.
        form: of the model.
        names: of the training and the development recordings, for messages.
        say: tells what is left out.

    Raises:
        ManifestError: too much is left out, or too little is left.
    """
    fitted = [fit_texts(cuts, tokenizer, form) for cuts in (speech.train, speech.dev)]
    for name, one in zip(names, fitted, strict=True):
        _check(name, one)
        if one.line:
            say(f"{name}: {one.line}" + (f"; {_advice(one)}" if one.lost else ""))
    if len(fitted[0].cuts) < FEWEST:
        raise ManifestError(
            f"{names[0]}: {len(fitted[0].cuts)} recordings are too few to fine-tune; give at least "
            f"{FEWEST}, better 80 (five minutes)"
        )
    if not fitted[1].cuts:
        raise ManifestError(f"{names[1]}: no recording of it can be used; give others as DEV")
    return Speech(fitted[0].cuts, fitted[1].cuts)


def save_speech(cuts: Iterable[Cut], path: Path) -> Path:
    """Write a manifest into the folder of a fine-tuning."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_manifest(cuts, path)
    return path


def _check(name: str, fitted: Fitted) -> None:
    lost = len(fitted.left_out)
    if lost > MOST_LEFT_OUT * (lost + len(fitted.cuts)):
        advice = _advice(fitted) if fitted.lost else "add the texts"
        raise ManifestError(f"{name}: {fitted.line}; {advice}")


def _advice(fitted: Fitted) -> str:
    """What to do about the symbols that the model cannot spell."""
    numbers = any(has_digits(one.symbol) for one in fitted.lost)
    letters = any(one.symbol.strip() and not has_digits(one.symbol) for one in fitted.lost)
    found = ["write numbers in words, as they are spoken"] if numbers else []
    if letters or not numbers:  # the space around a number counts as lost with it
        found.append(
            "for another language or script give --language and --vocabulary new, to add letters "
            "--vocabulary extend"
        )
    return "; ".join(found)


def _without_shared(train: CutSet, dev: CutSet, say: Say) -> CutSet:
    """Leave recordings out of training that stand in the development set as well."""
    held = {place_of(cut) for cut in dev}
    kept = [cut for cut in train if place_of(cut) not in held]
    if shared := len(train) - len(kept):
        say(f"{shared} training recordings are also in the development set and are left out")
    return CutSet.from_cuts(kept)


def place_of(cut: Cut) -> tuple[Path | ArchivedAudio, float, float, int]:
    """Where the samples of a recording are: equal for the same ones under another name."""
    audio = audio_of(cut)
    place = audio.resolve() if isinstance(audio, Path) else audio
    return place, cut.start, cut.duration, cut.channel
