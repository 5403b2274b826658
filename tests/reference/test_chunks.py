"""What chunks let attention and convolution see, against the twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from keyframe_asr.model.chunks import Chunks
from keyframe_asr.model.convolution import ConvolutionModule
from keyframe_asr.model.masks import attention_mask
from reference import chunks as twin

choices = st.none() | st.tuples(st.integers(1, 6), st.integers(0, 4))


@given(
    st.lists(st.tuples(st.integers(0, 12), choices), min_size=1, max_size=4),
    st.integers(12, 14),
    st.none() | st.integers(1, 5),
)
@settings(deadline=None)
def test_attention_mask(
    utterances: list[tuple[int, tuple[int, int] | None]], frames: int, window: int | None
) -> None:
    lengths, chunks = [length for length, _ in utterances], [one for _, one in utterances]
    found = attention_mask(torch.tensor(lengths), frames, window, Chunks.of(chunks))
    expected = twin.attention_mask(lengths, frames, window, chunks)
    assert np.array_equal(found.expand(-1, 1, frames, frames)[:, 0].numpy(), expected)


@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("size", [None, 1, 2, 3, 5, 30])
@pytest.mark.parametrize("frames", [1, 2, 11])
def test_convolution(kernel: int, size: int | None, frames: int) -> None:
    torch.manual_seed(kernel)
    module = ConvolutionModule(4, kernel).double()
    module.output = module.norm = torch.nn.Identity()  # type: ignore[assignment]
    given_frames = torch.randn(1, frames, 4).double()
    chunks = Chunks.of([None if size is None else (size, 1)])
    with torch.no_grad():
        mixed = module.mix(given_frames, chunks.index(torch.arange(frames)[None]))[0]
        expected = twin.convolution(
            given_frames[0].numpy(),
            module.depthwise.weight[:, 0].numpy(),
            module.depthwise.bias.numpy(),
            size,
        )
    expected = expected / (1 + np.exp(-expected))  # the swish after it
    np.testing.assert_allclose(mixed.numpy(), expected, rtol=0, atol=1e-12)
