"""What the shipped models write of fixed recordings by default, short ones also in every mode.

It is what torch writes, in float32, which is the same on every processor.

`python tests/golden/shipped_models.py [MODEL ...]` rewrites `tests/golden/shipped_models.json`, for
some models or all; rewrite it only when a model or its `config.yaml` is changed.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

GOLDEN = Path(__file__).with_suffix(".json")
CORPORA = {
    "an4": ("an4",),
    "an4-small": ("an4",),
    "an4-streaming": ("an4",),
    "english-mandarin": ("speechocean762", "aishell_sample"),
}
RECORDINGS = 2
"""Of each corpus, spread over its test part."""

LETTERS_AND_NUMBERS = [
    ("two five nine", "en-us+m3"),
    ("ENTER R U B", "en-us+f2"),
    ("erase", "en-us+m1"),
]
COMMANDS = [("三七", "cmn+f3"), ("打开", "cmn+m2"), ("九零一", "cmn+m5")]
SYNTHESISED = {
    "an4": LETTERS_AND_NUMBERS,
    "an4-small": LETTERS_AND_NUMBERS,
    "an4-streaming": LETTERS_AND_NUMBERS,
    "demo": COMMANDS,
    "demo-streaming": COMMANDS,
    "english-mandarin": [
        ("the weather is nice today", "en-us+m3"),
        ("we are going to the market", "en-us+f2"),
        ("今天天气很好", "cmn+f3"),
        ("我们去北京", "cmn+m2"),
    ],
}


def synthesised(model: str) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Name and samples of sentences that espeak-ng says."""
    from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser

    synthesiser = SpeechSynthesiser()
    for text, voice in SYNTHESISED[model]:
        yield f"{text} ({voice})", synthesiser.say(text, voice)[0]


def long(model: str) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Name and samples of a recording of these sentences that is long enough to be cut."""
    pause = np.zeros(12_000, dtype=np.float32)
    once = [part for _, samples in synthesised(model) for part in (samples, pause)]
    yield "all of them, eight times", np.concatenate(8 * once)


def recorded(model: str, root: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of some recordings of the corpora that a model was tested on."""
    for folder in (root / corpus for corpus in CORPORA[model]):
        with (folder / "manifest.tsv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file, delimiter="\t") if row["split"] == "test"]
        for row in rows[:: len(rows) // 12][: 6 * RECORDINGS : 6]:
            yield row["utt_id"], folder / row["path"]


def written(
    model: str,
    named: Iterable[tuple[str, Path | npt.NDArray[np.float32]]],
    modes: int | None,
    backend: Literal["torch", "auto"] = "torch",
) -> dict[str, list[str]]:
    """Names of the recordings, and what a model writes of each by default and in its first modes.

    `default_mode` is the mode of the default; every mode is decoded with its stored search.
    """
    import keyframe_asr

    recognizer = keyframe_asr.load(model, "cpu", backend=backend)
    names, recordings = zip(*named, strict=True)
    found = {"names": list(names), "default_mode": [recognizer.default_mode]}
    for key, mode in [("default", None), *((mode, mode) for mode in recognizer.modes[:modes])]:
        found[key] = [one.text for one in recognizer.transcribe_batch(recordings, mode)]
    return found


if __name__ == "__main__":
    corpora = Path(os.environ["KEYFRAME_DATA"])
    chosen = sys.argv[1:] or list(SYNTHESISED)
    kept = json.loads(GOLDEN.read_text(encoding="utf-8"))
    found = {model: kept[model] for model in SYNTHESISED if model in kept}
    for model in chosen:
        found[model] = {"synthesised": written(model, synthesised(model), None)}
        found[model]["long"] = written(model, long(model), 1)
        if model in CORPORA:
            found[model]["recorded"] = written(model, recorded(model, corpora), None)
        print(model, file=sys.stderr)
    GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
