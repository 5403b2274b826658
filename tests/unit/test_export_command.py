"""`keyframe export`: the folder that it writes, its verification, and what it refuses."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fixtures.command_line import keyframe
from fixtures.random_model import noise, save_random_model
from keyframe_asr.audio.features import front_end
from keyframe_asr.errors import ModelError
from keyframe_asr.export import folder as export_folder
from keyframe_asr.export.folder import weights_digest
from keyframe_asr.export.verification import Labels, Verification
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.recognizer import load
from keyframe_asr.io.exported_folder import load_exported
from keyframe_asr.io.model_folder import load_model_folder
from keyframe_asr.runtime.network import open_network

GRAPHS = ("encoder", "keyframes", "decoder_memory", "decoder")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("model") / "random")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Recordings, with the texts that the model finds in them greedily."""
    folder, recognizer = tmp_path_factory.mktemp("audio"), load(str(model), "cpu")
    lines = ["path\ttext"]
    for seed in range(4):
        path = folder / f"{seed}.wav"
        soundfile.write(path, noise(2.0, seed), 16_000)
        found = recognizer.transcribe(str(path), RecognitionOptions()).text
        lines.append(f"{path.name}\t{found or 'A'}")
    table = folder / "table.tsv"
    table.write_text("\n".join([*lines, ""]))
    return table


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, model: Path, table: Path) -> Path:
    """An export in 8 bits, and in float32 beside it."""
    folder = tmp_path_factory.mktemp("exported")
    done = keyframe("export", model, table, "--out", folder / "float32", "--verify")
    assert done.exit_code == 0, done
    assert "+0.00 points" in done.stdout
    done = keyframe("export", model, "--out", folder / "int8", "--int8", "--verify")
    assert done.exit_code == 0, done
    return folder


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_the_folder_holds_all_that_recognition_needs(exported: Path, kind: str) -> None:
    folder = exported / kind
    there = {path.name for path in folder.iterdir()}
    assert there == {f"{name}.onnx" for name in GRAPHS} | {
        "config.yaml",
        "tokenizer.txt",
        "README.md",
    }
    card = (folder / "README.md").read_text()
    assert "Verified." in card and "SHA-256" in card
    network = open_network(folder, threads=1)
    features = front_end(network.config.features, None)(noise(1.5))
    found = network.encode([features])
    assert found.keyframes.lengths[0] > 0
    assert np.isfinite(found.head_log_probs).all()


WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "lhotse", "scipy", "tensorboard", "accelerate", "onnx"):
    sys.modules[name] = None
from pathlib import Path
from keyframe_asr.inference.batch_recognizer import BatchRecognizer, read_recording
from keyframe_asr.inference.onnx_network import OnnxNetwork
from keyframe_asr.io.exported_folder import load_exported
from keyframe_asr.runtime.network import open_network
folder = Path(sys.argv[1])
recognizer = BatchRecognizer(load_exported(folder), OnnxNetwork(open_network(folder)))
for mode in recognizer.modes:
    found = recognizer.recognise([read_recording(path) for path in sys.argv[2:]], mode)
    print(mode, *(one.text for one in found), sep="\t")
"""


def test_an_export_is_recognised_with_where_there_is_no_torch(
    exported: Path, model: Path, table: Path
) -> None:
    recordings = sorted(table.parent.glob("*.wav"))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, exported / "float32", *recordings],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = {mode: texts for mode, *texts in (one.split("\t") for one in done.stdout.splitlines())}
    recognizer = load(str(model), "cpu")
    assert set(found) == set(recognizer.modes)
    for mode, texts in found.items():
        assert texts == [one.text for one in recognizer.transcribe_batch(recordings, mode)]


def test_eight_bits_are_smaller(exported: Path) -> None:
    sizes = [
        sum((exported / kind / f"{name}.onnx").stat().st_size for name in GRAPHS)
        for kind in ("int8", "float32")
    ]
    assert sizes[0] < sizes[1]


def test_what_is_there_is_never_overwritten(exported: Path, model: Path) -> None:
    before = (exported / "int8" / "encoder.onnx").read_bytes()
    assert str(exported / "int8") in keyframe("export", model, "--out", exported / "int8").error
    assert (exported / "int8" / "encoder.onnx").read_bytes() == before


def test_a_failing_export_leaves_nothing_behind(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(export_folder, "serialised", full)
    done = keyframe("export", model, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert f"{tmp_path / 'out'}: " in done.stderr and os.strerror(errno.ENOSPC) in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "out"
    assert str(inside) in keyframe("export", model, "--out", inside).error
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_manifest_goes_with_verify(model: Path, table: Path, tmp_path: Path) -> None:
    assert "--verify" in keyframe("export", model, table, "--out", tmp_path / "x").usage_error
    missing = tmp_path / "no.tsv"
    done = keyframe("export", model, missing, "--verify", "--out", tmp_path / "x")
    assert str(missing) in done.error
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_missing_is_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise export_folder.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(export_folder.metadata, "version", absent)
    done = keyframe("export", model, "--out", tmp_path / "x")
    assert "pip install 'keyframe-asr[export]'" in done.error


def test_differences_beyond_rounding_are_problems() -> None:
    assert Verification(integers=False).problems() == ["there was nothing to compare"]
    found = Verification(integers=False, frames={"": Labels(100, 100)})
    found.texts.append(("A", "A"))
    found.greedy["head"] = [("A", "A")]
    low = np.full((2, 3), -20.0, dtype=np.float32)
    found.compare("head", low, low - 1)  # improbable in both
    assert found.problems() == [] and found.largest == {"head": 0.0}
    found.compare("head", low + 15, low + 15.1)
    assert len(found.problems()) == 1
    found.texts.append(("A", "B"))
    found.greedy["head"].append(("A", "A"))
    assert len(found.problems()) == 2
    found.compare("decoder", low + 15, low + np.nan)
    found.compare("decoder", low + 15, low + 15)
    assert len(found.problems()) == 3
    found.greedy["inter-CTC of streams"] = [("A", "B")]
    assert len(found.problems()) == 4
    labels = Labels(100, 99, 100, 99)
    integers = Verification(integers=True, frames={"": labels}, heads={"": Labels()})
    integers.texts.append(("A", "B"))
    assert integers.problems() == []
    labels.equal_sure = 90
    assert len(integers.problems()) == 1
    integers.heads[" of streams"] = Labels(100, 95, 100, 90)
    assert len(integers.problems()) == 2
    integers.compare("decoder", low + 15, low + np.nan)
    assert len(integers.problems()) == 3


def test_labels_are_counted() -> None:
    labels, expected = Labels(), np.log(np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]]))
    labels.add(expected[:, ::-1], expected)
    assert labels == Labels(3, 1, 2, 0)
    labels.add(expected, expected)
    assert labels == Labels(6, 4, 4, 2) and labels.share == 0.5
    assert Labels().share == 1.0


def test_weights_without_dimensions_have_a_digest(model: Path) -> None:
    stored = load_model_folder(model)
    stored.network.register_buffer("scale", torch.tensor(2.0))
    first = weights_digest(stored)
    stored.network.register_buffer("scale", torch.tensor(3.0))
    assert first != weights_digest(stored)


def test_a_tokenizer_of_another_model_is_noticed(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(exported / "float32", folder)
    (folder / "tokenizer.txt").write_text("<blank>\n<unk>\n<sos/eos>\nA\n")
    with pytest.raises(ModelError, match="tokens"):
        load_exported(folder)
