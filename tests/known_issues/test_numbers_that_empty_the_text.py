"""Once, `--token-bonus nan` and an infinite or huge weight gave empty texts with exit code 0, and a
beam of 100,000 asked for 80 GB."""

from __future__ import annotations

import math
import resource
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import soundfile
import typer
from pydantic import BaseModel, ValidationError

from fixtures.command_line import keyframe
from fixtures.errors import names, refused
from fixtures.random_model import RATE, noise, random_model
from keyframe_asr.cli.main import app
from keyframe_asr.config.strict import Strict
from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.options import (
    DECODE_MODES,
    LARGEST_WEIGHT,
    WIDEST_BEAM,
    RecognitionOptions,
)
from keyframe_asr.inference.recognizer import Recognizer

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def is_number(annotation: Any) -> bool:
    return annotation is float or any(map(is_number, get_args(annotation)))


FLOATS = [
    (verb.name, parameter.opts[0])
    for verb in app.registered_commands
    for parameter in COMMANDS[str(verb.name)].params
    if is_number(get_type_hints(verb.callback, include_extras=True)[parameter.name])
]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e300"])
@pytest.mark.parametrize(("verb", "flag"), FLOATS)
def test_every_number_of_every_verb_is_finite(
    tmp_path: Path, verb: str, flag: str, value: str
) -> None:
    given: list[str] = []
    for parameter in COMMANDS[verb].params:
        if parameter.required:
            given += [parameter.opts[0]] * (parameter.param_type_name == "option") + ["tsv"]
    done = keyframe(verb, *given, flag, value, folder=tmp_path)
    if value == "1e300" and (verb, flag) == ("prepare", "--hours"):
        return  # all there is
    assert flag in done.usage_error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flag", "value", "range_"),
    [
        ("--beam", "100000", (1, WIDEST_BEAM)),
        ("--nbest", "100000", (1, WIDEST_BEAM)),
        ("--threads", "1000000", (1, 1024)),
        ("--workers", "1000000", (1, 256)),
        ("--batch-seconds", "1e9", (1, 3600)),
        ("--language-model-weight", "inf", (0, 1000)),
        ("--token-bonus", "nan", (-1000, 1000)),
    ],
)
def test_the_range_is_named(tmp_path: Path, flag: str, value: str, range_: tuple[int, int]) -> None:
    soundfile.write(tmp_path / "a.wav", noise(0.5), RATE)
    done = keyframe("transcribe", "an4-small", tmp_path / "a.wav", flag, value)
    assert all(names(done.usage_error, limit) for limit in range_), done
    assert flag in done.usage_error


def test_a_weight_in_a_file_of_hot_words_is_in_the_range(tmp_path: Path) -> None:
    path = tmp_path / "hot.txt"
    recognizer = Recognizer(random_model(), "cpu")
    for weight in ("nan", "inf", "1e300", "0", f"{LARGEST_WEIGHT + 1}"):
        path.write_text(f"bed\ncab\t{weight}\n", encoding="utf-8")
        with refused(KeyframeError, f"{path}:2:", weight):
            recognizer.prepare(RecognitionOptions(hotwords=path))


def test_the_largest_weights_leave_a_text(tmp_path: Path) -> None:
    (tmp_path / "hot.txt").write_text(f"bed\t{LARGEST_WEIGHT:g}\n", encoding="utf-8")
    options = RecognitionOptions(
        "ctc", beam=4, hotwords=tmp_path / "hot.txt", token_bonus=LARGEST_WEIGHT
    )
    assert Recognizer(random_model(), "cpu").transcribe(noise(1.0), options).text != ""


@pytest.mark.parametrize("mode", DECODE_MODES)
def test_the_memory_of_the_widest_beam_is_bounded(mode: Any) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    options = RecognitionOptions(mode, beam=WIDEST_BEAM)
    assert Recognizer(random_model(), "cpu").transcribe(noise(1.0), options).duration == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "KiB"


def configurations(kind: type[BaseModel]) -> list[type[BaseModel]]:
    below = [one for child in kind.__subclasses__() for one in configurations(child)]
    return [*kind.__subclasses__(), *below]


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (kind, name)
        for kind in dict.fromkeys(configurations(Strict))
        for name, field in kind.model_fields.items()
        if is_number(field.annotation)
    ],
)
def test_every_number_of_a_recipe_is_finite(kind: type[BaseModel], field: str) -> None:
    for value in (math.nan, math.inf, -math.inf):
        for given in (value, [value], [value, value]):
            with pytest.raises(ValidationError) as caught:
                kind.model_validate({field: given})
            assert field in [problem["loc"][0] for problem in caught.value.errors()]
