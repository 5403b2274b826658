"""How far the confidences of a stage's averaged weights are to be believed, measured on dev."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np
import torch
from lhotse.cut import Cut

from keyframe_asr.config.calibration import Confidences
from keyframe_asr.data.feature_store import Store
from keyframe_asr.data.manifest import text
from keyframe_asr.decoding.confidence import fit_scaling, right_units
from keyframe_asr.decoding.greedy import greedy_aligned, greedy_ctc
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import Tokenizer

MOST_UTTERANCES = 200
"""So many tell enough; the rest of a large dev set would only take time."""


@torch.inference_mode()
def measure_confidences(
    network: KeyframeNetwork, tokenizer: Tokenizer, store: Store, cuts: Iterable[Cut]
) -> Confidences:
    """Scalings of the greedy decode modes; those of the others take `keyframe calibrate`."""
    training = network.training
    network.eval()
    device = network.normalisation.mean.device
    values: dict[str, list[float]] = {"axe": [], "ctc": []}
    right: dict[str, list[bool]] = {"axe": [], "ctc": []}
    for cut in islice(cuts, MOST_UTTERANCES):
        features = store(cut).to(device)
        lengths = torch.tensor([len(features)], device=device)
        encoded = network.encode(features[None], lengths, pre_encoded=store.pre_encoded)
        head = encoded.head_log_probs, encoded.keyframes.lengths
        if network.keyframes_enabled:
            inter = encoded.inter_log_probs, encoded.frame_lengths
            found = {"axe": greedy_aligned(*head)[0], "ctc": greedy_ctc(*inter)[0]}
        else:
            found = {"ctc": greedy_ctc(*head)[0]}
        target = tokenizer.encode(text(cut))
        for mode, hypothesis in found.items():
            values[mode] += hypothesis.confidences
            right[mode] += right_units(target, hypothesis.tokens)
    network.train(training)
    axe, ctc = (fit_scaling(np.array(values[mode]), np.array(right[mode])) for mode in values)
    return {"axe": axe, "ctc": ctc} if network.keyframes_enabled else {"ctc": ctc}
