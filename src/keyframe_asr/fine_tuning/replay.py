"""Replay: other speech mixed into the training data, so that the model does not forget it.

Rehearsal of old data, or of similar data, is the plainest remedy for forgetting (Robins,
"Catastrophic forgetting, rehearsal and pseudorehearsal", Connection Science 1995).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lhotse import CutSet
from lhotse.cut import Cut

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.data.corpora.summary import manifest_paths
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.data.fitting_texts import fit_texts
from keyframe_asr.data.manifest import load_manifest
from keyframe_asr.data.sources import load_source
from keyframe_asr.fine_tuning.options import NO_REPLAY, SYNTHETIC
from keyframe_asr.text.tokenizer import Tokenizer

DEFAULT_SHARE = 0.3
"""Share of replay in an epoch, if the plan has none but replay is given."""

MOST_MEASURED = 100
"""Most recordings on which forgetting is measured."""

SECONDS_PER_SENTENCE = 3.0


@dataclass(frozen=True)
class Replay:
    """Other speech: `train` to mix in, `held_out` to measure forgetting."""

    train: CutSet
    held_out: CutSet


def find_replay(
    source: str | None,
    seconds: float,
    language: str,
    form: TextForm,
    tokenizer: Tokenizer,
    folder: Path,
) -> Replay | None:
    """Read or synthesise replay; None if none is wanted.

    Args:
        source: a manifest, `synthetic`, or `none`.
        seconds: how much of it to mix in.
        language: tag of the language that is synthesised.
        form: of the texts.
        tokenizer: recordings that it cannot write are left out.
        folder: where synthetic speech is written.

    Raises:
        SpeechSynthesisError: espeak-ng is not installed, or does not speak the language.
        ManifestError: the manifest cannot be read, or there are no sentences in the language.
    """
    if source in (None, NO_REPLAY):
        return None
    if source == SYNTHETIC:
        count = max(20, round(seconds / SECONDS_PER_SENTENCE))
        corpus = SyntheticCorpus(language, train=count, dev=min(count, MOST_MEASURED), test=0)
        files = manifest_paths(folder)
        make_corpus(folder, corpus, overwrite=True)
        return Replay(load_manifest(files["train"]), load_manifest(files["dev"]))
    assert source is not None
    every = list(fit_texts(load_source(source).cuts, tokenizer, form).cuts)
    every = [cut.with_id(f"replay-{cut.id}") for cut in every]  # names may be those of the data
    every.sort(key=_drawn)
    held = every[: min(len(every) // 4, MOST_MEASURED)]
    return Replay(
        CutSet.from_cuts(_for_seconds(every[len(held) :], seconds)), CutSet.from_cuts(held)
    )


def _for_seconds(cuts: Iterable[Cut], seconds: float) -> Iterable[Cut]:
    for cut in cuts:
        if seconds <= 0:
            return
        seconds -= cut.duration
        yield cut


def _drawn(cut: Cut) -> bytes:
    """Order that depends on nothing but the name."""
    return hashlib.blake2b(cut.id.encode("utf-8", "surrogatepass")).digest()
