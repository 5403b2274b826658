"""Compare an export with the network that it comes from.

Recordings go through both, and are decoded as the model is best decoded, with the same search.
Greedy texts are read from the length head, or from the final CTC without keyframes; a decoder reads
the same made-up tokens in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from keyframe_asr.audio.features import front_end
from keyframe_asr.audio.reading import Samples
from keyframe_asr.audio.synthetic_noise import make_synthetic_noise
from keyframe_asr.decoding.greedy import greedy_aligned, greedy_ctc
from keyframe_asr.inference.batch_recognizer import BatchRecognizer
from keyframe_asr.inference.onnx_network import OnnxNetwork
from keyframe_asr.inference.torch_network import TorchNetwork
from keyframe_asr.io.model_folder import StoredModel
from keyframe_asr.model.encoded import Encoded
from keyframe_asr.runtime.keyframes import Floats
from keyframe_asr.runtime.network import EncodedArrays, ExportedNetwork
from keyframe_asr.streams.state import FeatureOutput

IMPROBABLE = -14.0
"""Log-probabilities below this in both (one in a million) are not compared."""

LARGEST_DIFFERENCE = 3e-3
"""Largest difference of a log-probability in float32; on 60 recordings, models with Whisper reach
0.0007."""

SURE = 0.5
"""Probability from which the network is sure of a frame's label."""

FEWEST_EQUAL_LABELS = 0.98
"""Share of the frames with a sure label that must keep it, for integers."""

MOST_POINTS = 0.3
"""Most percentage points by which integers may raise the error rate."""

READ_TOKENS = 6
"""Made-up tokens that a decoder reads."""


OF_STREAMS = " of streams"
"""End of the names of what was found by streams."""


@dataclass
class Labels:
    """The most probable labels of log-probabilities of one kind.

    Attributes:
        count: number of them.
        equal: number of those that the export has, too.
        sure: number of those of which the network is sure.
        equal_sure: of these, the number of those that the export has, too.
    """

    count: int = 0
    equal: int = 0
    sure: int = 0
    equal_sure: int = 0

    def add(self, found: Floats, expected: Floats) -> None:
        """Compare log-probabilities (N, V) of the export with those of the network."""
        equal = expected.argmax(axis=-1) == found.argmax(axis=-1)
        sure = expected.max(axis=-1, initial=-np.inf) > np.log(SURE)
        self.count += len(equal)
        self.equal += int(equal.sum())
        self.sure += int(sure.sum())
        self.equal_sure += int((equal & sure).sum())

    @property
    def share(self) -> float:
        """Share of the sure labels that the export has, too."""
        return self.equal_sure / self.sure if self.sure else 1.0


