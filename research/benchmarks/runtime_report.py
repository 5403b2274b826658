"""The record of `runtime.py` as Markdown tables, and the bars that it is measured by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from research.presentation import table

MODEL = "english-mandarin"
OURS, ON_TORCH = f"{MODEL}, 8 bits", f"{MODEL}, torch"

AS_FAST_AS_TORCH, AS_FAST_ON_CLIPS, AS_FAST_JOINED = 4.0, 20.0, 6.0
"""How many times as fast as torch and whisper, on one thread, the 8-bit model should be."""


def bars(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the default model in 8 bits should reach on one thread: `found`, `wanted` and `met`."""
    found: list[dict[str, Any]] = []

    def add(what: str, value: float, wanted: float, met: bool) -> None:
        found.append({"what": what, "found": value, "wanted": wanted, "met": met})

    rows = {(one["system"], one["joined"]): one for one in report["figures"] if one["threads"] == 1}
    for whole in (False, True):
        ours = rows.get((OURS, whole))
        if ours is None:
            continue
        for name in sorted(set(ours) & set(report["sets"])):
            if (torch := rows.get((ON_TORCH, whole))) is not None:
                ratio = torch[name][0] / ours[name][0]
                add(f"{name}: speed over torch", ratio, AS_FAST_AS_TORCH, ratio >= AS_FAST_AS_TORCH)
            for peer in report["peers"]:
                theirs = rows[peer, whole]
                wanted = AS_FAST_JOINED if whole else AS_FAST_ON_CLIPS
                ratio = theirs[name][0] / ours[name][0]
                add(f"{name}: speed over {peer}", ratio, wanted, ratio >= wanted)
                own, their = (report["errors"][name][one]["error"] for one in (OURS, peer))
                add(f"{name}: errors, and those of {peer}", own, their, own <= their)
        for peer in report["peers"]:
            own, their = (rows[one, whole]["memory"][0] for one in (OURS, peer))
            where = "joined" if whole else "clips"
            add(f"{where}: MB, and those of {peer}", own, their, own < their)
    return found


def markdown(report: Mapping[str, Any]) -> str:
    """Return all tables of a record."""
    heads = [
        f"{report['processor']}; {report['rounds']} rounds in turn, {report['timed']} recordings "
        "a set timed; median (least to most)",
        _figures(report),
        "8 bits, one thread: milliseconds for a second of audio",
        _parts(report["parts"]),
        _bars(report["bars"]) if report["bars"] else "",
    ]
    return "\n\n".join(filter(None, heads))


def _figures(report: Mapping[str, Any]) -> str:
    threads = sorted({one["threads"] for one in report["figures"]})
    rows = []
    for name, about in report["sets"].items():
        several = [one for one in report["figures"] if name in one]
        for system in dict.fromkeys(one["system"] for one in several):
            by_threads = {one["threads"]: one for one in several if one["system"] == system}
            one = by_threads[threads[0]]
            rows.append(
                [
                    f"{about['title']}, {about['recordings']}",
                    system,
                    *(
                        _range(by_threads[count][name], 4) if count in by_threads else ""
                        for count in threads
                    ),
                    _range(one["start"], 2) if "start" in one else "",
                    f"{one['memory'][0]:.0f}",
                    _error(report["errors"][name].get(system), about["recordings"] > 1),
                    *(_minus(report["errors"][name].get(system), peer) for peer in report["peers"]),
                ]
            )
    factors = [f"real-time factor, threads: {count}" for count in threads]
    header = ["recordings", "system", *factors, "start, s", "memory, MB", "errors, %"]
    return table([*header, *(f"minus {peer}, points" for peer in report["peers"])], rows)


def _range(figures: Sequence[float], digits: int) -> str:
    middle, least, most = (f"{one:.{digits}f}" for one in figures)
    return f"{middle} ({least}-{most})"


def _error(found: Mapping[str, Any] | None, several: bool) -> str:
    if found is None:
        return ""
    low, high = found["ci95"]
    interval = f" ({100 * low:.1f}-{100 * high:.1f})" if several else ""
    return f"{100 * found['error']:.1f}{interval}"


def _minus(found: Mapping[str, Any] | None, peer: str) -> str:
    if found is None or peer not in found.get("minus", {}):
        return ""
    one = found["minus"][peer]
    return f"{100 * one['difference']:+.1f} ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"


def _parts(parts: Mapping[str, Any]) -> str:
    names = list(dict.fromkeys(name for one in parts.values() for name in one["parts"]))
    rows = []
    for what, one in parts.items():
        seconds = [one["parts"].get(name, 0.0) for name in names]
        cells = [f"{1000 * part / one['audio_seconds']:.2f}" for part in (*seconds, sum(seconds))]
        rows.append([what, *cells])
    return table(["model, recordings", *names, "sum"], rows)


def _bars(found: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [one["what"], f"{one['found']:.3g}", f"{one['wanted']:.3g}", "yes" if one["met"] else "no"]
        for one in found
    ]
    return table(["bar", "found", "wanted, or to compare", "met"], rows)
