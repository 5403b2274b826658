"""The picture of `keyframe inspect`: what it says, where things are in it, and how it fails."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fixtures.command_line import keyframe, lacking
from fixtures.errors import refused
from keyframe_asr.config.model import (
    DecoderConfig,
    EncoderConfig,
    FeaturesConfig,
    ModelConfig,
    ModelFolderConfig,
    SubsamplingConfig,
)
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.data.manifest import audio_path, load_manifest
from keyframe_asr.errors import AudioError, KeyframeError
from keyframe_asr.evaluation.inspection import (
    COLOURS,
    InspectionView,
    Spike,
    find_spikes,
    headline,
    inspection_view,
)
from keyframe_asr.evaluation.inspection_picture import (
    DOTS_PER_INCH,
    HEIGHT,
    INCHES_PER_SECOND,
    WIDTH,
    choose_fonts,
    draw_inspection,
    place_labels,
)
from keyframe_asr.inference.recognizer import load
from keyframe_asr.io.model_folder import save_model_folder
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.results import Token, Transcript
from keyframe_asr.text.tokenizer import CharacterTokenizer

RATE = 16_000
FRAME_SECONDS = 0.04
PIECES = ("<blank>", "<unk>", "<sos/eos>", "▁ONE", "TY", "▁TWO")


def view_of(
    spikes: dict[int, int], frames: int = 50, pieces: tuple[str, ...] = PIECES
) -> InspectionView:
    """A recording whose inter-CTC puts 0.9 on a label at each frame of `spikes`, else on blank."""
    probabilities = np.full((frames, len(pieces)), 0.001, dtype=np.float32)
    probabilities[:, 0] = 0.9
    tokens = []
    for frame, label in spikes.items():
        probabilities[frame, [0, label]] = 0.001, 0.9
        start = frame * FRAME_SECONDS
        tokens.append(Token(pieces[label], start, start + 0.1, 0.9))
    text = "".join(token.text for token in tokens).replace("▁", " ").strip()
    fbank = np.random.default_rng(0).normal(size=(4 * frames, 16)).astype(np.float32)
    return InspectionView(
        fbank, probabilities, tuple(spikes), Transcript(text, tokens), pieces, FRAME_SECONDS
    )


def pixels(path: Path) -> np.ndarray:
    """(height, width, 3) values 0 to 255."""
    from matplotlib.image import imread

    return (imread(path)[..., :3] * 255).round().astype(int)


def columns_of(image: np.ndarray, colour: str) -> np.ndarray:
    """Where, as a share of the width, a cell or arrow of this colour is."""
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    lower = image[int(0.72 * len(image)) :]
    found = (np.abs(lower - wanted) <= 2).all(axis=2).any(axis=0)
    return np.flatnonzero(found) / image.shape[1]


@pytest.mark.parametrize(
    ("spikes", "expected"),
    [
        ({10: 3, 20: 4}, '50 frames → 2 keyframes (96.0 % dropped): "ONETY"'),
        ({10: 3}, '50 frames → 1 keyframe (98.0 % dropped): "ONE"'),
        ({}, "50 frames → 0 keyframes (100.0 % dropped): no text"),
    ],
)
def test_headline(spikes: dict[int, int], expected: str) -> None:
    assert headline(view_of(spikes)) == expected


def test_headline_of_a_model_that_drops_nothing() -> None:
    view = dataclasses.replace(view_of({10: 3}), keyframes=tuple(range(50)))
    assert headline(view) == '50 frames, all kept: "ONE"'


def test_spikes_are_the_keyframes_with_one_colour_per_token() -> None:
    view = view_of({10: 3, 20: 5, 30: 3})
    view = dataclasses.replace(view, keyframes=(10, 20, 30, 40))
    view.inter_probabilities[40] = 0.01  # kept, though it stands for nothing
    first, second, third, last = find_spikes(view)
    assert (first, second) == (Spike(10, 3, COLOURS[0]), Spike(20, 5, COLOURS[1]))
    assert (third.label, third.colour) == (3, COLOURS[0])
    assert last.label == 0 and last.colour not in COLOURS


def test_spikes_of_a_model_that_drops_nothing_are_the_peaks_of_runs() -> None:
    view = view_of({10: 3, 11: 3, 12: 3, 13: 5, 20: 5})
    view.inter_probabilities[11, 3] = 0.95
    view = dataclasses.replace(view, keyframes=tuple(range(50)))
    assert [(spike.frame, spike.label) for spike in find_spikes(view)] == [
        (11, 3),
        (13, 5),
        (20, 5),
    ]


def test_picture_shows_each_keyframe_at_its_time(tmp_path: Path) -> None:
    """A cell, arrow and token of the right colour, left to right as in time; none without one."""
    target = tmp_path / "new" / "picture.png"
    assert draw_inspection(view_of({10: 3, 40: 5}), target) == {}
    image = pixels(target)
    assert image.shape == (round(HEIGHT * DOTS_PER_INCH), WIDTH * DOTS_PER_INCH, 3)
    early, late = columns_of(image, COLOURS[0]), columns_of(image, COLOURS[1])
    axes_left, axes_width = 0.5 / WIDTH, 1 - 0.7 / WIDTH
    for found, frame in ((early, 10), (late, 40)):
        assert np.median(found) == pytest.approx(axes_left + axes_width * frame / 50, abs=0.01)
    assert not columns_of(image, COLOURS[2]).size
    assert [path.name for path in target.parent.iterdir()] == ["picture.png"]


def test_a_long_recording_gets_a_wider_picture(tmp_path: Path) -> None:
    draw_inspection(view_of({100: 3, 101: 4, 102: 5}, frames=200), tmp_path / "long.png")
    assert pixels(tmp_path / "long.png").shape[1] == round(8 * INCHES_PER_SECOND * DOTS_PER_INCH)


@pytest.mark.parametrize(
    "view",
    [
        view_of({}),
        view_of({0: 3}, frames=1),
        dataclasses.replace(view_of({3: 3, 4: 4}), keyframes=tuple(range(50))),
        dataclasses.replace(view_of({7: 3}), transcript=Transcript("")),
        view_of({frame: 3 + frame % 3 for frame in range(49)}),
        view_of({5: 3, 9: 4}, pieces=("<blank>", "<unk>", "<sos/eos>", "$", "A$_")),
    ],
    ids=["no keyframe", "one frame", "all kept", "no text", "crowded", "dollars"],
)
def test_odd_recordings_are_drawn(view: InspectionView, tmp_path: Path) -> None:
    assert draw_inspection(view, tmp_path / "odd.png") == {}
    assert pixels(tmp_path / "odd.png").std() > 0


def test_what_no_font_has_is_numbered(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    unassigned = "\U000e1000\U000e1001"
    view = view_of({5: 3, 9: 4, 20: 3}, pieces=("<blank>", "<unk>", "<sos/eos>", *unassigned))
    assert draw_inspection(view, tmp_path / "numbers.png") == {
        unassigned[0]: "#1",
        unassigned[1]: "#2",
    }
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_fonts_are_added_for_what_the_plain_one_lacks() -> None:
    assert choose_fonts("ONE ▁ é ε") == (["DejaVu Sans"], set())
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    plain = set(FT2Font(font_manager.findfont("DejaVu Sans")).get_charmap())
    other = set(FT2Font(font_manager.findfont("STIXGeneral")).get_charmap())
    rare = chr(min(other - plain))
    families, missing = choose_fonts("A" + rare)
    assert families[0] == "DejaVu Sans" and len(families) == 2 and missing == set()
    assert ord(rare) in FT2Font(font_manager.findfont(families[1])).get_charmap()


def test_labels_move_only_where_they_must() -> None:
    free = np.array([1.0, 3.0, 5.0])
    widths = np.array([1.0, 1.0, 1.0])
    assert place_labels(free, widths, 0, 10).tolist() == free.tolist()
    crowd = place_labels(np.array([4.0, 4.2, 8.0]), widths, 0, 10)
    assert crowd == pytest.approx([3.6, 4.6, 8.0])
    edge = place_labels(np.array([0.0, 9.9]), np.array([2.0, 2.0]), 0, 10)
    assert edge == pytest.approx([1.0, 9.0])
    assert place_labels(np.array([]), np.array([]), 0, 10).size == 0


def test_labels_never_overlap_if_there_is_room() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        number = int(generator.integers(1, 12))
        centres = np.sort(generator.uniform(0, 10, number))
        widths = generator.uniform(0.1, 9 / number, number)
        placed = place_labels(centres, widths, 0, 10)
        assert (np.diff(placed) >= (widths[1:] + widths[:-1]) / 2 - 1e-9).all()
        assert placed[0] >= widths[0] / 2 - 1e-9 and placed[-1] <= 10 - widths[-1] / 2 + 1e-9


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with refused(KeyframeError):
        draw_inspection(view_of({}, frames=0), tmp_path / "nothing.png")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "picture.png"
    with refused(KeyframeError, f"{target}: "):
        draw_inspection(view_of({5: 3}), target)
    (tmp_path / "folder.png").mkdir()
    with refused(KeyframeError, f"{tmp_path / 'folder.png'}: "):
        draw_inspection(view_of({5: 3}), tmp_path / "folder.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "random"
    torch.manual_seed(11)
    config = ModelConfig(
        subsampling=SubsamplingConfig(channels=8),
        encoder=EncoderConfig(layers=2, keyframe_layer=1, dim=16, heads=2, feed_forward=32),
        decoder=DecoderConfig(layers=1, heads=2, feed_forward=32),
    )
    tokenizer = CharacterTokenizer("ABCDEF")
    network = KeyframeNetwork(config, 16, tokenizer.vocab_size)
    for layer in (network.inter_ctc, network.head):
        layer.weight.data.mul_(4.0)
    network.normalisation.mean.fill_(8.0)
    network.normalisation.inverse_std.fill_(0.3)
    stored = ModelFolderConfig(
        name="random",
        language="en",
        vocab_size=tokenizer.vocab_size,
        keyframes=True,
        fusion=True,
        features=FeaturesConfig(num_mel_bins=16),
        model=config,
    )
    save_model_folder(folder, network, tokenizer, stored, "# random\n")
    return folder


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    samples = 0.1 * generator.normal(size=2 * RATE) * np.abs(np.sin(np.arange(2 * RATE) / 2000))
    soundfile.write(tmp_path / "noise.wav", samples, RATE)
    return tmp_path / "noise.wav"


def test_view_of_a_recording(model: Path, recording: Path) -> None:
    recognizer = load(model, "cpu")
    view = inspection_view(recognizer, recording)
    assert view.fbank.shape == (200, 16)
    assert view.inter_probabilities.shape == (50, 9)
    assert view.inter_probabilities.sum(axis=1) == pytest.approx(np.ones(50), abs=1e-4)
    assert view.transcript == recognizer.transcribe(recording)
    kept = np.array(view.keyframes)
    assert (np.diff(kept) > 0).all() and not view.all_kept
    assert 1 - len(kept) / 50 == pytest.approx(view.transcript.frame_reduction)
    assert (view.inter_probabilities[kept].argmax(axis=1) != 0).all()
    with refused(AudioError, "gone.wav"):
        inspection_view(recognizer, recording.with_name("gone.wav"))


def test_command_writes_next_to_where_it_is_called(model: Path, recording: Path) -> None:
    folder = recording.parent / "here"
    folder.mkdir()
    result = keyframe("inspect", model, recording, folder=folder)
    assert result.exit_code == 0, result
    expected = headline(inspection_view(load(model, "cpu"), recording))
    assert result.stdout == f"noise.png: {expected}\n"
    assert pixels(folder / "noise.png").shape[2] == 3


def test_only_pictures_and_pages_are_made(model: Path, recording: Path) -> None:
    words = ("inspect", model, recording, "--out", "picture.pdf")
    said = keyframe(*words, folder=recording.parent).usage_error
    assert "picture.pdf" in said and ".png" in said
    assert [path.name for path in recording.parent.iterdir()] == ["noise.wav"]


def test_without_matplotlib_one_line_says_what_to_install(
    model: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking("matplotlib", monkeypatch)
    said = keyframe("inspect", model, recording, folder=recording.parent).error
    assert "matplotlib" in said and "pip install 'keyframe-asr[plot]'" in said


def test_tokens_hang_on_their_keyframes_whatever_the_delay(tmp_path: Path) -> None:
    """A token's start is its spike moved by the delay; no keyframe is left without its token."""
    view = inspection_view(load("demo"), speech_of_the_demo(tmp_path))
    assert view.emission_delay != 0
    frames = {
        round((token.start + view.emission_delay) / view.frame_seconds)
        for token in view.transcript.tokens
    }
    assert frames
    assert frames <= set(view.keyframes)


def speech_of_the_demo(folder: Path) -> Path:
    recipe = SyntheticCorpus("mandarin", train=0, dev=0, test=1, seed=5)
    return audio_path(next(iter(load_manifest(make_corpus(folder, recipe)["test"]))))


@pytest.mark.parametrize("delay", [0.3, 0.0, -0.1])
def test_tokens_are_drawn_at_their_spikes_even_where_starts_were_moved(delay: float) -> None:
    frames, seconds = [1, 3, 6, 9], 0.08
    starts = [max(frame * seconds - delay, 0.0) for frame in frames]
    tokens = [Token("A", start, start, 1.0) for start in starts]
    view = InspectionView(
        fbank=np.zeros((100, 80), dtype=np.float32),
        inter_probabilities=np.zeros((12, 4), dtype=np.float32),
        keyframes=frames,
        transcript=Transcript("AAAA", tokens, 1.0),
        pieces="_ABC",
        frame_seconds=seconds,
        emission_delay=delay,
    )
    assert view.token_frames == frames
