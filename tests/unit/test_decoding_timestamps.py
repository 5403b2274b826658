"""Token times: one per token, non-decreasing, inside the recording."""

from __future__ import annotations

import pytest

from keyframe_asr.decoding.hypothesis import EMPTY, Hypothesis
from keyframe_asr.decoding.timestamps import LONGEST_TOKEN_SECONDS, timed_tokens, words
from keyframe_asr.results import Token, Word

PIECES = {3: "▁TURN", 4: "▁ON", 5: "E", 6: "▁"}


def test_starts_are_source_frames_and_ends_reach_the_next_start() -> None:
    found = Hypothesis((3, 4, 5), -1.0, (0, 2, 3), (0.9, 0.8, 0.7))
    tokens = timed_tokens(found, [5, 10, 12, 50], 0.04, 4.0, PIECES.__getitem__)
    assert [token.text for token in tokens] == ["▁TURN", "▁ON", "E"]
    assert [token.start for token in tokens] == pytest.approx([0.2, 0.48, 2.0])
    ends = [0.48, 0.48 + LONGEST_TOKEN_SECONDS, 2.0 + LONGEST_TOKEN_SECONDS]
    assert [token.end for token in tokens] == pytest.approx(ends)
    assert [token.confidence for token in tokens] == [0.9, 0.8, 0.7]


def test_times_stay_inside_a_short_recording() -> None:
    found = Hypothesis((3, 4), -1.0, (0, 1), (0.9, 1.0000001))
    tokens = timed_tokens(found, [0, 1], 0.04, 0.03, PIECES.__getitem__)
    assert [(token.start, token.end) for token in tokens] == [(0.0, 0.03), (0.03, 0.03)]
    assert tokens[1].confidence == 1.0


def test_two_tokens_of_one_keyframe_share_its_time() -> None:
    found = Hypothesis((3, 4), -1.0, (1, 1), (0.9, 0.9))
    tokens = timed_tokens(found, [3, 9], 0.04, 1.0, PIECES.__getitem__)
    assert tokens[0].start == tokens[0].end == tokens[1].start


def test_nothing_said() -> None:
    assert timed_tokens(EMPTY, [0], 0.04, 1.0, PIECES.__getitem__) == []
    assert words([]) == []


def test_words_join_their_pieces() -> None:
    pieces = [
        Token("▁", 0.0, 0.1, 0.9),
        Token("▁TURN", 0.1, 0.3, 0.8),
        Token("E", 0.3, 0.4, 0.5),
        Token("D", 0.4, 0.5, 0.9),
        Token("▁ON", 0.9, 1.2, 0.7),
    ]
    assert words(pieces) == [Word("TURNED", 0.1, 0.5, 0.5), Word("ON", 0.9, 1.2, 0.7)]
