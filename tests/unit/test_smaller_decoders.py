"""Models whose pretrained decoder has fewer tokens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import keyframe_asr
from fixtures.command_line import keyframe
from fixtures.random_pretrained import random_pretrained
from fixtures.tiny_pretrained import WHOLE_WHISPER
from fixtures.tone_corpus import random_texts, tones, write_corpus
from keyframe_asr import FineTuneOptions, fine_tune
from keyframe_asr.config.model import load_model_folder_config
from keyframe_asr.errors import ModelError
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.io.hub_upload import prepared_upload
from keyframe_asr.io.model_folder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    Storage,
    StoredModel,
    load_model_folder,
    save_model_folder,
)
from keyframe_asr.io.pretrained_decoder import EMBEDDING, decoder_architecture, source_tokenizer
from keyframe_asr.io.quantisation import SCALE_SUFFIX
from keyframe_asr.text.decoder_tokenizer import DECODER_TOKENIZER_FILE
from keyframe_asr.text.decoder_vocabulary import pruned


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recognizer = random_pretrained()
    search = recognizer.pretrained
    assert search is not None
    stored = StoredModel(
        module_of(recognizer.network),
        recognizer.tokenizer,
        recognizer.config,
        decoder_tokenizer=search.tokenizer,
    )
    return saved(stored, tmp_path_factory.mktemp("models") / "whole")


@pytest.fixture(scope="module")
def small(whole: Path) -> Path:
    return quantised(whole, whole.parent / "small", "--decoder-languages", "en")


def saved(stored: StoredModel, folder: Path, base: Path | None = None) -> Path:
    save_model_folder(
        folder,
        stored.network,
        stored.tokenizer,
        stored.config,
        "# model\n",
        Storage(base=base),
        decoder_tokenizer=stored.decoder_tokenizer,
    )
    return folder


def delta(base: Path, folder: Path) -> Path:
    """A model that has other weights of the decoder's last norm only."""
    stored = load_model_folder(base)
    assert stored.network.pretrained_decoder is not None
    torch.nn.init.constant_(stored.network.pretrained_decoder.layer_norm.weight, 0.75)
    return saved(stored, folder, base)


def quantised(model: Path, out: Path, *options: str) -> Path:
    done = keyframe("quantise", model, *options, "--out", out)
    assert done.exit_code == 0, done.stderr
    return out


def names_in(model: Path) -> set[str]:
    with safe_open(model / WEIGHTS_FILE, "pt") as file:
        return set(file.keys())


def text_of(model: Path) -> str:
    recognizer = keyframe_asr.load(model)
    found: str = recognizer.transcribe(tones("BAD"), RecognitionOptions("attention", beam=1)).text
    assert found
    return found


@torch.inference_mode()
def test_only_the_normaliser_differs(whole: Path, small: Path, tmp_path: Path) -> None:
    models = [load_model_folder(one) for one in (quantised(whole, tmp_path / "as-whole"), small)]
    tokenizers, decoders = [], []
    for one in models:
        assert one.decoder_tokenizer is not None and one.network.pretrained_decoder is not None
        tokenizers.append(one.decoder_tokenizer)
        decoders.append(one.network.pretrained_decoder)
    kept = torch.tensor(pruned(tokenizers[0], ["en"]).kept)
    torch.manual_seed(1)
    memory, sizes = torch.randn(1, 5, decoders[0].dim), torch.tensor([5])
    tokens = torch.tensor([[*tokenizers[1].prompt("en"), *tokenizers[1].encode("a word")]])
    old, new = (
        decoder.step(ids, decoder.start(memory, sizes))[0]
        for decoder, ids in zip(decoders, (kept[tokens], tokens), strict=True)
    )
    assert new.size(1) == len(kept) < old.size(1)
    torch.testing.assert_close(new, old[:, kept].log_softmax(dim=-1), atol=1e-5, rtol=0)
    assert (new > old[:, kept]).all()
    assert text_of(small) == text_of(tmp_path / "as-whole")