@dataclass
class Verification:
    """What was compared.

    Attributes:
        integers: the export has weights of 8 bits.
        frames: labels of encoder frames, of whole utterances and, if the model can stream, of
            streams, by the end of their names.
        heads: the same of the keyframes, in recordings with the same keyframes.
        equal_keyframes: recordings with the same keyframes; the outputs that follow are compared
            for these.
        largest: largest difference of a log-probability of each output.
        greedy: greedy texts of the network and of the export, by output, for each recording.
        texts: their texts as the model is best decoded.
        mode: the decode mode of these.
    """

    integers: bool
    frames: dict[str, Labels] = field(default_factory=dict)
    heads: dict[str, Labels] = field(default_factory=dict)
    equal_keyframes: dict[str, int] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)
    greedy: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    texts: list[tuple[str, str]] = field(default_factory=list)
    mode: str = ""

    def problems(self) -> list[str]:
        """What is beyond the tolerances, each in a few words; none if the export is good."""
        if not sum(one.count for one in self.frames.values()):
            return ["there was nothing to compare"]
        if self.integers:
            return self._integer_problems()
        found = [
            f"{name} differs by {value:.2g} (at most {LARGEST_DIFFERENCE:g})"
            for name, value in self.largest.items()
            if not value <= LARGEST_DIFFERENCE
        ]
        for name, pairs in {**self.greedy, "": self.texts}.items():
            if (same := _equal(pairs)) < len(pairs):
                of_output = f" of the {name}" if name else ""
                found.append(f"{len(pairs) - same} of {len(pairs)} texts{of_output} differ")
        return found

    def _integer_problems(self) -> list[str]:
        found = [
            f"{name} has values that are no numbers"
            for name, value in self.largest.items()
            if np.isnan(value)
        ]
        kinds = {
            f"{what}{end}": labels
            for what, several in (("encoder frames", self.frames), ("keyframes", self.heads))
            for end, labels in several.items()
        }
        return found + [
            f"only {labels.share:.1%} of {what} with a sure label keep it (at least "
            f"{FEWEST_EQUAL_LABELS:.0%})"
            for what, labels in kinds.items()
            if labels.share < FEWEST_EQUAL_LABELS
        ]

    def described(self) -> list[str]:
        """What was found, in lines."""
        count = len(self.texts)
        largest = ", ".join(f"{name} {value:.2g}" for name, value in self.largest.items())
        lines = [f"{count} recordings, the same text in mode {self.mode} in {_equal(self.texts)}"]
        for end, labels in self.frames.items():
            texts = ", ".join(
                f"the same greedy text of the {name} in {_equal(pairs)}"
                for name, pairs in self.greedy.items()
                if name.endswith(OF_STREAMS) == bool(end)
            )
            lines.append(
                f"{labels.count} encoder frames{end}: the same label in "
                f"{labels.equal / max(1, labels.count):.2%} of frames ({labels.share:.2%} of those "
                f"with a probability above {SURE:g}; {self.heads[end].share:.2%} of such "
                f"keyframes), the same keyframes in {self.equal_keyframes[end]} of {count} "
                f"recordings, {texts}"
            )
        return [
            *lines,
            f"largest difference of log-probabilities above {IMPROBABLE:g}: {largest}",
        ]

    def compare(self, output: str, found: Floats, expected: Floats) -> None:
        """Note the largest difference of log-probabilities of one output."""
        probable = ~(np.maximum(found, expected) <= IMPROBABLE)  # NaN is compared, too
        difference = np.abs(found - expected)[probable]
        value = float(difference.max(initial=0.0))
        self.largest[output] = float(np.maximum(self.largest.get(output, 0.0), value))


@torch.inference_mode()
def verify(
    model: StoredModel,
    network: ExportedNetwork,
    recordings: Iterable[Samples],
    *,
    integers: bool,
    progress: Callable[[int], None] = lambda done: None,
) -> Verification:
    """Run recordings (S,) through a model and its export.

    Args:
        model: the model, with float weights.
        network: its export.
        recordings: samples at 16 kHz.
        integers: the export has weights of 8 bits.
        progress: called with the number of recordings done.
    """
    compute = front_end(model.config.features, model.config.model.pretrained)
    of_model = BatchRecognizer(model, TorchNetwork(model.network, "cpu"))
    of_export = BatchRecognizer(model, OnnxNetwork(network))
    found = Verification(integers, mode=of_model.default_mode)
    for samples in recordings:
        features = compute(samples)
        lengths = torch.tensor([len(features)])
        expected = model.network.encode(torch.from_numpy(features)[None], lengths)
        _compare_one(found, model, expected, network.encode([features]), network)
        if model.network.streaming is not None:
            theirs, ours = (_streamed(one, features) for one in (of_model, of_export))
            _compare_outputs(found, model, theirs, ours, OF_STREAMS)
        texts = [one.recognise([samples])[0].text for one in (of_model, of_export)]
        found.texts.append((texts[0], texts[1]))
        progress(len(found.texts))
    return found


def made_up_recordings() -> list[Samples]:
    """Noise of many kinds and levels, for a verification without recordings."""
    return [noise.samples for noise in make_synthetic_noise(2.0)]


