"""Packed cuts are the same cuts; usual lines are packed without making a cut of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lhotse.cut import MonoCut

from keyframe_asr.data import cut_lines
from keyframe_asr.data.cut_lines import parse_line
from keyframe_asr.data.manifest import in_language, make_cut, text, written_text
from keyframe_asr.data.packed_cuts import PackedCuts, PackedStrings


def cuts() -> list[MonoCut]:
    whole = make_cut("whole", "ann", "Ein Läufer", Path("/a/ü.wav"), 16_000)
    part = make_cut("part", "", "", Path("a.wav"), 32_000, part=(100, 20_000), channel=(1, 2))
    odd = make_cut("\udce4", "", "\udce4\n", Path("b.wav"), 8_000, 8_000)
    odd.supervisions[0].text = None
    return [in_language(whole, "de"), part, odd.perturb_speed(1.1).with_custom("key", [1, "a"])]


def test_what_is_packed_comes_back() -> None:
    packed = PackedCuts.of(cuts())
    assert list(packed) == cuts()
    assert list(packed.ids) == [cut.id for cut in cuts()]
    assert list(packed.texts) == [text(cut) for cut in cuts()]
    assert packed.durations.tolist() == [cut.duration for cut in cuts()]
    assert packed.rates.tolist() == [16_000, 16_000, 8_000]
    assert packed[-1] == cuts()[-1]
    assert list(packed[::-2]) == cuts()[::-2]
    assert list(PackedCuts.joined([packed[1:], packed[:1]])) == [*cuts()[1:], cuts()[0]]
    assert (len(PackedCuts()), list(PackedCuts()[:3])) == (0, [])


def test_texts_change_and_the_written_ones_stay() -> None:
    packed = PackedCuts.of(cuts())
    changed = packed.chosen([1, 0]).with_texts(["x", "EIN LÄUFER"], keep_written=True)
    assert [cut.id for cut in changed] == ["part", "whole"]
    assert [text(cut) for cut in changed] == list(changed.texts) == ["x", "EIN LÄUFER"]
    assert [written_text(cut) for cut in changed] == ["", "Ein Läufer"]
    again = PackedCuts.of(changed).with_texts(["y", "z"], keep_written=True)
    assert [written_text(cut) for cut in again] == ["", "Ein Läufer"]
    assert [text(cut) for cut in packed] == [text(cut) for cut in cuts()]
    assert json.loads(changed.line(1))["supervisions"][0]["text"] == "EIN LÄUFER"
    assert list(PackedCuts.joined([changed[1:]]).texts) == ["EIN LÄUFER"]


def test_strings() -> None:
    strings = PackedStrings(["", "ä", "\udce4", "longer"])
    assert list(strings) == ["", "ä", "\udce4", "longer"]
    assert list(strings[1:3]) == ["ä", "\udce4"]
    assert (strings[-1], strings[-4]) == ("longer", "")


def test_usual_lines_are_those_of_lhotse(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(content: str, where: str) -> Any:
        raise AssertionError(content)

    lines = [json.dumps(cut.to_dict()) for cut in cuts()]
    slowly = [parse_line(line, "here") for line in lines]
    monkeypatch.setattr(cut_lines, "_parse_cut", refuse)
    assert [parse_line(line, "here") for line in lines[:2]] == slowly[:2]
    with pytest.raises(AssertionError):
        parse_line(lines[2], "here")  # with a custom field, looked at as a cut
