"""An exported network: features to frames, keyframes, and the outputs of both heads.

Utterances go through the encoders one at a time. On a CPU a batch of them is hardly faster, its
padding costs time, and 8-bit graphs scale the activations of all its utterances together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keyframe_asr.config.model import ModelFolderConfig, load_model_folder_config
from keyframe_asr.errors import ModelError
from keyframe_asr.io.model_location import CONFIG_FILE, GRAPH_SUFFIX
from keyframe_asr.runtime.decoder import ExportedDecoder
from keyframe_asr.runtime.keyframes import (
    Floats,
    Integers,
    Keyframes,
    all_frames,
    outputs_around,
    select_keyframes,
)
from keyframe_asr.runtime.sessions import Sessions

PRETRAINED_STEP = 2
"""Frames of 10 ms per output of a pretrained encoder."""

WHISPER_OUTPUTS = 1500
"""Outputs of Whisper in one window, unless its architecture says otherwise."""

WAV2VEC2_KERNELS, WAV2VEC2_STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
"""Convolutions of wav2vec 2.0, unless its architecture says otherwise."""


@dataclass(frozen=True)
class EncodedArrays:
    """Output of the encoders and heads for a batch, padded with zeros.

    Attributes:
        inter_log_probs: (B, U, V) of the inter-CTC, one per encoder frame.
        frame_lengths: (B,) encoder frames per utterance.
        keyframes: source frames of encoder 2's input; all frames if keyframes are off.
        memory: (B, K, D) output of encoder 2.
        head_log_probs: (B, K, V) of the length head; of the final CTC if keyframes are off.
        attended: vectors (B, M, D) that the decoder attends to.
        attended_lengths: (B,).
    """

    inter_log_probs: Floats
    frame_lengths: Integers
    keyframes: Keyframes
    memory: Floats
    head_log_probs: Floats
    attended: Floats
    attended_lengths: Integers


class ExportedNetwork:
    """The graphs of an exported model; `open_network` opens those of a folder.

    Attributes:
        config: of the model.
        sessions: its graphs.
        decoder: None if the model has none.
    """

    def __init__(self, config: ModelFolderConfig, sessions: Sessions) -> None:
        self.config = config
        self.sessions = sessions
        self.decoder: ExportedDecoder | None = None
        if config.model.decoder is not None:
            self.decoder = ExportedDecoder(sessions)

    @property
    def outputs_per_frame(self) -> int:
        """Outputs of a pretrained encoder per encoder frame."""
        return self.config.model.subsampling.factor // PRETRAINED_STEP

    def encode(
        self,
        features: Sequence[Floats],
        min_keyframes: Sequence[int] | None = None,
        *,
        pre_encoded: bool = False,
    ) -> EncodedArrays:
        """Run both encoders and both heads.

        Args:
            features: (T, F) float32 of each utterance, of the model's front end; T may be 0.
            min_keyframes: minimum number of keyframes of each, clamped to its frames.
            pre_encoded: `features` are already outputs of the pretrained encoder.
        """
        least = [1] * len(features) if min_keyframes is None else min_keyframes
        found = [
            self._encode_one(one, few, pre_encoded)
            for one, few in zip(features, least, strict=True)
        ]
        if not found:
            raise ValueError("there are no utterances to encode")
        return EncodedArrays(
            _padded([one.inter_log_probs for one in found]),
            np.concatenate([one.frame_lengths for one in found]),
            Keyframes(
                _padded([one.keyframes.index for one in found]),
                np.concatenate([one.keyframes.lengths for one in found]),
            ),
            _padded([one.memory for one in found]),
            _padded([one.head_log_probs for one in found]),
            _padded([one.attended for one in found]),
            np.concatenate([one.attended_lengths for one in found]),
        )

    def pretrained_outputs(self, features: Floats) -> Floats:
        """Outputs (N, width) of the pretrained encoder for features (T, F) of one utterance."""
        pretrained = self.config.model.pretrained
        if pretrained is None:
            raise ValueError("the network has no pretrained encoder")
        if pretrained.family == "wav2vec2":
            if len(features) < self._shortest():
                return self._no_outputs()
            (outputs,) = self.sessions.run("pretrained", features=features[None])
            of_one: Floats = outputs[0]
            return of_one
        size = PRETRAINED_STEP * int(
            (pretrained.architecture or {}).get("max_source_positions", WHISPER_OUTPUTS)
        )
        windows = [features[start : start + size] for start in range(0, len(features), size)]
        encoded = [
            self.sessions.run(
                "pretrained", features=one[None], lengths=np.array([len(one)], dtype=np.int64)
            )[0][0]
            for one in windows
        ]
        return np.concatenate(encoded) if encoded else self._no_outputs()

    def _encode_one(self, features: Floats, least: int, pre_encoded: bool) -> EncodedArrays:
        features = np.ascontiguousarray(features, dtype=np.float32)
        if self.config.model.pretrained is not None and not pre_encoded:
            features = self.pretrained_outputs(features)
        lengths = np.array([len(features)], dtype=np.int64)
        if len(features) == 0:  # convolutions need at least one frame
            features = np.zeros((1, features.shape[1]), dtype=np.float32)
        frames, frame_lengths, log_probs = self.sessions.run(
            "encoder", features=features[None], lengths=lengths
        )
        keyframes = all_frames(frame_lengths, frames.shape[1])
        if self.config.keyframes:
            selection, fewest = self.config.model.keyframes, np.array([least])
            keyframes = select_keyframes(log_probs, frame_lengths, selection, fewest)
        inputs = {
            "frames": frames,
            "frame_lengths": frame_lengths,
            "index": keyframes.index,
            "keyframe_lengths": keyframes.lengths,
        }
        wanted = self.sessions.inputs("keyframes")
        attended_lengths = keyframes.lengths
        if "outputs" in wanted:
            inputs |= {"outputs": features[None], "output_lengths": lengths}
        if "attended_index" in wanted:
            attended = outputs_around(keyframes, lengths, self._around(), self.outputs_per_frame)
            attended_lengths = attended.lengths
            inputs |= {"attended_index": attended.index, "attended_lengths": attended_lengths}
        memory, head, *vectors = self.sessions.run("keyframes", **inputs)
        return EncodedArrays(
            log_probs,
            frame_lengths,
            keyframes,
            memory,
            head,
            vectors[0] if vectors else memory,
            attended_lengths,
        )

    def _around(self) -> int:
        decoder = self.config.model.pretrained_decoder
        return 0 if decoder is None else decoder.memory_frames

    def _no_outputs(self) -> Floats:
        (features, *_) = self.sessions.session("encoder").get_inputs()
        return np.zeros((0, features.shape[2]), dtype=np.float32)

    def _shortest(self) -> int:
        """Samples of one window of wav2vec 2.0."""
        pretrained = self.config.model.pretrained
        architecture = {} if pretrained is None else pretrained.architecture or {}
        kernels = architecture.get("conv_kernel", WAV2VEC2_KERNELS)
        strides = architecture.get("conv_stride", WAV2VEC2_STRIDES)
        size = 1
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            size = (size - 1) * stride + kernel
        return size


def open_network(folder: Path, threads: int | None = None) -> ExportedNetwork:
    """Open the graphs of a folder; each is loaded when it is first run.

    Args:
        folder: that `keyframe export` wrote, or of a model to which it added graphs.
        threads: of ONNX Runtime; None lets it choose.

    Raises:
        ModelError: the folder is not an export.
        RecipeError: `config.yaml` contains an invalid key or value.
    """
    sessions = Sessions(folder, threads)
    graphs = [sessions.folder / (name + GRAPH_SUFFIX) for name in ("encoder", "keyframes")]
    for path in (folder / CONFIG_FILE, *graphs):
        if not path.is_file():
            raise ModelError(f"{path.parent}: contains no {path.name}; {sessions.advice}")
    return ExportedNetwork(load_model_folder_config(folder / CONFIG_FILE), sessions)


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    """Join arrays (1, N, ...) of several lengths with zeros at the end: (B, N, ...)."""
    if len(rows) == 1:
        return rows[0]
    longest = max(row.shape[1] for row in rows)
    joined = np.zeros((len(rows), longest, *rows[0].shape[2:]), dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        joined[place, : row.shape[1]] = row[0]
    return joined
