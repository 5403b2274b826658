"""`keyframe demo`: recognise with shipped weights, then train three models and compare them."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from rich.console import Console

from keyframe_asr.config.recipe import Recipe, load_recipe
from keyframe_asr.data.corpora.summary import manifest_paths
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.data.manifest import audio_path, load_manifest, text
from keyframe_asr.demo.comparison import (
    HIGHEST_ERROR,
    LEGEND,
    LOWEST_REDUCTION,
    Compared,
    as_table,
    save_comparison,
)
from keyframe_asr.demo.listening import recognise_fresh_speech
from keyframe_asr.errors import KeyframeError
from keyframe_asr.evaluation.inspection import headline, inspection_view
from keyframe_asr.evaluation.inspection_picture import draw_inspection, require_matplotlib
from keyframe_asr.evaluation.scoring import Scoring
from keyframe_asr.inference.options import DecodeMode
from keyframe_asr.inference.recognizer import load
from keyframe_asr.training.run import train

MARKER = ".keyframe-demo"
"""File that marks an output folder of the demo; only such a folder is deleted."""

STAGES: tuple[tuple[str, str, DecodeMode], ...] = (
    ("baseline-longer", "all frames", "ctc"),
    ("til", "keyframes + TIL", "axe"),
    ("axe", "keyframes + AXE", "axe"),
)
"""Rows of the table: stage of the recipe, its name, its greedy decode mode."""


@dataclass(frozen=True)
class DemoSize:
    """What the demo trains, and on how much.

    Attributes:
        recipe: file of this package; its manifests are relative to the output folder.
        corpus: synthetic corpus for training and testing.
        minutes: approximate duration on two idle CPU cores.
        initial: shipped model whose lower half is the start of training; None: random weights.
        fresh_utterances: utterances that the shipped model recognises first.
        overrides: `key=value` overrides of the recipe.
    """

    recipe: str
    corpus: SyntheticCorpus
    minutes: int
    initial: str | None = None
    fresh_utterances: int = 8
    overrides: list[str] = field(default_factory=list)


SHORT = DemoSize(
    "demo.yaml",
    SyntheticCorpus("mandarin", train=1400, dev=60, test=200, seed=7),
    minutes=4,
    initial="demo",
)
LONG = DemoSize(
    "demo_long.yaml", SyntheticCorpus("mandarin", train=2800, dev=60, test=200, seed=7), minutes=14
)

UPPER_HALF = ("fusion", "encoder2", "head", "decoder")
"""Parts of the network above the keyframes."""


def run_demo(out: Path, console: Console, size: DemoSize = SHORT) -> list[Compared]:
    """Run the whole demo; write recordings, models, `table.md`, `table.json` and `picture.png`.

    The output of an earlier demo in `out` is deleted first.

    Raises:
        KeyframeError: `out` contains other files, or an optional package is not installed.
    """
    require_matplotlib()  # said before the work, not after it
    started = time.monotonic()
    _clear(out)
    _say(console, "1 of 4  recognise fresh speech of unseen voices")
    recognise_fresh_speech(out / "fresh", size.fresh_utterances, console)
    _say(
        console,
        f"2 of 4  make a corpus and train three models from {_start(size)}, in five stages "
        f"(about {size.minutes} minutes in all on two idle CPU cores)",
    )
    recipe = _train(out, size)
    _say(console, "3 of 4  compare on unseen voices")
    rows = _compare(out, recipe, console)
    _say(console, "4 of 4  draw one utterance")
    picture, described = _draw(out)
    minutes = (time.monotonic() - started) / 60
    _say(console, f"picture: {picture}\n{described}\nall done in {minutes:.1f} minutes")
    return rows


def _start(size: DemoSize) -> str:
    return f"the lower half of '{size.initial}'" if size.initial else "random weights"


def _clear(out: Path) -> None:
    marker = out / MARKER
    if out.exists() and not out.is_dir():
        raise KeyframeError(f"{out}: is a file; give --out the name of a folder")
    if out.is_dir() and any(out.iterdir()) and not marker.is_file():
        raise KeyframeError(
            f"{out}: holds files that are not the demo's; give another folder with --out"
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    marker.touch()


def _train(out: Path, size: DemoSize) -> Recipe:
    """Synthesise the corpus and train every stage of the recipe."""
    make_corpus(out / "corpus", size.corpus, overwrite=True)
    with resources.as_file(resources.files("keyframe_asr.demo") / size.recipe) as file:
        recipe = load_recipe(file, [*size.overrides, *_manifests(out / "corpus")])
    with warnings.catch_warnings():
        # lhotse advises to read manifests lazily, which pays for far larger ones only.
        warnings.filterwarnings("ignore", module="lhotse")
        # Without `initial`, nothing is loaded and all weights are random anyway.
        parts = UPPER_HALF if size.initial else ()
        train(recipe, out / "run", initial=size.initial, reinitialise=parts)
    return recipe


def _manifests(corpus: Path) -> list[str]:
    """Overrides of a recipe for the manifests of a corpus."""
    found = manifest_paths(corpus)
    return [f"data.{split}={json.dumps(str(path))}" for split, path in found.items()]


def _compare(out: Path, recipe: Recipe, console: Console) -> list[Compared]:
    """Evaluate the models of the table on the test voices; print and save the table."""
    test = manifest_paths(out / "corpus")["test"]
    rows = [
        Compared(
            stage,
            label,
            mode,
            Scoring(load(out / "run" / stage / "model"), [mode, "attention"]).run(str(test)),
        )
        for stage, label, mode in STAGES
        if any(one.name == stage for one in recipe.stages)
    ]
    console.print(as_table(rows))
    markdown, data = save_comparison(rows, out)
    met = "reached" if rows[-1].meets_expectation else "not reached"
    _say(
        console,
        f"{LEGEND}\nThe attention decoder needs longer training than the demo has.\n"
        f"expected of keyframes + AXE: CER below {HIGHEST_ERROR:.0%}, at least "
        f"{LOWEST_REDUCTION:.0%} of the frames dropped: {met}\ntable: {markdown}, {data}",
    )
    return rows


def _draw(out: Path) -> tuple[Path, str]:
    """Draw the longest test utterance with the AXE model; return the picture and a description."""
    test = load_manifest(manifest_paths(out / "corpus")["test"])
    longest = max(test, key=lambda cut: len(text(cut)))
    recognizer = load(out / "run" / "axe" / "model")
    view = inspection_view(recognizer, audio_path(longest), "axe")
    picture = out / "picture.png"
    numbers = draw_inspection(view, picture)
    # Where no font has Han characters, the picture shows numbers instead.
    legend = "  ".join(f"{number} = {token}" for token, number in numbers.items())
    return picture, headline(view) + (f"\nin the picture {legend}" if legend else "")


def _say(console: Console, words: str) -> None:
    console.print(words, highlight=False, soft_wrap=True, markup=False)
