"""Mandarin text from standard input, line by line: numbers spelled out, simplified characters.

Runs in the environment of faster-whisper, see `compare.py`.
"""

from __future__ import annotations

import sys

import cn2an
from opencc import OpenCC


def spell_out(text: str, simplify: OpenCC) -> str:
    """One text; where cn2an cannot read a number, it is left as it is."""
    simplified = simplify.convert(text)
    try:
        return str(cn2an.transform(simplified, "an2cn"))
    except ValueError:
        return simplified


if __name__ == "__main__":
    converter = OpenCC("t2s")
    print("\n".join(spell_out(line, converter) for line in sys.stdin.read().split("\n")), end="")
