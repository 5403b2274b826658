"""Pretrained encoders of a few numbers, with random weights, as folders that a recipe can name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from keyframe_asr.config.pretrained import PretrainedConfig
from keyframe_asr.model.pretrained import PretrainedEncoder, build_pretrained

WHISPER: dict[str, Any] = {
    "model_type": "whisper",
    "d_model": 16,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "num_mel_bins": 80,
    "max_source_positions": 60,
}
WAV2VEC2: dict[str, Any] = {
    "model_type": "wav2vec2",
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
STABLE_WAV2VEC2 = WAV2VEC2 | {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}


def pretrained_config(
    architecture: dict[str, Any], source: str = "tiny", **changes: Any
) -> PretrainedConfig:
    """A config whose architecture is filled in, as it is once training has started."""
    return PretrainedConfig(
        family=architecture["model_type"], source=source, architecture=architecture, **changes
    )


def random_encoder(
    architecture: dict[str, Any], seed: int = 3, **changes: Any
) -> PretrainedEncoder:
    """The same random weights for the same seed, whichever layers are taken."""
    torch.manual_seed(seed)
    whole = build_pretrained(pretrained_config(architecture))
    for parameter in whole.parameters():
        if parameter.dim() > 1:  # transformers' own would give outputs that hardly differ
            torch.nn.init.normal_(parameter, std=0.3)
    encoder = build_pretrained(pretrained_config(architecture, **changes))
    encoder.load_state_dict(
        {name: whole.state_dict()[name] for name in encoder.state_dict()}, strict=True
    )
    return encoder.eval()


def write_source(folder: Path, architecture: dict[str, Any], prefix: str = "") -> Path:
    """A folder as encoders are published: `config.json` and float16 safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(architecture), encoding="utf-8")
    weights = random_encoder(architecture).state_dict()
    named = {prefix + name.removeprefix("encoder."): one for name, one in weights.items()}
    save_file({n: t.half().contiguous() for n, t in named.items()}, folder / "model.safetensors")
    return folder
