"""The picture of errors per speaker and length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from research.benchmarks.whisper.picture import PARTS, draw, main
from research.benchmarks.whisper.scoring import Scores


def report(speakers: int = 12, each: int = 5) -> dict[str, Any]:
    """Lengths grow with the number of the recording; the second system halves the errors."""
    generator = np.random.default_rng(1)
    lengths = tuple(range(3, 3 + speakers * each))
    names = tuple(f"s{place % speakers}" for place in range(speakers * each))
    before = [int(generator.binomial(size, 0.3)) for size in lengths]
    scores = Scores(lengths, names, {"before": before, "after": [one // 2 for one in before]})
    described = {"title": "Words", "lengths": list(lengths), "systems": scores.described([])}
    silence = {"title": "Noise", "lengths": [0, 0], "systems": {}}
    return {"sets": {"words": described, "noise": silence}}


def test_each_speaker_is_a_point_and_lengths_are_shared_out() -> None:
    figure = draw(report(), "before", "after")
    above, below = figure.axes  # sets without speech have no column
    offsets = np.asarray(above.collections[0].get_offsets())
    assert len(offsets) == 12
    assert (offsets[:, 1] <= offsets[:, 0]).all()
    labels = [one.get_text() for one in below.get_xticklabels()]
    assert len(labels) == PARTS
    assert labels[0].startswith("3-") and labels[-1].endswith("-62")
    before, after = (one.lines[0].get_ydata() for one in below.containers)
    assert (np.asarray(after) < np.asarray(before)).all()


def test_the_picture_is_written(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps(report()))
    main([str(tmp_path / "record.json"), str(tmp_path / "picture.png"), "before", "after"])
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
