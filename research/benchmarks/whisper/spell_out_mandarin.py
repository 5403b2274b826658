"""Mandarin text from standard input, line by line: numbers spelled out, simplified characters.

    python spell_out_mandarin.py < TEXT

Runs in the environment of faster-whisper, see `compare.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any


def spell_out(text: str, simplify: Any) -> str:
    """One text; where cn2an cannot read a number, it is left as it is."""
    import cn2an

    simplified = simplify.convert(text)
    try:
        return str(cn2an.transform(simplified, "an2cn"))
    except ValueError:
        return str(simplified)


def main(arguments: Sequence[str] | None = None) -> None:
    """From standard input to standard output."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(arguments)
    from opencc import OpenCC  # after the help, which needs nothing installed

    converter = OpenCC("t2s")
    print("\n".join(spell_out(line, converter) for line in sys.stdin.read().split("\n")), end="")


if __name__ == "__main__":
    main()
