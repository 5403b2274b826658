"""Run all checks on manifests; each manifest is one split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.data.checks.finding import Item, Severity, findings
from keyframe_asr.data.checks.report import DataReport, ManifestSummary
from keyframe_asr.data.checks.rules import (
    audio_findings,
    duplicate_findings,
    left_out_findings,
    loss_findings,
    outlier_findings,
    sample_rate_findings,
    shared_findings,
    text_findings,
)
from keyframe_asr.data.checks.utterance import (
    Reading,
    Utterance,
    decode_all,
    read_utterance,
)
from keyframe_asr.data.fitting_texts import TextRules
from keyframe_asr.data.source_listing import undivided
from keyframe_asr.data.sources import cuts_of_manifest
from keyframe_asr.text.forms import guess_form
from keyframe_asr.text.tokenizer import Tokenizer


def check_manifests(
    names: Sequence[str],
    *,
    text_form: TextForm | None = None,
    tokenizer: Tokenizer | None = None,
    model: str = "",
    subsampling_factor: int = 4,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DataReport:
    """Check every utterance of the manifests, and their overlap; decodes all audio.

    Args:
        names: unique names of manifests or other sources, as for `data.sources.load_source`; each
            split of a divided one is checked as a manifest.
        text_form: form of the texts; None guesses it from their scripts.
        tokenizer: None counts characters instead of tokens.
        model: name of the model whose tokenizer it is, to say what its fine-tuning would leave out;
            "" if it is of none.
        subsampling_factor: fbank frames per encoder frame.
        jobs: processes that decode recordings.
        progress: called with the number of utterances done and the total.

    Raises:
        ManifestError: a manifest cannot be read.
    """
    listed = {part: cuts_of_manifest(part) for name in names for part in undivided(name)}
    splits = {name: cuts for name, (cuts, _) in listed.items()}
    total = sum(map(len, splits.values()))
    form = text_form or guess_form(one for cuts in splits.values() for one in cuts.texts)
    rules = TextRules(form, "refuse", tokenizer, model) if model else None
    reading = Reading(form, tokenizer, subsampling_factor, rules)
    read: dict[str, list[Utterance]] = {name: [] for name in splits}
    done = 0
    for name, cuts in splits.items():
        for cut, audio in zip(cuts, decode_all(cuts, jobs), strict=True):
            read[name].append(read_utterance(cut, audio, reading))
            done += 1
            progress(done, total)
    problems = {name: some for name, (_, some) in listed.items()}
    return _report(read, reading, problems)


def _report(
    read: dict[str, list[Utterance]], reading: Reading, problems: dict[str, list[str]]
) -> DataReport:
    unit = "tokens" if reading.tokenizer else "characters"
    found = []
    for name, utterances in read.items():
        unusable = (Item(*line.split(": ", 1)) for line in problems[name])
        found += findings("list-unusable", (name,), unusable)
        found += left_out_findings(name, utterances)
        found += audio_findings(name, utterances)
        found += text_findings(name, utterances)
        found += loss_findings(name, utterances)
        found += outlier_findings(name, utterances, unit)
        found += duplicate_findings(name, utterances)
    found += sample_rate_findings(list(read), [one for every in read.values() for one in every])
    for first, second in combinations(read, 2):
        found += shared_findings((first, second), read[first], read[second])
    ranks = list(Severity)
    found.sort(key=lambda finding: ranks.index(finding.severity))
    return DataReport(
        text_form=reading.text_form.name,
        unit=unit,
        subsampling_factor=reading.subsampling_factor,
        manifests=tuple(_summary(name, utterances) for name, utterances in read.items()),
        findings=tuple(found),
    )


def _summary(name: str, utterances: Sequence[Utterance]) -> ManifestSummary:
    readable = [one.audio for one in utterances if one.audio.sample_rate]
    return ManifestSummary(
        manifest=name,
        utterances=len(utterances),
        seconds=round(sum(one.seconds for one in utterances), 3),
        speakers=len({one.speaker for one in utterances if one.speaker}),
        sample_rates=dict(sorted(Counter(audio.sample_rate for audio in readable).items())),
        channels=dict(sorted(Counter(audio.channels for audio in readable).items())),
    )
