"""Packed n-gram files: what is read back, what is refused, and language models for a recogniser."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

import keyframe_asr
from fixtures.command_line import keyframe
from fixtures.errors import refused
from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.decoding.lm.arpa import (
    START,
    STOP,
    UNKNOWN_WORD,
    NgramModel,
    read_arpa,
    write_arpa,
)
from keyframe_asr.decoding.lm.building import build_language_model
from keyframe_asr.decoding.lm.kneser_ney import NoWordsError, estimate
from keyframe_asr.decoding.lm.mixing import mixed
from keyframe_asr.decoding.lm.packed import (
    CODES,
    Origin,
    is_packed,
    read_origin,
    read_packed,
    write_packed,
)
from keyframe_asr.errors import ModelError
from keyframe_asr.inference.scorer_files import ScorerFiles
from keyframe_asr.inference.search import Search
from keyframe_asr.text.tokenizer import CharacterTokenizer
from reference.ngram import entries, log10

WORDS = ["ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "ZERO"]


def sentences(number: int, seed: int = 3) -> list[list[str]]:
    generator = random.Random(seed)
    weights = [1 / place for place in range(1, 11)]
    return [generator.choices(WORDS, weights, k=generator.randint(1, 7)) for _ in range(number)]


@pytest.fixture(scope="module", params=[1, 2, 3, 4])
def model(request: pytest.FixtureRequest) -> NgramModel:
    return estimate(sentences(500), request.param)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    write_packed(estimate(sentences(300)), tmp_path / "model.ngram")
    return tmp_path / "model.ngram"


def half_step(numbers: np.ndarray) -> float:
    """Largest error of one number, in a model that has few words that are never said."""
    usual = numbers[numbers > -90]
    return float((usual.max() - usual.min()) / (CODES - 2) / 2) if len(usual) else 0.0


def test_what_is_read_back_is_off_by_half_a_step_at_most(model: NgramModel, tmp_path: Path) -> None:
    write_packed(model, tmp_path / "model.ngram")
    again = read_packed(tmp_path / "model.ngram")
    assert again.words == model.words
    for mine, theirs, order in zip(entries(model), entries(again), model.orders, strict=True):
        assert mine.keys() == theirs.keys()
        steps = half_step(order.log10) + 1e-6, half_step(order.weights) + 1e-6
        for ngram, numbers in mine.items():
            errors = [abs(a - b) for a, b in zip(numbers, theirs[ngram], strict=True)]
            assert all(error <= step for error, step in zip(errors, steps, strict=True)), ngram


def test_scores_are_those_of_the_arpa_file_within_the_steps_of_a_lookup(
    model: NgramModel, tmp_path: Path
) -> None:
    write_packed(model, tmp_path / "model.ngram")
    write_arpa(model, tmp_path / "model.arpa")
    again, arpa = read_packed(tmp_path / "model.ngram"), read_arpa(tmp_path / "model.arpa")
    bound = max(half_step(order.log10) for order in model.orders)
    bound += sum(half_step(order.weights) for order in model.orders) + 1e-5
    assert bound < 0.05
    generator = random.Random(2)
    for _ in range(300):
        history = (START, *generator.choices(WORDS, k=generator.randint(0, 4)))
        for word in (*generator.choices(WORDS, k=2), STOP, UNKNOWN_WORD):
            assert abs(log10(again, history, word) - log10(arpa, history, word)) <= bound


def test_few_values_are_kept_exactly(tmp_path: Path) -> None:
    model = estimate([["A", "B"], ["A", "B"], ["A", "C"]], order=2)
    write_packed(model, tmp_path / "model.ngram")
    found, wanted = entries(read_packed(tmp_path / "model.ngram")), entries(model)
    for mine, theirs in zip(found, wanted, strict=True):
        assert {
            ngram: pytest.approx(numbers, rel=1e-6) for ngram, numbers in mine.items()
        } == theirs


def test_packing_again_changes_nothing(packed: Path) -> None:
    model, again = read_packed(packed), packed.with_name("again.ngram")
    write_packed(model, again)
    assert entries(read_packed(again)) == entries(model)


def test_a_packed_file_takes_a_few_bytes_per_ngram(tmp_path: Path) -> None:
    words = [f"W{number}" for number in range(300)]
    generator = random.Random(1)
    model = estimate([generator.choices(words, k=9) for _ in range(2000)])
    write_packed(model, tmp_path / "model.ngram")
    assert (tmp_path / "model.ngram").stat().st_size < 5 * sum(map(len, model.orders)) + 12_000


def test_a_file_tells_where_its_model_comes_from(tmp_path: Path) -> None:
    origin = Origin("word", ("sayings (MIT)", "人民日报"))
    write_packed(estimate(sentences(9)), tmp_path / "model.ngram", origin)
    assert read_origin(tmp_path / "model.ngram") == origin
    write_packed(estimate(sentences(9)), tmp_path / "model.ngram")
    assert read_origin(tmp_path / "model.ngram") == Origin()


def test_ngrams_without_their_beginning_are_dropped(tmp_path: Path) -> None:
    model = NgramModel.of(
        [
            {("A",): (-0.5, -0.1), ("B",): (-0.6, -0.2), (STOP,): (-1.0, 0.0)},
            {("A", "B"): (-0.3, -0.4)},
            {("A", "B", "A"): (-0.1, 0.0), ("B", "A", "B"): (-0.01, 0.0)},
        ]
    )
    write_packed(model, tmp_path / "model.ngram")
    assert [list(order) for order in entries(read_packed(tmp_path / "model.ngram"))][1:] == [
        [("A", "B")],
        [("A", "B", "A")],
    ]


@pytest.mark.parametrize("bytes_left", [0, 1, 7, 8, 39, 40, 48, 500, -1])
def test_truncated_files_are_refused(packed: Path, bytes_left: int) -> None:
    packed.write_bytes(packed.read_bytes()[:bytes_left])
    with refused(ModelError, packed):
        read_packed(packed)


def test_files_with_one_changed_byte_are_refused(packed: Path) -> None:
    content = packed.read_bytes()
    for place in random.Random(1).sample(range(len(content)), 60):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        packed.write_bytes(changed)
        with refused(ModelError, packed):
            read_packed(packed)


def with_arrays(path: Path, changed: dict[str, np.ndarray | None]) -> None:
    """Change arrays of a file, and give it the digest of what it holds then."""
    content = path.read_bytes()
    header = json.loads(content[48 : 48 + int.from_bytes(content[40:48], "little")])
    arrays = {**load(content[40:]), **changed}
    left = {name: one for name, one in arrays.items() if one is not None}
    inside = save(left, header["__metadata__"])
    path.write_bytes(content[:8] + hashlib.sha256(inside).digest() + inside)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("words", None),
        ("2.last", None),
        ("1.children", None),
        ("1.children", np.ones(3, dtype=np.uint8)),
        ("2.weights", np.zeros(5, dtype=np.uint8)),
        ("3.log10.values", np.zeros(1, dtype=np.float32)),
        ("1.log10", None),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(
    packed: Path, name: str, array: np.ndarray | None
) -> None:
    with_arrays(packed, {name: array})
    with refused(ModelError, packed):
        read_packed(packed)


def test_words_beyond_the_vocabulary_are_refused(packed: Path) -> None:
    last = load(packed.read_bytes()[40:])["3.last"].copy()
    last[-1] = 200
    with_arrays(packed, {"3.last": last})
    with refused(ModelError, packed, 3):
        read_packed(packed)


def test_other_versions_and_other_files_are_refused(packed: Path, tmp_path: Path) -> None:
    content = bytearray(packed.read_bytes())
    content[7] = 9
    packed.write_bytes(content)
    with refused(ModelError, packed, 9):
        read_packed(packed)
    write_arpa(estimate(sentences(9)), tmp_path / "text.ngram")
    assert not is_packed(tmp_path / "text.ngram") and is_packed(packed)
    assert not is_packed(tmp_path / "missing.ngram")
    for name in ("text.ngram", "missing.ngram"):
        with refused(ModelError, tmp_path / name):
            read_packed(tmp_path / name)


def test_a_search_reads_packed_models_by_their_first_bytes(tmp_path: Path) -> None:
    recognizer = keyframe_asr.load("an4-small")
    files = ScorerFiles(recognizer.config, recognizer.tokenizer)
    model = estimate(sentences(300))
    write_packed(model, tmp_path / "model.any")
    write_arpa(model, tmp_path / "model.arpa")
    tokens = [recognizer.tokenizer.encode(" ".join(words)) for words in sentences(40, seed=7)]
    scores = []
    for name in ("model.any", "model.arpa"):
        search = Search("ctc", 4, language_model=tmp_path / name, language_model_weight=0.5)
        scores.append(files.fusion(search).score(tokens))
    assert scores[0].tolist() == pytest.approx(scores[1].tolist(), abs=0.3)
    assert scores[0].std() > 1


def test_the_same_texts_give_the_same_model(tmp_path: Path) -> None:
    lines = [" ".join(words).lower() for words in sentences(200)]
    tokenizer, form = CharacterTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ "), TEXT_FORMS["english"]
    for name in ("first", "second"):
        model = build_language_model(iter(lines), tokenizer, form, max_bytes=16_000)
        write_packed(model, tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert ("ONE", "TWO") in model and len(model.orders) == 3


def test_no_ngram_has_a_word_that_the_recogniser_cannot_write() -> None:
    model = build_language_model(["a b x a", "x a", "a a", "x"], CharacterTokenizer("ab "))
    ngrams = [set(ngram) for order in entries(model) for ngram in order]
    assert not any("x" in ngram for ngram in ngrams)
    assert [one for one in ngrams if UNKNOWN_WORD in one] == [{UNKNOWN_WORD}]
    assert ("a", "b") in model and ("b", "a") not in model
    for history in ((), (START,), ("a",), ("a", "b")):
        total = sum(10 ** log10(model, history, word) for word in model.words)
        assert total == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("form", "unit", "wanted"),
    [("mandarin", None, "今"), ("english", None, "AB"), ("english", "character", "A")],
)
def test_units_follow_from_the_form(form: str, unit, wanted: str) -> None:
    tokenizer = CharacterTokenizer("今天 AB")
    model = build_language_model(["今天今天 ab a"], tokenizer, TEXT_FORMS[form], unit=unit)
    assert wanted in model.words


@pytest.mark.parametrize("texts", [[], [""], ["xyz", "z"]])
def test_texts_without_any_word_are_refused(texts: list[str]) -> None:
    with refused(NoWordsError):
        build_language_model(texts, CharacterTokenizer("ab "))


def test_a_mixture_gives_every_ngram_the_mean_probability() -> None:
    first, second = estimate(sentences(60)), estimate([["ONE", "TEN"], ["TEN", "TEN", "SIX"]], 2)
    both = mixed([first, second], [3, 1])
    strangers = {word: not_in(first, both, word) for word in both.words}
    for ngram in [ngram for order in entries(both)[1:] for ngram in order]:
        history, word = ngram[:-1], ngram[-1]
        wanted = 0.75 * 10 ** log10(first, history, word) / strangers[word]
        known = [one if one in second.words else UNKNOWN_WORD for one in ngram]
        divided = not_in(second, both, word)
        wanted += 0.25 * 10 ** log10(second, tuple(known[:-1]), word) / divided
        assert 10 ** log10(both, history, word) == pytest.approx(wanted, rel=1e-3)
    for history in ((), (START,), ("ONE",), ("TEN",), ("ONE", "TEN"), ("ONE", "TWO")):
        total = sum(10 ** log10(both, history, word) for word in both.words)
        assert total == pytest.approx(1.0, abs=1e-6)


def not_in(model: NgramModel, both: NgramModel, word: str) -> int:
    """By how many words the probability of a model's unknown word is divided."""
    lacking = {one for one in both.words if one not in model.words} | {UNKNOWN_WORD}
    return len(lacking) if word in lacking else 1


