"""What an utterance gets does not depend on what it is batched with or how far it is padded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from keyframe_asr.audio.features import Fbank
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.config.model import (
    DecoderConfig,
    EncoderConfig,
    FeaturesConfig,
    FusionConfig,
    ModelConfig,
    ModelFolderConfig,
    SubsamplingConfig,
)
from keyframe_asr.data.manifest import audio_path, load_manifest
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.io.model_folder import StoredModel
from keyframe_asr.model.network import Encoded, KeyframeNetwork
from keyframe_asr.text.tokenizer import END, CharacterTokenizer

TOLERANCE = 1e-4
MEL_BINS = 16
SYMBOLS = "ABCDEFGHIJ"
CONFIGS = {
    "all frames": ModelConfig(
        subsampling=SubsamplingConfig(channels=8),
        encoder=EncoderConfig(layers=4, keyframe_layer=2, dim=16, heads=2, feed_forward=32),
        decoder=DecoderConfig(layers=2, heads=2, feed_forward=32),
    ),
    "keyframes": ModelConfig(
        subsampling=SubsamplingConfig(channels=8),
        encoder=EncoderConfig(layers=4, keyframe_layer=2, dim=16, heads=2, feed_forward=32),
        decoder=DecoderConfig(layers=2, heads=2, feed_forward=32),
    ),
    "keyframes, separable factor 8, five frames": ModelConfig(
        subsampling=SubsamplingConfig(factor=8, channels=8, separable=True),
        encoder=EncoderConfig(
            layers=3, keyframe_layer=2, dim=16, heads=2, feed_forward=32, self_conditioning=True
        ),
        fusion=FusionConfig(kind="concat", window=5),
        decoder=DecoderConfig(layers=1, heads=2, feed_forward=32),
    ),
}


def random_recognizer(name: str) -> Recognizer:
    """Random weights, sharper than at the start of training so that differences would show."""
    torch.manual_seed(7)
    config = CONFIGS[name]
    tokenizer = CharacterTokenizer(SYMBOLS)
    network = KeyframeNetwork(config, MEL_BINS, tokenizer.vocab_size)
    network.keyframes_enabled = network.fusion_enabled = name != "all frames"
    for layer in (network.inter_ctc, network.head):
        layer.weight.data.mul_(4.0)
    assert network.decoder is not None
    network.decoder.output.bias.data[END] = -3.0  # else untrained beams end at once
    network.normalisation.mean.fill_(8.0)
    network.normalisation.inverse_std.fill_(0.3)
    folder = ModelFolderConfig(
        name=name,
        language="en",
        vocab_size=tokenizer.vocab_size,
        keyframes=network.keyframes_enabled,
        fusion=network.fusion_enabled,
        features=FeaturesConfig(num_mel_bins=MEL_BINS),
        model=config,
    )
    return Recognizer(StoredModel(network, tokenizer, folder), "cpu")


def random_recordings() -> list[Samples]:
    """Noise whose loudness and colour change, of very different lengths, some without a frame."""
    generator = np.random.default_rng(5)
    recordings = []
    for size in (16_000, 0, 41_234, 1, 160, 5_000, 700, 23_456):
        noise = generator.normal(size=size)
        loudness = 0.02 + 0.3 * np.abs(np.sin(np.arange(size) / 900))
        recordings.append(np.clip(np.cumsum(noise) * 0.01 + noise * loudness, -1, 1).astype("f4"))
    return recordings


def an4_recordings(corpus_root: Path) -> list[Samples]:
    cuts = list(load_manifest(f"{corpus_root / 'an4' / 'manifest.tsv'}:test"))
    chosen = sorted(cuts, key=lambda cut: cut.duration)[:: len(cuts) // 6]
    return [read_audio(audio_path(cut)) for cut in chosen]


def network_output(recognizer: Recognizer, features: list[Tensor], garbage: int) -> Encoded:
    """Encode a batch whose padding is longer than needed and holds garbage."""
    lengths = torch.tensor([len(one) for one in features])
    padded = pad_sequence(features, batch_first=True)
    tail = torch.full((len(features), garbage, MEL_BINS), 50.0)
    padded = torch.cat((padded, tail), dim=1)
    padding = torch.arange(padded.shape[1]) >= lengths[:, None]
    padded[padding] = 50.0
    with torch.inference_mode():
        return module_of(recognizer.network).encode(padded, lengths)


def decoder_logits(recognizer: Recognizer, encoded: Encoded) -> Tensor:
    decoder = module_of(recognizer.network).decoder
    assert decoder is not None
    prefix = torch.tensor([[END, 3, 5, 4, 4, 9]]).expand(len(encoded.frame_lengths), -1)
    sizes = torch.full((len(prefix),), prefix.shape[1])
    with torch.inference_mode():
        return decoder(prefix, sizes, encoded.memory, encoded.keyframes.lengths)


def assert_invariant(recognizer: Recognizer, recordings: list[Samples]) -> None:
    fbank = Fbank(recognizer.config.features)
    features = [torch.from_numpy(fbank(samples)) for samples in recordings]
    together = network_output(recognizer, features, garbage=37)
    logits = decoder_logits(recognizer, together)
    keyframes = 0
    for row, one in enumerate(features):
        alone = network_output(recognizer, [one], garbage=0)
        frames, kept = int(alone.frame_lengths[0]), int(alone.keyframes.lengths[0])
        keyframes += kept
        assert int(together.frame_lengths[row]) == frames
        assert int(together.keyframes.lengths[row]) == kept
        assert torch.equal(together.keyframes.index[row, :kept], alone.keyframes.index[0, :kept])
        for name, count in (
            ("inter_log_probs", frames),
            ("memory", kept),
            ("head_log_probs", kept),
        ):
            found, expected = getattr(together, name)[row, :count], getattr(alone, name)[0, :count]
            torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE, msg=name)
        if kept:
            expected = decoder_logits(recognizer, alone)[0]
            torch.testing.assert_close(logits[row], expected, rtol=0, atol=TOLERANCE)
    assert keyframes > len(features), "the test needs utterances with several keyframes"
    assert_same_text(recognizer, recordings)


def assert_same_text(recognizer: Recognizer, recordings: list[Samples]) -> None:
    for mode in recognizer.modes:
        alone = [recognizer.transcribe(samples, mode) for samples in recordings]
        assert any(one.text for one in alone), mode
        for order in (range(len(recordings)), reversed(range(len(recordings)))):
            places = list(order)
            found = recognizer.transcribe_batch([recordings[place] for place in places], mode)
            for place, one in zip(places, found, strict=True):
                assert one.text == alone[place].text
                assert [t.start for t in one.tokens] == [t.start for t in alone[place].tokens]


@pytest.mark.parametrize("name", CONFIGS)
def test_random_recordings(name: str) -> None:
    assert_invariant(random_recognizer(name), random_recordings())


@pytest.mark.corpus
@pytest.mark.parametrize("name", CONFIGS)
def test_real_recordings(name: str, corpus_root: Path) -> None:
    assert_invariant(random_recognizer(name), an4_recordings(corpus_root))
