"""LibriSpeech, speechocean762, AN4 and Common Voice in their own layouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.corpus_trees import counts, lines, names, recording
from fixtures.errors import refused
from keyframe_asr.audio.reading import read_audio
from keyframe_asr.data.corpora import an4, commonvoice, librispeech, speechocean762
from keyframe_asr.data.corpora.listing import PartSize
from keyframe_asr.errors import ManifestError


def librispeech_part(root: Path, part: str, speaker: int, count: int = 2) -> None:
    chapter = root / part / f"{speaker}" / "198"
    stems = [f"{speaker}-198-{number:04d}" for number in range(count)]
    for stem in stems:
        recording(chapter / f"{stem}.flac")
    lines(chapter / f"{speaker}-198.trans.txt", *(f"{stem} NORTHANGER ABBEY" for stem in stems))


@pytest.fixture
def libri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(librispeech, "EXPECTED", dict.fromkeys(librispeech.EXPECTED, PartSize(2)))
    parts = ("train-clean-100", "train-other-500", "dev-clean", "dev-other", "test-clean")
    for speaker, part in enumerate(parts, start=19):
        librispeech_part(tmp_path / "LibriSpeech", part, speaker)
    return tmp_path


@pytest.mark.parametrize("inner", ["", "LibriSpeech"])
def test_librispeech_takes_the_usual_parts(libri: Path, inner: str) -> None:
    listing = librispeech.read(libri / inner)
    assert (listing.corpus, listing.language) == ("librispeech", "en")
    assert names(listing, "train") == ["19-198-0000", "19-198-0001", "20-198-0000", "20-198-0001"]
    assert names(listing, "dev") == ["21-198-0000", "21-198-0001"]
    assert names(listing, "test") == ["23-198-0000", "23-198-0001"]
    one = listing.splits["test"][0]
    assert (one.speaker, one.text) == ("23", "NORTHANGER ABBEY")
    assert one.audio == libri / "LibriSpeech/test-clean/23/198/23-198-0000.flac"
    assert listing.problems == []
    assert listing.notes == [
        "train: train-clean-100 + train-other-500",
        "dev: dev-clean",
        "test: test-clean",
        "not used: dev-other",
    ]


def test_librispeech_takes_the_parts_asked_for(libri: Path) -> None:
    listing = librispeech.read(libri, parts=["dev-other", "train-clean-100", "dev-clean"])
    assert counts(listing) == {"train": 2, "dev": 4, "test": 0}
    assert any(note.startswith("test: ") for note in listing.notes)
    with refused(ManifestError, "'train-clean-10'", "train-clean-100"):
        librispeech.read(libri, parts=["train-clean-10"])
    with refused(ManifestError, "train-clean-360: "):
        librispeech.read(libri, parts=["train-clean-360"])


def test_mini_librispeech(tmp_path: Path, libri: Path) -> None:
    mini = tmp_path / "mini"
    librispeech_part(mini / "LibriSpeech", "train-clean-5", 19, count=3)
    librispeech_part(mini / "LibriSpeech", "dev-clean-2", 21)
    assert counts(librispeech.read(mini)) == {"train": 3, "dev": 2, "test": 0}

    librispeech_part(libri / "LibriSpeech", "train-clean-5", 19)
    listing = librispeech.read(libri)
    assert counts(listing)["train"] == 4
    assert any("train-clean-5 dev-other" in note for note in listing.notes)
    with refused(ManifestError, "train-clean-5 ", "train-clean-100"):
        librispeech.read(libri, parts=["train-clean-5", "train-clean-100"])


def test_librispeech_incomplete(libri: Path) -> None:
    (libri / "LibriSpeech/dev-clean/21/198/21-198-0001.flac").unlink()
    with refused(ManifestError, "dev-clean ", "1 of 2 utterances"):
        librispeech.read(libri)
    listing = librispeech.read(libri, allow_incomplete=True)
    assert listing.problems == ["21-198-0001: no recording"]
    assert any("dev-clean has 1 of 2 utterances" in note for note in listing.notes)
    lines(libri / "LibriSpeech/dev-clean/21/198/21-198.trans.txt", "21-198-0001 A")
    listing = librispeech.read(libri, allow_incomplete=True)
    assert listing.problems == ["21-198-0000: no transcript", "21-198-0001: no recording"]
    with refused(ManifestError, f"{libri / 'LibriSpeech/dev-clean'}: ", "LibriSpeech"):
        librispeech.read(libri / "LibriSpeech/dev-clean")


@pytest.fixture
def speechocean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sizes = {"train": PartSize(24, 12), "test": PartSize(4, 2)}
    monkeypatch.setattr(speechocean762, "EXPECTED", sizes)
    root = tmp_path / "speechocean762"
    for part, first, count in (("train", 100, 12), ("test", 500, 2)):
        rows: dict[str, list[str]] = {"text": [], "wav.scp": [], "utt2spk": []}
        for speaker in range(first, first + count):
            for number in (11, 35):
                name = f"{speaker:05d}{number:04d}"
                path = f"WAVE/SPEAKER{speaker:04d}/{name}.WAV"
                recording(root / path)
                rows["text"].append(f"{name}\tWE CALL IT BEAR")
                rows["wav.scp"].append(f"{name}\t{path}")
                rows["utt2spk"].append(f"{name}\t{speaker:04d}")
        for name, content in rows.items():
            lines(root / part / name, *content)
    return tmp_path


@pytest.mark.parametrize("inner", ["", "speechocean762"])
def test_speechocean762_makes_a_development_set_of_speakers(speechocean: Path, inner: str) -> None:
    listing = speechocean762.read(speechocean / inner)
    assert (listing.corpus, listing.language) == ("speechocean762", "en")
    assert counts(listing) == {"train": 20, "dev": 4, "test": 4}
    speakers = {split: {one.speaker for one in rows} for split, rows in listing.splits.items()}
    assert speakers["dev"] == {"0100", "0110"}
    assert not speakers["dev"] & speakers["train"]
    assert speakers["test"] == {"0500", "0501"}
    one = listing.splits["test"][0]
    assert (one.id, one.text) == ("005000011", "WE CALL IT BEAR")
    assert one.audio == speechocean / "speechocean762/WAVE/SPEAKER0500/005000011.WAV"
    assert listing.notes == ["dev: speakers 0100 0110 of the training set"]


def test_speechocean762_incomplete(speechocean: Path) -> None:
    root = speechocean / "speechocean762"
    for path in (root / "WAVE/SPEAKER0501").iterdir():
        path.unlink()
    with refused(ManifestError, "2 of 4 utterances and 1 of 2 speakers"):
        speechocean762.read(speechocean)
    listing = speechocean762.read(speechocean, allow_incomplete=True)
    assert listing.problems == ["005010011: no recording", "005010035: no recording"]
    (root / "train/utt2spk").unlink()
    with refused(ManifestError, "train/utt2spk: "):
        speechocean762.read(speechocean, allow_incomplete=True)


def small_an4(folder: Path, women: int = 5, men: int = 7, suffix: str = ".sph") -> Path:
    """AN4 with two utterances a speaker, as CMU lays it out: in the test part without <s>."""
    speakers = [f"f{n}" for n in range(women)] + [f"m{n}" for n in range(men)]
    for part, below, of_part in (("train", "an4", speakers), ("test", "an4test", ["ftest"])):
        rows = []
        for name in of_part:
            for number, words in enumerate(("GO", "ENTER SIX")):
                utterance = f"an{number}-{name}-b"
                path = folder / f"an4/wav/{below}_clstk/{name}/{utterance}{suffix}"
                recording(path, 0.1 + 0.1 * number)
                rows.append(f"{words} ({utterance})" if part == "test" else
                            f"<s> {words} </s> ({utterance})")  # fmt: skip
        lines(folder / f"an4/etc/an4_{part}.transcription", *rows)
    return folder


@pytest.fixture
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(an4, "EXPECTED", {"train": PartSize(24, 12), "test": PartSize(2, 1)})


@pytest.mark.usefixtures("small_sizes")
@pytest.mark.parametrize("inner", ["", "an4"])
def test_an4_makes_a_development_set_of_speakers(tmp_path: Path, inner: str) -> None:
    listing = an4.read(small_an4(tmp_path) / inner)
    assert (listing.corpus, listing.language) == ("an4", "en")
    assert counts(listing) == {"train": 8, "dev": 16, "test": 2}
    speakers = {split: {one.speaker for one in rows} for split, rows in listing.splits.items()}
    assert speakers["test"] == {"ftest"}
    assert not speakers["train"] & speakers["dev"]
    assert sorted(name[0] for name in speakers["dev"]) == ["f"] * 3 + ["m"] * 5
    assert {one.id: one.text for one in listing.splits["test"]} == {
        "an0-ftest-b": "GO",
        "an1-ftest-b": "ENTER SIX",
    }
    one = listing.splits["test"][0]
    assert one.audio == tmp_path / "an4/wav/an4test_clstk/ftest/an0-ftest-b.sph"
    assert read_audio(one.audio).size == 1600
    assert listing.notes[0].startswith("2 of 2 ")
    other = an4.read(tmp_path, seed=2).splits["dev"]
    assert {one.speaker for one in other} != speakers["dev"]


@pytest.mark.usefixtures("small_sizes")
def test_an4_says_what_is_wrong(tmp_path: Path) -> None:
    with refused(ManifestError, f"{tmp_path}: ", "etc"):
        an4.read(tmp_path)
    small_an4(tmp_path)
    (tmp_path / "an4/wav/an4_clstk/m0/an1-m0-b.sph").unlink()
    with refused(ManifestError, tmp_path / "an4", 23, 24):
        an4.read(tmp_path)
    listing = an4.read(tmp_path, allow_incomplete=True)
    assert listing.problems == ["an1-m0-b: no recording"]
    transcripts = tmp_path / "an4/etc/an4_train.transcription"
    lines(transcripts, "<s> GO </s> (an0-f0-b)", "<s> ENTER SIX </s>")
    with refused(ManifestError, f"{transcripts}:2: "):
        an4.read(tmp_path)
    small_an4(tmp_path / "few", women=1, men=2)
    with refused(ManifestError, "1 women", "2 men"):
        an4.read(tmp_path / "few", allow_incomplete=True)


def test_an4_without_headers_is_refused(tmp_path: Path) -> None:
    for path in small_an4(tmp_path).rglob("*.sph"):
        path.rename(path.with_suffix(".raw"))
    with refused(ManifestError, tmp_path / "an4", ".raw", "an4_sphere.tar.gz"):
        an4.read(tmp_path)


VERSIONS = {
    "early": "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent",
    "late": "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tlocale",
}


def common_voice(folder: Path, header: str = VERSIONS["late"]) -> Path:
    """Two clips a split; a sentence has a quote without a partner."""
    for split in ("train", "dev", "test"):
        rows = [header]
        for number in range(2):
            name = f"common_voice_{folder.name}_{split}{number}.mp3"
            recording(folder / "clips" / name)
            cells = {"client_id": f"{split}-{number}", "path": name, "sentence": '"Hello, world.'}
            rows.append("\t".join(cells.get(column, "") for column in header.split("\t")))
        lines(folder / f"{split}.tsv", *rows)
    return folder


@pytest.mark.parametrize("header", VERSIONS.values(), ids=VERSIONS)
def test_common_voice_of_any_version(tmp_path: Path, header: str) -> None:
    folder = common_voice(tmp_path / "cv-corpus-17.0-2024-03-15/en", header)
    for source in (tmp_path, folder.parent, folder):
        listing = commonvoice.read(source)
        assert counts(listing) == {"train": 2, "dev": 2, "test": 2}
        assert listing.language == "en"
    one = listing.splits["dev"][1]
    assert (one.id, one.speaker) == ("common_voice_en_dev1", "dev-1")
    assert one.text == '"Hello, world.'
    assert one.audio == folder / "clips/common_voice_en_dev1.mp3"


def test_common_voice_languages(tmp_path: Path) -> None:
    for language in ("en", "zh-CN", "de"):
        common_voice(tmp_path / language)
    assert commonvoice.read(tmp_path, language="zh-CN").language == "zh-CN"
    assert commonvoice.read(tmp_path, language="de").language == "de"
    assert commonvoice.read(tmp_path, language="en").notes == ["Common Voice, en"]
    with refused(ManifestError, "de, en, zh-CN"):
        commonvoice.read(tmp_path)
    with refused(ManifestError, "'fr'"):
        commonvoice.read(tmp_path, language="fr")
    with refused(ManifestError, f"{tmp_path / 'nowhere'}: ", "Common Voice"):
        commonvoice.read(tmp_path / "nowhere")


def test_common_voice_names_what_is_unusable(tmp_path: Path) -> None:
    folder = common_voice(tmp_path / "en")
    (folder / "clips/common_voice_en_train0.mp3").unlink()
    header = "client_id\tpath\tsentence"
    lines(folder / "dev.tsv", header, "a\tcommon_voice_en_dev0\t ", "b\tcommon_voice_en_dev1\tYes")
    listing = commonvoice.read(tmp_path)
    assert listing.problems == [
        "common_voice_en_train0: no recording",
        "common_voice_en_dev0: no transcript",
    ]
    assert names(listing, "dev") == ["common_voice_en_dev1"]
    lines(folder / "dev.tsv", "client_id\tpath")
    with refused(ManifestError, "dev.tsv: ", "sentence"):
        commonvoice.read(tmp_path)
    (folder / "test.tsv").unlink()
    lines(folder / "dev.tsv", header)
    with refused(ManifestError, "test.tsv: "):
        commonvoice.read(tmp_path)
