"""Frame fusion: where it looks, how it starts, what it leaves alone."""

from __future__ import annotations

import itertools
from typing import Literal

import pytest
import torch

from keyframe_asr.config.model import FusionConfig
from keyframe_asr.model.fusion import FrameFusion
from keyframe_asr.model.keyframes import Keyframes

DIM = 8
Kind = Literal["attention", "static", "mean", "concat", "none"]
Window = Literal[1, 2, 3, 5]
KINDS: tuple[Kind, ...] = ("attention", "static", "mean", "concat", "none")
WINDOWS: tuple[Window, ...] = (1, 2, 3, 5)
CONFIGS = [
    FusionConfig(kind=kind, window=window, left_only=left_only)
    for kind, window, left_only in itertools.product(KINDS, WINDOWS, (False, True))
]
LEARNED = [config for config in CONFIGS if config.kind in ("attention", "static", "concat")]


def trained(config: FusionConfig) -> FrameFusion:
    """A module with random weights instead of the careful start."""
    torch.manual_seed(0)
    module = FrameFusion(DIM, config)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def one_keyframe(position: int, frames: int) -> tuple[torch.Tensor, torch.Tensor, Keyframes]:
    lengths = torch.tensor([frames])
    keyframes = Keyframes(torch.tensor([[position]]), torch.tensor([1]))
    return torch.randn(1, frames, DIM, requires_grad=True), lengths, keyframes


@pytest.mark.parametrize(
    ("window", "left_only", "offsets"),
    [
        (1, False, (0,)),
        (3, False, (-1, 0, 1)),
        (2, False, (-1, 0)),
        (5, False, (-2, -1, 0, 1, 2)),
        (1, True, (0,)),
        (2, True, (-1, 0)),
        (3, True, (-2, -1, 0)),
        (5, True, (-4, -3, -2, -1, 0)),
    ],
)
def test_offsets_of_the_window(window: Window, left_only: bool, offsets: tuple[int, ...]) -> None:
    config = FusionConfig(kind="mean", window=window, left_only=left_only)
    assert FrameFusion(DIM, config).offsets == offsets
    assert FrameFusion(DIM, config.model_copy(update={"kind": "none"})).offsets == (0,)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_exactly_the_frames_of_the_window_matter(config: FusionConfig) -> None:
    module = trained(config)
    frames, lengths, keyframes = one_keyframe(position=6, frames=13)
    module(frames, lengths, keyframes).square().sum().backward()
    assert frames.grad is not None
    seen = frames.grad[0].abs().sum(-1).nonzero().flatten().tolist()
    assert seen == [6 + offset for offset in module.offsets]
    if config.left_only:
        assert max(seen) == 6


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_padding_and_batch_mates_do_not_matter(config: FusionConfig) -> None:
    module = trained(config).double()
    frames = torch.randn(2, 9, DIM, dtype=torch.float64)
    frames[0, 4:] = float("nan")
    lengths = torch.tensor([4, 9])
    keyframes = Keyframes(torch.tensor([[0, 3, 0, 0], [0, 1, 7, 8]]), torch.tensor([2, 4]))
    fused = module(frames, lengths, keyframes)
    alone = module(
        frames[:1, :4], lengths[:1], Keyframes(torch.tensor([[0, 3]]), torch.tensor([2]))
    )
    torch.testing.assert_close(fused[0, :2], alone[0], rtol=0, atol=1e-12)
    assert bool((fused[0, 2:] == 0).all())


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_padding_gets_no_gradient_and_spoils_none(config: FusionConfig) -> None:
    module = trained(config)
    frames = torch.randn(2, 5, DIM)
    frames[1] = float("nan")
    frames.requires_grad_()
    lengths = torch.tensor([5, 0])
    keyframes = Keyframes(torch.tensor([[0, 4], [0, 0]]), torch.tensor([2, 0]))
    module(frames, lengths, keyframes).square().sum().backward()
    assert frames.grad is not None
    assert bool(frames.grad.isfinite().all())
    assert bool((frames.grad[1] == 0).all())
    assert all(bool(p.grad.isfinite().all()) for p in module.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", ["attention", "static", "mean"])
@pytest.mark.parametrize("frames", [1, 2, 6])
def test_weights_sum_to_one_at_the_edges_too(kind: Kind, frames: int) -> None:
    module = trained(FusionConfig(kind=kind, window=5))
    lengths = torch.tensor([frames])
    same = torch.randn(DIM).expand(1, frames, DIM)
    fused = module(same, lengths, Keyframes.all_frames(lengths, frames))
    torch.testing.assert_close(fused, same)


@pytest.mark.parametrize("window", [3, 5])
@pytest.mark.parametrize("left_only", [False, True])
def test_static_starts_with_two_thirds_on_the_keyframe(window: Window, left_only: bool) -> None:
    module = FrameFusion(1, FusionConfig(kind="static", window=window, left_only=left_only))
    frames = torch.zeros(1, 11, 1)
    frames[0, 5] = 1.0
    keyframes = Keyframes(torch.tensor([[5]]), torch.tensor([1]))
    fused = module(frames, torch.tensor([11]), keyframes)
    torch.testing.assert_close(fused, torch.full((1, 1, 1), 2 / 3))


def test_attention_starts_with_most_weight_on_the_keyframe() -> None:
    torch.manual_seed(0)
    module = FrameFusion(64, FusionConfig(kind="attention", window=3))
    lengths = torch.tensor([40])
    frames = torch.randn(1, 40, 64)
    fused = module(frames, lengths, Keyframes.all_frames(lengths, 40)).detach()
    similarity = torch.nn.functional.cosine_similarity(fused, frames, dim=-1)
    assert 0.75 < float(similarity.mean()) < 0.99


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("left_only", [False, True])
def test_concat_starts_as_the_keyframe_itself(window: Window, left_only: bool) -> None:
    module = FrameFusion(DIM, FusionConfig(kind="concat", window=window, left_only=left_only))
    frames = torch.randn(1, 6, DIM)
    lengths = torch.tensor([6])
    assert module(frames, lengths, Keyframes.all_frames(lengths, 6)).allclose(frames)


@pytest.mark.parametrize("config", LEARNED, ids=str)
def test_every_parameter_learns_from_the_start(config: FusionConfig) -> None:
    torch.manual_seed(0)
    module = FrameFusion(DIM, config)
    lengths = torch.tensor([7])
    fused = module(torch.randn(1, 7, DIM), lengths, Keyframes.all_frames(lengths, 7))
    (fused * torch.randn_like(fused)).sum().backward()
    if config.window == 1 and config.kind != "concat":
        return  # a single frame always weighs 1, there is nothing to learn
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 1e-6, name


@pytest.mark.parametrize("kind", ["attention", "static", "mean"])
def test_only_attention_weighs_by_content(kind: Kind) -> None:
    """With weights that do not look at the frames, fusion is linear in them."""
    module = trained(FusionConfig(kind=kind, window=3))
    lengths = torch.tensor([6])
    frames, every = torch.randn(1, 6, DIM), Keyframes.all_frames(lengths, 6)
    doubled = module(2 * frames, lengths, every)
    is_linear = doubled.allclose(2 * module(frames, lengths, every), atol=1e-4)
    assert is_linear == (kind != "attention")


def test_all_frames_without_fusion_are_left_alone() -> None:
    module = FrameFusion(DIM, FusionConfig(kind="none"))
    assert list(module.parameters()) == []
    frames, lengths = torch.randn(2, 5, DIM), torch.tensor([5, 5])
    assert module(frames, lengths, Keyframes.all_frames(lengths, 5)).equal(frames)
