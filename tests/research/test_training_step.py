"""A training step in pieces does what a whole step does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from keyframe_asr.config.model import DecoderConfig, EncoderConfig, ModelConfig, SubsamplingConfig
from keyframe_asr.losses import axe_loss, ctc_loss, label_smoothed_cross_entropy, til_loss
from keyframe_asr.text.tokenizer import END
from research.cost import training_step
from research.cost.training_step import PIECES, SteppedNetwork, random_batch

BINS, VOCABULARY = 16, 12
MODEL = ModelConfig(
    subsampling=SubsamplingConfig(channels=8),
    encoder=EncoderConfig(
        layers=2, keyframe_layer=1, dim=16, heads=2, feed_forward=24, kernel=5, dropout=0.0
    ),
    decoder=DecoderConfig(layers=1, heads=2, feed_forward=24, dropout=0.0),
)


@pytest.mark.parametrize("head_loss", ["ctc", "axe", "til"])
def test_gradients_are_those_of_a_whole_step(
    head_loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_step, "GRADIENT_CLIP", 1e9)
    batch = random_batch(6.0, BINS, VOCABULARY, 3.0, np.random.default_rng(1))
    stepped = SteppedNetwork(MODEL, BINS, VOCABULARY, head_loss, "cpu")
    network = stepped.network
    encoded = network.encode(batch.features, batch.feature_lengths, batch.token_lengths)
    if head_loss != "ctc":
        assert encoded.keyframes.lengths.equal(batch.token_lengths)
    text = batch.tokens, batch.token_lengths
    inter = ctc_loss(encoded.inter_log_probs, text[0], encoded.frame_lengths, text[1])
    loss = {"axe": axe_loss, "til": til_loss, "ctc": ctc_loss}[head_loss]
    head = loss(encoded.head_log_probs, text[0], encoded.keyframes.lengths, text[1])
    assert network.decoder is not None
    prefix = torch.nn.functional.pad(text[0], (1, 0), value=END)
    logits = network.decoder(prefix, text[1] + 1, encoded.memory, encoded.keyframes.lengths)
    targets = torch.nn.functional.pad(text[0], (0, 1), value=END)
    decoder = label_smoothed_cross_entropy(logits, targets, text[1] + 1, 0.1)
    (0.2 * inter + 0.1 * head + 0.7 * decoder).backward()
    wanted = {
        name: parameter.grad.clone()
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    network.zero_grad()

    monkeypatch.setattr(stepped._optimiser, "zero_grad", lambda: None)
    seconds = stepped.step(batch)
    found = {
        name: parameter.grad
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-6, msg=name)
    assert tuple(seconds) == PIECES
