"""What a prepared corpus holds; written last, it also tells that the preparation is complete."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lhotse.cut import Cut

from keyframe_asr.data.manifest import save_manifest, speaker, text

SUMMARY = "summary.json"


@dataclass(frozen=True)
class SplitSummary:
    """One split. `characters` leaves out spaces; in Mandarin they are what `words` is elsewhere."""

    utterances: int
    speakers: int
    hours: float
    words: int
    characters: int


@dataclass(frozen=True)
class CorpusSummary:
    """A prepared corpus: its splits, and what whoever uses it should know."""

    corpus: str
    fingerprint: str
    splits: dict[str, SplitSummary]
    notes: list[str]


def fingerprint(*parts: str) -> str:
    """Names everything that a preparation depends on: equal if and only if all parts are."""
    return hashlib.sha256(json.dumps(parts).encode("utf-8")).hexdigest()


def summarise(cuts: Sequence[Cut]) -> SplitSummary:
    """Count a split."""
    texts = [text(cut) for cut in cuts]
    return SplitSummary(
        utterances=len(cuts),
        speakers=len({speaker(cut) for cut in cuts}),
        hours=round(sum(cut.duration for cut in cuts) / 3600, 4),
        words=sum(len(line.split()) for line in texts),
        characters=sum(len("".join(line.split())) for line in texts),
    )


def manifest_paths(out: Path) -> dict[str, Path]:
    """Where the manifests of a prepared corpus lie, by split."""
    return {split: out / f"{split}.jsonl.gz" for split in ("train", "dev", "test")}


def read_summary(out: Path) -> CorpusSummary | None:
    """The summary in `out`, None if there is no complete preparation."""
    try:
        data = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
        splits = {name: SplitSummary(**split) for name, split in data.pop("splits").items()}
        summary = CorpusSummary(splits=splits, **data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    whole = all(path.is_file() for path in manifest_paths(out).values())
    return summary if whole else None


def finished(out: Path, wanted: str) -> CorpusSummary | None:
    """The summary in `out`, if it is that of a complete preparation with this fingerprint."""
    summary = read_summary(out)
    return summary if summary is not None and summary.fingerprint == wanted else None


def begin(out: Path) -> None:
    """Before any file is written: whatever `out` holds is no complete preparation any more."""
    out.mkdir(parents=True, exist_ok=True)
    (out / SUMMARY).unlink(missing_ok=True)


def publish(
    out: Path, corpus: str, mark: str, splits: Mapping[str, Sequence[Cut]], notes: list[str]
) -> CorpusSummary:
    """Write the manifests, then the summary under the fingerprint `mark`."""
    begin(out)
    for split, path in manifest_paths(out).items():
        save_manifest(splits[split], path)
    counts = {split: summarise(cuts) for split, cuts in splits.items()}
    summary = CorpusSummary(corpus, mark, counts, notes)
    temporary = out / f".{SUMMARY}.tmp"
    temporary.write_text(
        json.dumps(asdict(summary), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    os.replace(temporary, out / SUMMARY)
    return summary
