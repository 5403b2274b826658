"""Align the texts of a corpus with its recordings, and tell those that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lhotse.cut import Cut

from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.manifest import audio_channel, audio_of, is_part, text
from keyframe_asr.errors import KeyframeError, TextError
from keyframe_asr.inference.alignment import (
    WHOLE_SECONDS,
    Alignment,
    align_array,
    align_batch,
    align_recording,
    segments_at_pauses,
    tokens_of,
)
from keyframe_asr.inference.batch_recognizer import BatchRecognizer, batches_by_length
from keyframe_asr.results import Transcript, Word
from keyframe_asr.timing import SAMPLE_RATE

LARGEST_LOSS = 4.0
"""A text that loses more log-probability per token than this is doubtful; see
docs/guides/alignment.md for what this threshold finds."""

LONGEST_SECONDS = 30.0
"""Longer utterances are cut at pauses."""

PADDING_SECONDS = 0.3
"""Silence kept before and after the words of a segment."""

ONE_SIDED = 2 / 3
"""From this fraction of the loss on, its kind is named: speech without text, or the contrary."""


@dataclass(frozen=True)
class AlignedUtterance:
    """An utterance, or a segment of a long one. Times are in seconds from the start of the cut.

    Attributes:
        id: of the utterance; segments of a cut are numbered.
        text: of the manifest, or of a segment in the model's form.
        start: where it begins, the pause before its words included.
        end: where it ends.
        words: its words with times.
        lost: log-probability that the text loses per token against what the model hears.
        reason: why the text is doubtful; "" if it fits.
    """

    id: str
    text: str
    start: float
    end: float
    words: list[Word]
    lost: float
    reason: str = ""

    @property
    def fits(self) -> bool:
        """True if the text seems to be what is said."""
        return not self.reason


@dataclass(frozen=True)
class AlignedCut:
    """A cut of a manifest, its place there, and its alignment, or the error that prevents one."""

    place: int
    cut: Cut
    transcript: Transcript | None = None
    utterances: list[AlignedUtterance] = field(default_factory=list)
    error: KeyframeError | None = None


def align_cuts(
    recognizer: BatchRecognizer,
    cuts: Sequence[Cut],
    *,
    longest: float = LONGEST_SECONDS,
    largest_loss: float = LARGEST_LOSS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[AlignedCut]:
    """Align every cut with its text, in batches of similar length; a bad one stops no other.

    Args:
        recognizer: the model; texts are brought into its form.
        cuts: with one supervision each, of any length.
        longest: seconds; longer cuts are cut into segments at pauses.
        largest_loss: a text that loses more per token is doubtful.
        progress: called with (done, total) cuts.
    """
    sizes = {place: round(cut.duration * SAMPLE_RATE) for place, cut in enumerate(cuts)}
    done = 0
    for places in batches_by_length(sizes):
        for one in _batch(recognizer, {place: cuts[place] for place in places}):
            place, found = one
            if isinstance(found, Alignment):
                utterances = _utterances(recognizer, cuts[place], found, longest, largest_loss)
                yield AlignedCut(place, cuts[place], found.transcript, utterances)
            else:
                yield AlignedCut(place, cuts[place], error=found)
        done += len(places)
        progress(done, len(cuts))


def _batch(
    recognizer: BatchRecognizer, cuts: dict[int, Cut]
) -> Iterator[tuple[int, Alignment | KeyframeError]]:
    """Yield the alignment or the error of every cut; the short ones are aligned together."""
    tokens: dict[int, list[int]] = {}
    samples: dict[int, Samples] = {}
    for place, cut in cuts.items():
        try:
            tokens[place] = tokens_of(recognizer, text(cut))
            if not is_part(cut) and cut.duration > WHOLE_SECONDS:
                yield (
                    place,
                    align_recording(recognizer, audio_of(cut), tokens[place], audio_channel(cut)),
                )
                continue
            read = _samples(cut)
            if read.size > WHOLE_SECONDS * SAMPLE_RATE:
                yield place, align_array(recognizer, read, tokens[place], cut.id)
            else:
                samples[place] = read
        except TextError as error:
            yield place, TextError(f"utterance '{cut.id}': {error}")
        except KeyframeError as error:
            yield place, error
    if samples:
        names = [f"utterance '{cuts[place].id}'" for place in samples]
        own = [tokens[place] for place in samples]
        yield from zip(
            samples, align_batch(recognizer, list(samples.values()), own, names), strict=True
        )


def _samples(cut: Cut) -> Samples:
    if is_part(cut):
        return read_samples(cut)
    return read_audio(audio_of(cut), channel=audio_channel(cut))


def _utterances(
    recognizer: BatchRecognizer,
    cut: Cut,
    found: Alignment,
    longest: float,
    largest_loss: float,
) -> list[AlignedUtterance]:
    transcript = found.transcript
    if transcript.duration <= longest:
        tokens = len(transcript.tokens)
        lost, reason = _judged(found, transcript.words, tokens, (0.0, float("inf")), largest_loss)
        whole = (cut.id, text(cut), 0.0, transcript.duration, transcript.words, lost, reason)
        return [AlignedUtterance(*whole)]
    utterances = []
    segments = segments_at_pauses(transcript, longest, recognizer)
    for number, segment in enumerate(segments):
        before = segments[number - 1].end if number else 0.0
        after = segments[number + 1].start if number + 1 < len(segments) else transcript.duration
        start = max(segment.start - PADDING_SECONDS, (before + segment.start) / 2)
        end = min(segment.end + PADDING_SECONDS, (segment.end + after) / 2)
        lost, reason = _judged(
            found, segment.words, len(segment.tokens), (start, end), largest_loss
        )
        utterances.append(
            AlignedUtterance(
                f"{cut.id}-{number:04d}", segment.text, start, end, segment.words, lost, reason
            )
        )
    return utterances


def _judged(
    found: Alignment,
    words: Sequence[Word],
    tokens: int,
    span: tuple[float, float],
    largest_loss: float,
) -> tuple[float, str]:
    """Return the loss per token within a span of seconds, and why it is too large, or ""."""
    misfit = found.misfit(tokens, *span)
    if misfit.lost <= largest_loss:
        return misfit.lost, ""
    if misfit.in_speech >= ONE_SIDED:
        return misfit.lost, f"speech that is not in the text, most of it at {misfit.worst:.2f} s"
    if misfit.in_speech <= 1 - ONE_SIDED:
        worst = min(words, key=lambda word: abs(word.start - misfit.worst))
        return misfit.lost, f"text that is not in the speech, such as '{worst.text}'"
    return misfit.lost, f"text and speech differ, most of all at {misfit.worst:.2f} s"
