"""Damage to text files: lines, cells, values, encodings; and changes that must not matter."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

from fuzz.byte_mutations import Damaged, damage

BOM = b"\xef\xbb\xbf"

CELLS = (
    *("", " ", ".", "..", "/", "~", "-", "\\", '"', "'", ",", "#", "%", "*", "|", "\t", "\0"),
    *("nan", "inf", "-inf", "-1", "0", "1e999", "1e-400", "0x10", "1_0", "１２", "٣", "½"),
    *("9" * 30, "9" * 5000, "1e18", "true", "null", "[]", "{}", "!!", "&a", "*a", "a" * 300),
    *("\u202e", "\ufeff", "\u2028", "\x85", "\x1c", "\x0b", "\x1b[31m", "\ud7ff", "\U0010ffff"),
    *("é", "e\u0301", "好", "🙂", "ß", "ﬁ", "<unk>", "<s>", "</s>", "<blank>", "▁"),
    *("../..", "/dev/null", "no-such-file"),
)  # fmt: skip
"""Values that programs trip over."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.5, -0.5, 1e308, 10**30, float("nan"), float("inf")),
    *("", "x", [], {}, [None], {"": 0}, [[]], [0, -1], "1", "nan"),
)

SEPARATORS = (
    *(("\t", " "), ("\t", ","), (",", ";"), (" ", "\t"), (" ", "\u3000"), (" ", "  ")),
    *(("\n", "\r"), ("\n", "\u2028"), ("\n", "\n\n")),
)

YAML_LINES = (
    *("a: &a [*a]", "? [a]\n: b", "!!python/object:os.system {}", "<<: *none", "--- x", "\t- a"),
    *("[" * 2000, "{a: " * 500, "a: 2001-01-01", "1: 2", "null: 3", "a: !!binary '='", "? {}"),
    "\n".join(
        ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
        + [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in pairwise("abcdefghij")]
    ),
)
"""Lines that YAML parsers trip over: recursion, tags, depth, aliases that grow exponentially."""

TextMutation = Callable[[str, Random], tuple[str, str]]

NEUTRAL: dict[str, Callable[[bytes], bytes]] = {
    "byte order mark": lambda content: BOM + content,
    "CRLF": lambda content: content.replace(b"\n", b"\r\n"),
    "byte order mark and CRLF": lambda content: BOM + content.replace(b"\n", b"\r\n"),
}
"""How other systems write the same text."""


def damage_text(content: bytes, random: Random, mutations: tuple[TextMutation, ...]) -> Damaged:
    """One to three mutations of a text, or of its bytes or encoding."""
    draw = random.random()
    if draw < 0.2:
        return damage(content, random)
    text = content.decode()
    if draw < 0.27:
        encoding = random.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "gb18030", "utf-7"))
        return Damaged(text.encode(encoding, errors="replace"), f"as {encoding}")
    done = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        text, step = random.choice(mutations)(text, random)
        done.append(step)
    return Damaged(text.encode(errors="surrogatepass"), "; ".join(done))


def drop_line(text: str, random: Random) -> tuple[str, str]:
    """Leave out a line."""
    lines, place = _lines(text, random)
    return _joined(lines[:place] + lines[place + 1 :]), f"line {place + 1} missing"


def double_line(text: str, random: Random) -> tuple[str, str]:
    """Write a line twice."""
    lines, place = _lines(text, random)
    return _joined(lines[: place + 1] + lines[place:]), f"line {place + 1} twice"


def move_line(text: str, random: Random) -> tuple[str, str]:
    """Move a line to another place."""
    lines, place = _lines(text, random)
    line = lines.pop(place)
    target = random.randint(0, len(lines))
    lines.insert(target, line)
    return _joined(lines), f"line {place + 1} moved to {target + 1}"


def insert_line(text: str, random: Random) -> tuple[str, str]:
    """Insert a line that means nothing."""
    lines, place = _lines(text, random)
    new = random.choice((*CELLS, "\t".join(random.choices(CELLS, k=6)), "x" * 100_000, "\t" * 50))
    lines.insert(place, new)
    return _joined(lines), f"line {place + 1} inserted: {new[:40]!r}"


