"""What the shipped models write of fixed recordings, in every decode mode.

`python tests/golden/shipped_models.py` rewrites `tests/golden/shipped_models.json`. The file holds
what they wrote before options, model folders and rooms of the code were reordered; rewrite it only
when a model itself is replaced.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

GOLDEN = Path(__file__).with_suffix(".json")
CORPORA = {"an4": "an4", "english": "speechocean762", "mandarin": "aishell_sample"}
RECORDINGS = 12
"""Of each corpus, spread over its test part."""

SYNTHESISED = {
    "an4": [("two five nine", "en-us+m3"), ("ENTER R U B", "en-us+f2"), ("erase", "en-us+m1")],
    "demo": [("三七", "cmn+f3"), ("打开", "cmn+m2"), ("九零一", "cmn+m5")],
    "english": [
        ("the weather is nice today", "en-us+m3"),
        ("we are going to the market", "en-us+f2"),
    ],
    "mandarin": [("今天天气很好", "cmn+f3"), ("我们去北京", "cmn+m2")],
}


def synthesised(model: str) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Name and samples of speech that espeak-ng says; the last one is long enough to be cut."""
    from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser

    synthesiser = SpeechSynthesiser()
    spoken = [synthesiser.say(text, voice)[0] for text, voice in SYNTHESISED[model]]
    for (text, voice), samples in zip(SYNTHESISED[model], spoken, strict=True):
        yield f"{text} ({voice})", samples
    pause = np.zeros(12_000, dtype=np.float32)
    parts = [part for _ in range(8) for samples in spoken for part in (samples, pause)]
    yield "all of them, eight times", np.concatenate(parts)


def recorded(model: str, root: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of some recordings of the corpus that a model was tested on."""
    with (root / CORPORA[model] / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["split"] == "test"]
    for row in rows[:: max(1, len(rows) // RECORDINGS)][:RECORDINGS]:
        yield row["utt_id"], root / CORPORA[model] / row["path"]


def texts(model: str, recordings: Sequence[Path | npt.NDArray[np.float32]]) -> dict[str, list[str]]:
    """What a model writes of each recording, by decode mode."""
    import keyframe_asr

    recognizer = keyframe_asr.load(model, "cpu")
    return {
        mode: [one.text for one in recognizer.transcribe_batch(recordings, mode)]
        for mode in recognizer.modes
    }


if __name__ == "__main__":
    corpora = Path(os.environ["KEYFRAME_DATA"])
    written = {}
    for model in SYNTHESISED:
        sources = {"synthesised": dict(synthesised(model))}
        if model in CORPORA:
            sources["recorded"] = dict(recorded(model, corpora))
        written[model] = {
            source: {"names": list(named), **texts(model, list(named.values()))}
            for source, named in sources.items()
        }
        print(model, file=sys.stderr)
    GOLDEN.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
