"""What comes twice: audio within a split; audio, names, speakers and sentences in two of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from keyframe_asr.data.checks.finding import Finding, Item, findings
from keyframe_asr.data.checks.utterance import Utterance


def duplicate_findings(manifest: str, utterances: Sequence[Utterance]) -> list[Finding]:
    """Utterances of one manifest with the samples of an earlier one."""
    return findings("duplicate-audio", (manifest,), _repeated(utterances))


def shared_findings(
    manifests: tuple[str, str], earlier: Sequence[Utterance], later: Sequence[Utterance]
) -> list[Finding]:
    """What the later of two manifests has in common with the earlier one."""
    names = {one.id for one in earlier}
    same_name = (Item(one.id) for one in later if one.id in names)
    return [
        *findings("split-audio", manifests, _shared(earlier, later, lambda one: one.audio.digest)),
        *findings("split-utterance", manifests, same_name),
        *findings("split-speaker", manifests, _speakers(earlier, later)),
        *findings("split-sentence", manifests, _shared(earlier, later, lambda one: one.sentence)),
    ]


def _repeated(utterances: Iterable[Utterance]) -> Iterator[Item]:
    first: dict[bytes, Utterance] = {}
    for one in utterances:
        if not one.audio.digest:
            continue
        same = first.setdefault(one.audio.digest, one)
        if same is not one:
            but = "" if same.sentence == one.sentence else ", but another text"
            yield Item(one.id, f"as {same.id}{but}")


def _shared(
    earlier: Iterable[Utterance],
    later: Iterable[Utterance],
    content: Callable[[Utterance], bytes | str],
) -> Iterator[Item]:
    """Utterances of `later` with the content of one of `earlier`; no content is none shared."""
    first: dict[bytes | str, str] = {}
    for one in earlier:
        first.setdefault(content(one), one.id)
    for one in later:
        if content(one) and content(one) in first:
            yield Item(one.id, f"as {first[content(one)]}: '{one.text}'")


def _speakers(earlier: Iterable[Utterance], later: Iterable[Utterance]) -> Iterator[Item]:
    before = Counter(one.speaker for one in earlier if one.speaker)
    for speaker, count in Counter(one.speaker for one in later).items():
        if speaker in before:
            yield Item(speaker, f"{before[speaker]} and {count} utterances")
