"""Times of a text from another text that has them, by the letters that both share.

A pretrained decoder writes tokens of its own, which no frame stands for. CTC writes nearly the same
text, and knows the frame of every token. Both texts are aligned letter by letter (edit distance);
letters that CTC did not write lie evenly between those beside them. So every token gets a frame,
the frames never decrease, and case, punctuation and numerals do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from kaldialign import align

LONGEST_TOKEN_FRAMES = 10
"""Letters of a token of CTC lie within this many frames (0.4 s at 25 Hz), or before the next."""

_GAP = ""


def positions_by_text(
    pieces: Sequence[str], heard: Sequence[tuple[str, int]], bounds: tuple[int, int]
) -> tuple[int, ...]:
    """Return the frame of each token, non-decreasing.

    Args:
        pieces: text of each token.
        heard: text and frame of each token of another hypothesis, in order of time.
        bounds: first and last frame that any token can have.
    """
    letters = [
        (letter, number) for number, piece in enumerate(pieces) for letter in _letters(piece)
    ]
    known = _frames_of_letters(heard, bounds[1])
    places = _aligned([one for one, _ in letters], known, bounds)
    first: dict[int, float] = {}
    for (_, number), place in zip(letters, places, strict=True):
        first.setdefault(number, place)
    frames = [first.get(number, -1.0) for number in range(len(pieces))]
    for number in reversed(range(len(pieces) - 1)):
        if not pieces[number]:  # part of the character that the next token completes
            frames[number] = frames[number + 1]
    # commas and the like are where the token before them is
    earliest = min(first.values(), default=float(bounds[0]))
    rising = list(accumulate(frames, max, initial=earliest))[1:]
    low, high = bounds
    return tuple(min(max(round(frame), low), high) for frame in rising)


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _frames_of_letters(heard: Sequence[tuple[str, int]], last: int) -> list[tuple[str, float]]:
    """Letters with their frames; those of one token lie evenly from its frame on."""
    found: list[tuple[str, float]] = []
    ends = [*(frame for _, frame in heard[1:]), last]
    for (text, frame), end in zip(heard, ends, strict=False):  # without any, only ends is not empty
        span = max(0, min(end - frame, LONGEST_TOKEN_FRAMES))
        letters = _letters(text)
        found += [(one, frame + span * n / len(letters)) for n, one in enumerate(letters)]
    return found


def _aligned(
    letters: Sequence[str], known: Sequence[tuple[str, float]], bounds: tuple[int, int]
) -> list[float]:
    """Frames of letters: those of the letters they are aligned to, else between the nearest."""
    anchors: list[tuple[int, float]] = []
    mine = other = 0
    for one, two in align(list(letters), [letter for letter, _ in known], _GAP):
        if one != _GAP and two != _GAP:
            anchors.append((mine, known[other][1]))
        mine += one != _GAP
        other += two != _GAP
    if not anchors or anchors[0][0] > 0:
        anchors.insert(0, (0, float(bounds[0])))
    if anchors[-1][0] < len(letters):
        anchors.append((len(letters), max(anchors[-1][1], float(bounds[1]))))
    places: list[float] = []
    for (start, low), (stop, high) in pairwise(anchors):
        places += [low + (high - low) * n / (stop - start) for n in range(stop - start)]
    return places
