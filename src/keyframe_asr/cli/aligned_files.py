"""What `keyframe align` writes of a corpus: a folder with a list of the utterances, and formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from keyframe_asr.formats import FORMATS, Source, escaped, render
from keyframe_asr.formats.ctm import file_field
from keyframe_asr.formats.kaldi import KaldiUtterance, data_folder
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.results import Transcript

if TYPE_CHECKING:
    from keyframe_asr.inference.corpus_alignment import AlignedCut, AlignedUtterance

LIST = "utterances.tsv"


class AlignFormat(StrEnum):
    """Formats of a single recording, and `kaldi` and `cuts` of a corpus."""

    text = "text"
    json = "json"
    jsonl = "jsonl"
    srt = "srt"
    vtt = "vtt"
    ctm = "ctm"
    textgrid = "textgrid"
    kaldi = "kaldi"
    cuts = "cuts"


def write_list(found: Sequence[AlignedCut], out: Path) -> Counter[str]:
    """Write `utterances.tsv`, and return how many utterances are of each kind."""
    lines = ["utt_id\tfit\tloss_per_token\tstart\tend\treason\ttext\n"]
    kinds: Counter[str] = Counter()
    for one in found:
        if one.error is not None:
            kinds["failed"] += 1
            reason = escaped(str(one.error))
            lines.append(f"{escaped(one.cut.id)}\tfailed\t\t\t\t{reason}\t\n")
        for utterance in one.utterances:
            fit = "fits" if utterance.fits else "doubtful"
            kinds[fit] += 1
            cells = (
                escaped(utterance.id),
                fit,
                f"{utterance.lost:.3f}",
                f"{one.cut.start + utterance.start:.3f}",
                f"{one.cut.start + utterance.end:.3f}",
                escaped(utterance.reason),
                escaped(utterance.text),
            )
            lines.append("\t".join(cells) + "\n")
    write_whole(out / LIST, "".join(lines))
    return kinds


def write_format(
    output: AlignFormat, found: Sequence[AlignedCut], out: Path, source: Source, dropping: bool
) -> None:
    """Write one format into a folder; with `dropping`, without doubtful utterances.

    Args:
        output: the format.
        found: alignments in the order of the manifest.
        out: the folder.
        source: the model's settings, for JSON.
        dropping: leave out utterances whose text is doubtful, and recordings with nothing else.
    """
    kept = [(one, u) for one in found for u in one.utterances if u.fits or not dropping]
    if output is AlignFormat.kaldi:
        for name, content in data_folder(_kaldi(*pair) for pair in kept).items():
            write_whole(out / name, content)
    elif output is AlignFormat.cuts:
        from keyframe_asr.data.aligned_cuts import aligned_cut
        from keyframe_asr.data.manifest import save_manifest

        cuts = [aligned_cut(one.cut, u.id, u.text, (u.start, u.end), u.words) for one, u in kept]
        save_manifest(cuts, out / "cuts.jsonl.gz")
    elif output is AlignFormat.ctm:
        write_whole(out / "alignment.ctm", "".join(_ctm(*pair) for pair in kept))
    else:
        for cut in found:
            if cut.transcript is None or (dropping and not any(u.fits for u in cut.utterances)):
                continue
            name = file_field(cut.cut.id).replace("/", "_") + FORMATS[output].suffix
            recording = Source(cut.cut.recording.sources[0].source, settings=source.settings)
            write_whole(out / output.value / name, render(cut.transcript, output, recording))


def _kaldi(one: AlignedCut, utterance: AlignedUtterance) -> KaldiUtterance:
    recording = one.cut.recording
    return KaldiUtterance(
        utterance.id,
        recording.id,
        recording.sources[0].source,
        one.cut.supervisions[0].speaker or "",
        one.cut.start + utterance.start,
        one.cut.start + utterance.end,
        utterance.text,
    )


def _ctm(one: AlignedCut, utterance: AlignedUtterance) -> str:
    """Return the lines of an utterance, with times from the start of the recording."""
    words = [
        replace(word, start=word.start + one.cut.start, end=word.end + one.cut.start)
        for word in utterance.words
    ]
    source = Source(one.cut.recording.id, id=one.cut.recording.id, channel=1 + one.cut.channel)
    return render(Transcript(utterance.text, words=words), "ctm", source)
