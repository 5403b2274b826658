"""A run with a pretrained decoder, from the recipe to the text that the decoder writes."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kaldialign import edit_distance
from safetensors import safe_open

import keyframe_asr
from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.tiny_pretrained import WHISPER, WHOLE_WHISPER, write_source, write_whole_whisper
from fixtures.tone_corpus import KEYFRAMES, MODEL, recipe_data, small_corpus, stage, tones
from keyframe_asr.config.recipe import Recipe, load_recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data.dataset import Batch
from keyframe_asr.errors import ModelError, RecipeError
from keyframe_asr.inference.decoder_search import (
    FURTHER_TOKENS,
    TOKENS_PER_HEARD,
    TOKENS_PER_KEYFRAME,
)
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.io.architectures import with_architecture
from keyframe_asr.io.model_folder import (
    WEIGHTS_FILE,
    Storage,
    load_model_folder,
    quantise_model_folder,
    save_model_folder,
)
from keyframe_asr.text.decoder_tokenizer import DECODER_TOKENIZER_FILE
from keyframe_asr.text.tokenizer import BLANK
from keyframe_asr.training.objective import DECODER_PARTS, LANGUAGE_WEIGHT, StageObjective
from keyframe_asr.training.optimiser import optimiser, peak_of
from keyframe_asr.training.run import train
from keyframe_asr.training.validation import validate

ALONE = {"inter_ctc": 0.0, "head": 0.0, "head_loss": "none", "decoder": 1.0}
TRAINED = {"parts": "layers", "learning_rate": 0.02, "memory_learning_rate": 0.01}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whole_whisper(tmp_path_factory.mktemp("whole"))


def data_of(corpus: Path, source: Path, stages: list[dict[str, Any]], **decoder: Any) -> Any:
    data = recipe_data(corpus, copy.deepcopy(stages))
    data["data"]["dev"] = data["data"]["train"]  # the decoder should know these texts by heart
    data["model"] = MODEL | {
        "pretrained": {"family": "whisper", "source": str(source)},
        "decoder": {"kind": "pretrained", "source": str(source)} | decoder,
    }
    return data


def recipe_of(*arguments: Any, **decoder: Any) -> Recipe:
    return parse_config(Recipe, data_of(*arguments, **decoder), "tones")


STAGES = [
    stage(
        "all", 12, keyframes=True, fusion=True, collapse=None, losses=KEYFRAMES | {"decoder": 0.0}
    ),
    stage(
        "decoder",
        24,
        keyframes=True,
        fusion=True,
        losses=ALONE,
        select_by="loss",
        collapse=None,
        decay="constant",
        pretrained_decoder=TRAINED,
    ),
]


@pytest.fixture(scope="module")
def run(corpus: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    train(recipe_of(corpus, source, STAGES), folder, quiet=True)
    return folder


def hearing(model: Path) -> Recognizer:
    """The model, made to hear something everywhere: its CTC has trained for seconds only."""
    recognizer = keyframe_asr.load(model)
    with torch.no_grad():
        module_of(recognizer.network).inter_ctc.bias[BLANK] -= 1e4
    return recognizer


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    return run / "decoder" / "model"


def test_loss_falls_and_all_else_stays(run: Path, model: Path) -> None:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [one["loss"] for one in lines if one.get("stage") == "decoder" and "loss" in one]
    assert losses[-1] < 0.8 * losses[0]
    before, after = (
        load_model_folder(folder).network.state_dict() for folder in (run / "all" / "model", model)
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == set(DECODER_PARTS)
    assert not any("embed" in name for name in changed)
    assert {"decoder_memory.adapter.weight", "decoder.layers.0.fc1.weight"} <= changed


def test_decoder_writes_a_text_with_times(model: Path) -> None:
    recognizer = hearing(model)
    assert recognizer.modes == ("axe", "ctc", "attention", "rescore")
    sounds = [tones("ABCD"), tones("FE", 3)]
    for beam in (1, 3):
        options = RecognitionOptions("attention", beam=beam)
        together = [recognizer.transcribe(one, options) for one in sounds]
        assert any(one.text for one in together)
        for one in together:
            starts = [token.start for token in one.tokens]
            assert starts == sorted(starts)
            assert all(0 <= token.start <= token.end <= one.duration for token in one.tokens)
            shown = "".join(token.text for token in one.tokens).replace("▁", " ")
            assert " ".join(shown.split()) == one.text


def test_a_model_lists_the_languages_it_was_trained_on(source: Path, tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    head, *rows = corpus.read_text().splitlines()
    spoken = ["Chinese", *["zh", "en", "zh"] * len(rows)]
    named = [f"{row}\t{one}" for row, one in zip(rows, spoken, strict=False)]
    corpus.write_text("\n".join([f"{head}\tlanguage", *named]))
    for chosen, languages in ((None, ["en", "zh"]), ("zh", [])):
        one = copy.deepcopy(STAGES[1]) | {"epochs": 1}
        folder = tmp_path / f"run-{chosen}"
        train(recipe_of(corpus, source, [one], language=chosen), folder, quiet=True)
        decoder = load_model_folder(folder / "decoder" / "model").config.model.pretrained_decoder
        assert decoder is not None
        assert decoder.languages == languages


def test_batches_are_decoded_as_alone(model: Path) -> None:
    recognizer = hearing(model)
    sounds = [tones("ABCDEF"), tones("F", 3), tones("CAB", 5)]
    options = RecognitionOptions("attention", beam=2)
    together = recognizer.recognise(sounds, options)
    assert [one.text for one in together] == [
        recognizer.recognise([sound], options)[0].text for sound in sounds
    ]


def test_length_is_bounded_by_the_keyframes(model: Path) -> None:
    recognizer = hearing(model)
    pretrained = module_of(recognizer.network).pretrained_decoder
    assert pretrained is not None
    with torch.no_grad():  # a decoder that never ends
        pretrained.layer_norm.weight.zero_()
        pretrained.layer_norm.bias.fill_(1.0)
        pretrained.embed_tokens.weight[256] = -1e3
        pretrained.embed_tokens.weight[65] = 1e3  # a letter: punctuation alone would be no text
    audio = recognizer.encode([tones("ABC")])
    found, _ = recognizer.hypotheses(audio, RecognitionOptions("attention", beam=1))
    (heard,), _ = recognizer.hypotheses(audio, "ctc")
    search = recognizer.pretrained
    assert search is not None
    text = search.tokenizer.encode(recognizer.text_of(heard))
    bound = min(audio.keyframes[0] * TOKENS_PER_KEYFRAME, math.ceil(TOKENS_PER_HEARD * len(text)))
    longest = WHOLE_WHISPER["max_target_positions"] - 4
    assert len(found[0].tokens) == min(bound + FURTHER_TOKENS, longest)


def test_no_text_without_keyframes(model: Path) -> None:
    recognizer = keyframe_asr.load(model)
    silence = np.zeros(16_000, dtype=np.float32)
    assert recognizer.transcribe(silence, RecognitionOptions("attention")).text == ""
    with torch.no_grad():
        module_of(recognizer.network).inter_ctc.bias[BLANK] = 1e4
    sound = recognizer.transcribe(tones("ABC"), RecognitionOptions("attention", nbest=2))
    assert sound.text == ""


def test_joint_is_refused(model: Path) -> None:
    with refused(ModelError, "joint"):
        keyframe_asr.load(model).transcribe(tones("A"), RecognitionOptions("joint"))


def test_model_folder_holds_all(run: Path, model: Path, tmp_path: Path) -> None:
    """As integers, and as what differs from another model, it says the same."""
    stored = load_model_folder(model)
    assert stored.decoder_tokenizer is not None
    assert (model / DECODER_TOKENIZER_FILE).read_bytes() == stored.decoder_tokenizer.content()
    every = {name for name, _ in stored.network.named_parameters()}
    quantise_model_folder(model, tmp_path / "small", every)
    small, whole = (
        (folder / WEIGHTS_FILE).stat().st_size for folder in (tmp_path / "small", model)
    )
    assert small < 0.85 * whole  # so narrow, the scales of the rows count
    save_model_folder(
        tmp_path / "delta",
        stored.network,
        stored.tokenizer,
        stored.config,
        "",
        Storage(base=run / "all" / "model"),
        decoder_tokenizer=stored.decoder_tokenizer,
    )
    assert (tmp_path / "delta" / WEIGHTS_FILE).stat().st_size < whole
    options = RecognitionOptions("attention", beam=1)
    texts = [
        hearing(folder).transcribe(tones("BAD"), options).text
        for folder in (model, tmp_path / "delta")
    ]
    assert texts[0] == texts[1] != ""
    assert hearing(tmp_path / "small").transcribe(tones("BAD"), options).text
    (tmp_path / "small" / DECODER_TOKENIZER_FILE).unlink()
    with pytest.raises(ModelError):
        load_model_folder(tmp_path / "small")


def test_quantise_takes_what_is_pretrained(model: Path, tmp_path: Path) -> None:
    done = keyframe("quantise", model, "--out", tmp_path / "small")
    assert done.exit_code == 0, done.stderr
    with safe_open(tmp_path / "small" / WEIGHTS_FILE, "pt") as file:
        kinds = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    parts = {name.split(".")[0] for name, kind in kinds.items() if kind == torch.int8}
    assert parts == {"pretrained", "decoder"}
    assert load_model_folder(tmp_path / "small").decoder_tokenizer is not None


def test_training_goes_on_from_the_model(corpus: Path, model: Path, tmp_path: Path) -> None:
    """A model of this project is a source, too; its decoder is the trained one."""
    one = STAGES[1] | {"epochs": 1, "learning_rate": 1e-9, "pretrained_decoder": {}}
    recipe = recipe_of(corpus, model, [one | {"name": "more"}])
    result = train(recipe, tmp_path / "run", initial=model, quiet=True)
    before, after = (load_model_folder(folder).network for folder in (model, result.model))
    assert before.pretrained_decoder is not None and after.pretrained_decoder is not None
    fc1 = [one.pretrained_decoder.layers[0].fc1.weight for one in (before, after)]
    assert torch.equal(*fc1)


@pytest.mark.parametrize("memory", ["fused", "neighbours", "encoder2"])
@pytest.mark.parametrize("parts", ["nothing", "cross_attention", "layers"])
def test_parts_are_trained_at_their_rates(
    corpus: Path, source: Path, memory: str, parts: str
) -> None:
    chosen = {"parts": parts, "from_layer": 2, "learning_rate": 2e-3, "memory_learning_rate": 3e-3}
    stages = [STAGES[1] | {"pretrained_decoder": chosen, "learning_rate": 1e-3}]
    recipe = with_architecture(recipe_of(corpus, source, stages, memory=memory))
    network = keyframe_asr.model.network.KeyframeNetwork(recipe.model, 80, 9)
    objective = StageObjective(network, recipe.stages[0]).train()
    rates = {
        id(weight): peak_of(group, recipe.stages[0])
        for group in optimiser(objective, 0.01).param_groups
        for weight in group["params"]
    }
    found = {name: rates[id(one)] for name, one in network.named_parameters() if id(one) in rates}
    assert found.pop("decoder_memory.adapter.weight") == 3e-3
    of_decoder = {name: rate for name, rate in found.items() if name.startswith("decoder.")}
    assert set(of_decoder.values()) == (set() if parts == "nothing" else {2e-3})
    assert all(name.startswith(("decoder.layers.1", "decoder.layer_norm")) for name in of_decoder)
    assert all("encoder_attn" in name for name in of_decoder) == (parts != "layers")
    assert {name.split(".")[0] for name in found} <= set(DECODER_PARTS)
    assert not network.encoder1.training and not network.encoder2.training
    assert network.decoder_memory is not None and network.decoder_memory.training


@torch.inference_mode()
def test_loss_is_the_decoders_own_surprise(corpus: Path, source: Path) -> None:
    """Prompt and padding do not count: the loss without smoothing is that of each text alone."""
    recipe = with_architecture(recipe_of(corpus, source, [STAGES[1]]))
    losses = recipe.stages[0].losses.model_copy(update={"label_smoothing": 0.0})
    one = recipe.stages[0].model_copy(update={"losses": losses})
    torch.manual_seed(3)
    network = keyframe_asr.model.network.KeyframeNetwork(recipe.model, 80, 9)
    objective = StageObjective(network, one).eval()
    features, lengths = torch.randn(2, 40, 80), torch.tensor([40, 30])
    tokens = torch.tensor(
        [
            [[257, 258, 5, 6], [-1, 5, 6, 256]],
            [[257, 258, -1, -1], [-1, 256, -1, -1]],
        ]
    )
    own = torch.ones(2, 1, dtype=torch.long)
    given = Batch(
        ("a", "b"), features, lengths, own, torch.ones(2).long(), 0.7, decoder_tokens=tokens
    )
    total, _, encoded = objective(given)
    decoder = network.pretrained_decoder
    assert decoder is not None
    vectors, sizes = encoded.attended
    expected = []
    for row, text in enumerate(([5, 6, 256], [256])):
        prefix = torch.tensor([[257, 258, *text[:-1]]])
        log_probs = decoder(
            prefix, torch.tensor([prefix.shape[1]]), vectors[row : row + 1], sizes[row : row + 1]
        )[0].log_softmax(-1)
        chosen = [log_probs[1 + place, token] for place, token in enumerate(text)]
        expected.append(-sum(map(float, chosen)) / len(text))
    assert math.isclose(float(total), sum(expected) / 2, rel_tol=1e-4)
    heard = tokens.clone()
    heard[1, 1, 0] = 258
    with_language, _, _ = objective(replace(given, decoder_tokens=heard))
    surprise = -decoder(torch.tensor([[257]]), torch.tensor([1]), vectors[1:], sizes[1:])[
        0, 0
    ].log_softmax(-1)[258]
    rise = LANGUAGE_WEIGHT * float(surprise) / 2
    assert math.isclose(float(with_language - total), rise, rel_tol=1e-3)


@torch.inference_mode()
def test_error_is_the_decoders_own(corpus: Path, source: Path) -> None:
    """Validation counts the errors of texts that the decoder writes greedily, each alone."""
    recipe = with_architecture(recipe_of(corpus, source, [STAGES[1]]))
    torch.manual_seed(3)
    network = keyframe_asr.model.network.KeyframeNetwork(recipe.model, 80, 9)
    objective = StageObjective(network, recipe.stages[0]).eval()
    features, lengths = torch.randn(3, 60, 80), torch.tensor([60, 40, 50])
    texts, prompts = ([5, 6, 7], [8], [9, 5]), ([257, 258], [257, 259], [257, 258])
    wholes = [[*prompt, *text, 256] for prompt, text in zip(prompts, texts, strict=True)]
    rows = [[one[:-1], [-1, *one[2:]]] for one in wholes]
    padded = [[side + [-1] * (5 - len(side)) for side in row] for row in rows]
    ones = torch.ones(3, dtype=torch.long)
    batch = Batch(
        ("a", "b", "c"),
        features,
        lengths,
        ones.unsqueeze(1) * 3,
        ones,
        1.0,
        decoder_tokens=torch.tensor(padded),
    )
    found = validate(objective, [batch], "decoder")
    decoder = network.pretrained_decoder
    assert decoder is not None
    errors = 0
    for row, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        size = int(lengths[row])
        encoded = network.encode(features[row : row + 1, :size], lengths[row : row + 1])
        limit = int(encoded.keyframes.lengths) * TOKENS_PER_KEYFRAME + FURTHER_TOKENS
        state = decoder.start(*encoded.attended)
        scores, state = decoder.step(torch.tensor([prompt]), state)
        written: list[int] = []
        while (token := int(scores.argmax())) != 256 and len(written) < min(limit, 40 - 2):
            written.append(token)
            scores, state = decoder.step(torch.tensor([token]), state)
        errors += edit_distance(text, written)["total"]
    assert found.error == errors / 6 != found.inter_error


def without_encoder(data: Any) -> None:
    data["model"]["pretrained"] = None


def other_layers(data: Any) -> None:
    data["model"]["pretrained"]["layers"] = [1, 2]


def wider_encoder(data: Any) -> None:
    folder = Path(data["model"]["pretrained"]["source"]).parent / "wide"
    write_source(folder, WHISPER | {"d_model": 32})
    data["model"]["pretrained"]["source"] = str(folder)


def unknown_key(data: Any) -> None:
    data["model"]["decoder"]["memory_frame"] = 4


def unknown_kind(data: Any) -> None:
    data["model"]["decoder"]["kind"] = "other"


def selected_by_error(data: Any) -> None:
    data["stages"][0]["select_by"] = "error"


def reinitialised(data: Any) -> None:
    data["stages"][0]["reinitialise"] = ["decoder"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (without_encoder, "model.pretrained"),
        (other_layers, "pretrained.layers"),
        (wider_encoder, "32"),
        (unknown_key, "'model.decoder.memory_frame'"),
        (unknown_kind, "'model.decoder'"),
        (selected_by_error, "select_by"),
        (reinitialised, "'decoder'"),
    ],
)
def test_recipes_that_cannot_work_are_refused(
    corpus: Path, source: Path, change: Any, named: str
) -> None:
    data = data_of(corpus, source, [STAGES[1]])
    change(data)
    with refused(RecipeError, named):
        with_architecture(parse_config(Recipe, data, "tones"))


def test_unknown_language_is_refused_before_training(
    corpus: Path, source: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(corpus, source, [STAGES[1]], language="de")
    with pytest.raises(ModelError):
        train(recipe, tmp_path / "run", quiet=True)


def test_source_without_decoder_is_refused(corpus: Path, tmp_path: Path) -> None:
    encoder = write_source(tmp_path / "encoder", WHISPER)
    with pytest.raises(ModelError):
        train(recipe_of(corpus, encoder, [STAGES[1]]), tmp_path / "run", quiet=True)


def test_recipe_of_a_run_is_read_again(run: Path) -> None:
    decoder = load_recipe(run / "recipe.yaml").model.pretrained_decoder
    assert decoder is not None and decoder.architecture is not None
    assert decoder.architecture["vocab_size"] == WHOLE_WHISPER["vocab_size"]
