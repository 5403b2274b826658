"""Model cards: `README.md` of a model folder, in the format of the Hugging Face Hub.

The metadata between the first two lines `---` is YAML
(https://huggingface.co/docs/hub/model-cards); errors are its `model-index`, in percent.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

LIBRARY = "keyframe-asr"
TASK = "automatic-speech-recognition"
TAGS = ("keyframe-asr", "speech", "ctc", "conformer")

WANTED = {"license": "licence", "datasets": "data it was trained on", "metrics": "measured errors"}
"""Keys of the metadata that a published model should have, and what they say."""

_WIDTH = 100


@dataclass(frozen=True)
class EvaluationSet:
    """Speech on which errors were measured."""

    id: str
    """Name of the corpus, as on the Hub if it is there."""
    name: str
    """Corpus and part, for people."""
    size: str = ""
    """Recordings, words and speakers."""
    split: str = "test"


@dataclass(frozen=True)
class MeasuredError:
    """Error rate of one way of decoding."""

    decoding: str
    """Decode mode, and what else matters."""
    metric: Literal["wer", "cer"]
    rate: float
    """Fraction of words or characters."""
    interval: tuple[float, float] | None
    """95 % confidence interval of the rate."""
    on: EvaluationSet


@dataclass(frozen=True)
class ModelCard:
    """What a model card says. Texts are Markdown; lists become one bullet an entry."""

    name: str
    title: str
    language: str
    """Language tag of the model folder, such as `zh+en`."""
    summary: str
    """First paragraph: what the model recognises."""
    training: Sequence[str]
    datasets: Sequence[str] = ()
    license: str | None = None
    """Identifier as on the Hub, such as `apache-2.0`; None: not decided."""
    base_model: str | None = None
    """Model on the Hub that this one was made from."""
    errors: Sequence[MeasuredError] = ()
    error_notes: Sequence[str] = ()
    speed: Sequence[str] = ()
    limits: Sequence[str] = ()
    architecture: str = ""
    sources: Sequence[str] = ()
    """Licences of the data and weights it was made from."""
    used_as: str | None = None
    """What to type to use the model; default: its name."""


def render_card(card: ModelCard) -> str:
    """Write a model card as Markdown with metadata."""
    used_as = card.used_as or card.name
    parts = [
        f"---\n{yaml.safe_dump(_metadata(card), sort_keys=False, allow_unicode=True)}---",
        f"# {card.title}",
        _paragraph(card.summary),
        "## Use",
        f"```console\n$ keyframe transcribe {used_as} speech.wav\n```",
        "```python\nimport keyframe_asr\n\n"
        f'print(keyframe_asr.load("{used_as}").transcribe("speech.wav").text)\n```',
        *_section("Training", card.training),
        "## Errors",
        *(_tables(card) or ["Not evaluated yet: run `keyframe evaluate` on a held-out manifest."]),
        *([_bullets(card.error_notes)] if card.error_notes else []),
        *_section("Speed", card.speed),
        *_section("Limits", card.limits),
        *(["## Architecture", _paragraph(card.architecture)] if card.architecture else []),
        *_section("Licences of the sources", card.sources),
    ]
    return "\n\n".join(parts) + "\n"


def read_metadata(card: str) -> dict[str, Any]:
    """Return the metadata of a model card; empty if it has none or they are not valid YAML."""
    found = re.match(r"\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", card, re.DOTALL)
    try:
        metadata = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


def lacking_metadata(card: str) -> list[str]:
    """Return the keys of `WANTED` that the metadata of a card lacks."""
    metadata = read_metadata(card)
    return [key for key in WANTED if not metadata.get(key)]


def used_as(card: str, name: str) -> str:
    """Return a card whose examples use the model by another name."""
    typed = re.sub(r"(?<=keyframe transcribe )\S+", lambda _: name, card)
    return re.sub(r'(?<=keyframe_asr\.load\(")[^"]*', lambda _: name, typed)


def _metadata(card: ModelCard) -> dict[str, Any]:
    languages = card.language.split("+")
    metrics = list(dict.fromkeys(error.metric for error in card.errors))
    metadata: dict[str, Any] = {
        "language": languages if len(languages) > 1 else languages[0],
        "license": card.license,
        "library_name": LIBRARY,
        "pipeline_tag": TASK,
        "tags": list(TAGS),
        "datasets": list(card.datasets),
        "base_model": card.base_model,
        "metrics": metrics,
    }
    if card.errors:
        sets = dict.fromkeys(error.on for error in card.errors)
        results = [_result(on, [error for error in card.errors if error.on == on]) for on in sets]
        metadata["model-index"] = [{"name": card.name, "results": results}]
    return {key: value for key, value in metadata.items() if value}


def _result(on: EvaluationSet, errors: Sequence[MeasuredError]) -> dict[str, Any]:
    return {
        "task": {"type": TASK, "name": "Automatic Speech Recognition"},
        "dataset": {"type": on.id, "name": on.name, "split": on.split},
        "metrics": [
            {
                "type": error.metric,
                "value": round(100 * error.rate, 2),
                "name": f"{error.metric.upper()} in percent, {error.decoding}"
                + (f" (95 % interval {_range(error.interval)})" if error.interval else ""),
            }
            for error in errors
        ],
    }


def _tables(card: ModelCard) -> list[str]:
    parts = []
    for on in dict.fromkeys(error.on for error in card.errors):
        errors = [error for error in card.errors if error.on == on]
        metric = errors[0].metric.upper()
        rows = [
            f"| {error.decoding} | {100 * error.rate:.1f} %"
            + (f" ({_range(error.interval)})" if error.interval else "")
            + " |"
            for error in errors
        ]
        size = f": {on.size}" if on.size else ""
        parts += [
            _paragraph(f"On {on.name}{size}."),
            "\n".join([f"| decode mode | {metric} (95 % interval) |", "| --- | ---: |", *rows]),
        ]
    return parts


def _range(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f}"


def _section(title: str, entries: Sequence[str]) -> list[str]:
    return [f"## {title}", _bullets(entries)] if entries else []


def _bullets(entries: Sequence[str]) -> str:
    return "\n".join(_paragraph(entry, "- ", "  ") for entry in entries)


def _paragraph(text: str, first: str = "", other: str = "") -> str:
    whole = re.sub("`[^`]+`", lambda code: code[0].replace(" ", "\0"), text)
    filled = textwrap.fill(
        whole,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=other,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace("\0", " ")
