"""Spell out numbers and simplify characters of Mandarin text on standard input, line by line.

    python spell_out_mandarin.py < TEXT

Runs in the environment of faster-whisper, see `compare.py`. One line of output for each of input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any


def spell_out(text: str, simplify: Any) -> str:
    """Convert one text; a number that cn2an cannot read is left unchanged."""
    import cn2an

    simplified = simplify.convert(text)
    try:
        return str(cn2an.transform(simplified, "an2cn"))
    except ValueError:
        return str(simplified)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(arguments)
    from opencc import OpenCC  # imported here, so that --help works without it

    converter = OpenCC("t2s")
    print("\n".join(spell_out(line, converter) for line in sys.stdin.read().split("\n")), end="")


if __name__ == "__main__":
    main()
