"""Forced alignment of a known text on a model's CTC.

A model that keeps all frames is aligned on its final CTC. Encoder 2 of a model with keyframes does
not see the frames between the spikes, so such a model is aligned on its inter-CTC.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from keyframe_asr.audio.byte_source import is_audio_file, name_of
from keyframe_asr.audio.reading import Samples
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.viterbi import Columns, best_paths
from keyframe_asr.errors import TextError
from keyframe_asr.inference.batch_recognizer import AudioInput, BatchRecognizer, read_recording
from keyframe_asr.losses.ctc import frames_needed
from keyframe_asr.results import Transcript
from keyframe_asr.text.forms import normaliser
from keyframe_asr.timing import encoder_frame_seconds


def align(
    recognizer: BatchRecognizer,
    audio: AudioInput,
    text: str,
    channel: int | None = None,
    sample_rate: int | None = None,
) -> Transcript:
    """Return a text with the times of its tokens and words; see `Recognizer.align`."""
    tokens = tokens_of(recognizer, text)
    samples = read_recording(audio, channel, sample_rate)
    name = name_of(audio) if is_audio_file(audio) else "the samples"
    return align_samples(recognizer, samples, tokens, name)


def tokens_of(recognizer: BatchRecognizer, text: str) -> list[int]:
    """Encode a text in the model's normal form. Raises `TextError` if that is not possible."""
    normalise = normaliser(recognizer.config.text_form)
    lost, normal = normalise.lost(text), normalise(text)
    unknown = [*lost, *dict.fromkeys(recognizer.tokenizer.unknown(normal))]
    if unknown:
        raise TextError(
            f"model '{recognizer.config.name}' has no token for {_listed(unknown)} in the text; "
            "use the symbols of the model, and write numbers as words"
        )
    tokens = recognizer.tokenizer.encode(normal)
    if not tokens:
        raise TextError("the text is empty; give what is said in the recording")
    return tokens


@torch.inference_mode()
def align_samples(
    recognizer: BatchRecognizer, samples: Samples, tokens: Sequence[int], name: str
) -> Transcript:
    """Align token ids with samples (S,). Raises `TextError` if the samples are too short."""
    audio = recognizer.encode([samples])
    encoded = audio.encoded
    with_keyframes = recognizer.network.keyframes_enabled
    log_probs = encoded.inter_log_probs if with_keyframes else encoded.head_log_probs
    log_probs = log_probs.cpu()  # faster: the loop over frames has tiny steps
    found = best_paths(
        Columns(log_probs, encoded.frame_lengths.cpu(), collapse=True),
        torch.tensor([list(tokens)], dtype=torch.long),
        torch.tensor([len(tokens)]),
    )
    if not torch.isfinite(found.scores).all():
        step = encoder_frame_seconds(recognizer.network.subsampling.factor)
        raise TextError(
            f"{name}: {audio.seconds[0]:.2f} s is too short for a text of {len(tokens)} tokens, "
            f"which needs at least {frames_needed(tokens) * step:.2f} s; check that audio and text "
            "belong together"
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
