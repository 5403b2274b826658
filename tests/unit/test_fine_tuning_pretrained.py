"""`keyframe fine-tune` on a model with a pretrained decoder: its language, texts and parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fixtures.errors import refused
from fixtures.random_pretrained import random_pretrained
from fixtures.tone_corpus import random_texts, write_corpus
from keyframe_asr import FineTuneOptions, fine_tune, load
from keyframe_asr.config.model import PretrainedDecoderConfig
from keyframe_asr.data.manifest import audio_path, in_language, load_manifest, text, written_text
from keyframe_asr.data.sources import load_source
from keyframe_asr.errors import ManifestError, OptionError
from keyframe_asr.fine_tuning.preparing import Prepared, prepare, write_start
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.io.model_folder import WEIGHTS_FILE, load_model_folder, save_model_folder
from keyframe_asr.training.objective import DECODER_PARTS

FAST = ("training.threads=1", "training.batch_seconds=20", "augment.spec_augment=0.0")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = {"train": random_texts(40, 1), "dev": random_texts(4, 2)}
    return write_corpus(tmp_path_factory.mktemp("tones"), texts)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Knows zh and en."""
    recognizer = random_pretrained(languages=("zh", "en"))
    assert recognizer.pretrained is not None
    folder = tmp_path_factory.mktemp("model") / "model"
    config = recognizer.config.model_copy(update={"language": "zh"})
    parts = module_of(recognizer.network), recognizer.tokenizer, config, ""
    save_model_folder(folder, *parts, decoder_tokenizer=recognizer.pretrained.tokenizer)
    return folder


def options(**given: Any) -> FineTuneOptions:
    return FineTuneOptions(**{"epochs": 1, "overrides": list(FAST)} | given)


def prepared(model: Path, train: Path, said: list[str] | None = None, **given: Any) -> Prepared:
    say = [].append if said is None else said.append
    return prepare(model, str(train), None, train.parent / "out", options(**given), say)


def decoder_of(found: Prepared) -> PretrainedDecoderConfig:
    decoder = found.config.model.pretrained_decoder
    assert decoder is not None
    return decoder


