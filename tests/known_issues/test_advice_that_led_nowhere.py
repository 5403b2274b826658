"""Once, empty sets went unnoticed, a folder of Common Voice had to have the name of its language,
`xx` was taken for a misspelling of `xex`, and errors named neither the columns found nor the
corpora that take an option, nor the manifest in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.command_line import keyframe
from fixtures.corpus_trees import counts, lines, recording
from fixtures.errors import refused
from keyframe_asr.config.text_choices import language_tag
from keyframe_asr.data.corpora import commonvoice, tables
from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesisError
from keyframe_asr.data.corpora.synthetic.voices import voice_of
from keyframe_asr.data.manifest import load_manifest
from keyframe_asr.data.registry import PrepareOptions, prepare
from keyframe_asr.errors import ManifestError, OptionError


def test_few_lines_give_no_dev_and_test(tmp_path: Path) -> None:
    text = lines(tmp_path / "sw.txt", "habari ya asubuhi", "karibu sana")
    options = PrepareOptions(language="sw", units="characters")
    _, note = prepare("synthetic", text, tmp_path / "out", options).summary.notes[:2]
    assert note.startswith("dev, test: ") and " 40 " in note


@pytest.mark.parametrize(
    ("speakers", "named"), [(("ann", "bob"), "--dev-speakers ann"), (("", ""), "dev.tsv")]
)
def test_a_table_without_dev(speakers: tuple[str, str], named: str, tmp_path: Path) -> None:
    recording(tmp_path / "a.wav")
    rows = [f"{n}\ta.wav\tHELLO\t{who}\ttrain" for n, who in enumerate(speakers)]
    table = lines(tmp_path / "t.tsv", "utt_id\tpath\ttext\tspeaker\tsplit", *rows)
    options = PrepareOptions(language="en", units="characters")
    notes = prepare("tsv", table, tmp_path / "out", options).summary.notes
    assert [named in note for note in notes if note.startswith("dev: ")] == [True]


def test_a_folder_of_common_voice_may_have_any_name(tmp_path: Path) -> None:
    header = "client_id\tpath\tsentence"
    for folder in (tmp_path / "cv", tmp_path / "cv-corpus-17.0" / "en"):
        for split in ("train", "dev", "test"):
            lines(folder / f"{split}.tsv", header, f"a\t{split}.mp3\tHallo")
            lines(folder / "clips" / f"{split}.mp3")
    listing = commonvoice.read(tmp_path / "cv", language="de")
    assert listing.language == "de" and counts(listing) == {"train": 1, "dev": 1, "test": 1}
    assert listing.notes == ["Common Voice, de"]
    with refused(ManifestError, "'de'", "train.tsv", "cv-corpus-*/LANGUAGE", "--language"):
        commonvoice.read(tmp_path / "cv-corpus-17.0" / "en", language="de")


@pytest.mark.parametrize(
    ("given", "usual"),
    [("DE_de", "de-DE"), ("zh_hant_tw", "zh-Hant-TW"), ("ZH+EN_us", "zh+en-US"), ("es-419",) * 2],
)
def test_tags_are_written_as_usual(given: str, usual: str) -> None:
    assert language_tag(given) == usual


def test_suggested_languages_are_near() -> None:
    with pytest.raises(SpeechSynthesisError) as caught:
        voice_of("xx")
    assert "xex" not in str(caught.value) and " de, " in str(caught.value)
    with refused(SpeechSynthesisError, "'germann'", " de,"):
        voice_of("germann")


@pytest.mark.parametrize(
    ("header", "named"),
    [("PathX\ttext\tsplit", ("'PathX'", " path (")), ("path,split", ("'path'", " text ("))],
)
def test_columns_found_are_named(header: str, named: tuple[str, ...], tmp_path: Path) -> None:
    table = lines(tmp_path / "t.tsv", header)
    with refused(ManifestError, table, *named):
        tables.read_table(table, "en")


def test_the_language_may_be_wrong(tmp_path: Path) -> None:
    recording(tmp_path / "a.wav")
    table = lines(
        tmp_path / "t.tsv", "path\ttext\tsplit", "a.wav\tschöne Grüße über Łódź жук\ttrain"
    )
    with refused(ManifestError, "--language, ", "--text-form generic"):
        prepare("tsv", table, tmp_path / "out", PrepareOptions(language="en"))
    with pytest.raises(ManifestError) as caught:
        options = PrepareOptions(language="de", text_form="english")
        prepare("tsv", table, tmp_path / "out", options)
    assert "--language" not in str(caught.value)


def test_corpora_that_take_an_option_are_named(tmp_path: Path) -> None:
    with refused(OptionError, "aishell2"):
        prepare("synthetic", None, tmp_path, PrepareOptions(language="de", hours=0.05))


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    manifest = lines(tmp_path / "test.jsonl.gz")
    with refused(ManifestError, f"{tmp_path}: ", manifest):
        load_manifest(tmp_path)
    assert str(manifest) in keyframe("check-data", tmp_path).error
