"""The recordings of a fine-tuning: read, divided, and with texts in the form of the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lhotse import CutSet
from lhotse.cut import Cut

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.data.manifest import audio_path, load_manifest, save_manifest, text
from keyframe_asr.errors import ManifestError
from keyframe_asr.text.forms import normaliser
from keyframe_asr.text.tokenizer import Tokenizer

FEWEST = 10
"""Fewer training recordings are refused."""

MOST_UNSPELLABLE = 0.5
"""If a larger part of the texts cannot be written with the model's units, they are refused."""

_LISTED = 12


@dataclass(frozen=True)
class Speech:
    """Recordings with texts in the form of the model.

    Attributes:
        train: for training.
        dev: for choosing, and for the error before and after.
    """

    train: CutSet
    dev: CutSet

    @property
    def hours(self) -> float:
        """Hours of the training recordings."""
        return sum(cut.duration for cut in self.train) / 3600


def gather_speech(
    train: str, dev: str | None, form: TextForm, say: Callable[[str], None]
) -> Speech:
    """Read the recordings and bring their texts into a form; holds a dev set out if none is given.

    Raises:
        ManifestError: a source cannot be used, or there are too few recordings.
    """
    known = load_manifest(train)
    if dev is None:
        known, held = _held_out(known)
        say(f"{len(held)} of the recordings are held out as a development set")
    else:
        held = load_manifest(dev)
        known = _without_shared(known, held, say)
    speech = Speech(_in_form(known, form), _in_form(held, form))
    if len(speech.train) < FEWEST:
        raise ManifestError(
            f"{train}: {len(speech.train)} recordings are too few to fine-tune; give at least "
            f"{FEWEST}, better 80 (5 minutes)"
        )
    return speech


def spellable(
    cuts: Iterable[Cut], tokenizer: Tokenizer, name: str, say: Callable[[str], None]
) -> CutSet:
    """Leave out the recordings whose text has units that the tokenizer lacks, and list these.

    Raises:
        ManifestError: that are more than `MOST_UNSPELLABLE` of the recordings.
    """
    kept, lacking, total = [], Counter[str](), 0
    for cut in cuts:
        total += 1
        unknown = tokenizer.unknown(text(cut))
        lacking.update(unknown)
        if not unknown:
            kept.append(cut)
    lost = total - len(kept)
    if not lost:
        return CutSet.from_cuts(kept)
    units = " ".join(unit for unit, _ in lacking.most_common(_LISTED))
    units += " ..." if len(lacking) > _LISTED else ""
    if lost > MOST_UNSPELLABLE * total:
        raise ManifestError(
            f"{name}: the model cannot spell {lost} of {total} texts, it lacks {units}; use "
            "--vocabulary new for another language or script, or --vocabulary extend to add these"
        )
    say(
        f"{name}: {lost} of {total} recordings are left out, the model cannot spell {units} "
        "(--vocabulary extend adds these)"
    )
    return CutSet.from_cuts(kept)


def save_speech(cuts: Iterable[Cut], path: Path) -> Path:
    """Write a manifest into the folder of a fine-tuning."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_manifest(cuts, path)
    return path


def _held_out(cuts: CutSet) -> tuple[CutSet, CutSet]:
    every = list(cuts)
    return (
        CutSet.from_cuts(cut for number, cut in enumerate(every) if number % 10),
        CutSet.from_cuts(cut for number, cut in enumerate(every) if not number % 10),
    )


def _without_shared(train: CutSet, dev: CutSet, say: Callable[[str], None]) -> CutSet:
    """Leave recordings out of training that stand in the development set as well."""
    held = {_place(cut) for cut in dev}
    kept = [cut for cut in train if _place(cut) not in held]
    if shared := len(train) - len(kept):
        say(f"{shared} training recordings are also in the development set and are left out")
    return CutSet.from_cuts(kept)


def _place(cut: Cut) -> tuple[Path, float, float, int]:
    return audio_path(cut), cut.start, cut.duration, cut.channel


def _in_form(cuts: Iterable[Cut], form: TextForm) -> CutSet:
    normal = normaliser(form)
    return CutSet.from_cuts(CutSet.from_cuts(cuts).transform_text(normal))
