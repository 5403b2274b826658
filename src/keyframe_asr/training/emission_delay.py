"""How far CTC spikes lie from the starts of their tokens, where the dev set knows these times.

CTC is free to spike anywhere within (or a little outside) the sound of a token, and trained weights
do so steadily. A corpus with word times, such as the self-made ones, tells by how much.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

import torch
from lhotse.cut import Cut

from keyframe_asr.data.feature_store import Store
from keyframe_asr.decoding.greedy import greedy_aligned, greedy_ctc
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import Tokenizer
from keyframe_asr.timing import encoder_frame_seconds

FEWEST_TOKENS = 30
"""Fewer tokens with known times say nothing."""


@torch.inference_mode()
def measure_emission_delay(
    network: KeyframeNetwork, tokenizer: Tokenizer, store: Store, cuts: Iterable[Cut]
) -> float:
    """Median of (time of a spike - start of its token) in seconds; 0 where nothing is known.

    Counts utterances with word times whose tokens are recognised right, one token a word.
    """
    training = network.training
    network.eval()
    delays = [
        delay
        for cut in cuts
        if (words := _word_starts(cut))
        for delay in _delays(network, tokenizer, store, cut, words)
    ]
    network.train(training)
    return round(median(delays), 3) if len(delays) >= FEWEST_TOKENS else 0.0


def _word_starts(cut: Cut) -> list[tuple[str, float]]:
    alignment = cut.supervisions[0].alignment or {}
    return [(item.symbol, item.start) for item in alignment.get("word", [])]


def _delays(
    network: KeyframeNetwork,
    tokenizer: Tokenizer,
    store: Store,
    cut: Cut,
    words: list[tuple[str, float]],
) -> list[float]:
    device = network.normalisation.mean.device
    features = store(cut).to(device)
    encoded = network.encode(features[None], torch.tensor([len(features)], device=device))
    greedy = greedy_aligned if network.keyframes_enabled else greedy_ctc
    found = greedy(encoded.head_log_probs, encoded.keyframes.lengths)[0]
    if [tokenizer.decode([token]) for token in found.tokens] != [word for word, _ in words]:
        return []
    frames = encoded.keyframes.index[0].tolist()
    seconds = encoder_frame_seconds(network.subsampling.factor)
    return [
        frames[position] * seconds - start
        for position, (_, start) in zip(found.positions, words, strict=True)
    ]
