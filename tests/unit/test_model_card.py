"""Model cards: what is written, and what the Hub's own parser reads of it."""

from __future__ import annotations

import re

import pytest
from huggingface_hub import ModelCard as HubCard

from keyframe_asr.config.model import load_model_folder_config
from keyframe_asr.io.model_card import (
    EvaluationSet,
    MeasuredError,
    ModelCard,
    lacking_metadata,
    read_metadata,
    render_card,
    used_as,
)
from keyframe_asr.io.model_folder import shipped_models

TEST = EvaluationSet("an4", "AN4, test", "130 recordings")
CARD = ModelCard(
    name="tuned",
    title="tuned: commands",
    language="zh+en",
    summary="Recognises commands. " * 20 + "Needs `pip install 'keyframe-asr[pretrained]'`.",
    training=["Data: `train.tsv`."],
    datasets=["an4", "more"],
    license="cc-by-4.0",
    base_model="openai/whisper-base",
    errors=[
        MeasuredError("axe", "wer", 0.1234, (0.1, 0.151), TEST),
        MeasuredError("joint", "wer", 0.0812, None, TEST),
        MeasuredError("axe", "cer", 0.05, (0.04, 0.06), EvaluationSet("dev", "dev", split="dev")),
    ],
    limits=["Noise."],
    used_as="runs/tuned",
)


def parsed(card: str) -> HubCard:
    return HubCard(card)


def test_the_hub_reads_what_is_written() -> None:
    data = parsed(render_card(CARD)).data
    assert data.language == ["zh", "en"]
    assert (data.license, data.base_model) == ("cc-by-4.0", "openai/whisper-base")
    assert (data.library_name, data.pipeline_tag) == (
        "keyframe-asr",
        "automatic-speech-recognition",
    )
    assert data.datasets == ["an4", "more"] and data.metrics == ["wer", "cer"]
    assert data.model_name == "tuned"
    found = [
        (one.dataset_type, one.dataset_split, one.metric_type, one.metric_value)
        for one in data.eval_results
    ]
    assert found == [
        ("an4", "test", "wer", 12.34),
        ("an4", "test", "wer", 8.12),
        ("dev", "dev", "cer", 5.0),
    ]
    assert "10.0-15.1" in data.eval_results[0].metric_name


def test_people_read_the_same() -> None:
    card = render_card(CARD)
    assert "| axe | 12.3 % (10.0-15.1) |" in card and "| joint | 8.1 % |" in card
    assert card.count('keyframe_asr.load("runs/tuned")') == 1
    assert "`pip install 'keyframe-asr[pretrained]'`" in card
    assert max(map(len, card.splitlines())) <= 120
    headings = [line for line in card.splitlines() if line.startswith("#")]
    assert headings == ["# tuned: commands", "## Use", "## Training", "## Errors", "## Limits"]


def test_a_model_that_is_not_evaluated_has_no_results() -> None:
    card = render_card(ModelCard("new", "new", "de", "Recognises German.", ["Data: mine."]))
    data = parsed(card).data
    assert data.language == "de" and data.eval_results is None
    assert set(lacking_metadata(card)) == {"license", "datasets", "metrics"}
    assert lacking_metadata(render_card(CARD)) == []


def test_examples_may_name_the_model_otherwise() -> None:
    card = used_as(render_card(CARD), "me/tuned")
    assert "runs/tuned" not in card
    assert card.count("me/tuned speech.wav") == 1
    assert 'keyframe_asr.load("me/tuned")' in card


@pytest.mark.parametrize(
    "card", ["", "# no metadata\n", "---\n- a list\n---\n", "---\n{[\n---\n", "---\nlicense: mit\n"]
)
def test_cards_without_metadata(card: str) -> None:
    assert read_metadata(card) == {}
    assert len(lacking_metadata(card)) == 3


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_shipped_cards(name: str) -> None:
    folder = shipped_models()[name]
    text = (folder / "README.md").read_text(encoding="utf-8")
    card, config = parsed(text), load_model_folder_config(folder / "config.yaml")
    assert lacking_metadata(text) == []
    (one, *more) = config.languages
    assert card.data.language == ([one, *more] if more else one)
    assert card.data.library_name == "keyframe-asr"
    assert card.data.model_name == config.name == folder.name
    if config.model.pretrained is not None:
        assert card.data.base_model == config.model.pretrained.source
    assert f'keyframe_asr.load("{folder.name}")' in text
    assert f"# {folder.name}: " in text
    rows = dict(re.findall(r"^\| ([\w, -]+?) \| ([^|]+?) \|$", card.text, re.MULTILINE))
    results = card.data.eval_results
    assert results
    for result in results:
        decoding, interval = re.fullmatch(
            r"[CW]ER in percent, (.+) \(95 % interval (.+)\)", result.metric_name
        ).groups()
        assert rows[decoding] == f"{result.metric_value:.1f} % ({interval})"
