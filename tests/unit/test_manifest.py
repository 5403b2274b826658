"""Manifests: both forms in and out, and one clear line for everything that is wrong with one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lhotse.cut import Cut

from fixtures.errors import refused
from keyframe_asr.data.manifest import (
    audio_channel,
    audio_path,
    is_part,
    load_manifest,
    make_cut,
    save_manifest,
    speaker,
    text,
)
from keyframe_asr.errors import ManifestError

HEADER = "utt_id\tspeaker\tduration_s\tpath\ttext\tsplit\n"


def table(folder: Path, rows: str, header: str = HEADER) -> Path:
    path = folder / "manifest.tsv"
    path.write_text(header + rows, encoding="utf-8")
    return path


def cuts(count: int = 2) -> list[Cut]:
    return [
        make_cut(f"u{number}", "anna", "打开灯", Path(f"/audio/{number}.flac"), 16000 + number)
        for number in range(count)
    ]


def message(path: Path | str) -> str:
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_table_without_opening_any_audio(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        'a\tanna\t1.250\taudio/a.flac\tSHE SAID "GO\ttrain\n\nb\t\t0\t../b.flac\t\ttest\n',
    )
    first, second = load_manifest(path)
    assert (first.id, speaker(first), text(first)) == ("a", "anna", 'SHE SAID "GO')
    assert first.duration == 1.25
    assert first.recording.sampling_rate == 16000
    assert audio_path(first) == tmp_path / "audio" / "a.flac"
    assert audio_path(second) == tmp_path.parent / "b.flac"
    assert (speaker(second), text(second), second.duration) == ("", "", 0)


def test_columns_may_come_in_any_order_with_others_between(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "train\tX\tGO\ta.wav\t0.5\tann\ta\n",
        "split\tage\ttext\tpath\tduration_s\tspeaker\tutt_id\n",
    )
    (cut,) = load_manifest(path)
    assert (cut.id, text(cut), speaker(cut), cut.duration) == ("a", "GO", "ann", 0.5)


def test_suffix_picks_a_split(tmp_path: Path) -> None:
    path = table(tmp_path, "a\tx\t1\ta.wav\tA\ttrain\nb\tx\t1\tb.wav\tB\ttest\n")
    assert [cut.id for cut in load_manifest(f"{path}:test")] == ["b"]
    assert [cut.id for cut in load_manifest(path)] == ["a", "b"]
    with refused(ManifestError, f"{path}: ", "'dev'", "test, train"):
        load_manifest(f"{path}:dev")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("a\tx\tlong\ta.wav\tA\ttrain\n", ":2: duration_s is 'long'; give seconds, 0 or more"),
        ("a\tx\t-1\ta.wav\tA\ttrain\n", ":2: duration_s is '-1'"),
        ("a\tx\tnan\ta.wav\tA\ttrain\n", ":2: duration_s is 'nan'"),
        ("a\tx\t1\ta.wav\tA\ttrain\nb\tx\t1\tb.wav\n", ":3: 4 cells, but 6 columns"),
        ("a\tx\t1\t\tA\ttrain\n", ":2: path is empty"),
        ("a\tx\t1\ta.wav\tA\ttrain\n" * 2, ": utterance 'a' occurs twice"),
        ("", ": contains no utterances"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: str, expected: str) -> None:
    path = table(tmp_path, rows)
    assert message(path).startswith(f"{path}{expected}")


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = table(tmp_path, "", header="utt_id\tspeaker\tpath\tsplit\n")
    assert " text (" in message(path) and " path (" not in message(path)
    path.write_text("", encoding="utf-8")
    assert " path (" in message(path)


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "wide.tsv").write_bytes(HEADER.encode("utf-16"))
    for path, named in (
        (tmp_path / "none.tsv", ()),
        (tmp_path, ()),
        (tmp_path / "notes.txt", (".jsonl", ".tsv")),
        (tmp_path / "wide.tsv", ("wide.tsv:1: ", "UTF-8")),
    ):
        with refused(ManifestError, path, *named):
            load_manifest(path)


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_cuts_come_back_as_they_were_saved(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    save_manifest(cuts(), path)
    assert list(load_manifest(path)) == cuts()
    content = path.read_bytes()
    assert "打开灯" in (gzip.decompress(content) if name.endswith("gz") else content).decode()
    with refused(ManifestError, path, ".tsv"):
        load_manifest(f"{path}:train")


def test_saving_is_whole_or_not_at_all_and_repeatable(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl.gz"
    save_manifest(cuts(), path)
    before = path.read_bytes()

    def interrupted() -> Iterator[Cut]:
        yield from cuts(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_manifest(interrupted(), path)
    assert path.read_bytes() == before
    save_manifest(cuts(), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["cuts.jsonl.gz"]


def test_truncated_and_malformed_cuts(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl.gz"
    save_manifest(cuts(50), path)
    path.write_bytes(path.read_bytes()[:-20])
    assert message(path).startswith(f"{path}: ")
    path.write_text("not compressed")
    assert message(path).startswith(f"{path}: ")

    plain = tmp_path / "cuts.jsonl"
    save_manifest(cuts(1), plain)
    plain.write_text(plain.read_text() + "{half\n")
    assert message(plain).startswith(f"{plain}:2: ")
    plain.write_text('{"id": "a", "type": "MonoCut"}\n')
    assert message(plain).startswith(f"{plain}:1: ")
    plain.write_text("\n")
    assert message(plain).startswith(f"{plain}: ")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"supervisions": []}, "has 0 supervisions instead of one"),
        ({"start": 0.25, "duration": 0.9}, "is from 0.25 to 1.15 s of a recording of 1.00 s"),
        ({"start": -0.25}, "is from -0.25 to 0.75 s"),
    ],
)
def test_cuts_that_cannot_be_used_are_refused(
    tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    path = tmp_path / "cuts.jsonl"
    path.write_text(json.dumps({**cuts(1)[0].to_dict(), **changes}) + "\n")
    line = message(path)
    assert line.startswith(f"{path}:1: cut 'u0' ")
    assert expected in line


def test_a_part_of_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl"
    part = make_cut("u", "anna", "打开灯", Path("/audio/long.flac"), 16000, 8000, (2000, 6000))
    assert (part.start, part.duration, part.recording.duration) == (0.25, 0.5, 2.0)
    assert part.recording.id == "long" and part.supervisions[0].duration == 0.5
    assert is_part(part) and not is_part(cuts(1)[0])
    save_manifest([part], path)
    assert list(load_manifest(path)) == [part]


@pytest.mark.parametrize(
    ("ids", "channel", "column"),
    [([0], 0, None), ([0, 1], 0, 0), ([0, 1], 1, 1), ([4, 7], 7, 1), ([3], 3, None), ([0], 1, 1)],
)
def test_the_channel_of_a_cut(
    tmp_path: Path, ids: list[int], channel: int, column: int | None
) -> None:
    """As lhotse counts: the place of the channel among those of the recording."""
    path = tmp_path / "cuts.jsonl"
    data = make_cut("u", "", "", Path("/a.flac"), 16000, 8000, (2000, 6000)).to_dict()
    data["recording"]["sources"][0]["channels"] = ids
    data["recording"]["channel_ids"] = ids
    data["channel"] = channel
    path.write_text(json.dumps(data) + "\n")
    (cut,) = load_manifest(path)
    assert audio_channel(cut) == column


def test_a_chosen_channel_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl"
    made = make_cut("u", "", "", Path("/a.flac"), 16000, 8000, None, (1, 2))
    save_manifest([made], path)
    assert [audio_channel(cut) for cut in load_manifest(path)] == [audio_channel(made)] == [1]


def test_a_cut_without_audio_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl"
    (cut,) = cuts(1)
    save_manifest([cut], path)
    data = json.loads(path.read_text())
    del data["recording"]
    path.write_text(json.dumps(data) + "\n")
    with refused(ManifestError, f"{path}:1: ", "'u0'"):
        load_manifest(path)


def test_another_kind_of_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl"
    save_manifest([cuts(1)[0].pad(duration=3.0)], path)
    with refused(ManifestError, f"{path}:1: ", "MonoCut"):
        load_manifest(path)
