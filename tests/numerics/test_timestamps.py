"""Token times of the shipped model against espeak-ng's own word times, on fresh unseen voices."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest
from lhotse.cut import Cut

from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.data.manifest import audio_path, load_manifest, text
from keyframe_asr.inference.options import DecodeMode
from keyframe_asr.inference.recognizer import load

MEDIAN_SECONDS = 0.100
MEDIAN_END_SECONDS = 0.050
UTTERANCES = 60


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> list[Cut]:
    """Test voices, and a seed that no training has used."""
    recipe = SyntheticCorpus("mandarin", train=0, dev=0, test=UTTERANCES, seed=990_017)
    folder: Path = tmp_path_factory.mktemp("corpus")
    return list(load_manifest(make_corpus(folder, recipe)["test"]))


@pytest.mark.parametrize("mode", ["axe", "ctc", "attention", "rescore"])
def test_tokens_are_near_words(cuts: list[Cut], mode: DecodeMode) -> None:
    found = load("demo").transcribe_batch([audio_path(cut) for cut in cuts], mode)
    distances, ends = [], []
    for cut, transcript in zip(cuts, found, strict=True):
        # Only where the text is right is it clear which token stands for which word.
        if transcript.text == text(cut):
            words = cut.supervisions[0].alignment["word"]
            starts = [token.start for token in transcript.tokens]
            distances += [
                abs(start - word.start) for start, word in zip(starts, words, strict=True)
            ]
            ends += [
                abs(token.end - word.end)
                for token, word in zip(transcript.tokens, words, strict=True)
            ]
            assert starts == sorted(starts)
            assert [word.text for word in transcript.words] == [word.symbol for word in words]
            assert all(0 <= start <= transcript.duration for start in starts)
    assert len(distances) >= 2 * UTTERANCES
    assert median(distances) <= MEDIAN_SECONDS
    assert median(ends) <= MEDIAN_END_SECONDS
