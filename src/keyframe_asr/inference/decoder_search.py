"""Recognition with a pretrained decoder, whose tokens are not the model's own.

The decoder writes the text by attending to the keyframes; CTC says when each token is spoken
(`decoding.text_positions`). The text cannot be much longer than that of CTC, nor than the keyframes
allow, so the decoder cannot loop for long; nor much shorter, so it does not end after the first of
several sentences. Where CTC hears nothing it is not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from keyframe_asr.config.model import ModelFolderConfig
from keyframe_asr.decoding.arrays import Integers
from keyframe_asr.decoding.beam import BeamConfig, Symbols, attention_beam
from keyframe_asr.decoding.decoder import BatchDecoder
from keyframe_asr.decoding.greedy import greedy_ctc
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.text_positions import positions_by_text
from keyframe_asr.inference.network import EncodedBatch
from keyframe_asr.inference.search import Search
from keyframe_asr.text.decoder_tokenizer import DecoderTokenizer
from keyframe_asr.text.scripts import closes, opens
from keyframe_asr.text.tokenizer import UNKNOWN, Tokenizer

TOKENS_PER_KEYFRAME = 3
"""Most tokens per keyframe: a Han character, which is one keyframe, has up to three."""

TOKENS_PER_HEARD = 1.5
"""Most tokens per token of CTC's text, both in the decoder's tokens: what CTC misses, and
punctuation."""

FURTHER_TOKENS = 4
"""Tokens beyond both bounds, for short texts."""

LEAST_OF_HEARD = 0.8
"""Fewest tokens per token of CTC's text: a decoder that was trained on single sentences would end
after the first of several."""


class DecoderSearch:
    """Searches the text that a pretrained decoder gives to keyframes.

    Args:
        tokenizer: of the decoder.
        own: the model's own, of the CTC.
        config: of the model.

    Attributes:
        languages: those that the decoder tells apart.
        prompts: of each language of the model.
        symbols: special tokens, with the prompt of the first language.

    Raises:
        ModelError: the decoder does not know a language of the model.
    """

    def __init__(
        self, tokenizer: DecoderTokenizer, own: Tokenizer, config: ModelFolderConfig
    ) -> None:
        self.tokenizer = tokenizer
        self.own = own
        self.form = config.text_form
        self.languages = config.languages if tokenizer.names_languages else config.languages[:1]
        self.prompts = {one: tokenizer.prompt(one) for one in config.languages}
        prompt = self.prompts[self.languages[0]]
        self.symbols = Symbols(prompt, tokenizer.end, tokenizer.suppressed)

    def hypotheses(
        self, decoder: BatchDecoder, encoded: EncodedBatch, search: Search
    ) -> list[Hypothesis]:
        """Return the best hypothesis of each utterance; its positions are encoder frames."""
        heard = self.heard(encoded)
        languages = self.languages_of(decoder, len(heard), search.language)
        chosen = self.without_times(decoder, encoded, heard, search, languages)
        rows = zip(chosen, heard, self.bounds(encoded), languages, strict=True)
        return [self.placed(*row) for row in rows]

    def languages_of(
        self, decoder: BatchDecoder, utterances: int, given: str | None = None
    ) -> list[str]:
        """Return the language of each utterance: the most probable first token of the decoder.

        Args:
            decoder: of a batch.
            utterances: number of the batch; every one has a spike.
            given: the language of all, one of `languages`.
        """
        known = self.languages if given is None else (given,)
        if len(known) == 1:
            return [*known] * utterances
        start = np.full(utterances, self.tokenizer.start)
        log_probs, _ = decoder.start(np.arange(utterances)).step(start)
        tokens = [self.tokenizer.language_token(one) for one in known]
        return [known[best] for best in log_probs[:, tokens].argmax(axis=1)]

    def heard(self, encoded: EncodedBatch) -> list[Hypothesis]:
        """Return what CTC writes greedily."""
        return greedy_ctc(encoded.inter_log_probs, encoded.frame_lengths)

    def without_times(
        self,
        decoder: BatchDecoder,
        encoded: EncodedBatch,
        heard: Sequence[Hypothesis],
        search: Search,
        languages: Sequence[str],
    ) -> list[Hypothesis]:
        """As `hypotheses`, without positions; `heard` bounds the lengths.

        `languages` are those of the utterances.
        """
        fewest, limits = self._lengths(encoded, heard, self.longest(decoder))
        config = BeamConfig(search.beam, search.length_normalised, self.symbols)
        prompts = np.array([self.prompts[one] for one in languages])
        return attention_beam(decoder, limits, config, search.nbest, prompts, fewest)

    def longest(self, decoder: BatchDecoder) -> int:
        """Return the most tokens of a text."""
        assert decoder.longest is not None, "a pretrained decoder has a limit"
        return decoder.longest - len(self.symbols.prompt)

    def shown(self, found: Hypothesis) -> tuple[Hypothesis, list[str]]:
        """Join tokens that are parts of one character, and punctuation to what it stands next to.

        Returns:
            The hypothesis with one token for each of them, and their texts. A character has the
            position of its first token and the lowest of their confidences. Punctuation is not
            spoken: it has no time of its own, and its confidence does not count.
        """
        texts, tokens, positions = list[str](), list[int](), list[int]()
        confidences = list[float]()
        open_: list[int] = []
        for number, piece in enumerate(self.tokenizer.pieces(found.tokens)):
            open_.append(number)
            if not piece:
                continue
            sure = min(found.confidences[one] for one in open_)
            if texts and closes(piece):
                texts[-1] += piece
            elif texts and opens(texts[-1].lstrip("▁")) and not piece.startswith("▁"):
                texts[-1] += piece
                positions[-1], confidences[-1] = found.positions[open_[0]], sure
            else:
                texts.append(piece)
                tokens.append(found.tokens[number])
                positions.append(found.positions[open_[0]])
                confidences.append(sure)
            open_ = []
        joined = replace(
            found,
            tokens=tuple(tokens),
            positions=tuple(positions),
            confidences=tuple(confidences),
        )
        return joined, texts

    def _lengths(
        self, encoded: EncodedBatch, heard: Sequence[Hypothesis], longest: int
    ) -> tuple[Integers, Integers]:
        """Fewest and most tokens (B,) of each text."""
        keyframes = encoded.keyframe_lengths
        texts = [self.own.decode(one.tokens) for one in heard]
        as_heard, lower = (
            np.array([len(self.tokenizer.encode(one)) for one in several])
            for several in (texts, map(str.lower, texts))
        )
        by_text = np.ceil(TOKENS_PER_HEARD * as_heard).astype(np.int64)
        bounds = np.minimum(keyframes * TOKENS_PER_KEYFRAME, by_text)
        most = np.minimum(bounds + FURTHER_TOKENS, longest)
        return np.minimum((LEAST_OF_HEARD * lower).astype(np.int64), most), most

    def bounds(self, encoded: EncodedBatch) -> list[tuple[int, int]]:
        """Return the first and last keyframe of each utterance."""
        rows = zip(encoded.keyframes.tolist(), encoded.keyframe_lengths.tolist(), strict=True)
        return [(index[0], index[max(0, size - 1)]) for index, size in rows]

    def placed(
        self, found: Hypothesis, heard: Hypothesis, bounds: tuple[int, int], language: str
    ) -> Hypothesis:
        """Add the positions of a text in the decoder's tokens; mere punctuation is no text.

        Args:
            found: the text, and its alternatives.
            heard: about the same text in the model's tokens, with positions.
            bounds: first and last position.
            language: of the utterance.
        """
        timed = [
            (self.own.surface(token), frame)
            for token, frame in zip(heard.tokens, heard.positions, strict=True)
            if token != UNKNOWN
        ]
        if not any(map(str.isalnum, self.tokenizer.decode(found.tokens))):
            found = replace(found, tokens=(), confidences=())
        positions = positions_by_text(self.tokenizer.pieces(found.tokens), timed, bounds)
        others = tuple(self.placed(one, heard, bounds, language) for one in found.alternatives)
        return replace(
            found,
            positions=positions,
            alternatives=others,
            of_decoder=True,
            language=language,
        )