@pytest.mark.parametrize("shares", [[1.0], [1.0, 0.0], [1.0, -1.0]])
def test_shares_that_are_none_are_refused(shares: list[float]) -> None:
    models = [estimate(sentences(9)), estimate(sentences(9))]
    with refused(ValueError):
        mixed(models, shares)


def text_file(folder: Path, name: str, number: int = 200) -> Path:
    lines = [" ".join(words) for words in sentences(number)]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def test_the_command_writes_what_the_suffix_says_and_converts(tmp_path: Path) -> None:
    text = text_file(tmp_path, "text.txt")
    arpa, packed, back = (tmp_path / name for name in ("a.arpa", "b.ngram", "c.arpa"))
    assert keyframe("language-model", text, "--out", arpa, "--order", 2).exit_code == 0
    assert keyframe("language-model", arpa, "--out", packed, "--source", "S").exit_code == 0
    assert keyframe("language-model", packed, "--out", back).exit_code == 0
    assert is_packed(packed) and read_origin(packed) == Origin(None, ("S",))
    found, wanted = entries(read_arpa(back)), entries(read_arpa(arpa))
    assert [set(order) for order in found] == [set(order) for order in wanted]
    assert keyframe("language-model", text, "--out", packed, "--order", 2).exit_code == 0
    assert read_origin(packed) == Origin("word", ("text.txt",))
    assert keyframe("language-model", packed, "--out", packed).exit_code == 0
    assert read_origin(packed) == Origin("word", ("text.txt",))


