"""Replay: other speech mixed into the training data, so that the model does not forget it.

Rehearsal of old data, or of similar data, is the plainest remedy for forgetting (Robins,
"Catastrophic forgetting, rehearsal and pseudorehearsal", Connection Science 1995).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lhotse import CutSet
from lhotse.cut import Cut

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.data.corpora.synthetic.espeak import data_folder
from keyframe_asr.data.fitting_texts import fit_texts
from keyframe_asr.data.manifest import load_manifest
from keyframe_asr.data.sources import load_source
from keyframe_asr.errors import ManifestError
from keyframe_asr.fine_tuning.options import NO_REPLAY, SYNTHETIC
from keyframe_asr.fine_tuning.speech import place_of
from keyframe_asr.text.tokenizer import Tokenizer

DEFAULT_SHARE = 0.3
"""Share of replay in an epoch, if the plan has none but replay is given."""

FEWEST = 4
"""Fewer recordings are not divided into those to mix in and those to measure."""

MOST_MEASURED = 100
"""Most recordings on which forgetting is measured."""

SECONDS_PER_SENTENCE = 3.0


@dataclass(frozen=True)
class Replay:
    """Other speech: `train` to mix in, `held_out` to measure forgetting."""

    train: CutSet
    held_out: CutSet


def is_manifest(source: str | None) -> bool:
    """True if a value of `replay` names recordings."""
    return source not in (None, NO_REPLAY, SYNTHETIC)


def open_replay(
    source: str | None, language: str, form: TextForm, tokenizer: Tokenizer, own: Iterable[Cut]
) -> list[Cut] | SyntheticCorpus | None:
    """Find replay, and check that it can be used; writes nothing. None if none is wanted.

    Args:
        source: a manifest, `synthetic`, or `none`.
        language: tag of the language that is synthesised.
        form: of the texts.
        tokenizer: recordings that it cannot write are left out.
        own: recordings for training and development, which are left out, too.

    Raises:
        PackageError: espeak-ng is not installed.
        ManifestError: the manifest cannot be used, or there are no sentences in the language.
    """
    if source in (None, NO_REPLAY):
        return None
    if source == SYNTHETIC:
        data_folder()
        return SyntheticCorpus(language)
    assert source is not None
    used = {place_of(cut) for cut in own}
    fitted = fit_texts(load_source(source).cuts, tokenizer, form)
    found = [cut for cut in fitted.cuts if place_of(cut) not in used]
    if len(found) < FEWEST:
        why = fitted.line or "the others are those of the fine-tuning"
        raise ManifestError(
            f"{source}: only {len(found)} of its recordings can be replayed ({why}); give at least "
            f"{FEWEST} others"
        )
    return found


def draw_replay(
    found: list[Cut] | SyntheticCorpus,
    seconds: float,
    form: TextForm,
    tokenizer: Tokenizer,
    folder: Path,
    progress: Callable[[str, int, int], None],
) -> Replay:
    """Choose what to mix in and what to measure; the same every time.

    Args:
        found: by `open_replay`.
        seconds: how much of it to mix in.
        form: of the texts.
        tokenizer: sentences that it cannot write are left out.
        folder: where synthetic speech is written.
        progress: called while it is spoken.

    Raises:
        SpeechSynthesisError: espeak-ng does not speak the language.
        ManifestError: the tokenizer can write no synthetic sentence.
    """
    if isinstance(found, SyntheticCorpus):
        count = max(20, round(seconds / SECONDS_PER_SENTENCE))
        corpus = replace(found, train=count, dev=min(count, MOST_MEASURED), test=0)
        files = make_corpus(folder, corpus, progress=progress, overwrite=True)
        spoken = [fit_texts(load_manifest(files[one]), tokenizer, form) for one in ("train", "dev")]
        train, held = (_renamed(fitted.cuts) for fitted in spoken)
        if not train:
            raise ManifestError(
                f"no synthetic sentence can be replayed: {spoken[0].line}; give a manifest"
            )
        return Replay(CutSet.from_cuts(train), CutSet.from_cuts(held))
    every = sorted(_renamed(found), key=_drawn)
    held = every[: min(len(every) // 4, MOST_MEASURED)]
    train = list(_for_seconds(every[len(held) :], seconds))
    return Replay(CutSet.from_cuts(train), CutSet.from_cuts(held))


def _renamed(cuts: Iterable[Cut]) -> list[Cut]:
    """Cuts with names that are not those of the training data."""
    return [cut.with_id(f"replay-{cut.id}") for cut in cuts]


def _for_seconds(cuts: Iterable[Cut], seconds: float) -> Iterable[Cut]:
    for cut in cuts:
        if seconds <= 0:
            return
        seconds -= cut.duration
        yield cut


def _drawn(cut: Cut) -> bytes:
    """Order that depends on nothing but the name."""
    return hashlib.blake2b(cut.id.encode("utf-8", "surrogatepass")).digest()
