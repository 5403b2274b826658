"""Options of the searches, for all verbs that recognise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keyframe_asr.inference.modes import DecodeOptions, Mode
    from keyframe_asr.inference.recognizer import Recognizer
    from keyframe_asr.inference.scorer_files import FusionFiles


@dataclass(frozen=True)
class SearchOptions:
    """Width of the search, what is added to its scores, and how many results it gives.

    The defaults give what the modes give without any of them: greedy, where they are greedy.
    """

    beam: Annotated[
        int | None,
        typer.Option(min=1, help="Width of the search. Default: 10; greedy in axe and ctc."),
    ] = None
    nbest: Annotated[int, typer.Option(min=1, help="Texts wanted of each recording.")] = 1
    language_model: Annotated[
        Path | None, typer.Option(help="ARPA file (see keyframe language-model).")
    ] = None
    language_model_weight: Annotated[
        float, typer.Option(min=0.0, help="Weight of the language model.")
    ] = 0.3
    token_bonus: Annotated[
        float, typer.Option(help="Added for every token: more gives longer texts.")
    ] = 0.0
    hotwords: Annotated[
        Path | None,
        typer.Option(help="File with a word or phrase a line, optionally a tab and its weight."),
    ] = None
    hotword_weight: Annotated[
        float, typer.Option(min=0.0, help="Bonus for each token of a hot word.")
    ] = 1.0
    ctc_weight: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Weight of CTC against the decoder (joint).")
    ] = 0.6
    decoder_weight: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Weight of the decoder, not the head (rescore)."),
    ] = 0.5
    length_normalised: Annotated[
        bool, typer.Option(help="Compare scores per token instead of summed (attention).")
    ] = False

    @property
    def fused(self) -> list[str]:
        """Options given that add something to the scores of a search."""
        given = {
            "--language-model": self.language_model is not None,
            "--hotwords": self.hotwords is not None,
            "--token-bonus": self.token_bonus != 0.0,
        }
        return [name for name, is_given in given.items() if is_given]

    @property
    def files(self) -> FusionFiles:
        """What is added to the scores of a search, still unread."""
        from keyframe_asr.inference.scorer_files import FusionFiles

        return FusionFiles(
            self.language_model,
            self.language_model_weight,
            self.hotwords,
            self.hotword_weight,
            self.token_bonus,
        )

    def options(self, modes: Sequence[Mode]) -> DecodeOptions:
        """What a recogniser is to do in these modes, without what `files` adds.

        Raises:
            typer.BadParameter: the options contradict each other or one of the modes.
        """
        from keyframe_asr.decoding.beam import BeamConfig
        from keyframe_asr.inference.modes import DecodeOptions

        self._check(modes)
        return DecodeOptions(
            beam=BeamConfig(self.beam or max(10, self.nbest), self.length_normalised),
            decoder_weight=self.decoder_weight,
            first_pass_beam=self.beam,
            nbest=self.nbest,
            ctc_weight=self.ctc_weight,
        )

    def for_modes(self, recognizer: Recognizer, modes: Sequence[Mode]) -> DecodeOptions:
        """The same with the files read for a recogniser.

        Raises:
            typer.BadParameter: the options contradict each other or one of the modes.
            KeyframeError: a file cannot be read or does not fit the recogniser.
        """
        from keyframe_asr.inference.scorer_files import load_fusion

        return replace(self.options(modes), fusion=load_fusion(recognizer, self.files))

    def _check(self, modes: Sequence[Mode]) -> None:
        if self.beam is not None and self.nbest > self.beam:
            raise typer.BadParameter(
                f"{self.nbest} texts need a beam as wide; give --beam {self.nbest} or more",
                param_hint="--nbest",
            )
        for name in self.fused:
            if "attention" in modes:
                raise typer.BadParameter(
                    "decode mode 'attention' has no place for it; use joint, rescore, ctc or axe",
                    param_hint=name,
                )
            if self.beam == 1:
                raise typer.BadParameter(
                    "a beam of 1 has nothing to choose from; give --beam 2 or more, or none",
                    param_hint=name,
                )
