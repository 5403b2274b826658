"""N-gram models: estimation, ARPA files, batched lookup, and scores of words and tokens."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fixtures.errors import refused
from keyframe_asr.config.recipe import TokenizerConfig
from keyframe_asr.decoding.lm.arpa import (
    START,
    STOP,
    UNKNOWN_WORD,
    NgramModel,
    read_arpa,
    write_arpa,
)
from keyframe_asr.decoding.lm.kneser_ney import FALLBACK, NoWordsError, estimate
from keyframe_asr.decoding.lm.ngram import NgramTable
from keyframe_asr.decoding.lm.scoring import (
    language_model_scorer,
    split_units,
    unit_of,
)
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.errors import ModelError
from keyframe_asr.text.tokenizer import CharacterTokenizer, Tokenizer, train_tokenizer
from reference.ngram import entries, log10

NATURAL = math.log(10)


def sentences(number: int = 300) -> list[list[str]]:
    """Sentences in which words follow words with very different probabilities."""
    generator = random.Random(3)
    words = [first + second for first in "ABCD" for second in ("", "A", "BC")]
    found = []
    for _ in range(number):
        place, sentence = 0, []
        for _ in range(generator.randint(1, 7)):
            place = (place + min(int(generator.expovariate(0.4)), 11)) % 12
            sentence.append(words[place])
        found.append(sentence)
    return found


@pytest.fixture(scope="module")
def model() -> NgramModel:
    return estimate(sentences())


def histories(model: NgramModel, number: int = 60) -> list[tuple[str, ...]]:
    """Known, partly known and unknown contexts."""
    generator = random.Random(5)
    words = [word for word in model.words if word != STOP]
    random_ones = [
        tuple(generator.choices(words, k=generator.randint(0, 3))) for _ in range(number)
    ]
    known = [ngram[:-1] for ngram in itertools.islice(entries(model)[-1], 0, None, 7)]
    return [*random_ones, *known, (START,), (UNKNOWN_WORD, UNKNOWN_WORD)]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_sum_to_one_whatever_came_before(order: int) -> None:
    model = estimate(sentences(), order)
    assert len(model.orders) == order
    for history in histories(model):
        total = sum(10 ** log10(model, history, word) for word in model.words)
        assert total == pytest.approx(1.0, abs=1e-9)
        assert all(log10(model, history, word) < 0 for word in model.words)


def test_a_text_too_small_for_its_own_discounts_uses_the_fallback() -> None:
    """Three bigrams of "A": 2 x "A B", 1 x "A C"; worked out by hand."""
    model = estimate([["A", "B"], ["A", "B"], ["A", "C"]], order=2)
    one, two, _ = FALLBACK
    # continuation counts: A after <s>; B and C after A; </s> after B and C
    left = (4 * 0.5 + 1 * (two - one)) / 5  # four words seen once, </s> twice
    uniform = 1 / 5  # A, B, C, </s>, <unk>
    of_b = (1 - one) / 5 + left * uniform
    share = (one + two) / 3  # of the context A, for the unigrams
    assert 10 ** log10(model, (), "B") == pytest.approx(of_b)
    assert 10 ** log10(model, ("A",), "B") == pytest.approx((2 - two) / 3 + share * of_b)
    assert 10 ** log10(model, ("A",), UNKNOWN_WORD) == pytest.approx(share * left * uniform)


def test_no_words_are_refused() -> None:
    with refused(NoWordsError):
        estimate([[], []])


def test_a_file_read_back_scores_the_same(model, tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    write_arpa(model, path)
    again = read_arpa(path)
    assert [list(one) for one in entries(again)] == [list(one) for one in entries(model)]
    for history in histories(model):
        for word in [*model.words[1:], "NEVER-SEEN"]:
            assert log10(again, history, word) == pytest.approx(
                log10(model, history, word), abs=1e-6
            )


def test_a_public_reader_agrees(model, tmp_path: Path) -> None:
    arpa = pytest.importorskip("arpa")
    path = tmp_path / "model.arpa"
    write_arpa(model, path)
    (public,) = arpa.loadf(str(path))
    for history in histories(model):
        for word in model.words[1:]:
            ngram = (*history[-2:], word)
            assert public.log_p_raw(ngram) == pytest.approx(log10(model, history, word), abs=1e-6)
    written = tmp_path / "public.arpa"
    arpa.dumpf(public, str(written))
    assert log10(read_arpa(written), ("A",), "BA") == pytest.approx(log10(model, ("A",), "BA"))


def test_batched_lookup_walks_through_sentences_like_the_file(model) -> None:
    table = NgramTable(model)
    generator = random.Random(1)
    known = [word for word in model.words if word not in (START, STOP)]
    texts = [generator.choices([*known, "NEVER-SEEN"], k=9) for _ in range(200)]
    states = np.full(200, table.start)
    for place in range(9):
        ids = [table.word_ids.get(text[place], table.unknown) for text in texts]
        scores, states = table.advance(states, np.array(ids))
        wanted = [log10(model, (START, *text[:place]), text[place]) * NATURAL for text in texts]
        assert scores.tolist() == pytest.approx(wanted, abs=1e-4)


def spelled(model: NgramModel, words: list[str], tokenizer: Tokenizer) -> int:
    """How many tokens of unknown words come when no known word begins so any more."""
    known = [word for word in model.words if word not in (START, STOP, UNKNOWN_WORD)]
    count = 0
    for word in words:
        if word in known:
            continue
        letters = ""
        for token in tokenizer.encode(word):
            piece = tokenizer.decode([token])
            letters += piece.strip()
            count += bool(piece.strip()) and not any(one.startswith(letters) for one in known)
    return count


def log10_of(model: NgramModel, units: list[str]) -> float:
    """Whole sentence with its end, word by word; what the model does not know is <unk>."""
    said = [unit if unit in model.words else UNKNOWN_WORD for unit in units]
    return sum(
        log10(model, (START, *said[:place]), word) for place, word in enumerate([*said, STOP])
    )


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    texts = [" ".join(words) for words in sentences()]
    return train_tokenizer(texts, TokenizerConfig(kind="sentencepiece", vocab_size=16))


@pytest.mark.parametrize("unit", ["word", "token", "character"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_sentence_costs_what_its_units_cost(unit, whole: bool, pieces: Tokenizer) -> None:
    """Whether tokens are pieces of words or letters, and whatever the model counts."""
    tokenizer = pieces if whole else CharacterTokenizer("ABCD ")
    training = [" ".join(words) for words in sentences()]
    model = estimate([split_units(text, unit, tokenizer) for text in training])
    assert unit_of(model, spaced=True) in (unit, "character")
    scorer = language_model_scorer(model, tokenizer, True, 0.5)
    generator = random.Random(2)
    texts = [" ".join(generator.choices(["A", "ABC", "BA", "DD", "DABC"], k=k)) for k in range(9)]
    found = ShallowFusion((scorer,), 0.25).score([tokenizer.encode(text) for text in texts])
    for text, score in zip(texts, found.tolist(), strict=True):
        units = split_units(text, unit, tokenizer)
        wanted = 0.5 * NATURAL * log10_of(model, units) + 0.25 * len(tokenizer.encode(text))
        if unit == "word":
            unknown = spelled(model, units, tokenizer)
            wanted -= 0.5 * unknown * math.log(tokenizer.vocab_size)
        assert score == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("unit", ["word", "token", "character"])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("proper", [True, False])
def test_no_token_scores_more_than_the_bound(
    unit, whole: bool, proper: bool, pieces: Tokenizer
) -> None:
    """Nor in a file whose back-off weights make sums above one."""
    tokenizer = pieces if whole else CharacterTokenizer("ABCD ")
    training = [" ".join(words) for words in sentences()]
    model = estimate([split_units(text, unit, tokenizer) for text in training])
    if not proper:
        weights = [replace(ngrams, weights=ngrams.weights + 1.5) for ngrams in model.orders]
        model = replace(model, orders=tuple(weights))
    scorer = language_model_scorer(model, tokenizer, True, 0.5)
    states = np.array([scorer.start] * tokenizer.vocab_size)
    rng = np.random.default_rng(1)
    every = np.arange(tokenizer.vocab_size)
    nearest = math.inf
    for _ in range(200):
        bound = scorer.upper_bound(states)
        added, after = scorer.extend(states, every)
        assert bool((added <= bound + 1e-4).all())
        nearest = min(nearest, float((bound - added).min()))
        states = after[rng.integers(len(after), size=len(after))]
    if proper:
        assert nearest < 4.0  # so that it rules something out


def test_an_ngram_whose_beginning_is_missing_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pruned.arpa"
    lines = r"""\data\
        ngram 1=4
        ngram 2=1
        ngram 3=2
        \1-grams:
        -0.5 A -0.1
        -0.6 B -0.2
        -1.0 </s>
        -2.0 <unk>
        \2-grams:
        -0.3 A B -0.4
        \3-grams:
        -0.1 A B A
        -0.01 B A B
        \end\
        """
    path.write_text(lines, encoding="utf-8")
    model = read_arpa(path)
    assert ("A", "B") in model and ("B", "A") not in model and ("A", "C") not in model
    table = NgramTable(model)
    a, b = table.word_ids["A"], table.word_ids["B"]
    states, total = np.array([0]), []
    for word in (b, a, b, a):  # B; B A backs off; A B; A B A
        scores, states = table.advance(states, np.array([word]))
        total.append(float(scores[0]) / NATURAL)
    assert total == pytest.approx([-0.6, -0.2 - 0.5, -0.3, -0.1], abs=1e-5)


def test_an_ngram_listed_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.arpa"
    path.write_text(
        "\\data\\\nngram 1=2\nngram 2=2\n\\1-grams:\n-1 A -0.5\n-1 B\n"
        "\\2-grams:\n-0.3 A B\n-0.9 A B\n\\end\\\n",
        encoding="utf-8",
    )
    with refused(ModelError, "'B'"):
        NgramTable(read_arpa(path))


def test_a_negative_weight_is_refused(model) -> None:
    with refused(ValueError, "weight", 0):
        language_model_scorer(model, CharacterTokenizer("ABCD "), True, -0.1)


def test_a_word_is_scored_however_it_is_spelled(pieces: Tokenizer) -> None:
    model = estimate(sentences())
    scorer = language_model_scorer(model, pieces, True, 1.0)
    ids = {pieces.piece(token): token for token in range(pieces.vocab_size)}
    letters = [ids[letter] for letter in "▁ABC▁BA"]
    (found,) = ShallowFusion((scorer,)).score([letters]).tolist()
    assert found == pytest.approx(log10_of(model, ["ABC", "BA"]) * NATURAL, abs=1e-4)


def test_words_in_another_case_are_no_model(pieces: Tokenizer) -> None:
    model = estimate([["abc", "ba"], ["ba"]])
    with refused(ModelError):
        language_model_scorer(model, pieces, True, 1.0)


def test_words_are_no_model_for_text_without_spaces() -> None:
    model = estimate([["今天", "天气"], ["天气", "好"]])
    with refused(ModelError, "--unit character"):
        language_model_scorer(model, CharacterTokenizer("今天气好"), False, 1.0)
    characters = estimate([list("今天天气"), list("天气好")])
    scorer = language_model_scorer(characters, CharacterTokenizer("今天气好"), False, 1.0)
    tokens = CharacterTokenizer("今天气好").encode("今天好")
    (found,) = ShallowFusion((scorer,)).score([tokens]).tolist()
    assert found == pytest.approx(log10_of(characters, list("今天好")) * NATURAL, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("hello\n", r"\data"),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\n-1.0 A B C\n\n\\end\\\n", ":5: "),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\nx A\n\n\\end\\\n", ":5: "),
        ("\\data\\\nngram 1=2\n\n\\1-grams:\n-1.0 A\n\n\\end\\\n", 2),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\n-1.0 A\n", 1),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\nnan A\n\n\\end\\\n", ":5: "),
        (
            "\\data\\\nngram 1=1\nngram 2=1\n\n\\1-grams:\n-1.0 A\n"
            "\n\\2-grams:\n-1.0 A B\n\n\\end\\\n",
            "'A B'",
        ),
        (
            "\\data\\\nngram 1=2\n\n\\1-grams:\n-1.0 A\n-1.0 A\n\n\\end\\\n",
            ":6: 'A'",
        ),
    ],
)
def test_what_is_no_arpa_file_is_refused(text: str, named: object, tmp_path: Path) -> None:
    path = tmp_path / "bad.arpa"
    path.write_text(text, encoding="utf-8")
    with refused(ModelError, path, named):
        read_arpa(path)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.arpa").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "no.arpa.gz").write_bytes(b"plain")
    for name in ("missing.arpa", "binary.arpa", "no.arpa.gz"):
        with refused(ModelError, tmp_path / name):
            read_arpa(tmp_path / name)
