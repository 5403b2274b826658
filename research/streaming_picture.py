"""Draw one utterance as a stream: words, spikes, and when each token is committed.

    python -m research.streaming_picture docs/streaming.png [--model MODEL] [--text TEXT]

espeak-ng says the text in a voice of no training, and tells when each word ends.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import keyframe_asr
from keyframe_asr.audio.features import samples_of_frames
from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser, WordTime
from keyframe_asr.evaluation.inspection_picture import choose_fonts
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.io.atomic_write import replacing
from keyframe_asr.text.tokenizer import BLANK
from keyframe_asr.timing import FRAMES_PER_SECOND, SAMPLE_RATE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VOICE, RATE = "cmn+f1", 150
SILENCE = 0.3, 1.0
"""Seconds before and after the speech."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a67c00", "#56b4e9", "#7b3fa0")
INK, GREY, PALE = "#222222", "#777777", "#e4e4e4"


@dataclass(frozen=True)
class Committed:
    """A token: its keyframe and the time when it is committed, in seconds."""

    text: str
    spike: float
    time: float


def committed_tokens(
    recognizer: Recognizer, features: Any
) -> tuple[list[Committed], list[float], Any]:
    """Tokens, times when a chunk is computed, and posteriors (N, V), of features (T, F)."""
    stream = recognizer.feature_stream()
    factor, frame = recognizer.config.model.subsampling.factor, recognizer.network.frame_seconds
    state, tokens, times, posteriors = stream.start(), [], [], []
    step = stream.chunk * factor
    first = step + stream.look_ahead * factor
    ends = [*range(first, len(features), step), len(features)]
    begin = 0
    for end in ends:
        (state,), (output,) = stream.step([state], [features[begin:end]], [end == ends[-1]])
        now, begin = samples_of_frames(end) / SAMPLE_RATE, end
        times.append(now)
        posteriors.append(np.exp(output.inter_log_probs))
        for place, label in zip(
            output.keyframes, output.head_log_probs.argmax(axis=1), strict=True
        ):
            if label != BLANK:
                tokens.append(Committed(recognizer.piece(int(label)), place * frame, now))
    return tokens, times[:-1], np.concatenate(posteriors)


def draw(model: str, text: str, path: Path) -> None:
    """Write the picture."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    recognizer = keyframe_asr.load(model, threads=1)
    samples, words = SpeechSynthesiser().say(text, VOICE, rate=RATE)
    before, after = (round(one * SAMPLE_RATE) for one in SILENCE)
    noise = 1e-3 * np.random.default_rng(0).normal(size=samples.size + before + after)
    heard = (np.pad(samples, (before, after)) + noise).astype(np.float32)
    features = recognizer.front_end(heard)
    tokens, times, posteriors = committed_tokens(recognizer, features)
    spoken = [WordTime(one.text, one.start + SILENCE[0], one.end + SILENCE[0]) for one in words]
    families, _ = choose_fonts(text)
    with matplotlib.rc_context({"font.family": families, "text.color": INK}):
        figure = Figure(figsize=(10, 6.6), dpi=160, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(1.3, 1.3, 2.2))
        seconds = len(features) / FRAMES_PER_SECOND
        below.set_xlim(0, seconds)
        _caption(above, "Spectrogram; lines: a chunk and its look-ahead are complete, and computed")
        above.imshow(
            features.T, cmap="magma", origin="lower", aspect="auto", extent=(0, seconds, 0, 1)
        )
        above.set_yticks([])
        _draw_posteriors(middle, posteriors, tokens, recognizer)
        _draw_tokens(below, tokens, spoken)
        for axes in (above, middle, below):
            axes.set_xlim(0, seconds)
            for time in times:
                colour = "white" if axes is above else GREY
                axes.axvline(time, color=colour, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0.5)
        below.set_xlabel("seconds since the start of the stream", size=9)
        with replacing(path) as written:
            figure.savefig(written, format="png")


def _caption(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", size=9.5, pad=5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8, labelcolor=GREY)


def _draw_posteriors(
    axes: Axes, posteriors: Any, tokens: Sequence[Committed], recognizer: Recognizer
) -> None:
    frame = recognizer.network.frame_seconds
    dropped = 1 - len(tokens) / len(posteriors)
    _caption(
        axes,
        f"Inter-CTC posteriors: {len(posteriors)} frames, mostly blank (grey); the "
        f"{len(tokens)} spikes go on, {dropped:.0%} of the frames are dropped",
    )
    seconds = np.arange(len(posteriors)) * frame
    axes.fill_between(seconds, posteriors[:, BLANK], color=PALE, linewidth=0)
    for number, token in enumerate(tokens):
        colour, place = COLOURS[number % len(COLOURS)], round(token.spike / frame)
        label = int(posteriors[place, 1:].argmax()) + 1
        near = slice(max(0, place - 2), place + 3)
        axes.fill_between(seconds[near], posteriors[near, label], color=colour, alpha=0.5)
        axes.plot([token.spike] * 2, [0, 1], color=colour, linewidth=1)
    axes.set_ylim(0, 1.05)
    axes.set_yticks([0, 1])


def _draw_tokens(axes: Axes, tokens: Sequence[Committed], words: Sequence[WordTime]) -> None:
    _caption(
        axes, "Sound of each word (bar), its spike (line), and when its token is committed (dot)"
    )
    for row, (token, word) in enumerate(zip(tokens, words, strict=True)):
        colour, place = COLOURS[row % len(COLOURS)], -row
        axes.barh(
            place, word.end - word.start, left=word.start, height=0.42, color=colour, alpha=0.3
        )
        axes.plot([token.spike] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=1.6)
        axes.plot([word.end, token.time], [place] * 2, color=colour, linewidth=1)
        axes.plot(token.time, place, "o", color=colour, markersize=6)
        delay = 1000 * (token.time - word.end)
        axes.annotate(
            f"{token.text}  {delay:+.0f} ms",
            (token.time, place),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            size=11,
        )
    axes.set_yticks([])
    axes.set_ylim(-len(tokens) + 0.4, 0.6)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="demo-streaming")
    parser.add_argument("--text", default="打开七号灯")
    given = parser.parse_args(arguments)
    draw(given.model, given.text, given.out)


if __name__ == "__main__":
    main()
