"""Data shown by `keyframe inspect` for one recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.features import Fbank
from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.batch_recognizer import read_recording
from keyframe_asr.inference.options import DecodeMode
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.results import Transcript
from keyframe_asr.text.tokenizer import BLANK

Array = npt.NDArray[np.floating]

COLOURS = ("#0072b2", "#d55e00", "#00845f", "#b4458c", "#6a51b8", "#977000", "#c62f45", "#2a7f9e")
GREY = "#8c8c8c"

LONGEST_HEADLINE = 80
"""Characters of the text in a headline."""

FAINTEST_SPIKE = 0.05
"""Minimum probability of a spike's token; fainter keyframes are only the least blank frames."""


@dataclass(frozen=True)
class InspectionView:
    """Features, posteriors, keyframes and transcript of one recording.

    Attributes:
        fbank: (T, F) log-mel energies, 100 frames per second.
        inter_probabilities: (U, V) posteriors of the inter-CTC, blank first.
        keyframes: encoder frames used by encoder 2, ascending; all U frames without keyframes.
        transcript: text and tokens with times.
        pieces: display form of each of the V labels.
        frame_seconds: seconds between consecutive encoder frames.
        emission_delay: seconds from the start of a token to its spike; negative if the spike comes
            earlier.
    """

    fbank: Array
    inter_probabilities: Array
    keyframes: Sequence[int]
    transcript: Transcript
    pieces: Sequence[str]
    frame_seconds: float
    emission_delay: float = 0.0

    @property
    def all_kept(self) -> bool:
        """True if no frame was dropped."""
        return len(self.keyframes) == len(self.inter_probabilities)

    @property
    def fbank_range(self) -> tuple[float, float]:
        """Energies of the darkest and the brightest colours of the spectrogram."""
        low, high = np.percentile(self.fbank, (5, 99.8))
        return float(low), float(high)

    @property
    def token_frames(self) -> list[int]:
        """The encoder frame of each token's spike."""
        early = [
            frame for frame in self.keyframes if frame * self.frame_seconds <= self.emission_delay
        ]
        found: list[int] = []
        for token in self.transcript.tokens:
            if token.start == 0 and len(found) < len(early):
                # several spikes may have been clipped to the beginning of the recording
                found.append(early[len(found)])
            else:
                found.append(round((token.start + self.emission_delay) / self.frame_seconds))
        return found


@dataclass(frozen=True)
class Spike:
    """A frame that stands for a token of the inter-CTC; `label` is blank if there is no token."""

    frame: int
    label: int
    colour: str


def inspection_view(
    recognizer: Recognizer, audio: str | Path | Array, mode: DecodeMode | None = None
) -> InspectionView:
    """Recognise one recording and collect the data to show.

    Raises:
        AudioError: the recording cannot be read or is too long.
        ModelError: the model does not support the decode mode.
    """
    samples = read_recording(audio)
    result = recognizer.encode([samples])
    frames, keyframes = result.frames[0], result.keyframes[0]
    tokenizer = recognizer.tokenizer
    return InspectionView(
        fbank=Fbank(recognizer.config.features)(samples),
        inter_probabilities=np.exp(result.encoded.inter_log_probs[0, :frames]),
        keyframes=tuple(result.encoded.keyframes[0, :keyframes].tolist()),
        transcript=recognizer.decode(result, mode)[0],
        pieces=tuple(tokenizer.piece(token) for token in range(tokenizer.vocab_size)),
        frame_seconds=recognizer.network.frame_seconds,
        emission_delay=recognizer.config.emission_delay_seconds,
    )


def find_spikes(view: InspectionView) -> list[Spike]:
    """One spike per keyframe; if all frames are kept, one per run of equal labels."""
    probabilities = view.inter_probabilities
    frames = list(view.keyframes)
    if view.all_kept:
        best = probabilities.argmax(axis=1)
        runs = np.split(np.arange(len(best)), np.flatnonzero(np.diff(best)) + 1)
        peaks = [int(run[probabilities[run, best[run[0]]].argmax()]) for run in runs]
        frames = [frame for frame in peaks if best[frame] != BLANK]
    spikes: list[Spike] = []
    colours = {BLANK: GREY}
    for frame in frames:
        label = BLANK + 1 + int(probabilities[frame, BLANK + 1 :].argmax())
        label = label if probabilities[frame, label] >= FAINTEST_SPIKE else BLANK
        colour = colours.setdefault(label, COLOURS[(len(colours) - 1) % len(COLOURS)])
        spikes.append(Spike(frame, label, colour))
    return spikes


def token_colours(view: InspectionView, spikes: Sequence[Spike]) -> list[str | None]:
    """The colour of each token of the text: that of its spike; None without a spike."""
    at_frame = {spike.frame: spike.colour for spike in spikes}
    of_piece = {view.pieces[spike.label]: spike.colour for spike in spikes}
    return [
        at_frame.get(frame) or of_piece.get(token.text)
        for token, frame in zip(view.transcript.tokens, view.token_frames, strict=True)
    ]


def visible(token: str) -> str:
    """A token without sentencepiece's word boundary mark; a space is shown as a symbol."""
    return token.strip("▁ ") or "␣"


def check_frames(view: InspectionView, path: Path | str) -> None:
    """Raise `KeyframeError`, naming the output file, if the recording has no frames."""
    if not len(view.fbank) or not len(view.inter_probabilities):
        raise KeyframeError(
            f"{path}: not written: the recording is shorter than one frame; give a longer one"
        )


def shortened(text: str) -> str:
    """Return the beginning of a text, marked with … if there is more."""
    return text if len(text) <= LONGEST_HEADLINE else text[:LONGEST_HEADLINE].rstrip() + "…"


def headline(view: InspectionView, text: str | None = None) -> str:
    """Summary in one line: frames, keyframes, fraction dropped, and how the text begins."""
    total, kept = len(view.inter_probabilities), len(view.keyframes)
    counts = f"{total} frame{'s' * (total != 1)}, all kept"
    if not view.all_kept:
        dropped = 100 * (1 - kept / total)
        counts = f"{total} frames → {kept} keyframe{'s' * (kept != 1)} ({dropped:.1f} % dropped)"
    if not view.transcript.text:
        return f"{counts}: no text"
    return f"{counts}: " + (text or f'"{shortened(view.transcript.text)}"')
