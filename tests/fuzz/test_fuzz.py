"""A short run of the fuzzer, which `make fuzz` runs at length, and that it finds what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import child as children
from fuzz.byte_mutations import Damaged
from fuzz.cases import AudioCase, TextCase, audio_case, audio_problems, text_case, undamaged_job
from fuzz.child import Child, Job, Outcome
from fuzz.inputs import INPUTS, TextInput, original, packed, write_inputs
from fuzz.misbehaviour import misbehave
from fuzz.recordings import Original, originals
from fuzz.run import Plan, in_short, run
from fuzz.text_mutations import NEUTRAL


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("fuzz") / "inputs"
    write_inputs(written)
    return written


@pytest.mark.slow
def test_damaged_files_are_answered_right(tmp_path: Path) -> None:
    report = run(Plan(seed=3, audio=150, text=60, keep=tmp_path / "kept", quick=True))
    assert report.failures == [], report.summary()
    for kind, number in (("audio", 150), ("text", 60)):
        counts = {answer: report.count(kind, answer) for answer in ("taken", "refused")}
        assert sum(counts.values()) == number and min(counts.values()) > 0, counts


TEXTS = [one for one in INPUTS if one.neutral]


@pytest.mark.parametrize("given", TEXTS, ids=[f"{one.command[0]}-{one.path}" for one in TEXTS])
def test_mark_and_line_ends_change_nothing(given: TextInput, folder: Path) -> None:
    """A byte order mark and CRLF, in every text file that is read."""
    change = NEUTRAL["byte order mark and CRLF"]
    changed = Damaged(packed(given, change(original(given, folder))), "")
    undamaged = children.run_here(undamaged_job(given, folder), folder)
    assert (undamaged.exit_code, undamaged.fault) == (0, "")
    case = TextCase(0, given, changed, same=True)
    assert case.problem(children.run_here(case.job, folder), undamaged) == ""


def test_a_case_follows_from_seed_and_number(folder: Path) -> None:
    recordings = originals(quick=True)
    assert audio_case(1, 7, recordings) == audio_case(1, 7, recordings)
    assert len({audio_case(1, number, recordings).damaged.content for number in range(50)}) > 45
    assert audio_case(2, 7, recordings) != audio_case(1, 7, recordings)
    assert text_case(1, 7, INPUTS, folder) == text_case(1, 7, INPUTS, folder)


def test_hangs_crashes_and_memory_are_told_with_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "FIRST_SECONDS", 0.2)
    monkeypatch.setattr(children, "WAITING_SECONDS", 0.5)
    child = Child(tmp_path, command=misbehave)
    try:
        hung = child.run(Job(("hang",)))
        assert hung.exit_code is None and "in sleep_long" in hung.fault
        busy = child.run(Job(("compute",)))
        assert busy.exit_code is None and "in compute_long" in busy.fault
        crashed = child.run(Job(("crash",)))
        assert crashed.exit_code is None and "in crash" in crashed.fault
        raised = child.run(Job(("raise",)))
        assert raised.fault.endswith("ZeroDivisionError: by nothing\n")
        monkeypatch.setattr(children, "MEGABYTES", 1)
        assert "MB" in child.run(Job(("hang",))).fault.splitlines()[0]
    finally:
        child.close()


def answer(path: str, text: str) -> str:
    return f'{{"audio": "{path}", "text": "{text}"}}\n'


CUT = AudioCase(0, Original("WAV", "wav", b"", True), Damaged(b"", "", kept=0.5), "0.wav")
REFUSED = "keyframe: error: 0.wav: cut\n"


@pytest.mark.parametrize(
    ("outcome", "wrong"),
    [
        (Outcome(1, answer("good.wav", "A"), REFUSED), set()),
        (Outcome(0, answer("good.wav", "A") + answer("0.wav", "A")), {0}),
        (Outcome(1, answer("good.wav", "A")), {0}),
        (Outcome(1, answer("good.wav", "A"), REFUSED * 2), {0}),
        (Outcome(1, answer("good.wav", "B"), REFUSED), {-1}),
        (Outcome(1, "", REFUSED), {-1}),
        (Outcome(0, answer("good.wav", "A"), REFUSED), {-1}),
        (Outcome(1, "noise\n" + answer("good.wav", "A"), REFUSED), {-1}),
        (Outcome(1, answer("good.wav", "A"), REFUSED + "a.py:3: UserWarning: odd\n"), {-1}),
    ],
)
def test_wrong_answers_are_found(outcome: Outcome, wrong: set[int]) -> None:
    assert set(audio_problems([CUT], outcome, {"good.wav": "A"})) == wrong


@pytest.mark.parametrize(
    ("outcome", "right"),
    [
        (Outcome(0, "done"), True),
        (Outcome(1, "", "keyframe: error: a.tsv: bad\n"), True),
        (Outcome(1), False),
        (Outcome(2, "", "usage"), False),
        (Outcome(fault="Traceback"), False),
        (Outcome(0, "", "a.py:3: RuntimeWarning: odd\n"), False),
    ],
)
def test_wrong_exits_are_found(outcome: Outcome, right: bool) -> None:
    case = TextCase(0, INPUTS[0], Damaged(b"", ""))
    assert (case.problem(outcome) == "") is right


def test_a_traceback_in_short() -> None:
    trace = 'Traceback:\n  File "x/keyframe_asr/a.py", line 3\n  File "y.py", line 4\nError: b\n'
    assert in_short(f"audio-1: cut: {trace}").split(" | ") == [
        "audio-1: cut: Traceback:",
        'File "x/keyframe_asr/a.py", line 3',
        "Error: b",
    ]
