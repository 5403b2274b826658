"""Holding out a development set: whom it holds, how large it is, and that it is always the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from lhotse.cut import Cut

from fixtures.corpus_trees import recording
from fixtures.errors import refused
from keyframe_asr.data.corpora.listing import CorpusListing, ListedUtterance
from keyframe_asr.data.corpora.preparation import prepare_corpus
from keyframe_asr.data.corpora.preparation_options import PreparationOptions
from keyframe_asr.data.holding_out import MOST, hold_out, repeated_texts
from keyframe_asr.data.manifest import load_manifest, make_cut, speaker, text
from keyframe_asr.errors import ManifestError


def cuts(speakers: Sequence[str], seconds: float = 3.0, texts: Sequence[str] = ()) -> list[Cut]:
    return [
        make_cut(
            f"u{number:05d}",
            who,
            texts[number % len(texts)] if texts else f"text {number}",
            Path(f"/audio/{number}.wav"),
            round(16000 * seconds),
        )
        for number, who in enumerate(speakers)
    ]


def names(some: Sequence[Cut]) -> set[str]:
    return {cut.id for cut in some}


def test_whole_speakers() -> None:
    every = cuts([f"s{number % 40}" for number in range(800)])
    train, dev = map(list, hold_out(every))
    assert names(train) | names(dev) == names(every) and len(train) + len(dev) == len(every)
    assert {speaker(cut) for cut in train}.isdisjoint(speaker(cut) for cut in dev)
    assert 80 <= len(dev) < 100


@pytest.mark.parametrize("speakers", [40, 0], ids=["speakers", "none"])
def test_only_names_matter(speakers: int) -> None:
    every = cuts([f"s{number % speakers}" if speakers else "" for number in range(300)])
    dev = names(list(hold_out(every)[1]))
    shuffled = random.Random(1).sample(every, len(every))
    assert names(list(hold_out(shuffled)[1])) == dev
    assert names(list(hold_out(every, seed=1)[1])) != dev


@pytest.mark.parametrize("count", [10, 25, 60, 200, 2000, 9000])
@pytest.mark.parametrize("speakers", [0, 1, 3, 17])
def test_size(count: int, speakers: int) -> None:
    every = cuts([f"s{number % speakers}" if speakers else "" for number in range(count)])
    dev = list(hold_out(every)[1])
    assert min(20, count // 3) / 2 <= len(dev) <= count / 3
    if speakers < 2:
        assert len(dev) <= MOST


def test_unknown_speakers_stay_in_training() -> None:
    every = cuts(["" if number % 3 == 0 else f"s{number % 10}" for number in range(300)])
    assert "" not in {speaker(cut) for cut in hold_out(every)[1]}
    few = cuts(["ann", "bob", *[""] * 98])
    assert len(hold_out(few)[1]) == 20


def test_equal_texts_stay_together() -> None:
    train, dev = hold_out(cuts([""] * 300, texts=[f"text {number}" for number in range(100)]))
    assert {text(cut) for cut in train}.isdisjoint(text(cut) for cut in dev)
    train, dev = hold_out(cuts([""] * 300, texts=["yes", "no"]))
    assert len(dev) == 30 and repeated_texts(train, dev) == 30


def test_parts_of_one_recording_stay_together() -> None:
    parts = [
        make_cut(
            *(
                f"u{number}",
                "",
                f"text {number}",
                Path(f"/audio/{number // 10}.wav"),
                160000,
                16000,
            ),
            (16000 * (number % 10), 16000 * (number % 10 + 1)),
        )
        for number in range(400)
    ]
    train, dev = hold_out(parts)
    sources = [{cut.recording.sources[0].source for cut in some} for some in (train, dev)]
    assert sources[0].isdisjoint(sources[1])


def test_too_few() -> None:
    with refused(ManifestError, "mine: ", 9, 10):
        hold_out(cuts([""] * 9), name="mine")


def test_prepare_holds_out(tmp_path: Path) -> None:
    audio = recording(tmp_path / "a.wav", 1.0)
    rows = [ListedUtterance(f"u{n}", f"s{n % 8}", f"yes {'no ' * n}", audio) for n in range(80)]
    options = PreparationOptions("characters", dev_share=0.2)
    prepared = prepare_corpus(
        CorpusListing("tsv", "en", {"train": rows}), tmp_path / "out", options
    )
    train, dev = (load_manifest(prepared.manifests[split]) for split in ("train", "dev"))
    assert (len(train), len(dev)) == (60, 20)
    assert {speaker(cut) for cut in train}.isdisjoint(speaker(cut) for cut in dev)