def table(corpus: Path, path: Path, texts: dict[str, str], end: str = "") -> Path:
    """The training recordings with other texts: `texts` maps a part to what stands for it."""
    rows = ["path\ttext"]
    for cut in load_source(f"{corpus}:train").cuts:
        changed = text(cut)
        for part, other in texts.items():
            changed = changed.replace(part, other)
        rows.append(f"{audio_path(cut).resolve()}\t{changed}{end}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_texts_name_the_language(corpus: Path, model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    found = prepared(model, corpus, said)
    assert any("en" in line.split() or "en;" in line.split() for line in said)
    assert found.config.language == decoder_of(found).language == "en"
    assert found.config.languages == ("en",)
    assert found.stored.config.languages == ("en",)
    given = prepared(model, corpus, language="zh")
    assert given.config.language == decoder_of(given).language == "zh"
    both = prepared(model, corpus, language="zh+en")
    assert both.config.languages == ("en",) and both.config.language == "zh+en"
    others = write_corpus(tmp_path / "other", {"train": random_texts(6, 3)})
    replayed = prepared(model, corpus, replay=str(others))
    assert replayed.config.languages == ("zh", "en") and replayed.config.language == "en"
    umlauts = table(corpus, tmp_path / "table.tsv", dict.fromkeys("ABCDEF", "ä"))
    with refused(OptionError, "language", "zh", "en"):
        prepared(model, umlauts)


def test_recordings_in_both_languages_keep_both(corpus: Path, model: Path, tmp_path: Path) -> None:
    mixed = table(corpus, tmp_path / "mixed.tsv", {"A": "你"})
    found = prepared(model, mixed, vocabulary="extend")
    assert found.config.language == "zh"
    assert decoder_of(found).language is None
    assert set(found.config.languages) == {"zh", "en"}
    for cut in found.speech.train:
        assert cut.supervisions[0].language == ("zh" if "你" in text(cut) else "en")
    named = in_language(next(iter(found.speech.train)), "zh")
    assert named.supervisions[0].language == "zh"


def test_a_development_set_in_another_language_is_refused(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    others = write_corpus(tmp_path / "others", {"train": random_texts(6, 3)})
    dev = table(others, tmp_path / "mandarin.tsv", dict.fromkeys("ABCDEF", "你"))
    with refused(OptionError, "language", "development", "zh", "en"):
        prepare(model, str(corpus), str(dev), tmp_path / "out", options(), [].append)


def test_the_decoder_learns_texts_as_they_are_written(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    shown = table(corpus, tmp_path / "shown.tsv", {"A": "a"}, end=".")
    found = prepared(model, shown)
    write_start(found)
    cuts = list(load_manifest(found.folder / "data" / "train.jsonl.gz"))
    assert any("a" in written_text(cut) for cut in cuts)
    for cut in cuts:
        assert written_text(cut) == text(cut).replace("A", "a") + "."


def test_digits_are_told(corpus: Path, model: Path, tmp_path: Path) -> None:
    some = table(corpus, tmp_path / "some.tsv", {"FE": "7"})
    said: list[str] = []
    found = prepared(model, some, said)
    assert 0 < len(found.speech.train) < len(load_source(f"{corpus}:train").cuts)
    assert not any("vocabulary" in line for line in said)
    prepared(model, table(corpus, tmp_path / "both.tsv", {"FE": "7", "CF": "S", "EC": "S"}), said)
    assert any("vocabulary" in line and "7" in line for line in said)
    with refused(ManifestError, "7"):
        prepared(model, table(corpus, tmp_path / "all.tsv", dict.fromkeys("ABCDEF", "7")))


@pytest.mark.parametrize("vocabulary", ["keep", "new"])
def test_a_decoder_that_does_not_know_the_language_is_left_out(
    corpus: Path, model: Path, tmp_path: Path, vocabulary: Any
) -> None:
    chosen = options(language="de", vocabulary=vocabulary, learning_rate=2e-2)
    done = fine_tune(model, corpus, out=tmp_path / "out", options=chosen)
    recognizer = load(done.model)
    assert recognizer.config.language == "de"
    assert module_of(recognizer.network).decoder is None and recognizer.pretrained is None
    assert list(done.report["dev"]["decode"]) == ["axe", "ctc"]


def test_what_is_fine_tuned(corpus: Path, model: Path, tmp_path: Path) -> None:
    chosen = options(learning_rate=2e-2, epochs=4)
    done = fine_tune(model, corpus, out=tmp_path / "out", options=chosen)
    assert done.report["start_is_kept"] is False
    assert {"axe", "ctc", "rescore"} <= set(done.report["dev"]["decode"])
    after = load_model_folder(done.model)
    assert after.config.languages == ("en",)
    assert after.config.decoding is not None and "rescore" in after.config.decoding.searches
    before = load_model_folder(model).network.state_dict()
    changed = {
        name
        for name, weight in after.network.state_dict().items()
        if not torch.equal(weight, before[name])
    }
    assert {"inter_ctc", "head"} <= {name.split(".")[0] for name in changed}
    held = {name.removesuffix(".row_scale") for name in load_file(done.model / WEIGHTS_FILE)}
    assert changed <= held < set(before)
    assert not {name.split(".")[0] for name in held} & {*DECODER_PARTS, "pretrained"}
    again = fine_tune(done.model, corpus, out=tmp_path / "again", options=options())
    assert load(again.model).pretrained is not None  # its tokenizer is that of the base's base
    wider = replace(chosen, overrides=[*FAST, "stages.0.losses.decoder=0.2"])
    more = fine_tune(model, corpus, out=tmp_path / "more", options=wider)
    trained = {name.split(".")[0] for name in load_file(more.model / WEIGHTS_FILE)}
    assert trained >= {*DECODER_PARTS}
