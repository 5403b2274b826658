"""Manifests: lists of utterances with their recording, speaker and text.

Two formats are read; both become lhotse cuts with one supervision each:

- `.jsonl` or `.jsonl.gz`: lhotse cuts, each a recording or a part of one, with one supervision;
- `.tsv`: a table with the columns utt_id, speaker, duration_s, path (relative to the table), text
  and split, optionally channel (counted from 0); `FILE.tsv:train` selects the rows of one split.

Where a cut or row names no channel of a recording with several, their mean is used.

No audio file is opened. For a table, the duration is trusted and a sample rate of 16 kHz is
assumed; audio is resampled when it is read.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.cut import Cut
from lhotse.serialization import deserialize_item

from keyframe_asr.errors import ManifestError
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.io.text_file import read_lines
from keyframe_asr.timing import SAMPLE_RATE

PART_TOLERANCE = 0.01
"""Seconds; a cut shorter than its recording by at most this counts as the whole recording."""

COLUMNS = ("utt_id", "speaker", "duration_s", "path", "text", "split")


def load_manifest(path: Path | str) -> CutSet:
    """Read a manifest into memory, in the order of the file.

    Raises:
        ManifestError: the file is missing, empty, of another type, or has an invalid line.
    """
    file, split = _split_suffix(str(path))
    if os.path.isdir(file):
        raise ManifestError(f"{file}: is a folder; give {_manifest_in(file)}")
    if not os.path.isfile(file):
        raise ManifestError(
            f"{file}: no such manifest; give a lhotse cuts file (.jsonl.gz) or a table (.tsv)"
        )
    if file.suffix.lower() == ".tsv":
        cuts = list(_read_table(file, split))
        if split is not None and not cuts:
            raise ManifestError(f"{file}: no row has the split '{split}'; {_splits(file)}")
    elif file.name.lower().endswith((".jsonl", ".jsonl.gz")):
        if split is not None:
            raise ManifestError(f"{path}: only a .tsv table has splits; remove ':{split}'")
        cuts = list(_read_cuts(file))
    else:
        raise ManifestError(
            f"{file}: not a manifest; give a lhotse cuts file (.jsonl, .jsonl.gz) or a table (.tsv)"
        )
    if not cuts:
        raise ManifestError(f"{file}: contains no utterances; add at least one line")
    _check_unique(cuts, file)
    return CutSet.from_cuts(cuts)


def _manifest_in(folder: Path) -> str:
    """Return the manifest to give instead of a folder."""
    for name in ("test.jsonl.gz", "dev.jsonl.gz", "train.jsonl.gz", "test.tsv", "manifest.tsv"):
        if (folder / name).is_file():
            return str(folder / name)
    return "a manifest, a lhotse cuts file (.jsonl.gz) or a table (.tsv)"


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


def audio_path(cut: Cut) -> Path:
    """Path of the recording of a cut; the cut may be a part of it."""
    return Path(cut.recording.sources[0].source)


def audio_channel(cut: Cut) -> int | None:
    """Channel of the file that a cut names, counted from 0; None is the mean of all.

    A cut names one if its recording has several, or not the channel of the cut.
    """
    listed = cut.recording.channel_ids
    if cut.channel not in listed:
        return int(cut.channel)
    return int(listed.index(cut.channel)) if len(listed) > 1 else None


def named_channel(row: dict[str, str], where: str) -> int | None:
    """Channel that a row of a table names; None if it has no such cell.

    Raises:
        ManifestError: it is not a number of a channel.
    """
    cell = row.get("channel", "").strip()
    if not cell:
        return None
    if not re.fullmatch(r"[0-9]{1,3}", cell):
        raise ManifestError(f"{where}: channel is '{cell}'; give a number, the first channel is 0")
    return int(cell)


def text(cut: Cut) -> str:
    """Text of a cut; "" if it has none."""
    return cut.supervisions[0].text or ""


def speaker(cut: Cut) -> str:
    """Speaker of a cut; "" if unknown."""
    return cut.supervisions[0].speaker or ""


def _split_suffix(name: str) -> tuple[Path, str | None]:
    stem, separator, split = name.rpartition(":")
    known = stem.lower().endswith((".tsv", ".jsonl", ".jsonl.gz"))
    return (Path(stem), split) if separator and known else (Path(name), None)


def read_rows(
    file: Path, required: Sequence[str] = COLUMNS
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells of each row of a table (.tsv, or .csv with quotes).

    Raises:
        ManifestError: the file cannot be read, lacks a required column, or has an invalid row.
    """
    comma = file.suffix.lower() == ".csv"
    lines = read_lines(file, "give a table as UTF-8 text", ManifestError)
    # in a tab-separated table, quotes are part of the text
    rows = csv.reader(
        (f"{line}\n" for line in lines),  # a cell in quotes may have several lines
        delimiter="," if comma else "\t",
        quoting=csv.QUOTE_MINIMAL if comma else csv.QUOTE_NONE,
        strict=True,
    )
    separator = "comma" if comma else "tab"
    try:
        header = next(rows, [])
        check_columns(file, header, required, separator)
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise ManifestError(
                    f"{file}:{rows.line_num}: {len(row)} cells, but {len(header)} columns; "
                    f"separate the cells with single {separator}s"
                )
            yield rows.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise ManifestError(f"{file}:{rows.line_num}: not a row of a table: {error}") from None


