"""Damaged messages over WebSockets, of which `python -m fuzz.sockets` sends many more."""

from __future__ import annotations

import asyncio

import pytest

from fixtures.server import RunningServer
from fuzz.sockets import conversation, send


@pytest.mark.parametrize("seed", [5, 6])
def test_damaged_messages_are_answered(server: RunningServer, seed: int) -> None:
    ends, problems = asyncio.run(send(server, 240, seed))
    assert problems == [] and ends["answers"]


def test_a_conversation_follows_from_seed_and_number() -> None:
    assert conversation(1, 3) == conversation(1, 3) != conversation(2, 3)
