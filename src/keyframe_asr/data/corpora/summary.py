"""Summary of a prepared corpus; it is written last and marks the preparation as complete."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lhotse.cut import Cut
from rich.box import SIMPLE_HEAD
from rich.table import Table

from keyframe_asr.config.strict import Strict, parse_config, parse_json
from keyframe_asr.config.text_choices import language_tag
from keyframe_asr.config.text_form import NamedTextForm, TextForm
from keyframe_asr.data.corpora.listing import SPLITS
from keyframe_asr.data.manifest import audio_path, load_manifest, save_manifest, speaker, text
from keyframe_asr.data.shar import is_shar
from keyframe_asr.data.statistics import STATISTICS_FILE
from keyframe_asr.errors import ManifestError
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.text.tokenizer import TOKENIZER_FILES, Tokenizer
from keyframe_asr.timing import encoder_frame_seconds

SUMMARY = "summary.json"
PROBLEMS = "problems.txt"

_MADE = (PROBLEMS, STATISTICS_FILE, *TOKENIZER_FILES)
"""Files that a preparation may write in addition to manifests and summary."""


@dataclass(frozen=True)
class SplitSummary:
    """Counts of a split.

    Attributes:
        utterances: number of utterances.
        speakers: number of known speakers.
        hours: hours of audio.
        words: words separated by spaces.
        characters: characters without spaces.
        tokens: tokens of the tokenizer; 0 without a tokenizer.
    """

    utterances: int
    speakers: int
    hours: float
    words: int
    characters: int
    tokens: int = 0

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second of audio."""
        return self.tokens / (self.hours * 3600) if self.hours else 0.0

    @property
    def tokens_per_frame(self) -> float:
        """Tokens per frame of 40 ms.

        With one keyframe per token, 1 minus this value is the highest possible frame reduction.
        """
        return self.tokens_per_second * encoder_frame_seconds(4)


@dataclass(frozen=True)
class CorpusSummary:
    """Summary of a prepared corpus.

    Attributes:
        corpus: name of the corpus.
        fingerprint: digest of everything that the preparation depended on.
        splits: counts of each split.
        notes: notes for users of the corpus.
        language: tag of the language of the texts; "" in old preparations.
        text_form: form of the texts, its name or its fields as in a recipe; "" in old preparations.
        tokenizer: `tokenizer` section of a recipe, only its `kind` if the tokenizer is that of a
            trained model; None without a tokenizer.
        problems: number of utterances left out; `problems.txt` lists them.
        model: trained model whose tokenizer and text form were taken; "" if none was.
        statistics: False without feature statistics, as the model has a front end of its own.
    """

    corpus: str
    fingerprint: str
    splits: dict[str, SplitSummary]
    notes: list[str]
    language: str = ""
    text_form: str | dict[str, Any] = ""
    tokenizer: dict[str, str | int | None] | None = None
    problems: int = 0
    model: str = ""
    statistics: bool = True

    @property
    def form(self) -> TextForm:
        """Form of the texts. Raises `RecipeError` if the summary has none, or a damaged one."""
        return parse_config(_Form, {"text_form": self.text_form}, SUMMARY).text_form


class _Form(Strict):
    text_form: NamedTextForm


def stored_form(form: TextForm) -> str | dict[str, Any]:
    """Return a form as summaries store it: its name, or its fields."""
    stored: str | dict[str, Any] = _Form(text_form=form).model_dump()["text_form"]
    return stored


def fingerprint(*parts: str) -> str:
    """Digest of everything that a preparation depends on; equal only if all parts are equal."""
    return hashlib.sha256(json.dumps(parts).encode("utf-8")).hexdigest()


def summarise(cuts: Sequence[Cut], tokenizer: Tokenizer | None = None) -> SplitSummary:
    """Count the utterances, words and tokens of a split."""
    texts = [text(cut) for cut in cuts]
    return SplitSummary(
        utterances=len(cuts),
        speakers=len({speaker(cut) for cut in cuts} - {""}),
        hours=round(sum(cut.duration for cut in cuts) / 3600, 6),
        words=sum(len(line.split()) for line in texts),
        characters=sum(len("".join(line.split())) for line in texts),
        tokens=sum(len(tokenizer.encode(line)) for line in texts) if tokenizer else 0,
    )


