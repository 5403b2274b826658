"""Joint decoding against scores computed one sentence at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from keyframe_asr.config.model import DecoderConfig
from keyframe_asr.decoding.hypothesis import EMPTY, Hypothesis
from keyframe_asr.decoding.rescoring import IMPOSSIBLE, Judges, joint
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.decoding.viterbi import Columns
from keyframe_asr.model.decoder import AttentionDecoder
from keyframe_asr.text.tokenizer import END
from reference.prefix_search import every_sentence

BONUS = 0.2


@pytest.fixture(scope="module")
def judges() -> Judges:
    torch.manual_seed(1)
    decoder = AttentionDecoder(8, 6, DecoderConfig(layers=1, heads=2, feed_forward=16)).eval()
    log_probs = (2 * torch.randn(2, 4, 6)).log_softmax(-1)
    columns = Columns(log_probs, torch.tensor([4, 3]), collapse=True)
    memory = torch.randn(2, 5, 8)
    fusion = ShallowFusion(token_bonus=BONUS)
    return Judges(decoder.requires_grad_(False), memory, torch.tensor([5, 2]), columns, fusion)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_score_is_that_of_all_paths_and_of_the_decoder(judges: Judges, weight: float) -> None:
    sentences = [(), (3,), (3, 3), (4, 5, 4), (5, 3), (3, 3, 3)]
    candidates = [[Hypothesis(one) for one in (*sentences, (3,))] for _ in range(2)]
    for row, found in enumerate(joint(judges, candidates, weight, nbest=9)):
        length = judges.memory_lengths[row]
        columns = judges.ctc.log_probs[row, : judges.ctc.lengths[row]].double().numpy()
        paths = dict(every_sentence(columns, collapse=True))
        wanted = {}
        for tokens in sentences:
            prefix = torch.tensor([[END, *tokens]])
            memory = judges.memory[row : row + 1, :length]
            logits = judges.decoder(prefix, torch.tensor([len(tokens) + 1]), memory, length[None])
            steps = logits[0].log_softmax(-1)
            decoder = sum(float(steps[at, token]) for at, token in enumerate((*tokens, END)))
            ctc = paths.get(tokens, IMPOSSIBLE)
            wanted[tokens] = weight * ctc + (1 - weight) * decoder + BONUS * len(tokens)
        scores = {one.tokens: one.score for one in found.alternatives}
        assert scores == pytest.approx(wanted, rel=1e-4, abs=1e-3)
        assert found.score == max(scores.values()) and np.isfinite(found.score)


def test_nothing_to_choose_from(judges: Judges) -> None:
    assert joint(judges, [[], []], 0.6) == [EMPTY, EMPTY]
