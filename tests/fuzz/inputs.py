"""Every kind of text and model file that a command reads, in a folder where all of them work."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fixtures.random_model import random_model, save_random_model
from fixtures.tone_corpus import recipe_data, stage, write_corpus
from fuzz import text_mutations
from fuzz.child import OUTPUT
from fuzz.recordings import plain_wav
from fuzz.text_mutations import TextMutation

STDIN = "-"
"""Path of a text that is given on standard input."""

SPLITS = {"train": ["ABC", "CAB", "FEED", "DEAF", "BAD", "CAFE"], "dev": ["FACE", "BEAD"]}


@dataclass(frozen=True)
class TextInput:
    """A file and the command that reads it.

    Attributes:
        path: the file in the folder of `write_inputs`, or `STDIN`.
        command: arguments of `keyframe`, run in that folder.
        mutations: what is done to the text; none for a file that is not text.
        packed: whether the file is gzipped.
        neutral: whether a byte order mark and other line breaks must not matter.
    """

    path: str
    command: tuple[str, ...]
    mutations: tuple[TextMutation, ...] = ()
    packed: bool = False
    neutral: bool = True


def _command(line: str) -> tuple[str, ...]:
    return tuple(line.split())


_PREPARE = f"--units characters --out {OUTPUT}/prepared --allow-incomplete"
_OWN = f"--language en {_PREPARE}"
_TRANSCRIBE = "transcribe model train-000.wav --format ctm"
_SEARCH = f"{_TRANSCRIBE} --decode ctc"

TABLE, JSON, YAML = text_mutations.TABLE, text_mutations.JSON, text_mutations.YAML
LINES = text_mutations.LINES

INPUTS: tuple[TextInput, ...] = (
    TextInput("corpus.tsv", _command("check-data corpus.tsv:dev"), TABLE),
    TextInput("corpus.tsv", _command(f"prepare tsv --source corpus.tsv {_OWN}"), TABLE),
    TextInput("tables/train.csv", _command(f"prepare csv --source tables {_OWN}"), TABLE),
    TextInput("cuts.jsonl", _command("check-data cuts.jsonl"), JSON),
    TextInput("cuts.jsonl.gz", _command("check-data cuts.jsonl.gz"), JSON, packed=True),
    TextInput("cuts.jsonl", _command(f"prepare lhotse --source . --train cuts.jsonl {_OWN}"), JSON),
    *(
        TextInput(f"kaldi/train/{name}", _command(f"prepare kaldi --source kaldi {_OWN}"), TABLE)
        for name in ("text", "wav.scp", "segments", "utt2spk")
    ),
    TextInput("en/train.tsv", _command(f"prepare commonvoice --source en {_PREPARE}"), TABLE),
    TextInput(
        "LibriSpeech/train-clean-5/1/2/1-2.trans.txt",
        _command(f"prepare mini_librispeech --source . {_PREPARE}"),
        TABLE,
    ),
    TextInput("recipe.yaml", _command("train recipe.yaml --plan"), YAML),
    TextInput("model/config.yaml", _command(_TRANSCRIBE), YAML),
    TextInput("model/tokenizer.txt", _command(_TRANSCRIBE), LINES),
    TextInput("model/model.safetensors", _command(_TRANSCRIBE), neutral=False),
    TextInput(
        "pieces/tokenizer.model", _command(_TRANSCRIBE.replace("model", "pieces", 1)), neutral=False
    ),
    TextInput("model.arpa", _command(f"{_SEARCH} --language-model model.arpa"), TABLE),
    TextInput(
        "model.arpa.gz", _command(f"{_SEARCH} --language-model model.arpa.gz"), TABLE, packed=True
    ),
    TextInput("hotwords.txt", _command(f"{_SEARCH} --hotwords hotwords.txt"), TABLE),
    TextInput("text.txt", _command(f"language-model text.txt --out {OUTPUT}/new.arpa"), TABLE),
    TextInput("said.txt", _command("align model train-000.wav said.txt"), LINES),
    TextInput(STDIN, _command("transcribe model - --format ctm"), LINES),
    TextInput(
        "responses/room.wav", _command(f"train rooms.yaml --out {OUTPUT}/run"), neutral=False
    ),
)

LISTED = b"train-000.wav\ntrain-001.wav\n"
"""The list of recordings on standard input."""


def original(given: TextInput, folder: Path) -> bytes:
    """The undamaged content of an input, unpacked."""
    if given.path == STDIN:
        return LISTED
    content = (folder / given.path).read_bytes()
    return gzip.decompress(content) if given.packed else content


def packed(given: TextInput, content: bytes) -> bytes:
    """Content as the file of an input holds it."""
    return gzip.compress(content, mtime=0) if given.packed else content


def write_inputs(folder: Path) -> None:
    """Write all inputs, and what their commands need, into a new folder."""
    table = write_corpus(folder, SPLITS)
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    save_random_model(folder / "model")
    _write_pieces(folder / "pieces")
    for name, content in {
        "tables/train.csv": _csv(rows),
        "en/train.tsv": "client_id\tpath\tsentence\nA\ta.mp3\tABC\nB\tb.mp3\tA CAB\n",
        "en/dev.tsv": "client_id\tpath\tsentence\nC\tc.mp3\tFACE\n",
        "en/test.tsv": "client_id\tpath\tsentence\n",
        "model.arpa": ARPA,
        "hotwords.txt": "# words\nCAB\nFEED\t2.5\n",
        "text.txt": "".join(f"{text} {text[::-1]}\n" for text in SPLITS["train"] * 3),
        "said.txt": "A\n",
        "cuts.jsonl": _cuts(rows),
        "recipe.yaml": _yaml(recipe_data(Path("corpus.tsv"), [stage("baseline", 1)])),
        "rooms.yaml": _yaml(_with_rooms(recipe_data(Path("corpus.tsv"), [stage("baseline", 1)]))),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    (folder / "model.arpa.gz").write_bytes(gzip.compress(ARPA.encode(), mtime=0))
    (folder / "cuts.jsonl.gz").write_bytes(gzip.compress(_cuts(rows).encode(), mtime=0))
    (folder / "responses").mkdir()
    (folder / "responses" / "room.wav").write_bytes(plain_wav(0.05))
    _write_kaldi(folder, rows)
    _write_corpora(folder)


ARPA = """\
\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-99\t<s>\t-0.3
-0.9\t</s>
-1.0\t<unk>
-0.5\tA\t-0.2
-0.6\tC\t-0.1

