"""Known sentences glued into one long recording: their text is found, neither lost nor twice."""

from __future__ import annotations

import numpy as np
import pytest

from keyframe_asr import load
from keyframe_asr.audio.reading import read_audio
from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.data.manifest import audio_path, load_manifest, text
from keyframe_asr.errors import KeyframeError
from keyframe_asr.evaluation.metrics import word_errors
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.timing import SAMPLE_RATE

UTTERANCES = 24
SILENCE_SECONDS = 0.6


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[np.ndarray, str]]:
    pytest.importorskip("espeakng_loader")
    recipe = SyntheticCorpus("mandarin", train=0, dev=0, test=UTTERANCES, seed=7)
    try:
        manifest = make_corpus(tmp_path_factory.mktemp("spoken"), recipe)["test"]
    except KeyframeError as error:
        pytest.skip(str(error))
    return [(read_audio(audio_path(cut)), text(cut)) for cut in load_manifest(manifest)]


@pytest.mark.parametrize("detector", ["loudness", "silero"])
@pytest.mark.parametrize("silence", [0.0, SILENCE_SECONDS])
def test_joints(spoken, detector: str, silence: float) -> None:
    if detector == "silero":
        pytest.importorskip("silero_vad")
    recognizer = load("demo")
    pause = np.zeros(round(silence * SAMPLE_RATE), dtype=np.float32)
    sound = np.concatenate([part for samples, _ in spoken for part in (samples, pause)])
    assert sound.size > 45 * SAMPLE_RATE
    apart = recognizer.transcribe_batch([samples for samples, _ in spoken])
    expected = "".join(one.text for one in apart)
    found = recognizer.transcribe(sound, RecognitionOptions(voice_activity=detector))
    errors = word_errors([expected], [found.text], TEXT_FORMS["mandarin"])
    # without silence voices change in the middle of a segment, which the model never met
    assert errors.rate < (0.05 if silence else 0.15), (expected, found.text)
    truth = word_errors(["".join(said for _, said in spoken)], [found.text], TEXT_FORMS["mandarin"])
    assert truth.insertions <= 0.02 * truth.reference_length, "nothing is there twice"
    assert truth.deletions <= (0.02 if silence else 0.08) * truth.reference_length, (
        "nothing is lost"
    )
    starts = [token.start for token in found.tokens]
    assert starts == sorted(starts) and starts[-1] <= found.duration
    assert_times_are_those_of_the_whole(spoken, apart, found, pause.size)


def assert_times_are_those_of_the_whole(spoken, apart, found, pause: int) -> None:
    """Where a token was said in its own recording, plus where that begins in the long one."""
    offset, expected = 0, []
    for (samples, _), one in zip(spoken, apart, strict=True):
        expected += [(token.text, token.start + offset / SAMPLE_RATE) for token in one.tokens]
        offset += samples.size + pause
    near = sum(
        any(token.text == text and abs(token.start - start) < 0.15 for text, start in expected)
        for token in found.tokens
    )
    assert near >= (0.95 if pause else 0.7) * len(found.tokens)
