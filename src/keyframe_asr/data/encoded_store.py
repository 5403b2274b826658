"""Disk cache for the outputs of a frozen pretrained encoder.

One float16 file per utterance and speed. Its name is a digest of everything that determines the
outputs: the content of the recording, the transforms before the front end, the front end, the
weights of the encoder and the layers used. Files are written atomically, so filling the cache may
be interrupted and several processes may share a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from lhotse.cut import Cut
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from keyframe_asr.audio.archives import ArchivedAudio
from keyframe_asr.audio.byte_source import name_of
from keyframe_asr.audio.reading import Samples
from keyframe_asr.data.feature_store import FeatureStore
from keyframe_asr.data.manifest import audio_channel, audio_of, is_part
from keyframe_asr.errors import AudioError, ManifestError
from keyframe_asr.io.atomic_write import replacing
from keyframe_asr.model.pretrained import OUTPUTS_PER_SECOND, PretrainedEncoder

BATCH_SECONDS = 30.0
"""Seconds of audio per encoded batch."""

FORMAT = "1"
"""Part of every file name; change it when the same inputs would give other outputs."""

_REPORT_SECONDS = 15.0
_LARGEST = float(np.finfo(np.float16).max)


class EncodedStore:
    """Outputs (T, width) of `encoder` for cuts, read from disk if they have been computed before.

    The weights that the outputs depend on must not change while the store is in use; those of
    layers that run on keyframes may.
    """

    pre_encoded = True

    def __init__(self, features: FeatureStore, encoder: PretrainedEncoder, folder: Path) -> None:
        self._features = features
        self._encoder = encoder
        self._folder = folder / _digest(encoder, features.level)[:16]
        self._contents: dict[Path | ArchivedAudio, str] = {}

    @property
    def width(self) -> int:
        """Width of the outputs."""
        return self._encoder.width

    def __call__(self, cut: Cut) -> Tensor:
        """Return the outputs (T, width) of a cut, float32.

        Raises:
            AudioError: the recording cannot be read.
            ManifestError: the length of the recording differs from the manifest, or the folder
                cannot be written.
        """
        stored = self._read(self._path(cut))
        if stored is None:
            self._compute([cut])
            stored = self._read(self._path(cut))
        if stored is None:
            raise ManifestError(f"{self._path(cut)}: cannot be read back; check the disk")
        return torch.from_numpy(stored).float()

    def samples(self, cut: Cut) -> Samples:
        """Return the samples (S,) of a cut, for augmentation; do not modify them.

        Raises:
            AudioError, ManifestError: as `read_samples`.
        """
        return self._features.samples(cut)

    def of_samples(self, samples: Samples) -> Tensor:
        """Compute the outputs (T, width) of samples (S,), without caching."""
        outputs, sizes = self._encode([self._features.of_samples(samples)])
        return outputs[0, : int(sizes[0])].cpu()

    def missing(self, cuts: Iterable[Cut]) -> list[Cut]:
        """Return the cuts whose outputs are not stored, without duplicates."""
        found: dict[Path, Cut] = {}
        for cut in cuts:
            path = self._path(cut)
            if path not in found and not os.path.isfile(path):
                found[path] = cut
        return list(found.values())

    def size(self, cuts: Iterable[Cut]) -> int:
        """Estimate the bytes that the outputs of these cuts take."""
        seconds: float = sum(cut.duration for cut in cuts)
        return round(seconds * OUTPUTS_PER_SECOND * self.width * np.dtype(np.float16).itemsize)

    def prepare(self, cuts: Iterable[Cut], say: Callable[[str], None]) -> None:
        """Compute and store missing outputs, batch by batch; log their amount with `say`.

        Raises:
            AudioError, ManifestError: a recording cannot be read, or does not match its manifest.
            ManifestError: there is not enough disk space.
        """
        todo = self.missing(cuts)
        if not todo:
            return
        total = sum(cut.duration for cut in todo)
        needed = self.size(todo)
        say(
            f"computing the outputs of the frozen encoder, once, for {len(todo)} recordings "
            f"({total / 60:.1f} minutes, {needed / 1e6:.0f} MB)"
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise ManifestError(
                f"{self._folder}: needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
                "free disk space, set another folder in training.encodings, or use fewer layers"
            )
        started = reported = time.monotonic()
        done = 0.0
        for batch in _batches(todo):
            self._compute(batch)
            done += sum(cut.duration for cut in batch)
            now = time.monotonic()
            if now - reported > _REPORT_SECONDS or done >= total - 1e-6:
                reported, left = now, (now - started) / done * max(0.0, total - done)
                say(f"computed {done / total:.0%}, {left:.0f} s left")

    @torch.no_grad()
    def _encode(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([len(one) for one in features])
        device = next(self._encoder.parameters()).device
        padded = pad_sequence(features, batch_first=True).to(device)
        outputs, sizes = self._encoder.eval()(padded, lengths.to(device))
        return outputs, sizes

    def _compute(self, cuts: list[Cut]) -> None:
        outputs, sizes = self._encode([self._features(cut) for cut in cuts])
        half = outputs.clamp(-_LARGEST, _LARGEST).half().cpu().numpy()
        for cut, output, size in zip(cuts, half, sizes.tolist(), strict=True):
            if not np.isfinite(output[:size]).all():
                raise AudioError(
                    f"{name_of(audio_of(cut))}: outputs of the pretrained encoder are not "
                    "finite; check the recording and the weights of the encoder"
                )
            _write(self._path(cut), output[:size])

    def _read(self, path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]] | None:
        """Read stored outputs; None if they are missing or damaged."""
        try:
            stored = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        fits = stored.dtype == np.float16 and stored.ndim == 2 and stored.shape[1] == self.width
        return stored if fits else None

    def _path(self, cut: Cut) -> Path:
        source = audio_of(cut)
        if source not in self._contents:
            self._contents[source] = _content(source)
        changes = [
            change if isinstance(change, dict) else change.to_dict()
            for change in cut.recording.transforms or ()
        ]
        described = json.dumps(
            [self._contents[source], changes, *_place(cut)], sort_keys=True, default=str
        )
        name = hashlib.sha256(described.encode()).hexdigest()
        return self._folder / name[:2] / f"{name[2:34]}.npy"


def _digest(encoder: PretrainedEncoder, level: float | None) -> str:
    """Digest of weights, architecture, layers used, class, and level of the recordings."""
    described: list[object] = [FORMAT, type(encoder).__name__, encoder.chosen, encoder.architecture]
    if level is not None:
        described.append(level)
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, tensor in sorted(encoder.lower_state().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.numpy().data)
    return digest.hexdigest()


def _place(cut: Cut) -> tuple[float | str, ...]:
    """Start and duration in seconds of a part of a recording, and the channel if one is named."""
    times = (cut.start, cut.duration) if is_part(cut) else ()
    channel = audio_channel(cut)
    return times if channel is None else (*times, f"channel {channel}")


def _content(audio: Path | ArchivedAudio) -> str:
    try:
        content = audio.read_bytes() if isinstance(audio, Path) else audio.read()
    except OSError as error:
        reason = error.strerror
        raise AudioError(f"{name_of(audio)}: cannot be read: {reason}; check the path") from None
    return hashlib.sha256(content).hexdigest()


def _batches(cuts: list[Cut]) -> Iterator[list[Cut]]:
    """Group cuts of similar length into batches of `BATCH_SECONDS` padded audio, longest first."""
    batch: list[Cut] = []
    for cut in sorted(cuts, key=lambda one: (-one.duration, one.id)):
        if batch and (len(batch) + 1) * batch[0].duration > BATCH_SECONDS:
            yield batch
            batch = []
        batch.append(cut)
    if batch:
        yield batch


def _write(path: Path, outputs: np.ndarray[tuple[int, ...], np.dtype[np.float16]]) -> None:
    advice = "free disk space, or set another folder in training.encodings"
    with replacing(path, advice, ManifestError) as temporary, temporary.open("wb") as file:
        np.save(file, outputs)
