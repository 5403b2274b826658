"""Forced alignment of known texts on a model's CTC, and how well they fit.

Recordings of up to 30 s are aligned whole, longer ones by `inference.long_alignment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.arrays import checked_samples, refuse_rate
from keyframe_asr.audio.byte_source import is_audio_file, name_of
from keyframe_asr.audio.reading import Samples, opened_recording
from keyframe_asr.decoding.hypothesis import Hypothesis, padded
from keyframe_asr.decoding.timestamps import words
from keyframe_asr.decoding.viterbi import Columns, best_paths
from keyframe_asr.errors import TextError
from keyframe_asr.inference.batch_recognizer import AudioInput, BatchRecognizer
from keyframe_asr.inference.joining import spoken, text_of, words_part
from keyframe_asr.inference.long_alignment import LongAlignment, align_blocks, ctc_log_probs
from keyframe_asr.results import Segment, Token, Transcript
from keyframe_asr.text.forms import normaliser
from keyframe_asr.text.tokenizer import BLANK
from keyframe_asr.timing import SAMPLE_RATE, frames_needed

WHOLE_SECONDS = 30.0
"""Longer recordings are aligned part by part."""

BLOCK_SECONDS = 10.0
"""Duration of the blocks in which they are read."""

PAUSE_SECONDS = 0.5
"""A segment of a long recording ends at a pause between words that is at least this long."""

WINDOW_SECONDS = 1.0
"""Where a text fits worst is searched with a window of this length."""

Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Misfit:
    """How much worse a text explains a recording than what the model hears.

    Attributes:
        lost: log-probability lost per token (natural log); 0 if the text is what the model hears.
        in_speech: fraction of it lost where the text says nothing: speech that is not in the text.
        worst: time in seconds of the second of the recording that loses most.
    """

    lost: float
    in_speech: float
    worst: float


@dataclass(frozen=True)
class Alignment:
    """A text with the times of its tokens and words, and what it loses over time.

    Attributes:
        transcript: the text with times; `segments` is the whole.
        times: (T,) start of each frame in seconds.
        lost: (T,) log-probability that the text loses against the most probable label.
        speaks: (T,) True where the text has a token, False between tokens.
    """

    transcript: Transcript
    times: npt.NDArray[np.float64]
    lost: npt.NDArray[np.float32]
    speaks: Bools

    def misfit(self, tokens: int, start: float = 0.0, end: float = np.inf) -> Misfit:
        """Return how badly `tokens` tokens from `start` to `end` seconds fit."""
        inside = (self.times >= start) & (self.times < end)
        lost, times = self.lost[inside].astype(np.float64), self.times[inside]
        if not lost.size:
            return Misfit(0.0, 0.0, start)
        total = float(lost.sum())
        sums = np.concatenate(([0.0], np.cumsum(lost)))
        after = np.searchsorted(times, times + WINDOW_SECONDS)
        worst = times[int(np.argmax(sums[after] - sums[:-1]))]
        unsaid = float(lost[~self.speaks[inside]].sum())
        return Misfit(total / max(tokens, 1), unsaid / total if total else 0.0, float(worst))


def align(
    recognizer: BatchRecognizer,
    audio: AudioInput,
    text: str,
    channel: int | None = None,
    sample_rate: int | None = None,
) -> Transcript:
    """Return a text with the times of its tokens and words; see `Recognizer.align`."""
    tokens = tokens_of(recognizer, text)
    return align_recording(recognizer, audio, tokens, channel, sample_rate).transcript


def align_recording(
    recognizer: BatchRecognizer,
    audio: AudioInput,
    tokens: Sequence[int],
    channel: int | None = None,
    sample_rate: int | None = None,
) -> Alignment:
    """Align token ids with one recording of any length. Raises the errors of `Recognizer.align`."""
    if not is_audio_file(audio):
        return align_array(
            recognizer, checked_samples(audio, sample_rate, channel), tokens, "the samples"
        )
    refuse_rate(audio, sample_rate)
    with opened_recording(audio, channel) as recording:
        samples = recording.whole(WHOLE_SECONDS)
        if samples is not None:
            return align_array(recognizer, samples, tokens, name_of(audio))
        found, seconds = align_blocks(recognizer, recording.blocks(BLOCK_SECONDS), tokens)
    return _long(recognizer, found, tokens, seconds, name_of(audio))


def align_array(
    recognizer: BatchRecognizer, samples: Samples, tokens: Sequence[int], name: str
) -> Alignment:
    """Align token ids with samples (S,) of any length. Raises `TextError` if they do not fit."""
    if samples.size <= WHOLE_SECONDS * SAMPLE_RATE:
        (found,) = align_batch(recognizer, [samples], [tokens], [name])
        if isinstance(found, TextError):
            raise found
        return found
    size = round(BLOCK_SECONDS * SAMPLE_RATE)
    blocks = (samples[start : start + size] for start in range(0, samples.size, size))
    long, seconds = align_blocks(recognizer, blocks, tokens)
    return _long(recognizer, long, tokens, seconds, name)


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


def align_samples(
    recognizer: BatchRecognizer, samples: Samples, tokens: Sequence[int], name: str
) -> Transcript:
    """Align token ids with samples (S,) of any length. Raises `TextError` if they do not fit."""
    return align_array(recognizer, samples, tokens, name).transcript


def align_batch(
    recognizer: BatchRecognizer,
    recordings: Sequence[Samples],
    tokens: Sequence[Sequence[int]],
    names: Sequence[str],
) -> list[Alignment | TextError]:
    """Align token ids with recordings (S,) in one batch.

    Returns:
        one alignment per recording, or the error of one that is too short for its tokens.
    """
    audio = recognizer.encode(recordings)
    log_probs = ctc_log_probs(recognizer, audio)
    ids, counts = padded(tokens)
    columns = Columns(log_probs, audio.encoded.frame_lengths, collapse=True)
    paths = best_paths(columns, ids, counts)
    labels = np.full((len(ids), 2 * ids.shape[1] + 1), BLANK)
    labels[:, 1::2] = ids
    found: list[Alignment | TextError] = []
    step = recognizer.network.frame_seconds
    for row, own in enumerate(tokens):
        if not np.isfinite(paths.scores[row]):
            found.append(_too_short(recognizer, own, audio.seconds[row], names[row]))
            continue
        frames = audio.frames[row]
        peaks: list[int] = paths.positions[row, : len(own)].tolist()
        scores, states = log_probs[row, :frames], paths.states[row, :frames]
        emitted = scores[np.arange(frames), labels[row, states]]
        hypothesis = Hypothesis(
            tokens=tuple(own),
            score=float(paths.scores[row]),
            positions=tuple(peaks),
            confidences=tuple(np.exp(scores[peaks, list(own)]).tolist()),
        )
        found.append(
            Alignment(
                recognizer.transcript(audio, row, hypothesis, range(frames)),
                np.arange(frames, dtype=np.float64) * step,
                scores.max(axis=1) - emitted,
                states % 2 == 1,
            )
        )
    return found


def segments_at_pauses(
    transcript: Transcript, longest: float, recognizer: BatchRecognizer
) -> list[Segment]:
    """Cut a transcript at its pauses; what is still longer than `longest` seconds at the longest.

    Words are never cut, so a segment without a gap between words may be longer.
    """
    pieces: list[list[Token]] = []
    waiting = [list(transcript.tokens)] if transcript.tokens else []
    while waiting:
        tokens = waiting.pop()
        gaps = [
            (other.start - one.end, place)
            for place, (one, other) in enumerate(pairwise(tokens), 1)
            if words_part(one, other)
        ]
        gap, place = max(gaps, default=(0.0, 0))
        if place and (gap >= PAUSE_SECONDS or tokens[-1].end - tokens[0].start > longest):
            waiting += [tokens[place:], tokens[:place]]
        else:
            pieces.append(tokens)
    separation = recognizer.config.text_form.separation
    # a piece may be nothing but the boundary of a word
    return [spoken(tokens, separation) for tokens in pieces if text_of(tokens, separation)]


def _long(
    recognizer: BatchRecognizer,
    found: LongAlignment | None,
    tokens: Sequence[int],
    seconds: float,
    name: str,
) -> Alignment:
    """Return the alignment of a long recording. Raises `TextError` if there is none."""
    if found is None:
        raise _too_short(recognizer, tokens, seconds, name)
    transcript = Transcript(
        text=recognizer.tokenizer.decode(list(tokens)),
        tokens=found.tokens,
        duration=found.duration,
        frame_reduction=found.frame_reduction,
        words=words(found.tokens),
    )
    segments = segments_at_pauses(transcript, WHOLE_SECONDS, recognizer)
    return Alignment(
        replace(transcript, segments=segments), found.times, found.path.lost, found.path.speaks
    )


def _too_short(
    recognizer: BatchRecognizer, tokens: Sequence[int], seconds: float, name: str
) -> TextError:
    step = recognizer.network.frame_seconds
    return TextError(
        f"{name}: {seconds:.2f} s is too short for a text of {len(tokens)} tokens, "
        f"which needs at least {frames_needed(tokens) * step:.2f} s; check that audio and text "
        "belong together"
    )


def _listed(symbols: Sequence[str]) -> str:
    return ", ".join(f"'{symbol}'" for symbol in symbols)
