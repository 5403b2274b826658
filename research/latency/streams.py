"""Streams of one model: what it writes, and when.

Time is simulated: a chunk is there when the last sample of its features has been spoken, and its
outputs when the processor time of a step has passed. A stream goes on after the recording, so its
last chunk is there at the end of the chunk, not of the recording.

Outputs are computed for many recordings at once; each step of a stream gives its part of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from kaldialign import align, edit_distance
from lhotse.cut import Cut
from lhotse.supervision import AlignmentItem

from keyframe_asr.audio.features import front_end
from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.manifest import text
from keyframe_asr.errors import ManifestError
from keyframe_asr.evaluation.metrics import split_units
from keyframe_asr.io.model_folder import StoredModel
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.model.streaming import StreamingNetwork
from keyframe_asr.streams.state import FeatureOutput, Floats
from keyframe_asr.text.forms import normaliser
from keyframe_asr.text.tokenizer import BLANK, END
from keyframe_asr.timing import FRAME_LENGTH_MS, FRAME_SHIFT_MS, encoder_frame_seconds

HEADS = ("head", "inter")
"""Length head, or CTC of encoder 2 in a model without keyframes; CTC of encoder 1."""

NO_UNIT = "*"
TIMED, TOGETHER = 15, 50
"""Recordings whose steps are timed, and recordings in a batch."""

Times = Sequence[float]


@dataclass(frozen=True)
class Speech:
    """A recording: features (T, F), and what is said when.

    Attributes:
        words: the units that are scored, with start and end of their sound in seconds.
    """

    features: Floats
    words: Sequence[AlignmentItem]


@dataclass(frozen=True)
class Arrival:
    """The chunks in which a keyframe comes, counted from 0.

    Attributes:
        begun: has the first frame of the run, with which a CTC commits its token; None if the
            keyframe is in no run, but kept because an utterance keeps one at least.
        certain: in it the keyframe becomes certain.
        there: in it the frames that fusion takes are there, too.
    """

    begun: int | None
    certain: int
    there: int


@dataclass
class Written:
    """What one head wrote of all recordings: errors of each, and seconds after each sound.

    Attributes:
        latencies: of the correct words, from the end of the sound.
        first: of the first word of each recording, from the start of the first sound.
        last: of the last word of each recording, from the end of the last sound.
    """

    errors: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)

    def add(self, words: Sequence[AlignmentItem], found: Sequence[tuple[str, float]]) -> None:
        """Compare what was said with what was shown at what time."""
        said, read = [one.symbol for one in words], [unit for unit, _ in found]
        self.errors.append(edit_distance(said, read)["total"])
        places = [0, 0]
        for one, other in align(said, read, NO_UNIT):
            if one == other:
                self.latencies.append(found[places[1]][1] - words[places[0]].end)
            places[0] += one != NO_UNIT
            places[1] += other != NO_UNIT
        if found and words:
            self.first.append(found[0][1] - words[0].start)
            self.last.append(found[-1][1] - words[-1].end)

    def figures(self) -> dict[str, Any]:
        """Errors, and latencies in milliseconds, as JSON values."""
        figures: dict[str, Any] = {"errors": self.errors}
        if self.latencies:
            quantiles = np.percentile(self.latencies, (50, 90, 99))
            named = dict(zip(("median", "p90", "p99"), quantiles, strict=True))
            named["mean"] = statistics.fmean(self.latencies)
            for name, times in (("first", self.first), ("last", self.last)):
                named[name] = statistics.median(times)
            figures |= {name: round(1000 * float(value), 1) for name, value in named.items()}
        return figures


def speech_of(model: StoredModel, cuts: Sequence[Cut]) -> list[Speech]:
    """Return recordings of a manifest with word times.

    Raises:
        ManifestError: it has no times, or not of each word.
    """
    compute, form = front_end(model.config.features, None), model.config.text_form
    normalise = normaliser(form)
    found = []
    for cut in cuts:
        words = (cut.supervisions[0].alignment or {}).get("word", [])
        if [one.symbol for one in words] != split_units(normalise(text(cut)), form):
            raise ManifestError(
                f"{cut.id}: has no times of its {form.unit}; use a corpus that keyframe_asr has "
                "synthesised, or run keyframe align"
            )
        found.append(Speech(compute(read_samples(cut)), words))
    return found


def whole(model: StoredModel, speech: Sequence[Speech]) -> dict[str, Any]:
    """Errors of both heads if they see whole recordings."""
    written = {head: Written() for head in HEADS}
    for one in speech:
        features = torch.from_numpy(one.features)
        with torch.inference_mode():
            encoded = model.network.encode(features[None], torch.tensor([len(features)]))
        log_probs = {"head": encoded.head_log_probs, "inter": encoded.inter_log_probs}
        for head, values in log_probs.items():
            shown = [0.0] * values.size(1)
            written[head].add(one.words, units(model, head, values[0].numpy(), shown))
    return {head: {"errors": of.errors} for head, of in written.items()}


def in_chunks(
    model: StoredModel, speech: Sequence[Speech], chunk: int, look_ahead: int = 0
) -> dict[str, Any]:
    """Errors and latencies of both heads in a stream, and what waiting for keyframes adds."""
    network = StreamingNetwork(model.network, chunk, look_ahead=look_ahead)
    frame = encoder_frame_seconds(model.config.model.subsampling.factor)
    step = step_seconds(network, [one.features for one in speech[:TIMED]])
    edge = (FRAME_LENGTH_MS - FRAME_SHIFT_MS) / 2000  # the last frame reaches beyond its shift
    written = {head: Written() for head in HEADS}
    arrivals: list[Arrival] = []
    runs: list[tuple[int, int]] = []
    for first in range(0, len(speech), TOGETHER):
        some = speech[first : first + TOGETHER]
        for one, output in zip(some, network.simulated([of.features for of in some]), strict=True):
            came = arrivals_of(model.network, output, chunk)
            arrivals += came
            runs += runs_of(output.inter_log_probs)
            places = range(len(output.inter_log_probs))
            for head, log_probs, chunks in (
                ("head", output.head_log_probs, [keyframe.there for keyframe in came]),
                ("inter", output.inter_log_probs, [place // chunk for place in places]),
            ):
                heard = [(number + 1) * chunk + look_ahead for number in chunks]
                shown = [frames * frame + edge + step for frames in heard]
                written[head].add(one.words, units(model, head, log_probs, shown))
    waits = [
        (one.certain - one.begun, one.there - one.certain)
        for one in arrivals
        if one.begun is not None
    ]
    run, fusion = (1000 * chunk * frame * _mean([one[kind] for one in waits]) for kind in (0, 1))
    return {
        **{head: of.figures() for head, of in written.items()},
        "wait": {"run": round(run, 2), "fusion": round(fusion, 2)},
        "run_frames": round(_mean([after - first for first, after in runs]), 3),
        "at_start": round(_mean([first % chunk == 0 for first, _ in runs]), 4),
        "step_ms": round(1000 * step, 2),
    }


def step_seconds(network: StreamingNetwork, recordings: Sequence[Floats]) -> float:
    """Return the median processor time of a chunk of one stream."""
    size = network.chunk * network.network.config.subsampling.factor
    found = []
    for features in recordings:
        state = network.start()
        for start in range(0, len(features) - size, size):
            began = time.process_time()
            state, output = network.step_one(state, features[start : start + size])
            if len(output.inter_log_probs):  # else it waits for what look-ahead needs
                found.append(time.process_time() - began)
    return statistics.median(found) if found else 0.0


def arrivals_of(network: KeyframeNetwork, output: FeatureOutput, chunk: int) -> list[Arrival]:
    """Return when each keyframe of a stream comes; frames if keyframes are off."""
    places = output.keyframes.tolist()
    if not network.keyframes_enabled:
        return [Arrival(place // chunk, place // chunk, place // chunk) for place in places]
    ahead = network.fusion.offsets[-1] if network.fusion_enabled else 0
    last = len(output.inter_log_probs) - 1  # the end of an utterance ends its runs
    run_of = {
        place: run for run in runs_of(output.inter_log_probs) for place in range(run[0], run[1])
    }
    found = []
    for place in places:
        first, after = run_of.get(place, (None, last))
        certain = after if first is None or network.policy.keep == "peak" else first
        there = max(certain, place + ahead)
        begun = None if first is None else first // chunk
        found.append(Arrival(begun, min(certain, last) // chunk, min(there, last) // chunk))
    return found


def units(
    model: StoredModel, head: str, log_probs: Floats, shown: Times
) -> list[tuple[str, float]]:
    """Return words or characters, greedily, with the time at which the last token of each came.

    A token of CTC is there with the first frame of its run, one of the length head with its
    keyframe.
    """
    labels = log_probs.argmax(axis=1)
    kept = (labels != BLANK) & (labels != END)
    if head == "inter" or not model.network.keyframes_enabled:
        kept[1:] &= labels[1:] != labels[:-1]
    form = model.config.text_form
    normalise = normaliser(form)
    tokens: list[int] = []
    written: list[str] = []
    times: list[float] = []
    for place in kept.nonzero()[0].tolist():
        tokens.append(int(labels[place]))
        now = split_units(normalise(model.tokenizer.decode(tokens)), form)
        if now != written:  # else it is a mark of a word's start
            times = [*times[: len(now) - 1], shown[place]]
        written = now
    return list(zip(written, times, strict=True))


def runs_of(log_probs: Floats) -> list[tuple[int, int]]:
    """Return the first frame of each run of equal labels, and the first after it; no blanks."""
    labels = log_probs.argmax(axis=1)
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    ends = np.r_[starts[1:], len(labels)]
    spikes = labels[starts] != BLANK
    return list(zip(starts[spikes].tolist(), ends[spikes].tolist(), strict=True))


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0
