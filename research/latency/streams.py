"""Streams of one model: what it writes, and when.

Time is simulated: a chunk is there when the last sample of its features has been spoken, and its
outputs when the processor time of its step has passed. A stream goes on after the recording, so
its last chunk is there at the end of the chunk, not of the recording.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
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
from keyframe_asr.model.streaming import StreamingNetwork
from keyframe_asr.streams.state import FeatureOutput, Floats
from keyframe_asr.streams.steps import FeatureSteps
from keyframe_asr.text.forms import normaliser
from keyframe_asr.text.tokenizer import BLANK, END
from keyframe_asr.timing import FRAME_LENGTH_MS, FRAME_SHIFT_MS, encoder_frame_seconds

HEADS = ("head", "inter")
"""Length head, or CTC of encoder 2 in a model without keyframes; CTC of encoder 1."""

NO_UNIT = "*"

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
class Streamed:
    """What a stream gave of one recording.

    Attributes:
        output: all of it; K rows of the head.
        shown: head → seconds at which each row of its log-probabilities was there.
        chunks: number of the chunk in which each of the K rows came.
        steps: processor seconds of each chunk.
    """

    output: FeatureOutput
    shown: Mapping[str, Times]
    chunks: Sequence[int]
    steps: Times


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


def in_chunks(model: StoredModel, speech: Sequence[Speech], chunk: int) -> dict[str, Any]:
    """Errors and latencies of both heads in a stream, and what waiting for keyframes adds."""
    network = StreamingNetwork(model.network, chunk)
    frame = encoder_frame_seconds(model.config.model.subsampling.factor)
    written = {head: Written() for head in HEADS}
    waits: list[tuple[int, int]] = []
    runs: list[tuple[int, int]] = []
    steps: list[float] = []
    stream(network, speech[0].features, frame)  # first calls are slower
    for one in speech:
        streamed = stream(network, one.features, frame)
        output = streamed.output
        for head, values in (("head", output.head_log_probs), ("inter", output.inter_log_probs)):
            found = units(model, head, values, streamed.shown[head])
            written[head].add(one.words, found)
        steps += streamed.steps
        runs += runs_of(output.inter_log_probs)
        if model.network.keyframes_enabled:
            waits += waits_of(streamed, chunk, model.network.policy.keep)
    run, fusion = (1000 * chunk * frame * _mean([one[kind] for one in waits]) for kind in (0, 1))
    return {
        **{head: of.figures() for head, of in written.items()},
        "wait": {"run": round(run, 2), "fusion": round(fusion, 2)},
        "run_frames": round(_mean([after - first for first, after in runs]), 3),
        "at_start": round(_mean([first % chunk == 0 for first, _ in runs]), 4),
        "step_ms": round(1000 * statistics.median(steps), 2),
    }


def stream(network: FeatureSteps, features: Floats, frame_seconds: float) -> Streamed:
    """Stream one recording chunk by chunk."""
    size = network.chunk * round(1000 * frame_seconds / FRAME_SHIFT_MS)
    edge = (FRAME_LENGTH_MS - FRAME_SHIFT_MS) / 2000  # the last frame reaches beyond its shift
    state, outputs, clock = network.start(), [], 0.0
    shown: dict[str, list[float]] = {head: [] for head in HEADS}
    chunks: list[int] = []
    steps: list[float] = []
    for number, start in enumerate(range(0, len(features), size)):
        block, last = features[start : start + size], start + size >= len(features)
        began = time.process_time()
        state, output = network.step_one(state, block, last=last)
        steps.append(time.process_time() - began)
        spoken = (number + 1) * network.chunk * frame_seconds + edge
        clock = max(clock, spoken) + steps[-1]
        outputs.append(output)
        shown["inter"] += [clock] * len(output.inter_log_probs)
        shown["head"] += [clock] * len(output.keyframes)
        chunks += [number] * len(output.keyframes)
    return Streamed(FeatureOutput.joined(outputs), shown, chunks, steps)


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


def waits_of(streamed: Streamed, chunk: int, keep: str) -> list[tuple[int, int]]:
    """Return for how many chunks each keyframe waits: for the end of its run, and for fusion.

    A CTC waits for neither: it commits a token in the chunk of the first frame of its run.
    """
    output = streamed.output
    came = dict(zip(output.keyframes.tolist(), streamed.chunks, strict=True))
    last = len(output.inter_log_probs) - 1  # the end of an utterance ends its runs
    found: list[tuple[int, int]] = []
    for first, after in runs_of(output.inter_log_probs):
        certain = (min(after, last) if keep == "peak" else first) // chunk
        there = (came[frame] for frame in range(first, after) if frame in came)
        found += [(certain - first // chunk, one - certain) for one in there]
    return found


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0
