"""Batches of features and token ids from cuts: lhotse samples and buckets, this file collates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import DynamicBucketingSampler, SimpleCutSampler
from lhotse.dataset.sampling.base import CutSampler
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from keyframe_asr.data.manifest import text
from keyframe_asr.features import Fbank
from keyframe_asr.timing import SAMPLE_RATE
from keyframe_asr.tokenizer import Tokenizer


@dataclass(frozen=True)
class Batch:
    """One padded batch.

    Attributes:
        ids: names of the utterances.
        features: (B, T, F) fbank.
        feature_lengths: (B,) frames.
        tokens: (B, L) token ids, padded with 0.
        token_lengths: (B,).
        audio_seconds: seconds of audio in the batch.
    """

    ids: tuple[str, ...]
    features: Tensor
    feature_lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    audio_seconds: float

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(
            self.ids,
            self.features.to(device, non_blocking=True),
            self.feature_lengths.to(device, non_blocking=True),
            self.tokens.to(device, non_blocking=True),
            self.token_lengths.to(device, non_blocking=True),
            self.audio_seconds,
        )


class FeatureStore:
    """Fbank of cuts, computed on demand; kept in memory between epochs if asked."""

    def __init__(self, fbank: Fbank, keep: bool) -> None:
        self._fbank = fbank
        self._kept: dict[str, Tensor] | None = {} if keep else None

    def __call__(self, cut: Cut) -> Tensor:
        """Features (T, F) of a cut."""
        if self._kept is not None and cut.id in self._kept:
            return self._kept[cut.id]
        if cut.sampling_rate != SAMPLE_RATE:
            cut = cut.resample(SAMPLE_RATE)
        features = torch.from_numpy(self._fbank(cut.load_audio()[0]))
        if self._kept is not None:
            self._kept[cut.id] = features
        return features


class SpeechDataset(Dataset[Batch]):
    """Turns a CutSet, one mini-batch as the sampler chose it, into a `Batch`."""

    def __init__(
        self,
        features: FeatureStore,
        tokenizer: Tokenizer,
        masking: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._features = features
        self._tokenizer = tokenizer
        self._masking = masking

    def __getitem__(self, cuts: CutSet) -> Batch:
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
        )


def training_sampler(cuts: CutSet, batch_seconds: float, seed: int, epoch: int) -> CutSampler:
    """Shuffled batches of similar lengths, at most `batch_seconds` of audio in each."""
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
    """Collated batches in the sampler's order, loaded by `workers` processes beside this one."""
    return iter(DataLoader(dataset, sampler=sampler, batch_size=None, num_workers=workers))
