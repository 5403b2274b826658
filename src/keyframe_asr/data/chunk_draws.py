"""Random chunks for the training of encoders that can stream (arXiv 2012.05481).

Half of the utterances are whole. The others get a random size of chunk, and a random number of
chunks that a frame sees before its own. Deviation: drawn for each utterance instead of each batch,
so that a draw depends on the name of the utterance only, like all augmentation (`data.augment`),
whichever batch and process it comes to.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from keyframe_asr.config.streaming import StreamingConfig
from keyframe_asr.data.augment import Draws
from keyframe_asr.model.chunks import Chunks

WHOLE_SHARE = 0.5
"""Probability that an utterance is whole."""


def draw_chunks(
    names: Sequence[str], lengths: Tensor, config: StreamingConfig, draws: Draws
) -> Chunks:
    """Draw the chunks of utterances.

    Args:
        names: of the utterances.
        lengths: (B,) numbers of encoder frames.
        config: range of sizes.
        draws: source of the random numbers of an epoch.
    """
    sizes: list[tuple[int, int] | None] = []
    for name, frames in zip(names, lengths.tolist(), strict=True):
        generator = draws.generator("chunks", name)
        if generator.random() < WHOLE_SHARE:
            sizes.append(None)
            continue
        size = int(generator.integers(1, config.largest_chunk + 1))
        chunks = max(1, -(-frames // size))
        sizes.append((size, int(generator.integers(chunks))))
    return Chunks.of(sizes, lengths.device)
