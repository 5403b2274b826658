"""Files that a preparation learns from the training split: tokenizer and feature statistics."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from lhotse.cut import Cut

from keyframe_asr.audio.features import Fbank
from keyframe_asr.config.model import FeaturesConfig
from keyframe_asr.config.recipe import TokenizerConfig
from keyframe_asr.data.corpora.summary import write_lines
from keyframe_asr.data.feature_store import FeatureStore
from keyframe_asr.data.manifest import text
from keyframe_asr.data.statistics import STATISTICS_FILE, measure_statistics
from keyframe_asr.errors import KeyframeError, ManifestError
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.text.tokenizer import Tokenizer, train_tokenizer

DEFAULT_FEATURES = FeaturesConfig()


def learn_files(
    cuts: Sequence[Cut],
    tokens: TokenizerConfig | Tokenizer,
    out: Path,
    progress: Callable[[str, int, int], None] | None = None,
    unreadable: Callable[[Cut, KeyframeError], None] | None = None,
    features: FeaturesConfig | None = DEFAULT_FEATURES,
    jobs: int = 1,
) -> Tokenizer:
    """Write the tokenizer and the feature statistics of a training split into `out`.

    Args:
        cuts: the training split.
        tokens: a tokenizer, or the `tokenizer` section of a recipe, to train one.
        out: folder to write.
        progress: called with the name of the step, the number of utterances done and the total.
        unreadable: called with each cut that cannot be read; its text is not used.
        features: whose statistics are measured; None measures none and opens no recording.
        jobs: processes that measure.

    Raises:
        RecipeError: the tokenizer cannot be trained on the texts.
        AudioError, ManifestError: a cut cannot be read, and `unreadable` is not given.
    """
    damaged: set[str] = set()

    def leave_out(cut: Cut, error: KeyframeError) -> None:
        damaged.add(cut.id)
        if unreadable is None:
            raise error
        unreadable(cut, error)

    if features is not None:
        statistics = measure_statistics(
            cuts,
            FeatureStore(Fbank(features), keep=False),
            level=features.level,
            unreadable=leave_out,
            progress=lambda done, total: progress and progress("measuring features", done, total),
            jobs=jobs,
        )
        write_lines(out / STATISTICS_FILE, [json.dumps(statistics)])
    if isinstance(tokens, Tokenizer):
        tokenizer = tokens
    else:
        texts = (text(cut) for cut in cuts if cut.id not in damaged)
        tokenizer = train_tokenizer(texts, tokens)
    advice = "choose another --out"
    write_whole(out / tokenizer.file_name, tokenizer.content(), advice, ManifestError)
    return tokenizer


def note_on_model(model: str) -> list[str]:
    """Return the note of a corpus that is prepared to train a model further."""
    return [
        f"prepared for the model {model}, whose tokenizer and text form it has; "
        f"train it with --initial {model}"
    ]


def notes_on_tokens(tokenizer: Tokenizer | None, config: TokenizerConfig) -> list[str]:
    """Return a note if unigram finds far fewer pieces than asked for.

    From a few hundred different words it keeps little more than the letters, where BPE makes words.
    """
    wanted = config.vocab_size
    if tokenizer is None or config.kind == "characters" or config.model_type != "unigram":
        return []
    if wanted is None or tokenizer.vocab_size >= wanted / 2:
        return []
    return [
        f"tokenizer: unigram finds {tokenizer.vocab_size} tokens instead of {wanted}, because the "
        "texts have few different words; --units bpe makes longer tokens"
    ]
