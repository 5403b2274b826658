"""Options of preparing a corpus: the form of its texts, and its tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from keyframe_asr.config.model import FeaturesConfig, ModelFolderConfig, load_model_folder_config
from keyframe_asr.config.recipe import TokenizerConfig
from keyframe_asr.config.text_choices import Digits, TextFormName, Units
from keyframe_asr.config.text_form import TEXT_FORMS, TextForm, default_form, with_digits
from keyframe_asr.io.model_folder import CONFIG_FILE, find_model
from keyframe_asr.text.tokenizer import Tokenizer, load_tokenizer

VOCAB_SIZE = 500
"""Default number of sentencepiece pieces."""

_USUAL_UNITS: dict[str, Units] = {"spaces": "unigram", "none": "characters", "mixed": "mixed"}
"""Tokens by what separates words."""


@dataclass(frozen=True)
class PreparationOptions:
    """Options that every corpus accepts.

    Attributes:
        text_form: name of the form of the texts, or a form; None is that of the language.
        tokenizer: trained model (folder or name) whose tokenizer and text form are taken, instead
            of those of the other options.
        units: tokens; None is pieces for forms with spaces, characters for forms without, and both
            for mixed ones.
        vocab_size: upper bound; None is all characters, or `VOCAB_SIZE` pieces.
        digits: `refuse` leaves out transcripts with digits, `keep` keeps them unchanged.
        allow_incomplete: continue however many utterances are left out.
        dev_share: part of the training split that becomes the development split; 0: none.
        shar: also write the recordings of each split, in lhotse's Shar format.
        jobs: processes that read recordings at the same time; changes no result.
    """

    units: Units | None = None
    vocab_size: int | None = None
    digits: Digits = "refuse"
    allow_incomplete: bool = False
    text_form: TextFormName | TextForm | None = None
    tokenizer: Path | str | None = None
    # not in the digest of a preparation unless it is given: older ones stay valid
    dev_share: float = field(default=0.0, repr=False)
    shar: bool = field(default=False, repr=False)
    jobs: int = field(default=1, repr=False)

    def form(self, language: str) -> TextForm:
        """Return the form of the texts. Raises `ModelError` if there is no such model."""
        if self.tokenizer is not None:
            return _config_of(self.tokenizer).text_form
        given = self.text_form
        form = TEXT_FORMS[given] if isinstance(given, str) else given or default_form(language)
        return with_digits(form) if self.digits == "keep" else form

    def features(self) -> FeaturesConfig | None:
        """Return the features to measure; None if the model has a front end of its own.

        Raises:
            ModelError: there is no such model.
        """
        if self.tokenizer is None:
            return FeaturesConfig()
        model = _config_of(self.tokenizer)
        return model.features if model.model.pretrained is None else None

    def trained_tokenizer(self) -> Tokenizer | None:
        """Load the tokenizer of the model, if one is given. Raises `ModelError` if that fails."""
        return None if self.tokenizer is None else load_tokenizer(find_model(self.tokenizer))

    def tokenizer_config(self, form: TextForm) -> TokenizerConfig:
        """Return the `tokenizer` section of a recipe, to train a tokenizer."""
        units = self.units or _USUAL_UNITS[form.separation]
        if units == "characters":
            return TokenizerConfig(kind="characters", vocab_size=self.vocab_size)
        size = self.vocab_size or VOCAB_SIZE
        if units == "mixed":
            return TokenizerConfig(kind="mixed", vocab_size=size)
        return TokenizerConfig(kind="sentencepiece", vocab_size=size, model_type=units)


def _config_of(model: Path | str) -> ModelFolderConfig:
    return load_model_folder_config(find_model(model) / CONFIG_FILE)


DEFAULT_OPTIONS = PreparationOptions()
