"""Cases: what is damaged, the command that meets it, and whether its answer is right.

A case follows from the seed, its kind and its number alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fixtures.command_line import ERROR
from fuzz.byte_mutations import Damaged, damage
from fuzz.child import Job, Outcome
from fuzz.inputs import STDIN, TextInput, original, packed
from fuzz.recordings import SECONDS, Original
from fuzz.text_mutations import NEUTRAL, damage_text

PYTHON_WARNING = re.compile(r"^\S+:\d+: \w*Warning: ", re.MULTILINE)
"""A warning of Python that reached the user."""

COMMON, COMMON_SHARE = ("WAV", "FLAC", "MP3", "OGG", "M4A", "MP4", "WEBM"), 0.4
"""Containers that more recordings are of than their number of codecs would make it."""

ALMOST_WHOLE = 0.9
"""A cut that leaves more than this may have left out no samples but what follows them."""


@dataclass(frozen=True)
class AudioCase:
    """A damaged recording."""

    number: int
    original: Original
    damaged: Damaged
    path: str

    @property
    def title(self) -> str:
        return f"audio-{self.number} ({self.path}): {self.original.name}, {self.damaged.done}"

    def problem(self, found: dict[str, object] | None, errors: Sequence[str]) -> str:
        """What is wrong with the answer to this recording; "" if nothing.

        Args:
            found: its line of JSON.
            errors: the lines on standard error that name it.
        """
        refused = [line for line in errors if line.startswith(ERROR)]
        if (found is None) + bool(refused) not in (0, 2) or len(refused) > 1:
            return f"{len(refused)} errors and {'no' if found is None else 'a'} result"
        if found is None:
            return ""
        if self.damaged.joined and float(str(found["duration"])) < 1.5 * SECONDS and not errors:
            return "the second of two joined recordings is left out without a word"
        if self.damaged.kept is None:
            return ""
        if not self.original.is_read or (
            self.original.tells_length and self.damaged.kept < ALMOST_WHOLE
        ):
            return f"a recording that is cut gives a text: {found['text']!r}"
        if self.damaged.kept > 0.5 and not found["text"] and not errors:
            return "a recording that is cut gives an empty text"
        return ""


def audio_case(seed: int, number: int, originals: Sequence[Original]) -> AudioCase:
    """The damaged recording of this number."""
    random = Random(f"{seed}-audio-{number}")
    common = [one for one in originals if one.container in COMMON]
    original = random.choice(common if random.random() < COMMON_SHARE else originals)
    others = [random.choice(originals).content for _ in range(3)]
    damaged = damage(original.content, random, others)
    suffix = original.suffix
    if random.random() < 0.05:
        suffix = random.choice(originals).suffix
    return AudioCase(number, original, damaged, f"{number:06d}.{suffix}")


def audio_job(cases: Sequence[AudioCase], good: dict[str, bytes]) -> Job:
    """One command for several damaged recordings, with good ones among them."""
    files = {case.path: case.damaged.content for case in cases} | good
    return Job(("transcribe", "model", *sorted(files), "--format", "jsonl"), files)


def answers_of(outcome: Outcome) -> tuple[dict[str, dict[str, object]], list[str]]:
    """The answers by recording, and the lines of standard output that are none."""
    found, strange = {}, []
    for line in outcome.stdout.splitlines():
        try:
            answer = json.loads(line)
            found[answer["audio"]] = answer
        except (ValueError, LookupError, TypeError):
            strange.append(line)
    return found, strange


def audio_problems(
    cases: Sequence[AudioCase], outcome: Outcome, good: dict[str, str]
) -> dict[int, str]:
    """What is wrong with the answers to several recordings, by the number of the case.

    Args:
        cases: the damaged recordings.
        outcome: what the command left.
        good: texts of the undamaged recordings, by path; -1 stands for their problems.
    """
    found, strange = answers_of(outcome)
    errors = outcome.stderr.splitlines()
    problems = {
        case.number: case.problem(found.get(case.path), [one for one in errors if case.path in one])
        for case in cases
    }
    wrong = {path for path, text in good.items() if found.get(path, {}).get("text") != text}
    if wrong:
        problems[-1] = f"good recordings have another text: {sorted(wrong)}"
    if strange:
        problems[-1] = f"standard output holds {strange[0][:200]!r}"
    expected = int(any(case.path not in found for case in cases))
    if outcome.exit_code != expected:
        problems[-1] = f"exit code {outcome.exit_code} instead of {expected}"
    if warning := PYTHON_WARNING.search(outcome.stderr):
        problems[-1] = outcome.stderr[warning.start() :].split("\n")[0]
    return {number: problem for number, problem in problems.items() if problem}


@dataclass(frozen=True)
class TextCase:
    """A damaged text, table, configuration or model file.

    `same` tells that the answer must be that to the undamaged file.
    """

    number: int
    given: TextInput
    damaged: Damaged
    same: bool = False

    @property
    def title(self) -> str:
        command = " ".join(self.given.command)
        return f"text-{self.number} ({self.given.path}): {self.damaged.done}: keyframe {command}"

    @property
    def job(self) -> Job:
        if self.given.path == STDIN:
            return Job(self.given.command, stdin=self.damaged.content)
        return Job(self.given.command, {self.given.path: self.damaged.content})

    def problem(self, outcome: Outcome, undamaged: Outcome | None = None) -> str:
        """What is wrong with the answer, which must be `undamaged`; "" if nothing."""
        if outcome.fault:
            return outcome.fault
        if undamaged is not None:
            return _difference(outcome, undamaged)
        if outcome.exit_code not in (0, 1):
            return f"exit code {outcome.exit_code}: {outcome.stderr}"
        if outcome.exit_code == 1 and not _explains(outcome):
            return f"exit code 1 without a line that says why: {outcome.stderr!r}"
        if warning := PYTHON_WARNING.search(outcome.stderr):
            return outcome.stderr[warning.start() :].split("\n")[0]
        return ""


def undamaged_job(given: TextInput, folder: Path) -> Job:
    """The command of an input on the file as it is."""
    return Job(given.command, stdin=original(given, folder) if given.path == STDIN else b"")


def text_case(seed: int, number: int, inputs: Sequence[TextInput], folder: Path) -> TextCase:
    """The damaged text of this number; every input has its turn."""
    random = Random(f"{seed}-text-{number}")
    given = inputs[number % len(inputs)]
    content = original(given, folder)
    same = given.neutral and random.random() < 0.03
    if same:
        done = random.choice(list(NEUTRAL))
        damaged = Damaged(NEUTRAL[done](content), done)
    elif given.mutations:
        damaged = damage_text(content, random, given.mutations)
    else:
        damaged = damage(content, random)
    if given.packed and not same and random.random() < 0.3:
        damaged = damage(packed(given, content), random)
    else:
        damaged = Damaged(packed(given, damaged.content), damaged.done)
    return TextCase(number, given, damaged, same)


def _difference(outcome: Outcome, undamaged: Outcome) -> str:
    if outcome.exit_code != undamaged.exit_code:
        return f"exit code {outcome.exit_code} instead of {undamaged.exit_code}: {outcome.stderr}"
    if outcome.stdout != undamaged.stdout:
        return f"another result: {outcome.stdout} instead of {undamaged.stdout}"
    different = {
        path
        for path in outcome.written.keys() | undamaged.written.keys()
        if outcome.written.get(path) != undamaged.written.get(path)
    }
    return f"other files: {sorted(different)}" if different else ""


def _explains(outcome: Outcome) -> bool:
    """Whether exit code 1 has its reason: a line on standard error, or a report of findings."""
    lines = outcome.stderr.splitlines()
    return any(line.startswith(ERROR) for line in lines) or "error" in outcome.stdout
