"""Recognise a list of recordings with a Whisper in `transformers` (float32, greedy), one by one.

    python -m research.benchmarks.whisper.recognise_with_transformers MODEL LIST --threads 1

Input and output are those of `recognise_with_faster_whisper.py`; so is the prompt for Mandarin.
Nothing is thrown away and tried again here, and only the first 30 s of a recording are read.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from keyframe_asr.audio.reading import read_audio
from keyframe_asr.timing import SAMPLE_RATE
from research.benchmarks.timing import peak_megabytes
from research.benchmarks.whisper.recognise_with_faster_whisper import SIMPLIFIED, WINDOW_VECTORS


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("list", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args(arguments)
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    torch.set_num_threads(given.threads)
    processor = WhisperProcessor.from_pretrained(given.model)
    model = WhisperForConditionalGeneration.from_pretrained(given.model, dtype=torch.float32)
    prompt = processor.get_prompt_ids(SIMPLIFIED, return_tensors="pt")
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    model.model.decoder.register_forward_hook(count)

    @torch.inference_mode()
    def recognise(path: str, language: str) -> str:
        inputs = processor(read_audio(path), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        tokens = model.generate(
            inputs.input_features,
            language=language,
            task="transcribe",
            num_beams=1,
            do_sample=False,
            prompt_ids=prompt if language == "zh" else None,
        )[0].tolist()
        if tokens[: len(prompt)] == prompt.tolist():
            tokens = tokens[len(prompt) :]
        text: str = processor.tokenizer.decode(tokens, skip_special_tokens=True)
        return text.strip()

    recordings = [json.loads(line) for line in given.list.read_text(encoding="utf-8").splitlines()]
    recognise(recordings[0]["path"], recordings[0]["language"])
    for one in recordings:
        began, steps = time.perf_counter(), 0
        text = recognise(one["path"], one["language"])
        seconds = time.perf_counter() - began
        row = {"id": one["id"], "text": text, "seconds": seconds, "steps": steps}
        print(json.dumps(row | {"vectors": WINDOW_VECTORS}, ensure_ascii=False), flush=True)
    print(json.dumps({"peak_megabytes": peak_megabytes()}), flush=True)


if __name__ == "__main__":
    main()
