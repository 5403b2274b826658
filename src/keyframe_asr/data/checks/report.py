"""Report of `keyframe check-data`: as tables for the terminal, as JSON for programs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from keyframe_asr.data.checks.finding import KINDS, Finding, Severity

SHOWN_EXAMPLES = 3
"""Items of a finding shown in the table; the JSON report has all of them."""

_STYLES = {Severity.error: "red", Severity.warning: "yellow", Severity.information: "blue"}


@dataclass(frozen=True)
class ManifestSummary:
    """Summary of a manifest; `sample_rates` (Hz) and `channels` map to the number of files."""

    manifest: str
    utterances: int
    seconds: float
    speakers: int
    sample_rates: Mapping[int, int]
    channels: Mapping[int, int]


@dataclass(frozen=True)
class DataReport:
    """Result of the checks.

    Attributes:
        text_form: name of the form of the texts.
        unit: unit of text lengths, "tokens" or "characters".
        subsampling_factor: fbank frames per encoder frame.
        manifests: summary of each manifest.
        findings: sorted by severity, errors first; empty if the data are clean.
    """

    text_form: str
    unit: str
    subsampling_factor: int
    manifests: tuple[ManifestSummary, ...]
    findings: tuple[Finding, ...]

    def of(self, severity: Severity) -> list[Finding]:
        """Return the findings of one severity."""
        return [finding for finding in self.findings if finding.severity is severity]


def as_json(report: DataReport) -> dict[str, Any]:
    """Convert the report to JSON data, with every item of every finding."""
    return {
        "text_form": report.text_form,
        "unit": report.unit,
        "subsampling_factor": report.subsampling_factor,
        "manifests": [asdict(summary) for summary in report.manifests],
        "counts": {severity.value: len(report.of(severity)) for severity in Severity},
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity.value,
                "title": KINDS[finding.kind].title,
                "advice": KINDS[finding.kind].advice,
                "manifests": list(finding.manifests),
                "count": len(finding.items),
                "items": [asdict(item) for item in finding.items],
            }
            for finding in report.findings
        ],
    }


def render(report: DataReport) -> Iterator[Table | str]:
    """Yield a table of the manifests, then a table of the findings."""
    names = _short_names([summary.manifest for summary in report.manifests])
    yield _summary_table(report, names)
    if report.findings:
        yield _findings_table(report, names)
    else:
        yield "no problems found"


def verdict(errors: Sequence[Finding]) -> str:
    """Summarise the errors on one line."""
    counts: dict[str, int] = {}
    for finding in errors:
        counts[finding.kind] = counts.get(finding.kind, 0) + len(finding.items)
    named = ", ".join(f"{KINDS[kind].title} ({count})" for kind, count in counts.items())
    return f"the data have errors: {named}; fix them or leave these utterances out"


def _summary_table(report: DataReport, names: Mapping[str, str]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption=f"texts in the form {report.text_form}, counted in {report.unit}",
    )
    table.add_column("manifest", overflow="fold")
    for name in ("utterances", "hours", "speakers", "Hz (files)", "channels (files)"):
        table.add_column(name, justify="right")
    for summary in report.manifests:
        table.add_row(
            Text(names[summary.manifest]),
            str(summary.utterances),
            f"{summary.seconds / 3600:.2f}",
            str(summary.speakers),
            *(
                "\n".join(f"{value} ({count})" for value, count in counts.items()) or "-"
                for counts in (summary.sample_rates, summary.channels)
            ),
        )
    return table


def _findings_table(report: DataReport, names: Mapping[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("severity", no_wrap=True)
    table.add_column("finding, where, and what to do", ratio=1)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("first examples", ratio=1)
    for finding in report.findings:
        kind = KINDS[finding.kind]
        where = " and ".join(names[manifest] for manifest in finding.manifests)
        shown = "\n".join(
            f"{item.name}: {item.detail}" if item.detail else item.name
            for item in finding.items[:SHOWN_EXAMPLES]
        )
        table.add_row(
            Text(finding.severity.value, _STYLES[finding.severity]),
            Text.assemble((kind.title, "bold"), f"\n{where}\n", (kind.advice, "italic")),
            str(len(finding.items)),
            Text(shown),
        )
    return table


def _short_names(manifests: Sequence[str]) -> dict[str, str]:
    """Shorten the names of manifests by their common folder."""
    try:
        folder = os.path.commonpath([os.path.dirname(name) for name in manifests])
    except ValueError:  # some are relative, or on another drive
        folder = ""
    return {
        name: name.removeprefix(folder).lstrip(os.sep) if folder else name for name in manifests
    }
