"""The page of errors: its data, its limits, and texts that must stay texts."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fixtures.command_line import keyframe
from fixtures.random_model import RATE, noise, save_random_model
from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.evaluation.breakdown import BINS, by_speaker, by_value, confusions
from keyframe_asr.evaluation.details import Output, Signal, Utterance, details_of
from keyframe_asr.evaluation.error_page import PageLimits, render_error_page, write_error_page
from keyframe_asr.evaluation.report import Decoded, Evaluated, build_report
from keyframe_asr.results import Token, Transcript

ATTACK = "</script><script>alert(1)</script>{{data}}<img src=x onerror=alert(1)>"


def details_for(
    texts: Sequence[tuple[str, str]], folder: Path, speakers: Sequence[str] = ("one", "two")
) -> list[dict[str, Any]]:
    """Details of (reference, hypothesis) in the mode ctc; their recordings need not exist."""
    found = []
    for place, (reference, hypothesis) in enumerate(texts):
        utterance = Utterance(
            f"utterance {place}",
            speakers[place % len(speakers)],
            folder / f"{place}.wav",
            None,
            0.0,
            1.0,
            reference,
            Signal(-20.0 - place, 10.0 + place),
        )
        tokens = [Token(hypothesis, 0.0, 1.0, 0.5)] if hypothesis else []
        utterance.outputs["ctc"] = Output(Transcript(hypothesis, tokens, 1.0), 0.1)
        found.append(details_of(utterance, TEXT_FORMS["generic"]))
    return found


def report_of(details: Sequence[dict[str, Any]], name: str = "model") -> dict[str, Any]:
    evaluated = Evaluated(
        name,
        "test.tsv",
        TEXT_FORMS["generic"],
        [one["id"] for one in details],
        [one["text"] for one in details],
        1.0 * len(details),
        0.8,
        1.0,
        "cpu",
        1,
    )
    texts = [one["decode"]["ctc"]["text"] for one in details]
    return build_report(evaluated, {"ctc": Decoded(texts, 1.0)})


def data_of(page: str) -> dict[str, Any]:
    """The data that a page embeds."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return dict(json.loads(found))


def test_confusions_are_counted(tmp_path: Path) -> None:
    texts = [("one two", "one too"), ("one two", "two"), ("three", "three x"), ("two", "too x")]
    found = confusions(details_for(texts, tmp_path), "ctc")
    assert found.substitutions == [(("two", "too"), 2)]
    assert found.deletions == [("one", 1)]
    assert found.insertions == [("x", 2)]
    assert found.spoken == {"one": 2, "two": 3, "three": 1}


def test_speakers_are_in_the_order_of_their_error(tmp_path: Path) -> None:
    details = details_for([("a b", "a b"), ("a b", "a"), ("a", "a"), ("", "a")], tmp_path)
    found = by_speaker(details, "ctc")
    assert [(one.name, one.utterances, one.length, one.errors) for one in found] == [
        ("two", 2, 2, 2),
        ("one", 2, 3, 0),
    ]
    assert found[1].interval == (0.0, 0.0)
    assert by_speaker(details_for([("a", "a")], tmp_path, [""]), "ctc") == []


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (list(range(10)), ["0 to 1", "2 to 3", "4 to 5", "6 to 7", "8 to 9"]),
        ([3] * 10, ["3"]),
        ([None, 1, *[None] * 7, 2], ["1", "2"]),
        ([None] * 10, []),
    ],
    ids=["even", "equal", "unknown", "none"],
)
def test_groups_by_value_hold_every_known_utterance_once(
    tmp_path: Path, values: list[int | None], names: list[str]
) -> None:
    found = by_value(details_for([("a", "b")] * 10, tmp_path), "ctc", values)
    assert [one.name for one in found] == names
    assert sum(one.utterances for one in found) == sum(one is not None for one in values)
    assert len(found) <= BINS


