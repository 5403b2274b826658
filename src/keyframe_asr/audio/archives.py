"""Recordings in tar archives, read by their place: of local archives, and of those at a URI.

A URI is opened by fsspec, so that archives may be in an object store; each recording is one request
for a range of bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from keyframe_asr.audio.uris import is_uri, located, one_line
from keyframe_asr.errors import AudioError, KeyframeError


@dataclass(frozen=True, slots=True)
class ArchivedAudio:
    """A recording in an archive.

    Attributes:
        archive: path or URI of the archive.
        member: name of the recording in it.
        offset: first byte of the recording.
        size: number of its bytes.
    """

    archive: str
    member: str
    offset: int
    size: int

    @property
    def name(self) -> str:
        """Archive and recording, for messages."""
        return f"{self.archive}: {self.member}"

    def read(self) -> bytes:
        """Read the recording as it is encoded. Raises `AudioError` if that fails."""
        if not is_uri(self.archive):
            with open(self.archive, "rb") as file:
                file.seek(self.offset)
                content = file.read(self.size)
        else:
            with remote_errors(self.name, AudioError):
                system, path = located(self.archive)
                end = self.offset + self.size
                content = bytes(system.cat_file(path, start=self.offset, end=end))
        if len(content) < self.size:
            raise AudioError(f"{self.name}: the archive ends before it; copy the archive again")
        return content


@contextmanager
def remote_errors(name: str, kind: type[KeyframeError] = KeyframeError) -> Iterator[None]:
    """Raise what a file system raises, each its own errors, as one line about `name`."""
    try:
        yield
    except FileNotFoundError:
        raise kind(f"{name}: not found; check the URI") from None
    except ImportError as error:  # its message names the package to install
        raise kind(f"{name}: cannot be opened: {one_line(error)}") from None
    except KeyframeError:
        raise
    except Exception as error:
        reason = one_line(error)
        raise kind(f"{name}: cannot be read: {reason}; check the URI and your access") from None
