"""Bring transcripts into the form of a model, and tell which it cannot spell.

A transcript is left out if it cannot be trusted: it is empty, or contains spoken letters or digits
that the form would drop or the tokenizer lacks. Digits are refused by default: "42" may be read as
"forty two" or "four two". If they are kept, numbers that the form would change, such as 3.5, are
refused still. `keyframe prepare` uses the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lhotse import CutSet
from lhotse.cut import Cut

from keyframe_asr.config.text_choices import Digits
from keyframe_asr.config.text_form import TextForm
from keyframe_asr.data.manifest import keep_written, text
from keyframe_asr.text.forms import normaliser
from keyframe_asr.text.numbers import changed_number, has_digits
from keyframe_asr.text.tokenizer import Tokenizer

EXAMPLES = 3
"""Names of utterances kept for each symbol."""


@dataclass(frozen=True)
class Lost:
    """A symbol that a model cannot spell: how often it occurs, and the first utterances with it."""

    symbol: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Fitted:
    """Cuts with texts in the form of a model.

    Attributes:
        cuts: those whose text the model can spell, in order.
        lost: symbols that it cannot spell, the most frequent first.
        left_out: reason for each cut left out, by name.
    """

    cuts: CutSet
    lost: tuple[Lost, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """What is left out, in one line; "" if nothing is."""
        if not self.left_out:
            return ""
        said = f"{len(self.left_out)} of {len(self.cuts) + len(self.left_out)} texts are left out"
        if self.lost:
            shown = ", ".join(f"{one.symbol} ({one.count})" for one in self.lost[:8])
            more = ", ..." if len(self.lost) > 8 else ""
            return (
                f"{said}; the model cannot spell {shown}{more}, first in {self.lost[0].examples[0]}"
            )
        name, reason = next(iter(self.left_out.items()))
        return f"{said} ({name}: {reason})"


@dataclass(frozen=True)
class TextRules:
    """Which transcripts can be used.

    Attributes:
        form: form of the texts.
        digits: leave out transcripts with digits, or keep them.
        tokenizer: must know every symbol; None if it is yet to be trained.
        model: name of its model, for messages.
    """

    form: TextForm
    digits: Digits = "refuse"
    tokenizer: Tokenizer | None = None
    model: str = "the model"

    def unusable(self, transcript: str) -> str | None:
        """Say why a transcript cannot be used; None if it can."""
        normalise = normaliser(self.form)
        if self.digits == "refuse" and has_digits(transcript):
            return f"its transcript has digits, which are ambiguous to read: {transcript}"
        if number := changed_number(transcript, self.form):
            return (
                f"its transcript has the number {number}, which the text form {self.form.name} "
                f"would change; write it as it is spoken: {transcript}"
            )
        if lost := normalise.lost(transcript):
            return (
                f"its transcript has {lost}, not used in the text form {self.form.name}: "
                f"{transcript}"
            )
        normalised = normalise(transcript)
        if not normalised:
            return f"its transcript has no words: '{transcript}'"
        if self.tokenizer and (unknown := self.tokenizer.unknown(normalised)):
            return (
                f"its transcript has {' '.join(dict.fromkeys(unknown))}, which the tokenizer of "
                f"{self.model} lacks: {transcript}"
            )
        return None

    def lost(self, transcript: str) -> list[str]:
        """Return the symbols of a transcript that cannot be spelt, in order, with repeats."""
        normalise = normaliser(self.form)
        dropped = {*normalise.lost(transcript)}
        if self.digits == "refuse":
            dropped |= {one for one in transcript if has_digits(one)}
        lost = [one for one in transcript if one in dropped or {*normalise.lost(one)} & dropped]
        return lost + (self.tokenizer.unknown(normalise(transcript)) if self.tokenizer else [])


def fit_texts(
    cuts: Iterable[Cut],
    tokenizer: Tokenizer | None,
    form: TextForm,
    digits: Digits = "refuse",
    model: str = "the model",
) -> Fitted:
    """Bring the texts of cuts into a form; leave out those that the tokenizer cannot spell.

    Args:
        cuts: with unique names.
        tokenizer: of the model; None only applies the form.
        form: text form of the model.
        digits: `refuse` leaves out transcripts with digits, `keep` keeps those that the form keeps.
        model: its name, for messages.
    """
    rules, normalise = TextRules(form, digits, tokenizer, model), normaliser(form)
    counts: dict[str, int] = {}
    examples: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    fitted = []
    for cut in cuts:
        if reason := rules.unusable(text(cut)):
            left_out[cut.id] = reason
            for symbol in rules.lost(text(cut)):
                counts[symbol] = counts.get(symbol, 0) + 1
                if cut.id not in (some := examples.setdefault(symbol, [])):
                    some.append(cut.id)
        else:
            # a pretrained decoder learns the text as it is written
            kept = keep_written(cut)
            fitted.append(kept.map_supervisions(lambda one: one.transform_text(normalise)))
    ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    lost = tuple(Lost(one, counts[one], tuple(examples[one][:EXAMPLES])) for one in ranked)
    return Fitted(CutSet.from_cuts(fitted), lost, left_out)
