"""Further voices for espeak-ng: vocal tracts drawn at random, as its voice variants describe them.

espeak-ng brings some 60 usable variants, too few for a recogniser to learn what voices have in
common. A made voice scales the frequency, height and width of each formant on its own and draws a
base pitch; format and ranges are those of the variants that espeak-ng brings (`voices/!v`).
"""

from __future__ import annotations

from random import Random

HIGHEST_FORMANT = 8


def made_voices(count: int, seed: int = 1) -> dict[str, str]:
    """So many voice variants: name (`made00`, ...) and content of its file. Equal for a seed."""
    return {
        f"made{number:02d}": _variant(Random(f"voice {seed} {number}")) for number in range(count)
    }


def _variant(generator: Random) -> str:
    low = generator.randint(60, 200)
    lines = [
        "language variant",
        f"pitch {low} {round(low * generator.uniform(1.2, 2.2))}",
        f"flutter {generator.randint(0, 5)}",
        f"voicing {generator.randint(40, 130)}",
        f"consonants {generator.randint(85, 120)} {generator.randint(70, 120)}",
    ]
    # A longer or shorter vocal tract moves all formants; a mouth of another form each by itself.
    tract = generator.uniform(0.85, 1.25)
    for formant in range(HIGHEST_FORMANT + 1):
        frequency = round(100 * tract * generator.uniform(0.88, 1.14))
        height, width = generator.randint(60, 150), generator.randint(60, 160)
        lines.append(f"formant {formant} {frequency} {height} {width}")
    return "\n".join(lines) + "\n"
