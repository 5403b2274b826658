"""`keyframe export --for sherpa-onnx`: the real sherpa-onnx hears the tokens of the inter-CTC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fixtures.command_line import keyframe, lacking
from fixtures.errors import names, refused
from fixtures.random_model import RATE, noise, random_model, save_random_model
from keyframe_asr.audio.features import Fbank
from keyframe_asr.audio.level import speech_level
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.config.model import FeaturesConfig
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.data.manifest import audio_path, load_manifest
from keyframe_asr.decoding.greedy import greedy_ctc
from keyframe_asr.errors import ModelError
from keyframe_asr.export import sherpa
from keyframe_asr.export.sherpa import export_for_sherpa, heard_by_both, sherpa_onnx
from keyframe_asr.export.sherpa_graph import FbankGraph, _speech_level
from keyframe_asr.io.model_folder import find_model, load_model_folder, save_model_folder
from keyframe_asr.timing import encoder_frame_seconds

SPOKEN = {"demo": "mandarin", "an4-small": "english"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("model") / "random")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "random"
    export_for_sherpa(model, folder)
    return folder


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Manifests of made speech by model."""
    folder = tmp_path_factory.mktemp("speech")
    for name, language in SPOKEN.items():
        corpus = SyntheticCorpus(language, train=1, dev=1, test=24, seed=5)
        make_corpus(folder / name, corpus)
    return {name: folder / name / "test.jsonl.gz" for name in SPOKEN}


def samples_of(manifest: Path) -> Iterator[Samples]:
    for cut in load_manifest(manifest):
        yield read_audio(audio_path(cut))


@pytest.fixture(scope="module", params=SPOKEN)
def shipped(
    request: pytest.FixtureRequest,
    speech: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path]:
    """A shipped model and its verified export."""
    name, out = request.param, tmp_path_factory.mktemp("shipped") / request.param
    done = keyframe("export", name, speech[name], "--for", "sherpa-onnx", "--out", out, "--verify")
    assert done.exit_code == 0, done
    return name, out


@pytest.mark.slow
def test_shipped_models_hear_the_same_there(
    shipped: tuple[str, Path], speech: dict[str, Path]
) -> None:
    name, out = shipped
    assert "Verified." in (out / "README.md").read_text(encoding="utf-8")
    stored = load_model_folder(find_model(name))
    pairs = list(heard_by_both(stored, out, samples_of(speech[name])))
    assert len(pairs) == 24
    assert sum(len(ours) for ours, _ in pairs) > 60
    assert [ours for ours, _ in pairs] == [theirs for _, theirs in pairs]


@pytest.mark.slow
def test_eight_bits_change_few_tokens(
    shipped: tuple[str, Path], speech: dict[str, Path], tmp_path: Path
) -> None:
    name, whole = shipped
    arguments = ("export", name, speech[name], "--for", "sherpa-onnx", "--int8", "--verify")
    done = keyframe(*arguments, "--out", tmp_path / name)
    assert done.exit_code == 0, done
    sizes = [(folder / "model.onnx").stat().st_size for folder in (tmp_path / name, whole)]
    assert sizes[0] < 0.6 * sizes[1]


def test_any_length_and_gain(model: Path, exported: Path) -> None:
    recordings = [
        gain * noise(seconds, seed) + offset
        for seed, seconds in enumerate((0.2, 0.31, 1.0, 3.7))
        for gain, offset in ((1.0, 0.0), (1e-3, 0.0), (0.3, 0.05))
    ]
    recordings += [np.zeros(RATE, dtype=np.float32), np.concatenate(recordings)]
    pairs = list(heard_by_both(load_model_folder(model), exported, recordings))
    assert max(len(ours) for ours, _ in pairs) > 10
    assert [ours for ours, _ in pairs] == [theirs for _, theirs in pairs]


def test_times_are_those_of_the_frames(model: Path, exported: Path) -> None:
    stored, samples = load_model_folder(model), noise(2.0)
    features = torch.from_numpy(Fbank(stored.config.features)(samples))[None]
    with torch.inference_mode():
        _, lengths, log_probs = stored.network.lower(features, torch.tensor([features.size(1)]))
    labels = log_probs[0].argmax(dim=-1).tolist()
    (found,) = greedy_ctc(log_probs.numpy(), lengths.numpy())
    starts = [
        frame
        for frame, label in enumerate(labels)
        if label in found.tokens and (frame == 0 or labels[frame - 1] != label)
    ]
    assert starts
    recognizer = sherpa_onnx().OfflineRecognizer.from_omnilingual_asr_ctc(
        model=str(exported / "model.onnx"), tokens=str(exported / "tokens.txt")
    )
    stream = recognizer.create_stream()
    stream.accept_waveform(RATE, samples)
    recognizer.decode_stream(stream)
    seconds = encoder_frame_seconds(stored.config.model.subsampling.factor)
    np.testing.assert_allclose(stream.result.timestamps, np.array(starts) * seconds, atol=1e-5)


