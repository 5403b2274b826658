"""Suffixes of file names by which recordings are found in folders.

A recording that is named by the user may have any suffix: only its content counts.
"""

from __future__ import annotations

import functools
import importlib.util

BY_LIBSNDFILE = {
    "AIFF": (".aif", ".aifc", ".aiff"),
    "AU": (".au", ".snd"),
    "CAF": (".caf",),
    "FLAC": (".flac",),
    "MP3": (".mp2", ".mp3"),
    "NIST": (".nist", ".sph"),
    "OGG": (".oga", ".ogg", ".opus"),
    "RF64": (".rf64",),
    "SVX": (".8svx",),
    "W64": (".w64",),
    "WAV": (".bwf", ".wav", ".wave"),
}
"""Suffixes of the formats of libsndfile that hold speech."""

BY_FFMPEG = frozenset(
    {".3gp", ".aac", ".amr", ".ape", ".avi", ".flv", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov"}
    | {".mp4", ".mpeg", ".mpg", ".tta", ".webm", ".wma", ".wmv", ".wv"}
)
"""Suffixes of what is read through PyAV, the extra `video`."""


@functools.cache
def readable_suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, of what can be decoded with the packages installed."""
    import soundfile

    known = soundfile.available_formats()
    found = {one for name, suffixes in BY_LIBSNDFILE.items() if name in known for one in suffixes}
    return frozenset(found | (BY_FFMPEG if importlib.util.find_spec("av") else set()))


def unreadable_suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, of recordings that need a package not installed."""
    known = {one for suffixes in BY_LIBSNDFILE.values() for one in suffixes} | BY_FFMPEG
    return frozenset(known - readable_suffixes())
