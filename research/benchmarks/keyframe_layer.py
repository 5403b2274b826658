"""Time an encoder whose upper layers run on keyframes against one whose layers all hear all frames.

    python -m research.benchmarks.keyframe_layer [--json FILE]

The network is that of `english-mandarin`, with random weights, with keyframes above its six Whisper
layers, and after the fourth with one Conformer layer fewer below. Front end to heads, without the
decoder; one thread, in turn on the same input, with as many keyframes as tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from keyframe_asr.config.model import ModelConfig, load_model_folder_config
from keyframe_asr.config.strict import parse_config
from keyframe_asr.io.model_location import CONFIG_FILE, find_model
from keyframe_asr.timing import FRAMES_PER_SECOND
from research.benchmarks.networks import ALL_FRAMES, MEL_BINS, compared
from research.benchmarks.timing import argument_parser, show
from research.benchmarks.train import TOKENS_PER_SECOND
from research.cost.training_step import random_network
from research.multiply_adds import MultiplyAddsCounter, pretrained_multiply_adds

MODEL, LAYER = "english-mandarin", 4
SECONDS = (3.5, 5.0, 10.0, 28.0)
ROUNDS = 9


def measure(
    models: Mapping[str, ModelConfig], vocabulary: int, rounds: int, seconds: Sequence[float]
) -> dict[str, Any]:
    """Measure recognition of one utterance of each duration; one model is `ALL_FRAMES`."""
    torch.set_num_threads(1)
    networks = {
        name: random_network(one, MEL_BINS, vocabulary).eval() for name, one in models.items()
    }
    for network in networks.values():
        network.keyframes_enabled = network.fusion_enabled = True
        with torch.no_grad():
            network.inter_ctc.bias[0] = 50.0  # blank, so that there are as many as are asked for
    found = {}
    for one in seconds:
        frames, tokens = (round(one * rate) for rate in (FRAMES_PER_SECOND, TOKENS_PER_SECOND))
        features, sizes = torch.randn(1, frames, MEL_BINS), torch.tensor([frames])
        runs, products = {}, {}
        for name, network in networks.items():
            runs[name] = partial(_encode, network, features, sizes, torch.tensor([tokens]))
            own = MultiplyAddsCounter(network).count((frames + 1) // 2, tokens, fused=True)
            products[name] = own.total + sum(pretrained_multiply_adds(network, frames, tokens))
        setting = {"V": vocabulary, "seconds": one, "tokens a second": TOKENS_PER_SECOND}
        found[f"recognition, {one:g} s"] = compared("recognition", setting, runs, rounds) | {
            "multiply_adds": products
        }
    return found


@torch.inference_mode()
def _encode(network: torch.nn.Module, *inputs: torch.Tensor) -> None:
    network(*inputs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    config = load_model_folder_config(find_model(MODEL) / CONFIG_FILE)
    whole = config.model.model_dump(mode="json") | {"decoder": None}
    inside = whole | {
        "pretrained": whole["pretrained"] | {"keyframe_layer": LAYER},
        "encoder": whole["encoder"] | {"layers": 3, "keyframe_layer": 1},
    }
    models = {
        ALL_FRAMES: parse_config(ModelConfig, whole, MODEL),
        f"keyframes after layer {LAYER}": parse_config(ModelConfig, inside, MODEL),
    }
    show(measure(models, config.vocab_size, given.rounds, SECONDS), given.json)


if __name__ == "__main__":
    main()
