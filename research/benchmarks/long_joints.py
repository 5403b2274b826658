"""Compare error rates of single utterances and of their concatenation, with and without silence.

    python -m research.benchmarks.long_joints an4-small an4_test.tsv --decode ctc

The concatenation is read in blocks, segmented and joined. The cost of this is the difference from
the first line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from keyframe_asr import load
from keyframe_asr.audio.reading import read_audio
from keyframe_asr.data.manifest import audio_path, load_manifest, text
from keyframe_asr.evaluation.metrics import Errors, word_errors
from keyframe_asr.inference.options import DecodeMode, RecognitionOptions, VoiceActivity
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.timing import SAMPLE_RATE

SILENCES: dict[str, tuple[float, float]] = {
    "without silence": (0.0, 0.0),
    "0.3-1.0 s of silence": (0.3, 1.0),
}


def glued(paths: list[Path], silence: tuple[float, float]) -> Iterator[np.ndarray]:
    """Yield the recordings in order, each followed by silence of random duration in seconds."""
    random = np.random.default_rng(0)
    for path in paths:
        yield read_audio(path)
        yield np.zeros(round(random.uniform(*silence) * SAMPLE_RATE), dtype=np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and print one line per setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--decode", default=None)
    parser.add_argument("--vad", nargs="*", default=["loudness", "silero"])
    given = parser.parse_args(arguments)
    recognizer = load(given.model)
    form = recognizer.config.text_form
    cuts = list(load_manifest(given.manifest))
    paths, texts = [audio_path(cut) for cut in cuts], [text(cut) for cut in cuts]
    found = recognizer.transcribe_batch(paths, given.decode)
    show("one by one", "", word_errors(texts, [one.text for one in found], form), 0.0)
    whole = (" " if form.separation == "spaces" else "").join(texts)
    with tempfile.TemporaryDirectory() as folder:
        for name, silence in SILENCES.items():
            path = Path(folder) / "glued.flac"
            with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
                for samples in glued(paths, silence):
                    file.write(samples)
            for kind in given.vad:
                measure(recognizer, path, kind, given.decode, name, whole)


def measure(
    recognizer: Recognizer,
    path: Path,
    kind: VoiceActivity,
    decode: DecodeMode | None,
    name: str,
    whole: str,
) -> None:
    """Recognise the concatenation, and print its line."""
    began = time.process_time()
    options = RecognitionOptions(decode=decode, voice_activity=kind)
    result = recognizer.transcribe(path, options)
    errors = word_errors([whole], [result.text], recognizer.config.text_form)
    seconds = time.process_time() - began
    starts = [token.start for token in result.tokens]
    assert starts == sorted(starts)
    show(name, f"{kind}, {len(result.segments)} segments", errors, seconds / result.duration)


def show(name: str, how: str, errors: Errors, cost: float) -> None:
    """Print one line of JSON."""
    line = {
        "recording": name,
        "cut by": how,
        "wer": round(errors.rate, 4),
        "substitutions": errors.substitutions,
        "deletions": errors.deletions,
        "insertions": errors.insertions,
        "words": errors.reference_length,
        "cpu seconds per second": round(cost, 4),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
