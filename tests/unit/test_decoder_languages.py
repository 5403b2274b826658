"""The language that a pretrained decoder writes: given, or heard in each utterance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import RATE, noise, random_model, save_random_model
from fixtures.random_pretrained import bilingual, random_pretrained
from keyframe_asr.config.model import ModelFolderConfig
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.errors import OptionError
from keyframe_asr.evaluation.candidates import scored_candidates
from keyframe_asr.inference.decoder_search import DecoderSearch
from keyframe_asr.inference.options import DecodeMode, RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.search import search_of
from keyframe_asr.results import Transcript
from keyframe_asr.text.decoder_tokenizer import ENGLISH_ONLY_SIZE, language_code

SOUNDS = [noise(0.5 + 0.25 * place, place) for place in range(6)]


@pytest.fixture(scope="module", params=[True, False], ids=["keyframes", "all-frames"])
def recognizer(request: pytest.FixtureRequest) -> Recognizer:
    return bilingual(SOUNDS, request.param)


def options(mode: DecodeMode, language: str | None = None) -> RecognitionOptions:
    return RecognitionOptions(mode, beam=4, nbest=4, decoder_weight=0.9, language=language)


def values(found: Transcript) -> Any:
    texts = [one.text for one in found.alternatives]
    return found.language, found.text, texts, [one.score for one in found.alternatives]


def nearly(found: Transcript) -> Any:
    language, text, texts, scores = values(found)
    return language, text, texts, pytest.approx(scores, abs=0.01)


@pytest.mark.parametrize("mode", ["attention", "rescore"])
def test_batches_of_several_languages_are_decoded_as_alone(
    recognizer: Recognizer, mode: DecodeMode
) -> None:
    alone = [recognizer.transcribe(sound, options(mode)) for sound in SOUNDS]
    together = recognizer.recognise(SOUNDS, options(mode))
    assert {one.language for one in alone} == {"zh", "en"}
    assert [values(one) for one in together] == [nearly(one) for one in alone]
    assert any(one.text for one in alone)


def test_the_language_is_the_decoders_first_token(recognizer: Recognizer) -> None:
    search = recognizer.pretrained
    assert search is not None
    tokens = [search.tokenizer.language_token(one) for one in ("zh", "en")]
    for sound in SOUNDS:
        decoder = recognizer.network.decoder(recognizer.encode([sound]).encoded)
        start = np.full((2, 1), search.tokenizer.start)
        scores = decoder.score(np.array([0, 0]), start, np.array(tokens)[:, None])[:, 0]
        best = ("zh", "en")[int(scores.argmax())]
        assert recognizer.transcribe(sound, "attention").language == best


@pytest.mark.parametrize("mode", ["attention", "rescore"])
def test_a_given_language_is_that_of_all(recognizer: Recognizer, mode: DecodeMode) -> None:
    heard = [nearly(recognizer.transcribe(sound, options(mode))) for sound in SOUNDS]
    given = {
        tag: [values(one) for one in recognizer.recognise(SOUNDS, options(mode, tag))]
        for tag in ("zh", "en")
    }
    assert given["zh"] != given["en"]
    for place, one in enumerate(heard):
        assert given[one[0]][place] == one
        assert [rows[place][0] for rows in given.values()] == ["zh", "en"]


def test_tuning_scores_each_language_after_its_prompt(recognizer: Recognizer) -> None:
    references = [["A"]] * len(SOUNDS)
    together = scored_candidates(recognizer, recognizer.encode(SOUNDS), references, ShallowFusion())
    for place, sound in enumerate(SOUNDS):
        alone = scored_candidates(
            recognizer, recognizer.encode([sound]), references[:1], ShallowFusion()
        )
        one, other = (
            sorted(candidate.decoder for candidate in several if candidate.of_text)
            for several in (together[place], alone[0])
        )
        assert one == pytest.approx(other, rel=1e-3, abs=1e-2)


def test_segments_of_a_long_recording_have_their_own(tmp_path: Path) -> None:
    recognizer = bilingual(SOUNDS)
    pause = np.zeros(2 * RATE, dtype=np.float32)
    parts = [part for _ in range(4) for sound in SOUNDS for part in (sound, pause)]
    found = recognizer.transcribe(np.concatenate(parts), "attention")
    assert {one.language for one in found.segments} == {"zh", "en"}
    seconds = {
        tag: sum(one.end - one.start for one in found.segments if one.language == tag)
        for tag in ("zh", "en")
    }
    assert found.language == max(seconds, key=lambda tag: seconds[tag])
    written = found.to_dict()
    assert written["language"] == found.language
    segments: Any = written["segments"]
    assert [one["language"] for one in segments] == [one.language for one in found.segments]


def test_models_of_one_language_need_not_listen() -> None:
    recognizer = random_pretrained()
    assert {one.language for one in recognizer.recognise(SOUNDS, "attention")} == {"en"}
    assert [one.language for one in recognizer.recognise(SOUNDS, "ctc")] == [None] * len(SOUNDS)


def config_of(language: str | None, *languages: str) -> ModelFolderConfig:
    config = random_pretrained().config
    decoder = config.model.pretrained_decoder
    assert decoder is not None
    changed = decoder.model_copy(update={"language": language, "languages": list(languages)})
    model = config.model.model_copy(update={"decoder": changed})
    return config.model_copy(update={"language": "de", "model": model})


def test_languages_of_a_model() -> None:
    assert config_of(None).languages == ("de",)
    assert config_of("en").languages == ("en",)
    assert config_of(None, "zh", "en", "zh").languages == ("zh", "en")
    assert config_of("en", "zh", "en").languages == ("en",)
    assert random_model().config.languages == ("en",)


@pytest.mark.parametrize(
    ("given", "chosen"),
    [("en", "en"), ("en-GB", "en"), ("english", "en"), ("cmn", "zh"),
     ("zh-TW", "zh-TW"), (None, None)],
)  # fmt: skip
def test_choice_of_a_language(given: str | None, chosen: str | None) -> None:
    config = config_of(None, "zh", "zh-TW", "en")
    found = search_of(RecognitionOptions("attention", language=given), config, None)
    assert found.language == chosen


def test_unknown_languages_are_refused() -> None:
    recognizer = bilingual(SOUNDS)
    with refused(OptionError, "de", "zh", "en"):
        recognizer.transcribe(SOUNDS[0], RecognitionOptions(language="de"))
    with refused(OptionError, "zh", "en"):
        Recognizer(random_model(), "cpu").prepare(RecognitionOptions(language="zh"))
    assert Recognizer(random_model(), "cpu").prepare(RecognitionOptions(language="en-US"))
    for wrong in ("1", "", 7):
        with refused(OptionError, "language"):
            RecognitionOptions(language=wrong)  # type: ignore[arg-type]


def test_command_line(tmp_path: Path) -> None:
    model = str(save_random_model(tmp_path / "model"))
    soundfile.write(tmp_path / "a.wav", SOUNDS[0], RATE)
    arguments = ("transcribe", model, str(tmp_path / "a.wav"), "--format", "json", "--language")
    assert json.loads(keyframe(*arguments, "en").stdout)["options"]["language"] == "en"
    error = keyframe(*arguments, "de").usage_error
    assert "--language" in error and "'de'" in error


def test_decoders_for_english_only_name_none() -> None:
    tokenizer = random_pretrained().pretrained
    assert tokenizer is not None and tokenizer.tokenizer.names_languages
    tokenizer.tokenizer.vocab_size = ENGLISH_ONLY_SIZE
    assert not tokenizer.tokenizer.names_languages
    several = config_of(None, "zh", "en")
    search = DecoderSearch(tokenizer.tokenizer, tokenizer.own, several)
    assert search.languages == ("zh",)
    assert search.prompts["zh"] == search.prompts["en"]
    assert [language_code(tag) for tag in ("nb-NO", "en-GB", "ZH")] == ["no", "en", "zh"]