def test_what_differs_from_a_base_has_its_tokenizer_from_there(small: Path, tmp_path: Path) -> None:
    folder = delta(small, tmp_path / "delta")
    assert "decoder.layer_norm.weight" in names_in(folder)
    assert EMBEDDING not in names_in(folder)
    assert not (folder / DECODER_TOKENIZER_FILE).exists()
    text = text_of(folder)
    alone, moved = tmp_path / "alone", tmp_path / "far" / "moved"
    for out, more in ((alone, ["--standalone"]), (moved, [])):
        assert keyframe("copy", folder, "--out", out, *more).exit_code == 0
        assert text_of(out) == text
        assert (out / DECODER_TOKENIZER_FILE).exists() == bool(more)
    with prepared_upload(folder, "owner/name") as upload:  # nobody else has the base
        assert upload.standalone and DECODER_TOKENIZER_FILE in upload.sizes
        assert text_of(upload.folder) == text
    further = delta(folder, tmp_path / "further")
    assert text_of(further) == text
    shutil.copy(small / DECODER_TOKENIZER_FILE, folder / DECODER_TOKENIZER_FILE)
    (small / DECODER_TOKENIZER_FILE).rename(tmp_path / "kept.json")
    try:
        assert text_of(folder) == text
        (folder / DECODER_TOKENIZER_FILE).unlink()
        with pytest.raises(ModelError):
            load_model_folder(folder)
    finally:
        (tmp_path / "kept.json").rename(small / DECODER_TOKENIZER_FILE)


def test_tokens_of_a_base_model_are_left_out(whole: Path, tmp_path: Path) -> None:
    """What the copy needs of the base's embedding is its own then; the rest stays there."""
    folder = delta(whole, tmp_path / "delta")
    small = quantised(folder, tmp_path / "small", "--decoder-languages", "en")
    assert EMBEDDING in names_in(small) and "encoder1.0.norm.weight" not in names_in(small)
    assert load_model_folder_config(small / CONFIG_FILE).base is not None
    assert text_of(small)
    assert keyframe("copy", small, "--standalone", "--out", tmp_path / "alone").exit_code == 0
    assert text_of(tmp_path / "alone") == text_of(small)


def test_quantised_rows_stay_as_they_are(whole: Path, small: Path, tmp_path: Path) -> None:
    first = quantised(whole, tmp_path / "first")
    again = quantised(first, tmp_path / "again", "--decoder-languages", "en")
    with safe_open(small / WEIGHTS_FILE, "pt") as one, safe_open(again / WEIGHTS_FILE, "pt") as two:
        for name in (EMBEDDING, EMBEDDING + SCALE_SUFFIX):
            assert torch.equal(one.get_tensor(name), two.get_tensor(name))


def test_memory_is_never_quantised(whole: Path, tmp_path: Path) -> None:
    """Its adapter is nearly the identity, whose rows have one large value."""
    folder = quantised(whole, tmp_path / "all", "--every-weight")
    scales = {name.split(".")[0] for name in names_in(folder) if name.endswith(SCALE_SUFFIX)}
    assert {"decoder", "encoder1", "head"} <= scales and "decoder_memory" not in scales


def test_it_is_a_source_for_training(small: Path) -> None:
    own = load_model_folder_config(small / CONFIG_FILE).model.pretrained_decoder
    assert own is not None
    config = own.model_copy(update={"source": str(small), "architecture": None})
    architecture = decoder_architecture(config)
    assert architecture["vocab_size"] < WHOLE_WHISPER["vocab_size"]
    config = config.model_copy(update={"architecture": architecture})
    assert source_tokenizer(config).content() == (small / DECODER_TOKENIZER_FILE).read_bytes()


def test_it_can_be_fine_tuned(small: Path, tmp_path: Path) -> None:
    texts = {"train": random_texts(14, 1), "dev": random_texts(4, 2)}
    corpus = write_corpus(tmp_path / "tones", texts)
    fast = ["training.threads=1", "training.batch_seconds=20", "augment.spec_augment=0.0"]
    options = FineTuneOptions(epochs=1, overrides=fast)
    done = fine_tune(small, corpus, out=tmp_path / "out", options=options)
    assert not (done.model / DECODER_TOKENIZER_FILE).exists()
    before, after = load_model_folder(small), load_model_folder(done.model)
    assert before.decoder_tokenizer is not None and after.decoder_tokenizer is not None
    assert after.decoder_tokenizer.content() == before.decoder_tokenizer.content()
    assert text_of(done.model)


@pytest.mark.parametrize(
    ("model", "options", "named"),
    [
        ("whole", ["--decoder-languages", "en,tlh"], "'tlh'"),
        ("whole", ["--decoder-languages", "zh"], "'en'"),  # the model's own language
        ("whole", ["--decoder-words", "words.txt"], "--decoder-languages"),
        ("whole", ["--decoder-languages", "en", "--decoder-words", "none.txt"], "none.txt"),
        ("demo", ["--every-weight", "--decoder-languages", "zh"], "--decoder-languages"),
    ],
)
def test_what_cannot_be_left_out_is_refused(
    whole: Path, tmp_path: Path, model: str, options: list[str], named: str
) -> None:
    given = whole if model == "whole" else model
    done = keyframe("quantise", given, *options, "--out", tmp_path / "out")
    assert done.exit_code != 0 and named in done.stderr
    assert not (tmp_path / "out").exists()
