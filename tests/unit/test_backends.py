"""Folders that `keyframe export` wrote are recognised as the models that they come from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import keyframe_asr
from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import RATE, noise, save_random_model
from keyframe_asr.config.calibration import ConfidenceConfig, SpeechCheckConfig
from keyframe_asr.decoding.lm.building import build_language_model
from keyframe_asr.decoding.lm.packed import write_packed
from keyframe_asr.errors import ModelError, OptionError
from keyframe_asr.inference.onnx_network import OnnxNetwork
from keyframe_asr.inference.options import (
    DECODE_MODES,
    GREEDY_MODES,
    RecognitionOptions,
    Segmentation,
)
from keyframe_asr.inference.recognizer import Recognizer, load
from keyframe_asr.inference.torch_network import TorchNetwork, module_of
from keyframe_asr.results import Transcript

HEAVY = ("torch", "transformers", "lhotse", "scipy", "tensorboard", "accelerate", "onnx")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "random"
    done = keyframe("export", model, "--out", folder)
    assert done.exit_code == 0, done
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Recordings with the texts that the model hears, hot words, and a language model."""
    folder, recognizer = tmp_path_factory.mktemp("audio"), load(model, "cpu")
    texts = []
    for seed in range(3):
        path = folder / f"{seed}.wav"
        soundfile.write(path, noise(1.0 + seed, seed), RATE)
        texts.append(recognizer.transcribe(path, "ctc").text)
    assert all(texts)
    (folder / "hot.txt").write_text(f"{texts[0][:2]}\n{texts[1][-2:]}\t4\n")
    form = recognizer.config.text_form
    built = build_language_model(texts, recognizer.tokenizer, form, unit="character", order=3)
    write_packed(built, folder / "words.ngram")
    rows = [f"{seed}.wav\t{text}" for seed, text in enumerate(texts)]
    (folder / "table.tsv").write_text("\n".join(["path\ttext", *rows, ""]))
    return folder / "table.tsv"


def alike(found: Transcript, expected: Transcript) -> bool:
    """True if two transcripts have the same texts and times; asserts that numbers are close."""
    for ours, theirs in zip(found.tokens, expected.tokens, strict=True):
        assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-3)
    for mine, other in zip(found.alternatives, expected.alternatives, strict=True):
        assert mine.score == pytest.approx(other.score, abs=1e-2)
    assert found.frame_reduction == pytest.approx(expected.frame_reduction)

    def told(one: Transcript) -> list[Any]:
        times = [(token.text, token.start, token.end) for token in one.tokens]
        return [one.text, times, len(one.segments), [other.text for other in one.alternatives]]

    return told(found) == told(expected)


def recordings(table: Path) -> list[Path]:
    return sorted(table.parent.glob("*.wav"))


def searches(table: Path) -> list[RecognitionOptions]:
    """Every decode mode with a beam, and what can be added to one."""
    lm: Any = {"language_model": table.parent / "words.ngram", "language_model_weight": 0.5}
    hot: Any = {"hotwords": table.parent / "hot.txt"}
    return [
        RecognitionOptions(),
        *(RecognitionOptions(decode=mode, greedy=True) for mode in GREEDY_MODES),
        *(RecognitionOptions(decode=mode, beam=4, nbest=3) for mode in DECODE_MODES),
        RecognitionOptions(decode="ctc", beam=4, nbest=2, **lm),
        RecognitionOptions(decode="joint", beam=4, **lm, **hot),
        RecognitionOptions(decode="axe", beam=4, **hot),
    ]


def test_every_mode_language_models_hot_words_and_alternatives(
    model: Path, exported: Path, table: Path
) -> None:
    ours, theirs = load(exported), load(model, "cpu")
    assert isinstance(ours.network, OnnxNetwork) and isinstance(theirs.network, TorchNetwork)
    assert ours.modes == theirs.modes
    for one in searches(table):
        pairs = [each.transcribe_batch(recordings(table), one) for each in (ours, theirs)]
        assert all(alike(*pair) for pair in zip(*pairs, strict=True)), one
        assert any(found.text for found in pairs[1]), one


