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
from keyframe_asr.model.network import Encoded
from keyframe_asr.runtime.keyframes import Floats
from keyframe_asr.runtime.network import EncodedArrays, ExportedNetwork

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


@dataclass
class Verification:
    """What was compared.

    Attributes:
        integers: the export has weights of 8 bits.
        frames: encoder frames of all recordings.
        equal_labels: frames of them with the same most probable label.
        sure: frames of whose label the network is sure.
        equal_sure: frames of them with the same most probable label.
        head_sure: keyframes of whose label the length head is sure, in recordings with the same
            keyframes.
        head_equal_sure: keyframes of them with the same most probable label.
        equal_keyframes: recordings with the same keyframes; the outputs that follow are compared
            for these.
        largest: largest difference of a log-probability of each output.
        greedy: greedy texts of the network and of the export, for each recording.
        texts: their texts as the model is best decoded.
        mode: the decode mode of these.
    """

    integers: bool
    frames: int = 0
    equal_labels: int = 0
    sure: int = 0
    equal_sure: int = 0
    head_sure: int = 0
    head_equal_sure: int = 0
    equal_keyframes: int = 0
    largest: dict[str, float] = field(default_factory=dict)
    greedy: list[tuple[str, str]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    mode: str = ""

    def problems(self) -> list[str]:
        """What is beyond the tolerances, each in a few words; none if the export is good."""
        count = len(self.texts)
        if not self.frames:
            return ["there was nothing to compare"]
        if self.integers:
            return self._integer_problems()
        found = [
            f"{name} differs by {value:.2g} (at most {LARGEST_DIFFERENCE:g})"
            for name, value in self.largest.items()
            if not value <= LARGEST_DIFFERENCE
        ]
        for pairs in (self.greedy, self.texts):
            if (same := _equal(pairs)) < count:
                found.append(f"{count - same} of {count} texts differ")
        return found

    def _integer_problems(self) -> list[str]:
        found = [
            f"{name} has values that are no numbers"
            for name, value in self.largest.items()
            if np.isnan(value)
        ]
        for what, sure, equal in (
            ("encoder frames", self.sure, self.equal_sure),
            ("keyframes", self.head_sure, self.head_equal_sure),
        ):
            share = equal / sure if sure else 1.0
            if share < FEWEST_EQUAL_LABELS:
                found.append(
                    f"only {share:.1%} of {what} with a sure label keep it (at least "
                    f"{FEWEST_EQUAL_LABELS:.0%})"
                )
        return found

    def described(self) -> list[str]:
        """What was found, in lines."""
        count = len(self.texts)
        largest = ", ".join(f"{name} {value:.2g}" for name, value in self.largest.items())
        return [
            f"{count} recordings, {self.frames} encoder frames: the same label in "
            f"{self.equal_labels / max(1, self.frames):.2%} of frames "
            f"({self.equal_sure / max(1, self.sure):.2%} of those with a probability above "
            f"{SURE:g}; {self.head_equal_sure / max(1, self.head_sure):.2%} of such keyframes), "
            "the same keyframes in "
            f"{self.equal_keyframes} of {count} recordings, the same greedy text in "
            f"{_equal(self.greedy)}, the same text in mode {self.mode} in {_equal(self.texts)}",
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
    frames = int(expected.frame_lengths[0])
    inter = expected.inter_log_probs[0, :frames].numpy()
    ours = exported.inter_log_probs[0, :frames]
    found.frames += frames
    equal = inter.argmax(axis=-1) == ours.argmax(axis=-1)
    sure = inter.max(axis=-1, initial=-np.inf) > np.log(SURE)
    found.equal_labels += int(equal.sum())
    found.sure += int(sure.sum())
    found.equal_sure += int((equal & sure).sum())
    found.compare("inter-CTC", ours, inter)
    count = int(expected.keyframes.lengths[0])
    kept = expected.keyframes.index[0, :count].numpy()
    head = expected.head_log_probs[0, :count].numpy()
    others = int(exported.keyframes.lengths[0])
    texts = [
        _greedy_text(model, log_probs) for log_probs in (head, exported.head_log_probs[0, :others])
    ]
    found.greedy.append((texts[0], texts[1]))
    if np.array_equal(kept, exported.keyframes.index[0, :others]):
        found.equal_keyframes += 1
        other = exported.head_log_probs[0, :others]
        found.compare("head", other, head)
        sure = head.max(axis=-1, initial=-np.inf) > np.log(SURE)
        found.head_sure += int(sure.sum())
        found.head_equal_sure += int((sure & (head.argmax(-1) == other.argmax(-1))).sum())
        if model.network.decoder is not None and count:
            found.compare("decoder", *_read(model, expected, exported, network))


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
    greedy = greedy_aligned if model.config.keyframes else greedy_ctc
    (found,) = greedy(log_probs[None], np.array([len(log_probs)]))
    return model.tokenizer.decode(found.tokens)