def replace_cell(text: str, random: Random) -> tuple[str, str]:
    """Replace a cell or word by a value that programs trip over."""
    lines, place = _lines(text, random)
    for separator in random.sample(("\t", " ", ",", ": ", "="), 5):
        cells = lines[place].split(separator)
        if len(cells) > 1:
            number, new = random.randrange(len(cells)), random.choice(CELLS)
            cells[number] = new
            lines[place] = separator.join(cells)
            return _joined(lines), f"line {place + 1}, cell {number + 1}: {new[:40]!r}"
    lines[place] = random.choice(CELLS)
    return _joined(lines), f"line {place + 1}: {lines[place][:40]!r}"


def change_cells(text: str, random: Random) -> tuple[str, str]:
    """Leave out, double or swap cells of a line, or of all lines."""
    lines, place = _lines(text, random)
    places = range(len(lines)) if random.random() < 0.5 else [place]
    separator = random.choice(("\t", " ", ","))
    first, second, kind = random.randrange(6), random.randrange(6), random.randrange(3)
    for line in places:
        cells = lines[line].split(separator)
        if max(first, second) < len(cells):
            if kind == 0:
                del cells[first]
            elif kind == 1:
                cells.insert(second, cells[first])
            else:
                cells[first], cells[second] = cells[second], cells[first]
        lines[line] = separator.join(cells)
    what = ("left out", "doubled", "swapped")[kind]
    return _joined(lines), f"cells {first + 1}, {second + 1} {what} in {len(places)} lines"


def insert_text(text: str, random: Random) -> tuple[str, str]:
    """Insert such a value anywhere."""
    place, new = random.randint(0, len(text)), random.choice(CELLS)
    return text[:place] + new + text[place:], f"{new[:40]!r} at character {place}"


def exchange_separators(text: str, random: Random) -> tuple[str, str]:
    """Other separators, or other line breaks, everywhere."""
    old, new = random.choice(SEPARATORS)
    return text.replace(old, new), f"{old!r} becomes {new!r}"


def empty(text: str, random: Random) -> tuple[str, str]:
    """Nothing, or nothing but white space."""
    new = random.choice(("", "\n", "\n\n\n", " ", "\ufeff", "\0"))
    return new, f"only {new!r}"


def insert_yaml(text: str, random: Random) -> tuple[str, str]:
    """Insert YAML that parsers trip over."""
    new = random.choice(YAML_LINES)
    if random.random() < 0.3:
        return new + "\n", f"only {new[:40]!r}"
    lines, place = _lines(text, random)
    indent = " " * (len(lines[place]) - len(lines[place].lstrip()))
    lines.insert(place, "\n".join(indent + line for line in new.split("\n")))
    return _joined(lines), f"line {place + 1} inserted: {new[:40]!r}"


def change_indent(text: str, random: Random) -> tuple[str, str]:
    """Indent a line more or less."""
    lines, place = _lines(text, random)
    lines[place] = random.choice((" ", "  ", "\t")) + lines[place].lstrip()
    return _joined(lines), f"line {place + 1} indented anew"


def change_json(text: str, random: Random) -> tuple[str, str]:
    """Replace or leave out a value of a line of JSON."""
    lines, place = _lines(text, random)
    try:
        data = json.loads(lines[place])
    except ValueError:
        return replace_cell(text, random)
    node, steps = data, []
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = random.choice(keys)
        steps.append(str(key))
        if isinstance(node[key], dict | list) and random.random() < 0.7:
            node = node[key]
            continue
        if random.random() < 0.3:
            del node[key]
            new = "left out"
        else:
            node[key] = random.choice(VALUES)
            new = repr(node[key])
        lines[place] = json.dumps(data, ensure_ascii=False)
        return _joined(lines), f"line {place + 1}, {'.'.join(steps)}: {new[:40]}"
    lines[place] = json.dumps(random.choice(VALUES))
    return _joined(lines), f"line {place + 1}: {lines[place]}"


LINES: tuple[TextMutation, ...] = (
    *(drop_line, double_line, move_line, insert_line, insert_text, exchange_separators, empty),
)
TABLE: tuple[TextMutation, ...] = (*LINES, *(replace_cell, change_cells) * 3)
JSON: tuple[TextMutation, ...] = (*LINES, *(change_json,) * 12)
YAML: tuple[TextMutation, ...] = (*LINES, *(replace_cell, insert_yaml) * 3, change_indent)


def _lines(text: str, random: Random) -> tuple[list[str], int]:
    """Lines of a text, at least one, and the index of one of them."""
    lines = text.removesuffix("\n").split("\n")
    return lines, random.randrange(len(lines))


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