def check_columns(
    file: Path, header: Sequence[str], required: Sequence[str], separator: str
) -> None:
    """Check the columns of a table.

    Raises:
        ManifestError: a required column is missing, or a column occurs twice.
    """
    missing = [column for column in required if column not in header]
    if missing:
        raise ManifestError(
            f"{file}: missing column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"the first line must name {', '.join(required)}, separated by {separator}s; "
            f"{_found(header, missing, separator)}"
        )
    twice = [column for column, count in Counter(filter(str.strip, header)).items() if count > 1]
    if twice:
        raise ManifestError(f"{file}: more than one column {', '.join(twice)}; remove the others")


def _found(header: Sequence[str], missing: Sequence[str], separator: str) -> str:
    """Name the columns found, and a likely reason that others are missing."""
    if separator == "tab" and len(header) == 1 and "," in header[0]:
        return f"found '{header[0]}', separated by commas: name the file .csv"
    said = f"found {', '.join(map(repr, header)) or 'nothing'}"
    alike = [column for column in header if column.strip().lower() in missing]
    if alike:
        said += f": write {', '.join(one.strip().lower() for one in alike)}, in small letters"
    return said


def _read_table(file: Path, split: str | None) -> Iterator[MonoCut]:
    for line, row in read_rows(file):
        if split is not None and row["split"] != split:
            continue
        duration = _duration(row["duration_s"])
        if duration is None:
            raise ManifestError(
                f"{file}:{line}: duration_s is '{row['duration_s']}'; give seconds, 0 or more"
            )
        for column in ("utt_id", "path"):
            if not row[column]:
                raise ManifestError(f"{file}:{line}: {column} is empty; fill it in")
        audio = Path(os.path.abspath(file.parent / row["path"]))
        samples = round(duration * SAMPLE_RATE)
        channel = named_channel(row, f"{file}:{line}")
        # the table does not say how many there are
        place = None if channel is None else (channel, max(2, channel + 1))
        yield make_cut(row["utt_id"], row["speaker"], row["text"], audio, samples, channel=place)


def _duration(cell: str) -> float | None:
    try:
        duration = float(cell)
    except ValueError:
        return None
    return duration if math.isfinite(duration) and duration >= 0 else None


def _splits(file: Path) -> str:
    found = sorted({row["split"] for _, row in read_rows(file)})
    return f"it has {', '.join(found)}" if found else "the table has no rows"


def _read_cuts(file: Path) -> Iterator[Cut]:
    advice = "it may be truncated, write it again"
    for line, content in enumerate(read_lines(file, advice, ManifestError), start=1):
        if content.strip():
            yield _parse_cut(content, f"{file}:{line}")


def _parse_cut(content: str, where: str) -> Cut:
    try:
        data: Any = json.loads(content)
        cut = deserialize_item(data)
    except Exception as error:  # lhotse raises various errors, AssertionError included
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ManifestError(
            f"{where}: not a lhotse cut ({reason}); write one cut per line"
        ) from None
    if not isinstance(cut, MonoCut):
        raise ManifestError(
            f"{where}: a {type(cut).__name__}, but only lhotse's MonoCut is supported; "
            "write one recording with one channel per line"
        )
    sources = cut.recording.sources if cut.recording is not None else []
    if len(sources) != 1 or sources[0].type != "file":
        raise ManifestError(f"{where}: cut '{cut.id}' is not one audio file; save it as a file")
    if len(cut.supervisions) != 1:
        raise ManifestError(
            f"{where}: cut '{cut.id}' has {len(cut.supervisions)} supervisions instead of one; "
            "split it with lhotse's trim_to_supervisions and save_audios"
        )
    _check_values(cut, where)
    _check_part(cut, where)
    return cut


def _check_values(cut: MonoCut, where: str) -> None:
    """Check what lhotse takes as it is. Raises `ManifestError`."""
    recording, supervision = cut.recording, cut.supervisions[0]
    for name, value in (
        ("start", cut.start),
        ("duration", cut.duration),
        ("channel", cut.channel),
        ("recording.duration", recording.duration),
        ("recording.sampling_rate", recording.sampling_rate),
        ("recording.num_samples", recording.num_samples),
    ):
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
            raise ManifestError(f"{where}: {name} is {value!r}; give a number")
    for name, text, needed in (
        ("id", cut.id, True),
        ("recording.sources.source", recording.sources[0].source, True),
        ("supervisions.text", supervision.text, False),
        ("supervisions.speaker", supervision.speaker, False),
    ):
        if not isinstance(text, str) and (needed or text is not None):
            raise ManifestError(f"{where}: {name} is {text!r}; give a text in quotes")


def _check_part(cut: MonoCut, where: str) -> None:
    recording = cut.recording
    end = cut.start + cut.duration
    if not 0 <= cut.start <= end <= recording.duration + PART_TOLERANCE:
        raise ManifestError(
            f"{where}: cut '{cut.id}' is from {cut.start:.2f} to {end:.2f} s "
            f"of a recording of {recording.duration:.2f} s; write the cuts again"
        )


def _check_unique(cuts: list[Cut], file: Path) -> None:
    seen: set[str] = set()
    for cut in cuts:
        if cut.id in seen:
            raise ManifestError(
                f"{file}: utterance '{cut.id}' occurs twice; give each a unique name"
            )
        seen.add(cut.id)
