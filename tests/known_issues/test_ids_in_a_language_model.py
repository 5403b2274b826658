"""Once, `keyframe language-model` counted the utterance ids of Kaldi's `text` as words, and a model
of words was taken for a recogniser of characters."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.command_line import keyframe
from fixtures.errors import refused
from keyframe_asr.decoding.lm.arpa import read_arpa
from keyframe_asr.decoding.lm.kneser_ney import estimate
from keyframe_asr.decoding.lm.scoring import unit_of
from keyframe_asr.errors import ModelError

LINES = ["s1-0001 ONE TWO", "s1-0002 ONE", "s2-0001 TWO TWO ONE"]


@pytest.mark.parametrize("beside", ["wav.scp", "utt2spk", "segments"])
def test_the_ids_of_a_kaldi_folder_are_no_words(tmp_path: Path, beside: str) -> None:
    (tmp_path / "text").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    (tmp_path / beside).touch()
    done = keyframe("language-model", tmp_path / "text", "--out", tmp_path / "lm.arpa")
    assert done.exit_code == 0 and str(tmp_path / "text") in done.stderr
    words = set(read_arpa(tmp_path / "lm.arpa").words)
    assert {word for word in words if not word.startswith("<")} == {"ONE", "TWO"}


def test_ids_elsewhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("\n".join(LINES), encoding="utf-8")
    done = keyframe("language-model", tmp_path / "train.txt", "--out", tmp_path / "lm.arpa")
    assert str(tmp_path / "train.txt") in done.error and "s1-0001" in done.error
    assert not (tmp_path / "lm.arpa").exists()


@pytest.mark.parametrize(
    "lines",
    [["ONE TWO", "TWO ONE"], ["1 ONE", "2 TWO"], ["s1-0001 ONE"], ["2024 A", "2024 B"]],
)
def test_other_texts_are_taken_whole(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "text").write_text("\n".join(lines), encoding="utf-8")
    done = keyframe("language-model", tmp_path / "text", "--out", tmp_path / "lm.arpa")
    assert done.exit_code == 0, done
    assert set(" ".join(lines).split()) <= set(read_arpa(tmp_path / "lm.arpa").words)


def test_a_model_of_words_does_not_fit_a_recogniser_of_characters() -> None:
    for words in (["ONE", "TWO", "我"], ["今天", "我"]):
        model = estimate([words], 2)
        with refused(ModelError, words[0]):
            unit_of(model, spaced=False)
    assert unit_of(estimate([["我", "你", "好", "OK"]], 2), spaced=False) == "character"
