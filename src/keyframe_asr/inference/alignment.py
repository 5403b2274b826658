"""When each word of a known text was said: forced alignment on a model's CTC.

A model that keeps all frames has a CTC on encoder 2, which knows most; one with keyframes drops the
frames between its spikes, so the inter-CTC of encoder 1 is what sees every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from keyframe_asr.audio.reading import Samples
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.viterbi import Columns, best_paths
from keyframe_asr.errors import TextError
from keyframe_asr.inference.batch_recognizer import BatchRecognizer, read_recording
from keyframe_asr.losses.ctc import frames_needed
from keyframe_asr.results import Transcript
from keyframe_asr.text.forms import NORMALISATIONS
from keyframe_asr.timing import encoder_frame_seconds


def align(recognizer: BatchRecognizer, audio: str | Path | Samples, text: str) -> Transcript:
    """The text with the times of its tokens and words.

    A token's confidence is its probability where it is most probable: low where the text is not
    what was said.

    Args:
        recognizer: the model; its normalisation is applied to the text.
        audio: a file, or samples (S,) in [-1, 1] at 16 kHz.
        text: what is said.

    Raises:
        AudioError: the recording cannot be read, is not mono 16 kHz floats, or is too long.
        TextError: the text is empty, has symbols the model does not know, or is too long for it.
    """
    tokens = tokens_of(recognizer, text)
    samples = read_recording(audio)
    name = str(audio) if isinstance(audio, str | Path) else "the samples"
    return align_samples(recognizer, samples, tokens, name)


def tokens_of(recognizer: BatchRecognizer, text: str) -> list[int]:
    """Ids of a text in the model's normal form. Raises `TextError` where it has none."""
    normalise = NORMALISATIONS[recognizer.config.normalisation]
    lost, normal = normalise.lost(text), normalise(text)
    unknown = [*lost, *dict.fromkeys(recognizer.tokenizer.unknown(normal))]
    if unknown:
        raise TextError(
            f"model '{recognizer.config.name}' does not know {_listed(unknown)} of the text; "
            "write it in the symbols of the model, numbers as words"
        )
    tokens = recognizer.tokenizer.encode(normal)
    if not tokens:
        raise TextError("the text is empty; give what is said in the recording")
    return tokens


@torch.inference_mode()
def align_samples(
    recognizer: BatchRecognizer, samples: Samples, tokens: Sequence[int], name: str
) -> Transcript:
    """Samples (S,) aligned with token ids. Raises `TextError` if they are too short for them."""
    audio = recognizer.encode([samples])
    encoded = audio.encoded
    with_keyframes = recognizer.network.keyframes_enabled
    log_probs = encoded.inter_log_probs if with_keyframes else encoded.head_log_probs
    log_probs = log_probs.cpu()  # a loop over frames of tiny steps
    found = best_paths(
        Columns(log_probs, encoded.frame_lengths.cpu(), collapse=True),
        torch.tensor([list(tokens)], dtype=torch.long),
        torch.tensor([len(tokens)]),
    )
    if not torch.isfinite(found.scores).all():
        step = encoder_frame_seconds(recognizer.network.subsampling.factor)
        raise TextError(
            f"{name}: {audio.seconds[0]:.2f} s are too short for a text of {len(tokens)} tokens, "
            f"which takes at least {frames_needed(tokens) * step:.2f} s; check that they belong "
            "together"
        )
    peaks: list[int] = found.positions[0].tolist()
    hypothesis = Hypothesis(
        tokens=tuple(tokens),
        score=float(found.scores[0]),
        positions=tuple(peaks),
        confidences=tuple(log_probs[0, peaks, list(tokens)].exp().tolist()),
    )
    return recognizer.transcript(audio, 0, hypothesis, range(log_probs.shape[1]))


def _listed(symbols: Sequence[str]) -> str:
    return ", ".join(f"'{symbol}'" for symbol in symbols)
