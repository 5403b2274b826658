"""Batches of features and token ids: lhotse samplers choose the cuts, this module collates them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import DynamicBucketingSampler, SimpleCutSampler
from lhotse.dataset.sampling.base import CutSampler
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from keyframe_asr.data.decoder_targets import IGNORED, DecoderTargets
from keyframe_asr.data.feature_store import Store
from keyframe_asr.data.manifest import text
from keyframe_asr.data.soft_targets import Distributions, SoftTargets
from keyframe_asr.data.update_batches import UpdateBatch
from keyframe_asr.errors import KeyframeError
from keyframe_asr.text.tokenizer import Tokenizer

MIN_BUCKETED_CUTS = 100
"""Fewer cuts than this are not bucketed by length."""

PREFETCHED = 4
"""Batches that each process loads ahead."""


@dataclass(frozen=True)
class Batch:
    """A padded batch.

    Attributes:
        ids: names of the utterances.
        features: (B, T, F) from the model's front end, or outputs of its pretrained encoder.
        feature_lengths: (B,) in frames.
        tokens: (B, L) token ids, padded with 0.
        token_lengths: (B,).
        audio_seconds: seconds of audio in the batch.
        fraction: fraction of the utterances of its update; 0 for a placeholder that must not count.
        last: True for the batch after which the weights are updated.
        pre_encoded: True if `features` are outputs of the pretrained encoder.
        decoder_tokens: (B, 2, N) what a pretrained decoder reads and writes (`DecoderTargets`);
            None for another decoder.
        soft_targets: tokens and probabilities (B, N, K) of its teacher at each step, if there is
            one.
        host_lengths: `feature_lengths` and `token_lengths` on the CPU, if the batch is elsewhere.
    """

    ids: tuple[str, ...]
    features: Tensor
    feature_lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    audio_seconds: float
    fraction: float = 1.0
    last: bool = True
    pre_encoded: bool = False
    decoder_tokens: Tensor | None = None
    soft_targets: Distributions | None = None
    host_lengths: tuple[Tensor, Tensor] | None = None

    @property
    def lengths_on_host(self) -> tuple[Tensor, Tensor]:
        """`feature_lengths` and `token_lengths` on the CPU, to read without waiting."""
        return self.host_lengths or (self.feature_lengths, self.token_lengths)

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to a device; from pinned memory the host does not wait for it."""
        copied = self._mapped(lambda tensor: tensor.to(device, non_blocking=True))
        return replace(copied, host_lengths=self.lengths_on_host)

    def pin_memory(self) -> Batch:
        """Copy the batch to pinned memory; the data loader calls this."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            features=function(self.features),
            feature_lengths=function(self.feature_lengths),
            tokens=function(self.tokens),
            token_lengths=function(self.token_lengths),
            decoder_tokens=None if self.decoder_tokens is None else function(self.decoder_tokens),
            soft_targets=None
            if self.soft_targets is None
            else (function(self.soft_targets[0]), function(self.soft_targets[1])),
        )


class SpeechDataset(Dataset[Batch | KeyframeError]):
    """Collates the cuts chosen by the sampler into a `Batch`.

    Args:
        features: store of the features of cuts.
        tokenizer: encodes the texts.
        augmented: returns augmented features (T, F) of a cut in an epoch; None uses those of the
            store.
        targets: of a pretrained decoder, if there is one.
        soft_targets: of its teacher, if there is one.
    """

    def __init__(
        self,
        features: Store,
        tokenizer: Tokenizer,
        augmented: Callable[[Cut, Store, int], Tensor] | None = None,
        targets: DecoderTargets | None = None,
        soft_targets: SoftTargets | None = None,
    ) -> None:
        self._features = features
        self._tokenizer = tokenizer
        self._augmented = augmented
        self._targets = targets
        self._soft_targets = soft_targets

    def __getitem__(self, part: CutSet | UpdateBatch) -> Batch | KeyframeError:
        """Return the batch, or the error: raised in a worker, it would include a traceback."""
        try:
            if isinstance(part, UpdateBatch):
                batch = self.collate(part.cuts, part.epoch)
                return replace(batch, fraction=part.fraction, last=part.last)
            return self.collate(part)
        except KeyframeError as error:
            return error

    def collate(self, cuts: CutSet, epoch: int = 0) -> Batch:
        """Load the features of the cuts, augmented as in an epoch, and pad them to a batch."""
        if self._augmented is None:
            features = [self._features(cut) for cut in cuts]
        else:
            features = [self._augmented(cut, self._features, epoch) for cut in cuts]
        tokens = [torch.tensor(self._tokenizer.encode(text(cut))).long() for cut in cuts]
        written = None if self._targets is None else self._targets.batch(list(cuts))
        soft = None
        if written is not None and self._soft_targets is not None:
            steps = written[:, 1].clone()
            steps[:, 0] = IGNORED  # the language has no teacher
            soft = self._soft_targets.batch(list(cuts), steps, IGNORED)
        return Batch(
            tuple(cut.id for cut in cuts),
            pad_sequence(features, batch_first=True),
            torch.tensor([one.size(0) for one in features]),
            pad_sequence(tokens, batch_first=True),
            torch.tensor([one.size(0) for one in tokens]),
            sum(cut.duration for cut in cuts),
            pre_encoded=self._features.pre_encoded,
            decoder_tokens=written,
            soft_targets=soft,
        )


def training_sampler(cuts: CutSet, batch_seconds: float, seed: int, epoch: int) -> CutSampler:
    """Sample shuffled batches of similar lengths with at most `batch_seconds` of audio each."""
    sampler: CutSampler
    # the run has named utterances that are longer than a batch (training/run_data.py)
    warnings.filterwarnings("ignore", message="The first cut drawn in batch", category=UserWarning)
    if len(cuts) < MIN_BUCKETED_CUTS:
        sampler = SimpleCutSampler(
            cuts, max_duration=batch_seconds, shuffle=True, seed=seed, world_size=1, rank=0
        )
        sampler.set_epoch(epoch)
        return sampler
    with warnings.catch_warnings():
        # lhotse recommends lazy cuts to save memory; ours are in memory already
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
    """Sample batches in order of length, every cut once."""
    return SimpleCutSampler(
        cuts.sort_by_duration(ascending=False),
        max_duration=batch_seconds,
        shuffle=False,
        world_size=1,
        rank=0,
    )


class BatchLoader:
    """Loads batches, several times over, by the same processes.

    Args:
        dataset: collates what the samplers choose.
        workers: number of processes; 0: this one loads.
        pinned: put batches into pinned memory, from which they can be copied to a GPU without
            waiting.
    """

    def __init__(self, dataset: SpeechDataset, workers: int = 0, *, pinned: bool = False) -> None:
        self._chosen = _Chosen()
        self._loader = DataLoader(
            dataset,
            sampler=self._chosen,
            batch_size=None,
            num_workers=workers,
            pin_memory=pinned,
            persistent_workers=workers > 0,
            prefetch_factor=PREFETCHED if workers else None,
            generator=torch.Generator(),
        )

    def load(self, chosen: Iterable[UpdateBatch] | Iterable[CutSet]) -> Iterator[Batch]:
        """Yield collated batches in the order chosen.

        Raises:
            AudioError, ManifestError: a recording cannot be read, or does not match its manifest.
        """
        self._chosen.now = chosen
        # takes one of torch's random numbers, as a loader that starts anew does: dropout does not
        # depend on whether there are processes that go on
        torch.empty((), dtype=torch.int64).random_()
        for batch in self._loader:
            if isinstance(batch, KeyframeError):
                raise batch
            yield batch


class _Chosen(Sampler[UpdateBatch | CutSet]):
    """What is to be loaded now."""

    def __init__(self) -> None:
        self.now: Iterable[UpdateBatch] | Iterable[CutSet] = ()

    def __iter__(self) -> Iterator[UpdateBatch | CutSet]:
        yield from self.now