def as_table(summary: CorpusSummary, out: Path) -> Table:
    """Format a summary for the terminal, one row per split."""
    table = Table(title=f"{summary.corpus} in {out}", box=SIMPLE_HEAD, pad_edge=False)
    columns = ("split", "utterances", "speakers", "hours", "tokens/s", "tokens/frame", "bound")
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    for name, split in summary.splits.items():
        row = [name, str(split.utterances), str(split.speakers), f"{split.hours:.2f}"]
        if split.tokens:
            row += [f"{split.tokens_per_second:.2f}", f"{split.tokens_per_frame:.4f}"]
            row += [f"{1 - split.tokens_per_frame:.1%}"]
        table.add_row(*row)
    if any(split.tokens for split in summary.splits.values()):
        table.caption = "frames of 40 ms; bound: the most frames that keyframes can drop"
    return table


def manifest_paths(out: Path) -> dict[str, Path]:
    """Paths of the manifests of a prepared corpus, by split."""
    return {split: out / f"{split}.jsonl.gz" for split in SPLITS}


def shar_folder(out: Path, split: str) -> Path:
    """Folder of the recordings of a split, if they were asked for."""
    return out / "shar" / split


def read_summary(out: Path) -> CorpusSummary | None:
    """Read the summary in `out`; None if there is no complete preparation."""
    try:
        data = parse_json((out / SUMMARY).read_text(encoding="utf-8-sig"))
        splits = {name: SplitSummary(**split) for name, split in data.pop("splits").items()}
        if "normalisation" in data:  # as version 0.1 called it
            data["text_form"] = data.pop("normalisation")
        if data.get("language"):
            data["language"] = language_tag(data["language"])
        summary = CorpusSummary(splits=splits, **data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    expected = [*manifest_paths(out).values()]
    if summary.tokenizer is not None:
        expected += [out / STATISTICS_FILE] * summary.statistics
        if not any((out / name).is_file() for name in TOKENIZER_FILES):
            return None
    return summary if all(path.is_file() for path in expected) else None


def finished(out: Path, wanted: str) -> CorpusSummary | None:
    """Read the summary in `out` if the preparation is complete and has this fingerprint."""
    summary = read_summary(out)
    return summary if summary is not None and summary.fingerprint == wanted else None


def begin(out: Path, overwrite: bool = False) -> set[Path]:
    """Remove the results of an earlier preparation from `out`, so that it counts as incomplete.

    Args:
        out: folder to prepare in.
        overwrite: replace a complete corpus, which is refused otherwise.

    Returns:
        Recordings that `out` contains because an earlier synthetic corpus was spoken there.

    Raises:
        ManifestError: `out` contains a complete corpus.
    """
    spoken: set[Path] = set()
    if there := read_summary(out):
        if not overwrite:
            language = f" in {there.language}" if there.language else ""
            count = sum(split.utterances for split in there.splits.values())
            raise ManifestError(
                f"{out}: already contains a prepared corpus, made from other data or with other "
                f"options ({there.corpus}{language}, {count} utterances); choose another --out, or "
                "replace it with --overwrite"
            )
        if there.corpus.startswith("synthetic-"):
            spoken = _recordings_below(out / "audio", out)
    out.mkdir(parents=True, exist_ok=True)
    for name in (SUMMARY, *_MADE):
        (out / name).unlink(missing_ok=True)
    for split in SPLITS:
        if is_shar(str(shar_folder(out, split))):
            shutil.rmtree(shar_folder(out, split))
    return spoken


def _recordings_below(folder: Path, out: Path) -> set[Path]:
    """Return the recordings in a folder that the manifests in `out` name."""
    folder, found = folder.absolute(), set()
    for manifest in manifest_paths(out).values():
        try:
            found |= {audio_path(cut) for cut in load_manifest(manifest)}
        except ManifestError:  # empty, or damaged; the new one takes its place
            continue
    return {path for path in found if path.is_relative_to(folder) and ".." not in path.parts}


def publish(
    out: Path,
    summary: CorpusSummary,
    splits: Mapping[str, Sequence[Cut]],
    replaced: Collection[Path] = (),
) -> None:
    """Write the manifests, then the summary, which marks the preparation as complete.

    Recordings of the replaced corpus that no split names are removed.
    """
    for split, path in manifest_paths(out).items():
        save_manifest(splits.get(split, ()), path)
    described = json.dumps(asdict(summary), indent=2, ensure_ascii=False)
    write_lines(out / SUMMARY, [described])
    if replaced:
        used = {audio_path(cut) for cuts in splits.values() for cut in cuts}
        for path in set(replaced) - used:
            path.unlink(missing_ok=True)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a text file atomically."""
    content = "".join(f"{line}\n" for line in lines)
    write_whole(path, content, "choose another --out", ManifestError)
