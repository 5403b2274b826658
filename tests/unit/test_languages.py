"""Seven languages from the corpus to subtitles: each step of a user, on speech by espeak-ng.

The models are tiny and hardly trained. Their output layers are made bold, so that they write random
text in the letters of their language.
"""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import srt
import tgt
import webvtt

from fixtures.command_line import keyframe
from fixtures.language_trees import LANGUAGES, Language, speech, write_tree
from fixtures.tone_corpus import MODEL
from keyframe_asr.config.text_form import TEXT_FORMS, default_form
from keyframe_asr.data.corpora.summary import CorpusSummary, read_summary
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.evaluation.metrics import split_units
from keyframe_asr.formats.subtitles import COLUMNS, WIDE_COLUMNS, width
from keyframe_asr.io.model_folder import load_model_folder, save_model_folder
from keyframe_asr.text.forms import normalise_text, words_of_form
from keyframe_asr.text.scripts import joins_previous

VOCABULARY = 48

RECIPE = {
    "name": "any",
    "model": MODEL,
    "augment": {"speeds": [1.0], "spec_augment": 0.0},
    "training": {"batch_seconds": 60.0, "threads": 1},
    "stages": [
        {
            "name": "baseline",
            "epochs": 1,
            "losses": {"head_loss": "ctc"},
            "average_best": 1,
        },
        {"name": "keyframes", "epochs": 1, "fusion": True, "keyframes": True,
         "losses": {"head_loss": "axe"}, "average_best": 1},
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A language, its prepared corpus, and a model trained on it."""

    language: Language
    folder: Path

    @property
    def prepared(self) -> Path:
        return self.folder / "prepared"

    @property
    def model(self) -> Path:
        return self.folder / "bold"

    @property
    def summary(self) -> CorpusSummary:
        found = read_summary(self.prepared)
        assert found is not None
        return found

    @property
    def recording(self) -> Path:
        return next(self.folder.joinpath("tree").rglob("test-0.*"))


@pytest.fixture(scope="module", params=LANGUAGES)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    language = LANGUAGES[request.param]
    folder = tmp_path_factory.mktemp("language")
    tree = write_tree(language, folder / "tree")
    options = ["--source", tree, "--out", folder / "prepared", "--language", language.tag]
    if language.tokens != "characters":
        options += ["--vocab-size", VOCABULARY]
    run = keyframe("prepare", language.layout, *options)
    assert run.exit_code == 0, run.output
    recipe = RECIPE | {"data": {"prepared": str(folder / "prepared")}}
    (folder / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    run = keyframe("train", folder / "recipe.yaml", "--out", folder / "run")
    assert run.exit_code == 0, run.output
    _make_bold(folder / "run" / "keyframes" / "model", folder / "bold")
    yield Made(language, folder)


def _make_bold(model: Path, out: Path) -> None:
    """Store a model that writes text, however little it has learned."""
    stored = load_model_folder(model)
    for layer in (stored.network.inter_ctc, stored.network.head):
        layer.weight.data.mul_(20.0)
        layer.bias.data.zero_()
    save_model_folder(out, stored.network, stored.tokenizer, stored.config, "# bold\n")


def test_prepared_texts(made: Made) -> None:
    """The form and the tokens follow from the tag; no letter is lost."""
    language, summary = made.language, made.summary
    assert summary.language == language.tag
    assert summary.text_form == language.form
    assert summary.tokenizer["kind"] == language.tokens
    assert summary.problems == 0
    for split in ("train", "dev", "test"):
        cuts = load_manifest(made.prepared / f"{split}.jsonl.gz")
        assert [text(cut) for cut in cuts] == [one.form for one in language.of(split)]
    tokens = load_model_folder(made.model).tokenizer
    for one in language.of("train"):
        assert tokens.decode(tokens.encode(one.form)) == one.form
    assert keyframe("check-data", made.prepared / "train.jsonl.gz").exit_code == 0


@pytest.mark.parametrize("tag", LANGUAGES)
def test_normal_forms(tag: str) -> None:
    """What is written is normalised once and for all."""
    language = LANGUAGES[tag]
    form = default_form(tag)
    for one in language.sentences:
        assert normalise_text(one.written, form) == one.form
        assert normalise_text(one.form, form) == one.form
        decomposed = unicodedata.normalize("NFD", one.written)
        assert normalise_text(decomposed, form) == one.form


def test_transcripts(made: Made) -> None:
    """Text is in the letters of the language, and words have times in order."""
    run = keyframe("transcribe", made.model, made.recording, "--decode", "axe", "--format", "json")
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    letters = {*"".join(one.form for one in made.language.sentences), " "}
    assert found["text"]
    assert set(found["text"]) <= letters
    assert normalise_text(found["text"], TEXT_FORMS[made.language.form]) == found["text"]
    words = [word for segment in found["segments"] for word in segment["words"]]
    assert [one["text"] for one in words] == words_of_form(found["text"], made.summary.form)
    times = [time for one in words for time in (one["start"], one["end"])]
    assert times == sorted(times)
    assert times[-1] <= found["duration"]


def test_subtitles_and_times(made: Made) -> None:
    """Subtitles, CTM and TextGrid can be read back, and no line is too long or cuts a character."""
    texts = {}
    for kind in ("srt", "vtt", "ctm", "textgrid"):
        options = ("--decode", "axe", "--format", kind, "--out", made.folder / kind)
        run = keyframe("transcribe", made.model, made.recording, *options)
        assert run.exit_code == 0, run.output
        (texts[kind],) = (made.folder / kind).glob(
            f"*.{'TextGrid' if kind == 'textgrid' else kind}"
        )
    cues = list(srt.parse(texts["srt"].read_text(encoding="utf-8")))
    assert cues
    assert [one.content for one in cues] == [one.text for one in webvtt.read(texts["vtt"])]
    for line in "\n".join(one.content for one in cues).split("\n"):
        assert width(line) <= (COLUMNS if width(line) == len(line) else WIDE_COLUMNS + 10)
        assert not joins_previous(line[0], "x")
    words = [line.split()[4] for line in texts["ctm"].read_text(encoding="utf-8").splitlines()]
    tiers = tgt.read_textgrid(texts["textgrid"], include_empty_intervals=False)
    assert [one.text for one in tiers.tiers[0].intervals] == words
    spoken = "".join("".join(one.content.split()) for one in cues)
    assert spoken == "".join(words)


def test_errors_are_counted_in_the_unit_of_the_language(made: Made) -> None:
    out = made.folder / "report.json"
    run = keyframe(
        "evaluate", made.model, made.prepared / "test.jsonl.gz", "--decode", "axe", "--json", out
    )
    assert run.exit_code == 0, run.output
    assert made.language.unit.upper() in run.stdout
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["unit"] == made.summary.form.unit
    assert report["decode"]["axe"]["reference_length"] == len(
        split_units(made.language.of("test")[0].form, made.summary.form)
    )


def test_alignment_with_the_transcript(made: Made) -> None:
    said = made.language.of("train")[0]
    (recording,) = made.folder.joinpath("tree").rglob("train-0.*")
    run = keyframe("align", made.model, recording, said.written, "--format", "json")
    assert run.exit_code == 0, run.output
    (segment,) = json.loads(run.stdout)["segments"]
    words = segment["words"]
    assert [one["text"] for one in words] == words_of_form(said.form, made.summary.form)
    duration = len(speech(said.read or said.written, made.language.tag)) / 16_000
    for one, following in itertools.pairwise(words):
        assert one["start"] <= one["end"] <= following["start"] + 1e-6
    assert words[-1]["end"] <= duration + 0.1


def test_language_model_and_hot_words(made: Made) -> None:
    written = [one.written for one in made.language.of("train")]
    (made.folder / "text.txt").write_text("\n".join(written), encoding="utf-8")
    model = made.folder / "lm.arpa"
    run = keyframe(
        "language-model", made.folder / "text.txt", "--model", made.model, "--out", model
    )
    assert run.exit_code == 0, run.output
    hot = words_of_form(made.language.of("train")[0].form, made.summary.form)[0]
    (made.folder / "hot.txt").write_text(f"{hot}\n", encoding="utf-8")
    options = ("--language-model", model, "--hotwords", made.folder / "hot.txt", "--decode", "ctc")
    run = keyframe("transcribe", made.model, made.recording, *options)
    assert run.exit_code == 0, run.output
