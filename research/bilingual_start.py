"""Make the model from which `english-mandarin` is trained, out of `english-l2` and `mandarin`.

    python -m research.bilingual_start --encoder ../shared/models/whisper-base-encoder --out FOLDER

Both models shipped before and lie in `models/` (`research/README.md` tells how they get there).

- Its encoder is whisper-base as published plus what the two fine-tunings changed in its upper
  layers (task arithmetic, arXiv 2212.04089): all of the Mandarin one, half of the English one.
- All layers above are those of `english-l2`, without its decoder.
- Its tokens are those of `english-l2`, then the characters of `mandarin`, whose rows are new.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.fine_tuning.vocabulary import extended, start_with
from keyframe_asr.io.model_folder import load_model_folder
from keyframe_asr.text.tokenizer import MixedTokenizer

ENCODER = "pretrained.encoder."
FINE_TUNED = ("layers.3", "layers.4", "layers.5", "layer_norm")
"""What both trainings changed in Whisper's encoder; the rest is frozen in both."""

MODELS = Path("models")
ENGLISH, MANDARIN = MODELS / "english-l2", MODELS / "mandarin"

SHARES = {MANDARIN: 1.0, ENGLISH: 0.5}
"""Of each model's change, in the merged encoder."""


def merge_encoders(network: torch.nn.Module, published: Path) -> None:
    """Give a network the published encoder plus the shares of the fine-tunings."""
    original = load_file(published / "model.safetensors")
    merged = {name: weight.float() for name, weight in original.items()}
    for model, share in SHARES.items():
        tuned = load_model_folder(model).network.state_dict()
        for name, weight in original.items():
            if name.startswith(FINE_TUNED):
                merged[name] += share * (tuned[ENCODER + name] - weight.float())
    network.load_state_dict({ENCODER + name: one for name, one in merged.items()}, strict=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the model folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--encoder", type=Path, required=True, help="folder of whisper-base")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    given = parser.parse_args(arguments)
    start = load_model_folder(ENGLISH)
    characters = load_model_folder(MANDARIN).tokenizer
    letters = [characters.piece(token) for token in range(3, characters.vocab_size)]
    tokenizer = extended(MixedTokenizer(start.tokenizer.content()), letters)
    config = start.config.model_copy(
        update={
            "name": "bilingual-start",
            "language": "zh",
            "text_form": TEXT_FORMS["mandarin-english"],
            "vocab_size": tokenizer.vocab_size,
            "model": start.config.model.model_copy(update={"decoder": None}),
            "confidences": {},
            "speech_check": None,
            "decoding": None,
        }
    )
    merge_encoders(start.network, given.encoder)
    start_with(start, tokenizer, config, given.out, new=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
