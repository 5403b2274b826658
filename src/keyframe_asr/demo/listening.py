"""Recognition of newly synthesised speech of unseen voices by the shipped model."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.data.manifest import audio_path, load_manifest, speaker, text
from keyframe_asr.inference.recognizer import load
from keyframe_asr.results import Transcript

MODEL = "demo"
SEED = 20_260_101
"""Seed of a corpus that no training has used."""


def recognise_fresh_speech(folder: Path, utterances: int, console: Console) -> None:
    """Make recordings in `folder`, recognise them with the shipped model, print both texts.

    Raises:
        SpeechSynthesisError: espeak-ng is not installed.
        ModelError: the package ships no such model.
    """
    recognizer = load(MODEL)
    recipe = SyntheticCorpus("mandarin", train=0, dev=0, test=utterances, seed=SEED)
    cuts = list(load_manifest(make_corpus(folder, recipe, overwrite=True)["test"]))
    started = time.perf_counter()
    found = recognizer.transcribe_batch([audio_path(cut) for cut in cuts])
    seconds = time.perf_counter() - started
    table = Table(title=f"Fresh speech, recognised by the shipped model '{MODEL}'")
    for name in ("voice", "said", "recognised", "tokens and their start in seconds"):
        table.add_column(name)
    for cut, transcript in zip(cuts, found, strict=True):
        table.add_row(speaker(cut), text(cut), transcript.text, _times(transcript))
    console.print(table)
    spoken = sum(transcript.duration for transcript in found)
    dropped = sum(one.frame_reduction * one.duration for one in found) / max(spoken, 1e-9)
    console.print(
        f"{spoken:.1f} s of speech in {seconds:.2f} s; {dropped:.0%} of the frames dropped; "
        f"the recordings: {folder / 'audio' / 'test'}",
        highlight=False,
        soft_wrap=True,
    )


def _times(transcript: Transcript) -> str:
    return "  ".join(f"{token.text} {token.start:.2f}" for token in transcript.tokens)
