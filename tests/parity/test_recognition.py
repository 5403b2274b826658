"""Every way to recognise gives the same text: memory or folder, one or many, training or not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.nn.utils.rnn import pad_sequence

import keyframe_asr
from fixtures.random_model import RATE, noise, random_model, save_random_model
from keyframe_asr.audio.features import Fbank
from keyframe_asr.config.recipe import LossConfig, StageConfig
from keyframe_asr.data.dataset import Batch
from keyframe_asr.evaluation.scoring import Scoring
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.validation import validate

SECONDS = (1.0, 0.6, 2.3, 1.7, 0.9)
RECORDINGS = [noise(seconds, seed) for seed, seconds in enumerate(SECONDS, start=30)]


@pytest.mark.parametrize("keyframes", [True, False])
def test_a_stored_model_gives_the_text_of_the_network_in_memory(
    keyframes: bool, tmp_path: Path
) -> None:
    """Float16 rounds weights by 0.05 %: on these recordings no decision is as close as that."""
    memory = Recognizer(random_model(keyframes), "cpu")
    stored = keyframe_asr.load(save_random_model(tmp_path / "model", keyframes), "cpu")
    assert stored.modes == memory.modes
    for mode in memory.modes:
        expected = memory.transcribe_batch(RECORDINGS, mode)
        assert all(one.text for one in expected)
        found = stored.transcribe_batch(RECORDINGS, mode)
        assert [one.text for one in found] == [one.text for one in expected]


def test_evaluate_and_transcribe_agree(tmp_path: Path) -> None:
    """With each text of `transcribe` as the reference, `evaluate` finds no error."""
    recognizer = keyframe_asr.load(save_random_model(tmp_path / "model"), "cpu")
    for mode in recognizer.modes:
        rows = ["utt_id\tspeaker\tduration_s\tpath\ttext\tsplit"]
        for place, samples in enumerate(RECORDINGS):
            path = tmp_path / f"{place}.wav"
            soundfile.write(path, samples, RATE)
            text = recognizer.transcribe(path, mode).text
            rows.append(f"{place}\tone\t{SECONDS[place]}\t{path.name}\t{text}\ttest")
        table = tmp_path / "table.tsv"
        table.write_text("\n".join(rows) + "\n")
        measured = Scoring(recognizer, recognizer.modes).run(str(table))["decode"]
        assert measured[mode]["cer"] == measured[mode]["wer"] == 0.0
        assert any(row["cer"] > 0 for other, row in measured.items() if other != mode)


def test_a_file_and_its_samples_agree(tmp_path: Path) -> None:
    recognizer = Recognizer(random_model(), "cpu")
    loud = 30 * RECORDINGS[2]
    soundfile.write(tmp_path / "loud.wav", loud, RATE, subtype="FLOAT")
    assert np.abs(loud).max() > 1
    assert recognizer.transcribe(tmp_path / "loud.wav") == recognizer.transcribe(loud)


@pytest.mark.parametrize("keyframes", [True, False])
def test_validation_while_training_agrees_with_recognition(keyframes: bool) -> None:
    """With what was recognised as targets, the dev error of training is 0."""
    model = random_model(keyframes)
    recognizer = Recognizer(model, "cpu")
    head, inter = recognizer.modes[0], "ctc"
    stage = StageConfig(
        name="any",
        epochs=1,
        keyframes=keyframes,
        fusion=keyframes,
        losses=LossConfig(head_loss="axe" if keyframes else "ctc"),
    )
    objective = StageObjective(model.network, stage).eval()
    errors = {}
    for mode in dict.fromkeys((head, inter)):
        texts = [one.text for one in recognizer.transcribe_batch(RECORDINGS, mode)]
        batch = targets(model.tokenizer.encode(text) for text in texts)
        errors[mode] = validate(objective, [batch], stage.name)
    assert errors[head].error == 0.0
    if keyframes:
        assert errors[inter].inter_error == 0.0
        assert errors[head].inter_error > 0.0
    encoded = recognizer.encode(RECORDINGS)
    if keyframes:
        dropped = 1 - sum(encoded.keyframes) / sum(encoded.frames)
        assert errors[head].frame_reduction == pytest.approx(dropped)


def targets(texts: Iterable[list[int]]) -> Batch:
    """The recordings as a batch of the dev set with these targets."""
    tokens = [torch.tensor(one) for one in texts]
    fbank = Fbank(random_model().config.features)
    features = [torch.from_numpy(fbank(samples)) for samples in RECORDINGS]
    return Batch(
        features=pad_sequence(features, batch_first=True),
        feature_lengths=torch.tensor([len(one) for one in features]),
        tokens=pad_sequence(tokens, batch_first=True),
        token_lengths=torch.tensor([len(one) for one in tokens]),
        ids=tuple(str(place) for place in range(len(tokens))),
        audio_seconds=sum(SECONDS),
    )
