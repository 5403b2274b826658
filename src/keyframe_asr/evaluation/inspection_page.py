"""Interactive HTML page of `keyframe inspect --out FILE.html`.

The template is `inspection_page.html`. The page embeds audio and data as JSON, draws them in the
browser, and loads no other resources.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from keyframe_asr.audio.reading import Samples
from keyframe_asr.evaluation.font_package import font_face
from keyframe_asr.evaluation.inspection import (
    COLOURS,
    Array,
    InspectionView,
    Spike,
    check_frames,
    find_spikes,
    shortened,
    token_colours,
    visible,
)
from keyframe_asr.io.atomic_write import replacing
from keyframe_asr.pages import filled, shared
from keyframe_asr.text.tokenizer import BLANK
from keyframe_asr.timing import FRAMES_PER_SECOND, SAMPLE_RATE

TEMPLATE = "inspection_page.html"


def write_page(view: InspectionView, samples: Samples, name: str, path: Path | str) -> None:
    """Write the page atomically.

    Args:
        view: the data to show.
        samples: (S,) at 16 kHz, embedded as 16-bit FLAC, which all current browsers play.
        name: of the recording.
        path: the file to write.

    Raises:
        KeyframeError: there are no frames, or the file cannot be written.
    """
    check_frames(view, path)
    with replacing(Path(path)) as temporary:
        temporary.write_text(render_page(view, samples, name), encoding="utf-8")


def render_page(view: InspectionView, samples: Samples, name: str) -> str:
    """Render the page as HTML; all external text is escaped."""
    spikes = find_spikes(view)
    total, kept = len(view.inter_probabilities), len(view.keyframes)
    text = view.transcript.text
    contents = {
        "title": html.escape(name),
        "font": font_face(text + name + "".join(view.pieces[spike.label] for spike in spikes)),
        "style": shared("style.css"),
        "drawing": shared("drawing.js"),
        "text": _text(text),
        "frames": f"{total}",
        "keyframes": f"{kept}",
        "dropped": f"{100 * (1 - kept / total):.1f} %",
        "duration": f"{samples.size / SAMPLE_RATE:.2f} s",
        "audio": _base64(_flac(samples)),
        "tokens": "\n".join(_token_elements(view, spikes)),
        # without "<", the data cannot end the script element that contains it
        "data": json.dumps(_data(view, spikes), ensure_ascii=False).replace("<", "\\u003c"),
    }
    page = resources.files("keyframe_asr.evaluation").joinpath(TEMPLATE).read_text("utf-8")
    return filled(page, contents)


def _text(text: str) -> str:
    """The text as a headline; only the beginning of a long one, which opens with a click."""
    whole, beginning = html.escape(text), html.escape(shortened(text))
    if whole == beginning:
        return f'<p class="text">{whole or "<em>no text</em>"}</p>'
    return f'<details><summary class="text">{beginning}</summary><p>{whole}</p></details>'


def _token_elements(view: InspectionView, spikes: Sequence[Spike]) -> list[str]:
    """One button per token, with times and confidence."""
    colours = map(_number, token_colours(view, spikes))
    return [
        f'<button class="token" type="button" data-start="{token.start:.3f}" '
        f'data-end="{token.end:.3f}" data-colour="{colour}" '
        f'style="--sure:{token.confidence:.3f}" '
        f'title="{token.start:.2f} s, confidence {100 * token.confidence:.0f} %">'
        f"{html.escape(visible(token.text))}</button>"
        for token, colour in zip(view.transcript.tokens, colours, strict=True)
    ]


def _data(view: InspectionView, spikes: Sequence[Spike]) -> Mapping[str, Any]:
    """The data drawn by the browser; energies and probabilities are bytes, frame by frame."""
    low, high = view.fbank_range
    energies = np.clip((view.fbank - low) / max(high - low, 1e-6), 0, 1)
    labels = {spike.label: _number(spike.colour) for spike in spikes if spike.label != BLANK}
    return {
        "seconds": len(view.fbank) / FRAMES_PER_SECOND,
        "spectrogramRate": FRAMES_PER_SECOND,
        "bands": view.fbank.shape[1],
        "spectrogram": _bytes(energies),
        "frameSeconds": view.frame_seconds,
        "blank": _bytes(view.inter_probabilities[:, BLANK]),
        "labels": [
            {"colour": colour, "probability": _bytes(view.inter_probabilities[:, label])}
            for label, colour in labels.items()
        ],
        "allKept": view.all_kept,
        "spikes": [
            {
                "frame": spike.frame,
                "colour": _number(spike.colour),
                "text": "" if spike.label == BLANK else visible(view.pieces[spike.label]),
            }
            for spike in spikes
        ],
    }


def _number(colour: str | None) -> int:
    """The index of a colour in the page; -1 is grey."""
    return COLOURS.index(colour) if colour in COLOURS else -1


def _bytes(values: Array) -> str:
    """Values in [0, 1] as base64-encoded bytes."""
    return _base64((255 * values).round().astype(np.uint8).tobytes())


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _flac(samples: Samples) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()
