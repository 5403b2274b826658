"""The items of a conversation: where they begin and end, and what is told of them."""

from __future__ import annotations

from keyframe_asr.results import Transcript
from keyframe_asr.server import realtime_events as events
from keyframe_asr.server.realtime_events import Event
from keyframe_asr.server.service import LiveUpdate


class Conversation:
    """The items so far.

    Attributes:
        probabilities: log-probabilities of tokens are sent.
    """

    def __init__(self) -> None:
        self._previous: str | None = None
        self.probabilities = False

    def committed(self, item: str) -> list[Event]:
        """Return the events of the next item."""
        found = events.committed(item, self._previous)
        self._previous = item
        return found


class Item:
    """An item whose text grows.

    Attributes:
        identifier: of the item.
    """

    def __init__(self, conversation: Conversation, identifier: str | None = None) -> None:
        self.identifier = identifier or events.new_id("item")
        self._conversation = conversation
        self._told = ""

    def grown(self, text: str, update: LiveUpdate | None = None) -> list[Event]:
        """Return the event of text that follows what was told; none if it does not follow it.

        Args:
            text: all of the item's text so far.
            update: has the tokens of what is new.
        """
        if len(text) <= len(self._told) or not text.startswith(self._told):
            return []
        more, self._told = text[len(self._told) :], text
        tokens = None
        if self._conversation.probabilities and update is not None:
            tokens = update.update.committed
        return [events.delta(self.identifier, more, tokens)]

    def completed(self, transcript: Transcript) -> list[Event]:
        """Return the last events of the item."""
        probabilities = self._conversation.probabilities
        last = events.completed(self.identifier, transcript, probabilities=probabilities)
        return [*self.grown(transcript.text), last]


class Turns:
    """The items of one stream.

    Args:
        conversation: that they belong to.
        offset: seconds of the session before the stream.

    Attributes:
        stopped_by_client: the client commits what has been said, without a pause.
    """

    def __init__(self, conversation: Conversation, offset: float) -> None:
        self._conversation, self._offset = conversation, offset
        self._item: Item | None = None
        self._start = 0.0
        self.stopped_by_client = False

    def events(self, live: LiveUpdate) -> list[Event]:
        """Return what is to be told of an update."""
        found: list[Event] = []
        for transcript in live.update.final:
            if self._item is None:
                first = transcript.tokens[0].start if transcript.tokens else live.seconds
                found += self._begin(first)
            found += self._end(transcript, live)
        if self._item is not None and self._start != live.speech_start:
            # sound in which nothing was recognised
            seconds = max(0.0, live.seconds - self._start)
            found += self._end(Transcript("", duration=seconds), live)
        if live.speech_start is None:
            return found
        if self._item is None:
            found += self._begin(live.speech_start)
        assert self._item is not None
        return found + self._item.grown(live.update.text, None if live.update.final else live)

    def _begin(self, seconds: float) -> list[Event]:
        self._item, self._start = Item(self._conversation), seconds
        return [events.speech_started(self._item.identifier, seconds + self._offset)]

    def _end(self, transcript: Transcript, live: LiveUpdate) -> list[Event]:
        assert self._item is not None
        item, self._item = self._item, None
        end = self._start + transcript.duration + self._offset
        by_client = live.last and self.stopped_by_client
        stopped = [] if by_client else [events.speech_stopped(item.identifier, end)]
        committed = self._conversation.committed(item.identifier)
        return [*stopped, *committed, *item.completed(transcript)]
