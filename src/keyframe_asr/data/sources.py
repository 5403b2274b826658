"""Sources of recordings with texts, as people have them.

- a manifest of lhotse cuts (.jsonl, .jsonl.gz)
- a table (.tsv, .csv, JSON Lines as NeMo's manifests), or `FILE:SPLIT` for the rows of one split
- a Kaldi data folder
- a folder of recordings with texts of the same names, or as LJ Speech is laid out
- a folder with a table `manifest` or `metadata`, such as Hugging Face's audio folders
- a folder of lhotse Shar, also at a URI such as s3://BUCKET/FOLDER
- a folder that holds one of these for train, dev and test, such as `keyframe prepare` writes

`load_source` opens every recording; `data.manifest.load_manifest` only those of unknown length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from lhotse import CutSet
from lhotse.cut import Cut

from keyframe_asr.audio.archives import ArchivedAudio
from keyframe_asr.audio.byte_source import name_of
from keyframe_asr.audio.reading import AudioLength
from keyframe_asr.data.corpora.listed_cut import cut_of
from keyframe_asr.data.corpora.listed_source import Entry, ListedSource
from keyframe_asr.data.corpora.listing import SPLITS, Split
from keyframe_asr.data.corpora.tables import SPLIT_NAMES
from keyframe_asr.data.feature_store import DURATION_TOLERANCE
from keyframe_asr.data.manifest import (
    audio_of,
    check_unique,
    in_language,
    is_part,
    left_out,
    make_cut,
)
from keyframe_asr.data.packed_cuts import PackedCuts
from keyframe_asr.data.recording_lengths import read_lengths
from keyframe_asr.data.source_listing import Part, parts_of
from keyframe_asr.errors import AudioError, ManifestError
from keyframe_asr.timing import SAMPLE_RATE

Lengths: TypeAlias = Mapping[Path | ArchivedAudio, AudioLength | AudioError]


@dataclass(frozen=True)
class Source:
    """Recordings with texts, each checked to be readable.

    Attributes:
        name: as given.
        kind: what it is, in words.
        cuts: all recordings, with unique names, in the order of the source.
        splits: those of train, dev and test, where the source tells them apart; else empty.
        columns: usual name of each column of a table, and its name there.
        skipped: what is left out, one line "NAME: reason" each.
    """

    name: str
    kind: str
    cuts: CutSet
    splits: dict[Split, CutSet] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """What was taken, in one line."""
        minutes = sum(cut.duration for cut in self.cuts) / 60
        amount = f"{minutes / 60:.1f} hours" if minutes >= 60 else f"{minutes:.1f} minutes"
        said = f"{self.name}: {self.kind}, {len(self.cuts)} recordings, {amount}"
        if self.splits:
            said += f" ({', '.join(f'{name} {len(one)}' for name, one in self.splits.items())})"
        renamed = [f"{own} -> {usual}" for usual, own in self.columns.items() if own != usual]
        if renamed:
            said += f"; columns {', '.join(renamed)}"
        if self.skipped:
            said += f"; {left_out(self.skipped)}"
        return said


def load_source(
    path: Path | str, progress: Callable[[int, int], None] = lambda done, total: None
) -> Source:
    """Read a source and open every recording; those that cannot be used are left out and named.

    Args:
        path: file or folder, also `FILE:SPLIT` for the rows of a table.
        progress: called with (done, total) recordings.

    Raises:
        ManifestError: there is no source, its lists are damaged, or no recording can be used.
    """
    name, parts = str(path), parts_of(str(path))
    lengths = read_lengths((one for part in parts.values() for one in _paths(part)), progress)
    skipped: list[str] = []
    cuts: dict[Split | None, list[Cut]] = {}
    for split, part in parts.items():
        for own, cut in _usable(part, lengths, skipped):
            cuts.setdefault(split or own, []).append(cut)
    every = [cut for some in cuts.values() for cut in some]
    if not every:
        raise ManifestError(f"{name}: {_why_none(skipped, lengths)}")
    check_unique(every, Path(name))
    first = next(iter(parts.values()))
    listed = first if isinstance(first, ListedSource) else ListedSource("cuts")
    return Source(
        name,
        listed.kind,
        CutSet.from_cuts(every),
        {split: CutSet.from_cuts(cuts[split]) for split in SPLITS if split in cuts},
        listed.columns,
        tuple(skipped),
    )


def _paths(part: Part) -> Iterator[Path | ArchivedAudio]:
    if isinstance(part, ListedSource):
        yield from (one.utterance.audio for one in part.entries)
    else:
        yield from map(audio_of, part)


def _usable(part: Part, lengths: Lengths, skipped: list[str]) -> Iterator[tuple[Split | None, Cut]]:
    """Yield the cuts of a part whose recording is usable, and the split that a row names."""
    if not isinstance(part, ListedSource):
        for cut in part:
            if reason := _unusable(cut, lengths[audio_of(cut)]):
                skipped.append(f"{cut.id}: {reason}")
            else:
                yield None, cut
        return
    skipped += part.problems
    divided = any(_split(one) for one in part.entries)
    for one in part.entries:
        name, length = one.utterance.id, lengths[one.utterance.audio]
        made = str(length) if isinstance(length, AudioError) else cut_of(one.utterance, length)
        if isinstance(made, str):
            skipped.append(f"{name}: {made}")
        elif divided and not _split(one):
            skipped.append(f"{name}: its split '{one.split}' is none of {', '.join(SPLIT_NAMES)}")
        else:
            yield _split(one), made


def _split(entry: Entry) -> Split | None:
    return SPLIT_NAMES.get(entry.split.strip().lower())


def _unusable(cut: Cut, length: AudioLength | AudioError) -> str:
    """Say why a cut of a manifest cannot be used; "" if it can."""
    if isinstance(length, AudioError):
        return str(length)
    if cut.recording.transforms:
        return "augmented copy (its recording has transforms)"
    seconds = length.samples / length.sample_rate
    stated = cut.start + cut.duration if is_part(cut) else cut.duration
    off = stated - seconds if is_part(cut) else abs(stated - seconds)
    if off > DURATION_TOLERANCE:
        return (
            f"{name_of(audio_of(cut))}: {seconds:.2f} s long, but the manifest says {stated:.2f} s"
        )
    return ""


def _why_none(skipped: Sequence[str], lengths: Lengths) -> str:
    """Say why no recording can be used, and what to do."""
    if not skipped:
        return "contains no utterances; add at least one line"
    missing = [one for one in lengths if isinstance(one, Path) and not one.exists()]
    if missing and len(missing) == len(lengths):
        return (
            f"none of its {len(lengths)} recordings exists (first {missing[0]}); paths are "
            "relative to the folder of the table"
        )
    return f"contains no utterance that can be used, {left_out(skipped)}; get other files"


def cuts_of_manifest(name: str) -> tuple[PackedCuts, list[str]]:
    """Cuts of an undivided source, and its problems, one line "NAME: reason" each.

    Opens only the recordings whose length it does not tell. One that cannot be opened gets no
    duration, so that whoever reads it gets the error.

    Raises:
        ManifestError: there is no source, its lists are damaged or empty, or it is divided.
    """
    part = parts_of(name, divided=False)[None]
    problems: list[str] = []
    if isinstance(part, ListedSource):
        problems += part.problems
        part = PackedCuts.of(_listed(part, problems))
    if not part:
        raise ManifestError(f"{name}: {_why_none(problems, {})}")
    check_unique(part, name)
    return part, problems


def _listed(part: ListedSource, problems: list[str]) -> Iterator[Cut]:
    unknown = (one for one in part.entries if one.seconds is None)
    lengths = read_lengths(one.utterance.audio for one in unknown)
    for one in part.entries:
        length = lengths.get(one.utterance.audio)
        made = cut_of(one.utterance, length) if isinstance(length, AudioLength) else None
        if isinstance(made, str):
            problems.append(f"{one.utterance.id}: {made}")
        else:
            yield made or _stated(one)


def _stated(entry: Entry) -> Cut:
    """Make a cut of a whole recording of the stated duration; 0 if it has none."""
    one = entry.utterance
    samples = round((entry.seconds or 0.0) * SAMPLE_RATE)
    # the table does not say how many there are
    place = None if one.channel is None else (one.channel, max(2, one.channel + 1))
    cut = make_cut(one.id, one.speaker, one.text, one.audio, samples, channel=place)
    return in_language(cut, one.language)
