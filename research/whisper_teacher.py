"""Let a whole Whisper read training recordings: a display form of their texts, and soft targets.

    python -m research.whisper_teacher models/whisper-base MANIFEST... --language en --out FOLDER

Whisper hears up to 28 seconds of one speaker at a time, which costs as much as one recording does.
Where it wrote a word of the transcript, its case and the punctuation after it are taken over; the
words stay those of the transcript. Then it is given this text, and its most probable tokens at each
step are kept: what a decoder on keyframes can learn from the one on all frames. With `--decoder
MODEL` they are written in the tokens of that model's decoder, which may have fewer.

`FOLDER` receives `manifest.tsv`, whose texts are in display form, and `soft_targets.safetensors`,
which `data.soft_targets` of a recipe reads. The end of a text has no soft target, since the teacher
has more to say there.
"""

from __future__ import annotations

import argparse
import difflib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse.cut import Cut
from safetensors.torch import save_file
from torch import Tensor

from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.data.manifest import audio_path, load_manifest, speaker, text
from keyframe_asr.io.atomic_write import replacing, write_whole
from keyframe_asr.io.model_folder import load_model_folder
from keyframe_asr.io.model_location import find_model
from keyframe_asr.text.decoder_tokenizer import DecoderTokenizer
from keyframe_asr.text.decoder_vocabulary import with_lost_merges
from keyframe_asr.text.scripts import is_han, mixed_text, mixed_words

WINDOW_SECONDS = 28.0
PAUSE_SECONDS = 0.6
RATE = 16_000
KEPT = 16
"""Tokens that are kept of each distribution."""

COLUMNS = ("utt_id", "speaker", "duration_s", "path", "text", "language")
ENDS = ".?!"
SIGNS = ",.?!;:，。？！、；："


@dataclass(frozen=True)
class Window:
    """Recordings that the teacher hears together."""

    cuts: tuple[Cut, ...]
    samples: Samples


def windows(cuts: Sequence[Cut]) -> Iterator[Window]:
    """Join recordings of one speaker, with pauses between them."""
    pause = np.zeros(round(PAUSE_SECONDS * RATE), dtype=np.float32)
    open_: list[Cut] = []
    parts: list[Samples] = []
    size = 0
    for cut in sorted(cuts, key=lambda one: (speaker(one), one.id)):
        samples = read_audio(audio_path(cut))
        full = size + len(samples) > WINDOW_SECONDS * RATE
        if open_ and (full or speaker(cut) != speaker(open_[0])):
            yield Window(tuple(open_), np.concatenate(parts))
            open_, parts, size = [], [], 0
        open_.append(cut)
        parts += [samples, pause]
        size += len(samples) + len(pause)
    if open_:
        yield Window(tuple(open_), np.concatenate(parts))


def _bare(word: str) -> str:
    return "".join(one for one in word.casefold() if one.isalnum() or one == "'").strip("'")


def _units(written: str) -> list[str]:
    """Words with the punctuation after them; each Han character is a word."""
    found: list[str] = []
    for word in mixed_words(written):
        if found and not _bare(word):
            found[-1] += word if word in SIGNS else ""
        elif _bare(word):
            found.append(word)
    return found


def display_texts(transcripts: Sequence[str], written: str) -> list[str]:
    """Write transcripts as the teacher wrote the same words.

    Args:
        transcripts: what is said in each recording.
        written: what the teacher wrote for all of them together.
    """
    ours = [[word for word in mixed_words(one) if _bare(word)] for one in transcripts]
    flat = [word for several in ours for word in several]
    theirs = _units(written)
    matcher = difflib.SequenceMatcher(
        None, [_bare(word) for word in flat], [_bare(word) for word in theirs], autojunk=False
    )
    shown = [_plain(word) for word in flat]
    for first, second, size in matcher.get_matching_blocks():
        shown[first : first + size] = theirs[second : second + size]
    found, place = [], 0
    for several in ours:
        found.append(_sentence(shown[place : place + len(several)]))
        place += len(several)
    return found


def _plain(word: str) -> str:
    lower = word.lower()
    return lower.capitalize() if lower == "i" or lower.startswith("i'") else lower


