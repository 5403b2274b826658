"""How well the loss per token tells right texts from wrong ones, and the starts of joined speech.

    python -m research.benchmarks.text_fit an4-small data/an4/dev.jsonl.gz --most 100 --json FILE
    python -m research.benchmarks.text_fit an4-small data/an4/dev.jsonl.gz --joined 30

Each text is aligned as it is, then exchanged for one of similar length, with a word deleted,
inserted or replaced, with a third of its words deleted, and with the speech of another recording
after it. Per kind: the area under the ROC curve, and the fraction found at each
threshold (of right texts: falsely).

With `--joined`, recordings are joined to one of so many minutes, and the start of each text is
compared with the alignment of its recording alone.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from keyframe_asr import load
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.data.manifest import audio_path, load_manifest, text
from keyframe_asr.errors import TextError
from keyframe_asr.evaluation.metrics import split_words
from keyframe_asr.evaluation.report import machine
from keyframe_asr.inference.alignment import align_array, align_recording, tokens_of
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.timing import SAMPLE_RATE
from research.benchmarks.timing import argument_parser, show

THRESHOLDS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)

Utterance = tuple[Samples, str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and print the result."""
    parser = argument_parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("--most", type=int, default=10**9, help="number of recordings")
    parser.add_argument("--joined", type=float, metavar="MINUTES")
    given = parser.parse_args(arguments)
    recognizer, generator = load(given.model), random.Random(1)
    cuts = list(load_manifest(given.manifest))
    generator.shuffle(cuts)
    spelled = [cut for cut in cuts if can_spell(recognizer, text(cut))][: given.most]
    speech = [(read_audio(audio_path(cut)), text(cut)) for cut in spelled]
    if given.joined:
        found: dict[str, Any] = {"joined": measure_joined(recognizer, speech, given.joined)}
    else:
        found = {"texts": measure_fit(recognizer, speech, generator)}
    setting = {"model": given.model, "manifest": Path(given.manifest).name}
    setting["machine"] = machine(recognizer.device_name)
    show(setting | found, given.json)


def measure_fit(
    recognizer: Recognizer, speech: Sequence[Utterance], generator: random.Random
) -> list[dict[str, Any]]:
    """Return how well each kind of wrong text is found."""
    losses: dict[str, list[float]] = {}
    for place in range(len(speech)):
        for kind, samples, said in versions(recognizer, speech, place, generator):
            losses.setdefault(kind, []).append(loss(recognizer, samples, said))
    right, lines = np.array(losses["right"]), []
    for kind, values in losses.items():
        found = np.array(values)
        later = (found[:, None] > right).mean() + (found[:, None] == right).mean() / 2
        shares = {str(limit): round(float((found > limit).mean()), 3) for limit in THRESHOLDS}
        lines.append(
            {"text": kind, "number": len(found), "area": round(float(later), 3), "above": shares}
        )
    return lines


def versions(
    recognizer: Recognizer, speech: Sequence[Utterance], place: int, generator: random.Random
) -> Iterator[tuple[str, Samples, str]]:
    """Yield kind, samples and text: an utterance as it is, and what goes wrong in corpora."""
    form = recognizer.config.text_form
    samples, said = speech[place]
    yield "right", samples, said
    others = [one for _, one in speech if one != said]
    alike = sorted(others, key=lambda one: abs(len(one) - len(said)))[:10]
    yield "of another recording", samples, generator.choice(alike)
    after, _ = speech[(place + 1) % len(speech)]
    yield "speech after it", np.concatenate((samples, after)), said
    words = split_words(said, form)
    if len(words) < 3:
        return
    joint = " " if form.separation == "spaces" else ""
    spoken = generator.choice(split_words(generator.choice(others), form))
    at = generator.randrange(len(words))
    yield "word deleted", samples, joint.join(words[:at] + words[at + 1 :])
    yield "word inserted", samples, joint.join([*words[:at], spoken, *words[at:]])
    if spoken != words[at]:
        yield "word replaced", samples, joint.join([*words[:at], spoken, *words[at + 1 :]])
    third = max(1, len(words) // 3)
    at = generator.randrange(len(words) - third + 1)
    yield "third deleted", samples, joint.join(words[:at] + words[at + third :])


def can_spell(recognizer: Recognizer, said: str) -> bool:
    """Return whether the model has tokens for a text."""
    try:
        return bool(tokens_of(recognizer, said))
    except TextError:
        return False


def loss(recognizer: Recognizer, samples: Samples, said: str) -> float:
    """Loss per token; infinite if the text is too long for the samples."""
    tokens = tokens_of(recognizer, said)
    try:
        return align_array(recognizer, samples, tokens, "").misfit(len(tokens)).lost
    except TextError:
        return float("inf")


def measure_joined(
    recognizer: Recognizer, speech: Sequence[Utterance], minutes: float
) -> dict[str, Any]:
    """Return how far starts in a joined recording are from those of the recordings alone."""
    chosen: list[Utterance] = []
    while sum(samples.size for samples, _ in chosen) < minutes * 60 * SAMPLE_RATE:
        chosen.append(speech[len(chosen) % len(speech)])
    tokens = [tokens_of(recognizer, said) for _, said in chosen]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "joined.flac"
        soundfile.write(file, np.concatenate([samples for samples, _ in chosen]), SAMPLE_RATE)
        began = time.process_time()
        found = align_recording(recognizer, file, [token for own in tokens for token in own])
        seconds = time.process_time() - began
    errors, first, joint = [], 0, 0.0
    for (samples, _), own in zip(chosen, tokens, strict=True):
        alone = align_array(recognizer, samples, own, "").transcript.tokens[0].start
        errors.append(abs(found.transcript.tokens[first].start - joint - alone))
        first, joint = first + len(own), joint + samples.size / SAMPLE_RATE
    middle, most = np.percentile(errors, (50, 95))
    return {
        "seconds": round(joint, 1),
        "texts": len(chosen),
        "median error": round(float(middle), 3),
        "95 %": round(float(most), 3),
        "largest": round(float(max(errors)), 3),
        "cpu seconds per second": round(seconds / joint, 4),
    }


if __name__ == "__main__":
    main()
