"""Latency, revisions, errors and cost of streams.

Utterances follow one another with pauses of two seconds: sentences synthesised by espeak-ng, in
voices of no training and with its own word times, or recordings of a manifest, with the word times
of forced alignment. They are fed in blocks of 32 ms; a clock starts when a block has been spoken,
or when the one before has been computed if that is later, and adds the processor time of the block.
The latency of a word is the time of that clock when its last token is committed, minus the end of
its sound. Only words that are committed correctly count.

    python -m research.benchmarks.streaming demo zh --json FILE
    python -m research.benchmarks.streaming english-mandarin MANIFEST.tsv:dev --json FILE
"""

from __future__ import annotations

import pickle
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from kaldialign import align

import keyframe_asr
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser, WordTime
from keyframe_asr.data.corpora.synthetic.sentences import draw
from keyframe_asr.data.corpora.synthetic.voices import DEV_VOICES
from keyframe_asr.data.manifest import audio_path, load_manifest, text
from keyframe_asr.inference.joining import text_of
from keyframe_asr.inference.options import StreamOptions
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.results import Token
from keyframe_asr.text.scripts import is_unspaced
from keyframe_asr.timing import SAMPLE_RATE
from research.benchmarks.timing import argument_parser, processor, show

PAUSE_SECONDS, LEAD_SECONDS = 2.0, 0.3
"""Silence after a sentence, of which the last part belongs to the next one."""
BLOCK = 512
NOISE = 1e-3
ACCENTS = {"zh": "cmn", "en": "en-us"}
NO_WORD = "*"


@dataclass(frozen=True)
class Sentence:
    """Speech followed by a pause, and its words, which start with the sentence."""

    samples: Samples
    words: list[WordTime]


@dataclass(frozen=True)
class Shown:
    """What a stream gave.

    Attributes:
        committed: tokens with the time of the clock when they came.
        displayed: texts shown one after the other, of one utterance each.
        finals: texts of the ended utterances.
        cost: processor seconds.
    """

    committed: list[tuple[Token, float]]
    displayed: list[list[str]]
    finals: list[str]
    cost: float


def sentences(language: str, count: int, noise: float = NOISE, joined: int = 3) -> list[Sentence]:
    """Return utterances of 1 to `joined` sentences whose words espeak-ng marks one by one."""
    synthesiser, generator = SpeechSynthesiser(), Random(f"streaming {language}")
    found: list[Sentence] = []
    accent = ACCENTS[language]
    while len(found) < count:
        parts = [draw(language, "dev", generator) for _ in range(generator.randint(1, joined))]
        space = "" if language == "zh" else " "
        written, spoken = (space.join(several) for several in zip(*parts, strict=True))
        voice = f"{accent}+{generator.choice(DEV_VOICES)}"
        samples, times = synthesiser.say(spoken, voice, rate=generator.randint(130, 190))
        words = _words(written)
        if len(words) == len(times):
            named = [
                WordTime(word, one.start, one.end) for word, one in zip(words, times, strict=True)
            ]
            found.append(_with_pause(samples, named, len(found), noise))
    return found