def test_speech_check_and_confidences(model: Path, exported: Path, table: Path) -> None:
    ours, theirs = load(exported), load(model, "cpu")
    path = recordings(table)[2]
    plain = ours.transcribe(path, "ctc")
    for one in (ours, theirs):
        one.confidences = {"ctc": ConfidenceConfig(temperature=2.0)}
    scaled = ours.transcribe(path, "ctc")
    assert alike(scaled, theirs.transcribe(path, "ctc"))
    assert scaled.tokens[0].confidence != pytest.approx(plain.tokens[0].confidence)
    kept = []
    for bias in (-1e6, -0.5, 0.5, 1e6):
        for one in (ours, theirs):
            one.speech_check = SpeechCheckConfig(
                bias=bias, doubt=0.0, agreement=1.0, hesitation=0.0
            )
        kept.append(ours.transcribe(path, "ctc"))
        assert alike(kept[-1], theirs.transcribe(path, "ctc"))
    assert (kept[0].text, kept[-1].text) == ("", plain.text)


def test_long_recordings(model: Path, exported: Path) -> None:
    samples = noise(40.0)
    samples[:: 7 * RATE] = 0.0
    given = RecognitionOptions(decode="ctc", segmentation=Segmentation(longest=12.0))
    ours, theirs = (load(one, "cpu").transcribe(samples, given) for one in (exported, model))
    assert alike(ours, theirs)
    assert len(theirs.segments) > 1


def test_alignment_and_embeddings(model: Path, exported: Path, table: Path) -> None:
    ours, theirs = load(exported), load(model, "cpu")
    path = recordings(table)[1]
    text = theirs.transcribe(path, "ctc").text
    assert alike(ours.align(path, text), theirs.align(path, text))
    mine, other = ours.embed(path), theirs.embed(path)
    assert len(mine.vectors) > 0
    np.testing.assert_allclose(mine.vectors, other.vectors, atol=1e-3)
    np.testing.assert_array_equal(mine.times, other.times)


def test_commands_print_the_same(exported: Path, model: Path, table: Path, tmp_path: Path) -> None:
    path = recordings(table)[0]
    commands: list[tuple[str, list[object]]] = [
        ("transcribe", [*recordings(table), "--decode", "joint", "--nbest", 2]),
        ("transcribe", [path, "--format", "srt"]),
        ("transcribe", [*recordings(table), "--workers", 2, "--out", tmp_path / "texts"]),
        ("align", [path, "ABA", "--format", "srt"]),
        ("align", [table, "--out", tmp_path / "aligned"]),
        ("inspect", [path, "--out", tmp_path / "x.html"]),
    ]
    for verb, given in commands:
        found = []
        for one in (exported, model):
            done = keyframe(verb, one, *given, *(["--overwrite"] if "--workers" in given else []))
            assert done.exit_code == 0, done
            found.append(done.stdout)
            for written in sorted(tmp_path.glob("*/*.t*")):
                found[-1] += written.read_text()
        assert found[0] == found[1] != "", verb


def test_measurements_are_the_same(
    exported: Path, model: Path, table: Path, tmp_path: Path
) -> None:
    def measured(verb: str, *given: object) -> Any:
        done = keyframe(verb, *given, "--json", tmp_path / "report.json")
        assert done.exit_code == 0, done
        return json.loads((tmp_path / "report.json").read_text())

    evaluated = [
        measured("evaluate", one, table, "--threads", 2, "--backend", backend)
        for one, backend in ((exported, "onnx"), (model, "torch"))
    ]
    noises = [
        measured("hallucinations", one, "--seconds", 0.5, "--decode", "ctc")
        for one in (exported, model)
    ]
    times = [
        measured("measure-times", one, table, "--reference", other, "--decode", "ctc")
        for one, other in ((exported, model), (model, exported))
    ]
    assert [one["threads"] for one in evaluated] == [2, 2]
    for ours, theirs in (evaluated, noises, times):
        assert list(ours["decode"]) == list(theirs["decode"])
        for mode, row in theirs["decode"].items():
            same = {name: one for name, one in row.items() if name not in ("rtf", "seconds")}
            assert {name: ours["decode"][mode][name] for name in same} == same


