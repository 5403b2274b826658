"""Joint decoding against scores computed one sentence at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from keyframe_asr.config.model import DecoderConfig
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.rescoring import IMPOSSIBLE, rescore, scored_by_ctc
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.decoding.viterbi import Columns
from keyframe_asr.inference.torch_network import TorchDecoder
from keyframe_asr.model.decoder import AttentionDecoder
from keyframe_asr.text.tokenizer import END
from reference.prefix_search import every_sentence

BONUS = 0.2


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_score_is_that_of_all_paths_and_of_the_decoder(weight: float) -> None:
    torch.manual_seed(1)
    decoder = AttentionDecoder(8, 6, DecoderConfig(layers=1, heads=2, feed_forward=16)).eval()
    decoder.requires_grad_(False)
    log_probs = (2 * torch.randn(2, 4, 6)).log_softmax(-1).numpy()
    columns = Columns(log_probs, np.array([4, 3]), True)
    memory, lengths = torch.randn(2, 5, 8), torch.tensor([5, 2])
    sentences = [(), (3,), (3, 3), (4, 5, 4), (5, 3), (3, 3, 3)]
    candidates = [[Hypothesis(one) for one in (*sentences, (3,))] for _ in range(2)]
    scored = scored_by_ctc(columns, candidates, ShallowFusion(token_bonus=BONUS))
    results = rescore(TorchDecoder(decoder, memory, lengths), scored, 1 - weight, nbest=9)
    for row, found in enumerate(results):
        heard = log_probs[row, : columns.lengths[row]].astype(np.float64)
        paths = dict(every_sentence(heard, collapse=True))
        wanted = {}
        for tokens in sentences:
            prefix, size = torch.tensor([[END, *tokens]]), torch.tensor([len(tokens) + 1])
            length = lengths[row : row + 1]
            logits = decoder(prefix, size, memory[row : row + 1, : int(length)], length)
            steps = logits[0].log_softmax(-1)
            by_decoder = sum(float(steps[at, token]) for at, token in enumerate((*tokens, END)))
            by_ctc = paths.get(tokens, IMPOSSIBLE)
            wanted[tokens] = weight * by_ctc + (1 - weight) * by_decoder + BONUS * len(tokens)
        scores = {one.tokens: one.score for one in found.alternatives}
        assert scores == pytest.approx(wanted, rel=1e-4, abs=1e-3)
        assert found.score == max(scores.values()) and np.isfinite(found.score)


def test_nothing_to_choose_from() -> None:
    columns = Columns(np.zeros((2, 4, 6)), np.array([4, 3]), True)
    assert scored_by_ctc(columns, [[], []], ShallowFusion()) == [[], []]