\\2-grams:
-0.3\t<s> A
-0.4\tA C
-0.2\tC </s>

\\end\\
"""


def _csv(rows: list[list[str]]) -> str:
    lines = [f"../{row[3]},{row[4]},{row[1]}" for row in rows[1:] if row[5] == "train"]
    return "".join(f"{line}\n" for line in ["path,text,speaker", *lines])


def _cuts(rows: list[list[str]]) -> str:
    from keyframe_asr.data.manifest import make_cut

    cuts = [
        make_cut(row[0], row[1], row[4], Path(row[3]), round(float(row[2]) * 16_000))
        for row in rows[1:]
    ]
    return "".join(json.dumps(cut.to_dict()) + "\n" for cut in cuts)


def _yaml(data: object) -> str:
    import yaml

    return yaml.safe_dump(json.loads(json.dumps(data)), sort_keys=False)


def _with_rooms(recipe: dict[str, object]) -> dict[str, object]:
    rooms = {"probability": 1.0, "rooms": 0, "folder": "responses"}
    return recipe | {"augment": {"reverberation": rooms}}


def _write_kaldi(folder: Path, rows: list[list[str]]) -> None:
    train = [row for row in rows[1:] if row[5] == "train"]
    lines: dict[str, Callable[[list[str]], str]] = {
        "wav.scp": lambda row: f"r-{row[0]} ../{row[3]}",
        "segments": lambda row: f"{row[0]} r-{row[0]} 0.0 0.3",
        "text": lambda row: f"{row[0]} {row[4]}",
        "utt2spk": lambda row: f"{row[0]} {row[1]}",
    }
    (folder / "kaldi" / "train").mkdir(parents=True)
    for name, line in lines.items():
        text = "".join(f"{line(row)}\n" for row in train)
        (folder / "kaldi" / "train" / name).write_text(text, encoding="utf-8")


def _write_corpora(folder: Path) -> None:
    import soundfile

    from fixtures.random_model import RATE, noise

    (folder / "en" / "clips").mkdir()
    for name in ("a", "b", "c"):
        soundfile.write(folder / "en" / "clips" / f"{name}.mp3", noise(0.3), RATE)
    chapter = folder / "LibriSpeech" / "train-clean-5" / "1" / "2"
    chapter.mkdir(parents=True)
    texts = {"1-2-0000": "A A", "1-2-0001": "A BAD CAFE"}
    for name in texts:
        soundfile.write(chapter / f"{name}.flac", noise(0.3), RATE)
    lines = "".join(f"{name} {text}\n" for name, text in texts.items())
    (chapter / "1-2.trans.txt").write_text(lines, encoding="utf-8")
    dev = folder / "LibriSpeech" / "dev-clean-2" / "3" / "4"
    shutil.copytree(chapter, dev)
    for path in list(dev.iterdir()):
        path.rename(dev / path.name.replace("1-2", "3-4"))
    (dev / "3-4.trans.txt").write_text(lines.replace("1-2", "3-4"), encoding="utf-8")


def _write_pieces(folder: Path) -> None:
    """A model with the same weights, whose tokens are sentencepiece's."""
    from keyframe_asr.config.recipe import TokenizerConfig
    from keyframe_asr.io.model_folder import save_model_folder
    from keyframe_asr.text.tokenizer import train_tokenizer

    model = random_model()
    config = TokenizerConfig(kind="sentencepiece", model_type="unigram", vocab_size=11)
    tokenizer = train_tokenizer(SPLITS["train"] * 5, config)
    assert tokenizer.vocab_size == 11
    import torch

    from keyframe_asr.model.network import KeyframeNetwork

    torch.manual_seed(11)
    folder_config = model.config.model_copy(update={"vocab_size": 11})
    network = KeyframeNetwork(folder_config.model, 16, 11)
    save_model_folder(folder, network, tokenizer, folder_config, "# pieces\n")
