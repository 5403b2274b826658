"""The vocabulary of a pretrained decoder: lost merges."""

from __future__ import annotations

import json

import pytest

from fixtures.tiny_pretrained import WHOLE_WHISPER, byte_tokenizer
from keyframe_asr.errors import ModelError
from keyframe_asr.text.decoder_tokenizer import DecoderTokenizer
from keyframe_asr.text.decoder_vocabulary import with_lost_merges

SIZE: int = WHOLE_WHISPER["vocab_size"]


def test_a_lost_merge_is_restored_in_its_place() -> None:
    whole = byte_tokenizer(["Ġ t", "Ġ a", "Ġt h", "Ġth e"])
    content = json.loads(whole)
    content["model"]["merges"] = content["model"]["merges"][1:]
    broken = json.dumps(content).encode()
    before, after = (DecoderTokenizer(one, SIZE) for one in (broken, with_lost_merges(broken)))
    assert before.pieces(before.encode("at the")) == ["▁a", "t", "▁", "t", "h", "e"]
    assert after.pieces(after.encode("at the")) == ["▁a", "t", "▁the"]
    restored = json.loads(after.content())["model"]["merges"]
    assert restored == ["Ġ t", "Ġ a", "Ġt h", "Ġth e"]


def test_a_whole_file_stays_as_it_is() -> None:
    whole = byte_tokenizer(["Ġ t", "Ġ a"])
    assert with_lost_merges(whole) is whole


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"model": {"vocab": {}, "merges": ["a"]}}'])
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError):
        with_lost_merges(content)
