"""Batches of features and token ids from cuts: lhotse samples and buckets, this file collates."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import DynamicBucketingSampler, SimpleCutSampler
from lhotse.dataset.sampling.base import CutSampler
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from keyframe_asr.data.feature_store import Store
from keyframe_asr.data.manifest import text
from keyframe_asr.data.update_batches import UpdateBatch
from keyframe_asr.errors import KeyframeError
from keyframe_asr.text.tokenizer import Tokenizer

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
        share: of the utterances of its update; 0 for a stand-in that must not count.
        last: true for the batch after which the weights are updated.
        pre_encoded: whether `features` have gone through the pretrained encoder already.
    """

    ids: tuple[str, ...]
    features: Tensor
    feature_lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    audio_seconds: float
    share: float = 1.0
    last: bool = True
    pre_encoded: bool = False

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return replace(
            self,
            features=self.features.to(device, non_blocking=True),
            feature_lengths=self.feature_lengths.to(device, non_blocking=True),
            tokens=self.tokens.to(device, non_blocking=True),
            token_lengths=self.token_lengths.to(device, non_blocking=True),
        )


class SpeechDataset(Dataset[Batch | KeyframeError]):
    """Turns a CutSet, one mini-batch as the sampler chose it, into a `Batch`.

    Args:
        features: what the features of a cut are read from.
        tokenizer: for the texts.
        augmented: features (T, F) of a cut in training; without it they are as in the store.
    """

    def __init__(
        self,
        features: Store,
        tokenizer: Tokenizer,
        augmented: Callable[[Cut, Store], Tensor] | None = None,
    ) -> None:
        self._features = features
        self._tokenizer = tokenizer
        self._augmented = augmented

    def __getitem__(self, part: CutSet | UpdateBatch) -> Batch | KeyframeError:
        """The batch, or why there is none: raised in a worker, it would gain a traceback."""
        try:
            if isinstance(part, UpdateBatch):
                return replace(self.collate(part.cuts), share=part.share, last=part.last)
            return self.collate(part)
        except KeyframeError as error:
            return error

    def collate(self, cuts: CutSet) -> Batch:
        """Read the cuts of one batch and pad them."""
        if self._augmented is None:
            features = [self._features(cut) for cut in cuts]
        else:
            features = [self._augmented(cut, self._features) for cut in cuts]
        tokens = [torch.tensor(self._tokenizer.encode(text(cut))).long() for cut in cuts]
        return Batch(
            tuple(cut.id for cut in cuts),
            pad_sequence(features, batch_first=True),
            torch.tensor([one.size(0) for one in features]),
            pad_sequence(tokens, batch_first=True),
            torch.tensor([one.size(0) for one in tokens]),
            sum(cut.duration for cut in cuts),
            pre_encoded=self._features.pre_encoded,
        )


def training_sampler(cuts: CutSet, batch_seconds: float, seed: int, epoch: int) -> CutSampler:
    """Shuffled batches of similar lengths, at most `batch_seconds` of audio in each."""
    sampler: CutSampler
    if len(cuts) < FEWEST_BUCKETED:
        sampler = SimpleCutSampler(
            cuts, max_duration=batch_seconds, shuffle=True, seed=seed, world_size=1, rank=0
        )
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
            world_size=1,  # every process sees all batches; data/update_batches.py divides them
            rank=0,
        )
    sampler.set_epoch(epoch)
    return sampler


def evaluation_sampler(cuts: CutSet, batch_seconds: float) -> CutSampler:
    """Batches in order of length, every cut once."""
    return SimpleCutSampler(
        cuts.sort_by_duration(ascending=False),
        max_duration=batch_seconds,
        shuffle=False,
        world_size=1,
        rank=0,
    )


def batches(
    dataset: SpeechDataset, sampler: Sampler[UpdateBatch] | CutSampler, workers: int = 0
) -> Iterator[Batch]:
    """Collated batches in the sampler's order, loaded by `workers` processes beside this one.

    Raises:
        AudioError, ManifestError: a recording cannot be read, or is not what its manifest says.
    """
    for batch in DataLoader(dataset, sampler=sampler, batch_size=None, num_workers=workers):
        if isinstance(batch, KeyframeError):
            raise batch
        yield batch
