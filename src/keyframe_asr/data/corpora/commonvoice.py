"""Mozilla Common Voice: read sentences in many languages.

    cv-corpus-17.0-2024-03-15/en/{train,dev,test}.tsv      client_id, path, sentence and others
    cv-corpus-17.0-2024-03-15/en/clips/common_voice_en_1.mp3

All other columns differ between versions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from keyframe_asr.config.text_choices import language_tag
from keyframe_asr.data.corpora.listing import (
    SPLITS,
    CorpusListing,
    ListedUtterance,
    Split,
    files_below,
)
from keyframe_asr.data.table_rows import read_table_rows
from keyframe_asr.errors import ManifestError

COLUMNS = ("speaker", "path", "text")
"""Of `data.table_rows`; the corpus calls them client_id, path and sentence."""

SPOKEN = {"zh-HK": "yue-HK", "nan-tw": "nan-TW"}
"""Languages spoken in parts of the corpus whose name says another, or is no tag."""


def read(source: Path, *, language: str | None = None) -> CorpusListing:
    """List one language of Common Voice.

    Args:
        source: the folder of the language, or a folder that contains it, also in `cv-corpus-*`.
        language: its name in the corpus, which is its tag, such as `zh-CN` or `de`; required if
            there are several, or if the folder of the language has another name.

    Raises:
        ManifestError: the language is missing, or a table is missing or invalid.
    """
    folder = _language_folder(Path(os.path.abspath(source)), language)
    name = folder.name if language is None or _same(folder.name, language) else language
    try:
        spoken = language_tag(SPOKEN.get(name, name))
    except ValueError as error:
        raise ManifestError(
            f"{folder}: {error}; give the folder cv-corpus-*/LANGUAGE as --source, or its "
            "language as --language"
        ) from None
    clips = set(files_below(folder / "clips", ""))
    splits: dict[Split, list[ListedUtterance]] = {}
    problems: list[str] = []
    for split in SPLITS:
        splits[split] = []
        for speaker, clip, sentence in _rows(folder / f"{split}.tsv"):
            utterance = Path(clip).stem
            if clip not in clips:
                problems.append(f"{utterance}: no recording")
            elif not sentence:
                problems.append(f"{utterance}: no transcript")
            else:
                audio = folder / "clips" / clip
                splits[split].append(ListedUtterance(utterance, speaker, sentence, audio))
    notes = [f"Common Voice, {name}"]
    if name == "zh-HK":
        notes.append("zh-HK is spoken Cantonese, whose tag is yue")
    return CorpusListing("commonvoice", spoken, splits, notes, problems)


def _same(name: str, language: str) -> bool:
    return name.lower().replace("_", "-") == language.lower().replace("_", "-")


def _language_folder(source: Path, language: str | None) -> Path:
    published = source.parent.name.startswith("cv-corpus-")  # there, the name is the language
    if language is not None and not published and (source / "train.tsv").is_file():
        return source
    places = [source, *source.glob("*/"), *source.glob("cv-corpus-*/*/")]
    folders = sorted({place for place in places if (place / "train.tsv").is_file()})
    if language is not None:
        folders = [folder for folder in folders if _same(folder.name, language)]
    if len(folders) == 1:
        return folders[0]
    wanted = f" in '{language}'" if language is not None else ""
    if not folders:
        raise ManifestError(
            f"{source}: no Common Voice{wanted} found (looked for train.tsv); give the folder "
            "cv-corpus-*/LANGUAGE as --source, or a folder with train.tsv and the language of its "
            "sentences as --language"
        )
    names = ", ".join(str(folder.relative_to(source)) for folder in folders)
    raise ManifestError(
        f"{source}: contains Common Voice{wanted} more than once ({names}); give one of these "
        "folders as --source"
    )


def _rows(table: Path) -> Iterator[tuple[str, str, str]]:
    """Yield speaker, file in `clips` and sentence of each row."""
    # sentences contain unpaired quotes; rows may lack their last columns
    for row in read_table_rows(table, COLUMNS).rows:
        clip = row.cells["path"]
        # the first versions list clips without a file extension
        yield (
            row.cells["speaker"],
            clip if "." in clip else f"{clip}.mp3",
            row.cells["text"].strip(),
        )
