"""CMU AN4 (census) database: spelled names, numbers, dates and commands in English.

The corpus has a training and a test part without a speaker in common, but no development set.
One is carved out of the training part, by speaker: some women and some men, chosen by a seed.
"""

from __future__ import annotations

import random
from pathlib import Path

import soundfile
from lhotse import CutSet
from lhotse.cut import Cut

from keyframe_asr.data.corpora.summary import CorpusSummary, fingerprint, finished, publish
from keyframe_asr.data.manifest import audio_path, load_manifest, make_cut, speaker, text
from keyframe_asr.errors import ManifestError

DEV_WOMEN, DEV_MEN = 3, 5
"""Speakers of the development set; 13 utterances each make it a tenth of the training part."""


def prepare(source: Path, out: Path, seed: int = 1) -> CorpusSummary:
    """Write train, dev and test manifests of the corpus in `source` into `out`.

    `source` holds `manifest.tsv`, with split `train` or `test` in every row. Durations are taken
    from the audio files. Does nothing if `out` already holds the result.

    Raises:
        ManifestError: the table is missing or bad, or an audio file cannot be read.
    """
    table = Path(source) / "manifest.tsv"
    if not table.is_file():
        raise ManifestError(
            f"{table}: no such file; give the folder of AN4 that holds manifest.tsv as --source"
        )
    mark = fingerprint("an4 1", str(table.resolve()), table.read_text("utf-8"), str(seed))
    if done := finished(out, mark):
        return done
    parts = {part: load_manifest(f"{table}:{part}") for part in ("train", "test")}
    dev_speakers = _dev_speakers(parts["train"], seed)
    splits: dict[str, list[Cut]] = {"train": [], "dev": [], "test": []}
    for part, cuts in parts.items():
        for cut in cuts:
            split = "dev" if part == "train" and speaker(cut) in dev_speakers else part
            splits[split].append(_measured(cut))
    return publish(out, "an4", mark, splits, _notes(splits))


def _dev_speakers(cuts: CutSet, seed: int) -> set[str]:
    """AN4 names women f... and men m...; a digit tells apart those with the same initials."""
    speakers = sorted({speaker(cut) for cut in cuts})
    women = [name for name in speakers if name.startswith("f")]
    men = [name for name in speakers if name.startswith("m")]
    if len(women) <= DEV_WOMEN or len(men) <= DEV_MEN:
        raise ManifestError(
            f"the training part has {len(women)} women and {len(men)} men; a development set needs "
            f"more than {DEV_WOMEN} and {DEV_MEN}: give the whole corpus"
        )
    generator = random.Random(seed)
    return {*generator.sample(women, DEV_WOMEN), *generator.sample(men, DEV_MEN)}


def _measured(cut: Cut) -> Cut:
    """The cut with its exact length, its text in upper case."""
    path = audio_path(cut)
    try:
        info = soundfile.info(path)
    except (OSError, soundfile.SoundFileError) as error:
        raise ManifestError(f"{path}: cannot be read ({error}); get the file again") from None
    words = " ".join(text(cut).upper().split())
    return make_cut(cut.id, speaker(cut), words, path, info.frames, info.samplerate)


def _notes(splits: dict[str, list[Cut]]) -> list[str]:
    known = {text(cut) for split in ("train", "dev") for cut in splits[split]}
    seen = sum(text(cut) in known for cut in splits["test"])
    names = sorted({speaker(cut) for cut in splits["dev"]})
    return [
        f"dev: the training part's speakers {' '.join(names)}",
        f"{seen} of {len(splits['test'])} test texts also occur in the training part; they stay in",
    ]
