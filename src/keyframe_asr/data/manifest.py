"""Manifests: lists of utterances with their recording, speaker and text.

They are lhotse cuts with one supervision each, a recording or a part of one (`.jsonl`,
`.jsonl.gz`), or what else `data.sources` reads, such as tables. Where a cut names no channel of a
recording with several, their mean is used.

Recordings are opened only if a source does not tell how long they are. Where a table does, its
duration is trusted and a sample rate of 16 kHz is assumed; audio is resampled when it is read.
"""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.cut import Cut
from lhotse.utils import fastcopy

from keyframe_asr.audio.archives import ArchivedAudio
from keyframe_asr.data.packed_cuts import WRITTEN, PackedCuts
from keyframe_asr.errors import KeyframeWarning, ManifestError
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.timing import SAMPLE_RATE

PART_TOLERANCE = 0.01
"""Seconds; a cut shorter than its recording by at most this counts as the whole recording."""

ARCHIVED = "shar"
"""lhotse's type of a source that is in a tar archive; here with the path or URI of the archive."""

POSITION = "archived"
"""Custom field of a cut: name, first byte and size of its recording in the archive."""


def load_manifest(path: Path | str) -> CutSet:
    """Read a manifest, or another undivided source of `data.sources`, into memory, in its order.

    Warns of what a source lists but cannot be used, such as recordings without texts.

    Raises:
        ManifestError: the file is missing, empty, of another type, or has an invalid line.
    """
    return CutSet.from_cuts(load_packed(path))


def load_packed(path: Path | str) -> PackedCuts:
    """Read a manifest as `load_manifest` does, into far less memory."""
    from keyframe_asr.data.sources import cuts_of_manifest  # sources are built on this module

    cuts, problems = cuts_of_manifest(str(path))
    if problems:
        message = f"{path}: {left_out(problems)}"
        warnings.warn(message, KeyframeWarning, stacklevel=2)
    return cuts


def left_out(problems: Sequence[str], shown: int = 2) -> str:
    """Say how many utterances are left out, with the first reasons."""
    more = "; ..." if len(problems) > shown else ""
    return f"{len(problems)} left out ({'; '.join(problems[:shown])}{more})"


def save_manifest(cuts: Iterable[Cut], path: Path | str) -> None:
    """Write cuts as `.jsonl` or `.jsonl.gz`, atomically; the same cuts give the same bytes."""
    path = Path(path)
    lines = (json.dumps(cut.to_dict(), ensure_ascii=False) + "\n" for cut in cuts)
    content = "".join(lines).encode("utf-8")
    if path.name.endswith(".gz"):
        # no timestamp in the header, so that the file depends on its content only
        content = gzip.compress(content, mtime=0)
    write_whole(path, content, "choose another folder", ManifestError)


def make_cut(
    name: str,
    speaker: str,
    text: str,
    audio: Path,
    num_samples: int,
    rate: int = SAMPLE_RATE,
    part: tuple[int, int] | None = None,
    channel: tuple[int, int] | None = None,
) -> MonoCut:
    """Make the cut of an utterance: a whole recording, or a part of it, with one supervision.

    Args:
        name: name of the utterance.
        speaker: "" if unknown.
        text: transcript.
        audio: path of the recording.
        num_samples: length of the recording at `rate`.
        rate: sample rate in hertz.
        part: first sample of the utterance, and the sample after its last; None is the whole
            recording.
        channel: channel of the utterance, counted from 0, and number of channels, at least 2; None
            is the mean of all channels.
    """
    chosen, channels = channel or (0, 1)
    first, last = part or (0, num_samples)
    duration = (last - first) / rate
    recording = Recording(
        id=name if part is None else audio.stem,
        sources=[AudioSource(type="file", channels=list(range(channels)), source=str(audio))],
        sampling_rate=rate,
        num_samples=num_samples,
        duration=num_samples / rate,
    )
    supervision = SupervisionSegment(
        id=name, recording_id=recording.id, start=0.0, duration=duration, text=text, speaker=speaker
    )
    return MonoCut(
        id=name,
        start=first / rate,
        duration=duration,
        channel=chosen,
        recording=recording,
        supervisions=[supervision],
    )


def is_part(cut: Cut) -> bool:
    """True if a cut is only a part of its recording."""
    return bool(cut.start != 0 or abs(cut.duration - cut.recording.duration) > PART_TOLERANCE)


def audio_of(cut: Cut) -> Path | ArchivedAudio:
    """Recording of a cut, a file or a part of an archive; the cut may be a part of it."""
    source = cut.recording.sources[0]
    if source.type == ARCHIVED:
        name, offset, size = cut.custom[POSITION]
        return ArchivedAudio(source.source, name, offset, size)
    return Path(source.source)


def audio_path(cut: Cut) -> Path:
    """Path of the recording of a cut. Raises `ManifestError` if it is in an archive."""
    audio = audio_of(cut)
    if isinstance(audio, ArchivedAudio):
        raise ManifestError(
            f"{audio.name}: in an archive, but a file is needed here; give the manifest of the "
            "original recordings instead of lhotse Shar"
        )
    return audio


def audio_channel(cut: Cut) -> int | None:
    """Channel of the file that a cut names, counted from 0; None is the mean of all.

    A cut names one if its recording has several, or not the channel of the cut.
    """
    listed = cut.recording.channel_ids
    if cut.channel not in listed:
        return int(cut.channel)
    return int(listed.index(cut.channel)) if len(listed) > 1 else None


def text(cut: Cut) -> str:
    """Text of a cut; "" if it has none."""
    return cut.supervisions[0].text or ""


def in_language(cut: MonoCut, language: str) -> MonoCut:
    """Return the cut with the language of its supervision; "" if that is unknown."""
    said = fastcopy(cut.supervisions[0], language=language or None)
    return fastcopy(cut, supervisions=[said])


def keep_written(cut: Cut) -> Cut:
    """Return the cut, whose text stays known as it is written when it is normalised later.

    A cut whose text was normalised after an earlier call keeps what that call kept.
    """
    said = cut.supervisions[0]
    if WRITTEN in (said.custom or {}):
        return cut
    custom = {**(said.custom or {}), WRITTEN: said.text or ""}
    return fastcopy(cut, supervisions=[fastcopy(said, custom=custom)])


def written_text(cut: Cut) -> str:
    """Text of a cut with case and punctuation, if `keep_written` has kept it; else its text."""
    written = (cut.supervisions[0].custom or {}).get(WRITTEN)
    return text(cut) if written is None else str(written)


def speaker(cut: Cut) -> str:
    """Speaker of a cut; "" if unknown."""
    return cut.supervisions[0].speaker or ""


def check_unique(cuts: Iterable[Cut], file: Path | str) -> None:
    """Raise `ManifestError` if two cuts have the same name."""
    seen: set[str] = set()
    for name in cuts.ids if isinstance(cuts, PackedCuts) else (cut.id for cut in cuts):
        if name in seen:
            raise ManifestError(f"{file}: utterance '{name}' occurs twice; give each a unique name")
        seen.add(name)