def _sentence(words: list[str]) -> str:
    """Join the words of one transcript, which ends as a sentence; Chinese has no final stop."""
    if not words:
        return ""
    *before, last = words
    bare = last.rstrip(SIGNS)
    end = last[len(bare) : len(bare) + 1]
    if is_han(bare[-1]) or any(is_han(one) for one in "".join(before)):
        question = end in ("?", "？")
        return mixed_text([*(_wide(word) for word in before), bare + "？" * question])
    words = [*before, bare + (end if end and end in ENDS else ".")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def _wide(word: str) -> str:
    return word.translate(str.maketrans(",.?!;:", "，。？！；："))


class SmallerVocabulary:
    """Writes soft targets in the tokens of a decoder that has a part of the teacher's.

    Args:
        teacher: tokens of the teacher.
        decoder: tokens of the decoder.
    """

    def __init__(self, teacher: DecoderTokenizer, decoder: DecoderTokenizer) -> None:
        self._teacher, self._decoder = teacher, decoder
        size = max(teacher.vocab_size, max(teacher.vocabulary.values()) + 1)
        self._ids = torch.full((size,), -1)
        for name, token in teacher.vocabulary.items():
            self._ids[token] = decoder.vocabulary.get(name, -1)

    def __call__(
        self, shown: str, tokens: Tensor, probabilities: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Return tokens and probabilities (N, K); those that the decoder lacks get none.

        None if the decoder splits the text otherwise.
        """
        if self._ids[self._teacher.encode(shown)].tolist() != self._decoder.encode(shown):
            return None
        found = self._ids[tokens.long()]
        lacking = found < 0
        return (
            found.masked_fill(lacking, 0).int(),
            probabilities.masked_fill(lacking, 0.0),
        )


class Teacher:
    """A whole Whisper of `transformers`."""

    def __init__(self, folder: Path, language: str) -> None:
        from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

        self.model: Any = WhisperForConditionalGeneration.from_pretrained(folder).eval()
        self.features: Any = WhisperFeatureExtractor.from_pretrained(folder)
        content = (folder / "tokenizer.json").read_bytes()
        size = self.model.config.vocab_size
        self.tokenizer = DecoderTokenizer(with_lost_merges(content), size)
        self.language = language
        self.prompt = self.tokenizer.prompt(language)

    @torch.inference_mode()
    def read(self, group: Sequence[Window]) -> Iterator[tuple[Cut, str, Tensor, Tensor]]:
        """Yield of each recording: the display text, tokens (N + 1, K), and probabilities."""
        inputs = self.features(
            [window.samples for window in group], sampling_rate=RATE, return_tensors="pt"
        ).input_features
        heard = self.model.model.encoder(inputs)
        written = self.model.generate(
            encoder_outputs=heard, language=self.language, task="transcribe", max_new_tokens=200
        )
        for row, window in enumerate(group):
            hypothesis = self.tokenizer.decode(written[row].tolist())
            texts = display_texts([text(cut) for cut in window.cuts], hypothesis)
            memory = heard.last_hidden_state[row : row + 1]
            yield from self._targets(window, texts, memory)

    def _targets(
        self, window: Window, texts: list[str], memory: Tensor
    ) -> Iterator[tuple[Cut, str, Tensor, Tensor]]:
        spelled = [self.tokenizer.encode(one) for one in texts]
        tokens = [*self.prompt, *(token for one in spelled for token in one)]
        hidden = self.model.model.decoder(
            torch.tensor([tokens]), encoder_hidden_states=memory
        ).last_hidden_state[0]
        place = len(self.prompt) - 1
        for cut, shown, own in zip(window.cuts, texts, spelled, strict=True):
            logits = self.model.proj_out(hidden[place : place + len(own)])
            most = logits.softmax(dim=-1).topk(KEPT, dim=-1)
            place += len(own)
            end = torch.full((1, KEPT), self.tokenizer.end)
            nothing = torch.zeros(1, KEPT)
            yield (
                cut,
                shown,
                torch.cat((most.indices, end)).int(),
                torch.cat((most.values, nothing)).half(),
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the recordings, and write texts and soft targets."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path, help="folder of a whole Whisper")
    parser.add_argument("manifests", nargs="+", help="recordings and their transcripts")
    parser.add_argument("--language", required=True, help="language of the recordings, such as en")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--decoder", help="model with the decoder that will learn from them")
    parser.add_argument("--batch", type=int, default=4, help="windows read at once")
    given = parser.parse_args(arguments)
    teacher = Teacher(given.model, given.language)
    smaller = None
    if given.decoder is not None:
        other = load_model_folder(find_model(given.decoder)).decoder_tokenizer
        if other is None:
            parser.error(f"{given.decoder}: has no pretrained decoder")
        smaller = SmallerVocabulary(teacher.tokenizer, other)
    every = [cut for one in given.manifests for cut in load_manifest(one)]
    groups = list(windows(every))
    given.out.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, ...]] = []
    targets: dict[str, Tensor] = {}
    started = time.monotonic()
    for first in range(0, len(groups), given.batch):
        for cut, shown, tokens, probabilities in teacher.read(groups[first : first + given.batch]):
            path = os.path.relpath(audio_path(cut), given.out)
            row = (cut.id, speaker(cut), f"{cut.duration:.3f}", path, shown, given.language)
            rows.append(row)
            found = (
                (tokens, probabilities)
                if smaller is None
                else smaller(shown, tokens, probabilities)
            )
            if found is not None:
                targets[f"{cut.id}.tokens"], targets[f"{cut.id}.probabilities"] = found
        done = min(len(groups), first + given.batch)
        left = (time.monotonic() - started) / done * (len(groups) - done)
        print(f"{done} of {len(groups)} windows, {left:.0f} s left; {rows[-1][-2]}", flush=True)
    write_whole(
        given.out / "manifest.tsv", "".join("\t".join(row) + "\n" for row in [COLUMNS, *rows])
    )
    with replacing(given.out / "soft_targets.safetensors") as written:
        save_file(targets, written)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