def recordings(
    recognizer: Recognizer, manifest: str, count: int, noise: float = NOISE
) -> list[Sentence]:
    """Return recordings of a manifest, of different parts of it, with times of alignment."""
    unknown = recognizer.tokenizer.unknown
    cuts = [cut for cut in load_manifest(manifest) if not unknown(text(cut))]
    found: list[Sentence] = []
    for cut in cuts[:: max(1, len(cuts) // count)][:count]:
        samples = read_audio(audio_path(cut), cut.start, cut.duration)
        words = recognizer.align(samples, text(cut)).words
        times = [WordTime(one.text.upper(), one.start, one.end) for one in words]
        found.append(_with_pause(samples, times, len(found), noise))
    return found


def _with_pause(samples: Samples, words: Sequence[WordTime], seed: int, noise: float) -> Sentence:
    """Put silence with a little noise around speech."""
    before, after = LEAD_SECONDS, PAUSE_SECONDS - LEAD_SECONDS
    padded = np.pad(samples, (round(before * SAMPLE_RATE), round(after * SAMPLE_RATE)))
    heard = padded + noise * np.random.default_rng(seed).normal(size=padded.size)
    later = [WordTime(one.text, one.start + before, one.end + before) for one in words]
    return Sentence(heard.clip(-1, 1).astype(np.float32), later)


def stream(recognizer: Recognizer, samples: Samples, options: StreamOptions) -> Shown:
    """Feed samples (S,) as a microphone would."""
    state, clock, cost = recognizer.start_stream(options), 0.0, 0.0
    committed: list[tuple[Token, float]] = []
    displayed: list[list[str]] = [[]]
    finals: list[str] = []
    for start in range(0, samples.size, BLOCK):
        block = samples[start : start + BLOCK]
        begin = time.process_time()
        state, update = recognizer.accept(state, block)
        taken = time.process_time() - begin
        cost += taken
        clock = max(clock, (start + block.size) / SAMPLE_RATE) + taken
        committed += [(token, clock) for token in update.committed]
        if update.final:
            finals += [one.normal_text for one in update.final]
            displayed.append([])
        line = update.text + update.partial
        if line and displayed[-1][-1:] != [line]:
            displayed[-1].append(line)
    return Shown(committed, displayed, finals, cost)


def together(recognizer: Recognizer, samples: Samples, count: int) -> dict[str, float]:
    """Figures of several streams of the same samples, each begun elsewhere, in blocks of 96 ms."""
    size, seconds = 3 * BLOCK, 30
    places = [samples.size * number // count for number in range(count)]
    rolled = [np.roll(samples, -place) for place in places]
    states = [recognizer.start_stream() for _ in places]
    taken, begin = [], time.process_time()
    for start in range(0, min(samples.size, seconds * SAMPLE_RATE) - size, size):
        now = time.perf_counter()
        found = recognizer.accept_batch(states, [one[start : start + size] for one in rolled])
        states = [state for state, _ in found]
        taken.append(1000 * (time.perf_counter() - now))
    cores = (time.process_time() - begin) / (len(taken) * size / SAMPLE_RATE)
    quantiles = statistics.quantiles(taken, n=100)
    stored = max(len(pickle.dumps(state)) for state in states)
    return {
        "streams": count,
        "cores": round(cores, 3),
        "median_block_ms": round(quantiles[49], 1),
        "p99_block_ms": round(quantiles[98], 1),
        "bytes_of_a_state": stored,
    }


def figures(given: Sequence[Sentence], shown: Shown) -> dict[str, Any]:
    """Return the figures of a stream as JSON values; latencies in milliseconds."""
    times: list[WordTime] = []
    begin = 0.0
    for one in given:
        times += [WordTime(word.text, word.start + begin, word.end + begin) for word in one.words]
        begin += one.samples.size / SAMPLE_RATE
    spoken = [word.text for word in times]
    words = _committed_words(shown.committed)
    latencies, places = [], [0, 0]
    for reference, other in align(spoken, [word for word, _ in words], NO_WORD):
        if reference == other:
            latencies.append(1000 * (words[places[1]][1] - times[places[0]].end))
        places[0] += reference != NO_WORD
        places[1] += other != NO_WORD
    revised = sum(_revised(texts) for texts in shown.displayed)
    final = _words(" ".join(shown.finals))
    quantiles = statistics.quantiles(latencies, n=100)
    return {
        "mean": round(statistics.mean(latencies)),
        "median": round(quantiles[49]),
        "p90": round(quantiles[89]),
        "p99": round(quantiles[98]),
        "words": len(spoken),
        "correct": len(latencies),
        "committed_errors": _errors(spoken, [word for word, _ in words]),
        "final_errors": _errors(spoken, final),
        "revised_per_final": round(revised / max(len(final), 1), 3),
        "rtf": round(shown.cost / begin, 4),
        "rtf_of_speech": round(shown.cost / (begin - PAUSE_SECONDS * len(given)), 4),
    }


def _committed_words(committed: Sequence[tuple[Token, float]]) -> list[tuple[str, float]]:
    """Return words with the time at which their last token came."""
    words: list[tuple[str, float]] = []
    word = ""
    for place, (token, clock) in enumerate(committed):
        word += token.text
        following = committed[place + 1][0].text if place + 1 < len(committed) else "▁"
        ends = following[:1] in ("▁", " ") or is_unspaced(word[-1:]) or is_unspaced(following[:1])
        if ends:
            found = _words(text_of([Token(word, 0, 0, 1)], "mixed"))
            words += [(one, clock) for one in found]
            word = ""
    return words


def _words(line: str) -> list[str]:
    """Return words in capitals, without punctuation; a Chinese character is a word."""
    spaced = "".join(f" {one} " if is_unspaced(one) else one for one in line.upper())
    plain = "".join(one for one in spaced if one.isalnum() or one in " '")
    return plain.split()


def _revised(texts: Sequence[str]) -> int:
    """Return how many shown words were changed or taken back before the utterance ended."""
    total = 0
    for before, after in pairwise(texts):
        old, new = _words(before), _words(after)
        same = 0
        while same < min(len(old), len(new)) and old[same] == new[same]:
            same += 1
        total += len(old) - same
    return total


def _errors(reference: Sequence[str], found: Sequence[str]) -> float:
    wrong: int = sum(one != other for one, other in align(reference, found, NO_WORD))
    return round(wrong / len(reference), 4)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one model with several steps and modes."""
    parser = argument_parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("speech", help="en or zh of espeak-ng, or a manifest")
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument("--steps", type=float, nargs="+", default=[0.2, 0.4, 0.8])
    parser.add_argument(
        "--chunks", type=float, nargs="+", default=[], help="of a model that streams"
    )
    parser.add_argument("--modes", nargs="+", default=["axe"])
    parser.add_argument("--streams", type=int, default=0, help="also feed so many at once")
    parser.add_argument("--noise", type=float, default=NOISE, help="deviation of the noise")
    parser.add_argument("--joined", type=int, default=3, help="most sentences per utterance")
    parser.add_argument("--reference", help="model whose alignment gives the times of recordings")
    parser.add_argument("--backend", default="onnx")
    given = parser.parse_args(arguments)
    recognizer = keyframe_asr.load(given.model, backend=given.backend, threads=1)
    if given.speech in ACCENTS:
        spoken = sentences(given.speech, given.sentences, given.noise, given.joined)
    else:
        reference = recognizer if given.reference is None else keyframe_asr.load(given.reference)
        spoken = recordings(reference, given.speech, given.sentences, given.noise)
    samples = np.concatenate([one.samples for one in spoken])
    stream(recognizer, spoken[0].samples, StreamOptions())  # first calls are slower
    offline = [recognizer.transcribe(one.samples).normal_text for one in spoken]
    found: dict[str, Any] = {
        "model": given.model,
        "speech": Path(given.speech).parent.name or given.speech,
        "sentences": len(spoken),
        "seconds": round(samples.size / SAMPLE_RATE, 1),
        "machine": processor(),
        "offline_errors": _errors(
            [word.text for one in spoken for word in one.words], _words(" ".join(offline))
        ),
    }
    for mode in given.modes:
        streams = recognizer.network.streaming is not None
        for seconds in given.chunks if streams else given.steps:
            options = StreamOptions(partial_decode=mode)
            options = replace(options, **{"chunk" if streams else "step": seconds})
            found[f"{mode} {seconds:g}"] = figures(spoken, stream(recognizer, samples, options))
    if given.streams:
        found["together"] = together(recognizer, samples, given.streams)
    show(found, given.json)


if __name__ == "__main__":
    main()