def test_texts_stay_texts(tmp_path: Path) -> None:
    details = details_for([("right", ATTACK), (ATTACK, "right")] * 3, tmp_path, [ATTACK, "two"])
    for one in details:
        one["id"] += ATTACK
        one["decode"]["ctc"]["alignment"] = [("right", ATTACK)]
    failed = {"id": "lost" + ATTACK, "speaker": "", "error": ATTACK}
    page = render_error_page(report_of(details, ATTACK), [*details, failed], PageLimits())
    assert page.count("<script") == page.count("</script") == 2
    assert "<img" not in page
    data = data_of(page)
    assert data["model"] == ATTACK
    assert data["failed"] == [["lost" + ATTACK, ATTACK]]
    assert data["utterances"][0]["id"] == "utterance 0" + ATTACK
    # no text is ever parsed as HTML by the browser
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page)
    assert not re.search(r"(?:src|href)=[\"']?https?:|@import|fetch\(", page)


def test_the_worst_are_listed_and_can_be_played(tmp_path: Path) -> None:
    texts = [("a b c", hypothesis) for hypothesis in ("a b c", "a", "", "a b")]
    details = details_for(texts, tmp_path)
    for place in (0, 1, 3):
        soundfile.write(tmp_path / f"{place}.wav", noise(1.0, place), RATE)
    write_error_page(report_of(details), details, tmp_path / "all.html", PageLimits(3, 2))
    data = data_of((tmp_path / "all.html").read_text(encoding="utf-8"))
    assert [one["id"][-1] for one in data["utterances"]] == ["1", "2", "3"]
    assert data["scored"] == 4
    assert list(data["audio"]) == ["utterance 1", "utterance 3"]  # 2 is not there
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data["audio"]["utterance 1"])))
    assert rate == RATE and samples.size == pytest.approx(RATE, rel=0.2)
    assert np.corrcoef(samples[:RATE], noise(1.0, 1)[: samples.size])[0, 1] > 0.5


@pytest.mark.parametrize(
    "limits", [PageLimits(audio_bytes=10), PageLimits(seconds=0.5)], ids=["bytes", "seconds"]
)
def test_audio_is_limited(tmp_path: Path, limits: PageLimits) -> None:
    soundfile.write(tmp_path / "0.wav", noise(1.0), RATE)
    details = details_for([("a", "b")], tmp_path)
    assert data_of(render_error_page(report_of(details), details, PageLimits()))["audio"]
    assert data_of(render_error_page(report_of(details), details, limits))["audio"] == {}


def test_a_right_unit_stands_alone(tmp_path: Path) -> None:
    details = details_for([("a b c", "a x c d"), ("e", "")], tmp_path)
    data = data_of(render_error_page(report_of(details), details, PageLimits()))
    alignments = [one["decode"]["ctc"]["alignment"] for one in data["utterances"]]
    assert alignments == [["a", ["b", "x"], "c", [None, "d"]], [["e", None]]]
    assert data["utterances"][1]["decode"]["ctc"]["confidence"] is None
    assert data["modes"]["ctc"]["rate"] == 0.75


def test_the_command_writes_a_page(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    rows = ["utt_id\tspeaker\tduration_s\tpath\ttext\tsplit"]
    for place in range(3):
        soundfile.write(tmp_path / f"{place}.wav", noise(1.0, place), RATE)
        rows.append(f"{place}\tone\t1.0\t{place}.wav\tA BED\ttest")
    (tmp_path / "table.tsv").write_text("\n".join(rows) + "\n")
    modes = ["--decode", "ctc", "--decode", "axe"]
    page = tmp_path / "pages" / "page.html"
    ran = keyframe("evaluate", model, tmp_path / "table.tsv", *modes, "--page", page)
    assert ran.exit_code == 0, ran.stderr
    data = data_of(page.read_text(encoding="utf-8"))
    assert list(data["modes"]) == ["ctc", "axe"] and len(data["audio"]) == 3
    assert all(one["groups"] for one in data["modes"].values())
    assert [one["search"] for one in data["modes"].values()] == ["", ""]
