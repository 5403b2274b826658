"""Weights of Whisper in CTranslate2's format become a folder that `transformers` loads."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.errors import refused
from keyframe_asr.errors import ModelError
from research.ctranslate2_file import TYPES, Array, read_binary
from research.whisper_weights import main

WIDTH, HEADS, LAYERS, INNER, MELS, FRAMES, LENGTH = 8, 2, 2, 12, 80, 10, 16
SPECIAL = [
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|translate|>"),
    *("<|transcribe|>", "<|startofprev|>", "<|notimestamps|>"),
]
TEXT = ["a", "b", "c"]
VOCABULARY = len(TEXT) + len(SPECIAL)


def written(variables: dict[str, Array], aliases: dict[str, str], version: int = 6) -> bytes:
    """CTranslate2's format, as its own converter writes it."""

    def string(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    parts = [struct.pack("<I", version), string("WhisperSpec"), struct.pack("<I", 3)]
    parts.append(struct.pack("<I", len(variables)))
    for name, array in sorted(variables.items()):
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        kind = TYPES.index(array.dtype.name)
        parts += [string(name), shape, struct.pack("<BI", kind, array.nbytes), array.tobytes()]
    parts.append(struct.pack("<I", len(aliases)))
    parts += [string(alias) + string(name) for alias, name in aliases.items()]
    return b"".join(parts)


def tiny_whisper() -> dict[str, Array]:
    generator = np.random.default_rng(1)

    def drawn(*shape: int) -> Array:
        return generator.standard_normal(shape).astype(np.float16)

    def linear(name: str, outputs: int, inputs: int = WIDTH) -> dict[str, Array]:
        return {f"{name}/weight": drawn(outputs, inputs), f"{name}/bias": drawn(outputs)}

    def norm(name: str) -> dict[str, Array]:
        return {f"{name}/gamma": drawn(WIDTH), f"{name}/beta": drawn(WIDTH)}

    found = {
        "encoder/conv1/weight": drawn(WIDTH, MELS, 3),
        "encoder/conv1/bias": drawn(WIDTH),
        "encoder/conv2/weight": drawn(WIDTH, WIDTH, 3),
        "encoder/conv2/bias": drawn(WIDTH),
        "encoder/position_encodings/encodings": drawn(FRAMES, WIDTH),
        "decoder/position_encodings/encodings": drawn(LENGTH, WIDTH),
        "decoder/embeddings/weight": drawn(VOCABULARY, WIDTH),
        "decoder/scale_embeddings": np.array(0, np.int8),
    }
    for part in ("encoder", "decoder"):
        found |= {f"{part}/num_heads": np.array(HEADS, np.int16), **norm(f"{part}/layer_norm")}
        for layer in (f"{part}/layer_{index}" for index in range(LAYERS)):
            own, cross, ffn = f"{layer}/self_attention", f"{layer}/attention", f"{layer}/ffn"
            found |= norm(f"{own}/layer_norm") | norm(f"{ffn}/layer_norm")
            found |= linear(f"{own}/linear_0", 3 * WIDTH) | linear(f"{own}/linear_1", WIDTH)
            found |= linear(f"{ffn}/linear_0", INNER) | linear(f"{ffn}/linear_1", WIDTH, INNER)
            found[f"{own}/linear_0/bias"][WIDTH : 2 * WIDTH] = 0
            if part == "decoder":
                found |= norm(f"{cross}/layer_norm") | linear(f"{cross}/linear_0", WIDTH)
                found |= linear(f"{cross}/linear_1", 2 * WIDTH) | linear(f"{cross}/linear_2", WIDTH)
                found[f"{cross}/linear_1/bias"][:WIDTH] = 0
    return found


ALIASES = {"decoder/projection/weight": "decoder/embeddings/weight"}


def source(folder: Path, binary: bytes) -> Path:
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    folder.mkdir()
    tokenizer = Tokenizer(BPE(vocab={text: n for n, text in enumerate(TEXT)}, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"suppress_ids": [1], "suppress_ids_begin": [2], "lang_ids": [5, 6]}
    (folder / "config.json").write_text(json.dumps(config))
    middle = len(binary) // 2
    (folder / "model.bin.part1").write_bytes(binary[:middle])
    (folder / "model.bin.part2").write_bytes(binary[middle:])
    return folder


def test_transformers_loads_what_was_converted(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    variables = tiny_whisper()
    given = source(tmp_path / "given", written(variables, ALIASES))
    main(["--source", str(given), "--out", str(tmp_path / "out")])
    model, loading = transformers.WhisperForConditionalGeneration.from_pretrained(
        tmp_path / "out", output_loading_info=True, local_files_only=True
    )
    assert not any(loading.values()), loading
    assert model.dtype == torch.float32
    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
    config = model.config
    assert (config.encoder_layers, config.decoder_layers) == (LAYERS, LAYERS)
    assert (config.encoder_attention_heads, config.decoder_attention_heads) == (HEADS, HEADS)
    layer = model.model.decoder.layers[1]
    joined = torch.tensor(variables["decoder/layer_1/attention/linear_1/weight"]).float()
    separate = torch.cat([layer.encoder_attn.k_proj.weight, layer.encoder_attn.v_proj.weight])
    assert torch.equal(separate, joined)
    bias = torch.tensor(variables["decoder/layer_1/self_attention/linear_0/bias"]).float()
    assert torch.equal(layer.self_attn.v_proj.bias, bias[2 * WIDTH :])
    generation = model.generation_config
    assert generation.decoder_start_token_id == len(TEXT) + 1
    assert generation.lang_to_id == {"<|en|>": 5, "<|zh|>": 6}
    assert (generation.suppress_tokens, generation.begin_suppress_tokens) == ([1], [2])
    tokenizer = transformers.WhisperTokenizerFast.from_pretrained(tmp_path / "out")
    assert tokenizer("cab", add_special_tokens=False).input_ids == [2, 0, 1]
    assert tokenizer.eos_token_id == len(TEXT)


@pytest.mark.parametrize("kind", ["float32", "int8", "int16", "int32", "float16"])
def test_every_type_is_read_as_written(kind: str) -> None:
    array = np.arange(-3, 3).reshape(2, 3).astype(kind)
    found = read_binary(written({"one": array}, {"other": "one"}), Path("model.bin"))
    assert found["one"].dtype == np.dtype(kind)
    assert np.array_equal(found["one"], array)
    assert found["other"] is found["one"]


@pytest.mark.parametrize("end", [0, 3, 20, 60, -1])
def test_a_file_cut_off_is_refused(end: int) -> None:
    whole = written({"one": np.ones(8, np.float32)}, {"other": "one"})
    path = Path("model.bin")
    with refused(ModelError, path, len(whole[:end])):
        read_binary(whole[:end], path)
    with refused(ModelError, path, len(whole) + 1):
        read_binary(whole + b"\0", path)


def test_another_version_and_an_alias_of_nothing_are_refused() -> None:
    path = Path("model.bin")
    with refused(ModelError, path, 5):
        read_binary(written({}, {}, version=5), path)
    with refused(ModelError, path, "other", "absent_one"):
        read_binary(written({}, {"other": "absent_one"}), path)


@pytest.mark.parametrize(
    "name",
    ["decoder/layer_0/ffn/linear_0/weight_scale", "decoder/layer_0/self_attention/linear_7/bias"],
)
def test_a_variable_without_counterpart_is_named(name: str, tmp_path: Path) -> None:
    variables = tiny_whisper() | {name: np.ones(3, np.float32)}
    given = source(tmp_path / "given", written(variables, ALIASES))
    with pytest.raises(SystemExit, match=name) as ended:
        main(["--source", str(given), "--out", str(tmp_path / "out")])
    assert len(str(ended.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_bias_of_keys_is_refused(tmp_path: Path) -> None:
    variables, name = tiny_whisper(), "encoder/layer_1/self_attention/linear_0/bias"
    variables[name][WIDTH] = 1
    given = source(tmp_path / "given", written(variables, ALIASES))
    with pytest.raises(SystemExit, match=name):
        main(["--source", str(given), "--out", str(tmp_path / "out")])


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=str(tmp_path)):
        main(["--source", str(tmp_path), "--out", str(tmp_path / "out")])
