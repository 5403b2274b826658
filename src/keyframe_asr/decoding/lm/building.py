"""Language models from texts, in the form and the units of one recogniser."""

from __future__ import annotations

from collections.abc import Iterable

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.decoding.lm.arpa import UNKNOWN_WORD, NgramModel
from keyframe_asr.decoding.lm.kneser_ney import estimate
from keyframe_asr.decoding.lm.pruning import pruned_to_size
from keyframe_asr.decoding.lm.scoring import Unit, split_units
from keyframe_asr.text.forms import normalise_text, words_of_form
from keyframe_asr.text.tokenizer import Tokenizer
from keyframe_asr.text.trie import BOUNDARY

MAX_BYTES = 8_000_000
"""Largest language model of a model folder, as a packed file."""


def build_language_model(
    texts: Iterable[str],
    tokenizer: Tokenizer | None = None,
    form: TextForm | None = None,
    *,
    unit: Unit | None = None,
    order: int = 3,
    max_bytes: int | None = MAX_BYTES,
) -> NgramModel:
    """Estimate an n-gram model with Kneser-Ney smoothing, and prune it to a size.

    The same texts always give the same model. A word that the tokenizer cannot write never stands
    in a hypothesis, so no n-gram with it is kept.

    Args:
        texts: sentences, which are brought into the form.
        tokenizer: of the recogniser; `None`: all words are kept.
        form: of the recogniser; `None`: texts are taken as they are.
        unit: of the n-grams; `None`: that of `unit_of_form`.
        order: length of the longest n-gram.
        max_bytes: largest size as a packed file; `None`: nothing is pruned.

    Raises:
        ManifestError: the texts have no words.
        ModelError: the words alone take more than `max_bytes`.
        ValueError: unit `token` without a tokenizer.
    """
    unit = unit or unit_of_form(form)
    sentences = [split_units(_in_form(text, unit, form), unit, tokenizer) for text in texts]
    if tokenizer is not None and unit != "token":
        units = {one for sentence in sentences for one in sentence}
        lost = {one for one in units if tokenizer.unknown(one.replace(BOUNDARY, " "))}
        sentences = [
            [UNKNOWN_WORD if one in lost else one for one in sentence] for sentence in sentences
        ]
    model = estimate(sentences, order)
    return model if max_bytes is None else pruned_to_size(model, max_bytes)


def unit_of_form(form: TextForm | None) -> Unit:
    """Return the usual unit of n-grams: the character if texts of the form have no spaces."""
    return "character" if form is not None and form.separation == "none" else "word"


def _in_form(text: str, unit: Unit, form: TextForm | None) -> str:
    """Bring a text into a form, with spaces between all of its words if they are the units."""
    if form is None:
        return text
    normal = normalise_text(text, form)
    return " ".join(words_of_form(normal, form)) if unit == "word" else normal
