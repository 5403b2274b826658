"""The corpora made here: sound, times and voices, and what happens twice or half."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
import soundfile

from fixtures.command_line import keyframe
from fixtures.errors import refused
from keyframe_asr.audio.reading import read_audio
from keyframe_asr.config.text_form import TEXT_FORMS, default_form
from keyframe_asr.data.corpora.summary import read_summary
from keyframe_asr.data.corpora.synthetic import grammars
from keyframe_asr.data.corpora.synthetic import sentences as said_here
from keyframe_asr.data.corpora.synthetic import voices as synthetic
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesisError
from keyframe_asr.data.corpora.synthetic.sentences import read_sentences
from keyframe_asr.data.manifest import audio_path, load_manifest, speaker, text
from keyframe_asr.errors import ManifestError

SMALL = {"train": 30, "dev": 6, "test": 12}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.flac"))
    }


LANGUAGES = ("mandarin", "english")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for language in LANGUAGES:
        make_corpus(folder / language, SyntheticCorpus(language, **SMALL, seed=3))
    return folder


@pytest.fixture(params=LANGUAGES)
def made(request: pytest.FixtureRequest, both: Path) -> Path:
    return both / request.param


def test_made_recordings_fit_their_manifests(made: Path) -> None:
    for split, count in SMALL.items():
        cuts = load_manifest(made / f"{split}.jsonl.gz")
        assert len(cuts) == count
        for cut in cuts:
            samples = read_audio(audio_path(cut))
            assert soundfile.info(audio_path(cut)).subtype == "PCM_16"
            assert len(samples) == cut.recording.num_samples
            assert 0.05 < np.abs(samples).max() < 1
            times = cut.supervisions[0].alignment["word"]
            said = text(cut).split() if "english" in str(made) else list(text(cut))
            assert [time.symbol for time in times] == said
            assert times[0].start >= 0.1
            assert times[-1].end <= cut.duration - 0.1
            assert all(one.end <= two.start + 1e-3 for one, two in pairwise(times))


def test_corpora_of_shipped_models_stay_as_they_were(both: Path) -> None:
    """Another text would also mean other voices and noise: all come from one generator."""
    said = {
        language: [text(cut) for cut in load_manifest(both / language / "train.jsonl.gz")][:4]
        for language in LANGUAGES
    }
    assert said == {
        "mandarin": ["九零三", "七", "音量七", "七一"],
        "english": [
            "THREE EIGHT THREE ONE SIX FOUR SEVEN OH SIX ONE",
            "F V S D W",
            "A V E N U E",
            "K E N N E D Y",
        ],
    }


def test_made_speech_starts_where_the_manifest_says(made: Path) -> None:
    """The first sound comes at the first word's start; a plosive's closure takes up to 50 ms."""
    delays = []
    for cut in load_manifest(made / "train.jsonl.gz"):
        samples = read_audio(audio_path(cut))
        frames = samples[: len(samples) // 80 * 80].reshape(-1, 80)
        level = np.sqrt(np.mean(np.square(frames), axis=1))
        start = cut.supervisions[0].alignment["word"][0].start
        noise = np.median(level[: int(start / 0.005) - 1])
        delays.append(int(np.argmax(level > 1.6 * noise)) * 0.005 - start)
    assert np.abs(np.median(delays)) < 0.05
    assert np.max(np.abs(delays)) < 0.2


def test_test_voices_are_never_heard_in_training(made: Path) -> None:
    voices = {
        split: {speaker(cut) for cut in load_manifest(made / f"{split}.jsonl.gz")}
        for split in SMALL
    }
    assert not voices["train"] & voices["test"]
    assert not voices["train"] & voices["dev"]
    assert not voices["dev"] & voices["test"]
    assert len(voices["test"]) > 3
    everyone = synthetic.TRAIN_VOICES + synthetic.DEV_VOICES + synthetic.TEST_VOICES
    assert len(set(everyone)) == len(everyone)


def test_another_process_makes_the_same_bytes(both: Path, tmp_path: Path) -> None:
    script = (
        "from pathlib import Path\n"
        "from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus\n"
        f"for language in {LANGUAGES}:\n"
        f"    make_corpus(Path(language), SyntheticCorpus(language, **{SMALL}, seed=3))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=tmp_path)
    assert digests(tmp_path) == digests(both)
    assert len(digests(tmp_path)) == len(LANGUAGES) * sum(SMALL.values())


def test_seed_changes_the_corpus_and_size_of_a_split_only_itself(tmp_path: Path) -> None:
    def digests_of(name: str, **changes: int) -> dict[str, str]:
        recipe = {"train": 4, "dev": 3, "test": 3, "seed": 1, **changes}
        make_corpus(tmp_path / name, SyntheticCorpus("mandarin", **recipe))
        return digests(tmp_path / name)

    first, other, longer = digests_of("a"), digests_of("b", seed=2), digests_of("c", train=6)
    assert not set(first.values()) & set(other.values())
    assert first.items() <= longer.items()


def test_an_interrupted_corpus_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = SyntheticCorpus("mandarin", train=4, dev=2, test=2)
    whole = make_corpus(tmp_path / "whole", recipe)
    expected = digests(tmp_path / "whole")
    out = tmp_path / "out"
    make_corpus(out, SyntheticCorpus("mandarin", train=3, dev=1, test=1, seed=9))
    write, written = soundfile.write, []

    def interrupted(*arguments: object, **options: object) -> None:
        written.append(arguments)
        if len(written) == 6:
            raise KeyboardInterrupt
        write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(soundfile, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_corpus(out, recipe, overwrite=True)
    assert read_summary(out) is None
    paths = make_corpus(out, recipe)
    assert {split: path.name for split, path in paths.items()} == {
        split: path.name for split, path in whole.items()
    }
    assert digests(out) == expected
    assert len(load_manifest(paths["train"])) == 4


def test_a_whole_corpus_is_left_alone(tmp_path: Path) -> None:
    recipe = SyntheticCorpus("mandarin", train=2, dev=1, test=1)
    paths = make_corpus(tmp_path, recipe)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert make_corpus(tmp_path, recipe) == paths
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == stamps


def test_sentences_stay_within_their_vocabulary() -> None:
    generator = Random(5)
    english = [said_here.english_sentence(generator)[0] for _ in range(3000)]
    used = {word for sentence in english for word in sentence.split()}
    assert used == said_here.ENGLISH_VOCABULARY
    mandarin = [said_here.mandarin_sentence(generator)[0] for _ in range(1000)]
    known = set(said_here.MANDARIN_DIGITS) | set("".join(said_here.MANDARIN_COMMANDS)) - set("{}")
    assert set("".join(mandarin)) == known
    assert max(map(len, mandarin)) == said_here.LONGEST_MANDARIN_STRING


@pytest.mark.parametrize(
    ("language", "lines", "said"),
    [
        ("english", ["A bird in the hand.", "", "'", "Room 101", "Ω", "What's new?"],
         ["A BIRD IN THE HAND", "WHAT'S NEW"]),
        ("mandarin", ["你好，世界。", "OK吗", "3点", "天气很好"], ["你好世界", "天气很好"]),
    ],
)  # fmt: skip
def test_sentences_of_ones_own_are_said_once(
    tmp_path: Path, language: str, lines: list[str], said: list[str]
) -> None:
    (tmp_path / "text.txt").write_text("\n".join([*lines, *lines]), encoding="utf-8")
    out = tmp_path / "out"
    options = ("--source", tmp_path / "text.txt", "--out", out)
    assert keyframe("prepare", f"synthetic-{language}", *options).exit_code == 0
    assert [text(cut) for cut in load_manifest(out / "train.jsonl.gz")] == said
    for cut in load_manifest(out / "train.jsonl.gz"):
        assert cut.duration > 0.5


def test_each_split_says_its_own_sentences(tmp_path: Path) -> None:
    lines = tuple(f"{one} WORDS" for one in ["ONE", "TWO", "SIX", "TEN"])
    paths = make_corpus(tmp_path, SyntheticCorpus("english", 2, 1, 1, lines=lines))
    found = [text(cut) for split in SMALL for cut in load_manifest(paths[split])]
    assert found == list(lines)


def test_words_that_run_together_have_no_times(tmp_path: Path) -> None:
    lines = ("A BIRD IN THE HAND", "ONE BIRD")
    cuts = load_manifest(
        make_corpus(tmp_path, SyntheticCorpus("english", 2, 0, 0, lines=lines))["train"]
    )
    together, apart = (cut.supervisions[0].alignment for cut in cuts)
    assert not together
    assert [one.symbol for one in apart["word"]] == ["ONE", "BIRD"]


def test_a_text_that_cannot_be_said(tmp_path: Path) -> None:
    english = TEXT_FORMS["english"]
    with refused(ManifestError, f"{tmp_path / 'no.txt'}: "):
        read_sentences(tmp_path / "no.txt", "en", english)
    with refused(ManifestError, 4, 1):
        SyntheticCorpus("english", 2, 1, 1, lines=("ONE",))
    (tmp_path / "digits.txt").write_text("1 2 3\n你好\n' '")
    with refused(ManifestError, f"{tmp_path / 'digits.txt'}: ", "en"):
        read_sentences(tmp_path / "digits.txt", "en", english)


@pytest.mark.parametrize("language", grammars.languages())
def test_a_language_with_a_grammar(language: str, tmp_path: Path) -> None:
    """Splits have their own sentences, in the script of the language, with a time for each word."""
    grammar, generator = grammars.grammar(language), Random(1)
    drawn = {split: {grammar.draw(generator, split) for _ in range(400)} for split in SMALL}
    assert not drawn["train"] & drawn["test"]
    assert not drawn["train"] & drawn["dev"]
    assert not drawn["dev"] & drawn["test"]
    assert len(drawn["train"]) > 300
    assert not any(map(str.isdecimal, "".join(drawn["train"])))
    recipe = SyntheticCorpus(f"{language}-XX", train=2, dev=1, test=1)
    for cut in load_manifest(make_corpus(tmp_path, recipe)["train"]):
        times = cut.supervisions[0].alignment["word"]
        assert [time.symbol for time in times] == text(cut).split()
        assert text(cut) == text(cut).lower()
    assert read_summary(tmp_path).language == f"{language}-XX"


@pytest.mark.parametrize(
    ("language", "lines", "said"),
    [
        ("ja", ["私は本を読みます。\tわたしはほんをよみます", "漢字だけ", "ねこ が いる"],
         ["私は本を読みます", "ねこがいる"]),
        ("th", ["ฉันอ่านหนังสือ", "3"], ["ฉันอ่านหนังสือ"]),
        ("zh+en", ["我 really love 你", "好！"], ["我REALLY LOVE你", "好"]),
        ("de-AT", ["Grüß dich, Jörg!", "Zimmer 7\tZimmer sieben"], ["grüß dich jörg", "zimmer 7"]),
    ],
)  # fmt: skip
def test_sentences_in_any_language(
    language: str, lines: list[str], said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    found = read_sentences(tmp_path / "text.txt", language, default_form(language))
    assert [line.partition("\t")[0] for line in found] == said
    cuts = load_manifest(
        make_corpus(tmp_path / "out", SyntheticCorpus(language, len(said), 0, 0, lines=found))[
            "train"
        ]
    )
    assert [text(cut) for cut in cuts] == said
    assert min(cut.duration for cut in cuts) > 0.5


def test_progress_counts_the_utterances(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    make_corpus(
        tmp_path, SyntheticCorpus("mandarin", 2, 1, 1), progress=lambda *step: seen.append(step)
    )
    assert [step[1:] for step in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_prepared_synthetic_corpus_has_its_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("hej på dig\nvad heter du\n", encoding="utf-8")
    options = ("--source", tmp_path / "text.txt", "--language", "sv", "--vocab-size", 30)
    run = keyframe("prepare", "synthetic", *options, "--out", tmp_path / "out")
    assert run.exit_code == 0
    assert read_summary(tmp_path / "out").tokenizer["vocab_size"] == 30
    assert len(read_summary(tmp_path / "out").notes) == 2
    assert {"cmvn.json", "tokenizer.model"} <= {one.name for one in (tmp_path / "out").iterdir()}


def test_a_tokenizer_that_finds_few_pieces_is_noted(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("en två tre\ntre två en\n", encoding="utf-8")
    for units, notes in (("unigram", 3), ("bpe", 2)):
        options = ("--source", tmp_path / "text.txt", "--language", "sv", "--units", units)
        assert keyframe("prepare", "synthetic", *options, "--out", tmp_path / units).exit_code == 0
        assert len(read_summary(tmp_path / units).notes) == notes


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [((), 2, "--language"), (("--language", "sv"), 2, "--source"),
     (("--language", "german"), 2, "--language"), (("--language", "d3"), 2, "--language")],
)  # fmt: skip
def test_what_a_synthetic_corpus_needs(
    tmp_path: Path, options: tuple[str, ...], code: int, named: str
) -> None:
    run = keyframe("prepare", "synthetic", *options, "--out", tmp_path / "out")
    assert run.exit_code == code
    assert named in run.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tag", "voice"),
    [("de", "de"), ("de-AT", "de"), ("zh-TW", "cmn"), ("zh+en", "cmn"), ("en_US", "en-us"),
     ("pt", "pt"), ("pt-BR", "pt-br"), ("no", "nb")],
)  # fmt: skip
def test_the_voice_of_a_tag(tag: str, voice: str) -> None:
    assert synthetic.voice_of(tag) == voice


def test_languages_without_a_voice_are_told_the_nearest() -> None:
    with refused(SpeechSynthesisError, "'hnd'", "hi"):
        synthetic.voice_of("hnd")
