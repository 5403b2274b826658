"""Hold out a development set.

By speaker where speakers are known, so that the development set measures speech of people that the
model has not heard: whole speakers are drawn until they have `share` of the recordings, at least
`LEAST`, and if possible `LEAST_SECONDS`. Otherwise by sentence: recordings of the same text stay on
one side. At most `MOST` are drawn, more only if every speaker has more, and never more than a third
of the recordings.

The draw depends only on the seed and the names of speakers and recordings: not on their order, and
little on which others there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from lhotse import CutSet
from lhotse.cut import Cut

from keyframe_asr.data.manifest import audio_of, is_part, speaker, text
from keyframe_asr.errors import ManifestError

if TYPE_CHECKING:
    from keyframe_asr.data.sources import Source

SHARE = 0.1
LEAST, LEAST_SECONDS, MOST = 20, 90.0, 300
MIN_RECORDINGS = 10
"""Fewer recordings cannot be divided."""

_LARGEST = 1 / 3
"""Of the recordings."""


def hold_out(
    cuts: Iterable[Cut], share: float = SHARE, seed: int = 0, name: str = "the training data"
) -> tuple[CutSet, CutSet]:
    """Divide recordings into training and development set, each in the given order.

    Args:
        cuts: with unique names.
        share: of the recordings to hold out, between 0 and 1/3.
        seed: another seed gives another draw.
        name: of the data, for the error message.

    Raises:
        ManifestError: there are fewer than `MIN_RECORDINGS`.
    """
    every = list(cuts)
    if len(every) < MIN_RECORDINGS:
        raise ManifestError(
            f"{name}: {len(every)} recordings are too few to hold out a development set (at least "
            f"{MIN_RECORDINGS}); give one, or more recordings"
        )
    for group in (_voice, _sentence, _name):
        if dev := _drawn(every, group, share, seed):
            break
    return (
        CutSet.from_cuts(cut for cut in every if cut.id not in dev),
        CutSet.from_cuts(cut for cut in every if cut.id in dev),
    )


def train_and_dev(source: Source, share: float = SHARE, seed: int = 0) -> tuple[CutSet, CutSet]:
    """Training and development set of a source: its own, else held out of its training part.

    Raises:
        ManifestError: it has no training part, or too few recordings to hold some out.
    """
    if not source.splits:
        return hold_out(source.cuts, share, seed, source.name)
    if "train" not in source.splits:
        raise ManifestError(
            f"{source.name}: has no training part, only {', '.join(source.splits)}; give another"
        )
    if "dev" in source.splits:
        return source.splits["train"], source.splits["dev"]
    return hold_out(source.splits["train"], share, seed, source.name)


def describe_division(train: Iterable[Cut], dev: Iterable[Cut]) -> str:
    """Say in one line how a development set compares to its training set."""
    known, held = list(train), list(dev)
    seconds = sum(cut.duration for cut in held)
    speakers = {speaker(cut) for cut in held} - {""}
    shared = {speaker(cut) for cut in known} & speakers
    said = f"dev: {len(held)} of {len(known) + len(held)} recordings, {seconds / 60:.1f} minutes"
    if speakers:
        of = f"{len(speakers)} speaker{'s' * (len(speakers) > 1)}"
        said += f", {of} ({f'{len(shared)} also in train' if shared else 'none in train'})"
    else:
        said += ", speakers unknown"
    if repeated := repeated_texts(known, held):
        said += f"; {repeated} of its texts also in train"
    return said


def repeated_texts(train: Iterable[Cut], dev: Iterable[Cut]) -> int:
    """Count the recordings of a development set whose text occurs in the training set too."""
    known = {_sentence(cut) for cut in train}
    return sum(_sentence(cut) in known for cut in dev)


def _drawn(cuts: list[Cut], group: Callable[[Cut], str], share: float, seed: int) -> set[str]:
    """Draw whole groups, as many as are wanted; none if there are no suitable groups."""
    groups: dict[str, list[Cut]] = {}
    for cut in cuts:
        groups.setdefault(group(cut), []).append(cut)
    unknown = len(groups.pop("", ()))  # they stay in the training set
    if len(groups) < 2 or 2 * unknown > len(cuts):
        return set()
    largest = int(len(cuts) * _LARGEST)
    wanted = min(max(round(len(cuts) * share), LEAST), MOST, largest)
    order = sorted(groups, key=lambda name: _digest(seed, name))
    for limit in (min(MOST, largest), largest):
        for start in range(len(order)):  # small groups drawn first may leave no room for others
            drawn = _within([groups[name] for name in order[start:] + order[:start]], wanted, limit)
            if 2 * len(drawn) >= wanted:
                return {cut.id for cut in drawn}
    return set()


def _within(groups: list[list[Cut]], wanted: int, limit: int) -> list[Cut]:
    """Take groups until there are as many cuts as wanted, and enough seconds, within the limit."""
    drawn: list[Cut] = []
    seconds = 0.0
    for group in groups:
        if len(drawn) >= wanted and (seconds >= LEAST_SECONDS or 2 * len(drawn) >= limit):
            break
        if len(drawn) + len(group) <= limit:
            drawn += group
            seconds += sum(cut.duration for cut in group)
    return drawn


def _voice(cut: Cut) -> str:
    """Speaker of a cut; a long recording of which it is a part, if the speaker is unknown."""
    return speaker(cut) or (str(audio_of(cut)) if is_part(cut) else "")


def _sentence(cut: Cut) -> str:
    return " ".join(text(cut).casefold().split()) or cut.id


def _name(cut: Cut) -> str:
    return str(cut.id)


def _digest(seed: int, name: str) -> bytes:
    key = f"{seed}/{name}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(key, digest_size=8).digest()