def _compare_one(
    found: Verification,
    model: StoredModel,
    expected: Encoded,
    exported: EncodedArrays,
    network: ExportedNetwork,
) -> None:
    frames, count = int(expected.frame_lengths[0]), int(expected.keyframes.lengths[0])
    outputs = FeatureOutput(
        expected.inter_log_probs[0, :frames].numpy(),
        expected.keyframes.index[0, :count].numpy(),
        expected.head_log_probs[0, :count].numpy(),
    )
    kept = int(exported.keyframes.lengths[0])
    ours = FeatureOutput(
        exported.inter_log_probs[0, :frames],
        exported.keyframes.index[0, :kept],
        exported.head_log_probs[0, :kept],
    )
    same = _compare_outputs(found, model, outputs, ours)
    if same and model.network.decoder is not None and count:
        found.compare("decoder", *_read(model, expected, exported, network))


def _compare_outputs(
    found: Verification,
    model: StoredModel,
    expected: FeatureOutput,
    ours: FeatureOutput,
    end: str = "",
) -> bool:
    """Compare what was found in one recording; True if the keyframes are the same."""
    same = np.array_equal(ours.keyframes, expected.keyframes)
    frames = found.frames.setdefault(end, Labels())
    head = found.heads.setdefault(end, Labels())
    frames.add(ours.inter_log_probs, expected.inter_log_probs)
    found.compare(f"inter-CTC{end}", ours.inter_log_probs, expected.inter_log_probs)
    found.equal_keyframes[end] = found.equal_keyframes.get(end, 0) + same
    if same:
        head.add(ours.head_log_probs, expected.head_log_probs)
        found.compare(f"head{end}", ours.head_log_probs, expected.head_log_probs)
    both = expected, ours
    texts = {f"head{end}": [_greedy_text(model, one.head_log_probs) for one in both]}
    if end:
        texts[f"inter-CTC{end}"] = [_ctc_text(model, one.inter_log_probs) for one in both]
    for name, (theirs, own) in texts.items():
        found.greedy.setdefault(name, []).append((theirs, own))
    return same


def _streamed(recognizer: BatchRecognizer, features: Floats) -> FeatureOutput:
    stream = recognizer.network.stream()
    (output,) = stream.step([stream.start()], [features], [True])[1]
    return output


def _read(
    model: StoredModel, expected: Encoded, exported: EncodedArrays, network: ExportedNetwork
) -> tuple[Floats, Floats]:
    """Log-probabilities (N, V) of both decoders after made-up tokens, the last one in a step."""
    decoder, reader = model.network.decoder, network.decoder
    assert decoder is not None and reader is not None
    vectors, lengths = expected.attended
    size = decoder.vocab_size
    tokens = np.random.default_rng(0).integers(3, size, (1, READ_TOKENS))
    logits = decoder(torch.from_numpy(tokens), torch.tensor([READ_TOKENS]), vectors, lengths)
    state = reader.start(exported.attended, exported.attended_lengths)
    first, state = reader.read(tokens[:, :-1], state)
    last, _ = reader.step(tokens[:, -1], state)
    both = np.concatenate((first[0], last))
    return both, logits.float().log_softmax(dim=-1)[0].numpy()


def _equal(pairs: list[tuple[str, str]]) -> int:
    return sum(one == other for one, other in pairs)


def _greedy_text(model: StoredModel, log_probs: Floats) -> str:
    if not model.config.keyframes:
        return _ctc_text(model, log_probs)
    (found,) = greedy_aligned(log_probs[None], np.array([len(log_probs)]))
    return model.tokenizer.decode(found.tokens)


def _ctc_text(model: StoredModel, log_probs: Floats) -> str:
    (found,) = greedy_ctc(log_probs[None], np.array([len(log_probs)]))
    return model.tokenizer.decode(found.tokens)