@pytest.mark.parametrize("size", [400, 479, 480, 481, 7000])
def test_fbank_in_the_graph_is_that_of_the_front_end(size: int) -> None:
    samples = noise(1.0)[:size]
    expected = Fbank(FeaturesConfig(level=None))(samples)
    found = FbankGraph(80)(torch.from_numpy(samples)[None] * 32_768)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-2)


@pytest.mark.parametrize("size", [2640, 2799, 2800, 30_001])
def test_level_in_the_graph_is_that_of_the_front_end(size: int) -> None:
    samples = 20 * noise(2.0, seed=3)[:size]
    found = _speech_level(torch.from_numpy(samples)[None])
    assert float(found) == pytest.approx(speech_level(samples), abs=1e-3)


def test_the_same_model_gives_the_same_bytes(model: Path, exported: Path, tmp_path: Path) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    export_for_sherpa(model, tmp_path / "random")
    assert content(tmp_path / "random") == content(exported)
    assert set(content(exported)) == {"model.onnx", "tokens.txt", "README.md"}
    for place in ("one", "other"):
        export_for_sherpa(model, tmp_path / place / "random", integers=True)
    assert content(tmp_path / "one" / "random") == content(tmp_path / "other" / "random")
    assert content(tmp_path / "one" / "random")["model.onnx"] != content(exported)["model.onnx"]


def test_models_that_cannot_run_there_are_refused(tmp_path: Path) -> None:
    with refused(ModelError, find_model("an4"), "pretrained", "--for"):
        export_for_sherpa(find_model("an4"), tmp_path / "out")
    stored = random_model()
    quiet = stored.config.features.model_copy(update={"level": None})
    config = stored.config.model_copy(update={"features": quiet})
    save_model_folder(tmp_path / "quiet", stored.network, stored.tokenizer, config, "# quiet\n")
    with refused(ModelError, tmp_path / "quiet", "features.level", "--for"):
        export_for_sherpa(tmp_path / "quiet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_must_be_given(model: Path) -> None:
    assert keyframe("export", model, "--for", "sherpa-onnx").exit_code == 2


def test_what_is_there_is_never_overwritten(model: Path, exported: Path) -> None:
    before = (exported / "model.onnx").read_bytes()
    done = keyframe("export", model, "--for", "sherpa-onnx", "--out", exported)
    assert done.exit_code == 1 and str(exported) in done.error
    assert (exported / "model.onnx").read_bytes() == before


def test_the_comparison_says_what_to_install(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking("sherpa_onnx", monkeypatch)
    arguments = ("export", model, "--for", "sherpa-onnx", "--out", tmp_path / "out")
    done = keyframe(*arguments, "--verify")
    assert done.exit_code == 1 and "keyframe-asr[sherpa]" in done.error
    assert not (tmp_path / "out").exists()
    assert keyframe(*arguments).exit_code == 0


def test_other_tokens_are_told(
    model: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph is replaced by that of other weights."""
    other = save_random_model(tmp_path / "other", seed=12)
    pairs = heard_by_both(load_model_folder(other), exported, [noise(2.0)])
    assert [ours != theirs for ours, theirs in pairs] == [True]
    monkeypatch.setattr(sherpa, "heard_by_both", lambda *_: iter([(["A"] * 60, ["A"] * 59)]))
    out = tmp_path / "out"
    done = keyframe("export", model, "--for", "sherpa-onnx", "--out", out, "--verify")
    assert done.exit_code == 1 and names(done.stderr, 60) and str(out) in done.stderr


def test_recordings_that_cannot_be_read_are_told(model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", noise(1.0), RATE)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    (tmp_path / "table.tsv").write_text("path\ttext\ngood.wav\tA\nbad.wav\tB\n", encoding="utf-8")
    arguments = ("export", model, tmp_path / "table.tsv", "--for", "sherpa-onnx", "--verify")
    done = keyframe(*arguments, "--out", tmp_path / "out")
    assert done.exit_code == 1 and "bad.wav" in done.stderr
