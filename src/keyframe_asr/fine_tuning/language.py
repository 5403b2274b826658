"""Language of a fine-tuning, and what becomes of the model's pretrained decoder in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from lhotse import CutSet
from lhotse.cut import Cut

from keyframe_asr.config.text_choices import default_form_name
from keyframe_asr.data.manifest import in_language, text
from keyframe_asr.errors import OptionError
from keyframe_asr.fine_tuning.speech import Speech
from keyframe_asr.io.model_folder import StoredModel
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.forms import guess_form

_SEVERAL = "+"
"""Joins languages in a tag."""


def in_its_language(
    stored: StoredModel,
    speech: Speech,
    given: str | None,
    say: Callable[[str], None],
    *,
    replays: bool = False,
) -> tuple[StoredModel, Speech, str]:
    """Settle the language of recordings for a model.

    A model with a pretrained decoder writes it from now on, or, if the recordings have several or
    other speech is replayed, tells which one it hears. A decoder that does not know it is left out.

    Args:
        stored: the model.
        speech: the recordings, with the texts as they are.
        given: tag of the language; None: that of the texts, among the languages of the model.
        say: tells what is left out.
        replays: True if other speech of the model is mixed in.

    Returns:
        The model, the recordings (each with its language if there are several), and the tag.

    Raises:
        OptionError: the model has several languages, and the texts do not tell, or most of those
            for development are in another than those for training.
    """
    config, tokenizer = stored.config, stored.decoder_tokenizer
    decoder = config.model.pretrained_decoder
    if decoder is None or tokenizer is None:
        return stored, speech, given or config.language
    known = given.split(_SEVERAL) if given else list(config.languages)
    if unknown := [one for one in known if not tokenizer.knows(one)]:
        say(f"the model's decoder does not write '{unknown[0]}'; it is left out")
        return _without_decoder(stored, given or known[0]), speech, given or known[0]
    if len(known) > 1:
        train, usual = _named(speech.train, known)
        heard = {cut.supervisions[0].language for cut in train}
        speech = Speech(train, _in_one_of(speech.dev, known, heard, usual))
        known = [one for one in known if one in heard]
        say(f"language, by the texts: {', '.join(known)}; --language names another")
    single = known[0] if len(known) == 1 else None
    chosen = decoder.model_copy(update={"language": single, "languages": known})
    model = config.model.model_copy(update={"decoder": decoder if replays else chosen})
    language = given or single or config.language
    config = config.model_copy(update={"model": model, "language": language})
    return replace(stored, config=config), speech, language


def _without_decoder(stored: StoredModel, language: str) -> StoredModel:
    before = stored.network
    model = stored.config.model.model_copy(update={"decoder": None})
    config = stored.config.model_copy(update={"model": model, "language": language})
    network = KeyframeNetwork(model, config.features.num_mel_bins, config.vocab_size)
    weights = before.state_dict()
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    network.keyframes_enabled = before.keyframes_enabled
    network.fusion_enabled = before.fusion_enabled
    return replace(stored, network=network.eval(), config=config, decoder_tokenizer=None)


def _named(cuts: CutSet, languages: Sequence[str], usual: str | None = None) -> tuple[CutSet, str]:
    """Name the language of each recording that does not name one of these.

    Those whose text does not tell get the usual language, by default that of most others.
    """
    found = {cut.id: _language_of(cut, languages) for cut in cuts}
    counted = Counter(one for one in found.values() if one is not None)
    if not counted and usual is None:
        raise OptionError(
            "language",
            f"the texts do not tell which of {', '.join(languages)} they are; give one of them, "
            "or another language with vocabulary new",
        )
    usual = usual or counted.most_common(1)[0][0]
    return CutSet.from_cuts(in_language(cut, found[cut.id] or usual) for cut in cuts), usual


def _in_one_of(dev: CutSet, languages: Sequence[str], heard: Collection[str], usual: str) -> CutSet:
    """Name the languages of the development set, which must be those of the training set.

    Single recordings in others count as the usual one; if most are, there is a mistake.
    """
    named, _ = _named(dev, languages, usual)
    others = [cut for cut in named if cut.supervisions[0].language not in heard]
    if 2 * len(others) > len(named):
        found = sorted({cut.supervisions[0].language for cut in others})
        raise OptionError(
            "language",
            f"the development set is in {', '.join(found)}, the training set in "
            f"{', '.join(sorted(heard))}; give a development set in its language",
        )
    wrong = {cut.id for cut in others}
    return CutSet.from_cuts(in_language(cut, usual) if cut.id in wrong else cut for cut in named)


def _language_of(cut: Cut, languages: Sequence[str]) -> str | None:
    """Language that a recording names, or that alone is written as its text is."""
    if (named := cut.supervisions[0].language) in languages:
        return str(named)
    form = guess_form([text(cut)]).name
    if form == "mandarin-english":  # with English words
        form = "mandarin"
    fitting = [one for one in languages if default_form_name(one) == form]
    return fitting[0] if len(fitting) == 1 else None
