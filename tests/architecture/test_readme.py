"""What the README shows runs, and what it names exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from architecture.public_api import commands, flags_of
from architecture.source_tree import REPOSITORY, SOURCE
from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser
from keyframe_asr.timing import SAMPLE_RATE

TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
SHELL = re.findall(r"^\$ (.+)$", TEXT, flags=re.MULTILINE)
KEYFRAME = [line for line in SHELL if line.startswith("keyframe ")]
QUICK = [line for line in KEYFRAME if line.split()[1] in ("transcribe", "inspect")]


@pytest.fixture
def speech_folder(tmp_path: Path) -> Path:
    """A folder with the `speech.wav` that the examples are about, and what `make demo` leaves."""
    samples, _ = SpeechSynthesiser().say("two five nine", "en-us+m3")
    soundfile.write(tmp_path / "speech.wav", samples, SAMPLE_RATE)
    demo = tmp_path / "demo-output" / "fresh" / "audio" / "test"
    demo.mkdir(parents=True)
    samples, _ = SpeechSynthesiser().say("三七", "cmn+f3")
    soundfile.write(demo / "test-00000.flac", samples, SAMPLE_RATE)
    return tmp_path


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_examples_run(number: int, speech_folder: Path) -> None:
    skip_without_model(BLOCKS[number])
    run([sys.executable, "-c", BLOCKS[number]], speech_folder)


@pytest.mark.parametrize("line", QUICK)
def test_commands_on_recordings_run(line: str, speech_folder: Path) -> None:
    skip_without_model(line)
    program = "from keyframe_asr.cli.main import main; main()"
    words = shlex.split(line)[1:]
    run([sys.executable, "-c", program, *words], speech_folder)
    if "--out" in words:
        assert (speech_folder / words[words.index("--out") + 1]).stat().st_size > 0


@pytest.mark.parametrize("line", KEYFRAME)
def test_commands_have_these_flags(line: str) -> None:
    verb, *words = shlex.split(line)[1:]
    assert verb in commands()
    used = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert used - set(flags_of(commands()[verb])) == set()


def test_there_are_examples_to_check() -> None:
    assert len(BLOCKS) >= 3
    assert len(QUICK) >= 3
    assert {"make demo", "make test"} <= set(SHELL)


def test_links_recipes_and_files_exist() -> None:
    links = {link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in link}
    links |= set(re.findall(r"recipes/[\w-]+\.yaml", TEXT))
    reading = TEXT.partition("## Reading the code")[2].partition("\n## ")[0]
    links |= {
        f"src/keyframe_asr/{name}" for name in re.findall(r"`([a-z]+(?:/\w*)?(?:\.py|/))`", reading)
    }
    assert len(links) > 10
    assert sorted(link for link in links if not leads_somewhere(link)) == []


def test_links_that_lead_nowhere_are_found() -> None:
    assert leads_somewhere("docs/results.md#an4")
    assert not leads_somewhere("docs/results.md#nothing")
    assert not leads_somewhere("docs/nothing.md")


def test_make_targets_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)`?\b", "\n".join(SHELL))) <= targets


def leads_somewhere(link: str) -> bool:
    """Whether the file exists and, where the link names one, has that heading."""
    name, _, anchor = link.partition("#")
    page = REPOSITORY / (name or "README.md")
    return page.exists() and (not anchor or anchor in anchors(page.read_text(encoding="utf-8")))


def anchors(markdown: str) -> set[str]:
    """What a link to a heading is called: lower case, hyphens for spaces, no punctuation."""
    text = re.sub(r"^```.*?^```$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def skip_without_model(text: str) -> None:
    names = re.findall(r"\b(?:transcribe|inspect) (\w+)|load\(\"(\w+)\"\)", text)
    for name in {first or second for first, second in names}:
        if not (SOURCE / "keyframe_asr" / "models" / name / "model.safetensors").is_file():
            pytest.skip(f"model '{name}' is not shipped yet")


def run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    made = {one.name for one in folder.iterdir()} - {"speech.wav", "demo-output"}
    assert result.stdout or made
