"""What a pretrained decoder learns to write: the texts in its own tokens, after its prompt.

It learns case and punctuation of the transcripts. Those in capitals only say nothing of case, and
are learnt in lower case.
"""

from __future__ import annotations

import torch
from lhotse.cut import Cut
from torch import Tensor
from torch.nn.functional import pad

from keyframe_asr.data.manifest import written_text
from keyframe_asr.errors import ModelError
from keyframe_asr.text.decoder_tokenizer import DecoderTokenizer

IGNORED = -1
"""Target of the tokens of the prompt, and of padding: none."""


def text_begins(written: Tensor) -> int:
    """Return the step of (B, N) targets at which the texts begin: after the language, at step 0."""
    return 1 + int((written[:, 1:] != IGNORED).any(dim=0).int().argmax())


class DecoderTargets:
    """Makes the tokens of cuts.

    Args:
        tokenizer: of the decoder.
        language: of cuts that name none, or none that the decoder knows.
        always: use this language for all cuts.
        longest: most tokens, those of the prompt included; the rest of a text is cut off.

    Raises:
        ModelError: the decoder does not know the language.
    """

    def __init__(
        self, tokenizer: DecoderTokenizer, language: str, longest: int, *, always: bool = False
    ) -> None:
        self._tokenizer = tokenizer
        self._prompt = tokenizer.prompt(language)
        self._always = always
        self._longest = longest

    def __call__(self, cut: Cut) -> Tensor:
        """Return (2, N): what the decoder reads, and what it should write after each of these.

        The first target is the language, if the cut names one that the decoder knows, and then
        those of the text follow after the prompt.
        """
        prompt, named = self._prompt_of(cut)
        whole = [*prompt, *self._tokenizer.encode(_cased(written_text(cut))), self._tokenizer.end]
        read, written = whole[:-1][: self._longest], whole[1:][: self._longest]
        written[int(named) : len(prompt) - 1] = [IGNORED] * (len(prompt) - 1 - int(named))
        return torch.tensor([read, written])

    def batch(self, cuts: list[Cut]) -> Tensor:
        """Return (B, 2, N) for several cuts, padded with `IGNORED`."""
        rows = [self(cut) for cut in cuts]
        size = max(row.size(1) for row in rows)
        return torch.stack([pad(row, (0, size - row.size(1)), value=IGNORED) for row in rows])

    def _prompt_of(self, cut: Cut) -> tuple[tuple[int, ...], bool]:
        """The prompt, and whether the decoder should learn to hear its language."""
        language = cut.supervisions[0].language
        if self._always or not language:
            return self._prompt, False
        try:
            return self._tokenizer.prompt(language), self._tokenizer.names_languages
        except ModelError:  # manifests also have names such as "Chinese"
            return self._prompt, False


def _cased(text: str) -> str:
    # not `text.isupper()`, which is also true of Han characters with a word in capitals among them
    capitals_only = all(one.isupper() for one in text if one.isalpha())
    return text.lower() if capitals_only else text
