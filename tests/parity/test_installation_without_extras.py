"""What `pip install keyframe-asr` gives: recognition without torch, the same as with it."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
import soundfile

from fixtures.command_line import ERROR, keyframe
from fixtures.installation import Installation, installation
from fixtures.random_model import save_random_model
from keyframe_asr.cli.doctor import REQUIRED
from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser
from keyframe_asr.formats import FORMATS
from keyframe_asr.inference.recognizer import load
from keyframe_asr.packages import EXTRAS
from keyframe_asr.timing import SAMPLE_RATE

ABSENT = (
    "torch",
    "transformers",
    "lhotse",
    "scipy",
    "accelerate",
    "tensorboard",
    "onnx",
    "silero_vad",
    "matplotlib",
    "sympy",
)

pytestmark = pytest.mark.slow

WITHOUT_TORCH = ["exported", "demo", "an4-small", "an4", "english-mandarin"]
"""Models that are recognised without torch: names of shipped ones, or `exported`."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return installation(tmp_path_factory.mktemp("installation"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "demo"
    done = keyframe("export", "demo", "--out", folder)
    assert done.exit_code == 0, done
    return folder


@pytest.fixture(scope="module", params=WITHOUT_TORCH)
def model(request: pytest.FixtureRequest, exported: Path) -> str:
    return str(exported) if request.param == "exported" else str(request.param)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Speech in which every model hears some text."""
    folder, synthesiser = tmp_path_factory.mktemp("recordings"), SpeechSynthesiser()
    for number, words in enumerate(("one two three", "four five six seven", "one two three four")):
        samples, _ = synthesiser.say(words, "en-us+f2")
        soundfile.write(folder / f"{number}.wav", samples, SAMPLE_RATE)
    return sorted(folder.glob("*.wav"))


def said(model: str, recording: Path) -> str:
    """The text that the model hears."""
    text = load(model, "cpu").transcribe(recording).text
    assert text
    return text


def test_what_only_extras_bring_is_not_there(installed: Installation) -> None:
    listed = ", ".join(map(repr, ABSENT))
    done = installed.run(
        f"import importlib.util; print(*filter(importlib.util.find_spec, [{listed}]))"
    )
    assert (done.exit_code, done.stdout) == (0, "\n"), done


def test_help_and_version(installed: Installation) -> None:
    done = installed.keyframe("--help")
    assert done.exit_code == 0 and "transcribe" in done.stdout, done
    assert installed.keyframe("--version").stdout == keyframe("--version").stdout


def test_doctor_tells_which_extras_are_missing(installed: Installation) -> None:
    done = installed.keyframe("doctor")
    assert done.exit_code == 0, done
    for name in REQUIRED:
        assert f"{name} {metadata.version(name)}" in done.output
    lines = {line[6:].split("  ")[0]: line for line in done.stdout.splitlines()}
    assert set(EXTRAS) - {"hub"} == {
        extra for extra in EXTRAS if f"pip install 'keyframe-asr[{extra}]'" in done.output
    }
    assert all(line.startswith("ok") for line in lines.values())


@pytest.mark.parametrize("output", FORMATS)
def test_transcripts_are_the_same_in_every_format(
    output: str, exported: Path, installed: Installation, recordings: list[Path]
) -> None:
    words = ["transcribe", exported, recordings[1], "--format", output, "--threads", 1]
    done, expected = installed.keyframe(*words), keyframe(*words)
    assert (done.exit_code, done.stderr) == (0, ""), done
    assert done.stdout == expected.stdout != ""


def test_transcripts_of_several_processes_are_the_same(
    model: str, installed: Installation, recordings: list[Path], tmp_path: Path
) -> None:
    found = []
    for name, run in (("without", installed.keyframe), ("with", keyframe)):
        out = ["--format", "json", "--out", tmp_path / name]
        done = run("transcribe", model, *recordings, "--workers", 2, *out)
        assert done.exit_code == 0, done
        written = sorted((tmp_path / name).glob("*.json"))
        found.append([path.read_text(encoding="utf-8") for path in written])
    assert found[0] == found[1] and len(found[0]) == len(recordings)


def test_alignments_are_the_same(
    model: str, installed: Installation, recordings: list[Path]
) -> None:
    words = ["align", model, recordings[0], said(model, recordings[0])]
    done, expected = (
        run(*words, "--format", "vtt", "--threads", 1) for run in (installed.keyframe, keyframe)
    )
    assert done.exit_code == 0, done
    assert done.stdout == expected.stdout != ""


def test_a_language_model_is_built_and_used(
    exported: Path, installed: Installation, recordings: list[Path], tmp_path: Path
) -> None:
    sentences, built = tmp_path / "text.txt", tmp_path / "text.ngram"
    texts = [said(str(exported), one) for one in recordings]
    sentences.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    made = installed.keyframe("language-model", sentences, "--model", exported, "--out", built)
    assert made.exit_code == 0, made
    search = ["--decode", "ctc", "--beam", 4, "--language-model", built]
    words = ["transcribe", exported, recordings[0], *search]
    done = installed.keyframe(*words)
    assert done.exit_code == 0, done
    assert done.stdout == keyframe(*words).stdout != ""


@pytest.mark.parametrize("name", ["exported", "an4-small"])
def test_models_are_copied_and_sent(
    name: str, exported: Path, installed: Installation, tmp_path: Path
) -> None:
    model = exported if name == "exported" else name
    done = installed.keyframe("copy", model, "--out", tmp_path / "copy")
    assert done.exit_code == 0, done
    sent = installed.keyframe("push", model, "owner/name", "--dry-run")
    assert sent.exit_code == 0 and "tokenizer" in sent.stdout, sent


def test_what_needs_an_extra_says_so_in_one_line(
    exported: Path,
    installed: Installation,
    recordings: list[Path],
    repository: Path,
    tmp_path: Path,
) -> None:
    weights = save_random_model(tmp_path / "weights")
    table = recordings[0].with_name("table.tsv")
    table.write_text(f"path\ttext\n{recordings[0].name}\tA\n")
    commands: dict[str, list[tuple[object, ...]]] = {
        "train": [
            ("train", repository / "recipes" / "an4_small.yaml"),
            ("fine-tune", exported, table, "--out", tmp_path / "tuned"),
            ("evaluate", exported, table),
            ("check-data", table),
            ("export", weights, "--out", tmp_path / "exported"),
            ("transcribe", weights, recordings[0]),
            ("transcribe", weights, *recordings, "--workers", 2),
            ("transcribe", "demo", recordings[0], "--backend", "torch"),
            ("transcribe", "demo", recordings[0], "--device", "cuda"),
        ],
        "plot": [("inspect", exported, recordings[0])],
        "cluster": [("transcribe", exported, table, "--engine", "ray", "--out", tmp_path / "out")],
        "vad": [("transcribe", exported, recordings[0], "--vad", "silero")],
    }
    for extra, several in commands.items():
        for words in several:
            said = installed.keyframe(*words).error
            assert f"pip install 'keyframe-asr[{extra}]'" in said, (words, said)


@pytest.mark.parametrize(
    "statement",
    [
        "keyframe_asr.train",
        "keyframe_asr.select_keyframes",
        "keyframe_asr.load(sys.argv[1])",
    ],
)
def test_python_raises_an_error_that_names_the_extra(
    statement: str, installed: Installation, tmp_path: Path
) -> None:
    weights = save_random_model(tmp_path / "weights")
    done = installed.run(f"import keyframe_asr; {statement}", weights)
    assert done.exit_code == 1 and done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("keyframe_asr.errors.PackageError: "), done
    assert "pip install 'keyframe-asr[train]'" in last
    assert ERROR not in done.stderr
