"""Sentences of synthetic corpora: one grammar per language, as data."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from random import Random

import yaml

_NAME = re.compile(r"\{([^{}]+)\}")
_PARTS = ("dev", "test", "test", *["train"] * 7)


@dataclass(frozen=True)
class Grammar:
    """Sentences with gaps, and the phrases that fill the gaps.

    Attributes:
        sentences: sentences in which `{name}` stands for a phrase.
        phrases: the phrases by name.
    """

    sentences: tuple[str, ...]
    phrases: dict[str, tuple[str, ...]]

    def draw(self, generator: Random, split: str) -> str:
        """Draw a sentence of a split; no sentence belongs to two splits."""
        while True:
            sentence = _NAME.sub(
                lambda gap: generator.choice(self.phrases[gap[1]]), generator.choice(self.sentences)
            )
            # a digest, so that the split of a sentence does not depend on the size of the corpus
            if _PARTS[zlib.crc32(sentence.encode()) % len(_PARTS)] == split:
                return sentence


def languages() -> tuple[str, ...]:
    """Return the languages that have a grammar, as BCP-47 tags."""
    files = (entry.name for entry in resources.files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


@cache
def grammar(language: str) -> Grammar:
    """Read the grammar of one of `languages()`."""
    data = yaml.safe_load(
        resources.files(__name__).joinpath(f"{language}.yaml").read_text(encoding="utf-8")
    )
    sentences = tuple(data.pop("sentences"))
    return Grammar(sentences, {name: tuple(phrases) for name, phrases in data.items()})
