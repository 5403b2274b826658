"""The vocabulary of a pretrained decoder: byte-level BPE in `tokenizer.json`."""

from __future__ import annotations

import json
from typing import Any

from keyframe_asr.errors import ModelError

Merge = tuple[str, str]


def with_lost_merges(content: bytes) -> bytes:
    """Add the merges that a `tokenizer.json` has lost; without any, return it as it is.

    Many copies of Whisper's lack its first merge, of a space and "t": its list has no heading, and
    what was left out as the heading was this. Without it " the" is two tokens, which the decoder
    never saw together. A token of two letters can only come of these, so its merge can be restored;
    merges are in the order of their tokens.

    Raises:
        ModelError: the content is not that of byte-level BPE.
    """
    whole, vocabulary, merges = _parsed(content)
    made = {left + right for left, right in merges}
    lost = [token for token in vocabulary if len(token) == 2 and token not in made]
    if not lost:
        return content
    for token in lost:
        later = (
            place
            for place, (left, right) in enumerate(merges)
            if vocabulary[left + right] > vocabulary[token]
        )
        merges.insert(next(later, len(merges)), (token[0], token[1]))
    whole["model"]["merges"] = [" ".join(merge) for merge in merges]
    return _compact(whole)


def _parsed(content: bytes) -> tuple[dict[str, Any], dict[str, int], list[Merge]]:
    """The whole file, ids of the tokens, and merges."""
    try:
        whole = json.loads(content)
        model = whole["model"]
        return whole, dict(model["vocab"]), [_merge(one) for one in model["merges"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"the pretrained decoder's tokenizer is not byte-level BPE ({error}); give Whisper's "
            "tokenizer.json"
        ) from None


def _compact(whole: dict[str, Any]) -> bytes:
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def _merge(stored: str | list[str]) -> Merge:
    """A merge, which newer files store as two texts, older ones as one with a space between."""
    left, right = stored.split(" ") if isinstance(stored, str) else stored
    return left, right
