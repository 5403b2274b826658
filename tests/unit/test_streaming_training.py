"""Training of an encoder that streams: random chunks, and a run that learns to stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kaldialign import edit_distance

from fixtures.errors import refused
from fixtures.streaming_network import step_by_step
from fixtures.tone_corpus import (
    MODEL,
    random_texts,
    recipe_data,
    small_corpus,
    stage,
    tones,
    write_corpus,
)
from keyframe_asr.audio.features import Fbank
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.config.streaming import StreamingConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data.augment import Draws
from keyframe_asr.data.chunk_draws import draw_chunks
from keyframe_asr.decoding.greedy import greedy_aligned, greedy_ctc
from keyframe_asr.errors import RecipeError
from keyframe_asr.io.model_folder import StoredModel, load_model_folder
from keyframe_asr.model.chunks import WHOLE
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.model.streaming import StreamingNetwork
from keyframe_asr.streams.state import FeatureOutput
from keyframe_asr.training.run import train

CONFIG = StreamingConfig(chunk=2, largest_chunk=12)


def drawn(names: list[str], draws: Draws, frames: int = 50) -> list[tuple[int, int]]:
    chunks = draw_chunks(names, torch.full((len(names),), frames), CONFIG, draws)
    return list(zip(chunks.size.tolist(), chunks.left.tolist(), strict=True))


def test_chunks_depend_on_names_and_not_on_batches() -> None:
    names = [f"utterance-{number}" for number in range(40)]
    draws = Draws(seed=1, stage=0, epoch=3)
    every = drawn(names, draws)
    assert drawn(names[::-1], draws) == every[::-1]
    assert [drawn([name], draws)[0] for name in names] == every
    for other in (Draws(2, 0, 3), Draws(1, 1, 3), Draws(1, 0, 4)):
        assert drawn(names, other) != every


def test_half_of_the_utterances_are_whole_and_the_others_see_any_past() -> None:
    names = [f"utterance-{number}" for number in range(2000)]
    every = drawn(names, Draws(1, 0, 0))
    divided = [one for one in every if one[0] != WHOLE]
    assert 900 < len(divided) < 1100
    assert {size for size, _ in divided} == set(range(1, 13))
    assert all(0 <= left < -(-50 // size) for size, left in divided)
    assert {left for size, left in divided if size == 12} == set(range(5))
    assert drawn(["one"], Draws(1, 0, 0), frames=0)[0][1] in (0, WHOLE)


def recipe(table: Path, *stages: dict[str, Any], **encoder: Any) -> Recipe:
    data = recipe_data(table, stages or [stage("only", 1)], batch_seconds=8.0)
    data["features"] |= {"level": None}
    described = MODEL["encoder"] | {"streaming": CONFIG.model_dump()} | encoder
    data["model"] = MODEL | {"encoder": described}
    return parse_config(Recipe, data, "tones")


def test_a_recipe_with_a_level_is_refused(tmp_path: Path) -> None:
    described = recipe(small_corpus(tmp_path)).model_dump(mode="json")
    described["features"]["level"] = -25.0
    with refused(RecipeError, "features.level", -25.0, "streaming"):
        parse_config(Recipe, described, "tones")


def test_only_training_divides_utterances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []
    encode = KeyframeNetwork.encode_frames

    def listening(self: KeyframeNetwork, *given: Any, chunks: Any = None, **options: Any) -> Any:
        heard.append((self.training, chunks))
        return encode(self, *given, chunks=chunks, **options)

    monkeypatch.setattr(KeyframeNetwork, "encode_frames", listening)
    train(recipe(small_corpus(tmp_path)), tmp_path / "run", quiet=True)
    sizes = [chunks.size.tolist() for training, chunks in heard if training]
    assert sum(map(len, sizes)) == 12
    assert 0 < sum(size == WHOLE for row in sizes for size in row) < 12
    assert [chunks for training, chunks in heard if not training] == [None] * (
        len(heard) - len(sizes)
    )
    assert len(heard) > len(sizes)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on tones for long enough to know them."""
    folder = tmp_path_factory.mktemp("learned")
    texts = {"train": random_texts(60, 1), "dev": random_texts(6, 2)}
    stages = [
        stage("baseline", 30, learning_rate=8e-3, warmup_steps=20, decay="constant"),
        stage("keyframes", 8, fusion=True, keyframes=True, learning_rate=4e-3, decay="cosine"),
    ]
    described = recipe(write_corpus(folder / "corpus", texts), *stages, attention_window=6)
    return train(described, folder / "run", quiet=True).model


@pytest.mark.parametrize(("chunk", "left_chunks"), [(1, 4), (2, 2), (5, 1), (12, 0)])
def test_a_trained_model_streams_the_text_that_it_gives_for_the_whole(
    learned: Path, chunk: int, left_chunks: int
) -> None:
    model = load_model_folder(learned)
    stream = StreamingNetwork(model.network, chunk, left_chunks)
    front_end = Fbank(model.config.features)
    wrong = letters = 0
    for seed, text in enumerate(random_texts(20, 3)):
        features = front_end(tones(text, 100 + seed))
        found = FeatureOutput.joined([one for _, one in step_by_step(stream, features, 7)])
        expected = stream.simulated([features])[0]
        assert found.keyframes.tolist() == expected.keyframes.tolist()
        assert texts_of(model, found) == texts_of(model, expected)
        wrong += edit_distance(text, texts_of(model, found)[1])["total"]
        letters += len(text)
    assert wrong < 0.2 * letters


def texts_of(model: StoredModel, output: FeatureOutput) -> tuple[str, str]:
    """What the inter-CTC and the length head write, greedily."""
    inter, head = output.inter_log_probs[None], output.head_log_probs[None]
    hypotheses = (
        greedy_ctc(inter, np.array([inter.shape[1]]))[0],
        greedy_aligned(head, np.array([head.shape[1]]))[0],
    )
    first, second = (model.tokenizer.decode(list(one.tokens)) for one in hypotheses)
    return first, second