PROGRAM = """
import sys
import keyframe_asr
print(*sorted(sys.modules), file=sys.stderr)
from keyframe_asr.cli.main import main
sys.argv = ["keyframe", *sys.argv[1:]]
try:
    main()
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


def test_an_export_is_transcribed_without_what_only_training_needs(
    exported: Path, model: Path, table: Path, tmp_path: Path
) -> None:
    path = recordings(table)[2]
    text = load(model, "cpu").transcribe(path).text
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "transcribe", exported, path, "--threads", "1"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout == f"{text}\n"
    on_import, at_the_end = (set(line.split()) for line in done.stderr.splitlines())
    assert "numpy" not in on_import and "onnxruntime" in at_the_end
    assert [name for name in HEAVY if name in at_the_end] == []


def test_a_back_end_that_does_not_fit_is_refused(exported: Path, model: Path) -> None:
    with refused(ModelError, exported, "onnx"):
        load(exported, backend="torch")
    with refused(ModelError, model, "keyframe export"):
        load(model, backend="onnx")
    with refused(ModelError, exported, "cuda", "cpu"):
        load(exported, "cuda")
    wrong: Any = "tensorflow"
    with pytest.raises(OptionError, match="tensorflow"):
        load(model, backend=wrong)
    assert load(exported, backend="onnx").modes == load(model, "cpu", backend="torch").modes


def test_commands_refuse_a_back_end_that_does_not_fit(
    exported: Path, model: Path, table: Path
) -> None:
    paths = recordings(table)
    verbs: list[tuple[str, list[object]]] = [
        ("transcribe", [*paths]),
        ("transcribe", [*paths, "--workers", 2]),
        ("align", [paths[0], "A"]),
        ("evaluate", [table]),
    ]
    for name, rest in verbs:
        assert str(exported) in keyframe(name, exported, *rest, "--backend", "torch").error
        assert str(model) in keyframe(name, model, *rest, "--backend", "onnx").error
    compared = ("--compare", "a.json", "b.json", "--backend", "onnx")
    assert "--compare" in keyframe("evaluate", *compared).usage_error


def test_what_needs_torch_refuses_an_export(exported: Path, tmp_path: Path) -> None:
    for verb in ("quantise", "export"):
        assert str(exported) in keyframe(verb, exported, "--out", tmp_path / "out").error
    with refused(ModelError, "export"):
        module_of(load(exported).network)
    assert list(tmp_path.iterdir()) == []


def test_what_needs_no_torch_takes_an_export(exported: Path, table: Path, tmp_path: Path) -> None:
    copied, tuned = tmp_path / "copied", tmp_path / "tuned"
    for done in (
        keyframe("copy", exported, "--standalone", "--out", copied),
        keyframe("tune", exported, table, "--decode", "ctc", "--out", tuned),
    ):
        assert done.exit_code == 0, done
    for folder in (copied, tuned):
        graphs = {path.name: path.read_bytes() for path in folder.glob("*.onnx")}
        assert graphs == {path.name: path.read_bytes() for path in exported.glob("*.onnx")} != {}
    assert load(tuned).default_mode == "ctc"
    sent = keyframe("push", exported, "owner/name", "--dry-run")
    assert all(name in sent.stdout for name in graphs), sent


def test_threads_are_those_that_are_given(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(exported, threads=3).network.threads == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    assert load(exported).network.threads == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert load(exported).network.threads >= 1
    with pytest.raises(OptionError):
        load(exported, threads=0)


def test_an_export_that_lacks_a_graph_is_no_model_folder(exported: Path, tmp_path: Path) -> None:
    for path in exported.iterdir():
        if path.name != "encoder.onnx":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with refused(ModelError, tmp_path, "encoder.onnx"):
        load(tmp_path)


def test_recognizers_are_made_from_what_is_read(exported: Path) -> None:
    from keyframe_asr.io.exported_folder import load_exported

    recognizer = Recognizer(load_exported(exported), threads=1)
    assert recognizer.network.device_name == "cpu" == recognizer.device_name
    assert keyframe_asr.load(exported).config == recognizer.config