def test_the_command_prunes_to_a_size(tmp_path: Path) -> None:
    text, out = text_file(tmp_path, "text.txt", 900), tmp_path / "lm.ngram"
    done = keyframe("language-model", text, "--out", out, "--order", 4, "--max-size", "20kB")
    assert done.exit_code == 0 and out.stat().st_size <= 20_000
    assert str(out.stat().st_size) in done.stdout
    assert sum(map(len, read_packed(out).orders)) > 300


def test_the_command_mixes(tmp_path: Path) -> None:
    first, second = text_file(tmp_path, "first.txt"), tmp_path / "second.txt"
    second.write_text("TEN TEN\nTEN\n", encoding="utf-8")
    out = tmp_path / "lm.ngram"
    done = keyframe("language-model", first, second, "--shares", "9,1", "--out", out)
    assert done.exit_code == 0, done
    tens = 10 ** log10(read_packed(out), ("TEN",), "TEN")
    assert 0.02 < tens < 0.1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-size", "big"),
        ("--shares", "1"),
        ("--shares", "1,x"),
        ("--shares", "1,0"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: tuple[str, str]) -> None:
    text, out = text_file(tmp_path, "text.txt"), tmp_path / "lm.ngram"
    done = keyframe("language-model", text, text, "--out", out, *arguments)
    assert arguments[0] in done.usage_error and not out.exists()


def test_models_and_texts_are_mixed_only_with_shares(tmp_path: Path) -> None:
    text, out = text_file(tmp_path, "text.txt"), tmp_path / "lm.ngram"
    write_arpa(estimate(sentences(9)), tmp_path / "lm.arpa")
    done = keyframe("language-model", text, tmp_path / "lm.arpa", "--out", out)
    assert "--shares" in done.usage_error and not out.exists()
