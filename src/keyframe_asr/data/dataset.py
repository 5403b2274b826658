"""Batches of features and token ids from cuts: lhotse samples and buckets, this file collates."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from lhotse import CutSet
from lhotse.augmentation import AudioTransform, Resample
from lhotse.cut import Cut
from lhotse.dataset import DynamicBucketingSampler, SimpleCutSampler
from lhotse.dataset.sampling.base import CutSampler
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from keyframe_asr.audio import read_audio
from keyframe_asr.data.manifest import audio_path, text
from keyframe_asr.errors import KeyframeError, ManifestError
from keyframe_asr.features import FrontEnd
from keyframe_asr.timing import SAMPLE_RATE
from keyframe_asr.tokenizer import Tokenizer

DURATION_TOLERANCE = 0.25
"""Seconds by which a recording may differ from its manifest: codecs pad, tables round."""

FEWEST_BUCKETED = 100
"""Fewer cuts are not put into buckets by their length."""


@dataclass(frozen=True)
class Batch:
    """One padded batch.

    Attributes:
        ids: names of the utterances.
        features: (B, T, F) of the model's front end, or outputs of its pretrained encoder.
        feature_lengths: (B,) frames.
        tokens: (B, L) token ids, padded with 0.
        token_lengths: (B,).
        audio_seconds: seconds of audio in the batch.
        pre_encoded: whether `features` have gone through the pretrained encoder already.
    """

    ids: tuple[str, ...]
    features: Tensor
    feature_lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    audio_seconds: float
    pre_encoded: bool = False

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(
            self.ids,
            self.features.to(device, non_blocking=True),
            self.feature_lengths.to(device, non_blocking=True),
            self.tokens.to(device, non_blocking=True),
            self.token_lengths.to(device, non_blocking=True),
            self.audio_seconds,
            self.pre_encoded,
        )


class Store(Protocol):
    """Where the features of cuts come from."""

    @property
    def width(self) -> int:
        """F, the width of the features."""

    @property
    def pre_encoded(self) -> bool:
        """Whether the features are outputs of a pretrained encoder."""

    def prepare(self, cuts: Iterable[Cut], say: Callable[[str], None]) -> None:
        """Do beforehand what is better done for many cuts at once; `say` what that takes."""

    def __call__(self, cut: Cut) -> Tensor:
        """Features (T, F) of a cut."""


class FeatureStore:
    """Features of cuts, computed on demand; kept in memory between epochs if asked."""

    pre_encoded = False

    def __init__(self, front_end: FrontEnd, keep: bool) -> None:
        self._front_end = front_end
        # Names of cuts are unique in one manifest only, so the recording is part of the key.
        self._kept: dict[tuple[str, Path], Tensor] | None = {} if keep else None

    @property
    def width(self) -> int:
        """F, the width of the features."""
        return self._front_end.width

    def prepare(self, cuts: Iterable[Cut], say: Callable[[str], None]) -> None:
        """Nothing to do."""

    def __call__(self, cut: Cut) -> Tensor:
        """Features (T, F) of a cut.

        Raises:
            AudioError: its recording cannot be read.
            ManifestError: its recording has another length than the manifest says.
        """
        key = (cut.id, audio_path(cut))
        if self._kept is not None and key in self._kept:
            return self._kept[key]
        features = torch.from_numpy(self._front_end(read_samples(cut)))
        if self._kept is not None:
            self._kept[key] = features
        return features


def read_samples(cut: Cut) -> npt.NDArray[np.float32]:
    """Samples (S,) of a cut at 16 kHz, mono, with the speed and whatever else it asks for.

    Raises:
        AudioError: its recording cannot be read.
        ManifestError: its recording has another length than the manifest says.
    """
    samples = read_audio(audio_path(cut))[None]
    for transform in cut.recording.transforms or ():
        if isinstance(transform, dict):
            transform = AudioTransform.from_dict(transform)
        # read_audio has resampled already, and resamplers cannot take nothing.
        if not isinstance(transform, Resample) and samples.size:
            samples = transform(samples, SAMPLE_RATE)
    seconds = samples.shape[1] / SAMPLE_RATE
    if abs(seconds - cut.duration) > DURATION_TOLERANCE:
        raise ManifestError(
            f"{audio_path(cut)}: utterance '{cut.id}' has {seconds:.2f} s of audio, but its "
            f"manifest says {cut.duration:.2f} s; correct the manifest or copy the recording again"
        )
    mono: npt.NDArray[np.float32] = samples[0]
    return mono


class SpeechDataset(Dataset[Batch | KeyframeError]):
    """Turns a CutSet, one mini-batch as the sampler chose it, into a `Batch`."""

    def __init__(
        self,
        features: Store,
        tokenizer: Tokenizer,
        masking: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._features = features
        self._tokenizer = tokenizer
        self._masking = masking

    def __getitem__(self, cuts: CutSet) -> Batch | KeyframeError:
        """The batch, or why there is none: raised in a worker, it would gain a traceback."""
        try:
            return self.collate(cuts)
        except KeyframeError as error:
            return error

    def collate(self, cuts: CutSet) -> Batch:
        """Read the cuts of one batch and pad them."""
        features = [self._features(cut) for cut in cuts]
        if self._masking is not None:
            features = [self._masking(one) for one in features]
        tokens = [torch.tensor(self._tokenizer.encode(text(cut))).long() for cut in cuts]
        return Batch(
            tuple(cut.id for cut in cuts),
            pad_sequence(features, batch_first=True),
            torch.tensor([one.size(0) for one in features]),
            pad_sequence(tokens, batch_first=True),
            torch.tensor([one.size(0) for one in tokens]),
            sum(cut.duration for cut in cuts),
            self._features.pre_encoded,
        )


def training_sampler(cuts: CutSet, batch_seconds: float, seed: int, epoch: int) -> CutSampler:
    """Shuffled batches of similar lengths, at most `batch_seconds` of audio in each."""
    sampler: CutSampler
    if len(cuts) < FEWEST_BUCKETED:
        sampler = SimpleCutSampler(cuts, max_duration=batch_seconds, shuffle=True, seed=seed)
        sampler.set_epoch(epoch)
        return sampler
    with warnings.catch_warnings():
        # It would rather have lazy cuts, to save memory; ours are in memory already.
        warnings.filterwarnings("ignore", message=".*eagerly read CutSet", category=UserWarning)
        sampler = DynamicBucketingSampler(
            cuts,
            max_duration=batch_seconds,
            num_buckets=max(2, min(20, len(cuts) // 100)),
            shuffle=True,
            seed=seed,
        )
    sampler.set_epoch(epoch)
    return sampler


def evaluation_sampler(cuts: CutSet, batch_seconds: float) -> CutSampler:
    """Batches in order of length, every cut once."""
    return SimpleCutSampler(
        cuts.sort_by_duration(ascending=False), max_duration=batch_seconds, shuffle=False
    )


def batches(dataset: SpeechDataset, sampler: CutSampler, workers: int = 0) -> Iterator[Batch]:
    """Collated batches in the sampler's order, loaded by `workers` processes beside this one.

    Raises:
        AudioError, ManifestError: a recording cannot be read, or is not what its manifest says.
    """
    for batch in DataLoader(dataset, sampler=sampler, batch_size=None, num_workers=workers):
        if isinstance(batch, KeyframeError):
            raise batch
        yield batch
