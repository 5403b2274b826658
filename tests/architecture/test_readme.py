"""What README and documentation show runs, what they name exists, and links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import create_autospec

import pytest
import soundfile

import keyframe_asr
from architecture.public_api import commands, flags_of
from architecture.source_tree import REPOSITORY, SOURCE
from docs.reference_pages import command_line, on_page_markdown, recipe_keys
from fixtures.command_line import keyframe
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser
from keyframe_asr.decoding.lm.building import build_language_model
from keyframe_asr.decoding.lm.packed import write_packed
from keyframe_asr.timing import SAMPLE_RATE

DOCS = REPOSITORY / "docs"
README = REPOSITORY / "README.md"
PAGES = [README, REPOSITORY / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
EXAMPLES = [README, DOCS / "index.md", *sorted((DOCS / "guides").glob("*.md"))]
HISTORY = (DOCS / "adr", DOCS / "results" / "studies")
"""Pages that may name commands as they were."""

MARKDOWN = {
    page: re.sub(
        r"<!-- study (\w+) -->.*?<!-- end of study \1 -->",  # written by the studies themselves
        "",
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    for page in PAGES
}


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def console_lines(page: Path) -> list[str]:
    """Commands of the console blocks of a page, continued lines joined."""
    text = MARKDOWN[page].replace("\\\n", " ")
    return re.findall(r"^\$ (.+)$", text, flags=re.MULTILINE)


def mentioned_commands() -> Iterator[tuple[str, str]]:
    """Every `keyframe VERB ...` of the pages, in console blocks and in text, with its page."""
    for page, text in MARKDOWN.items():
        if any(page.is_relative_to(folder) for folder in HISTORY):
            continue
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        inline = re.findall(r"`(keyframe [a-z][^`]*)`", prose)
        for line in [*console_lines(page), *(" ".join(one.split()) for one in inline)]:
            if line.startswith("keyframe "):
                yield name_of(page), line


CONTINUED = DOCS / "guides" / "python.md"
"""A page whose blocks build on those before."""


def python_blocks(page: Path) -> list[str]:
    """The Python examples of a page, each of which runs by itself."""
    found = re.findall(r"^```python\n(.*?)^```", MARKDOWN[page], flags=re.MULTILINE | re.DOTALL)
    return ["".join(found)] if page == CONTINUED else found


BLOCKS = [
    pytest.param(block, id=f"{name_of(page)}-{number}")
    for page in EXAMPLES
    for number, block in enumerate(python_blocks(page))
]
NEEDS = re.compile(r"recordings\b|runs/|data/")
"""What the folder of the examples lacks."""

QUICK = sorted(
    {
        line
        for page in EXAMPLES
        for line in console_lines(page)
        if re.match(r"keyframe (transcribe|stream|inspect|align) ", line) and not NEEDS.search(line)
    }
)


@pytest.fixture
def speech_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the examples: `speech.wav`, `names.txt`, `lm.ngram`, `demo-output`."""
    samples, _ = SpeechSynthesiser().say("one two three four five", "en-us+f2")
    soundfile.write(tmp_path / "speech.wav", samples, SAMPLE_RATE)
    (tmp_path / "names.txt").write_text("NINE\n", encoding="utf-8")
    write_packed(build_language_model(["ONE TWO THREE"]), tmp_path / "lm.ngram")
    demo = tmp_path / "demo-output" / "fresh" / "audio" / "test"
    demo.mkdir(parents=True)
    samples, _ = SpeechSynthesiser().say("三七", "cmn+f3")
    soundfile.write(demo / "test-00000.flac", samples, SAMPLE_RATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS)
def test_python_examples_run(
    block: str,
    speech_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for long in (keyframe_asr.prepare, keyframe_asr.train, keyframe_asr.fine_tune):  # take minutes
        monkeypatch.setattr(keyframe_asr, long.__name__, create_autospec(long))
    exec(compile(block, "example", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


@pytest.mark.parametrize("line", QUICK)
def test_commands_on_recordings_run(line: str, speech_folder: Path) -> None:
    words = shlex.split(line)
    ran = keyframe(*words[1:], folder=speech_folder)
    assert ran.exit_code == 0, ran
    if "--out" in words:
        assert (speech_folder / words[words.index("--out") + 1]).stat().st_size > 0
    else:
        assert ran.stdout


def test_commands_and_their_flags_exist() -> None:
    verbs = commands()
    unknown = []
    for page, line in mentioned_commands():
        verb, *words = line.split()[1:]
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        known = set(flags_of(verbs[verb])) if verb in verbs else set()
        if verb not in verbs or used - known:
            unknown.append(f"{page}: {line}")
    assert unknown == []


def test_there_are_examples_to_check() -> None:
    assert len(BLOCKS) >= 8
    assert len(QUICK) >= 8
    assert len(list(mentioned_commands())) >= 60
    assert {"make demo", "make test"} <= set(console_lines(README))


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 900


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", MARKDOWN[page], flags=re.MULTILINE | re.DOTALL)
    links = {link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link}
    assert sorted(link for link in links if not leads_somewhere(page, link)) == []


def test_links_that_lead_nowhere_are_found() -> None:
    assert leads_somewhere(README, "docs/results/an4.md#test-set")
    assert leads_somewhere(README, "docs/reference/recipe.md#modelencoder")
    assert not leads_somewhere(README, "docs/results/an4.md#nothing")
    assert not leads_somewhere(README, "docs/nothing.md")


def test_recipes_and_scripts_that_are_named_exist() -> None:
    named = {
        found
        for text in MARKDOWN.values()
        for found in re.findall(r"(?<![\w/])(?:recipes|research)/[\w/-]+\.(?:yaml|py|json)", text)
    }
    modules = {
        found
        for page in PAGES
        for line in console_lines(page)
        for found in re.findall(r"^python -m (research[\w.]*)", line)
    }
    named |= {f"{module.replace('.', '/')}.py" for module in modules}
    assert len(named) > 10
    assert sorted(name for name in named if not (REPOSITORY / name).is_file()) == []


def test_make_targets_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    lines = [line for page in PAGES for line in console_lines(page)]
    named = {found for line in lines for found in re.findall(r"^make ([a-z]+)", line)}
    named |= set(re.findall(r"`make ([a-z]+)", "\n".join(MARKDOWN.values())))
    assert named - targets == set()


def test_the_reference_has_every_key_and_flag() -> None:
    keys, verbs = recipe_keys(), command_line()
    for name in Recipe.model_fields:
        assert f"| `{name}` |" in keys
    assert "## `stages[].losses`" in keys
    shown = {verb: command for verb, command in commands().items() if not command.hidden}
    for verb, command in shown.items():
        assert f"\n## {verb}\n" in f"\n{verbs}"
        for flag in flags_of(command):
            assert flag.lower() in verbs.lower(), f"{verb} {flag}"


@pytest.mark.slow
def test_documentation_builds_offline(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "NO_MKDOCS_2_WARNING": "1",
            "KEYFRAME_NOTEBOOKS": "show",
        },
        check=True,
    )
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    loaded = re.compile(r"<(?:script|link|img)\b[^>]*(?:src|href)=\"?(https?:[^\s\">]+)")
    assert {url for page in pages for url in loaded.findall(page.read_text("utf-8"))} == set()


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether the file exists and, where the link names one, has that heading."""
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    if not target.exists() or not anchor:
        return target.exists()
    return anchor in anchors(on_page_markdown(target.read_text(encoding="utf-8")))


def anchors(markdown: str) -> set[str]:
    """What a link to a heading is called: lower case, hyphens for spaces, no punctuation."""
    text = re.sub(r"^```.*?^```$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
