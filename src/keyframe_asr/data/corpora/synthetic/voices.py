"""Voices of espeak-ng by language, and its variants: the speakers.

A variant occurs in one split only. Of variants with nearly the same average log-mel spectrum (Gene
and Gene2, Mike and m3, ...) only one is used, so that no test or development voice has a near twin
in training. Whispers, robots and effects are left out.
"""

# ruff: noqa: SIM905 (a list of words is easier to read as a line of text)
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesisError, data_folder

TRAIN_VOICES = tuple(
    "Alex Alicia Denis Mario adam aunty f2 f4 f5 grandma grandpa john klatt4 linda m3 m4 m5 m6 m8 "
    "max miguel paul quincy steph "
    "Andrea Andy Gene Jacky anika antonio benjamin boris edward klatt3 marcelo mike2 norbert pablo "
    "pedro sandro travis victor".split()
)
DEV_VOICES = ("belinda", "f1", "iven4", "m1", "rob")
TEST_VOICES = ("Annie", "david", "ed", "f3", "gustave", "m2", "m7", "shelby")

_USUAL_PRIORITY = 5

_WELL_KNOWN = ("de", "es", "fr", "hi", "ru")
"""Tags to suggest if none is close."""


@dataclass(frozen=True)
class _Voice:
    """A voice that speaks a language; a low priority is preferred."""

    file: str
    name: str
    language: str
    priority: int


def voice_of(language: str) -> str:
    """Return the espeak-ng voice that speaks a language, given as a BCP-47 tag.

    Without a voice for the whole tag, its last parts are dropped: de-AT is spoken as de. Of several
    languages (zh+en), the first counts.

    Raises:
        SpeechSynthesisError: espeak-ng has no voice for the language.
        PackageError: it is not installed.
    """
    voices = sorted(_voices(data_folder()), key=lambda voice: (voice.priority, voice.file))
    parts = language.partition("+")[0].lower().replace("_", "-").split("-")
    for count in range(len(parts), 0, -1):
        for voice in voices:
            if voice.language == "-".join(parts[:count]):
                return voice.file
    tags = {voice.language for voice in voices}
    # the name without its region: French (France)
    named = {voice.name.partition(" (")[0].lower(): voice.language for voice in reversed(voices)}
    # tags are too short to compare: xx is no misspelling of xex
    near = get_close_matches(language.lower(), named, n=5, cutoff=0.6)
    suggested = list(dict.fromkeys(named[one] for one in near))
    raise SpeechSynthesisError(
        f"espeak-ng has no voice for the language '{language}'; give the tag of one that it "
        f"speaks, such as {', '.join(suggested or [one for one in _WELL_KNOWN if one in tags])} "
        "(all: espeak-ng --voices)"
    )


def _voices(data: Path) -> Iterator[_Voice]:
    """Read espeak-ng's files of languages: lines such as `name German` and `language de 5`."""
    for path in (data / "lang").rglob("*"):
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            name = next((line[5:].strip() for line in lines if line.startswith("name ")), "")
            for tag, *priority in (line.split()[1:] for line in lines if line[:9] == "language "):
                number = int(priority[0]) if priority else _USUAL_PRIORITY
                yield _Voice(path.name.lower(), name, tag.lower(), number)
