"""Soft targets of a pretrained decoder, and the texts that it learns to write."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet, MonoCut
from lhotse.cut import Cut
from lhotse.utils import fastcopy
from safetensors.torch import save_file

from fixtures.errors import refused
from fixtures.tiny_pretrained import write_whole_whisper
from keyframe_asr.data.augment import at_speed
from keyframe_asr.data.decoder_targets import IGNORED, DecoderTargets, text_begins
from keyframe_asr.data.manifest import in_language, keep_written, load_manifest, written_text
from keyframe_asr.data.soft_targets import SoftTargets
from keyframe_asr.errors import ManifestError
from keyframe_asr.text.decoder_tokenizer import DecoderTokenizer

TEXTS = {"a": "Abc.", "b": "ABC", "c": "", "d": "播放ABC"}


@pytest.fixture
def cuts(tmp_path: Path) -> dict[str, Cut]:
    soundfile.write(tmp_path / "x.wav", np.zeros(1600), 16000)
    rows = "".join(f"{name}\tx.wav\t{text}\n" for name, text in TEXTS.items())
    (tmp_path / "m.tsv").write_text("utt_id\tpath\ttext\n" + rows)
    return {cut.id: cut for cut in load_manifest(tmp_path / "m.tsv")}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> DecoderTokenizer:
    folder = write_whole_whisper(tmp_path_factory.mktemp("whole"))
    return DecoderTokenizer((folder / "tokenizer.json").read_bytes(), 300)


def test_the_written_text_outlives_normalisation(cuts: dict[str, Cut]) -> None:
    kept, plain = (
        next(iter(CutSet.from_cuts([cut]).transform_text(str.upper)))
        for cut in (keep_written(cuts["a"]), cuts["a"])
    )
    assert (kept.supervisions[0].text, written_text(kept)) == ("ABC.", "Abc.")
    assert written_text(plain) == "ABC."
    assert written_text(keep_written(cuts["c"])) == ""


def test_capitals_alone_say_nothing_of_case(
    cuts: dict[str, Cut], tokenizer: DecoderTokenizer
) -> None:
    targets = DecoderTargets(tokenizer, "en", 40)
    written = {
        name: [token for token in targets(cut)[1].tolist() if token != IGNORED][:-1]
        for name, cut in cuts.items()
    }
    assert written["a"] == tokenizer.encode("Abc.")
    assert written["b"] == tokenizer.encode("abc")
    assert written["c"] == []
    assert written["d"] == tokenizer.encode("播放ABC")  # Han characters have no case


def test_the_language_is_a_target_where_the_cut_names_it(
    cuts: dict[str, Cut], tokenizer: DecoderTokenizer
) -> None:
    targets = DecoderTargets(tokenizer, "en", 40)
    named = DecoderTargets(tokenizer, "en", 40, always=True)
    chinese = in_language(cast(MonoCut, cuts["a"]), "zh")
    other = in_language(cast(MonoCut, cuts["a"]), "Chinese")
    first = [int(one[1, 0]) for one in (targets(chinese), targets(other), named(chinese))]
    assert first == [tokenizer.language_token("zh"), IGNORED, IGNORED]
    assert text_begins(targets.batch([chinese, other])[:, 1]) == len(tokenizer.prompt("zh")) - 1


def test_steps_after_the_prompt_get_their_distribution(
    cuts: dict[str, Cut], tmp_path: Path
) -> None:
    tokens, probabilities = torch.tensor([[7, 8], [9, 3]]), torch.tensor([[0.5, 0.25], [0.0, 0.0]])
    file = tmp_path / "soft.safetensors"
    save_file({"a.tokens": tokens.int(), "a.probabilities": probabilities.half()}, file)
    soft = SoftTargets([str(file)], 300)
    targets = torch.tensor([[IGNORED, 7, 256, IGNORED], [IGNORED, 5, 6, 256]])
    found, masses = soft.batch([cuts["a"], cuts["b"]], targets, IGNORED)
    assert found.shape == masses.shape == (2, 4, 2)
    assert found[0].tolist() == [[0, 0], [7, 8], [9, 3], [0, 0]]
    assert masses[0, 1].tolist() == [0.5, 0.25]
    assert not masses[1].any()
    twin = fastcopy(cuts["b"], supervisions=[fastcopy(cuts["b"].supervisions[0], id="b_sp2")])
    save_file({"b_sp2.tokens": tokens.int(), "b_sp2.probabilities": probabilities.half()}, file)
    exact, _ = SoftTargets([str(file)], 300).batch([twin], targets[:1], IGNORED)
    assert exact.tolist() == found[:1].tolist()
    faster = at_speed(cuts["a"], 1.1)
    assert faster.supervisions[0].id != "a"
    again, _ = soft.batch([faster], targets[:1], IGNORED)
    assert again.tolist() == found[:1].tolist()
    with refused(ManifestError, "'a'", 2, 3):
        soft.batch([cuts["a"]], targets[1:], IGNORED)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "soft.safetensors").write_bytes(b"nothing")
    for file in (tmp_path / "soft.safetensors", tmp_path / "none.safetensors"):
        with refused(ManifestError, str(file)):
            SoftTargets([str(file)], 300)


def test_a_file_for_other_tokens_is_named(tmp_path: Path) -> None:
    file = tmp_path / "soft.safetensors"
    tokens = torch.tensor([[7, 300]]).int()
    save_file({"a.tokens": tokens, "a.probabilities": torch.ones(1, 2).half()}, file)
    SoftTargets([str(file)], 301)
    with refused(ManifestError, str(file), 300):
        SoftTargets([str(file)], 300)
